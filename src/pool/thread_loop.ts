/**
 * How a threading server serves whose Workers accept by themselves, and what of that is left to the usual loop, which
 * relays: the requests of `handleRequest()`, those who wait in the queue when the server drains, and all of them once
 * Workers cannot be started any more.
 *
 * @module
 */
import { WorkerDiedError } from "../base/errors.ts";
import { logOf } from "../core/faults.ts";
import { oneLine } from "../base/log.ts";
import type { DrainResult } from "../base/options.ts";
import type { Drain, Run, ServingLoop, Tick } from "../core/loop/lifecycle.ts";
import type { ServerState, ServerStats } from "../core/server_stats.ts";
import { BaseServer } from "../core/base_server.ts";
import { cloneContext } from "../workers/relay/context.ts";
import type { WorkerEnd } from "../workers/worker.ts";
import { AcceptTurns } from "./inside/accept_turns.ts";
import { PoolLoop, type PoolLoopOptions } from "./pool_loop.ts";
import type { PoolLimits, PoolSettings } from "./pool_messages.ts";
import { COUNTERS } from "./inside/worker_record.ts";
import type { PoolWorker } from "./pool_worker.ts";
import { addCounts } from "./pool_counts.ts";
import { sharedAddresses } from "./shared_listener.ts";
import { ThreadSupervisor } from "./thread_supervisor.ts";
import { mayBlock } from "../workers/handler_module.ts";
import { TCPServer } from "../families/tcp_server.ts";

/**
 * How the clients of a server with `ThreadingMixIn` come to their Workers.
 *
 * - `"direct"`: Workers accept clients by themselves; no byte and no message passes through the main isolate.
 * - `"relay"`: the main isolate accepts them, and passes on what they send and get.
 */
export interface ThreadingMode {
  /** Which of the two it is. */
  readonly way: "direct" | "relay";
  /** Why, in a few words. */
  readonly reason: string;
}

/** A server with the settings of `ThreadingMixIn` that count here. */
export interface ThreadHost extends TCPServer {
  readonly minSpareThreads: number;
  readonly maxThreads: number;
  readonly threadIdleTimeout: number | null;
  readonly maxRequestsPerThread: number;
}

export interface ThreadLoopOptions
  extends Pick<PoolLoopOptions<ThreadSupervisor>, "handler" | "size" | "onPoisoned"> {
  /** Says why Workers cannot accept by themselves; null where they can. */
  whyRelay: () => string | null;
  /** Runs a loop that serves by the relay, after Workers have accepted by themselves. */
  relay: (loop: () => Promise<void>) => Promise<void>;
  /** Told that there is one Worker less. */
  onEnd: () => void;
}

/** Has the Workers of a threading server accept, or else leaves that to the usual loop. */
export class ThreadLoop implements ServingLoop {
  /** Has Workers serve that accept by themselves. */
  readonly direct: PoolLoop<ThreadSupervisor>;
  /** How this run is served, or the last one was. */
  #mode: ThreadingMode = { way: "relay", reason: "it has not served yet" };
  readonly #server: ThreadHost;
  readonly #options: ThreadLoopOptions;
  readonly #usual: ServingLoop;
  /** Why no Worker can be started. */
  #failure: { error: unknown } | null = null;
  /** Whether the usual loop has ever accepted. */
  #hasRelayed = false;

  constructor(server: ThreadHost, usual: ServingLoop, options: ThreadLoopOptions) {
    this.#server = server;
    this.#options = options;
    this.#usual = usual;
    const { handler, size, onPoisoned, onEnd } = options;
    const turns = new AcceptTurns();
    this.direct = new PoolLoop(server, {
      ...{ kind: "Worker", handler, size, onPoisoned },
      init: () => ({
        address: sharedAddresses.get(server.socket)!,
        turns: turns.memory,
        serverAddress: server.serverAddress,
        ...{ sharing: "queue", tls: null, queueShare: 0 },
      }),
      settings: () => this.#settings(),
      onLost: (worker) => {
        const limit = `no end within ${server.requestTimeout} ms ('requestTimeout')`;
        const error = new Deno.errors.TimedOut(`${limit}, and it never awaits`);
        void this.#tell(error, worker, true); // a client can cause it: one line of the log, not a stack
      },
      supervise: (common) =>
        new ThreadSupervisor({
          ...{ ...common, turns, onEnd },
          spare: () => Math.min(server.minSpareThreads, server.maxThreads),
          onFailure: (error) => {
            this.#failure = { error };
            this.direct.stop();
          },
          onDeath: (worker, end) => void this.#tell(diedError(worker, end), worker),
        }),
    });
  }

  /** What keeps the Workers that accept by themselves. */
  get supervisor(): ThreadSupervisor {
    return this.direct.supervisor;
  }

  get busy(): boolean {
    return this.direct.busy || this.#usual.busy;
  }

  get stopsAtOnce(): boolean {
    return this.#usual.stopsAtOnce;
  }

  get closesLast(): boolean {
    return this.#usual.closesLast;
  }

