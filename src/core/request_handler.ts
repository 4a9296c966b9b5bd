/**
 * Request handlers: what a service does with one request.
 *
 * @module
 */
import type { ClientAddress, SocketAddress } from "../base/address.ts";
import type { AnyServer } from "./base_server.ts";
import { checkRunsHere, type RequestHandler } from "./run_handler.ts";
import type { ServerView } from "./server_view.ts";
import { BufferedReader } from "../sockets/buffered_reader.ts";
import { BufferedWriter } from "../sockets/buffered_writer.ts";
import type { DatagramRequest, DatagramSocket } from "../sockets/datagram_socket.ts";
import { isPeerGone } from "../base/errors.ts";
import type { StreamSocket } from "../sockets/stream_socket.ts";

/**
 * The base of all handlers. The server makes one object for each request, then calls `setup()`, `handle()`
 * and `finish()`, and awaits each.
 *
 * For you to override: `handle()`, and `setup()` and `finish()` where the base has something to do (call
 * `super`). `finish()` is skipped only when `setup()` failed. A subclass that needs its server's type writes
 * `declare readonly server: ServerView<MyServer>;`, or `MyServer` itself where it never runs in a Worker or a subprocess.
 *
 * @typeParam Request What is handled: a {@linkcode StreamSocket}, or a {@linkcode DatagramRequest}.
 * @typeParam Addr The type of the client's address; without it the handler fits every family.
 *
 * @example Answer in upper case
 * ```ts
 * import { BaseRequestHandler, TCPServer } from "@netkit/socketserver";
 * import { assertEquals } from "@std/assert";
 *
 * class UpperHandler extends BaseRequestHandler {
 *   override async handle() {
 *     const data = await this.request.recv(1024);
 *     await this.request.sendAll(new TextDecoder().decode(data).toUpperCase());
 *   }
 * }
 * await using server = new TCPServer({ hostname: "127.0.0.1", port: 0 }, UpperHandler);
 * const handled = server.handleRequest();
 * using client = await Deno.connect(server.serverAddress);
 * await client.write(new TextEncoder().encode("hello"));
 * const answer = new Uint8Array(5);
 * await client.read(answer);
 * await handled;
 * assertEquals(new TextDecoder().decode(answer), "HELLO");
 * ```
 * @category Handlers
 */
export class BaseRequestHandler<Request = StreamSocket, Addr extends SocketAddress = ClientAddress>
  implements RequestHandler {
  /**
   * The module that exports the class, for servers that run it in a Worker or a subprocess: such a handler writes
   * `static override readonly moduleUrl = import.meta.url;`.
   */
  static readonly moduleUrl: string = "";

  /**
   * Whether the handler blocks: calls methods whose names end in `Sync`, in a Worker of a server with `ThreadingMixIn`. One
   * that does not may have its Worker accept clients by itself, which is faster; where it calls them all the same, they
   * throw. Left out, a handler blocks whose `handle()` is not an `async` function. Computing is not blocking.
   */
  declare static readonly blocking?: boolean;

  // Declared only: the constructor sets them, and a field would be set twice.

  /** What is handled. */
  declare readonly request: Request;
  /** Who asks. The path of a Unix client that bound none is `null`, whatever the type says. */
  declare readonly clientAddress: Addr;
  /**
   * The server that made this handler, as far as every handler reaches it. What else it has, `shutdown()` for one, has a
   * handler that writes `declare readonly server: TCPServer;`, which those servers refuse that run handlers elsewhere.
   */
  declare readonly server: ServerView;

  /**
   * Called by the server.
   *
   * @param request What is handled.
   * @param clientAddress Who asks.
   * @param server The server that calls.
   * @throws {TypeError} When the server runs handlers in Workers or subprocesses, and this is the server's own isolate.
   */
  constructor(request: Request, clientAddress: Addr, server: ServerView) {
    checkRunsHere(this, server);
    this.request = request;
    this.clientAddress = clientAddress;
    this.server = server;
  }

  /**
   * Aborted when the server cuts this request off; pass it to whatever takes long. What a listener throws is logged.
   * An asynchronous one that rejects is an unhandled rejection, which ends the program, unless it is with an error of
   * this request's own connection, or with the signal's reason.
   */
  get signal(): AbortSignal {
    // Every server has it, and so have the stand-ins, but nobody else shall call it.
    return (this.server as AnyServer).requestSignal(this.request);
  }

  /** Called before `handle()`; does nothing here. */
  setup(): void | Promise<void> {}

  /** Does the service; does nothing here. What it returns is awaited and dropped. */
  handle(): unknown {
    return;
  }

  /** Called after `handle()`, also when that failed; does nothing here. */
  finish(): void | Promise<void> {}
}

/**
 * The base of handlers of TCP, TLS and Unix stream servers, with `rfile` to read from and `wfile` to write to.
 *
 * The settings are fields: a subclass writes `override timeout = 5000`.
 *
 * @typeParam Addr The type of the client's address; without it the handler fits every family.
 *
 * @example Echo lines
 * ```ts
 * import { StreamRequestHandler, TCPServer } from "@netkit/socketserver";
 * import { assertEquals } from "@std/assert";
 *
 * class EchoHandler extends StreamRequestHandler {
 *   override timeout = 5000; // milliseconds of silence
 *   override async handle() {
 *     for await (const line of this.rfile) await this.wfile.write(line);
 *   }
 * }
 * await using server = new TCPServer({ hostname: "127.0.0.1", port: 0 }, EchoHandler);
 * const handled = server.handleRequest();
 * using client = await Deno.connect(server.serverAddress);
 * await client.write(new TextEncoder().encode("hello\n"));
 * await client.closeWrite();
 * assertEquals(await new Response(client.readable).text(), "hello\n");
 * await handled;
 * ```
 * @category Handlers
 */
