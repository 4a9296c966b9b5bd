/**
 * What a handler reaches of its server, wherever the handler runs.
 *
 * @module
 */
import type { SocketType } from "../base/address.ts";
import type { AnyServer, BaseServer } from "./base_server.ts";
import type { RequestHandler } from "./run_handler.ts";
import type { CallArguments, CallName, CallResult } from "./server_call.ts";

/**
 * What a handler reaches of its server, be it in the server's own isolate or in a Worker or a subprocess, where there is
 * only a stand-in of the server. A handler that may run there writes `declare readonly server: ServerView<MyServer>;`. One that
 * runs in the server's own isolate, as of a `ConcurrentTCPServer`, has all of it: `declare readonly server: MyServer;`.
 *
 * @typeParam Server The server's class, which says what the context is, and what may be called with what.
 *
 * @example A handler in a Worker that knows its server
 * ```ts
 * import { type ServerView, StreamRequestHandler, ThreadingTCPServer } from "@netkit/socketserver";
 *
 * export class GreetingHandler extends StreamRequestHandler {
 *   static override readonly moduleUrl = import.meta.url;
 *   declare readonly server: ServerView<GreetingServer>;
 *   override async handle() {
 *     const { greeting } = this.server.context;
 *     await this.wfile.write(`${greeting}, guest ${await this.server.call("count")}\n`);
 *   }
 * }
 * class GreetingServer extends ThreadingTCPServer {
 *   override readonly calls = ["count"] as const;
 *   #guests = 0;
 *   override requestContext() {
 *     return { greeting: "Hello" };
 *   }
 *   count(): number {
 *     return ++this.#guests;
 *   }
 * }
 * if (import.meta.main) {
 *   await using server = new GreetingServer({ hostname: "127.0.0.1", port: 0 }, GreetingHandler);
 *   await server.serveForever();
 * }
 * ```
 */
export interface ServerView<Server extends AnyServer = BaseServer> {
  /** Where the server listens. */
  readonly serverAddress: Server["serverAddress"];
  /** Whether requests are streams or datagrams; undefined for a server without a socket. */
  readonly socketType: SocketType | undefined;
  /** What the server's `requestContext()` gave; a copy of it, where the handler runs elsewhere. */
  readonly context: ContextOf<Server>;

  /**
   * Calls a method that the server names in its `calls`, as is said of {@linkcode BaseServer.call}.
   *
   * @param name The method.
   * @param args Its arguments.
   * @returns What it gave.
   */
  call<Name extends CallName<Server>>(
    name: Name,
    ...args: CallArguments<Server, Name>
  ): Promise<CallResult<Server, Name>>;
}

/**
 * What `requestContext()` gives. Of a server with a mix-in that users wrote the method is their own and that of the base,
 * as overloads, of which `ReturnType` knows the last alone, which is `unknown`.
 *
 * @internal
 */
type ContextOf<Server extends AnyServer> = Server["requestContext"] extends
  { (): infer First; (): infer Second; (): infer Third } ? First & Second & Third : never;

/**
 * A handler class, as servers take it that run handlers in Workers or subprocesses. It refuses one whose `server` is said
 * to be the server itself, of which there is only a {@linkcode ServerView} there.
 */
export type RemoteHandlerClass = new (...args: never[]) => RequestHandler & {
  readonly server?: ServerView & {
    /** What every server has, and no view of one; the type is what the checker prints. */
    readonly serveForever?: "the server is elsewhere: declare it as ServerView<MyServer>";
  };
};
