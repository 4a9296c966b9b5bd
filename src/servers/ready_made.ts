/**
 * The ready-made servers: each family in each mode.
 *
 * This folder has the classes that run handlers elsewhere: the mix-ins for Workers and subprocesses, and the pool. What
 * they do is in `workers/` and `pool/`; nothing but `mod.ts` and the command line uses them.
 *
 * Each is what a mix-in makes of the plain server, with nothing of its own, so that `instanceof` knows the plain one and a
 * subclass sets what it likes. JSR wants the type of each written down, which is why they are constants and types of
 * one name, and no classes.
 *
 * @module
 */
import { type Concurrent, ConcurrentMixIn } from "../families/concurrent_mix_in.ts";
import { type Forking, ForkingMixIn } from "./forking_mix_in.ts";
import { type Pooled, poolOf } from "./pool_server.ts";
import { TCPServer } from "../families/tcp_server.ts";
import { type Threading, ThreadingMixIn } from "./threading_mix_in.ts";
import { TLSServer } from "../families/tls_server.ts";
import { UDPServer } from "../families/udp_server.ts";
import { UnixDatagramServer, UnixStreamServer } from "../families/unix_server.ts";

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
 * @category Servers
 */
export const ConcurrentTCPServer: Concurrent<typeof TCPServer> = ConcurrentMixIn(TCPServer);
/** A server of {@linkcode ConcurrentTCPServer}. */
export type ConcurrentTCPServer = InstanceType<typeof ConcurrentTCPServer>;

/**
 * {@linkcode TLSServer} that serves many clients at a time on the event loop, their handshakes included.
 * @category Servers
 */
export const ConcurrentTLSServer: Concurrent<typeof TLSServer> = ConcurrentMixIn(TLSServer);
/** A server of {@linkcode ConcurrentTLSServer}. */
export type ConcurrentTLSServer = InstanceType<typeof ConcurrentTLSServer>;

/**
 * {@linkcode UDPServer} that serves many datagrams at a time on the event loop.
 * @category Servers
 */
export const ConcurrentUDPServer: Concurrent<typeof UDPServer> = ConcurrentMixIn(UDPServer);
/** A server of {@linkcode ConcurrentUDPServer}. */
export type ConcurrentUDPServer = InstanceType<typeof ConcurrentUDPServer>;

/**
 * {@linkcode UnixStreamServer} that serves many clients at a time on the event loop.
 * @category Servers
 */
export const ConcurrentUnixStreamServer: Concurrent<typeof UnixStreamServer> = ConcurrentMixIn(
  UnixStreamServer,
);
/** A server of {@linkcode ConcurrentUnixStreamServer}. */
export type ConcurrentUnixStreamServer = InstanceType<typeof ConcurrentUnixStreamServer>;

/**
 * {@linkcode UnixDatagramServer} that serves many datagrams at a time on the event loop.
 * @category Servers
 */
export const ConcurrentUnixDatagramServer: Concurrent<typeof UnixDatagramServer> = ConcurrentMixIn(
  UnixDatagramServer,
);
/** A server of {@linkcode ConcurrentUnixDatagramServer}. */
export type ConcurrentUnixDatagramServer = InstanceType<typeof ConcurrentUnixDatagramServer>;

/**
 * {@linkcode TCPServer} that runs each request in a Web Worker.
 *
 * @example Answer in upper case
 * ```ts
 * import { StreamRequestHandler, ThreadingTCPServer } from "@netkit/socketserver";
 *
 * export class UpperHandler extends StreamRequestHandler {
 *   static override readonly moduleUrl = import.meta.url;
 *   override async handle() {
 *     for await (const line of this.rfile.lines()) {
 *       await this.wfile.write(`${line.toUpperCase()}\n`);
 *     }
 *   }
 * }
 * if (import.meta.main) {
 *   await using server = new ThreadingTCPServer({ hostname: "127.0.0.1", port: 0 }, UpperHandler, { maxThreads: 8 });
 *   await server.serveForever();
 * }
 * ```
 * @category Servers
 */
