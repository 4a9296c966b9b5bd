/**
 * What a handler began and did not await, and which failed.
 *
 * @module
 */
import { formatAddress, type SocketAddress } from "../base/address.ts";
import { KindLimit, logTo, type ServerLogger } from "../base/log.ts";

/** What a handler did not await. */
export type LeftBehind = "read" | "write";

/** A client can cause such lines as often as it likes, where there is a handler that leaves something behind. */
const limits = new WeakMap<ServerLogger, KindLimit>();

/** Warns of it in the log, once a second at the most. */
export function warnOf(what: LeftBehind, client: Deno.Addr, logger: ServerLogger): void {
  let limit = limits.get(logger);
  if (limit === undefined) limits.set(logger, limit = new KindLimit());
  const more = limit.take(what);
  if (more === null) return;
  const name = formatAddress(client as SocketAddress);
  const line =
    `Handler of client "${name}" left a ${what} behind, which failed: await it, or catch`;
  logTo(logger, "warn", `${line} its error${more}`);
}
