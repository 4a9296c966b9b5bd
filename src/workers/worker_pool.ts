/**
 * The workers that run handlers away from the main isolate, kept ready and within bounds.
 *
 * @module
 */

import type { WorkerStats } from "../core/server_stats.ts";
import { IdleList } from "./idle_list.ts";
import { LeaseQueue } from "./lease_queue.ts";
import { type Supervised, Supervisor } from "./supervisor.ts";

/** How long a {@linkcode WorkerPool} waits, in milliseconds; an object, so that tests can have it wait for less. */
export const workerPoolTimes = {
  /** How long a worker that is to end by itself may take; then it is killed. */
  endGrace: 1000,
};
/** How long a worker may be idle while its server does not serve, in milliseconds. */
const REST_LIMIT = 100;

/** What the pool needs to know of a worker: a Worker or a subprocess that serves one request at a time. */
export interface PooledWorker extends Supervised {
  /** Lets the worker, which is idle, end by itself. Safe to call when it has ended. */
  close(): void;
  /** Ends the worker at once. Safe to call again, and when it has ended. */
  kill(): void;
}

/** All settings are read each time, so that they may change. */
export interface WorkerPoolOptions<Pooled extends PooledWorker> {
  /** Starts a worker; rejects when it does not come up, in a time of its own choice. */
  start: () => Promise<Pooled>;
  /** The most workers at once: at least 1. */
  max: () => number;
  /** How many workers are kept ready once the pool is warm, within `max`. */
  minSpare: () => number;
  /** How long a worker beyond `minSpare` may be idle, in milliseconds; `null` for ever. */
  idleTimeout: () => number | null;
  /** How many requests a worker serves; 0 for any number. */
  maxRequests: () => number;
  /** Told of a start that failed while nobody waited for it, and of a spare that ended unused. */
  onStartError: (error: unknown) => void;
  /** Told that three starts in a row have failed, with the first of their errors, before any worker was of use. */
  onFailure: (error: unknown) => void;
  /** Told that there are more poisoned workers, or fewer. */
  onPoisoned: () => void;
}

/**
 * A worker that counts against `max`.
 *
 * - spare → busy: it is leased. busy → spare: it is released, and may serve another request.
 * - spare → ending: it has been idle for too long, or the pool is closed. It is asked to end, then killed.
 * - busy → ending: it is released and has served its number, is not reusable, or there are too many.
 *
 * One that has ended is removed; a busy one when it is released. So is at once one that is given up on (poisoned).
 */
class Entry<Pooled extends PooledWorker> implements Supervised {
  readonly worker: Pooled;
  readonly ended: Promise<unknown>;
  state: "spare" | "busy" | "ending" = "ending";
  served = 0;
  /** Since when it is idle, by the clock of `performance.now()`. */
  idleSince = 0;
  /** Whether it has ended; a busy one keeps its place until it is released. */
  isGone = false;

  constructor(worker: Pooled) {
    this.worker = worker;
    this.ended = worker.ended;
  }

  hasExited(): Promise<boolean> {
    return this.worker.hasExited();
  }
}

/**
 * Keeps workers of one kind: hands them out one lease at a time, starts spares while the others run, and ends what
 * is used up, surplus or idle for too long. Never more than `max` are alive, poisoned ones excepted.
 *
 * A start that fails is tried again after a pause of 5 ms, which doubles each time up to 1 s; a spare that ends
 * without having been leased counts as one. Three in a row stop that: leases that wait, and those that come
 * within the pause, reject with the first of the errors as it is. The first lease after the pause tries once
 * more; when that fails, too, its error takes the place of the first, and when it succeeds all is as before.
 *
 * @typeParam Pooled What is kept.
 */
