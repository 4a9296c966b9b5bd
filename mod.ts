/**
 * Python's `socketserver` for TypeScript on Deno.
 *
 * A server class says which socket, a request handler class what the service does:
 *
 * | family        | one request at a time          | many at a time: on the event loop, in Web Workers, in subprocesses |
 * | ------------- | ------------------------------ | ------------------------------------------------------------------ |
 * | TCP           | {@linkcode TCPServer}          | {@linkcode ConcurrentTCPServer}, {@linkcode ThreadingTCPServer} or {@linkcode PoolTCPServer}, {@linkcode ForkingTCPServer} |
 * | TCP with TLS  | {@linkcode TLSServer}          | {@linkcode ConcurrentTLSServer}, {@linkcode ThreadingTLSServer} or {@linkcode PoolTLSServer}, {@linkcode ForkingTLSServer} |
 * | UDP           | {@linkcode UDPServer}          | {@linkcode ConcurrentUDPServer}, {@linkcode ThreadingUDPServer}, {@linkcode ForkingUDPServer} |
 * | Unix stream   | {@linkcode UnixStreamServer}   | {@linkcode ConcurrentUnixStreamServer}, {@linkcode ThreadingUnixStreamServer}, {@linkcode ForkingUnixStreamServer} |
 * | Unix datagram | {@linkcode UnixDatagramServer} | {@linkcode ConcurrentUnixDatagramServer}, {@linkcode ThreadingUnixDatagramServer}, {@linkcode ForkingUnixDatagramServer} |
 *
 * ```text
 * BaseServer                         BaseRequestHandler
 *  ├─ TCPServer                       ├─ StreamRequestHandler    rfile, wfile over a StreamSocket
 *  │   ├─ TLSServer                   └─ DatagramRequestHandler  packet, rfile, wfile, a DatagramSocket
 *  │   └─ UnixStreamServer
 *  └─ UDPServer                      ConcurrentMixIn(S)  many requests at a time on the event loop
 *      └─ UnixDatagramServer         ThreadingMixIn(S)   each request in a Web Worker while it runs
 *                                    ForkingMixIn(S)     each request in a subprocess
 *                                    PoolTCPServer, PoolTLSServer   several Workers, one accept queue
 * ```
 *
 * A handler object lives for one request: the server awaits its `setup()`, `handle()` and `finish()`. A plain
 * function `(request, clientAddress, server)` is a handler, too.
 *
 * A server listens from its construction on and serves in `serveForever()` or `handleRequest()`. `shutdown()`
 * ends the loop, `serverClose()` frees the port, `drain()` first serves who waits; `await using` drains. What a
 * handler throws, a client that resets its connection and a lack of file descriptors end no server.
 *
 * | Python                                    | here                                                     |
 * | ----------------------------------------- | -------------------------------------------------------- |
 * | `serve_forever(poll_interval)`            | `serveForever({ pollInterval, signal })`, does not poll  |
 * | `handle_request()`, `shutdown()`          | `handleRequest()`, `shutdown()`                          |
 * | `server_close()`, `with server:`          | `serverClose()`, `await using server`                    |
 * | `server_bind()`, `server_activate()`      | `serverBind()`, `serverActivate()`                       |
 * | `get_request()`, `verify_request()`       | `getRequest()`, `verifyRequest()`                        |
 * | `process_request()`, `finish_request()`   | `processRequest()`, `finishRequest()`                    |
 * | `shutdown_request()`, `close_request()`   | `shutdownRequest()`, `closeRequest()`                    |
 * | `handle_error(request, address)`          | `handleError(error, request, address)`                   |
 * | `handle_timeout()`, `service_actions()`   | `handleTimeout()`, `serviceActions()`                    |
 * | `server_address`, `socket`                | `serverAddress`, `socket`                                |
 * | `address_family`, `socket_type`           | `addressFamily`, `socketType`, read-only                 |
 * | `request_queue_size`, `max_packet_size`   | `requestQueueSize`, `maxPacketSize`                      |
 * | `allow_reuse_address`, `allow_reuse_port` | `allowReuseAddress`, `allowReusePort`                    |
 * | `timeout` in seconds                      | `timeout` in milliseconds                                |
 * | `rbufsize`, `disable_nagle_algorithm`     | `rbufsize`, `disableNagleAlgorithm`                      |
 * | `ThreadingMixIn`, `ForkingMixIn`          | {@linkcode ThreadingMixIn}, {@linkcode ForkingMixIn}     |
 * | `daemon_threads`, `max_children`          | `daemonThreads`, `maxChildren`                           |
 * | `block_on_close`, `active_children`       | `blockOnClose`, `activeChildren`                         |
 * | `SystemExit`                              | {@linkcode ServerExit}                                   |
 * | `fileno()`                                | none: Deno gives no descriptors                          |
 *
 * Permissions: `--allow-net`, which may be narrowed to the address; for Unix sockets `--allow-read` and
 * `--allow-write` of the path as well. Datagram servers and `allowReusePort` need `--unstable-net`, or
 * `"unstable": ["net"]` in the `deno.json` of the program. Threading servers and pools need `--allow-read` of the
 * handler's modules, forking servers `--allow-run` of Deno.
 *
 * @example Echo
 * ```ts
 * import { StreamRequestHandler, TCPServer } from "@netkit/socketserver";
 * import { assertEquals } from "@std/assert";
 *
 * class EchoHandler extends StreamRequestHandler {
 *   override timeout = 5000; // milliseconds that a client may be silent
 *   override async handle() {
 *     for await (const line of this.rfile) await this.wfile.write(line);
 *   }
 * }
 * await using server = new TCPServer({ hostname: "127.0.0.1", port: 0 }, EchoHandler);
 * const handled = server.handleRequest(); // a server would call serveForever()
 * using client = await Deno.connect(server.serverAddress);
 * await client.write(new TextEncoder().encode("hello\n"));
 * await client.closeWrite();
 * assertEquals(await new Response(client.readable).text(), "hello\n");
 * await handled;
 * ```
 *
 * @module
 */
