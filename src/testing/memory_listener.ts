/**
 * A listener that takes its clients from the program itself.
 *
 * @module
 */
import type { TCPAddr } from "../base/address.ts";
import { StreamSocket } from "../sockets/stream_socket.ts";
import { keepAlive, MemoryConn } from "./memory_conn.ts";

/** The ports that are given to those who ask for none: the dynamic ones (RFC 6335). */
const [FIRST_PORT, LAST_PORT] = [49152, 65535];

let lastPort = LAST_PORT;

function nextPort(): number {
  return lastPort = lastPort === LAST_PORT ? FIRST_PORT : lastPort + 1;
}

/**
 * The client's end of a connection to a server in memory.
 *
 * @example A client that waits for each answer
 * ```ts
 * import { type StreamSocket, TCPServer } from "@netkit/socketserver";
 * import { MemoryMixIn, serveInTest } from "@netkit/socketserver/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const echo = async (request: StreamSocket) => {
 *   for (let data; (data = await request.recv()).length > 0;) await request.sendAll(data);
 * };
 * const server = new (MemoryMixIn(TCPServer))({ hostname: "127.0.0.1", port: 0 }, echo);
 * await using run = serveInTest(server);
 * using client = run.server.connect();
 * for (const word of ["one", "two"]) {
 *   await client.sendAll(word);
 *   assertEquals(new TextDecoder().decode(await client.recv()), word);
 * }
 * ```
 * @category Testing
 */
export class MemoryClient extends StreamSocket {
  readonly #conn: MemoryConn;

  /** @internal */
  constructor(conn: MemoryConn) {
    super(conn);
    this.#conn = conn;
  }

  /** Resets the connection, as a client that crashes does: the handler's reads and writes fail. */
  reset(): void {
    this.#conn.reset();
    this.close();
  }
}

/** A listener whose clients come by {@linkcode MemoryListener.connect}. */
export class MemoryListener implements Deno.Listener<Deno.Conn, Deno.NetAddr> {
  readonly addr: Deno.NetAddr;
  /** Who waits to be accepted. */
  readonly #queue: MemoryConn[] = [];
  /** Who waits for clients. */
  readonly #accepts: PromiseWithResolvers<Deno.Conn>[] = [];
  #isClosed = false;

  constructor({ hostname, port }: { hostname: string; port: number }) {
    this.addr = { transport: "tcp", hostname, port: port === 0 ? nextPort() : port };
  }

  /**
   * Connects a client.
   *
   * @throws {Deno.errors.ConnectionRefused} When the listener is closed.
   */
  connect(): MemoryClient {
    const { hostname } = this.addr;
    if (this.#isClosed) {
      throw new Deno.errors.ConnectionRefused(
        "Cannot connect: the server does not listen any more",
      );
    }
    const client: TCPAddr = { transport: "tcp", hostname, port: nextPort() };
    const [ours, theirs] = MemoryConn.pair({ ...this.addr } as TCPAddr, client);
    const accept = this.#accepts.shift();
    if (accept === undefined) this.#queue.push(ours);
    else accept.resolve(asConn(ours));
    return new MemoryClient(theirs);
  }

  accept(): Promise<Deno.Conn> {
    if (this.#isClosed) return Promise.reject(new Deno.errors.BadResource("Listener is closed"));
    const conn = this.#queue.shift();
    if (conn !== undefined) return Promise.resolve(asConn(conn));
    const accept = Promise.withResolvers<Deno.Conn>();
    this.#accepts.push(accept);
    return keepAlive(accept.promise);
  }

  /** Closes it; who waits to be accepted is reset. */
  close(): void {
    if (this.#isClosed) throw new Deno.errors.BadResource("Listener is closed");
    this.#isClosed = true;
    for (const conn of this.#queue.splice(0)) conn.reset();
    for (const accept of this.#accepts.splice(0)) {
      accept.reject(new Deno.errors.BadResource("Listener is closed"));
    }
  }

  [Symbol.dispose](): void {
    if (!this.#isClosed) this.close();
  }

  async *[Symbol.asyncIterator](): AsyncIterableIterator<Deno.Conn> {
    while (!this.#isClosed) yield await this.accept();
  }

  ref(): void {}

  unref(): void {}
}

function asConn(conn: MemoryConn): Deno.Conn {
  return conn as unknown as Deno.Conn; // a StreamTransport, which is all that servers use of one
}
