/**
 * What a server's log says of requests that have failed.
 *
 * @module
 */
import { formatAddress, type SocketAddress } from "../base/address.ts";
import {
  errorCode,
  isInstance,
  isOfClient,
  isPeerGone,
  TLSHandshakeError,
} from "../base/errors.ts";
import { KindLimit, logTo, oneLine, type ServerLogger } from "../base/log.ts";

/** Writes a line for each request that has failed; where clients cause that, one a second for each kind. */
export class FaultLog {
  readonly #logger: ServerLogger;
  readonly #clientLines = new KindLimit();

  constructor(logger: ServerLogger) {
    this.#logger = logger;
  }

  /** Writes what a request failed with. */
  write(error: unknown, request: unknown, clientAddress: SocketAddress): void {
    const client = formatAddress(clientAddress);
    if (!isOfClient(error, request, clientAddress)) {
      logTo(this.#logger, "error", `Cannot serve client "${client}"`, error);
      return;
    }
    // What clients can cause as often as they like is one line, and not one for each of them.
    const more = this.#clientLines.take(errorCode(error));
    if (more === null) return;
    const [level, says] = isOwnClose(error, request)
      ? ["debug", `Connection of client "${client}" was closed here`] as const
      : isPeerGone(error) || isInstance(error, TLSHandshakeError)
      ? ["debug", `Client "${client}" went away`] as const
      : ["warn", `Cannot serve client "${client}"`] as const;
    logTo(this.#logger, level, `${says}: ${oneLine(error)}${more}`);
  }
}

/** Whether an error only says that this program has closed the connection itself, under a read for example. */
function isOwnClose(error: unknown, request: unknown): boolean {
  return (isInstance(error, Deno.errors.Interrupted) ||
    isInstance(error, Deno.errors.BadResource)) &&
    (request as { closed?: unknown } | null)?.closed === true;
}
