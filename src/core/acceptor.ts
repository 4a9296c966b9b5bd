/**
 * Getting the next request, and the one place that decides what an accept error means.
 *
 * @module
 */
import { errorCode, isInstance, OWN_ADDRESS } from "../base/errors.ts";

/** The first pause after an accept error that a pause can help, in milliseconds; it doubles each time. */
const MIN_DELAY = 5;
/** The longest pause between two tries, in milliseconds. */
const MAX_DELAY = 1000;
/** After so many connections in a row that were dead on arrival the loop pauses once. */
const PEER_ERRORS_IN_A_ROW = 100;
/** After so many tries in a row that found the listener closed, it is. */
const CLOSED_IN_A_ROW = 3;
/** How long `stop()` waits for an `accept` that goes on although its listener is closed, in milliseconds. */
const CLOSE_LIMIT = 1000;
/** How long nothing may arrive before the system's queue counts as empty, in milliseconds. */
const QUEUE_IDLE = 5;
/** How often in a row: time may pass in a stall of the event loop, in which nothing is received. */
const QUEUE_IDLE_WAITS = 4;

/** What the acceptor needs of its owner. */
export interface AcceptorOptions<T> {
  /** Gets the next request; never called again before the last call has settled. */
  accept: () => T | PromiseLike<T>;
  /** Whether there is no listener beneath `accept`, so that its own errors say when it is closed; never, unless told. */
  isListener?: () => boolean;
  /** Throws when that gave no request; left out where it cannot be wrong. */
  check?: (value: T) => void;
  /** Whether one more request may be accepted now; call `resume()` when the answer changes to yes. */
  permitted: () => boolean;
  /**
   * Told of each accept error.
   *
   * @param error What `accept` threw.
   * @param delay Milliseconds until the next try; 0 where the error has used a client up.
   */
  onError: (error: unknown, delay: number) => void;
  /** Given what arrives after `close()` has resolved, which nobody will take. */
  onLate: (value: T) => void;
}

/** Why a wait ended: something can be taken, the time is up, somebody called `wake()`, no more will come. */
export type WaitResult = "ready" | "timeout" | "woken" | "closed";

/**
 * Gets requests one at a time, and survives every error in between.
 *
 * An accept error has one of three fates. The listener itself says that it is closed: no more will come. The client
 * was gone before it was accepted, or has an address that cannot be told: the next one is tried at once, because each
 * such error has used up a connection or a datagram, and such a client must not slow down the others. Anything else
 * (no descriptors, no memory, an error nobody knows): a pause of 5 ms that doubles up to 1 s and starts anew after a
 * success.
 *
 * A request that arrives after a wait has ended is kept for the next one.
 *
 * At the end of its life the acceptor is to `collect()` what waits in the system's queue, so that the listener can be
 * closed while places for it become free; then to `stop()`, which accepts no more; then to `close()`.
 */
export class Acceptor<T> {
  readonly #options: AcceptorOptions<T>;
  /** Settles when the call of `accept` under way has; null while there is none. */
  #pending: Promise<void> | null = null;
  /** What was accepted and not yet taken, in a box because a request may be any value. */
  #arrived: { value: T } | null = null;
  /** What was collected and not yet taken. */
  readonly #collected: T[] = [];
  /** How many more may be collected; null before that begins. */
  #left: number | null = null;
  #endCollecting: (() => void) | null = null;
  /** Whether nothing more is accepted. */
  #stopped = false;
  /** Whether what the call of `accept` under way brings comes too late. */
  #abandoned = false;
  #closed = false;
  /** Whether `close()` has resolved. */
  #settled = false;
  /** The pause that the next error earns, in milliseconds. */
  #delay = MIN_DELAY;
  #peerErrors = 0;
  /** Errors of the listener that say that it is closed; fewer than three in a row may be one client's. */
  #suspects: unknown[] = [];
  /** When the next try is due, by the clock of `performance.now()`; outlives the wait in which it was set. */
  #notBefore = 0;
  #pause: ReturnType<typeof setTimeout> | undefined;
  #limit: ReturnType<typeof setTimeout> | undefined;
  /** Whether its timers keep the program alive. */
  #ref = true;
  /** Ends the wait under way; null while nobody waits. */
  #endWait: ((result: WaitResult) => void) | null = null;

  constructor(options: AcceptorOptions<T>) {
    this.#options = options;
  }

  /** Whether `take()` has something to give. */
  get ready(): boolean {
    return this.#arrived !== null || this.#collected.length > 0 && this.#options.permitted();
  }

