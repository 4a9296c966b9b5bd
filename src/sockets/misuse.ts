/**
 * What a handler does wrong with its sockets, and what it is told: it blocks where nothing may, or has left something behind
 * that has failed.
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

/** Whether this is a Worker that has its connections itself. */
let hasConnections = false;

/** Notes that this is a Worker that has its connections itself, on which nothing blocks. */
export function noteOwnConnections(): void {
  hasConnections = true;
}

/**
 * Makes the error of a blocking call where nothing blocks.
 *
 * @param call What was called.
 * @param instead What to do here.
 */
export function cannotBlock(call: string, instead: string): Error {
  if (hasConnections) {
    return new Deno.errors.NotSupported(
      `Cannot block in ${call}: this Worker has the connection itself; ` +
        `declare 'static override readonly blocking = true' in the handler, or ${instead}`,
    );
  }
  return new Deno.errors.NotSupported(
    `Cannot block in ${call}: the server's own isolate serves others meanwhile; ` +
      `use a ThreadingMixIn or ForkingMixIn server, or ${instead}`,
  );
}

/**
 * Makes the error of a blocking call while an asynchronous one of the same direction is under way.
 *
 * @param call What was called.
 * @param underWay What is under way.
 */
export function cannotBlockYet(call: string, underWay: "read" | "write" | "send"): Error {
  return new Deno.errors.Busy(
    `Cannot block in ${call}: an asynchronous ${underWay} is under way; await it first`,
  );
}
