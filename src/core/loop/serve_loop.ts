/**
 * Serving in this isolate: an {@linkcode Acceptor} gets the requests, a {@linkcode RequestPipeline} takes them through
 * their steps, and this closes the listener and drains.
 *
 * This folder is how a server runs: its life cycle (`lifecycle.ts`), which is the same whichever way it serves, and the usual
 * way, which gets requests from a listener (`acceptor.ts`), survives what fails there (`accept_errors.ts`), and takes each
 * through the hooks of the server to its end (`request_pipeline.ts`).
 *
 * | state of the listener | left by | for |
 * |---|---|---|
 * | open | a drain, whose accept queue is taken first; `close()` | closing |
 * | closing | the end of the accept under way | closed: the port is free |
 *
 * A drain of datagrams leaves the socket open until `close()`, as they are answered on it.
 *
 * @module
 */
import { Acceptor } from "./acceptor.ts";
import { formatAddress, type SocketAddress, type SocketType } from "../../base/address.ts";
import { isBound, queueLimit, type ServerSocket } from "../bind.ts";
import { errorCode, messageOf, type ServerExit } from "../../base/errors.ts";
import type { Drain, LifecycleHost, Run, ServingLoop, Tick } from "./lifecycle.ts";
import { logOf, tellFault } from "../faults.ts";
import { RateLimit } from "../../base/log.ts";
import type { DrainResult } from "../../base/options.ts";
import {
  ABORT_GRACE,
  type PipelineHost,
  RequestPipeline,
  type RequestTracker,
} from "./request_pipeline.ts";
import type { ServerState, ServerStats } from "../server_stats.ts";
import { settlesWithin } from "../../base/time.ts";

/** How long a drain takes from the accept queue at the most, in milliseconds: clients may keep coming. */
const QUEUE_LIMIT = 1000;

/** What the loop needs of its server. */
export interface ServeLoopHost<Request, Addr extends SocketAddress>
  extends LifecycleHost, PipelineHost<Request, Addr> {
  readonly serverAddress: Addr;
  readonly socket: ServerSocket | undefined;
  readonly [queueLimit]: number;
  readonly maxConnections: number | null;
  readonly socketType: SocketType | undefined;
  closeSocket(): void;
  getRequest(): [Request, Addr] | Promise<[Request, Addr]>;
  handleTimeout(): void | Promise<void>;
}

/** How to go on accepting, by server; no method of the servers, as there is nothing in it for their users. */
const admissions = new WeakMap<object, () => void>();

/** Lets a server accept who waits, when more requests may be under way than before. */
export function admitMore(server: object): void {
  admissions.get(server)?.();
}

/** Accepts the requests of a server and serves them, one after the other or several at once. */
export class ServeLoop<Request, Addr extends SocketAddress> implements ServingLoop {
  /** The requests under way. */
  readonly requests: RequestTracker<Request>;
  readonly #server: ServeLoopHost<Request, Addr>;
  readonly #steps: RequestPipeline<Request, Addr>;
  readonly #acceptor: Acceptor<Request, Addr>;
  readonly #acceptErrorLines = new RateLimit();
  #run: Run | null = null;
  #draining = false;
  /** Ends the waits of `drain()`; its timer is set again when a later call has less time. */
  readonly #drainTimeIsUp = Promise.withResolvers<void>();
  #drainTimer: ReturnType<typeof setTimeout> | undefined;
  #drainDue = Infinity;
  /** Whether a drain has cut off what ran, and serves nobody any more. */
  #aborted = false;
  #closed = false;
  /** Resolves when the port is free again; null while the listener is open. */
  #closingListener: Promise<void> | null = null;
  /** Whether a wait for requests keeps the program alive. */
  #ref = true;

