/**
 * The contents of the frames that are not bytes of the client, and errors on their way between isolates.
 *
 * @module
 */
import type { SocketAddress } from "../address.ts";
import {
  DatagramTooLongError,
  HandlerLoadError,
  IncompleteReadError,
  LineTooLongError,
  ServerExit,
} from "../errors.ts";
import type { LeftBehind } from "../stream_socket.ts";

/** Which handler a unit runs. */
export interface Init {
  /** The module that exports the class. */
  moduleUrl: string;
  /** The name of the class. */
  className: string;
  /** What it is exported as, where the name of the class does not tell. */
  exportName?: string;
}

/** A request. */
export interface Start {
  clientAddress: SocketAddress;
  serverAddress: SocketAddress;
  /** The ends of the connection; null for a datagram. */
  connection: { localAddr: Deno.Addr; remoteAddr: Deno.Addr; alpnProtocol: string | null } | null;
}

/** An option of the client's socket. */
export interface SocketOption {
  noDelay?: boolean;
  keepAlive?: boolean;
  timeout?: number | null;
}

/** A read that blocks in a unit, whose transport has no time limit of its own. */
export interface Wait {
  /** How long, in milliseconds. */
  timeout: number;
  /** How many frames of DATA and END the unit has seen: the wait is over when more have been sent. */
  seen: number;
}

/** How a request ended in a unit. */
export interface Outcome {
  /** What the handler threw, if anything; a {@linkcode ServerExit} is no error. */
  error?: ErrorMessage;
  /** Whether the unit says that the error is the client's. */
  ofClient?: boolean;
  /** What the handler did not await, where that has failed. */
  leftBehind?: LeftBehind;
}

/** An error on its way. */
export interface ErrorMessage {
  /** The name of its class, for those that both sides know. */
  className: string;
  name: string;
  message: string;
  stack?: string | undefined;
  /** What else there is on it, as far as it is plain. */
  more: Record<string, string | number | boolean | null>;
  cause?: ErrorMessage;
  /** What was thrown, or else how it looks, where that is no `Error`. */
  thrown?: string | number | boolean | null;
}

/** The classes that an error keeps on its way. */
const KNOWN: Record<string, { prototype: Error }> = Object.fromEntries(
  [
    ...[TypeError, RangeError, SyntaxError, ReferenceError, URIError, EvalError],
    ...[LineTooLongError, IncompleteReadError, DatagramTooLongError, HandlerLoadError, ServerExit],
    ...Object.values(Deno.errors),
  ].map((known) => [known.name, known]),
);

/** How many causes of causes go along. */
const MAX_CAUSES = 8;

/** Makes an error fit for the way. */
export function toErrorMessage(error: unknown, causes = MAX_CAUSES): ErrorMessage {
  if (!(error instanceof Error)) {
    const thrown = isPlain(error) ? error : Deno.inspect(error);
    return { className: "Error", name: "Error", message: String(thrown), more: {}, thrown };
  }
  const { name, message, stack, cause } = error;
  const more: ErrorMessage["more"] = {};
  for (const [key, value] of Object.entries(error)) if (isPlain(value)) more[key] = value;
  const sent: ErrorMessage = { className: knownClass(error), name, message, stack, more };
  const { code } = error as { code?: unknown };
  if (typeof code === "string") sent.more.code = code;
  if (cause !== undefined && causes > 0) sent.cause = toErrorMessage(cause, causes - 1);
  return sent;
}

/** Makes the error anew: its class where both sides know that, its name, message, stack and causes. */
export function fromErrorMessage(sent: ErrorMessage): unknown {
  if (sent.thrown !== undefined) return sent.thrown;
  const error = new Error(sent.message);
  const known = KNOWN[sent.className];
  if (known !== undefined) Object.setPrototypeOf(error, known.prototype);
  if (error.name !== sent.name) define(error, "name", sent.name);
  if (sent.stack !== undefined) define(error, "stack", sent.stack);
  Object.assign(error, sent.more);
  if (sent.cause !== undefined) define(error, "cause", fromErrorMessage(sent.cause));
  return error;
}

/** The nearest class of an error that both sides know. */
function knownClass(error: Error): string {
  for (let at = Object.getPrototypeOf(error); at !== null; at = Object.getPrototypeOf(at)) {
    for (const [name, { prototype }] of Object.entries(KNOWN)) if (prototype === at) return name;
  }
  return "Error";
}

function isPlain(value: unknown): value is string | number | boolean | null {
  return value === null || ["string", "number", "boolean"].includes(typeof value);
}

function define(error: Error, name: string, value: unknown): void {
  Object.defineProperty(error, name, {
    value,
    enumerable: false,
    writable: true,
    configurable: true,
  });
}