  /** Whether the last try failed and the next is not due yet. */
  get pausing(): boolean {
    return this.#notBefore > 0;
  }

  /**
   * Waits until a request can be taken.
   *
   * @param limit How long to wait at most, in milliseconds; `null` for ever.
   */
  wait(limit: number | null): Promise<WaitResult> {
    if (this.ready) return Promise.resolve("ready");
    if (this.#closed || this.#hasGivenAll) return Promise.resolve("closed");
    const { promise, resolve } = Promise.withResolvers<WaitResult>();
    this.#endWait = resolve;
    if (limit !== null) this.#limit = this.#timer(() => this.#end("timeout"), limit);
    const pause = this.#notBefore === 0 ? 0 : Math.ceil(this.#notBefore - performance.now());
    if (pause > 0) this.#pause = this.#timer(this.#next, pause);
    else this.#next();
    return promise;
  }

  /** Takes the request that a wait has found `ready`. */
  take(): T {
    const arrived = this.#arrived;
    if (arrived === null) {
      if (this.#collected.length > 0) return this.#collected.shift()!;
      throw new Error("Cannot take request: none has arrived");
    }
    this.#arrived = null;
    return arrived.value;
  }

  /** Goes on where a wait stopped for want of a permit. */
  resume(): void {
    if (this.#endWait === null) return;
    if (this.ready) this.#end("ready");
    else if (this.#pause === undefined) this.#next();
  }

  /**
   * Takes what waits in the system's queue, whether there are places or not; `take()` hands it out as they become
   * free. Resolves when the queue is empty, and accepts no more from then on: a wait then ends as "closed" when all has
   * been taken, what the call of `accept` under way brings included, which ends when the listener is closed.
   *
   * @param max How many to take at the most.
   * @param limit How long that may go on, in milliseconds; clients may keep coming.
   * @param staysOpen Whether the listener is not closed after that, and nobody waits for the call of `accept`.
   */
  async collect(max: number, limit: number, staysOpen = false): Promise<void> {
    const due = performance.now() + limit;
    this.#left = max;
    for (let idle = 0; idle < QUEUE_IDLE_WAITS && this.#left > 0 && !this.#stopped;) {
      const left = due - performance.now();
      if (left <= 0) break;
      const before = this.#left;
      if (this.#pause === undefined && this.#notBefore <= performance.now()) this.#next();
      await this.#whileCollecting(Math.min(QUEUE_IDLE, left));
      idle = this.#left < before || this.pausing ? 0 : idle + 1;
    }
    this.#stopped = true;
    this.#abandoned ||= staysOpen;
    this.#endWhenAllIsGiven();
  }

  /** Lets time pass, until nothing more is to be collected. */
  async #whileCollecting(time: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, time);
    this.#endCollecting = resolve;
    await promise;
    clearTimeout(timer);
  }

  /** Whether everything has been taken that there will ever be. */
  get #hasGivenAll(): boolean {
    return this.#stopped && (this.#pending === null || this.#abandoned) &&
      this.#arrived === null && this.#collected.length === 0;
  }

  #endWhenAllIsGiven(): void {
    if (this.#hasGivenAll) this.#end("closed");
  }

  /**
   * Accepts no more, and waits until the call of `accept` under way has settled, which is when Deno lets go of a closed
   * listener's port. One that goes on all the same is waited for no longer than 1 s.
   */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#endCollecting?.();
    if (this.#pending === null) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, CLOSE_LIMIT);
    await Promise.race([this.#pending, promise]);
    clearTimeout(timer);
    this.#abandoned = true;
    this.#endWhenAllIsGiven();
  }

  /** Ends the wait under way, if any. */
  wake(): void {
    this.#end("woken");
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

  /**
   * Stops and says that no more will come.
   *
   * @returns The requests that arrived and that nobody took, for the caller to close.
   */
  async close(): Promise<T[]> {
    this.#closed = true;
    this.#end("closed");
    await this.stop();
    this.#settled = true;
    const untaken = this.#collected.splice(0);
    if (this.#arrived !== null) untaken.unshift(this.#arrived.value);
    this.#arrived = null;
    return untaken;
  }

  #timer(callback: () => void, delay: number): ReturnType<typeof setTimeout> {
    const timer = setTimeout(callback, delay);
    if (!this.#ref) Deno.unrefTimer(timer);
    return timer;
  }

  #end(result: WaitResult): void {
    if (this.#pause !== undefined) clearTimeout(this.#pause);
    if (this.#limit !== undefined) clearTimeout(this.#limit);
    this.#pause = this.#limit = undefined;
    const endWait = this.#endWait;
    this.#endWait = null;
    endWait?.(result);
  }

  readonly #next = (): void => {
    this.#pause = undefined;
    this.#notBefore = 0;
    if (this.#pending !== null || !this.#mayAccept()) return;
    let accepting: T | PromiseLike<T>;
    let isLater: boolean;
    try {
      accepting = this.#options.accept();
      isLater = isThenable(accepting); // a Proxy may refuse to say
    } catch (error) {
      this.#failed(error);
      return;
    }
    if (isLater) {
      this.#pending = Promise.resolve(accepting).then(this.#succeeded, this.#failed);
    } else {
      this.#succeeded(accepting as T);
    }
  };

  #mayAccept(): boolean {
    if (this.#stopped || this.#closed) return false;
    return this.#left === null ? this.#options.permitted() : this.#left > 0;
  }

  readonly #succeeded = (value: T): void => {
    this.#pending = null;
    if (this.#settled) {
      this.#options.onLate(value);
      return;
    }
    try {
      this.#options.check?.(value);
    } catch (error) {
      this.#failed(error);
      return;
    }
    this.#delay = MIN_DELAY;
    this.#peerErrors = 0;
    if (this.#suspects.length > 0) this.#absolve();
    if (this.#left === null) {
      this.#arrived = { value };
      this.#end("ready");
    } else {
      this.#collected.push(value);
      this.#left--;
      if (this.ready) this.#end("ready");
      this.#next();
    }
  };

  /** The listener is open after all. */
  #absolve(): void {
    for (const error of this.#suspects.splice(0)) this.#options.onError(error, 0);
  }

  /** Whether somebody waits for what comes next. */
  get #isWanted(): boolean {
    return this.#endWait !== null || this.#left !== null;
  }

  #isListenerClosed(error: unknown): boolean {
    return isClosedError(error) &&
      (ofListeners.has(error) || this.#options.isListener?.() === true);
  }

  readonly #failed = (error: unknown): void => {
    this.#pending = null;
    if (this.#stopped && !this.#closed) { // the listener is being closed; what was collected is still to be taken
      this.#endWhenAllIsGiven();
      return;
    }
    if (this.#closed || this.#isListenerClosed(error)) {
      if (this.#suspects.push(error) >= CLOSED_IN_A_ROW) this.#closed = true;
      if (this.#closed) this.#end("closed");
      else if (this.#isWanted) this.#next();
      return;
    }
    let delay: number;
    if (hasUsedOneUp(error)) {
      delay = ++this.#peerErrors % PEER_ERRORS_IN_A_ROW === 0 ? MIN_DELAY : 0;
    } else {
      delay = this.#delay;
      this.#delay = Math.min(this.#delay * 2, MAX_DELAY);
    }
    this.#notBefore = delay === 0 ? 0 : performance.now() + delay;
    this.#options.onError(error, delay);
    if (!this.#isWanted) return; // nobody waits: the next wait() tries again
    if (delay === 0) this.#next();
    else if (this.#endWait !== null) this.#pause = this.#timer(this.#next, delay);
  };
}

/** The errors that a listener itself gave as its answer to the call to accept. */
const ofListeners = new WeakSet<object>();

/**
 * Notes that an error comes from a listener itself: what a `getRequest()` of the user's fails with may be of the same
 * class and says nothing about the listener.
 *
 * @param error What `accept()` or `receive()` threw.
 * @returns The error, to be thrown.
 */
export function listenerError(error: unknown): unknown {
  if (isClosedError(error)) ofListeners.add(error);
  return error;
}

function isClosedError(error: unknown): error is Error {
  return isInstance(error, Deno.errors.BadResource) || isInstance(error, Deno.errors.Interrupted);
}

/**
 * Whether a connection or a datagram is gone with the error. Deno asks for the peer's name after accept: a connection
 * that was reset meanwhile has none, and a path that is not UTF-8 cannot be told.
 */
function hasUsedOneUp(error: unknown): boolean {
  return isInstance(error, Deno.errors.NotConnected) ||
    isInstance(error, Deno.errors.ConnectionAborted) ||
    isInstance(error, Deno.errors.ConnectionReset) ||
    isInstance(error, Deno.errors.ConnectionRefused) || // a datagram's, where the system tells of it
    isInstance(error, Deno.errors.InvalidData) ||
    // What macOS says of a connection that was reset, and what is said of a datagram that comes from us.
    ["EINVAL", OWN_ADDRESS].includes(errorCode(error));
}

function isThenable(value: unknown): boolean {
  return value instanceof Promise ||
    typeof value === "object" && value !== null && "then" in value &&
      typeof value.then === "function";
}
