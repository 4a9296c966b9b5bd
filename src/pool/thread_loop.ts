/**
 * How a threading server serves whose Workers accept by themselves, and what of that is left to the usual loop, which
 * relays: the requests of `handleRequest()`, those who wait in the queue when the server drains, and all of them once
 * Workers cannot be started any more.
 *
 * @module
 */
import type { TCPAddr } from "../base/address.ts";
import { WorkerDiedError } from "../base/errors.ts";
import { KindLimit, logTo, oneLine, passOn, type ServerLogger } from "../base/log.ts";
import type { DrainResult } from "../base/options.ts";
import { settlesWithin } from "../base/time.ts";
import type { Drain, LifecycleHost, Run, ServingLoop } from "../core/lifecycle.ts";
import type { ServerState, ServerStats } from "../core/server_stats.ts";
import { BaseServer } from "../core/base_server.ts";
import { AcceptGate } from "../workers/accept_gate.ts";
import { cloneContext } from "../workers/context.ts";
import type { HandlerModule } from "../workers/handler_module.ts";
import type { WorkerEnd } from "../workers/worker.ts";
import { AcceptTurns } from "./accept_turns.ts";
import { DistantHooks, type HookHost } from "./distant_hooks.ts";
import type { PoolInit, PoolLimits, PoolSettings } from "./pool_messages.ts";
import { PoolWorker, type PoolWorkerEvents } from "./pool_worker.ts";
import { sharedAddresses } from "./shared_listener.ts";
import { ThreadSupervisor } from "./thread_supervisor.ts";
import type { DirectServer, ThreadingMode } from "./threading_mode.ts";

/** What the loop needs of its server. */
export interface ThreadHost extends LifecycleHost, HookHost, DirectServer {
  readonly serverAddress: TCPAddr;
  readonly state: ServerState;
  readonly context: unknown;
  readonly maxThreads: number;
  readonly requestTimeout: number | null;
  readonly threadIdleTimeout: number | null;
  readonly maxRequestsPerThread: number;
}

/** What a {@linkcode ThreadLoop} is made with. */
export interface ThreadLoopOptions {
  handler: HandlerModule;
  /** Runs a loop that serves by the relay, after Workers have accepted by themselves. */
  relay: (loop: () => Promise<void>) => Promise<void>;
  /** How many Workers there may be. */
  size: () => number;
  /** Told that there is one Worker less. */
  onEnd: () => void;
  /** Told that one was given up on because it does not await; says why nobody can be served any more, if so. */
  onPoisoned: () => Error | null;
}

/** Has the Workers of a threading server accept, or else leaves that to the usual loop. */
export class ThreadLoop implements ServingLoop {
  /** How this run is served, or the last one was. */
  #mode: ThreadingMode = { way: "relay", reason: "it has not served yet" };
  readonly #server: ThreadHost;
  readonly #options: ThreadLoopOptions;
  readonly #usual: ServingLoop;
  readonly #hooks: DistantHooks;
  readonly #supervisor: ThreadSupervisor;
  readonly #turns = new AcceptTurns();
  readonly #gate: AcceptGate;
  /** For the lines of Workers, of which each has its own limits. */
  readonly #lines = new KindLimit();
  /** Resolves when the run under way is to end; rejects with what ends it. */
  #stopped = Promise.withResolvers<void>();
  /** Why no Worker can be started. */
  #failure: { error: unknown } | null = null;
  /** Whether the server drains or is closed. */
  #isEnding = false;
  /** Whether the usual loop has ever accepted. */
  #hasRelayed = false;

