/**
 * Servers on TCP.
 *
 * This folder has a server for each kind of socket, which serves one request at a time, the mix-in that serves several on
 * the event loop, and what Deno's own sockets cannot do: `tls_listener.ts` and `node_tls_conn.ts` for TLS servers,
 * `unix_path.ts` and `unix_datagram_conn.ts` for Unix servers. The servers are what `core/base_server.ts` is with a socket
 * of `sockets/`; the Workers of `pool/` run them, and the mix-ins of `servers/` have their handlers run elsewhere.
 *
 * @module
 */
import {
  type AddressFamily,
  addressFamily,
  checkInetAddress,
  formatAddress,
  type InetAddress,
  type ListenAddress,
  printable,
  type SocketAddress,
  type TCPAddr,
  type UnixAddress,
} from "../base/address.ts";
import { listenerError } from "../core/loop/accept_errors.ts";
import { BaseServer, type RequestHandlerLike } from "../core/base_server.ts";
import { bindAndActivate, bindError, isBound, queueLimit } from "../core/bind.ts";
import { checkBoolean, integerFrom, type ServerOptions } from "../base/options.ts";
import { defineSettings, noteBound, type Settings } from "../base/settings.ts";
import { StreamSocket } from "../sockets/stream_socket.ts";

/** Options of {@linkcode TCPServer} and what is built on it. */
export interface TCPServerOptions extends ServerOptions {
  /**
   * How many clients may wait in the system's accept queue; the system may have a lower limit of its own.
   *
   * @default {511}
   */
  requestQueueSize?: number;
  /**
   * Whether a port may be bound again right after its last owner closed it (SO_REUSEADDR). Deno always allows
   * that on Linux and macOS, so `false` is refused.
   *
   * @default {true}
   */
  allowReuseAddress?: boolean;
  /**
   * Whether several processes may listen on one port and share its clients (SO_REUSEPORT). Linux only; needs
   * `--unstable-net`.
   *
   * @default {false}
   */
  allowReusePort?: boolean;
}

const SETTINGS: Settings<Omit<TCPServerOptions, keyof ServerOptions>> = {
  requestQueueSize: { default: 511, check: integerFrom(1, 65535) },
  allowReuseAddress: { default: true, check: checkReuseAddress },
  allowReusePort: { default: false, check: checkReusePort },
};

/**
 * A TCP server that serves one client at a time, in the order of their arrival.
 *
 * Needs `--allow-net`, which may be narrowed to the address. The statics are the defaults of the instance
 * properties of the same names; set them in a subclass, give options, or set the properties between a
 * construction with `bindAndActivate: false` and `serverBind()`.
 *
 * @typeParam Addr The type of addresses; a subclass on Unix sockets has its own.
 *
 * @example Echo
 * ```ts
 * import { StreamRequestHandler, TCPServer } from "@netkit/socketserver";
 * import { assertEquals } from "@std/assert";
 *
 * class EchoHandler extends StreamRequestHandler {
 *   override async handle() {
 *     await this.wfile.write(await this.rfile.readline());
 *   }
 * }
 * await using server = new TCPServer({ hostname: "127.0.0.1", port: 0 }, EchoHandler);
 * const serving = server.serveForever();
 * using client = await Deno.connect(server.serverAddress);
 * await client.write(new TextEncoder().encode("hello\n"));
 * assertEquals(await new Response(client.readable).text(), "hello\n");
 * await server.shutdown();
 * await serving;
 * ```
 *
 * @example Settings by class, by option, by instance
 * ```ts
 * import { TCPServer } from "@netkit/socketserver";
 * import { assertEquals } from "@std/assert";
 *
 * class BusyServer extends TCPServer {
 *   static override requestQueueSize = 1024;
 * }
 * const address = { hostname: "127.0.0.1", port: 0 };
 * await using byClass = new BusyServer(address, () => {});
 * await using byOption = new BusyServer(address, () => {}, { requestQueueSize: 16 });
 * await using byInstance = new BusyServer(address, () => {}, { bindAndActivate: false });
 * byInstance.requestQueueSize = 5;
 * byInstance.serverBind();
 * byInstance.serverActivate();
 * assertEquals(
 *   [byClass.requestQueueSize, byOption.requestQueueSize, byInstance.requestQueueSize],
 *   [1024, 16, 5],
 * );
 * ```
 * @tags allow-net
 * @category Servers
 */
