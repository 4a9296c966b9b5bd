/**
 * Finds the request handler that a user's module exports.
 *
 * @module
 */
import { pathToFileURL } from "node:url";
import type { SocketAddress } from "../base/address.ts";
import { type Command, UsageError } from "./args.ts";
import { messageOf, nameOf } from "../base/errors.ts";
import { setImporting } from "../base/startup.ts";
import { isHandler, isHandlerClass } from "../core/run_handler.ts";
import type { RequestHandlerLike } from "../core/base_server.ts";

/** A handler of any family, as far as anybody can tell before it runs. */
export type Handler = RequestHandlerLike<unknown, SocketAddress>;

type Exports = Record<string, unknown>;

const URL_START = /^(file|https?|jsr|npm|data):/i;

/**
 * Imports the module and finds its handler.
 *
 * @throws {UsageError} When there is no such module or handler, or it does not fit the address or the mode.
 * @throws {Error} When the module cannot be loaded.
 */
export async function loadHandler(command: Command): Promise<Handler> {
  const { module, className, mode } = command;
  const url = URL_START.test(module) ? new URL(module).href : pathToFileURL(module).href;
  const exported = await importModule(module, url);
  const handler = className === null
    ? onlyHandler(module, exported)
    : namedHandler(module, className, exported);
  checkFamily(command, handler);
  if (mode === "sync" || mode === "concurrent") return handler;
  if (!isHandlerClass(handler)) {
    throw new UsageError(
      `Cannot use function "${handler.name}" with --mode ${mode}: expected a handler class, ` +
        "as it runs elsewhere",
    );
  }
  // Its own, because an inherited one names the module of the base class.
  if (!Object.hasOwn(handler, "moduleUrl")) {
    Object.defineProperty(handler, "moduleUrl", { value: url });
  }
  return handler;
}

async function importModule(module: string, url: string): Promise<Exports> {
  setImporting(url);
  try {
    return await import(url);
  } catch (error) {
    const message = messageOf(error);
    const isMissing = message.startsWith(`Module not found "${url}"`) ||
      message.startsWith("[ERR_UNSUPPORTED_DIR_IMPORT]");
    if (isMissing) throw new UsageError(`Cannot find module "${module}"`);
    throw new Error(`Cannot load module "${module}": ${firstOf(message)}`, { cause: error });
  } finally {
    setImporting(null);
  }
}

/** A message of Deno's without the source that it quotes, and without the causes behind the first. */
function firstOf(message: string): string {
  return message.split("\n").filter((line) => !/^\s*(\d+ )?\||^\s+[1-9]\d*: /.test(line)).join(" ");
}

function namedHandler(module: string, name: string, exported: Exports): Handler {
  const value = Object.hasOwn(exported, name) ? exported[name] : undefined;
  if (isHandler<Handler>(value)) return value;
  const names = Object.keys(exported).filter((each) => isHandler(exported[each])).join(", ");
  const reason = value === undefined ? `no export of "${module}"` : "no request handler";
  const hint = names === "" ? "there is no handler in there" : `expected ${names}`;
  throw new UsageError(`Cannot use --class "${name}": ${reason}; ${hint}`);
}

/** The handler of a module where nobody says which. */
function onlyHandler(module: string, exported: Exports): Handler {
  const { default: main } = exported;
  if (isHandler<Handler>(main)) return main;
  const handlers = [
    ...new Set(Object.values(exported).filter((value) => isHandler<Handler>(value))),
  ];
  const classes = handlers.filter((handler) => isHandlerClass(handler));
  const [handler, second] = classes.length > 0 ? classes : handlers;
  if (handler === undefined) {
    throw new UsageError(`Cannot use module "${module}": it exports no request handler`);
  }
  if (second === undefined) return handler;
  const names = Object.keys(exported).filter((name) => isHandler(exported[name])).join(", ");
  throw new UsageError(`Cannot choose a handler of "${module}": name it with --class: ${names}`);
}

/** Refuses a handler of streams for datagrams, and the reverse; one that is on no stream handler fits both. */
function checkFamily({ listen }: Command, handler: Handler): void {
  const { transport } = listen;
  const family = familyOf(handler);
  const wanted = transport === "udp" || transport === "unix-datagram" ? "datagrams" : "streams";
  if (family === null || family === wanted) return;
  const flags = family === "datagrams" ? "--udp, --unix-datagram" : "--tcp, --tls, --unix";
  const name = nameOf(handler);
  throw new UsageError(
    `Cannot use --${transport} with handler "${name}": it handles ${family}; expected ${flags}`,
  );
}

/** Tells by the shape, so that a class on another copy of this package is known, too. */
function familyOf(handler: Handler): "streams" | "datagrams" | null {
  if (!isHandlerClass(handler) || !("rfile" in handler.prototype)) return null;
  if ("connection" in handler.prototype) return "streams";
  return "packet" in handler.prototype ? "datagrams" : null;
}
