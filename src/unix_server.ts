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
} from "./address.ts";
import { bindAndActivate } from "./bind.ts";
import type { DatagramRequest } from "./datagram_socket.ts";
import type { RequestHandlerLike } from "./request_handler.ts";
import type { StreamSocket } from "./stream_socket.ts";
import { TCPServer, type TCPServerOptions } from "./tcp_server.ts";
import { UDPServer, type UDPServerOptions } from "./udp_server.ts";
import { UnixDatagramConn } from "./unix_datagram_conn.ts";
import { claimSocketPath, isStillThere, type SocketFile, socketFileAt } from "./unix_path.ts";

/** Options of {@linkcode UnixStreamServer}; the backlog is Deno's, and ports there are none. */
export type UnixStreamServerOptions = Omit<
  TCPServerOptions,
  "requestQueueSize" | "allowReuseAddress" | "allowReusePort"
>;

/** Options of {@linkcode UnixDatagramServer}; ports there are none. */
export type UnixDatagramServerOptions = Omit<
  UDPServerOptions,
  "allowReuseAddress" | "allowReusePort"
>;

/**
 * A stream server on a Unix socket, one client at a time.
 *
 * A socket file that a dead server left at the path is replaced; a live server's, a regular file and a link are
 * refused and left alone. Closing removes the file, unless it is another server's by then. Needs
 * `--allow-read` and `--allow-write` for the path, and `--allow-net`.
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
 */
export class UnixStreamServer extends TCPServer<UnixStreamAddr> {
  #file: SocketFile | null = null;

  /**
   * Makes the server and, unless `bindAndActivate` is false, listens.
   *
   * @param serverAddress Where to listen.
   * @param RequestHandlerClass What serves the clients.
   * @param options Settings; each goes before the static property of the same name.
   * @throws {TypeError} When the address or the handler is none, or the path is too long.
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
    claimSocketPath(path);
    const listener = Deno.listen({ transport: "unix", path });
    this.#file = socketFileAt(path);
    return listener;
  }

  /** Closes as every server does; the file of a server that took over the path survives. */
  override async serverClose(): Promise<void> {
    const restore = this.#hideSuccessor();
    try {
      await super.serverClose();
    } finally {
      restore();
    }
  }

  /** Deno removes whatever is at the path when it lets go of the listener, so another's file steps aside. */
  #hideSuccessor(): () => void {
    const file = this.#file;
    this.#file = null;
    if (file === null || isStillThere(file) || socketFileAt(file.path) === null) return () => {};
    const aside = `${file.path}.${crypto.randomUUID().slice(0, 8)}`;
    try {
      Deno.renameSync(file.path, aside);
    } catch {
      return () => {}; // where we may not rename, Deno may not remove
    }
    return () => Deno.renameSync(aside, file.path);
  }
}

/**
 * A datagram server on a Unix socket, one datagram at a time.
 *
 * A client that wants an answer binds a path of its own. The rules for the file are those of
 * {@linkcode UnixStreamServer}. Needs `--allow-read` and `--allow-write` for the paths, `--allow-net`, and
 * `--unstable-net` or `"unstable": ["net"]` in the program's `deno.json`.
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
 */
export class UnixDatagramServer extends UDPServer<UnixDatagramAddr> {
  #file: SocketFile | null = null;

  /**
   * Makes the server and, unless `bindAndActivate` is false, binds.
   *
   * @param serverAddress Where to listen.
   * @param RequestHandlerClass What serves the datagrams.
   * @param options Settings; each goes before the static property of the same name.
   * @throws {TypeError} When the address or the handler is none, or the path is too long.
   * @throws {Deno.errors.AddrInUse} When a live server has the path, or it is not a socket.
   * @throws {Deno.errors.NotSupported} When Deno runs without `--unstable-net`.
   * @throws {Error} When the bind fails, as in {@linkcode TCPServer}.
   */
  constructor(
    serverAddress: UnixAddress,
    RequestHandlerClass: RequestHandlerLike<DatagramRequest, UnixDatagramAddr>,
    options: UnixDatagramServerOptions = {},
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
    const { path } = this.serverAddress;
    claimSocketPath(path);
    const conn = new UnixDatagramConn(path);
    this.#file = conn.file;
    return conn;
  }

  /** Closes the socket, if it is open, and removes its file, unless that is another server's by now. */
  override closeSocket(): void {
    super.closeSocket();
    const file = this.#file;
    this.#file = null;
    if (file === null || !isStillThere(file)) return;
    try {
      Deno.removeSync(file.path);
    } catch {
      // The folder has become read-only; the next server will find the file stale and replace it.
    }
  }
}
