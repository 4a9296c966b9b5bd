/**
 * Servers on UDP.
 *
 * @module
 */
import {
  type AddressFamily,
  addressFamily,
  checkInetAddress,
  formatAddress,
  type InetAddress,
  isOwnAddress,
  type ListenAddress,
  printable,
  type SocketAddress,
  type UDPAddr,
  type UnixAddress,
} from "../base/address.ts";
import { listenerError } from "../core/loop/accept_errors.ts";
import { BaseServer, type RequestHandlerLike } from "../core/base_server.ts";
import { bindAndActivate, bindError, isBound, queueLimit } from "../core/bind.ts";
import { type DatagramRequest, DatagramSocket } from "../sockets/datagram_socket.ts";
import { DatagramTooLongError, noteSource, OWN_ADDRESS } from "../base/errors.ts";
import { checkBoolean, integerFrom, type ServerOptions } from "../base/options.ts";
import { defineSettings, noteBound, type Settings } from "../base/settings.ts";

/** Options of {@linkcode UDPServer} and {@linkcode UnixDatagramServer}. */
export interface UDPServerOptions extends ServerOptions {
  /**
   * The longest datagram that a handler gets, in bytes; a longer one goes to `handleError()`.
   *
   * @default {65507}
   */
  maxPacketSize?: number;
  /**
   * Whether another process may bind the same port, which takes the datagrams away from this one
   * (SO_REUSEADDR).
   *
   * @default {false}
   */
  allowReuseAddress?: boolean;
  /**
   * Whether several processes may share the port (SO_REUSEPORT). Deno cannot do that for datagrams, so `true` is
   * refused.
   *
   * @default {false}
   */
  allowReusePort?: boolean;
}

const SETTINGS: Settings<Omit<UDPServerOptions, keyof ServerOptions>> = {
  maxPacketSize: { default: 65507, check: integerFrom(1, 2 ** 24) },
  allowReuseAddress: { default: false, check: checkBoolean },
  allowReusePort: { default: false, check: checkReusePort },
};

/**
 * A UDP server that serves one datagram at a time. A request is the pair of the data and the socket to answer
 * with, as in Python.
 *
 * Needs `--allow-net` for its own host and for those of the clients that it answers (their ports vary, so give
 * hosts without ports), and, as long as `Deno.listenDatagram` is unstable, `--unstable-net` or
 * `"unstable": ["net"]` in the program's `deno.json`.
 *
 * @typeParam Addr The type of addresses; a subclass on Unix sockets has its own.
 *
 * @example Answer in upper case
 * ```ts
 * import { DatagramRequestHandler, UDPServer } from "@netkit/socketserver";
 * import { assertEquals } from "@std/assert";
 *
 * class UpperHandler extends DatagramRequestHandler {
 *   override async handle() {
 *     const line = new TextDecoder().decode(await this.rfile.readline());
 *     await this.wfile.write(line.toUpperCase());
 *   }
 * }
 * await using server = new UDPServer({ hostname: "127.0.0.1", port: 0 }, UpperHandler);
 * const serving = server.serveForever();
 * const client = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
 * await client.send(new TextEncoder().encode("hello\n"), server.serverAddress);
 * assertEquals(new TextDecoder().decode((await client.receive())[0]), "HELLO\n");
 * client.close();
 * await server.shutdown();
 * await serving;
 * ```
 * @tags allow-net, unstable
 * @category Servers
 */
