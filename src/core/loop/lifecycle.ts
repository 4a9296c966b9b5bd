/**
 * The life cycle of a server, whichever way it serves.
 *
 * | state | left by | for |
 * |---|---|---|
 * | idle | a run that begins | serving |
 * | serving | the end of the run: `shutdown()`, its signal, an error | idle |
 * | idle, serving | `drain()` | draining |
 * | idle, serving, draining | `close()`, with which a drain ends, too | closed |
 *
 * A run is one call of `serveForever()` or `handleRequest()`. There is one at a time. It goes on after `close()` for as
 * long as it waits for a request under way, so `finished` tells when the server is closed and nothing runs any more.
 *
 * How requests are served is the business of a {@linkcode ServingLoop}. `ServeLoop` accepts them in this isolate; a pool
 * has Workers accept them. To serve in another way: write a `ServingLoop`, and give it to the server by `serveBy()` of
 * `base_server.ts`. Whatever calls hooks of the server apart from that function calls them by `calls.run()`.
 *
 * @module
 */
import { isBound } from "../bind.ts";
import { formatAddress, type SocketAddress } from "../../base/address.ts";
import { logOf } from "../faults.ts";
import type { ServerLogger } from "../../base/log.ts";
import type { DrainResult } from "../../base/options.ts";
import type { ServerState, ServerStats } from "../server_stats.ts";
import { AsyncLocalStorage } from "node:async_hooks";

/** One run of `serveForever()` or `handleRequest()`. */
export interface Run {
  /** Whether it serves more than one request. */
  readonly forever: boolean;
  /** Set before `ServingLoop.stop()` is called: the run is to serve nobody more, and end. */
  stopping: boolean;
  /** What the run ends with, set by whoever is not waited for by it; null for what serves. */
  exit: Error | null;
  /** Whether it has ended. */
  over: boolean;
  /** Resolves when the run is to end, by `stopping` or by a drain: what it waits for before it serves is of no use then. */
  readonly ending: PromiseWithResolvers<void>;
  /** Resolves when the run has ended; resolved early, it ends although what serves does not. */
  readonly ended: PromiseWithResolvers<void>;
}

/** What is to be called again and again while a run serves; null for nothing. */
export type Tick = (() => void | Promise<void>) | null;

/** What a {@linkcode ServingLoop} gets to drain with. */
export interface Drain {
  /** The run under way when the drain began, or null. */
  readonly run: Run | null;
  /** Makes one more run, of the requests that wait; to be called when the other one has ended. */
  runAgain(serve: (run: Run) => Promise<void>): Promise<void>;
}

/** A way of serving, as a life cycle needs it. */
export interface ServingLoop {
  /** Whether requests are under way, for which `drain()` waits although the server is closed. */
  readonly busy: boolean;
  /** Whether a run that was told to stop does so without waiting for requests. */
  readonly stopsAtOnce: boolean;
  /** Whether `close()` waits for the requests under way before it closes the socket. */
  readonly closesLast: boolean;
  /**
   * Serves until `run.stopping`.
   *
   * @param limit How long `tick` may have to wait for its next call, in milliseconds; null without one.
   * @param tick What is to be called again and again meanwhile; null for nothing.
   */
  serve(run: Run, limit: number | null, tick: Tick): Promise<void>;
  /** A snapshot of the counters. */
  stats(state: ServerState): ServerStats;
  /** Wakes the run, if it waits: `run.stopping` is set. */
  stop(run: Run): void;
  /** Sees to it that a drain, under way or about to begin, ends within `timeout` milliseconds from now. */
  limitDrain(timeout: number): void;
  /** Serves what waits and waits for what runs; the life cycle closes the server afterwards. */
  drain(drain: Drain): Promise<DrainResult>;
  /** Closes the socket; resolves when the port is free. Called once, when the state is "closed". */
  close(): Promise<void>;
  /** Resolves when nothing is under way. */
  idle(): Promise<void>;
}

/** What a life cycle needs of its server. */
export interface LifecycleHost {
  readonly serverAddress: SocketAddress;
  readonly logger: ServerLogger;
  readonly blockOnClose: boolean;
  readonly [isBound]: boolean;
  serverClose(): Promise<void>;
}

/** The state of a server, and the ways from one to the next. */
export class Lifecycle {
  readonly #server: LifecycleHost;
  readonly #loop: ServingLoop;
  readonly #finished = Promise.withResolvers<void>();
  #state: ServerState = "idle";
  #run: Run | null = null;
  #draining: Promise<DrainResult> | null = null;
  /** Resolves when the port is free again; null while the server is open. */
  #closing: Promise<void> | null = null;
  /** The run that was under way when the server was closed. */
  #closingRun: Run | null = null;

  /**
   * @param server The server whose life this is.
   * @param loop How it serves.
   */
  constructor(server: LifecycleHost, loop: ServingLoop) {
    this.#server = server;
    this.#loop = loop;
  }

  get state(): ServerState {
    return this.#state;
  }

  /** Resolves when the server is closed and nothing runs any more. */
  get finished(): Promise<void> {
    return this.#finished.promise;
  }