export class StreamRequestHandler<Addr extends SocketAddress = ClientAddress>
  extends BaseRequestHandler<StreamSocket, Addr> {
  /** The time limit of each read and write, in milliseconds; `null` for none. */
  timeout: number | null = null;
  /** The size of the buffer of `rfile` in bytes; -1 chooses 8192, 0 never reads ahead. */
  rbufsize: number = -1;
  /** The size of the buffer of `wfile` in bytes; 0 sends each write at once, -1 chooses 8192. */
  wbufsize: number = 0;
  /** Whether Nagle's algorithm is switched off (TCP_NODELAY), so that small writes go out at once. */
  disableNagleAlgorithm: boolean = false;
  /** The longest line that `rfile` accepts, in bytes with its end. */
  maxLineLength: number = 65536;
  #rfile: BufferedReader | null = null;
  #wfile: BufferedWriter | null = null;

  /** The connection; the same as `request`. */
  get connection(): StreamSocket {
    return this.request;
  }

  /** What the client sends. May be replaced, after a switch to TLS for example. */
  get rfile(): BufferedReader {
    return this.#rfile ??= new BufferedReader(this.request, {
      bufferSize: this.rbufsize,
      maxLineLength: this.maxLineLength,
    });
  }

  set rfile(reader: BufferedReader) {
    this.#rfile = reader;
  }

  /** What the client gets. May be replaced, after a switch to TLS for example. */
  get wfile(): BufferedWriter {
    return this.#wfile ??= new BufferedWriter(this.request, { bufferSize: this.wbufsize });
  }

  set wfile(writer: BufferedWriter) {
    this.#wfile = writer;
  }

  /**
   * Applies the settings to the connection.
   *
   * @throws {RangeError} When `timeout` is out of range.
   */
  override setup(): void | Promise<void> {
    if (this.timeout !== null) this.request.timeout = this.timeout;
    if (this.disableNagleAlgorithm) this.request.setNoDelay(true);
  }

  /**
   * Sends what waits in `wfile`, unless the client has gone.
   *
   * @throws {Deno.errors.TimedOut} When the client took nothing for as long as `timeout`.
   */
  override finish(): void | Promise<void> {
    return this.#wfile?.close().catch(unlessGone);
  }
}

/** Throws what a write failed with, unless nobody is left to send to. */
function unlessGone(error: unknown): void {
  if (!isPeerGone(error)) throw error;
}

/**
 * The base of handlers of UDP and Unix datagram servers, with the packet in `rfile` and the answer in `wfile`.
 *
 * `finish()` sends what was written to `wfile` as one datagram, and nothing when nothing was written (Python
 * sends an empty datagram then). To send an empty answer, write an empty string.
 *
 * @typeParam Addr The type of the client's address; without it the handler fits every family.
 *
 * @example Answer in upper case
 * ```ts
 * import { DatagramRequestHandler, UDPServer } from "@netkit/socketserver";
 * import { assertEquals } from "@std/assert";
 *
 * class UpperHandler extends DatagramRequestHandler {
 *   override async handle() {
 *     await this.wfile.write(new TextDecoder().decode(this.packet).toUpperCase());
 *   }
 * }
 * await using server = new UDPServer({ hostname: "127.0.0.1", port: 0 }, UpperHandler);
 * const handled = server.handleRequest();
 * const client = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
 * await client.send(new TextEncoder().encode("hello"), server.serverAddress);
 * await handled;
 * assertEquals(new TextDecoder().decode((await client.receive())[0]), "HELLO");
 * client.close();
 * ```
 * @category Handlers
 */
export class DatagramRequestHandler<Addr extends SocketAddress = ClientAddress>
  extends BaseRequestHandler<DatagramRequest, Addr> {
  #rfile: BufferedReader | null = null;
  #wfile: BufferedWriter | null = null;
  readonly #answer: Uint8Array[] = [];

  /** The datagram's data. */
  get packet(): Uint8Array<ArrayBuffer> {
    return this.request[0];
  }

  /** The server's socket, to send to anybody. */
  get socket(): DatagramSocket {
    return this.request[1];
  }

  /** The datagram's data, to be read in lines and frames. */
  get rfile(): BufferedReader {
    return this.#rfile ??= BufferedReader.fromBytes(this.packet);
  }

  /** Collects the answer, which `finish()` sends. */
  get wfile(): BufferedWriter {
    const collect = (data: Uint8Array) => void this.#answer.push(data.slice());
    return this.#wfile ??= new BufferedWriter({
      sendAll: (data) => Promise.resolve(collect(data)),
      sendAllSync: collect,
    });
  }

  /**
   * Sends what was written to `wfile` as one datagram to `clientAddress`.
   *
   * @throws {TypeError} When the client is a Unix socket that bound no path.
   * @throws {Error} When the answer is longer than the system sends in a datagram.
   */
  override finish(): void | Promise<void> {
    const [first] = this.#answer;
    if (first === undefined) return;
    const answer = this.#answer.length === 1 ? first : concat(this.#answer);
    return this.socket.sendTo(answer, this.clientAddress).then(() => {});
  }
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}
