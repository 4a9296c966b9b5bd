/**
 * Who is told of what fails in a server, whether that comes to its log or not.
 *
 * @module
 */
import { isInstance, isOfClient, ServerExit } from "../base/errors.ts";
import { logTo, type ServerLogger } from "../base/log.ts";

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

/** Has a server handle what a request has failed with; who is told hears of what its `handleError()` throws, too. */
export async function handleFault<Request, Addr>(
  server: { handleError(error: unknown, request: Request, from: Addr): void | Promise<void> },
  error: unknown,
  request: Request,
  clientAddress: Addr,
): Promise<void> {
  observers.get(server)?.(error, isOfClient(error, request, clientAddress));
  try {
    await server.handleError(error, request, clientAddress);
  } catch (second) {
    if (!isInstance(second, ServerExit)) tellFault(server, second);
    throw second;
  }
}
