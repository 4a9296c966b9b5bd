/**
 * Where a unit finds a handler, as far as the server can check that.
 *
 * @module
 */
import { isHandlerClass, type RequestHandlerLike } from "../request_handler.ts";
import type { SocketAddress } from "../address.ts";
import { refuseWhileImporting } from "./importing.ts";
import type { Init } from "./messages.ts";

/**
 * Finds out how a unit can load a handler.
 *
 * @param server The name of the server class, for the message.
 * @throws {TypeError} When it cannot; the message says what to write.
 * @throws {Deno.errors.NotSupported} When a unit imports a module that makes the server.
 */
export function handlerModule<Request, Addr extends SocketAddress>(
  server: string,
  Handler: RequestHandlerLike<Request, Addr>,
): Init {
  refuseWhileImporting(); // before what is wrong with the handler there: nothing may be at home
  if (!isHandlerClass(Handler)) {
    throw new TypeError(
      `Cannot use a function as request handler of ${server}: ` +
        "it runs elsewhere; export a handler class with 'moduleUrl'",
    );
  }
  const { name: className } = Handler;
  // Its own, because an inherited one names the module of the base class.
  const moduleUrl = Object.hasOwn(Handler, "moduleUrl")
    ? (Handler as { moduleUrl?: unknown }).moduleUrl
    : undefined;
  if (typeof moduleUrl !== "string" || !URL.canParse(moduleUrl)) {
    throw new TypeError(
      `Cannot use handler "${className}" with ${server}: it runs elsewhere and must be importable; ` +
        "export the class and add 'static override readonly moduleUrl = import.meta.url;' to it",
    );
  }
  return { moduleUrl, className };
}
