/**
 * The hooks of a server, called in the main isolate for Workers that have the connections.
 *
 * @module
 */
import { noteSource } from "../base/errors.ts";
import { handleFault } from "../core/faults.ts";
import { fromErrorMessage } from "../channel/messages.ts";
import { type Call, calls, type Run } from "../core/loop/lifecycle.ts";
import { StreamSocket } from "../sockets/stream_socket.ts";
import type { StreamTransport } from "../sockets/streams.ts";
import { callServer } from "../core/server_call.ts";
import type { TCPServer } from "../families/tcp_server.ts";
import type { PoolQuestion, PoolTalk } from "./pool_messages.ts";

/** Calls the hooks of a server for its Workers. Such a call is inside the server, which it may shut down, drain or close. */
export class DistantHooks {
  /** The run under way, or the last one. */
  run: Run | null = null;
  readonly #server: TCPServer;

  constructor(server: TCPServer) {
    this.#server = server;
  }

  /** Calls the hook, or the method for a handler, that a Worker asks for. */
  async answer(question: PoolTalk["question"]): Promise<unknown> {
    if ("call" in question) {
      return await this.#call(() => callServer(this.#server, question.call, question.args));
    }
    const { hook, clientAddress, error, ofClient } = question;
    if (hook === "handleError") {
      return await this.tell(fromErrorMessage(error!), question, ofClient);
    }
    const request = this.#requestOf(question);
    return await this.#call(() => this.#server.verifyRequest(request, clientAddress));
  }

  /**
   * Calls `handleError()`, also for a request of which its Worker cannot tell any more.
   *
   * @param ofClient Whether the error is the client's.
   */
  async tell(error: unknown, connection: DistantEnds, ofClient = false): Promise<void> {
    const request = this.#requestOf(connection);
    if (ofClient) noteSource(error, request);
    await this.#call(() => handleFault(this.#server, error, request, connection.clientAddress));
  }

  #requestOf(connection: DistantEnds): StreamSocket {
    const request = new StreamSocket(new DistantConnection(connection), this.#server.logger);
    if (connection.closed) request.close();
    return request;
  }

  async #call<T>(hook: () => T | Promise<T>): Promise<T> {
    const call: Call = { server: this.#server, run: this.run, outer: undefined, running: true };
    try {
      return await calls.run(call, hook);
    } finally {
      call.running = false;
    }
  }
}

/** What is known of a connection that another isolate has. */
type DistantEnds = Pick<PoolQuestion, "localAddr" | "clientAddress" | "closed">;

/** Such a connection, for hooks that want to know whose it is. */
class DistantConnection implements StreamTransport {
  readonly localAddr: Deno.Addr;
  readonly remoteAddr: Deno.Addr;
  readonly read = refuse;
  readonly write = refuse;
  readonly closeWrite = refuse;

  constructor({ localAddr, clientAddress }: DistantEnds) {
    this.localAddr = localAddr;
    this.remoteAddr = clientAddress;
  }

  close(): void {}

  ref(): void {}

  unref(): void {}
}

function refuse(): Promise<never> {
  return Promise.reject(
    new Deno.errors.NotSupported(
      "Cannot use connection in this hook: a Worker has it; the addresses are here",
    ),
  );
}
