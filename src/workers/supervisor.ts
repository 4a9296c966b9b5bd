/**
 * What keeps workers running: it starts those that are missing, pauses after failures, and counts.
 *
 * A worker is coming up, up, or gone; in between it is its user's, who may lease it or give it commands:
 *
 * - missing → coming: its start begins, unless as many have just begun as there are processors for.
 * - coming → up: its start has succeeded. The failures so far are forgotten.
 * - coming → gone: its start has failed. The next try comes after a pause of 5 ms, which doubles each time up to 1 s,
 *   and until one succeeds only one may have just begun. After three in a row the user decides what justifies another.
 * - up → gone: it has ended, whoever wanted that.
 * - up → poisoned: it is given up on, and may go on for ever. poisoned → gone: nothing of it runs any more.
 *
 * @module
 */
import { Backoff } from "../base/time.ts";

/** What a {@linkcode Supervisor} needs to know of a worker. */
export interface Supervised {
  /** Resolves when the worker is no more, however that came. Never rejects. */
  readonly ended: Promise<unknown>;
  /** Whether nothing of it runs any more, where it has ended because it was given up on. */
  hasExited(): Promise<boolean>;
}

/** How many starts may have just begun: more than there are processors for would delay the first of them. */
const MAX_YOUNG = Math.max(4, navigator.hardwareConcurrency || 1);
/** How often it is looked whether those that were given up on still run, in milliseconds. */
const EXIT_LOOK_INTERVAL = 250;

/**
 * Keeps as many workers as its user says are missing.
 *
 * @typeParam Worker What is kept.
 */
export abstract class Supervisor<Worker extends Supervised> {
  /** Those that are coming up; each resolves to the worker, or to null when it does not come up. */
  protected readonly coming: Set<Promise<Worker | null>> = new Set();
  /** Those of them that have just begun. */
  readonly #young = new Set<Promise<Worker | null>>();
  /**
   * For how long that is said of one, in milliseconds: if it takes longer, it waits for something else than a processor.
   * Twice as long each time that none of those has ended that were young together: it may be the processors after all.
   */
  protected readonly youth: number = 250;
  /** How often that was so in a row. */
  #inVain = 0;
  /** Those that are up. */
  protected readonly up: Set<Worker> = new Set();
  /** When the next start may be tried. */
  protected readonly backoff: StartBackoff = new StartBackoff(() => this.fill());
  /** How many have come up so far. */
  protected started = 0;
  /** How many starts in a row had failed before that of a worker. */
  readonly #failuresBefore = new WeakMap<Worker, number>();
  /** Those that were given up on, and still run. */
  readonly #poisoned = new Set<Worker>();
  #exitTimer: ReturnType<typeof setTimeout> | undefined;
  #isLooking = true;
  /** Called when none is left. */
  #whenGone: (() => void)[] = [];

  /** Starts a worker; rejects when it does not come up, in a time of its own choice. */
  protected abstract start(): Promise<Worker>;
  /** Whether workers are wanted at all; failures do not count while they are not. */
  protected abstract get isWanted(): boolean;
  /** How many are to be coming up now. */
  protected abstract missing(): number;
  /** Takes over a worker that has come up. */
  protected abstract takeOver(worker: Worker): void;
  /**
   * Told that a start has failed, or that what has come up was of no use.
   *
   * @param isCounted Whether it is one of the failures in a row: of those side by side one is.
   */
  protected abstract startFailed(error: unknown, isCounted: boolean): void;
  /** Told that a worker that is up has ended; to call `remove()`. */
  protected abstract hasEnded(worker: Worker, end: Awaited<Worker["ended"]>): void;
  /** Told that there are more poisoned ones, or fewer. */
  protected abstract poisonedChanged(): void;

  /** How many were given up on and still run. */
  get poisoned(): number {
    return this.#poisoned.size;
  }

  /** How many are coming up or up. */
  get alive(): number {
    return this.coming.size + this.up.size;
  }

