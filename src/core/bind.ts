/**
 * Binding: what the constructors of all servers with a socket do, and what one that fails says.
 *
 * @module
 */
import { errorCode, messageOf } from "../base/errors.ts";
import { checkBoolean } from "../base/options.ts";

/**
 * How many requests may wait in the system's queue, of which `drain()` takes no more. This and the following are keys of
 * what the life cycle asks of its server, and callers have no use for.
 */
export const queueLimit: unique symbol = Symbol("queueLimit");
/** Whether `serverBind()` has been called; a server that has no socket needs no bind. */
export const isBound: unique symbol = Symbol("isBound");

/** What a server listens with. */
export type ServerSocket = Deno.Listener | Deno.DatagramConn;

/**
 * Opens a server's socket where that is wanted, and leaves nothing open when it fails. Each server class calls
 * it at the end of its constructor, when its own fields are there.
 *
 * @param wanted The option `bindAndActivate`.
 */
export function bindAndActivate(
  server: { serverBind(): void; serverActivate(): void; closeSocket(): void },
  wanted: boolean = true,
): void {
  if (!checkBoolean("bindAndActivate", wanted)) return;
  try {
    server.serverBind();
    server.serverActivate();
  } catch (error) {
    server.closeSocket();
    throw error;
  }
}

/** What to do about the common failures of a bind, by error code or class name. */
const BIND_REMEDIES: Record<string, string> = {
  EADDRINUSE: "address already in use; stop its owner, or choose another",
  EADDRNOTAVAIL: "no interface of this machine has this address",
  EACCES: "permission denied; ports below 1024 need privileges, and a path needs a writable folder",
  ENOENT: "its folder does not exist; create it first",
  ENOTDIR: "a part of its path is not a folder",
};

/**
 * Makes the one error that a failed bind throws: the class of the original, the address, the remedy.
 *
 * @param what The kind of server, as in "TCP server".
 * @param address The address as a person writes it.
 * @param error What the bind threw; it becomes the `cause`.
 * @returns An error of the same class, with the same `code` where there is one.
 */
export function bindError(what: string, address: string, error: unknown): Error {
  const message = messageOf(error);
  let reason = BIND_REMEDIES[errorCode(error)] ?? message;
  if (error instanceof Deno.errors.NotCapable) {
    reason = message.replace(/^Requires /, "needs "); // Deno's text names the flag to run with
  } else if (/failed to lookup address|invalid empty host/.test(message)) {
    reason = "host not found; check the name, or give an IP address";
  }
  const text = `Cannot bind ${what} to "${address}": ${reason}`;
  const wrapped = sameClass(error, text);
  const { code } = error as { code?: unknown } ?? {};
  if (code !== undefined) Object.defineProperty(wrapped, "code", { value: code });
  return wrapped;
}

/** An error of the class of `error` where that is one of Deno's or a built-in one, else a plain one. */
function sameClass(error: unknown, message: string): Error {
  const known = [...Object.values(Deno.errors), TypeError, RangeError];
  const ErrorClass = known.find((known) => error instanceof Error && error.constructor === known);
  return new (ErrorClass ?? Error)(message, { cause: error });
}