  /**
   * Begins a run, and resolves when it has ended.
   *
   * @param forever Whether it serves more than one request.
   * @param serve Serves until `run.stopping`.
   * @param signal Ends the run.
   * @throws {Deno.errors.BadResource} When the server is closed, or not bound.
   * @throws {Deno.errors.Busy} When a run is under way.
   */
  async run(
    forever: boolean,
    serve: (run: Run) => Promise<void>,
    signal?: AbortSignal,
  ): Promise<void> {
    const address = formatAddress(this.#server.serverAddress);
    if (this.#closing !== null || this.#draining !== null) {
      throw new Deno.errors.BadResource(`Cannot serve on "${address}": the server is closed`);
    }
    if (this.#run !== null) {
      throw new Deno.errors.Busy(
        `Cannot serve on "${address}": the server is serving already; ` +
          "for several loops on one port use PoolTCPServer",
      );
    }
    if (!this.#server[isBound]) {
      throw new Deno.errors.BadResource(
        `Cannot serve on "${address}": it is not bound; call serverBind() and serverActivate() first`,
      );
    }
    this.#state = "serving";
    await this.#runUntilEnd(forever, serve, signal);
  }

  async #runUntilEnd(
    forever: boolean,
    serve: (run: Run) => Promise<void>,
    signal?: AbortSignal,
  ): Promise<void> {
    const run: Run = {
      forever,
      stopping: false,
      exit: null,
      over: false,
      ending: Promise.withResolvers(),
      ended: Promise.withResolvers(),
    };
    this.#run = run;
    const stop = () => this.#stop(run);
    if (signal?.aborted) stop();
    signal?.addEventListener("abort", stop, { once: true });
    const call: Call = { server: this.#server, run, outer: calls.getStore(), running: true };
    const serving = calls.run(call, serve, run);
    // A drain ends a run whose handler does not return; nobody waits for how the handler ends then.
    serving.catch(() => {});
    try {
      await Promise.race([serving, run.ended.promise]);
      if (run.exit !== null) throw run.exit;
    } finally {
      signal?.removeEventListener("abort", stop);
      call.running = false;
      run.over = true;
      if (this.#run === run) this.#run = null;
      if (this.#state === "serving") this.#state = "idle";
      run.ended.resolve();
    }
  }

  #stop(run: Run): void {
    run.stopping = true;
    run.ending.resolve();
    if (run === this.#run) this.#loop.stop(run);
  }

  /** Ends the run under way and waits for its end. */
  async shutdown(): Promise<void> {
    const run = this.#run;
    if (run === null) return;
    this.#stop(run);
    if (!isInside(this.#server, run)) await run.ended.promise;
  }

  /** Closes the server; may be called again. */
  async close(): Promise<void> {
    const run = this.#closingRun ??= this.#run;
    this.#closing ??= this.#close(run);
    if (this.#loop.closesLast && isInside(this.#server)) {
      // What waits for the requests under way cannot be waited for by one of them.
      this.#closing.catch((error) => this.#log("Cannot close", error));
      return;
    }
    await this.#closing;
    // With a request under way in it the run ends later; `finished` tells.
    const endsSoon = this.#loop.stopsAtOnce || !this.#loop.busy;
    if (run !== null && endsSoon && !isInside(this.#server, run)) await run.ended.promise;
    if (this.#server.blockOnClose && !isInside(this.#server)) await this.#loop.idle();
  }

  async #close(run: Run | null): Promise<void> {
    this.#state = "closed";
    if (run !== null) this.#stop(run);
    try {
      await this.#loop.close();
    } finally {
      void this.#finish(run);
    }
  }

  async #finish(run: Run | null): Promise<void> {
    await run?.ended.promise;
    await this.#loop.idle();
    this.#finished.resolve();
  }

  /** Drains and closes, or shortens the time of a drain under way. */
  async drain(timeout: number | null): Promise<DrainResult> {
    if (this.#closing !== null && this.#draining === null && !this.#loop.busy) {
      await this.#closing;
      return { completed: 0, aborted: 0 };
    }
    this.#run?.ending.resolve();
    if (timeout !== null) this.#loop.limitDrain(timeout);
    this.#draining ??= this.#drain();
    if (!isInside(this.#server)) return await this.#draining;
    this.#draining.catch((error) => this.#log("Cannot drain", error));
    return { completed: 0, aborted: 0 };
  }

  async #drain(): Promise<DrainResult> {
    if (this.#closing === null) this.#state = "draining";
    try {
      return await this.#loop.drain({
        run: this.#run,
        runAgain: (serve) => this.#runUntilEnd(true, serve),
      });
    } finally {
      await this.#server.serverClose();
    }
  }

  #log(message: string, error: unknown): void {
    logOf(this.#server, "error", message, error);
  }
}

/**
 * Code that a server waits for: a run of its loop with all that it calls, or a request that runs beside the loop.
 *
 * What waits for a server's requests must not be waited for by one of them, so `shutdown()`, `drain()` and `serverClose()`
 * return at once there. A call is inside for as long as it runs, whatever it awaits, and so is everything that it starts.
 */
export interface Call {
  /** Whose call this is. */
  readonly server: object;
  /** The run that ends only after this call; null for a request beside the loop. */
  readonly run: object | null;
  /** The call from which this one was started, if any. */
  readonly outer: Call | undefined;
  /** Whether the server still waits for it. */
  running: boolean;
}

/** The call in which the code that asks runs. */
export const calls: AsyncLocalStorage<Call> = new AsyncLocalStorage();

/** Whether the code that runs now is something that a server waits for, or where `run` is given, that run. */
export function isInside(server: object, run?: object): boolean {
  for (let call = calls.getStore(); call !== undefined; call = call.outer) {
    if (call.server !== server || !call.running) continue;
    if (run === undefined || call.run === run) return true;
  }
  return false;
}