  /** How many are coming up that should be up by now, and may never be. */
  protected get slow(): number {
    return this.coming.size - this.#young.size;
  }

  /** Starts what is missing, as far as failures and processors allow. To be called whenever there may be more to do. */
  fill(): void {
    while (this.isWanted && !this.backoff.pausing) {
      const young = this.backoff.failures > 0 ? 1 : MAX_YOUNG;
      const most = Math.min(this.missing(), this.slow + young);
      if (!(this.coming.size < most)) return; // nor where a setting is no number
      this.startOne();
    }
  }

  /** Starts one now. */
  protected startOne(): void {
    const { failures } = this.backoff;
    const timer = setTimeout(() => {
      this.#young.delete(coming);
      if (this.#young.size === 0) this.#inVain++;
      this.fill();
    }, this.youth * 2 ** this.#inVain);
    const isOver = () => {
      clearTimeout(timer);
      this.#inVain = 0;
      this.#young.delete(coming);
      this.coming.delete(coming);
    };
    const coming: Promise<Worker | null> = this.start().then((worker) => {
      isOver();
      this.#cameUp(worker, failures);
      return worker;
    }, (error) => {
      isOver();
      this.#failed(error, failures);
      this.#checkGone();
      this.fill();
      return null;
    });
    this.coming.add(coming);
    this.#young.add(coming);
  }

  /** Counts a worker that was of no use as a start that failed. */
  protected wasUseless(worker: Worker, error: unknown): void {
    this.#failed(error, this.#failuresBefore.get(worker)!);
  }

  /** Forgets a worker, which has ended or is given up on. */
  protected remove(worker: Worker): void {
    this.up.delete(worker);
    this.#checkGone();
  }

  /** Counts a worker as poisoned until nothing of it runs any more. */
  protected notePoisoned(worker: Worker): void {
    this.#poisoned.add(worker);
    this.#lookLater();
    this.poisonedChanged();
  }

  /** Looks no more whether those that were given up on still run. */
  protected endLooks(): void {
    this.#isLooking = false;
    clearTimeout(this.#exitTimer);
  }

  #lookLater(): void {
    if (!this.#isLooking || this.#exitTimer !== undefined || this.poisoned === 0) return;
    this.#exitTimer = setTimeout(() => void this.#lookForExits(), EXIT_LOOK_INTERVAL); // never rejects
    Deno.unrefTimer(this.#exitTimer);
  }

  async #lookForExits(): Promise<void> {
    let hasExited = false;
    for (const worker of this.#poisoned) {
      if (await worker.hasExited()) hasExited = this.#poisoned.delete(worker);
    }
    this.#exitTimer = undefined;
    this.#lookLater();
    if (!hasExited) return;
    this.poisonedChanged();
    this.fill();
  }

  /** Resolves when none is coming up or up. */
  gone(): Promise<void> {
    if (this.alive === 0) return Promise.resolve();
    return new Promise((resolve) => this.#whenGone.push(resolve));
  }

  #cameUp(worker: Worker, failures: number): void {
    this.started++;
    this.backoff.reset();
    this.up.add(worker);
    this.#failuresBefore.set(worker, failures);
    void worker.ended.then((end) => {
      if (!this.up.has(worker)) return; // it is given up on
      this.hasEnded(worker, end as Awaited<Worker["ended"]>);
      this.fill();
    });
    this.takeOver(worker);
    this.fill();
  }

  #failed(error: unknown, failuresBefore: number): void {
    if (!this.isWanted) return;
    this.startFailed(error, this.backoff.failed(error, failuresBefore));
  }

  #checkGone(): void {
    if (this.alive === 0) this.#whenGone.splice(0).forEach((resolve) => resolve());
  }
}

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

  /** The first of their errors; of a try on demand, its own. */
  get error(): unknown {
    return this.#error;
  }

  /** Whether so many have failed that only demand justifies another try. */
  get stopped(): boolean {
    return this.#failures >= MAX_FAILURES;
  }

  /** Whether the next start has to wait. */
  get pausing(): boolean {
    return this.#pause !== undefined;
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