export class TCPServer<Addr extends SocketAddress = TCPAddr>
  extends BaseServer<StreamSocket, Addr> {
  /** The default of the instance property of this name; 511. */
  declare static requestQueueSize: number;
  /** The default of the instance property of this name; `true`. */
  declare static allowReuseAddress: boolean;
  /** The default of the instance property of this name; `false`. */
  declare static allowReusePort: boolean;

  static {
    defineSettings(this, SETTINGS, { fixedByBind: true });
  }

  /** The listener; undefined before `serverBind()`. */
  declare socket: Deno.Listener;
  /** How many clients may wait in the system's accept queue. */
  declare requestQueueSize: number;
  /** Whether a port may be bound again at once (SO_REUSEADDR); only `true` can be had. */
  declare allowReuseAddress: boolean;
  /** Whether several processes may share the port (SO_REUSEPORT). */
  declare allowReusePort: boolean;

  /**
   * Makes the server and, unless `bindAndActivate` is false, listens.
   *
   * @param serverAddress Where to listen.
   * @param RequestHandlerClass What serves the clients.
   * @param options Settings; each goes before the static property of the same name.
   * @throws {TypeError} When the address or the handler is none.
   * @throws {RangeError} When a setting is out of range.
   * @throws {Deno.errors.AddrInUse} When somebody else listens there.
   * @throws {Deno.errors.AddrNotAvailable} When this machine does not have the address.
   * @throws {Deno.errors.PermissionDenied} When the system does not allow it.
   * @throws {Deno.errors.NotCapable} When Deno does not allow it.
   */
  constructor(
    serverAddress: ListenAddress<NoInfer<Addr>>,
    RequestHandlerClass: RequestHandlerLike<StreamSocket, NoInfer<Addr>>,
    options: TCPServerOptions = {},
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
    return checkInetAddress(address as InetAddress, "tcp");
  }

  /** The family of the address; a name that is not resolved yet counts as IPv4. */
  get addressFamily(): AddressFamily {
    return addressFamily(this.serverAddress);
  }

  /** The socket type, as in the socket interface. */
  override get socketType(): "SOCK_STREAM" {
    return "SOCK_STREAM";
  }

  /** @ignore Linux lets one more wait than it is told, and an accept under way may hold another. */
  override get [queueLimit](): number {
    return this.requestQueueSize + 2;
  }

  /**
   * Listens on `serverAddress`, then sets that to the real address. Clients can connect from here on.
   *
   * @throws {Error} When that fails; the message names the address and what to do.
   */
  override serverBind(): void {
    this.checkSettings();
    try {
      this.socket = this.openListener();
    } catch (error) {
      throw bindError(this.kind, formatAddress(this.serverAddress), error);
    }
    noteBound(this);
    this.serverAddress = printable(this.socket.addr as Addr);
  }

  /** What messages call this kind of server. */
  get kind(): string {
    return "TCP server";
  }

  /**
   * Opens the listener on `serverAddress`, for `serverBind()`.
   *
   * @returns The listener.
   */
  openListener(): Deno.Listener {
    const { hostname, port } = this.inetAddress();
    return Deno.listen({
      hostname,
      port,
      tcpBacklog: this.requestQueueSize,
      reusePort: this.allowReusePort,
    });
  }

  /** The server's address, in a server that has a host and a port. */
  inetAddress(): InetAddress {
    return this.serverAddress as InetAddress;
  }

  /** @ignore */
  override get [isBound](): boolean {
    return this.socket !== undefined;
  }

  /** Closes the listener, if it is open. */
  override closeSocket(): void {
    // Unlike close(), does not throw when somebody has closed it.
    this.socket?.[Symbol.dispose]();
  }

  /**
   * Accepts the next client.
   *
   * @returns The connection and the client's address.
   */
  override async getRequest(): Promise<[StreamSocket, Addr]> {
    let conn: Deno.Conn;
    try {
      conn = await this.socket.accept();
    } catch (error) {
      throw listenerError(error);
    }
    return [new StreamSocket(conn, this.logger), printable(conn.remoteAddr as Addr)];
  }

  /**
   * Ends the write side once everything is sent, so that the client sees the end of the stream and no reset,
   * then closes the connection.
   *
   * @param request The connection.
   */
  override shutdownRequest(request: StreamSocket): void | Promise<void>;
  // Declared on its own, so that an override need not be asynchronous.
  override async shutdownRequest(request: StreamSocket): Promise<void> {
    try {
      await request.closeWrite();
    } catch {
      // The client has gone, or took nothing within the time limit.
    }
    await this.closeRequest(request);
  }

  /**
   * Closes the connection at once.
   *
   * @param request The connection.
   */
  override closeRequest(request: StreamSocket): void | Promise<void> {
    request.close();
  }
}

function checkReuseAddress(name: string, value: unknown): boolean {
  if (checkBoolean(name, value)) return true;
  throw new TypeError(`Cannot set option '${name}' to false: Deno always sets SO_REUSEADDR on TCP`);
}

function checkReusePort(name: string, value: unknown): boolean {
  if (!checkBoolean(name, value) || "listenDatagram" in Deno) return value === true;
  throw new Deno.errors.NotSupported(
    `Cannot set option '${name}': run with --unstable-net, or put "unstable": ["net"] in deno.json`,
  );
}
