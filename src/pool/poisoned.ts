/**
 * Workers that never await: which those are, and how many of them a server gives up on and replaces.
 *
 * @module
 */
import { logOf } from "../core/faults.ts";
import type { ServerLogger } from "../base/log.ts";
import { integerFrom, nullOr } from "../base/options.ts";
import type { Settings } from "../base/settings.ts";
import type { PoolWorker } from "./pool_worker.ts";

/** The setting `maxPoisoned`. */
export const POISONED_SETTING: Settings<{ maxPoisoned: number | null }> = {
  maxPoisoned: { default: null, check: nullOr(integerFrom(0, 4096)) },
};

/** How long a {@linkcode StuckWatch} waits, in milliseconds; an object, so that tests can have it wait for less. */
export const stuckTimes = {
  /** How often it is looked whether Workers await, where requests have a time limit. */
  lookInterval: 250,
  /** How much longer than a request may take a Worker may not have awaited. */
  grace: 2000,
  /** The same for one that serves nobody, and may only wait for a processor that others use. */
  idleGrace: 5000,
  /** How long one that serves nobody is left alone after it has answered. */
  idleRest: 1000,
};
/** In how many looks at least: while the machine or this isolate is too busy to look, time passes that says nothing. */
const STUCK_LOOKS = 6;

/** Looks for Workers that do not await. */
export class StuckWatch {
  readonly #workers: () => Iterable<PoolWorker>;
  readonly #onStuck: (worker: PoolWorker, isIdle: boolean) => void;
  /** What each has not answered yet, and when it was asked, by the clock of `performance.now()`. */
  readonly #asked = new WeakMap<PoolWorker, { looks: number; since: number }>();
  /** When each answered last, by the same clock. */
  readonly #answered = new WeakMap<PoolWorker, number>();
  #timer: ReturnType<typeof setInterval> | undefined;

  /**
   * @param workers Those that are looked at.
   * @param onStuck Told of one that does not await, and whether it serves nobody.
   */
  constructor(
    workers: () => Iterable<PoolWorker>,
    onStuck: (worker: PoolWorker, isIdle: boolean) => void,
  ) {
    this.#workers = workers;
    this.#onStuck = onStuck;
  }

  /**
   * Looks from now on.
   *
   * @param limit How long a request may take, in milliseconds.
   */
  start(limit: number): void {
    this.#timer = setInterval(() => {
      for (const worker of this.#workers()) this.#look(worker, limit);
    }, stuckTimes.lookInterval);
    Deno.unrefTimer(this.#timer);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Asks it for an answer, which takes one that awaits no more than a turn of its event loop, or how long that takes. */
  #look(worker: PoolWorker, limit: number): void {
    const now = performance.now();
    const isIdle = worker.counts().active === 0; // what a handler has left behind may run all the same
    const asked = this.#asked.get(worker);
    if (asked === undefined) {
      if (isIdle && now - (this.#answered.get(worker) ?? -Infinity) < stuckTimes.idleRest) return;
      this.#asked.set(worker, { looks: 0, since: now });
      void worker.order({ name: "ping" }).then(() => {
        this.#asked.delete(worker);
        this.#answered.set(worker, performance.now());
      });
      return;
    }
    const most = limit + (isIdle ? stuckTimes.idleGrace : stuckTimes.grace);
    if (++asked.looks >= STUCK_LOOKS && now - asked.since > most) this.#onStuck(worker, isIdle);
  }
}

/** How long a server waits for one of its Workers to end when it has no place left, in milliseconds. */
const PATIENCE = 30_000;

/** What a {@linkcode PoisonedBound} looks at. */
export interface PoisonedHost {
  readonly maxPoisoned: number | null;
  readonly logger: ServerLogger;
}

export interface PoisonedBoundOptions {
  /** How many Workers there may be where none is poisoned. */
  places: () => number;
  /** How many are, and still run. */
  poisoned: () => number;
  /** Told why nobody can be served any more. */
  onFailure: (error: Error) => void;
}

/**
 * Says when a server has as many poisoned Workers as it may, and how many places it has left.
 *
 * Without a place nobody is served until one of them has ended, as one does that only computes for long; where none
 * does in time, the server has failed.
 */
export class PoisonedBound {
  readonly #server: PoisonedHost;
  readonly #options: PoisonedBoundOptions;
  #isSaid = false;
  #failureTimer: ReturnType<typeof setTimeout> | undefined;
  /** Why nobody can be served any more; null where that is not so, or not known yet. */
  #failure: Error | null = null;

  constructor(server: PoisonedHost, options: PoisonedBoundOptions) {
    this.#server = server;
    this.#options = options;
  }

  /** How many Workers there may be. */
  get left(): number {
    const { places, poisoned } = this.#options;
    return Math.max(0, places() - Math.max(0, poisoned() - this.#most));
  }

  /** Whether there are as many as there may be. */
  get isReached(): boolean {
    const count = this.#options.poisoned();
    return count > 0 && count >= this.#most;
  }

  /**
   * Throws where nobody can be served any more.
   *
   * @throws {Error} That says why.
   */
  check(): void {
    if (this.#failure !== null) throw this.#failure;
  }

  /** Notes that there are more that are poisoned and still run, or fewer, or other settings. */
  note(): void {
    if (!this.isReached) this.#isSaid = false;
    else if (!this.#isSaid) this.#say(this.#options.poisoned());
    if (this.left > 0) {
      clearTimeout(this.#failureTimer);
      this.#failureTimer = undefined;
      this.#failure = null;
    } else if (this.#failureTimer === undefined) {
      this.#failureTimer = setTimeout(() => this.#fail(), PATIENCE);
      Deno.unrefTimer(this.#failureTimer);
    }
  }

  #fail(): void {
    const count = this.#options.poisoned();
    this.#failure = new Error(
      `Cannot serve: ${count} Workers never awaited, were given up on and still run, and no more are started ('maxPoisoned')`,
    );
    this.#options.onFailure(this.#failure);
  }

  get #most(): number {
    return this.#server.maxPoisoned ?? this.#options.places();
  }

  #say(count: number): void {
    this.#isSaid = true;
    const line = `Workers that never awaited, were given up on and still run: ${count}`;
    const next = "while they do, no more are replaced ('maxPoisoned')";
    logOf(this.#server, "error", `${line}; ${next}`);
  }
}
