/**
 * The error classes of this package, and how an error is told apart by what a server does about it.
 *
 * This folder is the ground that all others stand on, and imports from none of them: errors, addresses, bytes, log lines,
 * options and settings, time, and what keeps a program alive at its start and when a handler leaves something behind.
 *
 * @module
 */

/**
 * Thrown by a request handler to end {@linkcode BaseServer.serveForever} of a plain or concurrent server.
 *
 * The counterpart of raising `SystemExit` in a Python handler: it is not passed to
 * {@linkcode BaseServer.handleError}; the request's own connection is closed and the error leaves
 * `serveForever()` (or `handleRequest()`) as its rejection. The listener stays open.
 *
 * In a Web Worker or a subprocess of a threading or forking server it ends that request only, and a warning in the log
 * says so: as in Python, where it ends no more than the thread or the process that raises it. So does one that comes
 * when `handleRequest()` of a concurrent server has returned.
 *
 * @example Stop serving from inside a handler
 * ```ts
 * import { ServerExit, TCPServer } from "@netkit/socketserver";
 * import { assertEquals } from "@std/assert";
 *
 * await using server = new TCPServer({ hostname: "127.0.0.1", port: 0 }, () => {
 *   throw new ServerExit(3);
 * });
 * const serving = server.serveForever().catch((error) => error);
 * using conn = await Deno.connect(server.serverAddress);
 * await conn.read(new Uint8Array(1)); // end of file: the handler left
 * const error = await serving;
 * assertEquals(error instanceof ServerExit && error.code, 3);
 * ```
 * @category Errors
 */
export class ServerExit extends Error {
  /** The exit code that the program may pass to `Deno.exit()`. */
  readonly code: number;

  /**
   * Makes the error.
   *
   * @param code The exit code to suggest to the program; 0 when it is left out.
   */
  constructor(code = 0) {
    super(`Server exit with code ${code}`);
    this.name = "ServerExit";
    this.code = code;
  }
}

/**
 * A line or frame went over its limit before its end was seen.
 *
 * What was read stays in the buffer, so that a handler may look at it, answer, and close.
 *
 * @example Refuse a line that is too long
 * ```ts
 * import { BufferedReader, LineTooLongError } from "@netkit/socketserver";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * const reader = BufferedReader.fromBytes(new TextEncoder().encode("a long line\n"));
 * const error = await assertRejects(() => reader.readline(4), LineTooLongError);
 * assertEquals(error.limit, 4);
 * ```
 * @category Errors
 */
export class LineTooLongError extends Error {
  /** The limit that was passed, in bytes, the delimiter included. */
  readonly limit: number;

  /** Makes the error of a limit in bytes. */
  constructor(limit: number) {
    super(`Cannot read line: no end within ${limit} bytes`);
    this.name = "LineTooLongError";
    this.limit = limit;
  }
}

/**
 * The stream ended before {@linkcode BufferedReader.readExactly} had all its bytes.
 *
 * @example Keep what arrived
 * ```ts
 * import { BufferedReader, IncompleteReadError } from "@netkit/socketserver";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * const reader = BufferedReader.fromBytes(Uint8Array.of(1, 2));
 * const error = await assertRejects(() => reader.readExactly(4), IncompleteReadError);
 * assertEquals(error.partial, Uint8Array.of(1, 2));
 * ```
 * @category Errors
 */
export class IncompleteReadError extends Deno.errors.UnexpectedEof {
  /** The bytes that did arrive, fewer than were asked for. */
  readonly partial: Uint8Array;

  /**
   * Makes the error.
   *
   * @param partial The bytes that did arrive.
   * @param expected How many bytes were asked for.
   */
  constructor(partial: Uint8Array, expected: number) {
    super(`Cannot read ${expected} bytes: the stream ended after ${partial.length}`);
    this.name = "IncompleteReadError";
    this.partial = partial;
  }
}

/**
 * A datagram was longer than the server's `maxPacketSize`; its handler did not run.
 *
 * Python cuts such a datagram silently. Here it reaches {@linkcode BaseServer.handleError}.
 *
 * @example See what was refused
 * ```ts
 * import { DatagramTooLongError } from "@netkit/socketserver";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(new DatagramTooLongError(512).limit, 512);
 * ```
 * @category Errors
 */
