/**
 * The life of a pool: how its Workers are made to serve, and the ways in which that ends.
 *
 * @module
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { formatAddress, type TCPAddr } from "../base/address.ts";
import { noteSource } from "../base/errors.ts";
import { logTo, passOn, type ServerLogger } from "../base/log.ts";
import type { DrainResult } from "../base/options.ts";
import { delay, settlesWithin } from "../base/time.ts";
import type { ServerState, ServerStats } from "../core/request_tracker.ts";
import { StreamSocket } from "../sockets/stream_socket.ts";
import type { StreamTransport } from "../sockets/stream_transport.ts";
import { fromErrorMessage, toErrorMessage } from "../channel/messages.ts";
import { PoolSupervisor } from "./pool_supervisor.ts";
import type {
  PoolAnswer,
  PoolInit,
  PoolLimits,
  PoolQuestion,
  PoolSettings,
} from "./pool_messages.ts";
import { PoolWorker } from "./pool_worker.ts";
import { AcceptGate } from "../workers/accept_gate.ts";

/** How long to wait at most for Deno to let go of a port after a Worker was lost, in milliseconds. */
const FREE_LIMIT = 1000;

/** How long an accept that was under way may hold a listener that was closed, in milliseconds. */
const ACCEPT_GRACE = 10;

/** What the life of a pool needs of its server. */
export interface PoolHost {
  readonly serverAddress: TCPAddr;
  readonly workers: number;
  readonly logger: ServerLogger;
  readonly blockOnClose: boolean;
  assertBound(): void;
  closeSocket(): void;
  serverClose(): Promise<void>;
  verifyRequest(request: StreamSocket, clientAddress: TCPAddr): boolean | Promise<boolean>;
  handleError(error: unknown, request: StreamSocket, clientAddress: TCPAddr): void | Promise<void>;
}

/** What a {@linkcode PoolLifecycle} is made with. */
export interface PoolLifecycleOptions {
  /** What Workers are started with; called when the server is bound. */
  init: () => Omit<PoolInit, "counters">;
  /** How Workers serve; called each time they are to. */
  settings: () => PoolSettings;
  /** Whether there is reason to start another Worker at once after one has failed with this error. */
  mend: (error: unknown) => Promise<boolean>;
  /** Called when a Worker listens. */
  onReady: () => void;
  /** Whether nobody listens any more; called when Deno may be late in letting go of the port. */
  isPortFree: () => boolean;
}

/** One run of `serveForever()`. */
interface Run {
  /** Resolves when it is to end; rejects with what ends it. */
  readonly stop: PromiseWithResolvers<void>;
  /** Resolves when it has ended. */
  readonly ended: PromiseWithResolvers<void>;
}

/** A call of a hook on behalf of a Worker, which waits for it. */
interface HookCall {
  readonly life: PoolLifecycle;
  running: boolean;
}

const hookCalls = new AsyncLocalStorage<HookCall>();

/** Runs the Workers of a pool and ends them. */
export class PoolLifecycle {
  readonly #server: PoolHost;
  readonly #options: PoolLifecycleOptions;
  readonly #supervisor: PoolSupervisor;
  readonly #shortage: AcceptGate;
  readonly #finished = Promise.withResolvers<void>();
  #state: ServerState = "idle";
  #run: Run | null = null;
  /** Resolves when the Workers have drained. */
  #crewDrained: Promise<DrainResult> | null = null;
  #draining: Promise<DrainResult> | null = null;
  /** Resolves when the port is free again; null while the server is open. */
  #closing: Promise<void> | null = null;