export const ThreadingTCPServer: Threading<typeof TCPServer> = ThreadingMixIn(TCPServer);
/** A server of {@linkcode ThreadingTCPServer}. */
export type ThreadingTCPServer = InstanceType<typeof ThreadingTCPServer>;

/**
 * {@linkcode TLSServer} that runs each request in a Web Worker.
 * @category Servers
 */
export const ThreadingTLSServer: Threading<typeof TLSServer> = ThreadingMixIn(TLSServer);
/** A server of {@linkcode ThreadingTLSServer}. */
export type ThreadingTLSServer = InstanceType<typeof ThreadingTLSServer>;

/**
 * {@linkcode UDPServer} that runs each request in a Web Worker.
 * @category Servers
 */
export const ThreadingUDPServer: Threading<typeof UDPServer> = ThreadingMixIn(UDPServer);
/** A server of {@linkcode ThreadingUDPServer}. */
export type ThreadingUDPServer = InstanceType<typeof ThreadingUDPServer>;

/**
 * {@linkcode UnixStreamServer} that runs each request in a Web Worker.
 * @category Servers
 */
export const ThreadingUnixStreamServer: Threading<typeof UnixStreamServer> = ThreadingMixIn(
  UnixStreamServer,
);
/** A server of {@linkcode ThreadingUnixStreamServer}. */
export type ThreadingUnixStreamServer = InstanceType<typeof ThreadingUnixStreamServer>;

/**
 * {@linkcode UnixDatagramServer} that runs each request in a Web Worker.
 * @category Servers
 */
export const ThreadingUnixDatagramServer: Threading<typeof UnixDatagramServer> = ThreadingMixIn(
  UnixDatagramServer,
);
/** A server of {@linkcode ThreadingUnixDatagramServer}. */
export type ThreadingUnixDatagramServer = InstanceType<typeof ThreadingUnixDatagramServer>;

/**
 * {@linkcode TCPServer} that runs each request in a subprocess.
 *
 * @example Answer in upper case
 * ```ts
 * import { ForkingTCPServer, StreamRequestHandler } from "@netkit/socketserver";
 *
 * export class UpperHandler extends StreamRequestHandler {
 *   static override readonly moduleUrl = import.meta.url;
 *   override async handle() {
 *     for await (const line of this.rfile.lines()) {
 *       await this.wfile.write(`${line.toUpperCase()}\n`);
 *     }
 *   }
 * }
 * if (import.meta.main) {
 *   await using server = new ForkingTCPServer({ hostname: "127.0.0.1", port: 0 }, UpperHandler, { maxChildren: 8 });
 *   await server.serveForever();
 * }
 * ```
 * @category Servers
 */
export const ForkingTCPServer: Forking<typeof TCPServer> = ForkingMixIn(TCPServer);
/** A server of {@linkcode ForkingTCPServer}. */
export type ForkingTCPServer = InstanceType<typeof ForkingTCPServer>;

/**
 * {@linkcode TLSServer} that runs each request in a subprocess.
 * @category Servers
 */
export const ForkingTLSServer: Forking<typeof TLSServer> = ForkingMixIn(TLSServer);
/** A server of {@linkcode ForkingTLSServer}. */
export type ForkingTLSServer = InstanceType<typeof ForkingTLSServer>;

/**
 * {@linkcode UDPServer} that runs each request in a subprocess.
 * @category Servers
 */
export const ForkingUDPServer: Forking<typeof UDPServer> = ForkingMixIn(UDPServer);
/** A server of {@linkcode ForkingUDPServer}. */
export type ForkingUDPServer = InstanceType<typeof ForkingUDPServer>;

/**
 * {@linkcode UnixStreamServer} that runs each request in a subprocess.
 * @category Servers
 */
export const ForkingUnixStreamServer: Forking<typeof UnixStreamServer> = ForkingMixIn(
  UnixStreamServer,
);
/** A server of {@linkcode ForkingUnixStreamServer}. */
export type ForkingUnixStreamServer = InstanceType<typeof ForkingUnixStreamServer>;

