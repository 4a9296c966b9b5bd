/**
 * Getting requests, one at a time, and handing each on.
 *
 * @module
 */
import { printable } from "../../base/address.ts";
import { AcceptErrors } from "./accept_errors.ts";
import type { ServerExit } from "../../base/errors.ts";
import { type Call, calls, type Run, type Tick } from "./lifecycle.ts";
import { delay, settlesWithin } from "../../base/time.ts";

/** How long `stop()` waits for an accept that goes on although its listener is closed, in milliseconds. */
const CLOSE_LIMIT = 1000;
/** How long nothing may arrive before the system's queue counts as empty, in milliseconds. */
const QUEUE_IDLE = 5;
/** How long, when the time to wait for more is up, it may take to get those who wait already, in milliseconds. */
const QUEUE_REST = 500;
/** How often in a row: time may pass in a stall of the event loop, in which nothing is received. */
const QUEUE_IDLE_WAITS = 4;

/** Where requests come from. */
export interface RequestSource<Request, Addr> {
  /** The listener beneath `getRequest()`; without one the errors of that say when it is closed. */
  readonly socket: unknown;
  /** How many requests may be under way at once, or null when they are served one after the other. */
  readonly maxConnections: number | null;
  /** Gets the next request; never called again before the last call has settled. */
  getRequest(): [Request, Addr] | PromiseLike<[Request, Addr]>;
}

/** What serves requests. */
export interface RequestSink<Request, Addr> {
  /** The requests under way. */
  readonly requests: { readonly size: number };
  /** Serves a request; rejects with nothing but a `ServerExit`. Called without `this`. */
  readonly serve: (request: Request, clientAddress: Addr) => Promise<void>;
}

/** What is told of accepting. */
export interface AcceptEvents<Request> {
  /**
   * Called with each accept error.
   *
   * @param pause Milliseconds until the next try; 0 where the error has used a client up.
   */
  onError(error: unknown, pause: number): void;
  /** Called with what arrives after `close()` has resolved, which nobody will take. */
  onLate(request: Request): void;
  /** Called when a request beside a run ends that run. */
  onExit(exit: ServerExit, run: Run): void;
}

/** Why a wait ended without a request: the time is up, somebody called `wake()`, no more will come. */
export type WaitEnd = "timeout" | "woken" | "closed";

/**
 * Accepts while there is room, and survives every error in between.
 *
 * | stage | accepts | left by |
 * |---|---|---|
 * | open | for who waits, while there is room | `collect()`, `stop()`, `close()`, three errors of a closed listener |
 * | collecting | what waits in the system's queue, whether there is room or not | the end of the queue, `stop()`, `close()` |
 * | stopping | nothing more; the accept under way may still bring somebody | its end, the time limit of `stop()`, `close()` |
 * | stopped | nothing; what it has kept is still given out, and then a wait ends as "closed" | `close()` |
 * | closed | nothing, and each wait ends as "closed" | the end of the accept under way |
 * | settled | nothing; what arrives all the same is late | |
 *
 * What arrives when nobody waits is kept for the next wait.
 */
export class Acceptor<Request, Addr> {
  readonly #source: RequestSource<Request, Addr>;
  readonly #sink: RequestSink<Request, Addr>;
  readonly #events: AcceptEvents<Request>;
  readonly #errors = new AcceptErrors();
  #stage: "open" | "collecting" | "stopping" | "stopped" | "closed" | "settled" = "open";
  /** Settles when the call of `getRequest()` under way has; null while there is none. */
  #pending: Promise<void> | null = null;
  /** What was accepted and not yet given out. */
  readonly #kept: [Request, Addr][] = [];
  /** How many more may be collected. */
  #left = 0;
  readonly #endOfCollecting = new AbortController();
  /** Whether there were errors since the last success. */
  #failing = false;
  /** When the next try is due, by the clock of `performance.now()`; outlives the wait in which it was set. */
  #notBefore = 0;
  #pause: ReturnType<typeof setTimeout> | undefined;
  #limit: ReturnType<typeof setTimeout> | undefined;
  /** Whether its timers keep the program alive. */
  #ref = true;
  /** Ends the wait under way; null while nobody waits. */
  #endWait: ((result: [Request, Addr] | WaitEnd) => void) | null = null;

  /**
   * @param source The server.
   * @param sink What serves its requests.
   * @param events What is told of accepting.
   */
  constructor(
    source: RequestSource<Request, Addr>,
    sink: RequestSink<Request, Addr>,
    events: AcceptEvents<Request>,
  ) {
    this.#source = source;
    this.#sink = sink;
    this.#events = events;
  }

