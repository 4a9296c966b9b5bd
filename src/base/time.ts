/**
 * Waiting: a pause, a limit on somebody else's promise, and pauses that grow with each failure.
 *
 * @module
 */

/** Options of {@linkcode delay}. */
export interface DelayOptions {
  /** Ends the pause early, without an error. */
  signal?: AbortSignal;
}

/**
 * Resolves after a time, or when the signal is aborted.
 *
 * @param time How long to wait, in milliseconds.
 */
export function delay(time: number, { signal }: DelayOptions = {}): Promise<void> {
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
