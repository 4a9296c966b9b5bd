/**
 * What a handler sees as its server in a Worker or a subprocess.
 *
 * @module
 */
import { printable, type SocketAddress, type SocketType } from "../../base/address.ts";
import { abortSafely } from "../../base/unawaited.ts";
import { endedError, unlessAwaited } from "../../core/server_call.ts";

/** What of a server is only in the isolate that has its socket. */
const ELSEWHERE = [
  ...["serveForever", "handleRequest", "shutdown", "serverClose", "drain", "finished", "state"],
  ...["stats", "socket", "logger", "ref", "unref", "RequestHandlerClass", "timeout"],
];

/** Has the server call a method. */
export type ServerCall = (name: string, args: unknown[]) => Promise<unknown>;

/** The smaller view of a server: memory is not shared, so what is here was sent along with the request. */
export class ServerStub {
  /** Where the server listens. */
  readonly serverAddress: SocketAddress;
  /** Whether requests are streams or datagrams. */
  readonly socketType: SocketType;
  /** What the server's `requestContext()` gave. */
  readonly context: unknown;
  readonly #controller = new AbortController();
  readonly #call: ServerCall;
  #hasEnded = false;

  constructor(
    serverAddress: SocketAddress,
    socketType: SocketType,
    context: unknown,
    call: ServerCall,
  ) {
    this.serverAddress = printable(serverAddress);
    this.socketType = socketType;
    this.context = context;
    this.#call = call;
  }

  /** Has the server call a method of its own, as `BaseServer.call()` says. */
  call(name: string, ...args: unknown[]): Promise<unknown> {
    return unlessAwaited(this.#hasEnded ? Promise.reject(endedError()) : this.#call(name, args));
  }

  /** To be called when the request has ended, after which nothing is called any more. */
  end(): void {
    this.#hasEnded = true;
  }

  /** The abort signal of the request under way, which is the only one. */
  requestSignal(): AbortSignal {
    return this.#controller.signal;
  }

  /** @param report Told of what a listener of the handler throws. */
  abort(report: (error: unknown) => void): void {
    const reason = new DOMException("The server cut this request off", "AbortError");
    abortSafely(this.#controller, reason, report);
  }
}

for (const name of ELSEWHERE) {
  Object.defineProperty(ServerStub.prototype, name, {
    get(): never {
      throw new Deno.errors.NotSupported(
        `Cannot use 'server.${name}' in a Worker or subprocess: the server is elsewhere; ` +
          "'server.serverAddress', 'server.socketType', 'server.context' and 'server.call()' are here",
      );
    },
  });
}
