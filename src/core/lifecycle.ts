/**
 * The life of a server: its loop, and the ways in which that ends.
 *
 * @module
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { Acceptor } from "./acceptor.ts";
import { formatAddress, type SocketAddress } from "../base/address.ts";
import { errorCode, messageOf, type ServerExit } from "../base/errors.ts";
import { logTo, RateLimit, type ServerLogger } from "../base/log.ts";
import type { DrainResult } from "../base/options.ts";
import { ABORT_GRACE, type PipelineHost, RequestPipeline } from "./request_pipeline.ts";
import type { RequestTracker, ServerState } from "./request_tracker.ts";

/** How long a drain takes from the accept queue at the most, in milliseconds: clients may keep coming. */
const QUEUE_LIMIT = 1000;

/** What a server listens with. */
export type ServerSocket = Deno.Listener | Deno.DatagramConn;

/** What the life cycle needs of its server. */
export interface LifecycleHost<Request, Addr> extends PipelineHost<Request, Addr> {
  readonly serverAddress: Addr;
  readonly socket: ServerSocket | undefined;
  readonly queueLimit: number;
  readonly maxConnections: number | null;
  readonly blockOnClose: boolean;
  readonly answersOnSocket: boolean;
  assertBound(): void;
  closeSocket(): void;
  serverClose(): Promise<void>;
  getRequest(): [Request, Addr] | Promise<[Request, Addr]>;
  handleTimeout(): void | Promise<void>;
}

/** One run of `serveForever()` or `handleRequest()`. */
interface Loop {
  /** Whether it serves more than one request. */
  readonly forever: boolean;
  /** Set to end the loop before the next request. */
  stopping: boolean;
  /** What a request beside the loop ended it with. */
  exit: ServerExit | null;
  /** Resolves when the loop has ended, however it ended. */
  readonly ended: PromiseWithResolvers<void>;
}

/** Code that a server waits for: a loop with what it calls, or a request that runs beside the loop. */
interface Frame {
  readonly life: unknown;
  /** The loop that waits for this code; null beside a loop. */
  readonly loop: Loop | null;
  /** The frame from which this one was started, if any. */
  readonly outer: Frame | undefined;
  running: boolean;
}

const frames = new AsyncLocalStorage<Frame>();

/** How to go on accepting, by server; no method of the servers, as there is nothing in it for their users. */
const admissions = new WeakMap<object, () => void>();

/** Lets a server accept who waits, when more requests may be under way than before. */
export function admitMore(server: object): void {
  admissions.get(server)?.();
}

/** Runs a server's loop and ends it. */
export class Lifecycle<Request, Addr extends SocketAddress> {
  /** The requests under way. */
  readonly requests: RequestTracker<Request>;
  readonly #server: LifecycleHost<Request, Addr>;
  readonly #steps: RequestPipeline<Request, Addr>;
  /** Serves one request; rejects with nothing but a `ServerExit`. */
  readonly #serve = (request: Request, clientAddress: Addr): Promise<void> =>
    this.#steps.serve(request, clientAddress);
  readonly #acceptor: Acceptor<[Request, Addr]>;
  readonly #acceptErrorLines = new RateLimit();
  readonly #finished = Promise.withResolvers<void>();
  #state: ServerState = "idle";
  #loop: Loop | null = null;
  #draining: Promise<DrainResult> | null = null;
  /** Ends the waits of `drain()`; its timer is set again when a later call has less time. */
  readonly #drainTimeIsUp = Promise.withResolvers<void>();
  #drainTimer: ReturnType<typeof setTimeout> | undefined;
  #drainDue = Infinity;
  /** Whether a drain has cut off what ran, and serves nobody any more. */
  #aborted = false;
  /** Resolves when the port is free again; null while the listener is open. */
  #closingListener: Promise<void> | null = null;
  /** The same for the server as a whole. */
  #closing: Promise<void> | null = null;
  /** The loop that ran when the server was closed. */
  #closingLoop: Loop | null = null;
  /** Whether a wait for requests keeps the program alive. */
  #ref = true;