export class UDPServer<Addr extends SocketAddress = UDPAddr>
  extends BaseServer<DatagramRequest, Addr> {
  /** The default of the instance property of this name, in bytes; 65507. */
  declare static maxPacketSize: number;
  /** The default of the instance property of this name; `false`. */
  declare static allowReuseAddress: boolean;
  /** The default of the instance property of this name; `false`. */
  declare static allowReusePort: boolean;

  static {
    defineSettings(this, SETTINGS, { fixedByBind: true });
  }

  /** The socket; undefined before `serverBind()`. */
  declare socket: Deno.DatagramConn;
  /** The longest datagram that a handler gets, in bytes. */
  declare maxPacketSize: number;
  /** Whether another process may bind the same port (SO_REUSEADDR). */
  declare allowReuseAddress: boolean;
  /** Whether several processes may share the port (SO_REUSEPORT); only `false` can be had. */
  declare allowReusePort: boolean;
  /** One byte longer than the longest datagram, so that a longer one shows. */
  #buffer: Uint8Array<ArrayBuffer> | null = null;
  #datagramSocket: DatagramSocket | null = null;

  /**
   * Makes the server and, unless `bindAndActivate` is false, binds.
   *
   * @param serverAddress Where to listen.
   * @param RequestHandlerClass What serves the datagrams.
   * @param options Settings; each goes before the static property of the same name.
   * @throws {TypeError} When the address or the handler is none.
   * @throws {RangeError} When a setting is out of range.
   * @throws {Deno.errors.NotSupported} When Deno runs without `--unstable-net`.
   * @throws {Error} When the bind fails, as in {@linkcode TCPServer}.
   */
  constructor(
    serverAddress: ListenAddress<NoInfer<Addr>>,
    RequestHandlerClass: RequestHandlerLike<DatagramRequest, NoInfer<Addr>>,
    options: UDPServerOptions = {},
  ) {
    // The check of each class gives its own kind of address, which the checker cannot follow.
    super(new.target.checkAddress(serverAddress) as Addr, RequestHandlerClass, options);
    bindAndActivate(this, options.bindAndActivate);
  }

  /**
   * Checks an address and gives it Deno's form.
   *
   * @param address What the constructor was given.
   * @returns The address as `serverAddress` has it before the bind.
   * @throws {TypeError} When it is no address of this kind of server.
   * @throws {RangeError} When its port is out of range.
   */
  static checkAddress(address: InetAddress | UnixAddress): SocketAddress {
    return checkInetAddress(address as InetAddress, "udp");
  }

  /** The family of the address; a name that is not resolved yet counts as IPv4. */
  get addressFamily(): AddressFamily {
    return addressFamily(this.serverAddress);
  }

  /** @ignore The system's buffer has a limit in bytes. */
  override get [queueLimit](): number {
    return 1024;
  }

  /** The socket type, as in the socket interface. */
  override get socketType(): "SOCK_DGRAM" {
    return "SOCK_DGRAM";
  }

  /** What messages call this kind of server. */
  get kind(): string {
    return "UDP server";
  }

  /**
   * Binds to `serverAddress`, then sets that to the real address. Datagrams arrive from here on.
   *
   * @throws {Deno.errors.NotSupported} When Deno runs without `--unstable-net`.
   * @throws {Error} When the bind fails; the message names the address and what to do.
   */
  override serverBind(): void {
    this.checkSettings();
    const address = formatAddress(this.serverAddress);
    if (!("listenDatagram" in Deno)) {
      throw new Deno.errors.NotSupported(
        `Cannot bind ${this.kind} to "${address}": run with --unstable-net, or put "unstable": ["net"] in deno.json`,
      );
    }
    try {
      this.socket = this.openSocket();
    } catch (error) {
      throw bindError(this.kind, address, error);
    }
    noteBound(this);
    this.#buffer = new Uint8Array(this.maxPacketSize + 1);
    this.#datagramSocket = new DatagramSocket(this.socket);
    this.serverAddress = printable(this.socket.addr as Addr);
  }

  /**
   * Opens the socket on `serverAddress`, for `serverBind()`.
   *
   * @returns The socket.
   */
  openSocket(): Deno.DatagramConn {
    const { hostname, port } = this.serverAddress as InetAddress;
    return Deno.listenDatagram({
      transport: "udp",
      hostname,
      port,
      reuseAddress: this.allowReuseAddress,
    });
  }

  /** @ignore */
  override get [isBound](): boolean {
    return this.socket !== undefined;
  }

  /** Closes the socket, if it is open. */
  override closeSocket(): void {
    try {
      this.socket?.close();
    } catch (error) {
      if (!(error instanceof Deno.errors.BadResource)) throw error;
      // Somebody has closed it.
    }
  }

  /**
   * Receives the next datagram. One that comes from the server's own address is dropped, and counted in `stats()` as the
   * accept error "OWN_ADDRESS": a server that answered itself would do so for ever. On all interfaces it needs
   * `--allow-net` for this machine's other addresses to know them; those of the loopback it always knows.
   *
   * @returns The data with the socket to answer with, and the client's address.
   */
  override async getRequest(): Promise<[DatagramRequest, Addr]> {
    // A second call while the first waits, by a hook, gets one of its own.
    const buffer = this.#buffer ?? new Uint8Array(this.maxPacketSize + 1);
    this.#buffer = null;
    let received: Uint8Array<ArrayBuffer>;
    let address: Deno.Addr;
    try {
      [received, address] = await this.socket.receive(buffer);
    } catch (error) {
      throw listenerError(error);
    }
    this.#buffer = buffer;
    if (isOwnAddress(this.serverAddress, address as SocketAddress)) {
      const message = "a datagram came from the server's own address and is dropped";
      throw Object.assign(new Error(message), { code: OWN_ADDRESS });
    }
    // The buffer is for the next datagram; the copy is the handler's to keep.
    return [[received.slice(), this.#datagramSocket!], printable(address as Addr)];
  }

  /**
   * Refuses a datagram that is longer than `maxPacketSize`.
   *
   * @param request The datagram.
   * @param _clientAddress Who sent it.
   * @throws {DatagramTooLongError} When it is too long.
   */
  override prepareRequest(request: DatagramRequest, _clientAddress: Addr): void | Promise<void> {
    if (request[0].length > this.maxPacketSize) {
      throw noteSource(new DatagramTooLongError(this.maxPacketSize), request[0]);
    }
  }
}

function checkReusePort(name: string, value: unknown): boolean {
  if (!checkBoolean(name, value)) return false;
  throw new TypeError(
    `Cannot set option '${name}' to true: Deno has no SO_REUSEPORT for datagrams`,
  );
}