  constructor(server: ServeLoopHost<Request, Addr>) {
    this.#server = server;
    this.#steps = new RequestPipeline(server, () => this.#acceptor.resume());
    this.requests = this.#steps.requests;
    this.#acceptor = new Acceptor(server, this.#steps, {
      onError: (error, pause) => this.#acceptFailed(error, pause),
      onLate: (request) => void this.#steps.cutOff(request),
      onExit: (exit, run) => this.#exit(exit, run),
    });
    admissions.set(server, () => this.#acceptor.resume());
  }

  stats(state: ServerState): ServerStats {
    return this.requests.stats(state);
  }

  get busy(): boolean {
    return this.requests.size > 0;
  }

  get stopsAtOnce(): boolean {
    return this.#server.maxConnections !== null;
  }

  get closesLast(): boolean {
    return this.#server.blockOnClose && this.#answersOnSocket;
  }

  /** Whether requests are answered on the socket that they came in by, which has to outlive them then. */
  get #answersOnSocket(): boolean {
    return this.#server.socketType === "SOCK_DGRAM";
  }

  /**
   * Serves until the run is to end; where the run is for one request, that one.
   *
   * @param limit How long to wait for a request, in milliseconds; null for ever.
   */
  async serve(run: Run, limit: number | null, tick: Tick): Promise<void> {
    this.#run = run;
    this.#refSocket(this.#ref);
    try {
      const end = await this.#acceptor.serve(run, limit, tick);
      if (end === "closed") this.#noMoreComes();
      else if (end === "timeout") await this.#server.handleTimeout();
    } finally {
      // An accept that is kept for the next call must not keep the program alive; a close waits for it.
      if (this.#closingListener === null) this.#refSocket(false);
    }
  }

  setRef(ref: boolean): void {
    this.#ref = ref;
    this.#acceptor.setRef(ref);
    if (!ref || this.#run?.over === false) this.#refSocket(ref);
  }

  /** Ends the run for a request beside it. */
  #exit(exit: ServerExit, run: Run): void {
    if (run.over) {
      logOf(this.#server, "warn", `${exit.message} ends nothing: the loop has ended before`);
    } else run.exit ??= exit;
    this.#stopRun(run);
  }

  stop(run: Run): void {
    if (!run.over) this.#acceptor.wake();
  }

  async close(): Promise<void> {
    this.#closed = true;
    if (this.closesLast) await this.requests.idle();
    const closed = this.#acceptor.close();
    try {
      await this.#closeListener();
    } finally {
      for (const request of await closed) await this.#steps.cutOff(request);
    }
  }

  /** Resolves when the port is free, and what was taken from the queue may still wait to be served. */
  #closeListener(): Promise<void> {
    return this.#closingListener ??= (async () => {
      const stopped = this.#acceptor.stop();
      this.#refSocket(true); // the program must live until the accept under way has ended
      try {
        this.#server.closeSocket();
      } finally {
        await stopped;
      }
    })();
  }

  /** Resolves when no request is under way. */
  idle(): Promise<void> {
    return this.requests.idle();
  }

  limitDrain(timeout: number): void {
    const due = performance.now() + timeout;
    if (due >= this.#drainDue) return;
    this.#drainDue = due;
    clearTimeout(this.#drainTimer);
    this.#drainTimer = setTimeout(this.#drainTimeIsUp.resolve, timeout);
  }

  async drain(drain: Drain): Promise<DrainResult> {
    const { requests } = this;
    this.#draining = true;
    const ended = () => requests.ended("completed") + requests.ended("failed");
    const before = ended();
    const allServed = this.#drainQueue(drain).then(() => requests.idle()).then(() => true);
    const timeIsUp = this.#drainTimeIsUp.promise.then(() => false);
    const inTime = await Promise.race([allServed, timeIsUp])
      .finally(() => clearTimeout(this.#drainTimer));
    const completed = ended() - before;
    const aborted = inTime ? 0 : await this.#abort();
    return { completed, aborted };
  }

  /** Takes what waits in the accept queue, closes the listener, and serves what was taken. */
  async #drainQueue({ run, runAgain }: Drain): Promise<void> {
    let taken: Promise<void> | undefined;
    if (!this.#closed) {
      if (run?.forever === false) this.#stopRun(run);
      if (this.#server[isBound]) taken = this.#takeQueue();
      taken?.catch(() => {}); // who closes the server hears of it
    }
    await run?.ended.promise;
    // The run under way has served what there was, unless it was to stop.
    if (run === null || run.stopping && run.exit === null) await this.#serveTaken(runAgain);
    await taken;
  }

  /** Empties the accept queue and closes the listener, so that who comes later finds another server or none. */
  async #takeQueue(): Promise<void> {
    const limit = Math.min(QUEUE_LIMIT, this.#drainDue - performance.now());
    const closesLast = this.#answersOnSocket;
    await this.#acceptor.collect(this.#server[queueLimit], limit, closesLast);
    if (!closesLast) await this.#closeListener();
  }

  async #serveTaken(runAgain: Drain["runAgain"]): Promise<void> {
    if (this.#aborted || this.#closed || !this.#server[isBound]) return;
    try {
      await runAgain((run) => this.serve(run, null, null));
    } catch (error) {
      logOf(this.#server, "debug", `Server stops while it drains: ${messageOf(error)}`);
    }
  }

  /** Cuts off what runs, gives the handlers a moment to unwind, then waits for them no more. */
  async #abort(): Promise<number> {
    const { requests } = this;
    const run = this.#run;
    this.#aborted = true;
    if (run !== null) this.#stopRun(run);
    const aborted = requests.abortAll((request) => void this.#steps.cutOff(request));
    await settlesWithin(requests.idle(), ABORT_GRACE);
    requests.giveUp();
    run?.ended.resolve();
    return aborted;
  }

  #stopRun(run: Run): void {
    run.stopping = true;
    this.stop(run);
  }

  /** No more will come. Where somebody closed the listener without telling, the server is closed, too. */
  #noMoreComes(): void {
    if (this.#draining) return; // all that was taken is served
    if (!this.#closed) {
      const address = formatAddress(this.#server.serverAddress);
      const level = this.#server.socket === undefined ? "debug" : "warn"; // without a socket that is how it ends
      logOf(
        this.#server,
        level,
        `Server on "${address}" closes: its listener was closed by others`,
      );
    }
    this.#server.serverClose().catch((error) => {
      logOf(this.#server, "error", "Cannot close server", error);
    });
  }

  #acceptFailed(error: unknown, pause: number): void {
    this.requests.countAcceptError(errorCode(error));
    if (pause > 0) tellFault(this.#server, error); // another has used up a client, who was gone
    const held = this.#acceptErrorLines.take(performance.now());
    if (held === null) return;
    const reason = messageOf(error);
    const next = pause === 0 ? "" : `; trying again in ${pause} ms`;
    const more = held === 0 ? "" : ` (and ${held} errors since the last line)`;
    const address = formatAddress(this.#server.serverAddress);
    logOf(
      this.#server,
      pause === 0 ? "debug" : "warn",
      `Cannot get request on "${address}": ${reason}${next}${more}`,
    );
  }

  #refSocket(ref: boolean): void {
    const { socket } = this.#server;
    if (socket === undefined || !("ref" in socket)) return;
    if (ref) socket.ref();
    else socket.unref();
  }
}
