/**
 * Getting the next request, and the one place that decides what an accept error means.
 *
 * @module
 */
import { errorCode, isInstance } from "./errors.ts";

/** The first pause after an accept error that a pause can help, in milliseconds; it doubles each time. */
const MIN_DELAY = 5;
/** The longest pause between two tries, in milliseconds. */
const MAX_DELAY = 1000;
/** After so many connections in a row that were dead on arrival the loop pauses once. */
const PEER_ERRORS_IN_A_ROW = 100;
/** After so many tries in a row that found the listener closed, it is. */
const CLOSED_IN_A_ROW = 3;
/** How long `close()` waits for an `accept` that goes on although its listener is closed, in milliseconds. */
const CLOSE_LIMIT = 1000;

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
 */
export class Acceptor<T> {
  readonly #options: AcceptorOptions<T>;
  /** Settles when the call of `accept` under way has; null while there is none. */
  #pending: Promise<void> | null = null;
  /** What was accepted and not yet taken, in a box because a request may be any value. */
  #arrived: { value: T } | null = null;
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
    return this.#arrived !== null;
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
    if (this.#arrived !== null) return Promise.resolve("ready");
    if (this.#closed) return Promise.resolve("closed");
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
    if (arrived === null) throw new Error("Cannot take request: none has arrived");
    this.#arrived = null;
    return arrived.value;
  }

  /** Goes on where a wait stopped for want of a permit. */
  resume(): void {
    if (this.#endWait !== null && this.#pause === undefined) this.#next();
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
   * Says that no more will come and waits until the call of `accept` under way has settled, which is when
   * Deno lets go of a closed listener's port. One that goes on all the same is waited for no longer than 1 s.
   *
   * @returns A request that arrived and that nobody took, for the caller to close.
   */
  async close(): Promise<{ value: T } | null> {
    this.#closed = true;
    this.#end("closed");
    if (this.#pending !== null) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, CLOSE_LIMIT);
      await Promise.race([this.#pending, promise]);
      clearTimeout(timer);
    }
    this.#settled = true;
    const arrived = this.#arrived;
    this.#arrived = null;
    return arrived;
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
    if (this.#pending !== null || !this.#options.permitted()) return;
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
    this.#arrived = { value };
    this.#delay = MIN_DELAY;
    this.#peerErrors = 0;
    if (this.#suspects.length > 0) this.#absolve();
    this.#end("ready");
  };

  /** The listener is open after all. */
  #absolve(): void {
    for (const error of this.#suspects.splice(0)) this.#options.onError(error, 0);
  }

  #isListenerClosed(error: unknown): boolean {
    return isClosedError(error) &&
      (ofListeners.has(error) || this.#options.isListener?.() === true);
  }

  readonly #failed = (error: unknown): void => {
    this.#pending = null;
    if (this.#closed || this.#isListenerClosed(error)) {
      if (this.#suspects.push(error) >= CLOSED_IN_A_ROW) this.#closed = true;
      if (this.#closed) this.#end("closed");
      else if (this.#endWait !== null) this.#next();
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
    if (this.#endWait === null) return; // nobody waits: the next wait() tries again
    if (delay === 0) this.#next();
    else this.#pause = this.#timer(this.#next, delay);
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
    errorCode(error) === "EINVAL"; // what macOS says of such a connection
}

function isThenable(value: unknown): boolean {
  return value instanceof Promise ||
    typeof value === "object" && value !== null && "then" in value &&
      typeof value.then === "function";
}
