/**
 * The workers that run handlers away from the main isolate, kept ready and within bounds.
 *
 * @module
 */

import { IdleList } from "./idle_list.ts";
import { StartBackoff } from "./start_backoff.ts";

/** How long a worker that is to end by itself may take, in milliseconds; then it is killed. */
const END_GRACE = 1000;
/** How long a worker may be idle while its server does not serve, in milliseconds. */
const REST_LIMIT = 100;

/** What the pool needs to know of a worker: a Worker or a subprocess that serves one request at a time. */
export interface PooledWorker {
  /** Resolves when the worker is no more, however that came. Never rejects. */
  readonly ended: Promise<unknown>;
  /** Lets the worker, which is idle, end by itself. Safe to call when it has ended. */
  close(): void;
  /** Ends the worker at once. Safe to call again, and when it has ended. */
  kill(): void;
}

/** What a {@linkcode WorkerPool} is made with. All settings are read each time, so that they may change. */
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
}

/** A snapshot of a {@linkcode WorkerPool}. A worker that is on its way out counts in none of these, but against `max`. */
export interface WorkerPoolStats {
  /** Units that are ready. */
  spare: number;
  /** Units that are leased. */
  busy: number;
  /** Units that are coming up. */
  starting: number;
  /** Units that were given up on so far; each may still be running. */
  poisoned: number;
  /** Units that have come up so far. */
  started: number;
}

/** A worker that counts against `max`. */
class Entry<Pooled> {
  readonly worker: Pooled;
  /** How many starts in a row had failed before this one. */
  readonly failuresBefore: number;
  state: "spare" | "busy" | "ending" = "ending";
  served = 0;
  /** Since when it is idle, by the clock of `performance.now()`. */
  idleSince = 0;
  /** Whether it has ended; a busy one keeps its place until it is released. */
  ended = false;

