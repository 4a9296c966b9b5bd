/**
 * How Workers serve that accept the clients, while this isolate starts, stops and drains them.
 *
 * The states are those of `core/loop/lifecycle.ts`; what the Workers do in each is decided in `pool_supervisor.ts`.
 *
 * This folder has Workers that accept clients by themselves, from a queue that they share (`shared_listener.ts`): those of a
 * pool, each with many clients, and those of a threading server (`thread_loop.ts`, `thread_supervisor.ts`), which have one
 * each, take turns, and are as many as clients need. It uses all folders below; `inside/` is what runs in the Workers, and
 * the classes of `servers/` that serve so are its only users.
 *
 * @module
 */
import { isBound } from "../core/bind.ts";
import { formatAddress } from "../base/address.ts";
import { logOf } from "../core/faults.ts";
import { KindLimit, passOn, type ServerLogger } from "../base/log.ts";
import type { DrainResult } from "../base/options.ts";
import { delay, settlesWithin } from "../base/time.ts";
import type { Drain, Run, ServingLoop, Tick } from "../core/loop/lifecycle.ts";
import type { ServerState, ServerStats } from "../core/server_stats.ts";
import type { TCPServer } from "../families/tcp_server.ts";
import { AcceptGate } from "../workers/descriptor_gate.ts";
import type { HandlerModule } from "../workers/handler_module.ts";
import { DistantHooks } from "./distant_hooks.ts";
import type { PoolInit } from "./pool_messages.ts";
import type { PoolSupervisor, PoolSupervisorOptions } from "./pool_supervisor.ts";
import { PoolWorker, type PoolWorkerEvents } from "./pool_worker.ts";

/** How long to wait at most for Deno to let go of a port after a Worker was lost, in milliseconds. */
const FREE_LIMIT = 1000;

export interface PoolLoopOptions<Supervisor>
  extends Pick<PoolSupervisorOptions, "size" | "settings" | "onLost" | "onPoisoned"> {
  /** What messages call a Worker. */
  kind: string;
  handler: HandlerModule;
  /** What Workers are started with beside the handler; called when the server is bound. */
  init: () => Omit<PoolInit, "record" | "handler">;
  /** Makes what keeps them. */
  supervise: (options: PoolSupervisorOptions) => Supervisor;
  /** Called when a Worker listens. */
  onReady?: () => void;
  /** Whether nobody listens any more; called when Deno may be late in letting go of the port. */
  isPortFree?: () => boolean;
}

/**
 * Has Workers serve.
 *
 * @typeParam Supervisor What keeps them.
 */
export class PoolLoop<Supervisor extends PoolSupervisor = PoolSupervisor> implements ServingLoop {
  readonly stopsAtOnce = true;
  readonly closesLast = false;
  readonly supervisor: Supervisor;
  readonly hooks: DistantHooks;
  readonly #server: TCPServer;
  readonly #options: PoolLoopOptions<Supervisor>;
  readonly #gate: AcceptGate;
  /** For the lines of Workers, of which each has its own limits. */
  readonly #lines = new KindLimit();
  /** Resolves when the run under way is to end, and rejects with what ends it; null without one. */
  #stopped: PromiseWithResolvers<void> | null = null;
  /** Resolves when the Workers have drained; null before that begins. */
  #drained: Promise<DrainResult> | null = null;
  /** Resolves when a drain has closed the listener; null before one begins. */
  #unlistened: Promise<void> | null = null;
  /** Resolves when the port is free again; null while the server is open. */
  #closing: Promise<void> | null = null;