export class DatagramTooLongError extends Error {
  /** The server's `maxPacketSize`, in bytes. */
  readonly limit: number;

  /** Makes the error of a limit in bytes. */
  constructor(limit: number) {
    super(`Cannot receive datagram: longer than ${limit} bytes ('maxPacketSize')`);
    this.name = "DatagramTooLongError";
    this.limit = limit;
  }
}

/**
 * A TLS client did not finish its handshake; its handler did not run.
 *
 * The `cause` is the error of the handshake, or a `Deno.errors.TimedOut` where the client was silent.
 *
 * @example Count failed handshakes
 * ```ts
 * import { TLSHandshakeError, TLSServer } from "@netkit/socketserver";
 *
 * class CountingServer extends TLSServer {
 *   failedHandshakes = 0;
 *   override handleError(error: unknown): void {
 *     if (error instanceof TLSHandshakeError) this.failedHandshakes++;
 *   }
 * }
 * ```
 * @category Errors
 */
export class TLSHandshakeError extends Error {
  /** How long the handshake had taken when it failed, in milliseconds. */
  readonly elapsed: number;

  /**
   * Makes the error.
   *
   * @param elapsed How long the handshake had taken, in milliseconds.
   * @param options The `cause`: why the handshake failed.
   */
  constructor(elapsed: number, options?: ErrorOptions) {
    const reason = options?.cause instanceof Error ? options.cause.message : "failed";
    super(`Cannot finish TLS handshake: ${reason}`, options);
    this.name = "TLSHandshakeError";
    this.elapsed = elapsed;
  }
}

/** How a process or Worker ended. */
export interface WorkerStatus {
  /** The exit code; `null` where there is none, as after a signal, or for a Worker that failed. */
  code: number | null;
  /** The signal that ended a process, such as "SIGKILL"; `null` for none. */
  signal: string | null;
}

/**
 * The Worker or subprocess that ran a handler ended before the handler did.
 *
 * @example Tell a crash from an error of the handler
 * ```ts
 * import { TCPServer, WorkerDiedError } from "@netkit/socketserver";
 *
 * class WatchingServer extends TCPServer {
 *   crashes: string[] = [];
 *   override handleError(error: unknown): void {
 *     if (error instanceof WorkerDiedError) this.crashes.push(error.status.signal ?? "exit");
 *   }
 * }
 * ```
 * @category Errors
 */
export class WorkerDiedError extends Error {
  /** How it ended. */
  readonly status: WorkerStatus;

  /**
   * Makes the error.
   *
   * @param what What ended, as in "child 123".
   * @param status How it ended.
   * @param options The `cause`: the error that ended a Worker.
   */
  constructor(what: string, status: WorkerStatus, options?: ErrorOptions) {
    const { code, signal } = status;
    const how = signal !== null
      ? `killed by ${signal}`
      : code !== null
      ? `exited with code ${code}`
      : options?.cause instanceof Error
      ? `failed with ${options.cause.message}`
      : "ended";
    super(`Cannot finish request: ${what} ${how}`, options);
    this.name = "WorkerDiedError";
    this.status = status;
  }
}

/**
 * A Worker or subprocess could not load the handler that it was started for.
 *
 * @example Look at the module in question
 * ```ts
 * import { HandlerLoadError } from "@netkit/socketserver";
 * import { assertEquals } from "@std/assert";
 *
 * const error = new HandlerLoadError("file:///app/echo.ts", "Echo", "it exports no such class");
 * assertEquals(error.moduleUrl, "file:///app/echo.ts");
 * ```
 * @category Errors
 */
export class HandlerLoadError extends Error {
  /** The module that was to export the handler. */
  readonly moduleUrl: string;

