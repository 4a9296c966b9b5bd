/**
 * What a Worker of a pool runs: a server like any other, on the pool's accept queue.
 *
 * It carries out the commands of the main isolate in the order in which they come: first "listen", which loads the
 * handler and makes the server; then "serve" and "stop", as often as wanted, and "limit" for what may change meanwhile;
 * at last "close" or "drain". When the server is closed and no request runs any more, the Worker ends itself.
 *
 * @module
 */
import { queueLimit } from "../core/bind.ts";
import type { TCPAddr } from "../base/address.ts";
import { ConcurrentMixIn, type Constructor } from "./concurrent_mix_in.ts";
import { TCPServer } from "./tcp_server.ts";
import { TLSServer } from "./tls_server.ts";
import { isOfClient } from "../base/errors.ts";
import { logTo, type ServerLogger } from "../base/log.ts";
import type { DrainResult } from "../base/options.ts";
import { delay } from "../base/time.ts";
import type { AnyServer } from "../core/base_server.ts";
import { runHandler } from "../core/run_handler.ts";
import type { ServerStats } from "../core/server_stats.ts";
import type { StreamSocket } from "../sockets/stream_socket.ts";
import { inIsolate, type IsolateBody, type MainIsolate } from "../workers/inside/isolate_entry.ts";
import { type HandlerClass, loadHandler } from "../workers/inside/load_handler.ts";
import { toErrorMessage } from "../channel/messages.ts";
import { listenShared } from "./shared_listener.ts";
import {
  type PoolCommand,
  type PoolInit,
  type PoolLimits,
  type PoolSettings,
  type PoolTalk,
  SharedCounters,
} from "./pool_messages.ts";
import { type ServerCall, ServerStub } from "../workers/inside/server_stub.ts";

/** How long the end of a request may take to reach the counters, in milliseconds. */
const COUNT_DELAY = 1;
/** The same for a request that was cut off, whose handler gets time to unwind. */
const ABORTED_COUNT_DELAY = 150;
/** How often a Worker that is to stop looks whether its request has ended, in milliseconds. */
const STOP_INTERVAL = 2;

/** What handlers see as their server, of which there is one for all requests of a Worker. */
class PoolServerStub extends ServerStub {
  readonly #server: AnyServer;

  constructor(server: AnyServer, context: unknown, call: ServerCall) {
    super(server.serverAddress, context, call);
    this.#server = server;
  }

  override requestSignal(request?: unknown): AbortSignal {
    return this.#server.requestSignal(request);
  }
}

/** What a server in a Worker needs of the Worker. */
interface WorkerContext {
  readonly init: PoolInit;
  readonly Handler: HandlerClass;
  readonly settings: PoolSettings | null;
  readonly view: PoolServerStub | null;
  readonly main: MainIsolate<PoolTalk>;
  /** Says that nobody listens here any more. */
  unlistened(): void;
  /** Writes the counters now. */
  count(): void;
  /** Writes the counters soon. */
  countIn(delay: number): void;
}

const ConcurrentTCPServer = ConcurrentMixIn(TCPServer);
const ConcurrentTLSServer = ConcurrentMixIn(TLSServer);
type ConcurrentTCPServer = InstanceType<typeof ConcurrentTCPServer>;

/** Puts a server to work in a Worker: it listens on the shared queue, and asks the main isolate where that is wanted. */
function pooledServer<Base extends Constructor<ConcurrentTCPServer>>(
  Base: Base,
  worker: WorkerContext,
): Base {
  abstract class PooledServer extends Base {
    override openListener(): Deno.Listener {
      const { address, tls, sharing } = worker.init;
      return listenShared(address, tls, sharing, (text) => logTo(this.logger, "warn", text));
    }

    override closeSocket(): void {
      super.closeSocket();
      worker.unlistened();
    }

    override get [queueLimit](): number {
      return worker.init.queueShare + 2; // as that of the base
    }

    override async verifyRequest(request: StreamSocket, clientAddress: TCPAddr): Promise<boolean> {
      worker.count();
      if (!worker.settings!.asks.verifyRequest) return true;
      const { localAddr } = request;
      return await worker.main.ask({ hook: "verifyRequest", clientAddress, localAddr }) as boolean;
    }

    override async finishRequest(request: StreamSocket, clientAddress: TCPAddr): Promise<void> {
      // What a handler may use of its server is there; the rest says why not.
      const view = worker.view as unknown as AnyServer;
      await runHandler(new worker.Handler(request, clientAddress, view));
    }

    override closeRequest(request: StreamSocket): void {
      const isAborted = this.requestSignal(request).aborted;
      super.closeRequest(request);
      worker.countIn(isAborted ? ABORTED_COUNT_DELAY : COUNT_DELAY);
    }

    override async handleError(
      error: unknown,
      request: StreamSocket,
      clientAddress: TCPAddr,
    ): Promise<void> {
      if (!worker.settings!.asks.handleError) {
        await super.handleError(error, request, clientAddress);
        return;
      }
      const { localAddr } = request;
      const sent = toErrorMessage(error);
      const ofClient = isOfClient(error, request, clientAddress);
      await worker.main.ask({
        hook: "handleError",
        clientAddress,
        localAddr,
        error: sent,
        ofClient,
      });
    }
  }
  return PooledServer;
}