  /** Has the Workers take over limits that have changed. */
  limit(): void {
    this.supervisor.limit(this.#limits());
  }

  /** How the server serves, or would. */
  get mode(): ThreadingMode {
    return this.#server.state === "idle" ? this.#judge() : this.#mode;
  }

  /**
   * Decides how the next run is served; one that is under way goes on as it does.
   *
   * @returns Whether Workers accept by themselves.
   */
  decide(): boolean {
    if (this.#server.state === "idle") this.#note(this.#judge());
    return this.#isDirect;
  }

  /** Notes that the usual loop serves, and may go on to wait for a client who would be lost to it. */
  noteRelay(): void {
    this.#hasRelayed = true;
  }

  get #isDirect(): boolean {
    return this.#mode.way === "direct";
  }

  #judge(): ThreadingMode {
    const reason = this.#hasRelayed // and may still wait for a client, who would be lost
      ? "the main isolate has accepted clients before"
      : this.#options.whyRelay() ?? contextFault(this.#server);
    return reason === null
      ? { way: "direct", reason: "nothing needs the connections in the main isolate" }
      : { way: "relay", reason };
  }

  #note(mode: ThreadingMode): void {
    const isNew = mode.reason !== this.#mode.reason;
    this.#mode = mode;
    if (!this.#isDirect) this.#hasRelayed = true;
    if (!isNew) return;
    const who = this.#isDirect ? "Workers accept clients" : "Main isolate relays";
    logOf(this.#server, "debug", `${who}: ${mode.reason}`);
  }

  #limits(): PoolLimits {
    const { requestTimeout, maxRequestsPerThread: maxRequests, threadIdleTimeout } = this.#server;
    const { run } = this.supervisor;
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

  async serve(run: Run, limit: number | null, tick: Tick): Promise<void> {
    if (!this.#isDirect) return await this.#usual.serve(run, limit, tick);
    this.#failure = null;
    await this.direct.serve(run, limit, tick);
    if (this.#failure === null || run.stopping) return;
    const { error } = this.#failure;
    if (!this.supervisor.isProven) throw error;
    // Clients are told then, who would wait in the queue; and who comes may make another try.
    this.#note({ way: "relay", reason: `no Worker can be started: ${oneLine(error)}` });
    await this.#options.relay(() => this.#usual.serve(run, limit, tick));
  }

  stats(state: ServerState): ServerStats {
    const [sum, direct] = [this.#usual.stats(state), this.supervisor.stats()];
    const peak = Math.max(sum.peak, direct.peak);
    for (const name of COUNTERS) sum[name] += direct[name];
    addCounts(sum.acceptErrors, direct.acceptErrors);
    return { ...sum, peak, workers: direct.workers! };
  }

  stop(run: Run): void {
    this.direct.stop();
    this.#usual.stop(run);
  }

  limitDrain(timeout: number): void {
    this.direct.limitDrain(timeout);
    this.#usual.limitDrain(timeout);
  }

  /** The Workers serve what they have; what waits in the queue is for the usual loop. */
  async drain(drain: Drain): Promise<DrainResult> {
    const drained = this.supervisor.drain();
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
    // They have let go of the port when nobody waits for clients any more.
    await this.supervisor.close();
    await this.#usual.close();
  }

  async idle(): Promise<void> {
    await Promise.all([this.direct.idle(), this.#usual.idle()]);
  }

  /** Tells of a request whose Worker cannot do that any more. */
  async #tell(error: unknown, worker: PoolWorker, ofClient = false): Promise<void> {
    try {
      await this.direct.hooks.tell(error, worker.record.ends(), ofClient);
    } catch (exit) {
      // The request has nobody to tell any more that handleError() wants the loop to end.
      logOf(this.#server, "error", "Cannot exit", exit);
    }
  }
}

function diedError({ name }: PoolWorker, { error, ...status }: WorkerEnd): WorkerDiedError {
  return new WorkerDiedError(name, status, error === undefined ? {} : { cause: error });
}

/** The steps of a request, which the Workers take. */
const STEPS = ["processRequest", "prepareRequest", "shutdownRequest", "closeRequest"] as const;
/** What binds and closes; an own one may listen in another way. */
const BINDING = ["serverBind", "serverActivate", "closeSocket", "inetAddress"] as const;

/**
 * Says why the Workers of a server cannot accept clients by themselves.
 *
 * @param own What the mix-in has put over the base, whose own steps it calls.
 * @param base The class beneath the mix-in.
 * @returns A few words; null where they can.
 */
export function whyRelay(server: ThreadHost, own: object, base: object): string | null {
  const has = (at: object, names: readonly string[], usual: object) =>
    names.find((name) => Reflect.get(at, name) !== Reflect.get(usual, name));
  const step = has(server, STEPS, TCPServer.prototype) ??
    has(server, ["getRequest", "finishRequest"], own) ??
    has(base, ["getRequest"], TCPServer.prototype) ??
    has(server, BINDING, TCPServer.prototype) ?? has(server, ["openListener"], own);
  if (step !== undefined) return `the server has its own ${step}()`;
  if (!sharedAddresses.has(server.socket)) {
    return "Workers cannot share its listener, or may not listen on its port";
  }
  if (server.maxConnectionsPerSource !== null) return "'maxConnectionsPerSource' is set";
  if (server.minSpareThreads === 0) return "'minSpareThreads' is 0";
  if (mayBlock(server.RequestHandlerClass)) return "its handler may block";
  return null;
}

/** Why the context has to be made for each request: it changes, or something is wrong with it. */
function contextFault(server: ThreadHost): string | null {
  try {
    const { context } = server;
    cloneContext(context);
    const isSame = Object.is(context, server.context);
    return isSame ? null : "requestContext() gives another object each time";
  } catch (error) {
    return `its context cannot be sent: ${oneLine(error)}`;
  }
}
