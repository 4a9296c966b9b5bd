/**
 * What a handler began and did not await, and which failed.
 *
 * @module
 */
import { formatAddress, type SocketAddress } from "../base/address.ts";
import { logTo, type ServerLogger } from "../base/log.ts";

/** What a handler did not await. */
export type LeftBehind = "read" | "write";

/** Warns of it in the log. */
export function warnOf(what: LeftBehind, client: Deno.Addr, logger: ServerLogger): void {
  const name = formatAddress(client as SocketAddress);
  const line =
    `Handler of client "${name}" left a ${what} behind, which failed: await it, or catch`;
  logTo(logger, "warn", `${line} its error`);
}
