/**
 * The Workers of a pool: as many as there are to be, and all at the same work.
 *
 * @module
 */
import { oneLine } from "../base/log.ts";
import type { DrainResult } from "../base/options.ts";
import { settlesWithin } from "../base/time.ts";
import type { ServerStats } from "../core/server_stats.ts";
import { addCounts, PoolCounts } from "./pool_counts.ts";
import type { PoolCommand, PoolLimits, PoolSettings } from "./pool_messages.ts";
import { PoolWorker } from "./pool_worker.ts";
import { zeroCounts } from "./inside/worker_record.ts";
import { Supervisor } from "../workers/supervisor.ts";
import type { WorkerEnd } from "../workers/worker.ts";
import { StuckWatch } from "./poisoned.ts";

/** One that ends so soon without having served anybody has not come up, in milliseconds. */
const MIN_LIFE = 1000;
/** How long a {@linkcode PoolSupervisor} waits, in milliseconds; an object, so that tests can have it wait for less. */
export const supervisorTimes = {
  /** How long a Worker may take to close its listener: one that computes does not hear us. */
  closeLimit: 1000,
  /** How long a Worker may take to say that it has drained after the time for that. */
  drainGrace: 500,
};

export interface PoolSupervisorOptions {
  /** How many Workers there are to be. */
  size: () => number;
  /**
   * Starts a Worker; resolves when it listens.
   *
   * @param waiting Aborted when one that waits for descriptors is to end.
   * @param ending Aborted when any that has not come up is to end.
   */
  start: (waiting: AbortSignal, ending: AbortSignal) => Promise<PoolWorker>;
  /** Whether there are too few descriptors for all. */
  isShort: () => boolean;
  /** Called when Workers are to serve. */
  settings: () => PoolSettings;
  /** Told that a Worker listens. */
  onReady: () => void;
  /** Told that a Worker has died, or has not come up and that is tried again. */
  onLoss: (line: string, ...errors: [error?: unknown]) => void;
  /** Told that three starts in a row have failed, with the first of their errors. */
  onFailure: (error: unknown) => void;
  /** Told of one that is given up on because it does not await, with its client; it still has its record. */
  onLost: (worker: PoolWorker) => void;
  /** Told that there are more Workers that were given up on and still run, or fewer. */
  onPoisoned: () => void;
}

/** What the Workers of a pool are all to do. */
export type Mode = "none" | "serve" | "drain" | "close";

/**
 * Keeps the Workers of a pool at the same work, by what they are all to do:
 *
 * - none → serve: as many as there are to be accept clients; who is missing or dies is replaced.
 * - serve → none: they stop accepting and stay; none is replaced. Also when three starts in a row have failed.
 * - none, serve → drain: each serves what waits and what it has begun, and ends.
 * - any → close: each closes its listener, and ends when its requests have.
 * - close → drain: what still runs gets a time limit.
 */