  /**
   * Makes the error.
   *
   * @param moduleUrl The module that was to export the handler.
   * @param className The name of the handler class.
   * @param reason Why it could not be loaded, and what to do.
   * @param options The `cause`: what the module threw.
   */
  constructor(moduleUrl: string, className: string, reason: string, options?: ErrorOptions) {
    super(`Cannot load handler "${className}" from "${moduleUrl}": ${reason}`, options);
    this.name = "HandlerLoadError";
    this.moduleUrl = moduleUrl;
  }
}

/** What messages call a class; one without a name by the nearest base that has one. */
export function nameOf(Class: { readonly name: string }): string {
  for (let at = Class; typeof at === "function"; at = Object.getPrototypeOf(at)) {
    if (typeof at.name !== "string" || at.name === "") continue;
    return at === Class ? at.name : `a subclass of ${at.name}`;
  }
  return "a class without a name";
}

/**
 * Whether a value is an instance of a class. Unlike `instanceof` it may be asked of whatever was thrown: a Proxy
 * answers as its handler likes, or throws, and then it is none.
 */
export function isInstance<Instance>(
  value: unknown,
  Class: abstract new (...args: never[]) => Instance,
): value is Instance {
  try {
    return value instanceof Class;
  } catch {
    return false;
  }
}

/** Reads a property of whatever was thrown; one that throws when it is read counts as undefined. */
export function propertyOf(value: unknown, name: string): unknown {
  try {
    return (value as Record<string, unknown> | null | undefined)?.[name];
  } catch {
    return undefined;
  }
}

/** All that can be said about whatever was thrown, with its stack; never throws. */
export function describeThrown(thrown: unknown, options?: Deno.InspectOptions): string {
  try {
    return Deno.inspect(thrown, options);
  } catch {
    const [name, message] = [propertyOf(thrown, "name"), propertyOf(thrown, "message")];
    if (typeof message !== "string") return `a value that cannot be shown (${typeof thrown})`;
    return typeof name === "string" ? `${name}: ${message}` : message;
  }
}

/** What an error says, or what can be said about another value that was thrown; never throws. */
export function messageOf(thrown: unknown): string {
  if (isInstance(thrown, Error)) {
    const message = propertyOf(thrown, "message");
    if (typeof message === "string") return message;
  }
  return typeof thrown === "object" || typeof thrown === "function"
    ? describeThrown(thrown)
    : String(thrown);
}

/** The operating system's code of an error ("EMFILE"), or else the name of its class. */
export function errorCode(error: unknown): string {
  if (!isInstance(error, Error)) return typeof error;
  const [code, name] = [propertyOf(error, "code"), propertyOf(error, "name")];
  return typeof code === "string" ? code : typeof name === "string" ? name : "Error";
}

/** Whether an error says that the other side went away, which is its right and nobody's fault. */
export function isPeerGone(error: unknown): boolean {
  return isInstance(error, Deno.errors.ConnectionReset) ||
    isInstance(error, Deno.errors.BrokenPipe) ||
    isInstance(error, Deno.errors.ConnectionAborted) ||
    isInstance(error, Deno.errors.NotConnected) ||
    isInstance(error, Deno.errors.UnexpectedEof);
}

/** The `code` of the error that an answer to a Unix client without a path fails with. */
export const NO_ADDRESS = "EDESTADDRREQ";

/** The `code` of the error that a datagram from the server's own address is dropped with. */
export const OWN_ADDRESS = "OWN_ADDRESS";

/** For each error of a connection or a datagram what it came from, or where that was to go. */
const sources = new WeakMap<object, object>();

/**
 * Notes whose an error is, for {@linkcode isOfClient}.
 *
 * @param source The socket or the data that was read from, or the address that was sent to.
 * @returns The error.
 */
export function noteSource<E>(error: E, source: object): E {
  if (typeof error === "object" && error !== null) sources.set(error, source);
  return error;
}

/**
 * Whether an error is the client's, because of what it sent or left out or because it cannot be reached. One of a
 * connection that the handler has made itself is not, whatever its class.
 */
export function isOfClient(error: unknown, request: unknown, clientAddress: unknown): boolean {
  const source = sources.get(error as object);
  if (source === undefined) return false;
  if (source === request || Array.isArray(request) && source === request[0]) return true;
  return source === clientAddress;
}
