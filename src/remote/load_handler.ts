/**
 * Loading a handler in a Worker or a subprocess.
 *
 * @module
 */
import type { SocketAddress } from "../address.ts";
import { HandlerLoadError } from "../errors.ts";
import { isHandlerClass, type RequestHandlerClass } from "../request_handler.ts";
import { setImporting } from "./importing.ts";
import type { Init } from "./messages.ts";

/** A handler class of any family. */
export type HandlerClass = RequestHandlerClass<unknown, SocketAddress>;

/**
 * Imports the module of a handler and finds its class in there.
 *
 * @throws {HandlerLoadError} When that fails; the message says why.
 */
export async function loadHandler({ moduleUrl, className }: Init): Promise<HandlerClass> {
  let exported: Record<string, unknown>;
  setImporting(moduleUrl);
  try {
    exported = await import(moduleUrl);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new HandlerLoadError(moduleUrl, className, `importing it failed: ${reason}`, { cause });
  } finally {
    setImporting(null);
  }
  const found = Object.values(exported).find((value) =>
    typeof value === "function" && value.name === className && isHandlerClass(value as HandlerClass)
  );
  if (found !== undefined) return found as HandlerClass;
  throw new HandlerLoadError(
    moduleUrl,
    className,
    `it exports no handler class of that name; write "export class ${className}", and 'moduleUrl' in that class itself`,
  );
}
