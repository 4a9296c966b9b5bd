/**
 * Stream servers without sockets.
 *
 * @module
 */
import type { TCPAddr } from "../base/address.ts";
import { nameOf } from "../base/errors.ts";
import type { Constructor, MixedIn } from "../families/concurrent_mix_in.ts";
import { TCPServer } from "../families/tcp_server.ts";
import { UnixStreamServer } from "../families/unix_server.ts";
import { type MemoryClient, MemoryListener } from "./memory_listener.ts";

/** What {@linkcode MemoryMixIn} gives to a server. */
export interface MemoryMembers {
  /**
   * Connects a client, who waits in the queue until the server serves.
   *
   * @returns The client's end; what it reads and writes has the limits and errors of a connection.
   * @throws {Deno.errors.ConnectionRefused} When the server is closed, or not bound yet.
   */
  connect(): MemoryClient;
  /**
   * Connects a client that sends, ends its write side, and reads until the server closes.
   *
   * @param data What it sends; text goes out as UTF-8.
   * @returns What it got, as text of UTF-8.
   * @throws {Deno.errors.ConnectionRefused} When the server is closed, or not bound yet.
   */
  exchange(data: string | Uint8Array): Promise<string>;
}

/**
 * A server class with {@linkcode MemoryMixIn} in it.
 *
 * @typeParam Base The server class without.
 */
export type InMemory<Base extends Constructor<TCPServer>> = MixedIn<Base, unknown, MemoryMembers>;

/**
 * Makes a TCP server class take its clients from the program itself: it opens no socket and needs no permission, so that
 * tests of a service are fast and leave nothing behind. All else is as it is: its mode, limits, hooks and time limits.
 * A TLS server is served without TLS. Those of a pool are refused: their Workers accept by themselves.
 *
 * @typeParam Base The server class to mix into.
 * @param Base A class of TCP servers, your own for one.
 * @returns The class with the mix-in.
 * @throws {TypeError} When the class has no TCP listener in this isolate.
 *
 * @example A service of its own class
 * ```ts
 * import { StreamRequestHandler, TCPServer } from "@netkit/socketserver";
 * import { MemoryMixIn, serveInTest } from "@netkit/socketserver/testing";
 * import { assertEquals } from "@std/assert";
 *
 * class CountingServer extends TCPServer {
 *   visits = 0;
 * }
 * class CountingHandler extends StreamRequestHandler {
 *   declare readonly server: CountingServer;
 *   override async handle() {
 *     await this.wfile.write(`${++this.server.visits}`);
 *   }
 * }
 *
 * const address = { hostname: "127.0.0.1", port: 0 };
 * await using run = serveInTest(new (MemoryMixIn(CountingServer))(address, CountingHandler));
 * assertEquals(await run.server.exchange(""), "1");
 * assertEquals(await run.server.exchange(""), "2");
 * ```
 * @category Testing
 */
export function MemoryMixIn<
  Base extends Constructor<TCPServer & { readonly maxConnectionsPerWorker?: never }>,
>(Base: Base): InMemory<Base> {
  checkBase(Base);
  abstract class MemoryServer extends (Base as Constructor<TCPServer<TCPAddr>>) {
    static override readonly name: string = `Memory${Base.name}`;

    declare socket: MemoryListener;

    override openListener(): Deno.Listener {
      return new MemoryListener(this.inetAddress());
    }

    connect(): MemoryClient {
      if (this.socket === undefined) {
        throw new Deno.errors.ConnectionRefused("Cannot connect: the server is not bound yet");
      }
      return this.socket.connect();
    }

    async exchange(data: string | Uint8Array): Promise<string> {
      using client = this.connect();
      // A handler that answers before it has read all may close while something is sent.
      void client.sendAll(data).then(() => client.closeWrite()).catch(() => {});
      return await new Response(client.readable).text();
    }
  }
  // The type checker cannot follow which class it is made of.
  return MemoryServer as unknown as InMemory<Base>;
}

/** Refuses what has no TCP listener in this isolate, should the type checker not have. */
function checkBase(Base: Constructor<TCPServer>): void {
  const isA = (Class: Constructor<unknown>) =>
    (Base as unknown) === Class || Base.prototype instanceof Class;
  const reason = "maxConnectionsPerWorker" in Base
    ? "its Workers accept clients by themselves"
    : isA(TCPServer as Constructor<unknown>) && !isA(UnixStreamServer)
    ? null
    : "it is no TCP server";
  if (reason === null) return;
  const name = nameOf(Base);
  throw new TypeError(
    `Cannot use MemoryMixIn with ${name}: ${reason}; use it with TCPServer, ConcurrentTCPServer or another`,
  );
}
