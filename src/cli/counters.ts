/**
 * A server's counters as the command line tool shows them.
 *
 * @module
 */
import { isInstance, isPeerGone, TLSHandshakeError } from "../base/errors.ts";
import type { AnyServer } from "../core/base_server.ts";
import { observeFaults } from "../core/faults.ts";
import type { ServerStats } from "../core/server_stats.ts";

/** What `stats()` says, but clients that went away are not among those whose request failed. */
export type Counters =
  & Pick<ServerStats, "active" | "peak" | "completed" | "failed" | "aborted" | "rejected">
  & {
    /** Clients that reset their connection, or hung up before they had their answer. */
    gone: number;
  };

/** Counts from now on which clients went away, and gives what reads the counters. */
export function countersOf(server: AnyServer): () => Counters {
  let seen = 0;
  observeFaults(server, (error, isOfClient) => {
    const reason = isInstance(error, TLSHandshakeError) ? error.cause : error;
    if (isPeerGone(reason) && isOfClient) seen++;
  });
  return () => {
    const { active, peak, completed, failed, aborted, rejected } = server.stats();
    const gone = Math.min(seen, failed); // a request counts a little later than its error
    return { active, peak, completed, failed: failed - gone, gone, aborted, rejected };
  };
}
