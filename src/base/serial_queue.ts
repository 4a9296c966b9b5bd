/**
 * Operations that go one after the other.
 *
 * @module
 */

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
}
