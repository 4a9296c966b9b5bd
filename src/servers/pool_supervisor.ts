/**
 * The Workers of a pool: as many as there are to be, and all at the same work.
 *
 * @module
 */
import { oneLine } from "../base/log.ts";
import type { DrainResult } from "../base/options.ts";
import { settlesWithin } from "../base/time.ts";
import type { ServerStats, WorkerStats } from "../core/request_tracker.ts";
import type { Counts, PoolLimits, PoolSettings } from "./pool_messages.ts";
import type { PoolWorker } from "./pool_worker.ts";
import { StartBackoff } from "../workers/start_backoff.ts";
import type { WorkerEnd } from "../workers/worker.ts";

/** The pause before a Worker that died is replaced, in milliseconds; it doubles with each that soon follows. */
const MIN_PAUSE = 5;
/** The longest such pause; deaths that are further apart do not count as following each other. */
const MAX_PAUSE = 1000;
/** How long a Worker may take to close its listener, in milliseconds: one that computes does not hear us. */
const CLOSE_LIMIT = 1000;
/** How long a Worker may take to say that it has drained after the time for that, in milliseconds. */
const DRAIN_GRACE = 500;

/** What a {@linkcode PoolSupervisor} is made with. */
export interface PoolSupervisorOptions {
  size: () => number;
  start: () => PoolWorker;
  /** Called when Workers are to serve. */
  settings: () => PoolSettings;
  /** Whether there is reason to start another at once after one has failed with this error. */
  mend: (error: unknown) => Promise<boolean>;
  /** Told that a Worker listens. */
  onReady: () => void;
  /** Told that a Worker has died, or has not come up and that is tried again. */
  onLoss: (line: string, ...errors: [error?: unknown]) => void;
  /** Told that three starts in a row have failed, with the first of their errors. */
  onFailure: (error: unknown) => void;
}

/** A Worker and what is known of it. */
interface Member {
  readonly worker: PoolWorker;
  /** How many starts in a row had failed before this one. */
  readonly failuresBefore: number;
  readonly since: number;
  isReady: boolean;
  /** Whether there are to be fewer, so that it ends when its requests have. */
  isLeaving: boolean;
}

type Mode = "none" | "serve" | "drain" | "close";

/** Keeps the Workers of a pool, and replaces those that die while it serves. */
export class PoolSupervisor {
  readonly #options: PoolSupervisorOptions;
  readonly #members = new Set<Member>();
  #mode: Mode = "none";
  #settings: PoolSettings | null = null;
  #guard: StartBackoff;
  #started = 0;
  #poisoned = 0;
  /** What Workers that are no more have counted. */
  readonly #past: Counts = zeroCounts();
  readonly #pastAcceptErrors: Record<string, number> = {};
  #pause = 0;
  #pauseTimer: ReturnType<typeof setTimeout> | undefined;
  #lastDeath = -Infinity;
  /** By when those that drain have to be done, by the clock of `performance.now()`; null for no limit. */
  #drainDue: number | null = null;
  #drainTimer: ReturnType<typeof setTimeout> | undefined;
  /** Called when the last has gone. */
  #whenGone: (() => void)[] = [];
  /** Whether one has ended without closing its listener, of which Deno lets go a little later. */
  crashed = false;

  constructor(options: PoolSupervisorOptions) {
    this.#options = options;
    this.#guard = new StartBackoff(() => this.#fill());
  }

  /** Whether there are Workers. */
  get isEmpty(): boolean {
    return this.#members.size === 0;
  }