  constructor(server: ThreadHost, usual: ServingLoop, options: ThreadLoopOptions) {
    this.#server = server;
    this.#options = options;
    this.#usual = usual;
    this.#hooks = new DistantHooks(server);
    this.#gate = new AcceptGate({ kind: "Worker", log: (line) => this.#log("warn", line) });
    this.#supervisor = new ThreadSupervisor({
      size: options.size,
      spare: () => Math.min(server.minSpareThreads, server.maxThreads),
      turns: this.#turns,
      start: (waiting, ending) => this.#startWorker(waiting, ending),
      settings: () => this.#settings(),
      onReady: () => {},
      onLoss: (line, ...errors) => this.#log("error", line, ...errors),
      onFailure: (error) => {
        this.#failure = { error };
        this.#stopped.resolve();
      },
      onDeath: (worker, end) => void this.#tell(diedError(worker, end), worker),
      onPoisoned: (worker) => {
        const { requestTimeout } = server;
        const text = `no end within ${requestTimeout} ms ('requestTimeout'), and it never awaits`;
        if (worker !== null) void this.#tell(new Deno.errors.TimedOut(text), worker);
        const error = options.onPoisoned();
        if (error !== null) this.#stopped.reject(error);
      },
      onEnd: options.onEnd,
    });
  }

  get busy(): boolean {
    return this.#supervisor.alive > 0 || this.#usual.busy;
  }

  get stopsAtOnce(): boolean {
    return this.#usual.stopsAtOnce;
  }

  get closesLast(): boolean {
    return this.#usual.closesLast;
  }

  /** How many Workers there are that accept by themselves. */
  get alive(): number {
    return this.#supervisor.alive;
  }

  /** How many of those were given up on so far. */
  get poisoned(): number {
    return this.#supervisor.poisonedSoFar;
  }

  /** Has the Workers take over limits that have changed. */
  limit(): void {
    this.#supervisor.limit(this.#limits());
  }

  /**
   * How the server serves, or would.
   *
   * @param whyRelay Says why Workers cannot accept by themselves; null where they can.
   */
  mode(whyRelay: () => string | null): ThreadingMode {
    return this.#server.state === "idle" ? this.#judge(whyRelay) : this.#mode;
  }

  /**
   * Decides how the next run is served; one that is under way goes on as it does.
   *
   * @returns Whether Workers accept by themselves.
   */
  decide(whyRelay: () => string | null): boolean {
    if (this.#server.state === "idle") this.#note(this.#judge(whyRelay));
    return this.#isDirect;
  }

  /** Notes that the usual loop serves, and may go on to wait for a client who would be lost to it. */
  noteRelay(): void {
    this.#hasRelayed = true;
  }

  get #isDirect(): boolean {
    return this.#mode.way === "direct";
  }

  #judge(whyRelay: () => string | null): ThreadingMode {
    const reason = this.#hasRelayed
      ? "the main isolate has accepted clients before"
      : whyRelay() ?? this.#contextFault();
    return reason === null
      ? { way: "direct", reason: "nothing needs the connections in the main isolate" }
      : { way: "relay", reason };
  }

  /** Why the context has to be made for each request: it changes, or something is wrong with it. */
  #contextFault(): string | null {
    try {
      const { context } = this.#server;
      cloneContext(context);
      const isSame = Object.is(context, this.#server.context);
      return isSame ? null : "requestContext() gives another object each time";
    } catch (error) {
      return `its context cannot be sent: ${oneLine(error)}`;
    }
  }

  #note(mode: ThreadingMode): void {
    const isNew = mode.reason !== this.#mode.reason;
    this.#mode = mode;
    if (!this.#isDirect) this.#hasRelayed = true;
    if (!isNew) return;
    const who = this.#isDirect ? "Workers accept clients" : "Main isolate relays";
    this.#log("debug", `${who}: ${mode.reason}`);
  }

  #limits(): PoolLimits {
    const { requestTimeout, maxRequestsPerThread: maxRequests, threadIdleTimeout } = this.#server;
    const { run } = this.#supervisor;
    const thread = { run, maxRequests, idleTimeout: threadIdleTimeout };
    return { maxConnections: 1, requestTimeout, thread };
  }

  #settings(): PoolSettings {
    const { context, verifyRequest } = this.#server;
    return {
      ...this.#limits(),
      context: cloneContext(context),
      asks: { verifyRequest: verifyRequest !== BaseServer.prototype.verifyRequest },
    };
  }

  async serve(
    run: Run,
    limit: number | null,
    tick: (() => void | Promise<void>) | null,
  ): Promise<void> {
    if (!this.#isDirect) return await this.#usual.serve(run, limit, tick);
    await this.#serveDirect(run, limit, tick);
    if (this.#failure === null || run.stopping) return;
    const { error } = this.#failure;
    if (!this.#supervisor.isProven) throw error;
    // Clients are told then, who would wait in the queue; and who comes may make another try.
    this.#note({ way: "relay", reason: `no Worker can be started: ${oneLine(error)}` });
    await this.#options.relay(() => this.#usual.serve(run, limit, tick));
  }

  async #serveDirect(
    run: Run,
    limit: number | null,
    tick: (() => void | Promise<void>) | null,
  ): Promise<void> {
    this.#hooks.run = run;
    this.#failure = null;
    const { promise: stopped } = this.#stopped = Promise.withResolvers<void>();
    stopped.catch(() => {}); // when it rejects, a tick may be under way
    try {
      if (run.stopping) return;
      this.#supervisor.serve();
      if (tick === null || limit === null) await stopped;
      else while (!await settlesWithin(stopped, limit)) await tick();
    } finally {
      if (!this.#isEnding) await this.#supervisor.stop();
    }
  }

  stats(state: ServerState): ServerStats {
    const usual = this.#usual.stats(state);
    const direct = this.#supervisor.stats();
    const sum = { ...usual, acceptErrors: { ...usual.acceptErrors }, workers: direct.workers! };
    for (
      const name of ["accepted", "active", "completed", "failed", "rejected", "aborted"] as const
    ) {
      sum[name] += direct[name];
    }
    for (const [code, count] of Object.entries(direct.acceptErrors)) {
      sum.acceptErrors[code] = (sum.acceptErrors[code] ?? 0) + count;
    }
    sum.peak = Math.max(usual.peak, direct.peak);
    return sum;
  }

  stop(run: Run): void {
    this.#stopped.resolve();
    this.#usual.stop(run);
  }

  limitDrain(timeout: number): void {
    this.#supervisor.limitDrain(timeout);
    this.#usual.limitDrain(timeout);
  }

  /** The Workers serve what they have; what waits in the queue is for the usual loop. */
  async drain(drain: Drain): Promise<DrainResult> {
    this.#isEnding = true;
    const drained = this.#supervisor.drain();
    if (this.#isDirect && drain.run !== null) {
      drain.run.stopping = true;
      this.stop(drain.run);
    }
    const [direct, usual] = await Promise.all([drained, this.#usual.drain(drain)]);
    return {
      completed: direct.completed + usual.completed,
      aborted: direct.aborted + usual.aborted,
    };
  }

  async close(): Promise<void> {
    this.#isEnding = true;
    // They have let go of the port when nobody waits for clients any more.
    if (this.#supervisor.alive > 0) await this.#supervisor.close();
    await this.#usual.close();
  }

  async idle(): Promise<void> {
    await Promise.all([this.#supervisor.gone(), this.#usual.idle()]);
  }

  /** Ends the Workers that accept by themselves, and with them what they serve. */
  terminate(): void {
    this.#supervisor.terminate();
  }

  #startWorker(signal: AbortSignal, ending: AbortSignal): Promise<PoolWorker> {
    const { handler } = this.#options;
    const options = {
      ...{ signal, ending, isFirst: () => !this.#supervisor.isUp },
      shortage: this.#gate.listener(),
    };
    const events: PoolWorkerEvents = {
      onQuestion: (question) => this.#hooks.answer(question),
      onLog: (level, text) => this.#passOn(level, text),
      onExited: (message) => {
        this.#passOn("warn", `${message} ends only its request: it was thrown in a Worker`);
      },
      onExit: (error) => this.#stopped.reject(error),
    };
    const { serverAddress, socket } = this.#server;
    const init: Omit<PoolInit, "record" | "handler"> = {
      address: sharedAddresses.get(socket)!,
      turns: this.#turns.memory,
      serverAddress,
      ...{ sharing: "queue", tls: null, queueShare: 0 },
    };
    return handler.start(
      (handler) => PoolWorker.start({ ...init, handler }, options, events),
      (worker) => worker.terminate(),
    );
  }

  /** Tells of a request whose Worker cannot do that any more. */
  async #tell(error: unknown, worker: PoolWorker): Promise<void> {
    try {
      await this.#hooks.tell(error, worker.record.ends());
    } catch (second) {
      this.#log("error", "Cannot handle error: handleError() failed with", second);
    }
  }

  /** Passes on a line of a Worker; of each kind there is one a second, as clients may have caused it. */
  #passOn(level: keyof ServerLogger, text: string): void {
    const [kind = ""] = text.split('"', 1);
    const more = this.#lines.take(kind);
    if (more !== null) passOn(this.#server.logger, level, text + more);
  }

  #log(level: keyof ServerLogger, message: string, ...errors: [error?: unknown]): void {
    logTo(this.#server.logger, level, message, ...errors);
  }
}

function diedError({ name }: PoolWorker, { error, ...status }: WorkerEnd): WorkerDiedError {
  return new WorkerDiedError(name, status, error === undefined ? {} : { cause: error });
}