export class WorkerPool<Pooled extends PooledWorker> extends Supervisor<Entry<Pooled>> {
  readonly #options: WorkerPoolOptions<Pooled>;
  readonly #entries = new WeakMap<Pooled, Entry<Pooled>>();
  /** While there is one, no lease waits. */
  readonly #spares = new IdleList<Entry<Pooled>>(
    (longest) => this.#idleDueOf(longest),
    (entry) => this.#retire(entry),
  );
  readonly #waiting = new LeaseQueue<Pooled>();
  /**
   * What becomes of idle workers. While the server serves ("warm"), `minSpare` are kept ready; while it serves one
   * request ("held"), each stays until `idleTimeout`; otherwise ("none") each ends after 100 ms, because a Worker
   * keeps the program alive.
   */
  #use: "warm" | "held" | "none" = "held";
  /** How many loops of the server run; a second one is on its way to fail. */
  #loops = 0;
  /** When the last one ended, by the clock of `performance.now()`. */
  #unusedSince = 0;
  /** Whether a worker has ever been leased, or another pool of the server has had one of use. */
  isProven = false;
  #isClosed = false;

  constructor(options: WorkerPoolOptions<Pooled>) {
    super();
    this.#options = options;
  }

  /**
   * Gives the spare that was used last, or a new worker; waits while `max` are alive and none is spare.
   *
   * @param signal Ends the wait; the promise rejects with its reason.
   * @param yields Whether it lets all others go first, which may change while it waits.
   * @returns A worker, to be given back by `release()` or `poison()`.
   * @throws {Deno.errors.BadResource} When the pool is closed.
   * @throws {Error} The first of the errors, after three starts in a row have failed.
   */
  async lease(signal?: AbortSignal, yields = () => false): Promise<Pooled> {
    signal?.throwIfAborted();
    if (this.#isClosed) throw closedError();
    const spare = this.#spares.take();
    if (spare !== undefined) {
      this.#begin(spare);
      this.fill(); // the next comes up while this one runs
      return spare.worker;
    }
    if (this.backoff.stopped && this.backoff.pausing) throw this.backoff.error;
    const worker = this.#waiting.wait(signal, yields);
    this.fill();
    return await worker;
  }

  /**
   * Takes a worker back. It is killed when it is not reusable, ends by itself when it has served its number or there
   * are too many, and is spare otherwise. Does nothing for a worker that is not leased.
   *
   * @param worker What `lease()` gave.
   * @param reusable Whether it may serve another request.
   */
  release(worker: Pooled, reusable: boolean): void {
    const entry = this.#entries.get(worker);
    if (entry?.state !== "busy") return;
    entry.served++;
    const maxRequests = this.#options.maxRequests();
    if (entry.isGone) {
      this.remove(entry);
    } else if (!reusable) {
      entry.state = "ending";
      worker.kill();
    } else if (maxRequests > 0 && entry.served >= maxRequests) {
      this.#retire(entry);
    } else {
      this.#offer(entry);
    }
    this.fill();
  }

  /** Whether a lease would be given a worker at once. */
  get hasSpare(): boolean {
    return this.#spares.length > 0;
  }

  /** Keeps `minSpare` workers ready from now on. */
  warm(): void {
    this.#use = "warm";
    this.fill();
  }

  /**
   * Runs a loop of the server. When it has ended, no worker is idle for more than a moment, because a Worker keeps the
   * program alive; leases are given as ever.
   *
   * @param forever Whether `minSpare` workers are kept ready meanwhile.
   * @param loop The loop.
   */
  async during(forever: boolean, loop: () => Promise<void>): Promise<void> {
    if (this.#loops++ === 0) {
      if (!this.isProven && this.backoff.stopped) this.backoff.reset(); // it begins anew
      if (forever) this.warm();
      else this.#use = "held";
    }
    try {
      await loop();
    } finally {
      if (--this.#loops === 0) {
        this.#use = "none";
        this.#unusedSince = performance.now();
        this.#spares.endDue();
      }
    }
  }

  /**
   * Gives up on a leased worker that does not end when it is killed, such as a Worker in an endless loop: it is
   * killed, takes no place of the `max` any more, and nobody waits for its end, which is only looked for.
   *
   * @param worker What `lease()` gave.
   */
  poison(worker: Pooled): void {
    const entry = this.#entries.get(worker);
    if (entry?.state !== "busy") return;
    worker.kill();
    this.remove(entry);
    this.notePoisoned(entry);
    this.fill();
  }

  /** A snapshot of the counters. A worker that is on its way out counts in none of these, but against `max`. */
  stats(): WorkerStats {
    const busy = [...this.up].filter(({ state }) => state === "busy").length;
    return {
      spare: this.#spares.length,
      busy,
      starting: this.coming.size,
      poisoned: this.poisoned,
      started: this.started,
    };
  }

  /**
   * Ends the spares at once, each leased worker when it is released, and each that is coming up when it is there;
   * leases that wait reject. Resolves when all have ended, poisoned ones excepted. Safe to call again.
   */
  async close(): Promise<void> {
    if (!this.#isClosed) {
      this.#isClosed = true;
      this.backoff.close();
      this.endLooks();
      this.#spares.close();
      this.#waiting.rejectAll(closedError());
      while (this.#spares.length > 0) this.#retire(this.#spares.take()!);
    }
    await this.gone();
  }

  protected override async start(): Promise<Entry<Pooled>> {
    return new Entry(await this.#options.start());
  }

  protected override get isWanted(): boolean {
    return !this.#isClosed;
  }

  protected override missing(): number {
    const spares = this.#use === "warm" && !this.backoff.stopped ? this.#options.minSpare() : 0;
    const missing = this.#waiting.size + spares - this.#spares.length;
    return Math.min(missing, this.#options.max() - this.up.size);
  }

  protected override takeOver(entry: Entry<Pooled>): void {
    this.#entries.set(entry.worker, entry);
    this.#offer(entry);
  }

  protected override startFailed(error: unknown): void {
    if (this.#waiting.size === 0) this.#options.onStartError(error);
    if (!this.backoff.stopped) return;
    this.#waiting.rejectAll(this.backoff.error);
    if (!this.isProven) this.#options.onFailure(this.backoff.error);
  }

  /** Finds a use for a worker that is ready. */
  #offer(entry: Entry<Pooled>): void {
    if (this.#isClosed || this.alive > this.#options.max()) {
      this.#retire(entry);
    } else if (this.#waiting.size > 0) {
      this.#begin(entry);
      this.#waiting.serve(entry.worker);
    } else {
      entry.state = "spare";
      entry.idleSince = performance.now();
      this.#spares.add(entry);
      this.#spares.endDue();
    }
  }

  /** Notes that a worker is leased. */
  #begin(entry: Entry<Pooled>): void {
    entry.state = "busy";
    this.isProven = true;
  }

  /** Lets an idle worker end. */
  #retire(entry: Entry<Pooled>): void {
    entry.state = "ending";
    entry.worker.close();
    const timer = setTimeout(() => entry.worker.kill(), workerPoolTimes.endGrace);
    Deno.unrefTimer(timer);
    void entry.worker.ended.then(() => clearTimeout(timer));
  }

  protected override poisonedChanged(): void {
    this.#options.onPoisoned();
  }

  /** One that is busy keeps its place until it is released. */
  protected override hasEnded(entry: Entry<Pooled>, end: unknown): void {
    entry.isGone = true;
    if (entry.state === "busy") return;
    if (entry.state === "spare") {
      this.#spares.remove(entry);
      if (entry.served === 0) {
        const message = "Cannot keep worker ready: it ended before it was used";
        this.wasUseless(entry, new Error(message, { cause: end }));
      }
    }
    this.remove(entry);
  }

  /** When the spare that has been idle the longest is to end. */
  #idleDueOf(longest: Entry<Pooled>): number {
    const limit = this.#options.idleTimeout();
    const due = longest.idleSince + (limit ?? Infinity);
    if (this.#use === "none") {
      return Math.min(due, Math.max(longest.idleSince, this.#unusedSince) + REST_LIMIT);
    }
    return this.#spares.length > this.#options.minSpare() ? due : Infinity;
  }
}

function closedError(): Error {
  return new Deno.errors.BadResource("Cannot lease worker: the pool is closed");
}
