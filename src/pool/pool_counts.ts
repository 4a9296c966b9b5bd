/**
 * The counters of a pool: the sums of those that its Workers write down, and of what those counted that are no more.
 *
 * @module
 */
import type { ServerStats, WorkerStats } from "../core/server_stats.ts";
import type { PoolWorker } from "./pool_worker.ts";
import { type Counts, TURN, zeroCounts } from "./inside/worker_record.ts";

/** Adds up the counters of Workers. */
export class PoolCounts {
  /** What Workers that are no more have counted. */
  readonly #past: Counts = zeroCounts();
  readonly #pastAcceptErrors: Record<string, number> = {};
  /** The most that the peaks of those that were up have added up to, as far as one has ended since. */
  #peak = 0;

  /**
   * The counters of all Workers, those that are no more included.
   *
   * @param up Those that are up.
   * @param others How many Workers are in another state.
   */
  stats(
    up: Iterable<PoolWorker>,
    others: Pick<WorkerStats, "starting" | "poisoned" | "started">,
  ): Omit<ServerStats, "state"> {
    const workers: WorkerStats = { spare: 0, busy: 0, ...others };
    const sum = { ...this.#past };
    const acceptErrors = { ...this.#pastAcceptErrors };
    for (const worker of up) {
      const counts = worker.counts();
      addCounts(sum, counts);
      addCounts(acceptErrors, worker.acceptErrors);
      if (counts.active > 0) workers.busy++;
      else if (worker.record.state !== TURN.LEAVING) workers.spare++;
    }
    sum.peak = Math.max(sum.peak, this.#peak);
    return { ...sum, acceptErrors, workers };
  }

  /**
   * Takes over the counters of a Worker that has ended.
   *
   * @param counts What they are.
   * @param peak The peak of all that were up with it, itself included.
   */
  keep(worker: PoolWorker, counts: Counts, peak: number): void {
    this.#peak = peak;
    // What it was serving has come to an end, and no good one.
    const outcome = worker.isGivenUp ? "aborted" : "failed";
    const ended = { [outcome]: counts[outcome] + counts.active, active: 0, peak: 0 };
    addCounts(this.#past, { ...counts, ...ended });
    addCounts(this.#pastAcceptErrors, worker.acceptErrors);
  }
}

/** Adds numbers by name. */
export function addCounts(sum: Record<string, number>, more: Record<string, number>): void {
  for (const [name, count] of Object.entries(more)) sum[name] = (sum[name] ?? 0) + count;
}
