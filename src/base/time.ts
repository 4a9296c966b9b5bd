/**
 * Waiting: a pause, a limit on somebody else's promise, pauses that grow with each failure, and turns.
 *
 * @module
 */

/**
 * Resolves after a time.
 *
 * @param time How long to wait, in milliseconds.
 * @param signal Ends the pause early, without an error.
 */
export function delay(time: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return Promise.resolve();
  const { promise, resolve } = Promise.withResolvers<void>();
  const done = (): void => {
    clearTimeout(timer);
    signal?.removeEventListener("abort", done);
    resolve();
  };
  const timer = setTimeout(done, time);
  signal?.addEventListener("abort", done);
  return promise;
}

/** Of how many reads at the end of a stream one waits. */
const READS_AT_END = 64;

/**
 * Lets the event loop turn at one of many reads at the end of a stream, which find nothing to wait for: a handler that
 * reads on there for ever would let nothing else run, not even the time limit that is to cut it off.
 *
 * @param reads How many reads of the stream have found its end, this one included.
 * @returns What to wait for; null for nothing.
 */
export function turnAtEnd(reads: number): Promise<void> | null {
  return reads % READS_AT_END === 0 ? delay(0) : null;
}

/**
 * Waits for a promise, but no longer than a time.
 *
 * @param limit The time, in milliseconds.
 * @returns Whether it was fulfilled in time.
 * @throws {unknown} What it was rejected with in time. When it rejects later, nobody is told.
 */
export async function settlesWithin(promise: Promise<unknown>, limit: number): Promise<boolean> {
  const { promise: timeIsUp, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(resolve, limit, false);
  try {
    return await Promise.race([promise.then(() => true), timeIsUp]);
  } finally {
    clearTimeout(timer);
  }
}

/** Pauses between tries: the first is short, each next one twice as long, up to a limit. */
export class Backoff {
  readonly #min: number;
  readonly #max: number;
  #next: number;

  /**
   * @param min The first pause, in milliseconds.
   * @param max The longest, in milliseconds.
   */
  constructor(min = 5, max = 1000) {
    this.#min = this.#next = min;
    this.#max = max;
  }

  /** How long to pause now, in milliseconds. */
  next(): number {
    const pause = this.#next;
    this.#next = Math.min(2 * pause, this.#max);
    return pause;
  }

  /** Starts over with the short one, after a success. */
  reset(): void {
    this.#next = this.#min;
  }
}

/** Runs operations one after the other, in the order of the calls. */
export class SerialQueue {
  /** Settles when the last operation so far has; null when none is under way. */
  #last: Promise<unknown> | null = null;

  /** Whether an operation has not settled yet. */
  get busy(): boolean {
    return this.#last !== null;
  }

  /** Runs an operation when all before it have settled, whatever became of them. */
  run<T>(operation: () => Promise<T>): Promise<T> {
    const running = this.#last === null ? operation() : this.#last.then(operation, operation);
    this.#last = running;
    const forget = () => {
      if (this.#last === running) this.#last = null;
    };
    // Also what keeps an operation that nobody awaits from being an unhandled rejection.
    running.then(forget, forget);
    return running;
  }

  /** Resolves when all operations so far have settled, whatever became of them. */
  async settled(): Promise<void> {
    await this.#last?.catch(() => {}); // the caller of that one hears of it
  }
}

/**
 * A timer for what is put off again and again: set for later than before it stays as it is, and fires too early, which
 * costs less than to set it each time. It does not keep the program alive.
 */
export class LazyTimer {
  readonly #callback: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** When it fires, by the clock of `performance.now()`. */
  #fires = 0;

  /** @param callback Called when it fires; where it is too early, sets it again. */
  constructor(callback: () => void) {
    this.#callback = callback;
  }

  /** Has it fire at `due`, or before; `Infinity` for no need to. */
  set(due: number): void {
    if (due === Infinity || this.#timer !== undefined && this.#fires <= due) return;
    clearTimeout(this.#timer);
    this.#fires = due;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#callback();
    }, Math.max(0, Math.ceil(due - performance.now())));
    Deno.unrefTimer(this.#timer);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}

/**
 * How many more turns of the event loop an operation gets when its time is up. A program that was busy for
 * longer than the limit runs its timers before it sees what has arrived meanwhile.
 */
const GRACE_TURNS = 3;

/** Watches one operation at a time; a busy connection costs a comparison each operation and not a timer. */
export class Watchdog {
  readonly #timer = new LazyTimer(() => this.#check());
  /** When the operation under way runs out of time; `Infinity` while there is none. */
  #due = Infinity;
  /** How many turns are left to the operation under way after its time. */
  #grace = GRACE_TURNS;
  #expire: (() => void) | null = null;

  /**
   * Waits for an operation, but no longer than `limit`.
   *
   * @param operation What is waited for. When time is up it goes on, and a rejection of it is ignored.
   * @param limit The time limit, in milliseconds.
   * @param timedOut Makes the error for when time is up.
   */
  watch<T>(operation: Promise<T>, limit: number, timedOut: () => Error): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const expire = (): void => reject(timedOut());
    this.#expire = expire;
    this.#due = performance.now() + limit;
    this.#grace = GRACE_TURNS;
    this.#timer.set(this.#due);
    const disarm = (): void => {
      if (this.#expire !== expire) return;
      this.#expire = null;
      this.#due = Infinity;
    };
    operation.then((value) => {
      disarm();
      resolve(value);
    }, (error) => {
      disarm();
      reject(error);
    });
    return promise;
  }

  /**
   * Waits as {@linkcode Watchdog.watch}, for an operation that has the caller's memory: when time is up, this still waits
   * until the operation has settled, which `timedOut` is to bring about.
   */
  async watchToEnd<T>(operation: Promise<T>, limit: number, timedOut: () => Error): Promise<T> {
    let late: Error | null = null;
    try {
      return await this.watch(operation, limit, () => late = timedOut());
    } catch (error) {
      if (error === late) await operation.catch(() => {});
      throw error;
    }
  }

  /** Lets go of the timer; an operation under way is watched no more. */
  stop(): void {
    this.#timer.stop();
    this.#due = Infinity;
    this.#expire = null;
  }

  #check(): void {
    if (this.#due === Infinity) return;
    const now = performance.now();
    if (this.#due > now || this.#grace-- > 0) return this.#timer.set(Math.max(this.#due, now));
    const expire = this.#expire;
    this.#expire = null;
    this.#due = Infinity;
    expire?.();
  }
}