  constructor(server: PoolHost, options: PoolLifecycleOptions) {
    this.#server = server;
    this.#options = options;
    this.#shortage = new AcceptGate({
      kind: "Worker of pool",
      log: (line) => this.#log("warn", line),
    });
    this.#supervisor = new PoolSupervisor({
      size: () => server.workers,
      start: () => this.#startWorker(),
      settings: options.settings,
      mend: options.mend,
      onReady: options.onReady,
      onLoss: (line, ...errors) => this.#log("error", line, ...errors),
      onFailure: (error) => this.#run?.stop.reject(error),
    });
  }

  get state(): ServerState {
    return this.#state;
  }

  get finished(): Promise<void> {
    return this.#finished.promise;
  }

  stats(): ServerStats {
    return { state: this.#state, ...this.#supervisor.stats() };
  }

  /** Has the Workers take over limits that have changed. */
  limit(limits: PoolLimits): void {
    this.#supervisor.limit(limits);
  }

  /**
   * Serves until something ends that.
   *
   * @param tick What to call each `pollInterval`; null for nothing.
   */
  async serveForever(
    pollInterval: number,
    signal: AbortSignal | undefined,
    tick: (() => void | Promise<void>) | null,
  ): Promise<void> {
    const run = this.#begin();
    const stop = () => run.stop.resolve();
    signal?.addEventListener("abort", stop, { once: true });
    try {
      if (signal?.aborted) stop();
      else this.#supervisor.serve();
      if (tick === null) await run.stop.promise;
      else while (!await settlesWithin(run.stop.promise, pollInterval)) await tick();
    } finally {
      signal?.removeEventListener("abort", stop);
      // Whoever drains or closes says to the Workers what to do.
      await (this.#crewDrained ?? this.#closing ?? this.#supervisor.stop());
      this.#run = null;
      if (this.#state === "serving") this.#state = "idle";
      run.ended.resolve();
    }
  }

  async shutdown(): Promise<void> {
    const run = this.#run;
    if (run === null) return;
    run.stop.resolve();
    if (!this.#isInside()) await run.ended.promise;
  }

  async close(): Promise<void> {
    const run = this.#run;
    await (this.#closing ??= this.#close());
    if (this.#isInside()) return;
    if (run !== null) await run.ended.promise;
    if (this.#server.blockOnClose) await this.#supervisor.gone();
  }

  /** Drains, or shortens the time of a drain under way. */
  async drain(timeout: number | null): Promise<DrainResult> {
    if (this.#closing !== null && this.#draining === null) {
      await this.#closing;
      return { completed: 0, aborted: 0 };
    }
    if (this.#draining === null) this.#draining = this.#drain(timeout);
    else if (this.#closing === null) void this.#supervisor.drain(timeout);
    if (!this.#isInside()) return await this.#draining;
    this.#draining.catch((error) => this.#log("error", "Cannot drain", error));
    return { completed: 0, aborted: 0 };
  }

  #begin(): Run {
    const address = formatAddress(this.#server.serverAddress);
    if (this.#closing !== null || this.#draining !== null) {
      throw new Deno.errors.BadResource(`Cannot serve on "${address}": the server is closed`);
    }
    if (this.#run !== null) {
      throw new Deno.errors.Busy(`Cannot serve on "${address}": the server is serving already`);
    }
    this.#server.assertBound();
    this.#state = "serving";
    const run = this.#run = {
      stop: Promise.withResolvers<void>(),
      ended: Promise.withResolvers<void>(),
    };
    run.stop.promise.catch(() => {}); // serveForever() may be busy in serviceActions() when it rejects
    return run;
  }

  async #drain(timeout: number | null): Promise<DrainResult> {
    this.#state = "draining";
    try {
      if (!this.#isBound()) return { completed: 0, aborted: 0 };
      this.#crewDrained = this.#supervisor.drain(timeout);
      this.#crewDrained.catch(() => {}); // it is awaited in a moment
      const unlistened = this.#unlisten();
      this.#run?.stop.resolve();
      await unlistened;
      return await this.#crewDrained;
    } finally {
      await this.#server.serverClose();
    }
  }

  /** Frees the port when no Worker listens any more: who comes then finds another server or none. */
  async #unlisten(): Promise<void> {
    await this.#supervisor.unlistened();
    await delay(ACCEPT_GRACE);
    if (this.#closing !== null) return;
    this.#server.closeSocket();
    await this.#portFreed();
  }

  /** Resolves when the port is free. */
  async #close(): Promise<void> {
    this.#state = "closed";
    this.#run?.stop.resolve();
    const unresponsive = await this.#supervisor.close();
    // The last listener, so that Deno forgets the queue: it may not when two are closed at the same moment.
    this.#server.closeSocket();
    void this.#supervisor.gone().then(this.#finished.resolve);
    if (unresponsive > 0) {
      this.#warnOfPort(unresponsive === 1 ? "a Worker does" : `${unresponsive} Workers do`);
    } else if (this.#supervisor.crashed && !await this.#portFreed()) {
      this.#warnOfPort("a Worker that was given up on does");
    }
  }

  /** Waits until Deno has let go of the port of a Worker that ended in another way than by our order. */
  async #portFreed(): Promise<boolean> {
    const deadline = performance.now() + FREE_LIMIT;
    while (!this.#options.isPortFree()) {
      if (performance.now() > deadline) return false;
      await delay(2);
    }
    return true;
  }

  #warnOfPort(who: string): void {
    const address = formatAddress(this.#server.serverAddress);
    this.#log("warn", `Cannot free "${address}" yet: ${who} not pause, which is needed for that`);
  }

  #startWorker(): PoolWorker {
    return new PoolWorker(this.#options.init(), {
      onQuestion: async (question) => {
        const call: HookCall = { life: this, running: true };
        const answer = await hookCalls.run(call, () => this.#answer(question));
        call.running = false;
        return answer;
      },
      isFirst: () => !this.#supervisor.isUp,
      shortage: this.#shortage.listener(),
      onLog: (level, text) => passOn(this.#server.logger, level, text),
      onExit: (error) => this.#run?.stop.reject(error),
    });
  }

  /** Calls a hook for a Worker. */
  async #answer(question: PoolQuestion): Promise<PoolAnswer> {
    const { hook, clientAddress } = question;
    const request = new StreamSocket(new DistantConnection(question));
    try {
      if (hook === "verifyRequest") {
        return { verdict: await this.#server.verifyRequest(request, clientAddress) };
      }
      const error = fromErrorMessage(question.error!);
      if (question.ofClient) noteSource(error, request);
      await this.#server.handleError(error, request, clientAddress);
      return {};
    } catch (error) {
      return { error: toErrorMessage(error) };
    }
  }

  #isBound(): boolean {
    try {
      this.#server.assertBound();
      return true;
    } catch {
      return false; // a server that never listened has no queue
    }
  }

  /** Whether the code that runs now is something that a Worker waits for. */
  #isInside(): boolean {
    const call = hookCalls.getStore();
    return call?.life === this && call.running;
  }

  #log(level: keyof ServerLogger, message: string, ...errors: [error?: unknown]): void {
    logTo(this.#server.logger, level, message, ...errors);
  }
}

/** A connection that another isolate has, for hooks that want to know whose it is. */
class DistantConnection implements StreamTransport {
  readonly localAddr: Deno.Addr;
  readonly remoteAddr: Deno.Addr;

  constructor({ localAddr, clientAddress }: PoolQuestion) {
    this.localAddr = localAddr;
    this.remoteAddr = clientAddress;
  }

  read(): Promise<never> {
    return Promise.reject(distant());
  }

  write(): Promise<never> {
    return Promise.reject(distant());
  }

  closeWrite(): Promise<never> {
    return Promise.reject(distant());
  }

  close(): void {}

  ref(): void {}

  unref(): void {}
}

function distant(): Error {
  return new Deno.errors.NotSupported(
    "Cannot use connection in this hook of a pool: a Worker has it; the addresses are here",
  );
}
