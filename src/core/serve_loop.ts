/**
 * Serving in this isolate: requests are accepted here and taken through their steps here.
 *
 * @module
 */
import { Acceptor } from "./acceptor.ts";
import { formatAddress, type SocketAddress } from "../base/address.ts";
import type { ServerSocket } from "./bind.ts";
import { errorCode, messageOf, type ServerExit } from "../base/errors.ts";
import { type Call, calls } from "./inside.ts";
import type { Drain, LifecycleHost, Run, ServingLoop } from "./lifecycle.ts";
import { logTo, RateLimit, type ServerLogger } from "../base/log.ts";
import type { DrainResult } from "../base/options.ts";
import { ABORT_GRACE, type PipelineHost, RequestPipeline } from "./request_pipeline.ts";
import type { RequestTracker } from "./request_tracker.ts";

/** How long a drain takes from the accept queue at the most, in milliseconds: clients may keep coming. */
const QUEUE_LIMIT = 1000;

/** What the loop needs of its server. */
export interface ServeLoopHost<Request, Addr extends SocketAddress>
  extends LifecycleHost, PipelineHost<Request, Addr> {
  readonly serverAddress: Addr;
  readonly socket: ServerSocket | undefined;
  readonly queueLimit: number;
  readonly maxConnections: number | null;
  readonly answersOnSocket: boolean;
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
  /** Serves one request; rejects with nothing but a `ServerExit`. */
  readonly #serve = (request: Request, clientAddress: Addr): Promise<void> =>
    this.#steps.serve(request, clientAddress);
  readonly #acceptor: Acceptor<[Request, Addr]>;
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

  /** @param server The server whose requests these are. */
  constructor(server: ServeLoopHost<Request, Addr>) {
    this.#server = server;
    this.#steps = new RequestPipeline(server, () => this.#acceptor.resume());
    this.requests = this.#steps.requests;
    this.#acceptor = new Acceptor({
      accept: () => server.getRequest(),
      isListener: () => server.socket === undefined,
      check: checkPair,
      permitted: () => this.#isPermitted(),
      onError: (error, delay) => this.#acceptFailed(error, delay),
      onLate: ([request]) => void this.#steps.cutOff(request),
    });
    admissions.set(server, () => this.#acceptor.resume());
  }

  get busy(): boolean {
    return this.requests.size > 0;
  }

  get stopsAtOnce(): boolean {
    return this.#server.maxConnections !== null;
  }

  /** Datagrams are answered on the socket that they came in by. */
  get closesLast(): boolean {
    return this.#server.blockOnClose && this.#server.answersOnSocket;
  }

  /**
   * Serves until the run is to end.
   *
   * @param tick What to call after each turn, at least each `pollInterval`; null for nothing.
   */
  serve(
    run: Run,
    pollInterval: number,
    tick: (() => void | Promise<void>) | null,
  ): Promise<void> {
    return this.#whileWaiting(run, async () => {
      const acceptor = this.#acceptor;
      const limit = tick === null ? null : pollInterval;
      while (!run.stopping) {
        const result = acceptor.ready ? "ready" : await acceptor.wait(limit);
        if (run.stopping) return; // what has arrived is kept, as Python leaves it in the backlog
        if (result === "closed") return this.#noMoreComes();
        if (result === "ready") {
          const served = this.#dispatch(run);
          if (served !== undefined) await served;
        }
        if (tick !== null) await tick();
      }
    });
  }

  /** Serves one request, waiting for it no longer than `limit` milliseconds. */
  serveOne(run: Run, limit: number | null): Promise<void> {
    return this.#whileWaiting(run, async () => {
      const result = await this.#acceptor.wait(limit);
      if (result === "ready" && !run.stopping) await this.#dispatch(run);
      else if (result === "timeout") await this.#server.handleTimeout();
      else if (result === "closed") this.#noMoreComes();
    });
  }

  /** Has the socket keep the program alive while a run waits for requests. */
  async #whileWaiting(run: Run, serve: () => Promise<void>): Promise<void> {
    this.#run = run;
    this.#refSocket(this.#ref);
    try {
      await serve();
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

  #isPermitted(): boolean {
    return this.requests.size < (this.#server.maxConnections ?? 1);
  }

  /** Serves what has arrived: the loop waits for it where requests come one at a time, and else goes on. */
  #dispatch(run: Run): Promise<void> | undefined {
    const [request, clientAddress] = this.#acceptor.take();
    if (this.#server.maxConnections === null) return this.#serve(request, clientAddress);
    void this.#serveBeside(run, request, clientAddress);
  }

  /** Serves a request beside the loop; never rejects. */
  async #serveBeside(run: Run, request: Request, clientAddress: Addr): Promise<void> {
    const outer = calls.getStore()?.outer;
    const call: Call = { server: this.#server, run: null, outer, running: true };
    try {
      await calls.run(call, this.#serve, request, clientAddress);
    } catch (error) {
      const exit = error as ServerExit; // nothing else comes through
      if (run.over) this.#log("warn", `${exit.message} ends nothing: the loop has ended before`);
      else run.exit ??= exit;
      this.#stopRun(run);
    } finally {
      call.running = false;
      this.#acceptor.resume();
    }
  }

  stop(run: Run): void {
    if (!run.over) this.#acceptor.wake();
  }

  close(): Promise<void> {
    this.#closed = true;
    return this.#close();
  }

  /** Resolves when the port is free. */
  async #close(): Promise<void> {
    if (this.closesLast) await this.requests.idle();
    const closed = this.#acceptor.close();
    try {
      await this.#closeListener();
    } finally {
      for (const [request] of await closed) await this.#steps.cutOff(request);
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
    const inTime = await Promise.race([allServed, timeIsUp]);
    clearTimeout(this.#drainTimer);
    const completed = ended() - before;
    const aborted = inTime ? 0 : await this.#abort();
    return { completed, aborted };
  }

  /** Takes what waits in the accept queue, closes the listener, and serves what was taken. */
  async #drainQueue({ run, runAgain }: Drain): Promise<void> {
    let taken: Promise<void> | undefined;
    if (!this.#closed) {
      if (run?.forever === false) this.#stopRun(run);
      if (this.#isBound()) taken = this.#takeQueue();
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
    // Datagrams are answered on the socket that they came in by: that is closed when they are.
    const { answersOnSocket } = this.#server;
    await this.#acceptor.collect(this.#queueLength(), limit, answersOnSocket);
    if (!answersOnSocket) await this.#closeListener();
  }

  async #serveTaken(runAgain: Drain["runAgain"]): Promise<void> {
    if (this.#aborted || this.#closed || !this.#isBound()) return;
    try {
      await runAgain((run) => this.serve(run, 0, null));
    } catch (error) {
      this.#log("debug", `Server stops while it drains: ${messageOf(error)}`);
    }
  }

  /** How many requests may wait at the most: in the system's queue, and taken from it. */
  #queueLength(): number {
    return this.#server.queueLimit + (this.#acceptor.ready ? 1 : 0);
  }

  #isBound(): boolean {
    try {
      this.#server.assertBound();
      return true;
    } catch {
      return false; // a server that never listened has no queue
    }
  }

  /** Cuts off what runs, gives the handlers a moment to unwind, then waits for them no more. */
  async #abort(): Promise<number> {
    const { requests } = this;
    const run = this.#run;
    this.#aborted = true;
    if (run !== null) this.#stopRun(run);
    const aborted = requests.abortAll((request) => void this.#steps.cutOff(request));
    const grace = Promise.withResolvers<void>();
    const timer = setTimeout(grace.resolve, ABORT_GRACE);
    await Promise.race([requests.idle(), grace.promise]);
    clearTimeout(timer);
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
      const { serverAddress, socket } = this.#server;
      const line = `Server on "${
        formatAddress(serverAddress)
      }" closes: its listener was closed by others`;
      this.#log(socket === undefined ? "debug" : "warn", line); // without a socket that is how it ends
    }
    this.#server.serverClose().catch((error) => {
      this.#log("error", "Cannot close server", error);
    });
  }

  #acceptFailed(error: unknown, delay: number): void {
    this.requests.countAcceptError(errorCode(error));
    const held = this.#acceptErrorLines.take(performance.now());
    if (held === null) return;
    const reason = messageOf(error);
    const next = delay === 0 ? "" : `; trying again in ${delay} ms`;
    const more = held === 0 ? "" : ` (and ${held} errors since the last line)`;
    const address = formatAddress(this.#server.serverAddress);
    this.#log(
      delay === 0 ? "debug" : "warn",
      `Cannot get request on "${address}": ${reason}${next}${more}`,
    );
  }

  #refSocket(ref: boolean): void {
    const { socket } = this.#server;
    if (socket === undefined || !("ref" in socket)) return;
    if (ref) socket.ref();
    else socket.unref();
  }

  #log(level: keyof ServerLogger, message: string, ...errors: [error?: unknown]): void {
    logTo(this.#server.logger, level, message, ...errors);
  }
}

/** Throws when a `getRequest()` gave something else than a request with an address. */
function checkPair(value: unknown): void {
  if (Array.isArray(value) && value.length >= 2) {
    const [_request, clientAddress] = value;
    if (typeof clientAddress === "object" && clientAddress !== null) return;
  }
  throw new TypeError("getRequest() gave no pair of a request and an address");
}
