/**
 * The contents of the frames that are not bytes of the client, and errors on their way between isolates.
 *
 * @module
 */
import type { SocketAddress } from "../base/address.ts";
import {
  DatagramTooLongError,
  describeThrown,
  HandlerLoadError,
  IncompleteReadError,
  LineTooLongError,
  messageOf,
  ServerExit,
} from "../base/errors.ts";
import type { LeftBehind } from "../sockets/misuse.ts";

/** Which handler a worker runs. */
export interface Init {
  /** The module that exports the class. */
  moduleUrl: string;
  /** The name of the class. */
  className: string;
  /** What it is exported as, where the name of the class does not tell. */
  exportName?: string;
  /** What the worker begins its frames with, and tells nobody. */
  key?: string;
}

/** A request. */
export interface Start {
  clientAddress: SocketAddress;
  serverAddress: SocketAddress;
  /** The ends of the connection; null for a datagram. */
  connection: { localAddr: Deno.Addr; remoteAddr: Deno.Addr; alpnProtocol: string | null } | null;
  /** Which of the contexts that were posted is meant; left out for the last one that came as a frame. */
  posted?: number;
}

/** An option of the client's socket. */
export interface SocketOption {
  noDelay?: boolean;
  keepAlive?: boolean;
  timeout?: number | null;
}

/** A read that blocks in a worker, whose transport has no time limit of its own. */
export interface Wait {
  /** How long, in milliseconds. */
  timeout: number;
  /** How many frames of DATA, END and CUT the worker has seen: the wait is over when more have been sent. */
  seen: number;
}

/** A call of a method of the server. */
export interface ServerCall {
  /** By which the answer is told from others. */
  id: number;
  name: string;
  args: unknown[];
}

/** What came of a call. */
export interface ServerReturn {
  id: number;
  /** What the method gave; left out for `undefined`. */
  value?: unknown;
  /** What it threw, if anything. */
  error?: ErrorMessage;
}

