/**
 * What a Worker of a pool runs: a server like any other, on the pool's accept queue.
 *
 * It carries out the commands of the main isolate in the order in which they come: first "listen", which loads the
 * handler and makes the server; then "serve" and "stop", as often as wanted, and "limit" for what may change meanwhile;
 * at last "close" or "drain". When the server is closed and no request runs any more, the Worker ends itself.
 *
 * This folder is what runs in the Workers, which only `pool_worker.ts` starts: `pooled_server.ts` is the server of a pool's,
 * and `thread_server.ts` that of a threading server's, which is built on it. Two files are the memory that they share with
 * the main isolate: `worker_record.ts`, and `accept_turns.ts` for threading servers.
 *
 * @module
 */
import { noteOwnConnections } from "../../sockets/misuse.ts";
import type { ServerLogger } from "../../base/log.ts";
import type { DrainResult } from "../../base/options.ts";
import { delay } from "../../base/time.ts";
import { toErrorMessage } from "../../channel/messages.ts";
import {
  inIsolate,
  type IsolateBody,
  type MainIsolate,
} from "../../workers/thread/isolate_entry.ts";
import { type HandlerClass, loadHandler } from "../../workers/inside/load_handler.ts";
import { WorkerTurn } from "./accept_turns.ts";
import type {
  PoolCommand,
  PoolInit,
  PoolLimits,
  PoolSettings,
  PoolTalk,
} from "../pool_messages.ts";
import {
  ConcurrentTCPServer,
  ConcurrentTLSServer,
  COUNT_DELAY,
  pooledServer,
  PoolServerStub,
  type WorkerContext,
} from "./pooled_server.ts";
import { type ThreadServer, threadServer } from "./thread_server.ts";
import { WorkerRecord } from "./worker_record.ts";

/** How often a Worker that is to stop looks whether its request has ended, in milliseconds. */
const STOP_INTERVAL = 2;

/** A Worker of a pool, seen from inside. */
class PoolWorkerMain implements WorkerContext, IsolateBody<PoolTalk> {
  readonly init: PoolInit;
  settings: PoolSettings | null = null;
  view: PoolServerStub | null = null;
  readonly main: MainIsolate<PoolTalk>;
  readonly record: WorkerRecord;
  /** Set before the server is made. */
  Handler!: HandlerClass;
  #acceptErrors = 0;
  #countTimer: ReturnType<typeof setTimeout> | undefined;
  #server: ConcurrentTCPServer | null = null;
  /** The same server, where it takes turns with others. */
  #thread: ThreadServer | null = null;
  #turn: WorkerTurn | null = null;
  #serving: Promise<void> | null = null;

  constructor(init: PoolInit, main: MainIsolate<PoolTalk>) {
    this.init = init;
    this.main = main;
    this.record = new WorkerRecord(init.record);
  }

  /** Loads the handler and listens. */
  async #listen(): Promise<void> {
    const { init: { handler, address: { tcpBacklog, ...address }, tls, turns } } = this;
    const Handler = this.Handler = await loadHandler(handler);
    const options = {
      requestQueueSize: tcpBacklog,
      blockOnClose: false, // the main isolate waits, if anybody
      logger: this.#logger(),
    };
    // The handler class is for the family, which the checker cannot know.
    const args = [address, Handler as never] as const;
    if (turns !== null) {
      noteOwnConnections();
      this.#turn = new WorkerTurn(turns, this.record);
      this.#thread = new (threadServer(this, this.#turn))(...args, options);
    }
    const server = this.#server = this.#thread ??
      (tls === null
        ? new (pooledServer(ConcurrentTCPServer, this))(...args, options)
        : new (pooledServer(ConcurrentTLSServer, this))(...args, { ...options, ...tls }));
    void this.#endWith(server); // never rejects
  }

  /** Ends the Worker when its server is closed and nothing runs any more. */
  async #endWith(server: ConcurrentTCPServer): Promise<void> {
    await server.finished;
    await this.main.settled();
    this.main.end();
  }

  async handle(command: PoolCommand): Promise<Partial<DrainResult>> {
    if (command.name === "listen") {
      await this.#listen();
      return {};
    }
    const result = await this.#carryOut(this.#server!, command);
    this.count();
    return result;
  }

  ending(): void {
    this.count();
  }

  count(): void {
    if (this.#server === null) return;
    const { acceptErrors: counts, ...stats } = this.#server.stats();
    this.record.counters.write(stats);
    const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
    if (total === this.#acceptErrors) return;
    this.#acceptErrors = total;
    this.main.say({ type: "acceptErrors", counts });
  }

  countIn(delay: number): void {
    if (delay === COUNT_DELAY) {
      this.#countTimer ??= setTimeout(() => {
        this.#countTimer = undefined;
        this.count();
      }, delay);
    } else {
      setTimeout(() => this.count(), delay);
    }
  }

  async #carryOut(
    server: ConcurrentTCPServer,
    command: Exclude<PoolCommand, { name: "listen" }>,
  ): Promise<Partial<DrainResult>> {
    switch (command.name) {
      case "serve":
        this.#serve(server, command.settings);
        return {};
      case "limit":
        this.#limit(server, command.limits);
        return {};
      case "ping":
        return {};
      case "stop":
        if (this.#thread !== null) {
          this.#thread.pause();
          return {};
        }
        await server.shutdown();
        await this.#serving;
        // Alone in its Worker, a request is the one "under way" that shutdown() waits for everywhere.
        while (
          server.maxConnections === 1 && server.stats().active > 0 && server.state !== "closed"
        ) await delay(STOP_INTERVAL);
        return {};
      case "close":
        if (this.#thread !== null) this.#thread.retire();
        else await server.serverClose();
        return {};
      case "drain":
        if (this.settings === null) this.#configure(server, command.settings);
        return await server.drain({ timeout: command.timeout });
    }
  }

  #configure(server: ConcurrentTCPServer, settings: PoolSettings): void {
    this.settings = settings;
    this.view = new PoolServerStub(server, this, settings.context);
    this.#limit(server, settings);
  }

  #limit(server: ConcurrentTCPServer, limits: PoolLimits): void {
    const { maxConnections, requestTimeout, thread } = limits;
    if (this.settings !== null) this.settings = { ...this.settings, ...limits };
    server.maxConnections = maxConnections;
    server.requestTimeout = requestTimeout;
    if (this.#turn !== null) this.#turn.run = thread!.run;
  }

  #serve(server: ConcurrentTCPServer, settings: PoolSettings): void {
    this.#configure(server, settings);
    this.#thread?.resume();
    if (server.state !== "idle") return; // it serves still, or has ended
    this.#serving = server.serveForever().catch((error) => {
      this.main.say({ type: "exit", error: toErrorMessage(error) });
    });
  }

  #logger(): ServerLogger {
    const line = (level: keyof ServerLogger) => (message: string) =>
      this.main.say({ type: "log", level, message });
    return { debug: line("debug"), info: line("info"), warn: line("warn"), error: line("error") };
  }
}

if (import.meta.main) inIsolate<PoolTalk>((init, main) => new PoolWorkerMain(init, main));
