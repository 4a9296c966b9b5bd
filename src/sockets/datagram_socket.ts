/**
 * The socket that a datagram handler answers with.
 *
 * @module
 */
import { formatAddress, type SocketAddress } from "../base/address.ts";
import { cannotBlock, cannotBlockYet } from "./misuse.ts";
import { errorCode, NO_ADDRESS, noteSource } from "../base/errors.ts";
import { toBytes } from "../base/bytes.ts";
import { outlive } from "../base/unawaited.ts";

/** What a datagram server hands to its handler: the data and the socket to answer with, as in Python. */
export type DatagramRequest = [data: Uint8Array<ArrayBuffer>, socket: DatagramSocket];

/** What a {@linkcode DatagramSocket} sends with: a `Deno.DatagramConn`, or anything that does what this lists. */
export interface DatagramTransport {
  /** The address that the datagrams come from. */
  readonly addr: Deno.Addr;
  /** Sends one datagram; resolves to the number of bytes. */
  send(data: Uint8Array, address: Deno.Addr): Promise<number>;
  /** Sends as `send()`, blocking the isolate; only where a handler may block. */
  sendSync?(data: Uint8Array, address: Deno.Addr): number;
}

/** What messages call a send. */
const SEND = "send datagram";

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
 * @category Sockets
 */
export class DatagramSocket {
  readonly #transport: DatagramTransport;
  /** How many sends are under way. */
  #sending = 0;

  /**
   * Makes the socket over the server's connection, which stays the server's.
   *
   * @param transport What to send with.
   */
  constructor(transport: DatagramTransport) {
    this.#transport = transport;
  }

  /** The server's address, from which the datagrams go out. */
  get localAddr(): SocketAddress {
    return this.#transport.addr as SocketAddress;
  }

  /**
   * Sends one datagram. The promise may be left un-awaited, as may what awaits it: a failure is then ignored.
   *
   * @param data The bytes, which are to stay unchanged until the promise settles, or text that goes as UTF-8.
   * @param address Where to: a handler's `clientAddress`, or any other.
   * @returns How many bytes were sent.
   * @throws {TypeError} When `data` is something else; at once, and not by the promise.
   * @throws {TypeError} When the address is that of a Unix client that bound no path (`code` is "EDESTADDRREQ").
   * @throws {Deno.errors.NotConnected} When nobody receives at the path of a Unix client any more.
   * @throws {Error} When the datagram is longer than the system sends (`code` is "EMSGSIZE").
   */
  sendTo(data: string | ArrayBufferLike | ArrayBufferView, address: Deno.Addr): Promise<number> {
    const sent = this.#send(toBytes(data, SEND), address);
    this.#sending++;
    sent.then(this.#sent, this.#sent);
    return sent;
  }

  /**
   * Sends as {@linkcode DatagramSocket.sendTo}, blocking the isolate, where a handler may: in a Web Worker or a subprocess.
   *
   * @throws {Deno.errors.NotSupported} Where nothing may block.
   * @throws {Deno.errors.Busy} When an earlier `sendTo()` is still under way.
   */
  sendToSync(data: string | ArrayBufferLike | ArrayBufferView, address: Deno.Addr): number {
    const bytes = toBytes(data, SEND);
    if (this.#transport.sendSync === undefined) {
      throw cannotBlock("sendToSync()", "await sendTo()");
    }
    if (this.#sending > 0) throw cannotBlockYet("sendToSync()", "send");
    checkNamed(address);
    try {
      return this.#transport.sendSync(bytes, address);
    } catch (error) {
      throw sendError(error, bytes, address);
    }
  }

  async #send(data: Uint8Array, address: Deno.Addr): Promise<number> {
    try {
      checkNamed(address);
      return await this.#transport.send(data, address);
    } catch (error) {
      const told = sendError(error, data, address);
      outlive(told, () => {});
      throw told;
    }
  }

  /** Also what keeps a send that nobody awaits from being an unhandled rejection. */
  readonly #sent = (): void => {
    this.#sending--;
  };
}

/** Refuses the address of a Unix client that has none. */
function checkNamed(address: Deno.Addr): void {
  if ("path" in address && !address.path) {
    const text =
      "Cannot send datagram to an unnamed socket: a Unix client that wants answers binds a path";
    throw noteSource(Object.assign(new TypeError(text), { code: NO_ADDRESS }), address);
  }
}

/** Makes what is thrown when sending failed. */
function sendError(error: unknown, data: Uint8Array, address: Deno.Addr): unknown {
  const code = errorCode(error);
  const text = `Cannot send datagram to "${formatAddress(address)}": `;
  if (code === "EMSGSIZE") {
    const reason = `${data.length} bytes are more than the system sends`;
    return Object.assign(new Error(text + reason, { cause: error }), { code });
  }
  if ("path" in address && (code === "ENOENT" || code === "ECONNREFUSED")) {
    const gone = new Deno.errors.NotConnected(`${text}nobody receives there`, { cause: error });
    return noteSource(Object.assign(gone, { code }), address);
  }
  return noteSource(error, address);
}
