/**
 * What a server tells of itself: its stage and its counters.
 *
 * @module
 */

/**
 * The life stages of a server. One that is "degraded" serves with what it has left: as many of its Workers never await
 * as `maxPoisoned` allows, so that no more are replaced.
 */
export type ServerState = "idle" | "serving" | "degraded" | "draining" | "closed";

/**
 * A snapshot of a server's counters.
 *
 * At any time `accepted` is the sum of `active`, `completed`, `failed`, `rejected` and `aborted`.
 */
export interface ServerStats {
  /** The stage of its life. */
  state: ServerState;
  /** Requests taken from the listener so far. */
  accepted: number;
  /** Requests that are being served now. */
  active: number;
  /** The most that were ever served at once. */
  peak: number;
  /** Requests that ended without an error. */
  completed: number;
  /** Requests that ended with an error, a client's disconnection included. */
  failed: number;
  /** Requests that `verifyRequest()` refused, by its answer or by an error. */
  rejected: number;
  /** Requests that the server cut off. */
  aborted: number;
  /**
   * Accept errors so far, by the operating system's code, such as "EMFILE"; "OWN_ADDRESS" counts the datagrams that were
   * dropped because they came from the server's own address.
   */
  acceptErrors: Record<string, number>;
  /** The Workers or subprocesses of a server that has them. */
  workers?: WorkerStats;
}

/** A snapshot of the Workers or subprocesses of a server. */
export interface WorkerStats {
  /** Those that are ready. */
  spare: number;
  /** Those that serve a request. */
  busy: number;
  /** Those that are coming up. */
  starting: number;
  /** Those that were given up on because they did not await in time, and still run. */
  poisoned: number;
  /** Those that have come up so far. */
  started: number;
}