  /** Whether a Worker listens. */
  get isUp(): boolean {
    return [...this.#members].some(({ isReady }) => isReady);
  }

  /** Makes all serve, and starts those that are missing, now and whenever one dies. */
  serve(): void {
    const settings = this.#settings = this.#options.settings();
    this.#mode = "serve";
    this.#guard = new StartBackoff(() => this.#fill());
    this.#endSurplus();
    for (const worker of this.#ready()) void worker.order({ name: "serve", settings });
    this.#fill();
  }

  /** Takes over what may change while they serve, and how many there are to be. */
  limit(limits: PoolLimits): void {
    if (this.#mode !== "serve") return; // the next `serve()` does
    this.#settings = { ...this.#settings!, ...limits };
    this.#endSurplus();
    for (const worker of this.#ready()) void worker.order({ name: "limit", limits });
    this.#fill();
  }

  /** Ends those that are more than there are to be, when their requests have. */
  #endSurplus(): void {
    const staying = [...this.#members].filter(({ isLeaving }) => !isLeaving);
    for (const member of staying.slice(this.#options.size())) {
      member.isLeaving = true;
      if (member.isReady) void member.worker.order({ name: "close" });
      else member.worker.terminate(); // it serves nobody yet
    }
  }

  /** Makes all stop accepting; resolves when they have. */
  async stop(): Promise<void> {
    if (this.#mode === "serve") this.#setMode("none");
    await Promise.all(this.#ready().map((worker) => worker.order({ name: "stop" })));
  }

  /**
   * Makes all close their listeners, and end when their requests have. Resolves when they have closed, which
   * those that come up meanwhile do at once; those that do not are given up on.
   *
   * @returns How many have not: they compute and do not listen to us.
   */
  async close(): Promise<number> {
    this.#setMode("close");
    this.#endWaiting();
    const unresponsive = new Set(this.#members);
    const closed = [...this.#members].map(async (member) => {
      if (await isUp(member)) await member.worker.order({ name: "close" });
      unresponsive.delete(member);
    });
    await settlesWithin(Promise.all(closed), CLOSE_LIMIT);
    let computing = 0;
    for (const { worker, isReady } of unresponsive) {
      if (isReady) {
        computing++;
      } else {
        worker.terminate(); // it serves nobody who might be waited for
        this.crashed = true;
      }
    }
    return computing;
  }

  /**
   * Makes all drain and end; starts them for that when there are none. Called again it shortens the time.
   *
   * @param timeout The time limit, in milliseconds; `null` for none.
   */
  async drain(timeout: number | null): Promise<DrainResult> {
    const isFirst = this.#mode !== "drain";
    this.#settings ??= this.#options.settings();
    this.#setMode("drain");
    this.#endWaiting();
    this.#limitDrain(timeout);
    if (isFirst && this.isEmpty) {
      for (let left = this.#options.size(); left > 0; left--) void this.#start(); // never rejects
    }
    const results = await Promise.all([...this.#members].map((member) => this.#drain(member)));
    clearTimeout(this.#drainTimer);
    return results.reduce(
      (sum, result) => ({
        completed: sum.completed + result.completed,
        aborted: sum.aborted + result.aborted,
      }),
      { completed: 0, aborted: 0 },
    );
  }

  /** Resolves when none of those there are listens any more. */
  async unlistened(): Promise<void> {
    await Promise.all([...this.#members].map(({ worker }) => worker.unlistened));
  }

  /** Resolves when there are no Workers. */
  gone(): Promise<void> {
    if (this.isEmpty) return Promise.resolve();
    return new Promise((resolve) => this.#whenGone.push(resolve));
  }

  /** The counters of all Workers, those that are no more included. */
  stats(): Omit<ServerStats, "state"> {
    const sum = { ...this.#past };
    const acceptErrors = { ...this.#pastAcceptErrors };
    const workers: WorkerStats = {
      spare: 0,
      busy: 0,
      starting: 0,
      poisoned: this.#poisoned,
      started: this.#started,
    };
    for (const { worker, isReady } of this.#members) {
      const counts = worker.counts();
      add(sum, counts);
      add(acceptErrors, worker.acceptErrors);
      workers[!isReady ? "starting" : counts.active > 0 ? "busy" : "spare"]++;
    }
    return { ...sum, acceptErrors, workers };
  }

  /** Ends those that may never come up. */
  #endWaiting(): void {
    for (const { worker } of this.#members) if (worker.isWaiting) worker.terminate();
  }

  #ready(): PoolWorker[] {
    const ready = [...this.#members].filter(({ isReady, isLeaving }) => isReady && !isLeaving);
    return ready.map(({ worker }) => worker);
  }

  /** Starts what is missing, as far as failures allow: after one, one at a time. */
  #fill(): void {
    while (this.#mode === "serve" && !this.#guard.pausing && this.#pauseTimer === undefined) {
      const staying = [...this.#members].filter(({ isLeaving }) => !isLeaving);
      const starting = staying.filter(({ isReady }) => !isReady).length;
      if (staying.length >= this.#options.size()) return;
      if (this.#guard.failures > 0 && starting > 0) return;
      void this.#start(); // never rejects
    }
  }

  async #start(): Promise<void> {
    const member: Member = {
      worker: this.#options.start(),
      failuresBefore: this.#guard.failures,
      since: performance.now(),
      isReady: false,
      isLeaving: false,
    };
    const { worker } = member;
    this.#members.add(member);
    void worker.ended.then((end) => this.#ended(member, end));
    try {
      await worker.ready;
    } catch (error) {
      await worker.ended;
      if (member.isLeaving) return;
      if (await this.#options.mend(error)) this.#fill();
      else this.#startFailed(error, member.failuresBefore);
      return;
    }
    member.isReady = true;
    this.#started++;
    this.#guard.reset();
    this.#options.onReady();
    const settings = this.#settings!;
    if (this.#mode === "serve") void worker.order({ name: "serve", settings });
    this.#fill();
  }

  #startFailed(error: unknown, failuresBefore: number): void {
    if (this.#mode !== "serve") return;
    const guard = this.#guard;
    const isCounted = failuresBefore >= guard.failures; // of those that fail side by side one is
    guard.failed(error, failuresBefore);
    if (!isCounted) {
      this.#fill();
    } else if (guard.stopped) {
      this.#setMode("none");
      this.#options.onFailure(guard.error);
    } else {
      this.#options.onLoss(`Cannot start Worker of pool, trying again: ${oneLine(error)}`);
      this.#fill();
    }
  }

  #ended(member: Member, end: WorkerEnd): void {
    const { worker, isReady, isLeaving, since, failuresBefore } = member;
    this.#members.delete(member);
    const counts = worker.counts();
    // What it was serving has come to an end, and no good one.
    add(this.#past, { ...counts, failed: counts.failed + counts.active, active: 0 });
    add(this.#pastAcceptErrors, worker.acceptErrors);
    if (this.isEmpty) this.#whenGone.splice(0).forEach((resolve) => resolve());
    const wasToEnd = this.#mode === "drain" || this.#mode === "close";
    if (!wasToEnd || end.code !== 0) this.crashed = true;
    if (!isReady || wasToEnd || isLeaving) return;
    const how = end.error ?? new Error(`it exited with code ${end.code}`);
    if (counts.accepted === 0 && performance.now() - since < MAX_PAUSE) {
      this.#startFailed(how, failuresBefore);
      return;
    }
    this.#options.onLoss(`Worker "${worker.name}" of pool died`, how);
    this.#pauseAfterDeath();
  }

  #pauseAfterDeath(): void {
    const now = performance.now();
    const isAnother = now - this.#lastDeath < MAX_PAUSE + this.#pause;
    this.#pause = isAnother ? Math.min(this.#pause * 2, MAX_PAUSE) : MIN_PAUSE;
    this.#lastDeath = now;
    if (this.#mode !== "serve" || this.#pauseTimer !== undefined) return;
    this.#pauseTimer = setTimeout(() => {
      this.#pauseTimer = undefined;
      this.#fill();
    }, this.#pause);
  }

  #setMode(mode: Mode): void {
    this.#mode = mode;
    this.#guard.close();
    clearTimeout(this.#pauseTimer);
    this.#pauseTimer = undefined;
  }

  /** Drains one; what it was serving when its time is up counts as aborted. */
  async #drain(member: Member): Promise<DrainResult> {
    const { worker } = member;
    const before = worker.counts(); // of now, not of when the order gets there
    if (!await isUp(member)) return { completed: 0, aborted: 0 };
    const timeout = this.#drainDue === null
      ? null
      : Math.max(0, this.#drainDue - performance.now() - DRAIN_GRACE);
    const reply = await worker.order({ name: "drain", timeout, settings: this.#settings! });
    const { active, completed, failed } = worker.counts();
    return {
      completed: completed + failed - before.completed - before.failed,
      aborted: reply?.drained?.aborted ?? active,
    };
  }

  #limitDrain(timeout: number | null): void {
    if (timeout === null) return;
    const due = performance.now() + timeout + DRAIN_GRACE;
    if (this.#drainDue !== null && this.#drainDue <= due) return;
    this.#drainDue = due;
    clearTimeout(this.#drainTimer);
    this.#drainTimer = setTimeout(() => {
      for (const { worker, isReady } of this.#members) {
        if (isReady) this.#poisoned++;
        worker.terminate();
      }
    }, timeout + DRAIN_GRACE);
  }
}

/** Whether a Worker has come up, as soon as that is known. */
async function isUp({ worker }: Member): Promise<boolean> {
  try {
    await worker.ready;
    return true;
  } catch {
    return false; // its start has failed, which is told elsewhere
  }
}

function zeroCounts(): Counts {
  return { accepted: 0, active: 0, peak: 0, completed: 0, failed: 0, rejected: 0, aborted: 0 };
}

/** Adds numbers by name. */
function add(sum: Record<string, number>, more: Record<string, number>): void {
  for (const [name, count] of Object.entries(more)) sum[name] = (sum[name] ?? 0) + count;
}
