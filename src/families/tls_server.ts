/**
 * Servers on TCP with TLS.
 *
 * @module
 */
import type { InetAddress, TCPAddr } from "../base/address.ts";
import { bindAndActivate } from "../core/bind.ts";
import { noteSource, TLSHandshakeError } from "../base/errors.ts";
import { logTo } from "../base/log.ts";
import { timeFrom } from "../base/options.ts";
import { defineSettings } from "../base/settings.ts";
import type { RequestHandlerLike } from "../core/base_server.ts";
import type { StreamSocket } from "../sockets/stream_socket.ts";
import { TCPServer, type TCPServerOptions } from "./tcp_server.ts";
import { TLSListener } from "./tls_listener.ts";
import { Watchdog } from "../base/time.ts";

/** Options of {@linkcode TLSServer}. */
export interface TLSServerOptions extends TCPServerOptions {
  /** The server's certificate chain, PEM text. */
  cert: string;
  /** The private key of the certificate, PEM text. */
  key: string;
  /** The application protocols to offer (ALPN), the most wanted first; a handler asks `handshake()`. */
  alpnProtocols?: string[];
  /**
   * How long a client has for its handshake, in milliseconds; `null` for ever.
   *
   * @default {10000}
   */
  handshakeTimeout?: number | null;
}

/**
 * A TCP server that speaks TLS, one client at a time.
 *
 * The handshake is done in the request's own task, before its handler is made and never in the accept loop, and
 * it has a time limit. A client that fails it costs one line for debugging. Needs `--allow-net`.
 *
 * Deno cannot abandon a handshake or a write: a connection that is closed before its end (`handshakeTimeout`,
 * `timeout`, `requestTimeout`) keeps a descriptor of this process until the client leaves or, for a write, has read. So
 * there are no more than 64 handshakes and such connections at any time, those of writes counted since the start. When
 * for a second none of so many ends, the server listens anew on the same port, with TLS by `node:tls`, which frees
 * descriptors at once and is slower by about a third, until the program ends. Who waits in the accept queue at that
 * moment is reset, who comes right then is refused, and a warning is logged. Clients that are served just then may come
 * on top of the 64: leave them descriptors enough by `maxConnections`; below `ulimit -n 120` those 64 may be all that
 * there are. To listen anew takes the permission for the port; with the one for port 0 alone, new clients wait until
 * others leave.
 *
 * @example Make one
 * ```ts
 * import { StreamRequestHandler, TLSServer } from "@netkit/socketserver";
 *
 * class EchoHandler extends StreamRequestHandler {
 *   override async handle() {
 *     for await (const line of this.rfile) await this.wfile.write(line);
 *   }
 * }
 * export async function serve(): Promise<void> {
 *   await using server = new TLSServer({ hostname: "", port: 8443 }, EchoHandler, {
 *     cert: await Deno.readTextFile("cert.pem"),
 *     key: await Deno.readTextFile("key.pem"),
 *   });
 *   await server.serveForever();
 * }
 * ```
 * @tags allow-net
 * @category Servers
 */
export class TLSServer extends TCPServer {
  /** The default of the instance property of this name, in milliseconds; 10,000. */
  declare static handshakeTimeout: number | null;

  static {
    defineSettings<Pick<TLSServerOptions, "handshakeTimeout">, TLSServer>(this, {
      handshakeTimeout: { default: 10_000, check: timeFrom(1) },
    });
  }

  /** How long a client has for its handshake, in milliseconds; `null` for ever. */
  declare handshakeTimeout: number | null;
  readonly #options: TLSServerOptions;
  readonly #ready = new WeakSet<StreamSocket>();