  constructor(worker: Pooled, failuresBefore: number) {
    this.worker = worker;
    this.failuresBefore = failuresBefore;
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
export class WorkerPool<Pooled extends PooledWorker> {
  readonly #options: WorkerPoolOptions<Pooled>;
  /** All that are alive, as far as anybody knows. */
  readonly #entries = new Map<Pooled, Entry<Pooled>>();
  /** While there is one, no lease waits. */
  readonly #spares = new IdleList<Entry<Pooled>>();
  /** The leases that wait for a worker; first come, first served. */
  readonly #waiting = new Set<PromiseWithResolvers<Pooled>>();
  /** Whether spares are kept ready, idle workers are kept as long as they may be, or nobody wants them. */
  #use: "warm" | "held" | "none" = "held";
  /** How many loops of the server run; a second one is on its way to fail. */
  #loops = 0;
  /** When the last one ended, by the clock of `performance.now()`. */
  #unusedSince = 0;
  #starting = 0;
  #started = 0;
  #poisoned = 0;
  /** Whether a worker has ever been leased. */
  #isProven = false;
  /** While a start has failed and none has succeeded since, one is under way at a time. */
  readonly #guard = new StartBackoff(() => this.#fill());
  #idleTimer: ReturnType<typeof setTimeout> | undefined;
  /** When it fires, by the clock of `performance.now()`. */
  #idleDue = 0;
  /** Resolves when all have ended; null while the pool is open. */
  #closing: PromiseWithResolvers<void> | null = null;

  /** @param options How to start a worker, and the settings. */
  constructor(options: WorkerPoolOptions<Pooled>) {
    this.#options = options;
  }

  /**
   * Gives the spare that was used last, or a new worker; waits while `max` are alive and none is spare.
   *
   * @param signal Ends the wait; the promise rejects with its reason.
   * @returns A worker, to be given back by `release()` or `poison()`.
   * @throws {Deno.errors.BadResource} When the pool is closed.
   * @throws {Error} The first of the errors, after three starts in a row have failed.
   */
  async lease(signal?: AbortSignal): Promise<Pooled> {
    signal?.throwIfAborted();
    if (this.#closing !== null) throw closedError();
    const spare = this.#spares.take();
    if (spare !== undefined) {
      this.#begin(spare);
      this.#fill(); // the next comes up while this one runs
      return spare.worker;
    }
    if (this.#guard.stopped && this.#guard.pausing) throw this.#guard.error;
    const waiting = Promise.withResolvers<Pooled>();
    const abort = (): void => {
      if (this.#waiting.delete(waiting)) waiting.reject(signal!.reason);
    };
    signal?.addEventListener("abort", abort);
    this.#waiting.add(waiting);
    this.#fill();
    try {
      return await waiting.promise;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
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
    if (entry.ended) {
      this.#remove(entry);
    } else if (!reusable) {
      entry.state = "ending";
      worker.kill();
    } else if (maxRequests > 0 && entry.served >= maxRequests) {
      this.#retire(entry);
    } else {
      this.#offer(entry);
    }
    this.#fill();
  }

  /** Whether a lease would be given a worker at once. */
  get hasSpare(): boolean {
    return this.#spares.length > 0;
  }

  /** To be called when `max` has been raised, so that leases that wait for it need not wait for a release. */
  limitChanged(): void {
    this.#fill();
  }

  /** Keeps `minSpare` workers ready from now on. */
  warm(): void {
    this.#use = "warm";
    this.#fill();
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
      if (!this.#isProven && this.#guard.stopped) this.#guard.reset(); // it begins anew
      if (forever) this.warm();
      else this.#use = "held";
    }
    try {
      await loop();
    } finally {
      if (--this.#loops === 0) {
        this.#use = "none";
        this.#unusedSince = performance.now();
        this.#endIdle();
      }
    }
  }

  /**
   * Gives up on a leased worker that does not end when it is killed, such as a Worker in an endless loop: it is
   * killed, takes no place of the `max` any more, and nobody waits for its end.
   *
   * @param worker What `lease()` gave.
   */
  poison(worker: Pooled): void {
    const entry = this.#entries.get(worker);
    if (entry?.state !== "busy") return;
    this.#poisoned++;
    worker.kill();
    this.#remove(entry);
    this.#fill();
  }

  /** A snapshot of the counters. */
  stats(): WorkerPoolStats {
    const busy = [...this.#entries.values()].filter(({ state }) => state === "busy").length;
    return {
      spare: this.#spares.length,
      busy,
      starting: this.#starting,
      poisoned: this.#poisoned,
      started: this.#started,
    };
  }

  /**
   * Ends the spares at once, each leased worker when it is released, and each that is coming up when it is there;
   * leases that wait reject. Resolves when all have ended, poisoned ones excepted. Safe to call again.
   */
  async close(): Promise<void> {
    if (this.#closing === null) {
      this.#closing = Promise.withResolvers();
      this.#guard.close();
      clearTimeout(this.#idleTimer);
      this.#rejectAll(closedError());
      while (this.#spares.length > 0) this.#retire(this.#spares.take()!);
      this.#checkClosed();
    }
    await this.#closing.promise;
  }

  /** Starts what is missing, as far as `max` and failures allow. */
  #fill(): void {
    const guard = this.#guard;
    while (this.#closing === null && !guard.pausing) {
      const spares = this.#use === "warm" && !guard.stopped ? this.#options.minSpare() : 0;
      const missing = this.#waiting.size + spares - this.#spares.length;
      if (this.#starting >= (guard.failures > 0 ? Math.min(missing, 1) : missing)) return;
      if (this.#alive() >= this.#options.max()) return;
      void this.#start(); // never rejects
    }
  }

  async #start(): Promise<void> {
    const failuresBefore = this.#guard.failures;
    this.#starting++;
    let worker: Pooled;
    try {
      worker = await this.#options.start();
    } catch (error) {
      this.#starting--;
      this.#failed(error, failuresBefore);
      this.#checkClosed();
      this.#fill();
      return;
    }
    this.#starting--;
    this.#started++;
    this.#guard.reset();
    const entry = new Entry(worker, failuresBefore);
    this.#entries.set(worker, entry);
    void worker.ended.then((end) => this.#ended(entry, end));
    this.#offer(entry);
    this.#fill();
  }

  #failed(error: unknown, failuresBefore: number): void {
    if (this.#closing !== null) return;
    if (this.#waiting.size === 0) this.#options.onStartError(error);
    this.#guard.failed(error, failuresBefore);
    if (!this.#guard.stopped) return;
    this.#rejectAll(this.#guard.error);
    if (!this.#isProven) this.#options.onFailure(this.#guard.error);
  }

  #alive(): number {
    return this.#entries.size + this.#starting;
  }

  /** Finds a use for a worker that is ready. */
  #offer(entry: Entry<Pooled>): void {
    const [waiting] = this.#waiting;
    if (this.#closing !== null || this.#alive() > this.#options.max()) {
      this.#retire(entry);
    } else if (waiting !== undefined) {
      this.#waiting.delete(waiting);
      this.#begin(entry);
      waiting.resolve(entry.worker);
    } else {
      entry.state = "spare";
      entry.idleSince = performance.now();
      this.#spares.add(entry);
      this.#endIdle();
    }
  }

  /** Notes that a worker is leased. */
  #begin(entry: Entry<Pooled>): void {
    entry.state = "busy";
    this.#isProven = true;
  }

  /** Lets an idle worker end. */
  #retire(entry: Entry<Pooled>): void {
    entry.state = "ending";
    entry.worker.close();
    const timer = setTimeout(() => entry.worker.kill(), END_GRACE);
    Deno.unrefTimer(timer);
    void entry.worker.ended.then(() => clearTimeout(timer));
  }

  /** A worker has ended, by our wish or not. */
  #ended(entry: Entry<Pooled>, end: unknown): void {
    entry.ended = true;
    if (entry.state === "busy" || this.#entries.get(entry.worker) !== entry) return;
    if (entry.state === "spare") {
      this.#spares.remove(entry);
      if (entry.served === 0) {
        const message = "Cannot keep worker ready: it ended before it was used";
        this.#failed(new Error(message, { cause: end }), entry.failuresBefore);
      }
    }
    this.#remove(entry);
    this.#fill();
  }

  #remove(entry: Entry<Pooled>): void {
    this.#entries.delete(entry.worker);
    this.#checkClosed();
  }

  #rejectAll(error: unknown): void {
    for (const { reject } of this.#waiting) reject(error);
    this.#waiting.clear();
  }

  #checkClosed(): void {
    if (this.#alive() === 0) this.#closing?.resolve();
  }

  /** Ends the spares that are not kept ready and have been idle for too long, now and when it is time. */
  #endIdle(): void {
    for (let { longest } = this.#spares; longest !== undefined; { longest } = this.#spares) {
      const due = this.#idleDueOf(longest);
      const left = due - performance.now();
      if (left === Infinity) return;
      if (left > 0) return this.#endIdleAt(due, left);
      this.#spares.remove(longest);
      this.#retire(longest);
    }
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

  /** Looks again when it is time; a timer that comes before is left, as this is called for each request. */
  #endIdleAt(due: number, left: number): void {
    if (this.#idleTimer !== undefined) {
      if (this.#idleDue <= due) return;
      clearTimeout(this.#idleTimer);
    }
    this.#idleDue = due;
    this.#idleTimer = setTimeout(() => {
      this.#idleTimer = undefined;
      this.#endIdle();
    }, Math.ceil(left));
    Deno.unrefTimer(this.#idleTimer);
  }
}

function closedError(): Error {
  return new Deno.errors.BadResource("Cannot lease worker: the pool is closed");
}
