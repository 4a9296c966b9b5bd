/**
 * When to try again after a start that failed, and when to stop.
 *
 * @module
 */

/** The pause after a failed start, in milliseconds; it doubles with each in a row. */
const MIN_PAUSE = 5;
/** The longest pause between two tries, in milliseconds. */
const MAX_PAUSE = 1000;
/** After so many failed starts in a row nothing is started but on demand. */
const MAX_FAILURES = 3;

/** Counts the starts that fail in a row, and holds back the next one. */
export class StartBackoff {
  readonly #resume: () => void;
  #failures = 0;
  #error: unknown;
  #pause: ReturnType<typeof setTimeout> | undefined;

  /** @param resume Called when a pause is over. */
  constructor(resume: () => void) {
    this.#resume = resume;
  }

  /** How many starts have failed in a row. */
  get failures(): number {
    return this.#failures;
  }

  /** Whether so many have failed that only demand justifies another try. */
  get stopped(): boolean {
    return this.#failures >= MAX_FAILURES;
  }

  /** Whether the next start has to wait. */
  get pausing(): boolean {
    return this.#pause !== undefined;
  }

  /** The first of the errors in a row; of a try on demand, its own. */
  get error(): unknown {
    return this.#error;
  }

  /**
   * Counts a failed start, and begins a pause. Of those that were under way side by side one counts.
   *
   * @param failuresBefore What `failures` was when it began.
   */
  failed(error: unknown, failuresBefore: number): void {
    if (failuresBefore < this.#failures) return;
    if (failuresBefore === 0 || failuresBefore >= MAX_FAILURES) this.#error = error;
    this.#failures = failuresBefore + 1;
    clearTimeout(this.#pause);
    this.#pause = setTimeout(() => {
      this.#pause = undefined;
      this.#resume();
    }, Math.min(MIN_PAUSE * 2 ** failuresBefore, MAX_PAUSE));
    if (this.stopped) Deno.unrefTimer(this.#pause); // nobody waits for it
  }

  /** Forgets the failures, after a success or for a new beginning, and ends the pause. */
  reset(): void {
    this.#failures = 0;
    this.close();
  }

  /** Ends the pause for good. */
  close(): void {
    clearTimeout(this.#pause);
    this.#pause = undefined;
  }
}
