/**
 * Servers on Unix sockets.
 *
 * @module
 */
import {
  checkUnixAddress,
  type InetAddress,
  type SocketAddress,
  type UnixAddress,
  type UnixDatagramAddr,
  type UnixStreamAddr,
} from "../base/address.ts";
import { bindAndActivate } from "../core/bind.ts";
import type { DatagramRequest } from "../sockets/datagram_socket.ts";
import { integerFrom, nullOr } from "../base/options.ts";
import { defineSettings, type Settings } from "../base/settings.ts";
import type { RequestHandlerLike } from "../core/base_server.ts";
import type { StreamSocket } from "../sockets/stream_socket.ts";
import { TCPServer, type TCPServerOptions } from "./tcp_server.ts";
import { UDPServer, type UDPServerOptions } from "./udp_server.ts";
import { UnixDatagramConn } from "./unix_datagram_conn.ts";
import { bindSocketFile, removeSocketFile, type SocketFile } from "./unix_path.ts";

/** Options of servers whose socket has a file. */
export interface SocketFileOptions {
  /**
   * The permissions of the socket's file, such as `0o660`; who may not write may not connect or send. `null` for
   * what the umask leaves. An abstract name has no file.
   *
   * @default {null}
   */
  socketMode?: number | null;
}

const SETTINGS: Settings<SocketFileOptions> = {
  socketMode: { default: null, check: nullOr(integerFrom(0, 0o777)) },
};

/** Options of {@linkcode UnixStreamServer}; the backlog is Deno's, and ports there are none. */
export interface UnixStreamServerOptions
  extends
    Omit<TCPServerOptions, "requestQueueSize" | "allowReuseAddress" | "allowReusePort">,
    SocketFileOptions {}

/** Options of {@linkcode UnixDatagramServer}; ports there are none. */
export interface UnixDatagramServerOptions
  extends Omit<UDPServerOptions, "allowReuseAddress" | "allowReusePort">, SocketFileOptions {}

/**
 * A stream server on a Unix socket, one client at a time.
 *
 * A socket file that a dead server left at the path is replaced; a live server's, a regular file and a link are
 * refused and left alone. Of several servers that start at once exactly one gets the path. Closing removes the file,
 * unless it is another server's by then.
 *
 * Needs `--allow-read` and `--allow-write` for the path, `PATH.netkit-lock`, which it uses while it starts, and
 * `PATH.netkit-new`, best for their folder, and `--allow-net` for `unix:PATH` and `unix:PATH.netkit-new`, which is the
 * name that the system knows the socket by. What others have put at these names is refused and left alone. With the
 * permissions for the path alone it serves as well, but two servers that start at once on a dead one's file may both
 * believe that they listen, and closing removes whatever file is at the path; so it does where the path has more than
 * 96 bytes.
 *
 * Deno 2.9 panics, and the program ends, when a client connects that has bound a path of 108 bytes, the longest there
 * is. Give those whom you do not trust no access, by `socketMode` and the permissions of the folder.
 *
 * @example Echo one line
 * ```ts
 * import { StreamRequestHandler, UnixStreamServer } from "@netkit/socketserver";
 * import { assertEquals } from "@std/assert";
 *
 * class EchoHandler extends StreamRequestHandler {
 *   override async handle() {
 *     await this.wfile.write(await this.rfile.readline());
 *   }
 * }
 * const path = `${await Deno.makeTempDir()}/echo.sock`;
 * await using server = new UnixStreamServer({ path }, EchoHandler);
 * const handled = server.handleRequest();
 * using client = await Deno.connect({ transport: "unix", path });
 * await client.write(new TextEncoder().encode("hello\n"));
 * assertEquals(await new Response(client.readable).text(), "hello\n");
 * await handled;
 * ```
 * @tags allow-net, allow-read, allow-write
 * @category Servers
 */
export class UnixStreamServer extends TCPServer<UnixStreamAddr> {
  /** The default of the instance property of this name; `null`. */
  declare static socketMode: number | null;

  static {
    defineSettings(this, SETTINGS);
  }

  /** The permissions of the socket's file; `null` for what the umask leaves. */
  declare socketMode: number | null;
  #file: SocketFile | null = null;

  /**
   * Makes the server and, unless `bindAndActivate` is false, listens.
   *
   * @param serverAddress Where to listen.
   * @param RequestHandlerClass What serves the clients.
   * @param options Settings; each goes before the static property of the same name.
   * @throws {TypeError} When the address or the handler is none, or the path is too long.
   * @throws {RangeError} When a setting is out of range.
   * @throws {Deno.errors.AddrInUse} When a live server has the path, or it is not a socket.
   * @throws {Error} When the bind fails, as in {@linkcode TCPServer}.
   */
  constructor(
    serverAddress: UnixAddress,
    RequestHandlerClass: RequestHandlerLike<StreamSocket, UnixStreamAddr>,
    options: UnixStreamServerOptions = {},
  ) {
    super(serverAddress, RequestHandlerClass, { ...options, bindAndActivate: false });
    bindAndActivate(this, options.bindAndActivate);
  }

