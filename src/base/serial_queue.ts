/**
 * Operations that go one after the other.
 *
 * @module
 */

/** Runs operations one after the other, in the order of the calls. */
export class SerialQueue {
  /** Settles when the last operation so far has; null when none is under way. */
  #last: Promise<unknown> | null = null;
  readonly #onError: ((error: unknown) => void) | undefined;

  /** @param onError Told of what an operation fails with, before its caller is. */
  constructor(onError?: (error: unknown) => void) {
    this.#onError = onError;
  }

  /** Whether an operation has not settled yet. */
  get busy(): boolean {
    return this.#last !== null;
  }

  /** Runs an operation when all before it have succeeded; one that fails takes those that wait with it. */
  run<T>(operation: () => Promise<T>): Promise<T> {
    return this.#add(this.#last === null ? operation() : this.#last.then(operation));
  }

  /** Runs an operation when all before it have settled, whatever became of them. */
  runAnyway<T>(operation: () => Promise<T>): Promise<T> {
    return this.#add(this.#last === null ? operation() : this.#last.then(operation, operation));
  }

  /** Resolves when all operations so far have settled, whatever became of them. */
  async settled(): Promise<void> {
    try {
      await this.#last;
    } catch {
      // Its caller's.
    }
  }

  #add<T>(running: Promise<T>): Promise<T> {
    this.#last = running;
    const forget = () => {
      if (this.#last === running) this.#last = null;
    };
    // Also what keeps an operation that nobody awaits from being an unhandled rejection.
    running.then(forget, (error) => {
      this.#onError?.(error);
      forget();
    });
    return running;
  }
}
