/**
 * The ready-made servers that serve many requests at a time on the event loop.
 *
 * Each class is {@linkcode ConcurrentMixIn} over the plain server, with nothing of its own. JSR wants the type of
 * what a class extends written down, which is why the bases have names.
 *
 * @module
 */
import { type Concurrent, ConcurrentMixIn } from "./concurrent_mix_in.ts";
import { TCPServer } from "./tcp_server.ts";
import { TLSServer } from "./tls_server.ts";
import { UDPServer } from "./udp_server.ts";
import { UnixDatagramServer, UnixStreamServer } from "./unix_server.ts";

/** What {@linkcode ConcurrentTCPServer} extends. */
export const ConcurrentTCPServerBase: Concurrent<typeof TCPServer> = ConcurrentMixIn(TCPServer);

/**
 * {@linkcode TCPServer} that serves many clients at a time on the event loop.
 *
 * @example Greet
 * ```ts
 * import { ConcurrentTCPServer, type StreamSocket } from "@netkit/socketserver";
 * import { assertEquals } from "@std/assert";
 *
 * await using server = new ConcurrentTCPServer(
 *   { hostname: "127.0.0.1", port: 0 },
 *   (socket: StreamSocket) => socket.sendAll("hello"),
 *   { maxConnections: 100, requestTimeout: 60_000 },
 * );
 * const serving = server.serveForever();
 * using client = await Deno.connect(server.serverAddress);
 * assertEquals(await new Response(client.readable).text(), "hello");
 * await server.shutdown();
 * await serving;
 * ```
 */
export class ConcurrentTCPServer extends ConcurrentTCPServerBase {}

/** What {@linkcode ConcurrentTLSServer} extends. */
export const ConcurrentTLSServerBase: Concurrent<typeof TLSServer> = ConcurrentMixIn(TLSServer);

/**
 * {@linkcode TLSServer} that serves many clients at a time on the event loop, their handshakes included.
 *
 * @example Make one
 * ```ts
 * import { ConcurrentTLSServer, type StreamSocket } from "@netkit/socketserver";
 *
 * export async function serve(cert: string, key: string): Promise<void> {
 *   await using server = new ConcurrentTLSServer(
 *     { hostname: "", port: 8443 },
 *     (socket: StreamSocket) => socket.sendAll("hello"),
 *     { cert, key, maxConnectionsPerSource: 20 },
 *   );
 *   await server.serveForever();
 * }
 * ```
 */
export class ConcurrentTLSServer extends ConcurrentTLSServerBase {}

/** What {@linkcode ConcurrentUDPServer} extends. */
export const ConcurrentUDPServerBase: Concurrent<typeof UDPServer> = ConcurrentMixIn(UDPServer);

/**
 * {@linkcode UDPServer} that serves many datagrams at a time on the event loop.
 *
 * @example Answer later
 * ```ts
 * import { ConcurrentUDPServer, type DatagramRequest } from "@netkit/socketserver";
 * import { assertEquals } from "@std/assert";
 *
 * await using server = new ConcurrentUDPServer(
 *   { hostname: "127.0.0.1", port: 0 },
 *   async ([data, socket]: DatagramRequest, clientAddress) => {
 *     await new Promise((resolve) => setTimeout(resolve, 1)); // the next datagram does not wait
 *     await socket.sendTo(data, clientAddress);
 *   },
 * );
 * const serving = server.serveForever();
 * const client = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
 * await client.send(Uint8Array.of(7), server.serverAddress);
 * assertEquals((await client.receive())[0], Uint8Array.of(7));
 * client.close();
 * await server.shutdown();
 * await serving;
 * ```
 */
export class ConcurrentUDPServer extends ConcurrentUDPServerBase {}

/** What {@linkcode ConcurrentUnixStreamServer} extends. */
export const ConcurrentUnixStreamServerBase: Concurrent<typeof UnixStreamServer> = ConcurrentMixIn(
  UnixStreamServer,
);

/**
 * {@linkcode UnixStreamServer} that serves many clients at a time on the event loop.
 *
 * @example Greet
 * ```ts
 * import { ConcurrentUnixStreamServer, type StreamSocket } from "@netkit/socketserver";
 * import { assertEquals } from "@std/assert";
 *
 * const path = `${await Deno.makeTempDir()}/greet.sock`;
 * await using server = new ConcurrentUnixStreamServer(
 *   { path },
 *   (socket: StreamSocket) => socket.sendAll("hello"),
 * );
 * const serving = server.serveForever();
 * using client = await Deno.connect({ transport: "unix", path });
 * assertEquals(await new Response(client.readable).text(), "hello");
 * await server.shutdown();
 * await serving;
 * ```
 */
export class ConcurrentUnixStreamServer extends ConcurrentUnixStreamServerBase {}

/** What {@linkcode ConcurrentUnixDatagramServer} extends. */
export const ConcurrentUnixDatagramServerBase: Concurrent<typeof UnixDatagramServer> =
  ConcurrentMixIn(UnixDatagramServer);

/**
 * {@linkcode UnixDatagramServer} that serves many datagrams at a time on the event loop.
 *
 * @example Count bytes
 * ```ts
 * import { ConcurrentUnixDatagramServer, type DatagramRequest } from "@netkit/socketserver";
 * import { assertEquals } from "@std/assert";
 *
 * const folder = await Deno.makeTempDir();
 * await using server = new ConcurrentUnixDatagramServer(
 *   { path: `${folder}/server.sock` },
 *   ([data, socket]: DatagramRequest, clientAddress) =>
 *     socket.sendTo(Uint8Array.of(data.length), clientAddress),
 * );
 * const serving = server.serveForever();
 * const client = Deno.listenDatagram({ transport: "unixpacket", path: `${folder}/client.sock` });
 * await client.send(new Uint8Array(5), server.serverAddress);
 * assertEquals((await client.receive())[0], Uint8Array.of(5));
 * client.close();
 * await server.shutdown();
 * await serving;
 * ```
 */
export class ConcurrentUnixDatagramServer extends ConcurrentUnixDatagramServerBase {}
