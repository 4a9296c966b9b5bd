/**
 * The socket that a datagram handler answers with.
 *
 * @module
 */
import { formatAddress, type SocketAddress } from "./address.ts";
import { errorCode } from "./errors.ts";

/** What a datagram server hands to its handler: the data and the socket to answer with, as in Python. */
export type DatagramRequest = [data: Uint8Array<ArrayBuffer>, socket: DatagramSocket];

const nothing = (): void => {};

/**
 * The server's own datagram socket, seen from a handler: it sends, and cannot be closed by accident.
 *
 * @example Answer each datagram with its length
 * ```ts
 * import { type DatagramRequest, UDPServer } from "@netkit/socketserver";
 * import { assertEquals } from "@std/assert";
 *
 * await using server = new UDPServer(
 *   { hostname: "127.0.0.1", port: 0 },
 *   ([data, socket]: DatagramRequest, clientAddress) =>
 *     void socket.sendTo(Uint8Array.of(data.length), clientAddress),
 * );
 * const handled = server.handleRequest();
 * const client = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
 * await client.send(new Uint8Array(5), server.serverAddress);
 * await handled;
 * assertEquals((await client.receive())[0], Uint8Array.of(5));
 * client.close();
 * ```
 */
export class DatagramSocket {
  readonly #conn: Deno.DatagramConn;

  /**
   * Makes the socket over the server's connection, which stays the server's.
   *
   * @param conn What to send with.
   */
  constructor(conn: Deno.DatagramConn) {
    this.#conn = conn;
  }

  /** The server's address, from which the datagrams go out. */
  get localAddr(): SocketAddress {
    return this.#conn.addr as SocketAddress;
  }

  /**
   * Sends one datagram. The promise may be left un-awaited: a failure is then nobody's.
   *
   * @param data The bytes; leave them unchanged until the promise settles.
   * @param address Where to: a handler's `clientAddress`, or any other.
   * @returns How many bytes were sent.
   * @throws {TypeError} When the address is that of a Unix client that bound no path.
   * @throws {Error} When the datagram is longer than the system sends (`code` is "EMSGSIZE").
   */
  sendTo(data: Uint8Array, address: Deno.Addr): Promise<number> {
    const sent = this.#send(data, address);
    sent.catch(nothing);
    return sent;
  }

  async #send(data: Uint8Array, address: Deno.Addr): Promise<number> {
    if ("path" in address && !address.path) {
      throw new TypeError(
        "Cannot send datagram to an unnamed socket: a Unix client that wants answers binds a path",
      );
    }
    try {
      return await this.#conn.send(data, address);
    } catch (error) {
      if (errorCode(error) !== "EMSGSIZE") throw error;
      const text = `Cannot send datagram to "${formatAddress(address)}": ` +
        `${data.length} bytes are more than the system sends`;
      throw Object.assign(new Error(text, { cause: error }), { code: "EMSGSIZE" });
    }
  }
}
