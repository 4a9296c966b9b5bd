/**
 * The Workers of a threading server that accept by themselves: as many as clients need, within bounds.
 *
 * @module
 */
import type { DrainResult } from "../base/options.ts";
import { delay } from "../base/time.ts";
import type { ServerStats } from "../core/server_stats.ts";
import type { WorkerEnd } from "../workers/worker.ts";
import type { AcceptTurns } from "./inside/accept_turns.ts";
import { PoolSupervisor, type PoolSupervisorOptions, supervisorTimes } from "./pool_supervisor.ts";
import type { PoolWorker } from "./pool_worker.ts";
import { TURN } from "./inside/worker_record.ts";

/** When more are needed so soon after the last has come up, twice as many are started, in milliseconds. */
const RAMP_TIME = 1000;

/** Here `size` is the most that there may be. */
export interface ThreadSupervisorOptions extends PoolSupervisorOptions {
  /** How many are to be idle. */
  spare: () => number;
  turns: AcceptTurns;
  /** Told of one that has ended with a client. */
  onDeath: (worker: PoolWorker, end: WorkerEnd) => void;
  /** Told that there is one less. */
  onEnd: () => void;
}

/**
 * Keeps Workers that take turns in accepting. Each serves one client at a time; more are started when fewer are idle than
 * there are to be spare. They end by themselves when they have been idle for too long, or have served their number.
 *
 * What they are all to do is as in a {@linkcode PoolSupervisor}, except that they leave the queue to others when they drain.
 */
export class ThreadSupervisor extends PoolSupervisor {
  protected override readonly drainsQueue = false;
  /** Longer than of others: nobody knows whether clients wait for another. */
  protected override readonly youth = 1000;
  readonly #options: ThreadSupervisorOptions;
  readonly #turns: AcceptTurns;
  /** Which run of the server they accept for, or did last. */
  run = 0;
  /** How many are started at once, where there are processors for so many. */
  #batch = 1;
  /** When the last one came up, by the clock of `performance.now()`. */
  #lastUp = -Infinity;

  constructor(options: ThreadSupervisorOptions) {
    super(options);
    this.#options = options;
    this.#turns = options.turns;
  }

  /** Whether one has ever come up. */
  get isProven(): boolean {
    return this.started > 0;
  }

  override serve(): void {
    this.run++;
    this.#turns.spare = this.#options.spare();
    super.serve();
    if (this.mode !== "serve") return;
    this.#turns.open(this.run);
    void this.#turns.watch(this.run, () => this.#grow());
  }

  override async stop(): Promise<void> {
    if (this.mode === "drain" || this.mode === "close") return; // whoever began that waits for them
    this.#turns.close();
    this.setMode("none");
    this.tellAll({ name: "stop" });
    await this.#noneWaits();
  }

  override async close(): Promise<number> {
    this.#begin("close");
    for (const worker of this.up) void worker.order({ name: "close" });
    await this.#noneWaits();
    return 0;
  }

  override drain(): Promise<DrainResult> {
    if (this.settings === null) return Promise.resolve({ completed: 0, aborted: 0 });
    if (this.mode !== "close") this.#begin("drain");
    return super.drain();
  }

  /** Ends all at once. */
  terminate(): void {
    for (const worker of this.up) worker.terminate();
  }

  override stats(): Omit<ServerStats, "state"> {
    return { ...super.stats(), peak: this.#turns.peak };
  }

  protected override missing(): number {
    const idle = [...this.up].filter(isIdle).length;
    const spare = this.#options.spare();
    if (idle >= spare) return 0;
    const wanted = this.slow + Math.max(spare - idle, this.#batch);
    return Math.min(wanted, this.#options.size() - this.up.size);
  }

  protected override takeOver(worker: PoolWorker): void {
    this.#lastUp = performance.now();
    super.takeOver(worker);
    if (this.mode === "serve" || this.mode === "drain") return; // who drains waits for it
    // When the server was closed it may have been between its start and here, where nobody saw it.
    worker.isLeaving = true;
    void worker.order({ name: "close" });
  }

  /** Of those that serve somebody none is to end before one that is idle. */
  protected override staying(): PoolWorker[] {
    return super.staying().sort((one, other) => Number(isIdle(one)) - Number(isIdle(other)));
  }

  protected override endSurplus(): void {
    this.#turns.spare = this.#options.spare();
    super.endSurplus();
  }

  protected override hasEnded(worker: PoolWorker, end: WorkerEnd): void {
    const { state } = worker.record;
    this.#turns.forget(state);
    worker.record.state = TURN.LEAVING; // where it goes on all the same, that is for nobody
    if (state === TURN.LEAVING) worker.isLeaving = true;
    else if (worker.counts().active > 0 && !worker.isGivenUp) {
      worker.isLeaving = true; // and who hears of that is the client's business
      this.#options.onDeath(worker, end);
    }
    super.hasEnded(worker, end);
    this.#options.onEnd();
  }

  #begin(mode: "close" | "drain"): void {
    this.setMode(mode);
    this.#turns.close();
    this.ending.abort(); // those that come up serve nobody
  }

  /** Starts more, as fewer are idle than there are to be spare. */
  #grow(): void {
    if (this.coming.size === this.slow) {
      const isSteep = performance.now() - this.#lastUp < RAMP_TIME;
      this.#batch = isSteep ? 2 * this.#batch : 1;
    }
    this.fill();
  }

  /** Resolves when nobody waits for clients any more. */
  async #noneWaits(): Promise<void> {
    const deadline = performance.now() + supervisorTimes.closeLimit;
    const waits = () => [...this.up].some(({ record }) => record.state === TURN.WAITING);
    while (waits() && performance.now() < deadline) await delay(1);
  }
}

/** Whether a Worker would take a client. */
function isIdle({ record: { state }, isLeaving }: PoolWorker): boolean {
  return !isLeaving && (state === TURN.STARTING || state === TURN.PARKED || state === TURN.WAITING);
}