/** How a request ended in a worker. */
export interface Outcome {
  /** What the handler threw, if anything; a {@linkcode ServerExit} is no error. */
  error?: ErrorMessage;
  /** Whether the worker says that the error is the client's. */
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

/** The classes that an error keeps on its way, by name. */
const KNOWN: ReadonlyMap<string, { prototype: Error }> = new Map(
  [
    ...[TypeError, RangeError, SyntaxError, ReferenceError, URIError, EvalError],
    ...[LineTooLongError, IncompleteReadError, DatagramTooLongError, HandlerLoadError, ServerExit],
    ...Object.values(Deno.errors),
  ].map((known) => [known.name, known]),
);

const encoder = new TextEncoder();

/** How many causes of causes go along. */
const MAX_CAUSES = 8;
/** How long an error with its causes may be, in bytes of JSON: so much that its frame takes it. */
const MAX_BYTES = 60 * 1024;
/** How much of a text goes along, in characters. */
const MAX_TEXT = 8 * 1024;
/** How many other properties go along, and how much of the text in each, in characters. */
const MAX_MORE = 16;
const MAX_MORE_TEXT = 1024;
/** What names of errors look like: they stand at the beginning of lines, where nobody expects more. */
const NAME = /^[\p{ID_Start}$_][\p{ID_Continue}$ .-]{0,99}$/u;
/** Of an error that is too long with these, an eighth of each text goes along; that has room in any case. */
const SHORTER = 8;

/** Makes an error, or whatever was thrown, fit for the way; never throws. */
export function toErrorMessage(
  error: unknown,
  causes = MAX_CAUSES,
  room = MAX_BYTES,
): ErrorMessage {
  try {
    return error instanceof Error ? fromError(error, causes, room) : fromThrown(error);
  } catch {
    return fromThrown(cut(describeThrown(error))); // such as a Proxy that throws when it is looked at
  }
}

function fromThrown(value: unknown): ErrorMessage {
  const plain = isPlain(value) ? value : Deno.inspect(value);
  const thrown = typeof plain === "string" ? cut(plain) : plain;
  return { className: "Error", name: "Error", message: "", more: {}, thrown };
}

function fromError(error: Error, causes: number, room: number): ErrorMessage {
  const { name, stack, cause } = error;
  const { code } = error as { code?: unknown };
  const make = (divisor: number): ErrorMessage => {
    const shorten = (text: string, length = MAX_TEXT) => cut(text, length / divisor);
    const more = moreOf(error).map(([key, value]) => [
      shorten(key, MAX_MORE_TEXT),
      typeof value === "string" ? shorten(value, MAX_MORE_TEXT) : value,
    ]);
    if (typeof code === "string") more.push(["code", shorten(code, MAX_MORE_TEXT)]);
    return {
      className: knownClass(error),
      name: shorten(typeof name === "string" ? name : "Error", MAX_MORE_TEXT),
      message: shorten(messageOf(error)),
      stack: typeof stack === "string" ? shorten(stack) : undefined,
      more: Object.fromEntries(more),
    };
  };
  let sent = make(1);
  if (sizeOf(sent) > room) sent = make(SHORTER);
  if (cause !== undefined && causes > 0) {
    const left = room - sizeOf(sent);
    const message = toErrorMessage(cause, causes - 1, left);
    if (sizeOf(message) <= left) sent.cause = message;
  }
  return sent;
}

/**
 * Makes the error anew: its class where both sides know that, its name, message, stack and causes.
 *
 * @param sent What came; of a worker that breaks the protocol it may be anything.
 */
export function fromErrorMessage(sent: ErrorMessage, causes = MAX_CAUSES): unknown {
  const { thrown, className, name, message, stack, cause } = sent ?? {};
  if (isPlain(thrown)) return typeof thrown === "string" ? cut(thrown) : thrown;
  const error = new Error(isPlain(message) ? cut(String(message)) : "");
  const known = KNOWN.get(className);
  if (known !== undefined) Object.setPrototypeOf(error, known.prototype);
  if (typeof name === "string" && error.name !== name && NAME.test(name)) {
    define(error, "name", name);
  }
  if (typeof stack === "string") define(error, "stack", cut(stack));
  for (const [key, value] of moreOf(sent?.more ?? {})) define(error, key, value, true);
  if (cause !== undefined && causes > 0) {
    define(error, "cause", fromErrorMessage(cause, causes - 1));
  }
  return error;
}

function sizeOf(message: ErrorMessage): number {
  return encoder.encode(JSON.stringify(message)).length;
}

/** What else there is on an error, as far as it is plain and no method or field that each error has; not all of much. */
function moreOf(error: object): [string, string | number | boolean | null][] {
  const more: [string, string | number | boolean | null][] = [];
  for (const key in error) {
    if (more.length === MAX_MORE) break;
    const value: unknown = Object.hasOwn(error, key) ? error[key as keyof typeof error] : undefined;
    if (!isPlain(value) || key in Error.prototype || key === "stack" || key === "cause") continue;
    more.push([
      cut(key, MAX_MORE_TEXT),
      typeof value === "string" ? cut(value, MAX_MORE_TEXT) : value,
    ]);
  }
  return more;
}

/** A text, or as much of it as goes along. */
function cut(text: string, length = MAX_TEXT): string {
  return text.length <= length ? text : `${text.slice(0, length)}…`;
}

/** The nearest class of an error that both sides know. */
function knownClass(error: Error): string {
  for (let at = Object.getPrototypeOf(error); at !== null; at = Object.getPrototypeOf(at)) {
    for (const [name, { prototype }] of KNOWN) if (prototype === at) return name;
  }
  return "Error";
}

function isPlain(value: unknown): value is string | number | boolean | null {
  return value === null || typeof value === "string" || typeof value === "boolean" ||
    typeof value === "number" && Number.isFinite(value); // JSON has no others
}

function define(error: Error, name: string, value: unknown, enumerable = false): void {
  Object.defineProperty(error, name, { value, enumerable, writable: true, configurable: true });
}