export {
  type AddressFamily,
  formatAddress,
  type InetAddress,
  type ListenAddress,
  type SocketAddress,
  type TCPAddr,
  type UDPAddr,
  type UnixAddress,
  type UnixDatagramAddr,
  type UnixStreamAddr,
} from "./src/address.ts";
export { BaseServer } from "./src/base_server.ts";
export {
  BufferedReader,
  type BufferedReaderOptions,
  type ReadSource,
} from "./src/buffered_reader.ts";
export {
  BufferedWriter,
  type BufferedWriterOptions,
  type WriteSink,
} from "./src/buffered_writer.ts";
export {
  type Concurrent,
  type ConcurrentMembers,
  ConcurrentMixIn,
  type ConcurrentStatics,
  type Constructor,
} from "./src/concurrent_mix_in.ts";
export {
  ConcurrentTCPServer,
  ConcurrentTCPServerBase,
  ConcurrentTLSServer,
  ConcurrentTLSServerBase,
  ConcurrentUDPServer,
  ConcurrentUDPServerBase,
  ConcurrentUnixDatagramServer,
  ConcurrentUnixDatagramServerBase,
  ConcurrentUnixStreamServer,
  ConcurrentUnixStreamServerBase,
} from "./src/concurrent_servers.ts";
export {
  type DatagramRequest,
  DatagramSocket,
  type DatagramTransport,
} from "./src/datagram_socket.ts";
export {
  DatagramTooLongError,
  HandlerLoadError,
  IncompleteReadError,
  LineTooLongError,
  ServerExit,
  TLSHandshakeError,
  UnitDiedError,
  type UnitStatus,
} from "./src/errors.ts";
export {
  type Forking,
  type ForkingMembers,
  ForkingMixIn,
  type ForkingStatics,
} from "./src/forking_mix_in.ts";
export {
  ForkingTCPServer,
  ForkingTCPServerBase,
  ForkingTLSServer,
  ForkingTLSServerBase,
  ForkingUDPServer,
  ForkingUDPServerBase,
  ForkingUnixDatagramServer,
  ForkingUnixDatagramServerBase,
  ForkingUnixStreamServer,
  ForkingUnixStreamServerBase,
} from "./src/forking_servers.ts";
export type { ServerSocket } from "./src/life_cycle.ts";
export type { ServerLogger } from "./src/log.ts";
export type {
  ConcurrencyOptions,
  DrainOptions,
  DrainResult,
  ForkingOptions,
  ServeOptions,
  ServerOptions,
  ThreadingOptions,
} from "./src/options.ts";
export {
  type Pooled,
  type PoolMembers,
  type PoolOptions,
  type PoolStatics,
  PoolTCPServer,
  PoolTCPServerBase,
  type PoolTCPServerOptions,
  PoolTLSServer,
  PoolTLSServerBase,
  type PoolTLSServerOptions,
} from "./src/pool_server.ts";
export {
  type AnyServer,
  BaseRequestHandler,
  DatagramRequestHandler,
  type RequestHandler,
  type RequestHandlerClass,
  type RequestHandlerFunction,
  type RequestHandlerLike,
  runHandler,
  StreamRequestHandler,
} from "./src/request_handler.ts";
export type { ServerState, ServerStats, UnitStats } from "./src/request_table.ts";
export { StreamSocket, type StreamTransport } from "./src/stream_socket.ts";
export { TCPServer, type TCPServerOptions } from "./src/tcp_server.ts";
export { TLSServer, type TLSServerOptions } from "./src/tls_server.ts";
export {
  type Threading,
  type ThreadingMembers,
  ThreadingMixIn,
  type ThreadingStatics,
} from "./src/threading_mix_in.ts";
export {
  ThreadingTCPServer,
  ThreadingTCPServerBase,
  ThreadingTLSServer,
  ThreadingTLSServerBase,
  ThreadingUDPServer,
  ThreadingUDPServerBase,
  ThreadingUnixDatagramServer,
  ThreadingUnixDatagramServerBase,
  ThreadingUnixStreamServer,
  ThreadingUnixStreamServerBase,
} from "./src/threading_servers.ts";
export { UDPServer, type UDPServerOptions } from "./src/udp_server.ts";
export {
  UnixDatagramServer,
  type UnixDatagramServerOptions,
  UnixStreamServer,
  type UnixStreamServerOptions,
} from "./src/unix_server.ts";
