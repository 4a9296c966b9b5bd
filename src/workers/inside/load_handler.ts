/**
 * Loading a handler in a Worker or a subprocess.
 *
 * @module
 */
import type { SocketAddress } from "../../base/address.ts";
import { HandlerLoadError, messageOf } from "../../base/errors.ts";
import { isHandlerClass } from "../../core/run_handler.ts";
import type { RequestHandlerClass } from "../../core/base_server.ts";
import { setImporting } from "../../base/startup.ts";
import type { Init } from "../../channel/messages.ts";

/** A handler class of any family. */
export type HandlerClass = RequestHandlerClass<unknown, SocketAddress>;

/** The `code` of the error that several classes of the name are exported with. */
export const AMBIGUOUS = "ERR_AMBIGUOUS_HANDLER";

/**
 * Imports the module of a handler and finds its class in there.
 *
 * @throws {HandlerLoadError} When that fails; the message says why.
 */
export async function loadHandler(init: Init): Promise<HandlerClass> {
  const { moduleUrl, className, exportName } = init;
  let exported: Record<string, unknown>;
  setImporting(moduleUrl);
  try {
    exported = await import(moduleUrl);
  } catch (cause) {
    const reason = `importing it failed: ${messageOf(cause)}`;
    throw new HandlerLoadError(moduleUrl, className, reason, { cause });
  } finally {
    setImporting(null);
  }
  const found = exportName === undefined
    ? handlersNamed(exported, className, moduleUrl)
    : [[exportName, exported[exportName]]] as const;
  const [[, Handler] = []] = found;
  if (found.length > 1) {
    const names = found.map(([name]) => name).join(", ");
    const reason = `it exports several handler classes of that name, as ${names}; ` +
      "give each class a name of its own";
    throw Object.assign(new HandlerLoadError(moduleUrl, className, reason), { code: AMBIGUOUS });
  }
  if (typeof Handler === "function" && isHandlerClass(Handler as HandlerClass)) {
    return Handler as HandlerClass;
  }
  throw new HandlerLoadError(
    moduleUrl,
    className,
    `it exports no handler class of that name; write "export class ${className}", and 'moduleUrl' in that class itself`,
  );
}

/** The handler classes of a name, each with one name of its exports; the module's own where there are others, too. */
export function handlersNamed(
  exported: Record<string, unknown>,
  className: string,
  moduleUrl: string,
): [string, unknown][] {
  const names = new Map<unknown, string>();
  for (const [name, value] of Object.entries(exported)) {
    const isMeant = typeof value === "function" && value.name === className &&
      isHandlerClass(value as HandlerClass);
    if (isMeant && !names.has(value)) names.set(value, name);
  }
  const all = Array.from(names, ([value, name]): [string, unknown] => [name, value]);
  const own = all.filter(([, value]) =>
    Object.hasOwn(value as HandlerClass, "moduleUrl") &&
    (value as { moduleUrl?: unknown }).moduleUrl === moduleUrl
  );
  return own.length > 0 ? own : all;
}
