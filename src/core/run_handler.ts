/**
 * Running a request handler: its three steps, whatever they throw.
 *
 * @module
 */
import { isInstance, nameOf, propertyOf } from "../base/errors.ts";

/** The servers whose handlers run in Workers or subprocesses. */
export const remoteServers: WeakSet<object> = new WeakSet();

/** What a server needs of a handler object: the three steps, in this order. */
export interface RequestHandler {
  /** Prepares; when it fails, neither of the others runs. */
  setup(): unknown;
  /** Does the service. */
  handle(): unknown;
  /** Cleans up; runs whether `handle()` failed or not. */
  finish(): unknown;
}

/** A handler class, whatever its constructor takes. */
type AnyHandlerClass = new (...args: never[]) => RequestHandler;
/** What may be a handler: a class or a function. */
type AnyFunction = AnyHandlerClass | ((...args: never[]) => unknown);

/**
 * Whether a value is a handler class and not a plain function; told by its shape, so that a class of another
 * copy of this package passes.
 */
export function isHandlerClass(value: AnyFunction): value is AnyHandlerClass {
  const { prototype } = value;
  return typeof prototype?.setup === "function" && typeof prototype.handle === "function" &&
    typeof prototype.finish === "function";
}

/** Whether a value is a handler class, or a function that is no class. */
export function isHandler<Handler extends AnyFunction>(value: unknown): value is Handler {
  if (typeof value !== "function") return false;
  return isHandlerClass(value as Handler) ||
    !/^class\b/.test(Function.prototype.toString.call(value));
}

/**
 * Checks what a server was given as its handler.
 *
 * @throws {TypeError} When it is neither a handler class nor a function.
 */
export function checkHandler(value: unknown): void {
  if (isHandler(value)) return;
  const what = typeof value === "function" ? `class "${nameOf(value)}"` : Deno.inspect(value);
  const why = typeof value === "function"
    ? "it does not extend BaseRequestHandler"
    : "expected a handler class or a function";
  throw new TypeError(`Cannot use ${what} as request handler: ${why}`);
}

/**
 * Runs a handler through its three steps: `setup()`, `handle()`, `finish()`. For a server that makes its handlers
 * itself, in `finishRequest()` or in a handler that is a plain function: a Python handler runs in its constructor,
 * here a handler that is made has to be run.
 *
 * When both `handle()` and `finish()` fail, the error is that of `finish()`, as in Python, with the other as
 * its `cause` where it has none. When `finish()` only met again what `handle()` had failed with or because
 * of, such as a write that timed out, the error is that of `handle()`.
 *
 * @param handler The handler, fresh from its constructor.
 * @throws {unknown} What a step threw.
 *
 * @example A handler with an argument more
 * ```ts
 * import { type AnyServer, runHandler, StreamRequestHandler } from "@netkit/socketserver";
 * import { type StreamSocket, type TCPAddr, TCPServer } from "@netkit/socketserver";
 * import { assertEquals } from "@std/assert";
 *
 * class GreetingHandler extends StreamRequestHandler {
 *   constructor(request: StreamSocket, from: TCPAddr, server: AnyServer, readonly greeting: string) {
 *     super(request, from, server);
 *   }
 *   override async handle() {
 *     await this.wfile.write(this.greeting);
 *   }
 * }
 * await using server = new TCPServer(
 *   { hostname: "127.0.0.1", port: 0 },
 *   (request: StreamSocket, from, server) =>
 *     runHandler(new GreetingHandler(request, from, server, "Good morning")),
 * );
 * const handled = server.handleRequest();
 * using client = await Deno.connect(server.serverAddress);
 * assertEquals(await new Response(client.readable).text(), "Good morning");
 * await handled;
 * ```
 * @category Handlers
 */
export async function runHandler(handler: RequestHandler): Promise<void> {
  // Only what there is to wait for is waited for, here too: a datagram's whole service takes microseconds.
  const prepared = handler.setup();
  if (prepared !== undefined) await prepared;
  try {
    const handled = handler.handle();
    if (handled !== undefined) await handled;
  } catch (error) {
    try {
      await handler.finish();
    } catch (finishError) {
      if (chainOf(error).has(finishError)) throw error;
      addCause(finishError, error);
      throw finishError;
    }
    throw error;
  }
  const finished = handler.finish();
  if (finished !== undefined) await finished;
}

/**
 * Refuses to make a handler of a server whose handlers run elsewhere.
 *
 * @throws {TypeError} When that is what the server does, and this is the server's own isolate.
 */
export function checkRunsHere(handler: object, server: object): void {
  if (!remoteServers.has(server)) return;
  const name = nameOf(handler.constructor);
  throw new TypeError(
    `Cannot run handler "${name}" here: its server runs handlers in Workers or subprocesses; ` +
      "call super.finishRequest(), and give handlers more by requestContext()",
  );
}

/** Runs a plain function as a handler; what it returns is awaited and dropped. */
export async function runFunction<Arguments extends unknown[]>(
  handler: (...args: Arguments) => unknown,
  ...args: Arguments
): Promise<void> {
  await handler(...args);
}

/** How many errors of a chain of causes are looked at, which may be made without end when it is read. */
const MAX_CHAIN = 100;

/** An error, its cause, the cause of that, and so on. */
function chainOf(error: unknown): Set<unknown> {
  const chain = new Set<unknown>();
  for (let link = error; link !== undefined && !chain.has(link) && chain.size < MAX_CHAIN;) {
    chain.add(link);
    link = isInstance(link, Error) ? propertyOf(link, "cause") : undefined;
  }
  return chain;
}

/** Gives an error a cause, where it has none and can have one. */
function addCause(error: unknown, cause: unknown): void {
  if (!isInstance(error, Error)) return;
  try {
    error.cause ??= cause;
  } catch {
    // It is frozen, for one; what it says itself goes before.
  }
}
