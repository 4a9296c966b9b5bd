/**
 * When to start again after a start that failed or a worker that died, and when to stop.
 *
 * @module
 */
import { Backoff } from "../base/time.ts";

/** The first pause, in milliseconds; it doubles with each failure or death in a row. */
const MIN_PAUSE = 5;
/** The longest pause, in milliseconds; deaths that are further apart do not follow each other. */
const MAX_PAUSE = 1000;
/** After so many failed starts in a row nothing is started but on demand. */
const MAX_FAILURES = 3;

/** Counts the starts that fail in a row, and holds back the next one. */
export class StartBackoff {
  readonly #resume: () => void;
  #failures = 0;
  #error: unknown;
  #pause: ReturnType<typeof setTimeout> | undefined;
  readonly #deaths = new Backoff(MIN_PAUSE, MAX_PAUSE);
  /** When the pause after the last death was over, by the clock of `performance.now()`. */
  #lastDeath = -Infinity;

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
   * @returns Whether it counts.
   */
  failed(error: unknown, failuresBefore: number): boolean {
    if (failuresBefore < this.#failures) return false;
    if (failuresBefore === 0 || failuresBefore >= MAX_FAILURES) this.#error = error;
    this.#failures = failuresBefore + 1;
    this.#beginPause(Math.min(MIN_PAUSE * 2 ** failuresBefore, MAX_PAUSE));
    if (this.stopped) Deno.unrefTimer(this.#pause!); // nobody waits for it
    return true;
  }

  /** Begins a pause after a worker has died that was of use; it is longer when another soon follows. */
  died(): void {
    const now = performance.now();
    if (now - this.#lastDeath >= MAX_PAUSE) this.#deaths.reset();
    const pause = this.#deaths.next();
    this.#lastDeath = now + pause;
    if (!this.pausing) this.#beginPause(pause);
  }

  /** Forgets the failures, after a success or for a new beginning, and ends the pause that they caused. */
  reset(): void {
    if (this.#failures > 0) this.close();
    this.#failures = 0;
  }

  /** Ends the pause for good. */
  close(): void {
    clearTimeout(this.#pause);
    this.#pause = undefined;
  }

  #beginPause(pause: number): void {
    clearTimeout(this.#pause);
    this.#pause = setTimeout(() => {
      this.#pause = undefined;
      this.#resume();
    }, pause);
  }
}
