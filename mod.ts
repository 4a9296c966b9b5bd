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
 * ends the loop, `serverClose()` frees the port, `drain()` first serves the clients that wait; `await using` drains. No
 * server is ended by what a handler throws, by a client that resets its connection, or by a lack of file descriptors.
 *
 * | Python | Here | What differs, and why |
 * | --- | --- | --- |
 * | `TCPServer(("", 80), H)` | `new TCPServer({ hostname: "", port: 80 }, H)` | The family follows from the address: `"::1"` just works, `"::"` takes IPv4 as well. All times are milliseconds, and `null` is none. |
 * | `BaseServer`, `RequestHandlerClass` | the same | Abstract: a subclass brings `getRequest()` and `closeSocket()`. |
 * | `UDPServer` | `UDPServer` | Extends `BaseServer`, not `TCPServer`: its requests are of another type. |
 * | `UnixStreamServer(path, H)`, `UnixDatagramServer` | `new UnixStreamServer({ path }, H)` | A socket file that a dead server left is replaced, a live server's refused; closing removes the file. The `path` of a client that bound none is `null`. |
 * | `ThreadingMixIn`, `daemon_threads` | `ThreadingMixIn`, `daemonThreads` | Web Workers instead of threads, at most `maxThreads` at once. They share no objects: `requestContext()` gives copies and `SharedArrayBuffer`, `server.call()` calls the server. No `process_request_thread()`. |
 * | `ForkingMixIn`, `max_children`, `timeout = 300` | `ForkingMixIn`, `maxChildren`, `timeout = 300_000` | Subprocesses of Deno, which start from nothing, with no permissions but `childPermissions`. |
 * | `block_on_close` | `blockOnClose` | The same. A UDP server closes its socket after the last answer; Python loses it. |
 * | `active_children`, `collect_children()` | `activeChildren`, `collectChildren()` | Deno reaps by itself; `collectChildren({ blocking: true })` waits until none serves. |
 * | `bind_and_activate=True`, `server_bind()`, `server_activate()` | `{ bindAndActivate: true }`, `serverBind()`, `serverActivate()` | A bind that fails leaves nothing open, and its error names the address. `Deno.listen()` binds and listens in one, so the last does nothing. |
 * | `serve_forever(poll_interval=0.5)` | `serveForever({ pollInterval, signal })` | Does not poll: `shutdown()` wakes it at once, and `pollInterval` paces `serviceActions()` only. A second call while it serves throws `Deno.errors.Busy`. |
 * | `handle_request()`, `timeout` | `handleRequest()`, `timeout` | A request that comes after the time-out is kept for the next call. |
 * | `shutdown()` | `shutdown()` | Returns at once when nothing is served and does not spoil the next `serveForever()`. A handler may await it; in Python that is a deadlock. |
 * | `server_close()` | `serverClose()` | Ends a loop under way (Python's spins), and resolves when the port is free. It does not wait for a request under way and resets the clients in the queue: `drain()` serves both. |
 * | `with server:`, `__enter__()`, `__exit__()` | `await using server = …` | Leaving the block drains for up to 10 s and closes; Python closes only. |
 * | `fileno()` | – | Deno gives no descriptors. Its use there is `select()` over several servers; here several `serveForever()` run side by side. |
 * | `get_request()` | `getRequest()` | Its error is logged, and tried again after a pause of 5 ms that doubles up to 1 s; Python drops it and spins. |
 * | `process_request()`, `service_actions()`, `handle_timeout()` | the same in camelCase | Like the other hooks they may be asynchronous. |
 * | `finish_request()` | `finishRequest()` | To give handlers more arguments: `return runHandler(new MyHandler(request, address, this, more))`; with threads and forks those go by `requestContext()`, and an own one calls `super.finishRequest()`. |
 * | `shutdown_request()`, `close_request()` | the same in camelCase | Called whatever failed; when Python's `handle_error()` fails, the connection leaks and the server ends. |
 * | `verify_request()` | `verifyRequest()` | Its error goes to `handleError()`, and the client is refused; Python's ends the server and leaks the connection. |
 * | `handle_error(request, address)` | `handleError(error, request, address)` | Logs instead of printing; a client that went away is worth a debug line. An error of its own is logged, too. |
 * | `SystemExit` in a handler | `throw new ServerExit(code)` | Leaves `serveForever()` as its rejection. |
 * | `server_address`, `socket`, `address_family`, `socket_type` | the same in camelCase | An address of Deno's; a `Deno.Listener` or `Deno.DatagramConn`; read-only `"AF_INET6"`, `"SOCK_STREAM"`. |
 * | `request_queue_size = 5` | `requestQueueSize = 511` | On a Unix socket the backlog is Deno's. |
 * | `allow_reuse_address`, `allow_reuse_port` | `allowReuseAddress`, `allowReusePort` | Deno always sets the first for TCP, so `false` is refused. The second is for TCP and TLS on Linux, with `--unstable-net`. |
 * | `max_packet_size = 8192` | `maxPacketSize = 65507` | A longer datagram goes to `handleError()` as a `DatagramTooLongError`; Python cuts it silently. |
 * | `BaseRequestHandler`, `setup()`, `handle()`, `finish()` | the same | The constructor stores only; the server then awaits the three. `signal` is aborted when the server cuts the request off. |
 * | `request`, `client_address`, `server` | `request`, `clientAddress`, `server` | Addresses are Deno's. `server` is a {@linkcode ServerView}: there is no more of it in a Worker or subprocess; other handlers may write `declare readonly server: TCPServer`. |
 * | `StreamRequestHandler`, `rfile`, `wfile`, `connection` | the same | Every read and write is a promise: `await` it. Settings are fields: `override timeout = 5000`. `maxLineLength` is new; a longer line is a `LineTooLongError`. |
 * | `timeout`, `rbufsize`, `wbufsize`, `disable_nagle_algorithm` | the same in camelCase | What is left in a buffered `wfile` is sent at the end; that the client has gone is no error then. On a Unix socket Nagle is ignored, where Python fails. |
 * | `DatagramRequestHandler`, `packet`, `socket` | the same | Sends nothing when nothing was written to `wfile`; Python sends an empty datagram. |
 * | `request.setsockopt()` | `setNoDelay()`, `setKeepAlive()` | What Deno has; TCP_QUICKACK, for one, cannot be reached. |
 *
 * Not in Python: `TLSServer`, `drain()`, `stats()`, `state`, `finished`, `ref()`, `unref()`, and the
 * hook `prepareRequest()`, in which `TLSServer` does the handshake, outside of the accept loop.
 *
 * `@netkit/socketserver/testing` has what tests of a service need: servers without sockets, and handlers' errors as failures.
 *
 * ## Permissions
 *
 * | Server                   | Deno needs                                                                                    |
 * | ------------------------ | --------------------------------------------------------------------------------------------- |
 * | `TCPServer`, `TLSServer` | `--allow-net=127.0.0.1:9999` (`""` is `0.0.0.0`); the certificate is the program's to read    |
 * | `UDPServer`              | `--allow-net` and `--unstable-net`; answers need the clients' addresses, so no port alone     |
 * | `UnixStreamServer`       | `--allow-read=FOLDER --allow-write=FOLDER --allow-net=unix:PATH,unix:PATH.netkit-new`         |
 * | `UnixDatagramServer`     | the same of the clients' paths as well, so better of the folder; `--allow-net --unstable-net` |
 *
 * `PATH` is absolute here; {@linkcode UnixStreamServer} says what the other names are for.
 *
 * A threading server or a pool needs `--allow-read` of the handler's module and of the files that it
 * imports as well, a forking server `--allow-run` of Deno itself (`Deno.execPath()`). Port 0 is
 * `--allow-net=127.0.0.1:0`, but for a pool `--allow-net=127.0.0.1`. Instead of `--unstable-net`,
 * `"unstable": ["net"]` in **your** `deno.json` will do; that of a package does not count.
 * `allowReusePort` needs one of them, too. The error names what is missing. A package from
 * another host than JSR needs `--allow-import=HOST,jsr.io`.
 *
 * A subprocess may load cached modules and answer its client; all else needs `childPermissions`: imports
 * from elsewhere, `caches` (but its own, in Workers) and `localStorage` need `-A` there, datagrams to
 * others `--allow-net=…`. No permission limits time, memory or the log: for those set `requestTimeout`
 * and `childMemoryLimit`, which says how to limit what it leaves out. To have handlers run as another
 * user, make them a service of their own, with systemd's `User=` and `MemoryMax=`.
 *
 * `deno compile` embeds what Workers run, and the handler's module if the program imports it (with
 * `--bundle` neither); a forking server throws `Deno.errors.NotSupported` then. What is embedded is
 * tested, but no compiled program has been run: Deno's runtime for them was out of reach.
 *
 * ## Limits and time-outs
 *
 * | What                                        | Default              | Set by                             |
 * | ------------------------------------------- | -------------------- | ---------------------------------- |
 * | One read or write of a stream               | none                 | `timeout` of the handler or socket |
 * | A line or frame that `rfile` takes          | 65,536 bytes         | `maxLineLength`, or each call      |
 * | What one `recv()` gives                     | 65,536 bytes         | its argument, up to 256 KiB        |
 * | The buffers of `rfile` and `wfile`          | 8192 bytes and none  | `rbufsize`, `wbufsize`             |
 * | A datagram                                  | 65,507 bytes         | `maxPacketSize`                    |
 * | Clients in the queue                        | 511, or the system's | `requestQueueSize`                 |
 * | A TLS handshake                             | 10 s                 | `handshakeTimeout`                 |
 * | `handleRequest()` without a request         | none                 | `timeout` of the server            |
 * | `drain()`, also at the end of `await using` | 10 s                 | `drain({ timeout })`               |
 * | New clients of a server that drains         | 1 s                  | fixed; then the port is free       |
 * | The path of a Unix socket                   | 107 bytes            | Linux                              |
 * | Who may connect to a Unix socket            | by the umask         | `socketMode`                       |
 * | One request of a mix-in server              | none                 | `requestTimeout`                   |
 * | Requests of one client at once              | any number           | `maxConnectionsPerSource`          |
 *
 * A subclass sets its own with `static override requestQueueSize = 64`. A field, without `static`,
 * counts from when the server serves; for what the bind needs that is too late, and refused. Give
 * handlers of plain servers a `timeout`. `read()` without a size has no limit but memory.
 *
 * ## Deployment
 *
 * On SIGTERM call `drain()`: a successor can have the port at once, and requests under way get their time. Under
 * systemd set `KillMode=mixed`: a SIGTERM to the whole group ends subprocesses in the middle of their requests. A Worker
 * takes about 10 ms to start and 8 MB, a subprocess 30 ms and 32 MB; spare ones are started ahead. A Worker that never
 * awaits cannot be stopped: set `requestTimeout`, and have a supervisor start the program anew when `serveForever()`
 * rejects, which it does when such Workers have taken all places (see `maxPoisoned`).
 *
 * ## Limits of Deno 2.9.6 on Linux
 *
 * - A Unix datagram client that binds a path and reads nothing stalls the server, from its 12th answer on
 *   (where `net.unix.max_dgram_qlen` is 10), until it reads or leaves: Deno's `send()` waits and locks the
 *   socket. It can send some 23 datagrams until it waits itself. `requestTimeout` ends the request, but not
 *   the stall. Let only those write to the socket whom you trust, by `socketMode` and the folder's mode.
 * - What else concerns one class stands there: {@linkcode TLSServer} and {@linkcode PoolTLSServer} about clients
 *   that are silent, read nothing, or come early, {@linkcode UnixStreamServer} about one that makes Deno panic,
 *   {@linkcode BaseServer.unref} and {@linkcode StreamSocket.timeout} about what these do not reach.
 * - A drain resets clients that come between the last accept and the close (at 330 a second one or none, more
 *   while the machine stalls).
 * - Deno panics in many places where the system has no descriptor left. Those that a server meets are prepared for:
 *   the first server that is made has Deno load its parser of TypeScript for it, which takes 10 ms, once.
 * - Deno cannot reset a connection. A client whose answer is cut off half-way gets what had gone out
 *   (up to 4 MB), then an end like any other, or a reset where it had sent more than was read.
 * - While nobody reads standard error (a full pipe), log lines that wait take 256 KiB at most, the
 *   others are lost and counted, and the service goes on; but a program that ends by itself then waits
 *   for the reader, and one that calls `Deno.exit()`, as the command line does, does not.
 * - A Worker in a loop that never awaits cannot be stopped; after `requestTimeout` its place is free, and where it accepts
 *   by itself, 2 s later, or 5 s where a request has left that loop behind; a client that it took just then is never served.
 * - A Worker needs 20 free descriptors to start, and gets 40 where there are so many: a threading
 *   server serves from `ulimit -n 48` on, one Worker at a time, and below that says what it lacks.
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
  type ClientAddress,
  formatAddress,
  type InetAddress,
  type ListenAddress,
  type SocketAddress,
  type SocketType,
  type TCPAddr,
  type UDPAddr,
  type UnixAddress,
  type UnixDatagramAddr,
  type UnixStreamAddr,
} from "./src/base/address.ts";
export { formatBytes } from "./src/base/bytes.ts";
export { BaseServer } from "./src/core/base_server.ts";
export {
  BufferedReader,
  type BufferedReaderOptions,
  type ReadSource,
} from "./src/sockets/buffered_reader.ts";
export {
  BufferedWriter,
  type BufferedWriterOptions,
  type WriteSink,
} from "./src/sockets/buffered_writer.ts";
export {
  type ConcurrencyOptions,
  type Concurrent,
  ConcurrentMixIn,
  type Constructor,
  type MixedIn,
} from "./src/families/concurrent_mix_in.ts";
export {
  type DatagramRequest,
  DatagramSocket,
  type DatagramTransport,
} from "./src/sockets/datagram_socket.ts";
export {
  DatagramTooLongError,
  HandlerLoadError,
  IncompleteReadError,
  LineTooLongError,
  ServerExit,
  TLSHandshakeError,
  WorkerDiedError,
  type WorkerStatus,
} from "./src/base/errors.ts";
export { type Forking, ForkingMixIn, type ForkingOptions } from "./src/servers/forking_mix_in.ts";
export type { ServerSocket } from "./src/core/bind.ts";
export { formatText, type ServerLogger } from "./src/base/log.ts";
export type { DrainOptions, DrainResult, ServeOptions, ServerOptions } from "./src/base/options.ts";
export type {
  Pooled,
  PoolOptions,
  PoolTCPServerOptions,
  PoolTLSServerOptions,
} from "./src/servers/pool_server.ts";
export {
  ConcurrentTCPServer,
  ConcurrentTLSServer,
  ConcurrentUDPServer,
  ConcurrentUnixDatagramServer,
  ConcurrentUnixStreamServer,
  ForkingTCPServer,
  ForkingTLSServer,
  ForkingUDPServer,
  ForkingUnixDatagramServer,
  ForkingUnixStreamServer,
  PoolTCPServer,
  PoolTLSServer,
  ThreadingTCPServer,
  ThreadingTLSServer,
  ThreadingUDPServer,
  ThreadingUnixDatagramServer,
  ThreadingUnixStreamServer,
} from "./src/servers/ready_made.ts";
export type {
  AnyServer,
  RequestHandlerClass,
  RequestHandlerFunction,
  RequestHandlerLike,
} from "./src/core/base_server.ts";
export {
  BaseRequestHandler,
  DatagramRequestHandler,
  StreamRequestHandler,
} from "./src/core/request_handler.ts";
export { type RequestHandler, runHandler } from "./src/core/run_handler.ts";
export type { Callable, CallArguments, CallName, CallResult } from "./src/core/server_call.ts";
export type { RemoteHandlerClass, ServerView } from "./src/core/server_view.ts";
export type { ServerState, ServerStats, WorkerStats } from "./src/core/server_stats.ts";
export { StreamSocket, type StreamTransport } from "./src/sockets/stream_socket.ts";
export { TCPServer, type TCPServerOptions } from "./src/families/tcp_server.ts";
export { TLSServer, type TLSServerOptions } from "./src/families/tls_server.ts";
export {
  type Threading,
  ThreadingMixIn,
  type ThreadingOptions,
} from "./src/servers/threading_mix_in.ts";
export type { ThreadingMode } from "./src/pool/thread_loop.ts";
export { UDPServer, type UDPServerOptions } from "./src/families/udp_server.ts";
export {
  type SocketFileOptions,
  UnixDatagramServer,
  type UnixDatagramServerOptions,
  UnixStreamServer,
  type UnixStreamServerOptions,
} from "./src/families/unix_server.ts";