/**
 * {@linkcode UnixDatagramServer} that runs each request in a subprocess.
 * @category Servers
 */
export const ForkingUnixDatagramServer: Forking<typeof UnixDatagramServer> = ForkingMixIn(
  UnixDatagramServer,
);
/** A server of {@linkcode ForkingUnixDatagramServer}. */
export type ForkingUnixDatagramServer = InstanceType<typeof ForkingUnixDatagramServer>;

/**
 * A TCP server of pre-allocated Workers, each of which takes clients from one accept queue and serves them by
 * itself: what a machine with many cores runs. No byte passes through the main isolate.
 *
 * Without options there is one Worker for each core, and each serves many clients at once on its event loop, so that
 * clients who are silent hold up nobody. With `maxConnectionsPerWorker: 1` each serves one after the other, as in
 * Python's recipe, and a handler may compute for as long as it likes, while there is another Worker.
 *
 * The handler is loaded in each Worker from its own module, so its class must be exported and say where:
 * `static override readonly moduleUrl = import.meta.url`. What a module keeps in a variable is each Worker's own.
 * `requestContext()` is called when `serveForever()` is, and handlers find its value as `server.context` (they see a
 * {@linkcode ServerView}).
 * `verifyRequest()` and `handleError()` of a subclass are called in the main isolate, at the price of a message each;
 * the connection they get has addresses, and no data. The other steps of a request cannot be overridden.
 *
 * The address is taken from construction on, and clients wait in its queue until `serveForever()`. Port 0 needs
 * `--allow-net` for more than that port. A Worker that dies takes its clients with it, and is replaced after
 * a pause of 5 ms, which doubles up to 1 s; when three starts in a row fail, `serveForever()` rejects with the
 * first error. A Worker keeps the program alive until the server is closed, after `shutdown()` too; `ref()` and
 * `unref()` do nothing. In `stats()`, which may be a moment late, `peak` is the sum of the Workers' peaks.
 *
 * The queue is shared by an option of `Deno.listen()` that `deno serve --parallel` uses. Where a version of Deno has
 * it no more, each Worker has a queue of its own, for which Linux and `--unstable-net` are needed (SO_REUSEPORT); then
 * clients who came before the first Worker listened, or wait for one that dies, are reset.
 *
 * @example Sixteen Workers, one client at a time each
 * ```ts
 * import { PoolTCPServer, StreamRequestHandler } from "@netkit/socketserver";
 *
 * export class EchoHandler extends StreamRequestHandler {
 *   static override readonly moduleUrl = import.meta.url;
 *   override async handle() {
 *     for await (const line of this.rfile) await this.wfile.write(line);
 *   }
 * }
 * if (import.meta.main) {
 *   const address = { hostname: "", port: 20000 };
 *   const options = { workers: 16, maxConnectionsPerWorker: 1 };
 *   await using server = new PoolTCPServer(address, EchoHandler, options);
 *   await server.serveForever();
 * }
 * ```
 * @tags allow-net, allow-read
 * @category Servers
 */
export const PoolTCPServer: Pooled<typeof TCPServer> = poolOf(TCPServer);
/** A server of {@linkcode PoolTCPServer}. */
export type PoolTCPServer = InstanceType<typeof PoolTCPServer>;

/**
 * {@linkcode PoolTCPServer} that speaks TLS; the handshakes are done in the Workers, too.
 *
 * `Deno.listenTls()` takes no part in a shared queue, so that each Worker has a queue of its own, as described there: it
 * needs Linux and `--unstable-net`, and clients who come before the first Worker listens are reset.
 *
 * @tags allow-net, allow-read, unstable
 * @category Servers
 */
export const PoolTLSServer: Pooled<typeof TLSServer> = poolOf(TLSServer);
/** A server of {@linkcode PoolTLSServer}. */
export type PoolTLSServer = InstanceType<typeof PoolTLSServer>;
