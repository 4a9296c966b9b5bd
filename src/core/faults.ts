/**
 * What fails in a server: who is told, whether that comes to its log or not, and what the log says of requests.
 *
 * @module
 */
import {
  errorCode,
  isInstance,
  isOfClient,
  isPeerGone,
  ServerExit,
  TLSHandshakeError,
} from "../base/errors.ts";
import { KindLimit, logTo, oneLine, type ServerLogger } from "../base/log.ts";
import { formatAddress, type SocketAddress } from "../base/address.ts";

/**
 * Is told of what fails in a server.
 *
 * @param isOfClient Whether it is the error of a request that its client has caused.
 */
export type FaultObserver = (error: unknown, isOfClient: boolean) => void;

/** Who is told, by server; no method of the servers, as there is nothing in it for their users. */
const observers = new WeakMap<object, FaultObserver>();

/** Has somebody told of all that fails in a server from now on. */
export function observeFaults(server: object, observer: FaultObserver): void {
  observers.set(server, observer);
}

/** Tells of what has failed other than a request. */
export function tellFault(server: object, error: unknown): void {
  observers.get(server)?.(error, false);
}

/** Writes to the log of a server, and tells of what is an error. */
export function logOf(
  server: { readonly logger: ServerLogger },
  level: keyof ServerLogger,
  message: string,
  ...errors: [error?: unknown]
): void {
  if (level === "error") tellFault(server, errors.length > 0 ? errors[0] : new Error(message));
  logTo(server.logger, level, message, ...errors);
}

/**
 * Has a server handle what a request has failed with; what its `handleError()` throws ends in the log.
 *
 * @throws {ServerExit} When `handleError()` threw it.
 */
export async function handleFault<Request, Addr>(
  server: {
    readonly logger: ServerLogger;
    handleError(error: unknown, request: Request, from: Addr): void | Promise<void>;
  },
  error: unknown,
  request: Request,
  clientAddress: Addr,
): Promise<void> {
  observers.get(server)?.(error, isOfClient(error, request, clientAddress));
  try {
    await server.handleError(error, request, clientAddress);
  } catch (second) {
    if (isInstance(second, ServerExit)) throw second;
    logOf(server, "error", "Cannot handle error: handleError() failed with", second);
  }
}

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
