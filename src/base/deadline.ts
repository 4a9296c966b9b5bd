/**
 * Time limits on operations that Deno cannot cancel.
 *
 * @module
 */

/**
 * How many more turns of the event loop an operation gets when its time is up. A program that was busy for
 * longer than the limit runs its timers before it sees what has arrived meanwhile.
 */
const GRACE_TURNS = 3;

/**
 * Watches one operation at a time with one timer, which is set again only when it has run out: a busy
 * connection costs a comparison each operation and not a timer.
 */
export class Watchdog {
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** When the timer will fire, by the clock of `performance.now()`. */
  #fires = 0;
  /** When the operation under way runs out of time; `Infinity` while there is none. */
  #due = Infinity;
  /** How many turns are left to the operation under way after its time. */
  #grace = GRACE_TURNS;
  #expire: (() => void) | null = null;

  /**
   * Waits for an operation, but no longer than `limit`.
   *
   * @param operation What is waited for. It goes on when time is up; its rejection is then nobody's.
   * @param limit The time limit, in milliseconds.
   * @param timedOut Makes the error for when time is up.
   */
  watch<T>(operation: Promise<T>, limit: number, timedOut: () => Error): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const expire = (): void => reject(timedOut());
    this.#expire = expire;
    this.#arm(limit);
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
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#due = Infinity;
    this.#expire = null;
  }

  #arm(limit: number): void {
    this.#due = performance.now() + limit;
    this.#grace = GRACE_TURNS;
    if (this.#timer !== undefined) {
      if (this.#fires <= this.#due) return;
      clearTimeout(this.#timer);
    }
    this.#start(limit);
  }

  #start(delay: number): void {
    this.#fires = performance.now() + delay;
    const timer = this.#timer = setTimeout(this.#check, delay);
    Deno.unrefTimer(timer); // the operation itself keeps the program alive
  }

  readonly #check = (): void => {
    this.#timer = undefined;
    if (this.#due === Infinity) return;
    const left = this.#due - performance.now();
    if (left > 0 || this.#grace-- > 0) {
      this.#start(Math.max(0, Math.ceil(left)));
      return;
    }
    const expire = this.#expire;
    this.#expire = null;
    this.#due = Infinity;
    expire?.();
  };
}