  /**
   * Makes the server and, unless `bindAndActivate` is false, listens.
   *
   * @param serverAddress Where to listen.
   * @param RequestHandlerClass What serves the clients.
   * @param options Certificate and key, and settings.
   * @throws {TypeError} When certificate, key, address or handler is none.
   * @throws {RangeError} When a setting is out of range.
   * @throws {Error} When the bind fails, as in {@linkcode TCPServer}.
   */
  constructor(
    serverAddress: InetAddress,
    RequestHandlerClass: RequestHandlerLike<StreamSocket, TCPAddr>,
    options: TLSServerOptions,
  ) {
    checkIdentity(options ?? {}); // so that what is missing is named
    super(serverAddress, RequestHandlerClass, { ...options, bindAndActivate: false });
    this.#options = options;
    bindAndActivate(this, options.bindAndActivate);
  }

  /** What messages call this kind of server. */
  override get kind(): string {
    return "TLS server";
  }

  /**
   * Opens the listener on `serverAddress`, for `serverBind()`.
   *
   * @returns The listener.
   */
  override openListener(): Deno.TlsListener {
    const { cert, key, alpnProtocols } = this.#options;
    const { hostname, port } = this.inetAddress();
    try {
      return new TLSListener({
        hostname,
        port,
        cert,
        key,
        tcpBacklog: this.requestQueueSize,
        reusePort: this.allowReusePort,
        ...(alpnProtocols === undefined ? {} : { alpnProtocols }),
        onReplace: (message) => logTo(this.logger, "warn", message),
      });
    } catch (error) {
      throw isKeyFault(error)
        ? new TypeError(`${error.message}; check options 'cert' and 'key'`, { cause: error })
        : error;
    }
  }

  /**
   * Does the handshake.
   *
   * @param request The connection.
   * @param _clientAddress Who connects.
   * @throws {TLSHandshakeError} When it fails or takes longer than `handshakeTimeout`.
   */
  override prepareRequest(request: StreamSocket, _clientAddress: TCPAddr): void | Promise<void> {
    return this.#shakeHands(request);
  }

  async #shakeHands(request: StreamSocket): Promise<void> {
    const started = performance.now();
    const limit = this.handshakeTimeout;
    const watchdog = new Watchdog();
    try {
      const handshake = request.handshake();
      const late = () => new Deno.errors.TimedOut(`no end within ${limit} ms`);
      await (limit === null ? handshake : watchdog.watch(handshake, limit, late));
      this.#ready.add(request);
    } catch (cause) {
      request.close();
      throw noteSource(new TLSHandshakeError(performance.now() - started, { cause }), request);
    } finally {
      watchdog.stop();
    }
  }

  /**
   * Ends a connection as {@linkcode TCPServer} does, once its handshake is done, and before that at once.
   *
   * @param request The connection.
   */
  override shutdownRequest(request: StreamSocket): void | Promise<void> {
    // Without a handshake there is nothing to end, and Deno would wait for the client to begin it.
    return this.#ready.has(request) ? super.shutdownRequest(request) : this.closeRequest(request);
  }
}

function checkIdentity({ cert, key, alpnProtocols }: TLSServerOptions): void {
  checkPEM("cert", cert, /-----BEGIN CERTIFICATE-----/);
  checkPEM("key", key, /-----BEGIN ([A-Z]+ )?PRIVATE KEY-----/);
  const isName = (name: unknown) => typeof name === "string" && name !== "";
  if (
    alpnProtocols !== undefined && !(Array.isArray(alpnProtocols) && alpnProtocols.every(isName))
  ) {
    throw new TypeError("Cannot use option 'alpnProtocols': expected an array of names");
  }
}

/**
 * Checks PEM text.
 *
 * @throws {TypeError} When it is none, or not of the kind that is wanted.
 */
function checkPEM(name: string, value: unknown, armour: RegExp): void {
  if (typeof value === "string" && armour.test(value)) return;
  throw new TypeError(`Cannot use option '${name}': expected PEM text ("-----BEGIN ...")`);
}

/** Whether `Deno.listenTls()` failed for what is in the certificate or the key. */
function isKeyFault(error: unknown): error is Error {
  return error instanceof Deno.errors.InvalidData ||
    error instanceof Error &&
      /certificate|private key|keys may not be consistent/.test(error.message);
}