/** A Worker of a pool, seen from inside. */
class PoolWorkerMain implements WorkerContext, IsolateBody<PoolTalk> {
  readonly init: PoolInit;
  settings: PoolSettings | null = null;
  view: PoolServerStub | null = null;
  readonly main: MainIsolate<PoolTalk>;
  readonly #counters: SharedCounters;
  #acceptErrors = 0;
  #countTimer: ReturnType<typeof setTimeout> | undefined;
  #Handler: HandlerClass | null = null;
  #server: ConcurrentTCPServer | null = null;
  #serving: Promise<void> | null = null;

  constructor(init: PoolInit, main: MainIsolate<PoolTalk>) {
    this.init = init;
    this.main = main;
    this.#counters = new SharedCounters(init.counters);
  }

  get Handler(): HandlerClass {
    return this.#Handler!;
  }

  /** Loads the handler and listens. */
  async #listen(): Promise<void> {
    const { init: { handler, address: { tcpBacklog, ...address }, tls } } = this;
    const Handler = this.#Handler = await loadHandler(handler);
    const options = {
      requestQueueSize: tcpBacklog,
      blockOnClose: false, // the main isolate waits, if anybody
      logger: this.#logger(),
    };
    // The handler class is for the family, which the checker cannot know.
    const args = [address, Handler as never] as const;
    const server = this.#server = tls === null
      ? new (pooledServer(ConcurrentTCPServer, this))(...args, options)
      : new (pooledServer(ConcurrentTLSServer, this))(...args, { ...options, ...tls });
    void this.#endWith(server); // never rejects
  }

  /** Ends the Worker when its server is closed and nothing runs any more. */
  async #endWith(server: ConcurrentTCPServer): Promise<void> {
    await server.finished;
    await this.main.settled();
    this.main.end(0);
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

  unlistened(): void {
    this.main.say({ type: "unlistened" });
  }

  count(): void {
    if (this.#server === null) return;
    const { acceptErrors: counts, ...stats } = this.#server.stats();
    this.#counters.write(stats);
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
      case "stop":
        await server.shutdown();
        await this.#serving;
        // Alone in its Worker, a request is the one "under way" that shutdown() waits for everywhere.
        while (server.maxConnections === 1 && isBusy(server.stats())) {
          await delay(STOP_INTERVAL);
        }
        return {};
      case "close":
        await server.serverClose();
        return {};
      case "drain":
        if (this.settings === null) this.#configure(server, command.settings);
        return await server.drain({ timeout: command.timeout });
    }
  }

  #configure(server: ConcurrentTCPServer, settings: PoolSettings): void {
    this.settings = settings;
    const { main } = this;
    this.view = new PoolServerStub(
      server,
      settings.context,
      (call, args) => main.ask({ call, args }),
    );
    this.#limit(server, settings);
  }

  #limit(server: ConcurrentTCPServer, { maxConnections, requestTimeout }: PoolLimits): void {
    server.maxConnections = maxConnections;
    server.requestTimeout = requestTimeout;
  }

  #serve(server: ConcurrentTCPServer, settings: PoolSettings): void {
    this.#configure(server, settings);
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

function isBusy({ active, state }: ServerStats): boolean {
  return active > 0 && state !== "closed";
}

if (import.meta.main) inIsolate<PoolTalk>((init, main) => new PoolWorkerMain(init, main));