  /** @param server The server whose life this is. */
  constructor(server: LifecycleHost<Request, Addr>) {
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

  get state(): ServerState {
    return this.#state;
  }

  get finished(): Promise<void> {
    return this.#finished.promise;
  }

  /**
   * Serves until something ends the loop.
   *
   * @param tick What to call after each turn, at least each `pollInterval`; null for nothing.
   */
  async serveForever(
    pollInterval: number,
    signal: AbortSignal | undefined,
    tick: (() => void | Promise<void>) | null,
  ): Promise<void> {
    const loop = this.#beginLoop(true);
    const stop = () => this.#stop(loop);
    if (signal?.aborted) stop();
    signal?.addEventListener("abort", stop, { once: true });
    try {
      await this.#runLoop(loop, () => this.#serveLoop(loop, pollInterval, tick));
    } finally {
      signal?.removeEventListener("abort", stop);
    }
  }

  /** Serves one request, waiting for it no longer than `limit` milliseconds. */
  async handleRequest(limit: number | null): Promise<void> {
    const loop = this.#beginLoop(false);
    await this.#runLoop(loop, async () => {
      const result = await this.#acceptor.wait(limit);
      if (result === "ready" && !loop.stopping) await this.#dispatch(loop);
      else if (result === "timeout") await this.#server.handleTimeout();
      else if (result === "closed") this.#noMoreComes();
    });
  }

  async shutdown(): Promise<void> {
    const loop = this.#loop;
    if (loop === null) return;
    this.#stop(loop);
    if (!this.#isInside(loop)) await loop.ended.promise;
  }

  async close(): Promise<void> {
    const loop = this.#closingLoop ??= this.#loop;
    this.#closing ??= this.#close(loop);
    if (this.#waitsToClose && this.#isInside()) {
      // What waits for the requests under way cannot be waited for by one of them.
      this.#closing.catch((error) => this.#log("error", "Cannot close", error));
      return;
    }
    await this.#closing;
    // With a request under way in it the loop ends later; `finished` tells.
    const endsSoon = this.#server.maxConnections !== null || this.requests.size === 0;
    if (loop !== null && endsSoon && !this.#isInside(loop)) await loop.ended.promise;
    if (this.#server.blockOnClose && !this.#isInside()) await this.requests.idle();
  }

  /** Drains, or shortens the time of a drain under way. */
  async drain(timeout: number | null): Promise<DrainResult> {
    if (this.#closing !== null && this.#draining === null && this.requests.size === 0) {
      await this.#closing;
      return { completed: 0, aborted: 0 };
    }
    if (timeout !== null) this.#limitDrain(timeout);
    this.#draining ??= this.#drain();
    if (!this.#isInside()) return await this.#draining;
    this.#draining.catch((error) => this.#log("error", "Cannot drain", error));
    return { completed: 0, aborted: 0 };
  }

  setRef(ref: boolean): void {
    this.#ref = ref;
    this.#acceptor.setRef(ref);
    if (!ref || this.#loop !== null) this.#refSocket(ref);
  }

  #beginLoop(forever: boolean): Loop {
    const address = formatAddress(this.#server.serverAddress);
    if (this.#closing !== null || this.#draining !== null) {
      throw new Deno.errors.BadResource(`Cannot serve on "${address}": the server is closed`);
    }
    if (this.#loop !== null) {
      throw new Deno.errors.Busy(`Cannot serve on "${address}": the server is serving already`);
    }
    this.#server.assertBound();
    return this.#newLoop("serving", forever);
  }

  #newLoop(state: ServerState, forever: boolean): Loop {
    this.#state = state;
    return this.#loop = {
      forever,
      stopping: false,
      exit: null,
      ended: Promise.withResolvers(),
    };
  }

  async #runLoop(loop: Loop, body: () => Promise<void>): Promise<void> {
    this.#refSocket(this.#ref);
    const frame: Frame = { life: this, loop, outer: frames.getStore(), running: true };
    const running = frames.run(frame, body);
    // drain() ends a loop whose handler does not return; the handler's end is then nobody's.
    running.catch(() => {});
    try {
      await Promise.race([running, loop.ended.promise]);
      if (loop.exit !== null) throw loop.exit;
    } finally {
      // An accept that is kept for the next call must not keep the program alive; a close waits for it.
      if (this.#closingListener === null) this.#refSocket(false);
      frame.running = false;
      if (this.#loop === loop) this.#loop = null;
      if (this.#state === "serving") this.#state = "idle";
      loop.ended.resolve();
    }
  }

  async #serveLoop(
    loop: Loop,
    pollInterval: number | null,
    tick: (() => void | Promise<void>) | null,
  ): Promise<void> {
    const acceptor = this.#acceptor;
    while (!loop.stopping) {
      const limit = tick !== null ? pollInterval : null;
      const result = acceptor.ready ? "ready" : await acceptor.wait(limit);
      if (loop.stopping) return; // what has arrived is kept, as Python leaves it in the backlog
      if (result === "closed") return this.#noMoreComes();
      if (result === "ready") {
        const served = this.#dispatch(loop);
        if (served !== undefined) await served;
      }
      if (tick !== null) await tick();
    }
  }

  #isPermitted(): boolean {
    return this.requests.size < (this.#server.maxConnections ?? 1);
  }

  /** Serves what has arrived: the loop waits for it where requests come one at a time, and else goes on. */
  #dispatch(loop: Loop): Promise<void> | undefined {
    const [request, clientAddress] = this.#acceptor.take();
    if (this.#server.maxConnections === null) return this.#serve(request, clientAddress);
    void this.#serveBeside(loop, request, clientAddress);
  }

  /** Serves a request beside the loop; never rejects. */
  async #serveBeside(loop: Loop, request: Request, clientAddress: Addr): Promise<void> {
    const frame: Frame = { life: this, loop: null, outer: frames.getStore()?.outer, running: true };
    try {
      await frames.run(frame, this.#serve, request, clientAddress);
    } catch (error) {
      const exit = error as ServerExit; // nothing else comes through
      if (loop === this.#loop) loop.exit ??= exit;
      else this.#log("warn", `${exit.message} ends nothing: the loop has ended before`);
      this.#stop(loop);
    } finally {
      frame.running = false;
      this.#acceptor.resume();
    }
  }

  #stop(loop: Loop): void {
    loop.stopping = true;
    if (loop === this.#loop) this.#acceptor.wake();
  }

  /** Sees to it that a drain ends within `timeout` milliseconds from now. */
  #limitDrain(timeout: number): void {
    const due = performance.now() + timeout;
    if (due >= this.#drainDue) return;
    this.#drainDue = due;
    clearTimeout(this.#drainTimer);
    this.#drainTimer = setTimeout(this.#drainTimeIsUp.resolve, timeout);
  }

  async #drain(): Promise<DrainResult> {
    const { requests } = this;
    const ended = () => requests.ended("completed") + requests.ended("failed");
    const before = ended();
    const allServed = this.#drainQueue().then(() => requests.idle()).then(() => true);
    const timeIsUp = this.#drainTimeIsUp.promise.then(() => false);
    const inTime = await Promise.race([allServed, timeIsUp]);
    clearTimeout(this.#drainTimer);
    const completed = ended() - before;
    const aborted = inTime ? 0 : await this.#abort();
    await this.#server.serverClose();
    return { completed, aborted };
  }

  /** Takes what waits in the accept queue, closes the listener, and serves what was taken. */
  async #drainQueue(): Promise<void> {
    const serving = this.#loop;
    let taken: Promise<void> | undefined;
    if (this.#closing === null) {
      this.#state = "draining";
      if (serving?.forever === false) this.#stop(serving);
      if (this.#isBound()) taken = this.#takeQueue();
      taken?.catch(() => {}); // who closes the server hears of it
    }
    await serving?.ended.promise;
    // The loop under way has served what there was, unless it was to stop.
    if (serving === null || serving.stopping && serving.exit === null) await this.#serveTaken();
    await taken;
  }

  /** Empties the accept queue and closes the listener, so that who comes later finds another server or none. */
  async #takeQueue(): Promise<void> {
    const limit = Math.min(QUEUE_LIMIT, this.#drainDue - performance.now());
    await this.#acceptor.collect(this.#queueLength(), limit);
    // Datagrams are answered on the socket that they came in by: that is closed when they are.
    if (!this.#server.answersOnSocket) await this.#closeListener();
  }

  async #serveTaken(): Promise<void> {
    if (this.#aborted || this.#closing !== null || !this.#isBound()) return;
    const loop = this.#newLoop("draining", true);
    try {
      await this.#runLoop(loop, () => this.#serveLoop(loop, null, null));
    } catch (error) {
      this.#log("debug", `Server stops while it drains: ${messageOf(error)}`);
    }
  }

  /** How many requests may wait at the most: in the system's queue, and taken from it. */
  #queueLength(): number {
    return this.#server.queueLimit + (this.#acceptor.ready ? 1 : 0);
  }

  /** Whether the socket has to outlive the requests under way. */
  get #waitsToClose(): boolean {
    return this.#server.blockOnClose && this.#server.answersOnSocket;
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
    const loop = this.#loop;
    this.#aborted = true;
    if (loop !== null) this.#stop(loop);
    const aborted = requests.abortAll((request) => void this.#steps.cutOff(request));
    const grace = Promise.withResolvers<void>();
    const timer = setTimeout(grace.resolve, ABORT_GRACE);
    await Promise.race([requests.idle(), grace.promise]);
    clearTimeout(timer);
    requests.giveUp();
    loop?.ended.resolve();
    return aborted;
  }

  /** Resolves when the port is free. */
  async #close(loop: Loop | null): Promise<void> {
    this.#state = "closed";
    if (loop !== null) this.#stop(loop);
    if (this.#waitsToClose) await this.requests.idle();
    const closed = this.#acceptor.close();
    try {
      await this.#closeListener();
    } finally {
      for (const [request] of await closed) await this.#steps.cutOff(request);
      void this.#finish(loop);
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

  async #finish(loop: Loop | null): Promise<void> {
    await loop?.ended.promise;
    await this.requests.idle();
    this.#finished.resolve();
  }

  /** No more will come. Where somebody closed the listener without telling, the server is closed, too. */
  #noMoreComes(): void {
    if (this.#draining !== null) return; // all that was taken is served
    if (this.#closing === null) {
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

  /** Whether the code that runs now is something that `loop`, or else any part of the server, waits for. */
  #isInside(loop?: Loop): boolean {
    for (let frame = frames.getStore(); frame !== undefined; frame = frame.outer) {
      if (frame.life !== this || !frame.running) continue;
      if (loop === undefined || frame.loop === loop) return true;
    }
    return false;
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
