/**
 * The leases of a {@linkcode WorkerPool} that wait for a worker.
 *
 * @module
 */

/** A lease that waits. */
interface Waiting<Pooled> extends PromiseWithResolvers<Pooled> {
  yields: () => boolean;
}

/** Keeps leases in order: first come, first served, but for those that let others go first. */
export class LeaseQueue<Pooled> {
  readonly #waiting = new Set<Waiting<Pooled>>();

  /** How many wait. */
  get size(): number {
    return this.#waiting.size;
  }

  /**
   * Waits for a worker.
   *
   * @param signal Ends the wait; the promise rejects with its reason.
   * @param yields Whether it lets all others go first, which may change while it waits.
   */
  async wait(signal: AbortSignal | undefined, yields: () => boolean): Promise<Pooled> {
    const waiting = { ...Promise.withResolvers<Pooled>(), yields };
    const abort = (): void => {
      if (this.#waiting.delete(waiting)) waiting.reject(signal!.reason);
    };
    signal?.addEventListener("abort", abort);
    this.#waiting.add(waiting);
    try {
      return await waiting.promise;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  /** Gives a worker to the lease whose turn it is, one of which there must be. */
  serve(worker: Pooled): void {
    const [first] = this.#waiting;
    let next = first!;
    for (const waiting of this.#waiting) {
      if (waiting.yields()) continue;
      next = waiting;
      break;
    }
    this.#waiting.delete(next);
    next.resolve(worker);
  }

  /** Ends all waits. */
  rejectAll(error: unknown): void {
    for (const { reject } of this.#waiting) reject(error);
    this.#waiting.clear();
  }
}