  constructor(server: TCPServer, options: PoolLoopOptions<Supervisor>) {
    this.#server = server;
    this.#options = options;
    const { kind, size, settings, supervise, onLost, onPoisoned, onReady = () => {} } = options;
    this.hooks = new DistantHooks(server);
    this.#gate = new AcceptGate({ kind, log: (line) => logOf(this.#server, "warn", line) });
    this.supervisor = supervise({
      ...{ size, settings, onLost, onPoisoned, onReady },
      start: (waiting, ending) => this.#startWorker(waiting, ending),
      isShort: () => this.#gate.isShort,
      onLoss: (line, ...errors) => logOf(this.#server, "error", line, ...errors),
      onFailure: (error) => this.fail(error),
    });
  }

  /** A Worker of a closed pool ends when its requests have. */
  get busy(): boolean {
    return this.supervisor.alive > 0;
  }

  stats(state: ServerState): ServerStats {
    return { state, ...this.supervisor.stats() };
  }

  async serve(run: Run, limit: number | null, tick: Tick): Promise<void> {
    this.hooks.run = run;
    const { promise: stopped } = this.#stopped = Promise.withResolvers<void>();
    stopped.catch(() => {}); // when it rejects, a tick may be under way, or the Workers stop already
    try {
      if (run.stopping) return;
      this.supervisor.serve();
      if (tick === null || limit === null) await stopped;
      else while (!await settlesWithin(stopped, limit)) await tick();
    } finally {
      this.#stopped = null;
      // Whoever drains or closes says to the Workers what to do.
      await (this.#drained ?? this.#closing ?? this.supervisor.stop());
    }
  }

  stop(): void {
    this.#stopped?.resolve();
  }

  /** Ends the run under way, if any, and with it `serveForever()`, by an error. */
  fail(error: unknown): void {
    this.#stopped?.reject(error);
  }

  limitDrain(timeout: number): void {
    this.supervisor.limitDrain(timeout);
  }

  async drain({ run }: Drain): Promise<DrainResult> {
    if (this.#closing !== null) return await this.supervisor.drain(); // what still runs gets its time
    if (!this.#server[isBound]) return { completed: 0, aborted: 0 };
    this.#drained = this.supervisor.drain();
    this.#drained.catch(() => {}); // it is awaited in a moment
    this.#unlistened = this.#unlisten();
    if (run !== null) {
      run.stopping = true;
      this.stop();
    }
    await this.#unlistened;
    return await this.#drained;
  }

  close(): Promise<void> {
    return this.#closing = this.#close();
  }

  /** Resolves when there are no Workers, and a drain waits for nothing more of them. */
  async idle(): Promise<void> {
    await this.supervisor.gone();
    await this.#unlistened;
  }

  /**
   * Frees the port as soon as no Worker listens any more: who comes then finds another server or none. The listener
   * of this isolate, from which nobody accepts, keeps the queue until all Workers are up, and no longer: the last one
   * is to belong to somebody who accepts.
   */
  async #unlisten(): Promise<void> {
    await this.supervisor.allUp();
    if (this.#closing !== null) return;
    this.#server.closeSocket();
    await this.supervisor.unlistened();
    await this.#portFreed();
  }

  async #close(): Promise<void> {
    const unresponsive = await this.supervisor.close();
    // The last listener, so that Deno forgets the queue: it may not when two are closed at the same moment.
    this.#server.closeSocket();
    if (unresponsive > 0) {
      this.#warnOfPort(unresponsive === 1 ? "a Worker does" : `${unresponsive} Workers do`);
    } else if (this.supervisor.crashed && !await this.#portFreed()) {
      this.#warnOfPort("a Worker that was given up on does");
    }
  }

  /** Waits until Deno has let go of the port of a Worker that ended in another way than by our order. */
  async #portFreed(): Promise<boolean> {
    const deadline = performance.now() + FREE_LIMIT;
    while (this.#options.isPortFree?.() === false) {
      if (performance.now() > deadline) return false;
      await delay(2);
    }
    return true;
  }

  #warnOfPort(who: string): void {
    const address = formatAddress(this.#server.serverAddress);
    logOf(
      this.#server,
      "warn",
      `Cannot free "${address}" yet: ${who} not pause, which is needed for that`,
    );
  }

  #startWorker(signal: AbortSignal, ending: AbortSignal): Promise<PoolWorker> {
    const { handler, init } = this.#options;
    const isFirst = () => !this.supervisor.isUp;
    const options = { signal, ending, isFirst, shortage: this.#gate.listener() };
    const events: PoolWorkerEvents = {
      onQuestion: (question) => this.hooks.answer(question),
      onLog: (level, text) => this.#passOn(level, text),
      onExit: (error) => this.fail(error),
    };
    return handler.start(
      (handler) => PoolWorker.start({ ...init(), handler }, options, events),
      (worker) => worker.terminate(),
    );
  }

  /** Passes on a line of a Worker; of each kind there is one a second, as clients may have caused it. */
  #passOn(level: keyof ServerLogger, text: string): void {
    const [kind = ""] = text.split('"', 1);
    const line = this.#lines.takeLine(kind, text);
    if (line !== null) passOn(this.#server.logger, level, line);
  }
}