export class PoolSupervisor extends Supervisor<PoolWorker> {
  protected readonly options: PoolSupervisorOptions;
  protected mode: Mode = "none";
  protected settings: PoolSettings | null = null;
  readonly #counts = new PoolCounts();
  /** Ends the starts that wait for descriptors, which may be for ever. */
  #waiting = new AbortController();
  /** Ends all starts. */
  protected readonly ending: AbortController = new AbortController();
  /** By when those that drain have to be done, by the clock of `performance.now()`. */
  #drainDue = Infinity;
  /** Whether a drain is under way, which `close()` may have overtaken. */
  #isDraining = false;
  #drainTimer: ReturnType<typeof setTimeout> | undefined;
  readonly #stuckWatch = new StuckWatch(
    () => this.up,
    (worker, isIdle) => this.#poison(worker, isIdle),
  );
  /** Whether its Workers serve those who wait in the queue when it drains. */
  protected readonly drainsQueue: boolean = true;
  /** Whether one has ended without closing its listener, of which Deno lets go a little later. */
  crashed = false;

  constructor(options: PoolSupervisorOptions) {
    super();
    this.options = options;
  }

  /** Whether a Worker listens. */
  get isUp(): boolean {
    return this.up.size > 0;
  }

  /** Makes all serve, and starts those that are missing, now and whenever one dies. */
  serve(): void {
    const settings = this.settings = this.options.settings();
    if (this.mode === "drain" || this.mode === "close") return; // requestContext() has seen to that
    this.mode = "serve";
    this.backoff.reset();
    this.endSurplus();
    this.tellAll({ name: "serve", settings });
    this.#watch();
    this.fill();
  }

  /** Takes over what may change while they serve, and how many there are to be. */
  limit(limits: PoolLimits): void {
    if (this.mode !== "serve") return; // the next `serve()` does
    this.settings = { ...this.settings!, ...limits };
    this.endSurplus();
    this.tellAll({ name: "limit", limits });
    this.#watch();
    this.fill();
  }

  /** Makes all stop accepting; resolves when they have. */
  async stop(): Promise<void> {
    if (this.mode === "serve") this.setMode("none");
    await Promise.all(this.staying().map((worker) => worker.order({ name: "stop" })));
  }

  /**
   * Makes all close their listeners, and end when their requests have. Resolves when they have closed, which
   * those that come up meanwhile do at once; those that do not are given up on.
   *
   * @returns How many have not: they compute and do not listen to us.
   */
  async close(): Promise<number> {
    this.setMode("close");
    this.#endWaiting();
    const unresponsive = new Set(this.up);
    const closed = this.#all().map(async (coming) => {
      const worker = await coming;
      await worker?.order({ name: "close" });
      if (worker !== null) unresponsive.delete(worker);
    });
    if (await settlesWithin(Promise.all(closed), supervisorTimes.closeLimit)) return 0;
    if (this.coming.size > 0) {
      this.ending.abort(); // they serve nobody who might be waited for
      this.crashed = true;
    }
    return unresponsive.size;
  }

  /**
   * Makes all drain and end. Those that are missing are started for that, except after `close()`, and where there are too
   * few descriptors for them: those there are drain without them.
   */
  async drain(): Promise<DrainResult> {
    try {
      this.settings ??= this.options.settings();
    } catch (error) { // it has never served, and cannot
      this.options.onLoss("Cannot serve clients that wait", error);
      return { completed: 0, aborted: 0 };
    }
    const isClosed = this.mode === "close";
    this.setMode("drain");
    this.#endWaiting();
    this.#isDraining = true;
    this.#awaitDrainDue();
    if (!isClosed && this.drainsQueue && (this.alive === 0 || !this.options.isShort())) {
      while (this.alive < this.options.size()) this.startOne();
    }
    const results = await Promise.all(this.#all().map((coming) => this.#drain(coming)));
    this.#isDraining = false;
    void this.gone().then(() => clearTimeout(this.#drainTimer)); // one may have drained and not end
    const sum = { completed: 0, aborted: 0 };
    for (const result of results) addCounts(sum, { ...result });
    return sum;
  }

  /** Sees to it that a drain, under way or about to begin, ends soon after `timeout` milliseconds from now. */
  limitDrain(timeout: number): void {
    const due = performance.now() + timeout + supervisorTimes.drainGrace;
    if (this.#drainDue <= due) return;
    this.#drainDue = due;
    if (!this.#isDraining) return;
    this.#awaitDrainDue();
    const settings = this.settings!;
    for (const worker of this.up) void worker.order({ name: "drain", timeout, settings });
  }

  /** Resolves when each of those that are starting is up, or will not be. */
  async allUp(): Promise<void> {
    await Promise.all(this.coming);
  }

  /** Resolves when none of those there are listens any more. */
  async unlistened(): Promise<void> {
    await Promise.all(this.#all().map(async (coming) => await (await coming)?.unlistened));
  }

  /** The counters of all Workers, those that are no more included. */
  stats(): Omit<ServerStats, "state"> {
    const { poisoned, started, coming: { size: starting } } = this;
    return this.#counts.stats(this.up, { starting, poisoned, started });
  }

  protected override start(): Promise<PoolWorker> {
    const ending = this.ending.signal;
    return this.options.start(AbortSignal.any([this.#waiting.signal, ending]), ending);
  }

  protected override get isWanted(): boolean {
    return this.mode === "serve";
  }

  protected override missing(): number {
    return this.options.size() - this.staying().length;
  }

  protected override takeOver(worker: PoolWorker): void {
    this.options.onReady();
    if (this.mode !== "serve") return; // who drains or closes waits for it
    this.endSurplus();
    if (!worker.isLeaving) void worker.order({ name: "serve", settings: this.settings! });
  }

  protected override startFailed(error: unknown, isCounted: boolean): void {
    this.crashed = true;
    if (!isCounted) return;
    if (this.backoff.stopped) {
      this.setMode("none");
      this.options.onFailure(this.backoff.error);
    } else {
      this.options.onLoss(`Cannot keep Worker ready: ${oneLine(error)}`);
    }
  }

  protected override hasEnded(worker: PoolWorker, end: WorkerEnd): void {
    const counts = worker.counts();
    this.#counts.keep(worker, counts, this.stats().peak);
    this.remove(worker);
    const wasToEnd = this.mode === "drain" || this.mode === "close";
    if (!wasToEnd || end.code !== 0) this.crashed = true;
    if (worker.isLeaving || worker.isGivenUp) return;
    const isUseless = counts.accepted === 0 && performance.now() - worker.since < MIN_LIFE;
    if (!wasToEnd && isUseless) return this.wasUseless(worker, howOf(end));
    if (wasToEnd && end.error === undefined && (end.code ?? 0) === 0) return;
    this.options.onLoss(`Worker "${worker.name}" died`, howOf(end));
    if (this.isWanted) this.backoff.died();
  }

  /** Those that are up and are to stay; those first that are to stay when there are to be fewer. */
  protected staying(): PoolWorker[] {
    return [...this.up].filter(({ isLeaving }) => !isLeaving);
  }

  /** Those that are up, and those that will be. */
  #all(): (PoolWorker | Promise<PoolWorker | null>)[] {
    return [...this.up, ...this.coming];
  }

  /** Ends the starts that wait for descriptors now; later ones may wait again. */
  #endWaiting(): void {
    this.#waiting.abort();
    this.#waiting = new AbortController();
  }

  protected tellAll(command: PoolCommand): void {
    for (const worker of this.staying()) void worker.order(command);
  }

  /** Ends those that are more than there are to be, when their requests have. */
  protected endSurplus(): void {
    // What it may have accepted just now is served, too.
    const end: PoolCommand = this.drainsQueue
      ? { name: "drain", timeout: null, settings: this.settings! }
      : { name: "close" };
    for (const worker of this.staying().slice(this.options.size())) {
      worker.isLeaving = true;
      void worker.order(end);
    }
  }

  /** Looks for Workers that do not await, while they serve and requests have a time limit. */
  #watch(): void {
    this.#stuckWatch.stop();
    const { requestTimeout } = this.settings!;
    if (this.mode === "serve" && requestTimeout !== null) this.#stuckWatch.start(requestTimeout);
  }

  /** Gives up on a Worker that does not await; another takes its place as long as that is allowed. */
  #poison(worker: PoolWorker, isIdle: boolean): void {
    if (isIdle) {
      const why = "what a handler has left running there never awaits ('requestTimeout')";
      this.options.onLoss(`Worker "${worker.name}" is given up on: ${why}`);
    } else {
      this.options.onLost(worker);
    }
    this.notePoisoned(worker);
    worker.giveUp();
  }

  protected override poisonedChanged(): void {
    this.options.onPoisoned();
  }

  protected setMode(mode: Mode): void {
    this.mode = mode;
    this.#stuckWatch.stop();
    if (mode !== "none") this.endLooks();
    this.backoff.close();
  }

  /** Gives up on those that have not drained when their time is up. */
  #awaitDrainDue(): void {
    clearTimeout(this.#drainTimer);
    if (this.#drainDue === Infinity) return;
    this.#drainTimer = setTimeout(() => {
      this.ending.abort();
      for (const worker of this.up) {
        this.notePoisoned(worker);
        worker.giveUp();
      }
    }, this.#drainDue - performance.now());
  }

  /** Drains one; what it was serving when its time is up counts as aborted. */
  async #drain(coming: PoolWorker | Promise<PoolWorker | null>): Promise<DrainResult> {
    const before = coming instanceof PoolWorker ? coming.counts() : zeroCounts(); // of now, not of when it is told
    const worker = await coming;
    if (worker === null) return { completed: 0, aborted: 0 };
    const left = this.#drainDue - performance.now() - supervisorTimes.drainGrace;
    const timeout = left === Infinity ? null : Math.max(0, left);
    const drained = await worker.order({ name: "drain", timeout, settings: this.settings! });
    const { active, completed, failed } = worker.counts();
    return {
      completed: completed + failed - before.completed - before.failed,
      aborted: drained?.aborted ?? active,
    };
  }
}

function howOf({ error, code }: WorkerEnd): unknown {
  return error ?? new Error(`it exited with code ${code}`);
}