  /**
   * Gets requests and has them served, until the run is to end, or one where the run is for one.
   *
   * @param limit How long to wait for each at most, in milliseconds; null for ever.
   * @param tick What to call after each request, and each time that the limit has passed; null for nothing.
   * @returns Why it ended; "woken" when the run is to end, or has served its one request.
   */
  async serve(run: Run, limit: number | null, tick: Tick): Promise<WaitEnd> {
    const oneByOne = this.#source.maxConnections === null;
    while (!run.stopping) {
      // What is kept is served before anybody can end the run again, or it could be kept for ever.
      const arrived = this.#kept.length > 0 && this.#hasRoom
        ? this.#kept.shift()!
        : await this.next(limit);
      if (run.stopping) {
        if (typeof arrived !== "string") this.#kept.unshift(arrived); // as Python leaves it in the backlog
        break;
      }
      if (typeof arrived === "string") {
        if (arrived === "closed" || !run.forever) return arrived;
      } else if (oneByOne) await this.#sink.serve(arrived[0], arrived[1]);
      else void this.#serveBeside(arrived[0], arrived[1], run);
      if (tick !== null) await tick();
      if (!run.forever) break;
    }
    return "woken";
  }

  /** Serves a request beside the loop; never rejects. */
  async #serveBeside(request: Request, clientAddress: Addr, run: Run): Promise<void> {
    const outer = calls.getStore()?.outer;
    const call: Call = { server: this.#source, run: null, outer, running: true };
    try {
      await calls.run(call, this.#sink.serve, request, clientAddress);
    } catch (error) {
      this.#events.onExit(error as ServerExit, run); // nothing else comes through
    } finally {
      call.running = false;
      this.resume();
    }
  }

  /**
   * Waits until there is room, and then for the next request.
   *
   * @param limit How long to wait at most, in milliseconds; null for ever.
   */
  next(limit: number | null): Promise<[Request, Addr] | WaitEnd> {
    if (this.#kept.length > 0 && this.#hasRoom) return Promise.resolve(this.#kept.shift()!);
    if (this.#stage !== "open" && this.#isOver) return Promise.resolve("closed");
    const { promise, resolve } = Promise.withResolvers<[Request, Addr] | WaitEnd>();
    this.#endWait = resolve;
    if (limit !== null) this.#limit = this.#timer(() => this.#end("timeout"), limit);
    const pause = this.#notBefore === 0 ? 0 : Math.ceil(this.#notBefore - performance.now());
    if (pause > 0) this.#pause = this.#timer(this.#accept, pause);
    else this.#accept();
    return promise;
  }

  /** Ends the wait under way, if any. */
  wake(): void {
    this.#end("woken");
  }

  /** Goes on where a wait stopped for want of room; to be called when there may be room again. */
  resume(): void {
    if (this.#endWait === null) return;
    if (this.#kept.length > 0) this.#giveKept();
    else if (this.#pause === undefined) this.#accept();
  }

  /**
   * Takes what waits in the system's queue, whether there is room or not, and then accepts no more.
   *
   * @param max How many to take at the most.
   * @param limit How long that may go on, in milliseconds; clients may keep coming.
   * @param staysOpen Whether the listener is not closed after that, and nobody waits for the accept under way.
   */
  async collect(max: number, limit: number, staysOpen = false): Promise<void> {
    if (this.#stage !== "open") return;
    this.#stage = "collecting";
    this.#left = max;
    const due = performance.now() + limit;
    let end = Infinity; // when the time is up, those who wait already are taken, and nobody is waited for
    for (let idle = 0; idle < QUEUE_IDLE_WAITS && this.#mayCollect;) {
      const now = performance.now();
      if (now >= end) break;
      if (now >= due && end === Infinity) end = now + QUEUE_REST;
      const before = this.#left;
      if (this.#pause === undefined && this.#notBefore <= now) this.#accept();
      const time = Math.max(0, Math.min(QUEUE_IDLE, due - now));
      await delay(time, this.#endOfCollecting.signal);
      idle = this.#left < before || this.#notBefore > 0 && now < due ? 0 : idle + 1;
    }
    if (this.#stage === "collecting") this.#stage = staysOpen ? "stopped" : "stopping";
    this.#endIfOver();
  }

  /**
   * Accepts no more, and waits until the accept under way has settled, which is when Deno lets go of a closed listener's
   * port. One that goes on all the same is waited for no longer than 1 s.
   */
  async stop(): Promise<void> {
    if (this.#stage === "open" || this.#stage === "collecting") this.#stage = "stopping";
    this.#endOfCollecting.abort();
    if (this.#pending !== null) await settlesWithin(this.#pending, CLOSE_LIMIT);
    if (this.#stage === "stopping") this.#stage = "stopped";
    this.#endIfOver();
  }

  /**
   * Stops and says that no more will come.
   *
   * @returns The requests that arrived and were not given out, for the caller to close.
   */
  async close(): Promise<Request[]> {
    this.#stage = "closed";
    this.#end("closed");
    await this.stop();
    this.#stage = "settled";
    return this.#kept.splice(0).map(([request]) => request);
  }

  /** Makes the timers keep the program alive, or not. */
  setRef(ref: boolean): void {
    this.#ref = ref;
    for (const timer of [this.#pause, this.#limit]) {
      if (timer === undefined) continue;
      if (ref) Deno.refTimer(timer);
      else Deno.unrefTimer(timer);
    }
  }

  #timer(callback: () => void, time: number): ReturnType<typeof setTimeout> {
    const timer = setTimeout(callback, time);
    if (!this.#ref) Deno.unrefTimer(timer);
    return timer;
  }

  #end(result: [Request, Addr] | WaitEnd): void {
    if (this.#pause !== undefined) clearTimeout(this.#pause);
    if (this.#limit !== undefined) clearTimeout(this.#limit);
    this.#pause = this.#limit = undefined;
    const endWait = this.#endWait;
    this.#endWait = null;
    endWait?.(result);
  }

  /** Whether one more request may be under way. */
  get #hasRoom(): boolean {
    const max = this.#source.maxConnections;
    return max === null || this.#sink.requests.size < max;
  }

  /** Gives what is kept to who waits, if there is room. */
  #giveKept(): void {
    if (this.#kept.length > 0 && this.#endWait !== null && this.#hasRoom) {
      this.#end(this.#kept.shift()!);
    }
  }

  /** Whether everything has been given out that there will ever be. */
  get #isOver(): boolean {
    if (this.#stage === "closed" || this.#stage === "settled") return true;
    return this.#kept.length === 0 &&
      (this.#stage === "stopped" || this.#stage === "stopping" && this.#pending === null);
  }

  #endIfOver(): void {
    if (this.#isOver) this.#end("closed");
  }

  get #mayCollect(): boolean {
    return this.#stage === "collecting" && this.#left > 0;
  }

  readonly #accept = (): void => {
    this.#pause = undefined;
    this.#notBefore = 0;
    if (this.#pending !== null) return;
    if (this.#stage === "open" ? !this.#hasRoom : !this.#mayCollect) return;
    let accepting: [Request, Addr] | PromiseLike<[Request, Addr]>;
    let later: Promise<[Request, Addr]> | null = null;
    try {
      accepting = this.#source.getRequest();
      // A Proxy may refuse to say; what is neither promise nor pair fails later, in words.
      const isLater =
        typeof (accepting as Partial<PromiseLike<unknown>> | null)?.then === "function";
      if (isLater) later = Promise.resolve(accepting);
    } catch (error) {
      this.#failed(error);
      return;
    }
    // Outside of that: where waiting itself fails the loop is broken, and no other accept may be tried beside this one.
    if (later !== null) this.#pending = later.then(this.#arrived, this.#failed);
    else this.#arrived(accepting as [Request, Addr]);
  };

  readonly #arrived = (given: [Request, Addr]): void => {
    this.#pending = null;
    let pair: [Request, Addr];
    try {
      pair = checkedPair(given);
    } catch (error) {
      this.#failed(error);
      return;
    }
    if (this.#stage === "settled") {
      this.#events.onLate(pair[0]);
      return;
    }
    if (this.#failing) {
      this.#failing = false;
      for (const error of this.#errors.reset()) this.#events.onError(error, 0);
    }
    if (this.#stage === "open" && this.#endWait !== null) {
      this.#end(pair);
      return;
    }
    this.#kept.push(pair);
    this.#giveKept();
    if (this.#stage !== "collecting") return;
    this.#left--;
    if (this.#left === 0) this.#endOfCollecting.abort(); // who comes now joins a queue that is to be closed
    this.#accept();
  };

  readonly #failed = (error: unknown): void => {
    this.#pending = null;
    if (this.#stage !== "open" && this.#stage !== "collecting") { // the listener is being closed
      return this.#endIfOver();
    }
    this.#failing = true;
    const pause = this.#errors.judge(error, this.#source.socket === undefined);
    if (pause === "closed") {
      this.#stage = "closed";
      this.#end("closed");
      return;
    }
    if (pause !== "suspect") {
      this.#notBefore = pause === 0 ? 0 : performance.now() + pause;
      this.#events.onError(error, pause);
      if (pause > 0) {
        if (this.#endWait !== null) this.#pause = this.#timer(this.#accept, pause);
        return;
      }
    }
    // Where nobody waits, the next wait tries again.
    if (this.#endWait !== null || this.#stage === "collecting") this.#accept();
  };
}

/**
 * Looks once at what a `getRequest()` gave, which may be something else each time.
 *
 * @throws {TypeError} When that is no request with an address.
 */
function checkedPair<Request, Addr>(given: [Request, Addr]): [Request, Addr] {
  if (Array.isArray(given) && given.length >= 2) {
    const [request, from] = given;
    if (typeof from === "object" && from !== null) return [request, printable(from)];
  }
  throw new TypeError("getRequest() gave no pair of a request and an address");
}
