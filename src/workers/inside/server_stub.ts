/**
 * What a handler sees as its server in a Worker or a subprocess.
 *
 * @module
 */
import type { SocketAddress } from "../../base/address.ts";

/** What of a server is only in the isolate that has its socket. */
const ELSEWHERE = [
  ...["serveForever", "handleRequest", "shutdown", "serverClose", "drain", "finished", "state"],
  ...["stats", "socket", "logger", "ref", "unref", "RequestHandlerClass", "timeout"],
];

/** The smaller view of a server: memory is not shared, so what is here was sent along with the request. */
export class ServerStub {
  /** Where the server listens. */
  readonly serverAddress: SocketAddress;
  /** What the server's `requestContext()` gave. */
  readonly context: unknown;
  readonly #controller = new AbortController();

  constructor(serverAddress: SocketAddress, context: unknown) {
    this.serverAddress = serverAddress;
    this.context = context;
  }

  /** The abort signal of the request under way, which is the only one. */
  requestSignal(): AbortSignal {
    return this.#controller.signal;
  }

  abort(): void {
    this.#controller.abort(new DOMException("The server cut this request off", "AbortError"));
  }
}

for (const name of ELSEWHERE) {
  Object.defineProperty(ServerStub.prototype, name, {
    get(): never {
      throw new Deno.errors.NotSupported(
        `Cannot use 'server.${name}' in a Worker or subprocess: the server is elsewhere; ` +
          "'server.serverAddress' and 'server.context' are here",
      );
    },
  });
}