  /**
   * Checks an address and gives it Deno's form.
   *
   * @param address What the constructor was given.
   * @returns The address as `serverAddress` has it before the bind.
   * @throws {TypeError} When it is no path, or one that the system cannot take.
   */
  static override checkAddress(address: InetAddress | UnixAddress): SocketAddress {
    return checkUnixAddress(address as UnixAddress, "unix");
  }

  /** What messages call this kind of server. */
  override get kind(): string {
    return "Unix server";
  }

  /**
   * Opens the listener on `serverAddress`, for `serverBind()`.
   *
   * @returns The listener.
   * @throws {Deno.errors.AddrInUse} When a live server has the path, or it is not a socket.
   */
  override openListener(): Deno.Listener {
    const { path } = this.serverAddress;
    const { socket, file } = bindSocketFile(path, {
      bind: (path) => Deno.listen({ transport: "unix", path }),
      mode: this.socketMode,
      removedByDeno: true,
    });
    this.#file = file;
    // The system knows it by the name that was bound, which is not the one that clients use.
    Object.defineProperty(socket, "addr", { value: { transport: "unix", path } });
    const accept = socket.accept.bind(socket);
    socket.accept = async () =>
      Object.defineProperty(await accept(), "localAddr", { value: this.serverAddress });
    return socket;
  }

  /** Removes the file, unless that is another server's by now, then closes the listener, if it is open. */
  override closeSocket(): void {
    // While the socket is open no other server takes the path for a dead one's.
    if (this.#file !== null) removeSocketFile(this.#file);
    this.#file = null;
    super.closeSocket();
  }
}

/**
 * A datagram server on a Unix socket, one datagram at a time.
 *
 * A client that wants an answer binds a path of its own. The rules for the file are those of
 * {@linkcode UnixStreamServer}, without `PATH.netkit-new`. Needs `--allow-read` and `--allow-write` for the paths,
 * `--allow-net`, and `--unstable-net` or `"unstable": ["net"]` in the program's `deno.json`.
 *
 * @example Answer in upper case
 * ```ts
 * import { DatagramRequestHandler, UnixDatagramServer } from "@netkit/socketserver";
 * import { assertEquals } from "@std/assert";
 *
 * class UpperHandler extends DatagramRequestHandler {
 *   override async handle() {
 *     await this.wfile.write(new TextDecoder().decode(this.packet).toUpperCase());
 *   }
 * }
 * const folder = await Deno.makeTempDir();
 * await using server = new UnixDatagramServer({ path: `${folder}/server.sock` }, UpperHandler);
 * const handled = server.handleRequest();
 * const client = Deno.listenDatagram({ transport: "unixpacket", path: `${folder}/client.sock` });
 * await client.send(new TextEncoder().encode("hello"), server.serverAddress);
 * await handled;
 * assertEquals(new TextDecoder().decode((await client.receive())[0]), "HELLO");
 * client.close();
 * ```
 * @tags allow-net, allow-read, allow-write, unstable
 * @category Servers
 */
export class UnixDatagramServer extends UDPServer<UnixDatagramAddr> {
  /** The default of the instance property of this name; `null`. */
  declare static socketMode: number | null;

  static {
    defineSettings(this, SETTINGS);
  }

  /** The permissions of the socket's file; `null` for what the umask leaves. */
  declare socketMode: number | null;

  /**
   * Makes the server and, unless `bindAndActivate` is false, binds.
   *
   * @param serverAddress Where to listen.
   * @param RequestHandlerClass What serves the datagrams.
   * @param options Settings; each goes before the static property of the same name.
   * @throws {TypeError} When the address or the handler is none, or the path is too long.
   * @throws {RangeError} When a setting is out of range.
   * @throws {Deno.errors.AddrInUse} When a live server has the path, or it is not a socket.
   * @throws {Deno.errors.NotSupported} When Deno runs without `--unstable-net`.
   * @throws {Error} When the bind fails, as in {@linkcode TCPServer}.
   */
  constructor(
    serverAddress: UnixAddress,
    RequestHandlerClass: RequestHandlerLike<DatagramRequest, UnixDatagramAddr>,
    options: UnixDatagramServerOptions = {},
  ) {
    super(serverAddress, RequestHandlerClass, options);
  }

  /**
   * Checks an address and gives it Deno's form.
   *
   * @param address What the constructor was given.
   * @returns The address as `serverAddress` has it before the bind.
   * @throws {TypeError} When it is no path, or one that the system cannot take.
   */
  static override checkAddress(address: InetAddress | UnixAddress): SocketAddress {
    return checkUnixAddress(address as UnixAddress, "unixpacket");
  }

  /** What messages call this kind of server. */
  override get kind(): string {
    return "Unix datagram server";
  }

  /**
   * Opens the socket on `serverAddress`, for `serverBind()`.
   *
   * @returns The socket, which can send while it receives.
   * @throws {Deno.errors.AddrInUse} When a live server has the path, or it is not a socket.
   */
  override openSocket(): Deno.DatagramConn {
    return new UnixDatagramConn(this.serverAddress.path, this.socketMode);
  }
}
