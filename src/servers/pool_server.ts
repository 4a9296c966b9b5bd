/**
 * A pool of Workers that take their clients from one accept queue.
 *
 * @module
 */
import type { InetAddress, TCPAddr } from "../base/address.ts";
import { bindAndActivate } from "../core/bind.ts";
import type { Constructor } from "./concurrent_mix_in.ts";
import { nameOf } from "../base/errors.ts";
import type { TLSIdentity } from "../sockets/node_tls_conn.ts";
import { checkBoolean, checkInteger, checkTime, orDefault } from "../base/options.ts";
import { cloneContext } from "../workers/context.ts";
import { handlerModule } from "../workers/handler_module.ts";
import { PoolLoop } from "./pool_loop.ts";
import { holdPort, listenShared, type SharedAddress, type Sharing } from "./shared_listener.ts";
import type { PoolLimits, PoolSettings } from "./pool_messages.ts";
import { type RequestHandlerLike, serveBy } from "../core/base_server.ts";
import type { StreamSocket } from "../sockets/stream_socket.ts";
import { TCPServer, type TCPServerOptions } from "./tcp_server.ts";
import { TLSServer, type TLSServerOptions } from "./tls_server.ts";

/** Options of {@linkcode PoolTCPServer} and {@linkcode PoolTLSServer}; the others refuse them. */
export interface PoolOptions {
  /**
   * How many Workers there are, from the first `serveForever()` to the end.
   *
   * @default {navigator.hardwareConcurrency}
   */
  workers?: number;
  /**
   * How many clients each Worker serves at once, on its event loop; 1 for one after the other, as in Python's recipe
   * of a pre-allocated pool. At the limit of all Workers clients wait in the system's queue.
   *
   * @default {1024}
   */
  maxConnectionsPerWorker?: number;
}

/** Options of {@linkcode PoolTCPServer}. */
export interface PoolTCPServerOptions extends TCPServerOptions, PoolOptions {}

/** Options of {@linkcode PoolTLSServer}. */
export interface PoolTLSServerOptions extends TLSServerOptions, PoolOptions {}

/** What a pool has beside what its server class has. */
export interface PoolMembers {
  /** How many Workers there are; of those that are too many each ends when its requests have. */
  workers: number;
  /** How many clients each Worker serves at once. */
  maxConnectionsPerWorker: number;
  /** How many clients all Workers serve at once. */
  readonly maxConnections: number;
  /**
   * How long one request may take, in milliseconds; `null` for ever. Its Worker sees to that, which it cannot while
   * a handler computes without awaiting.
   */
  requestTimeout: number | null;
  /** Whether `serverClose()` waits for the requests under way. */
  blockOnClose: boolean;
}

/** The defaults of {@linkcode PoolMembers}, as statics of the class. */
export interface PoolStatics {
  /** The default of the instance property of this name; the number of cores. */
  workers: number;
  /** The default of the instance property of this name; 1024. */
  maxConnectionsPerWorker: number;
  /** The default of the instance property of this name, in milliseconds; `null`. */
  requestTimeout: number | null;
  /** The default of the instance property of this name; `true`. */
  blockOnClose: boolean;
}

/**
 * A server class that runs as a pool of Workers.
 *
 * @typeParam Base The server class that each Worker runs.
 */
export type Pooled<Base extends Constructor<TCPServer>> =
  & Base
  & Constructor<PoolMembers>
  & PoolStatics;

type Settings = Required<PoolOptions> & Pick<PoolMembers, "requestTimeout" | "blockOnClose">;

/** The steps of a request, which a pool takes in its Workers and cannot take here. */
const STEPS = [
  "getRequest",
  "processRequest",
  "prepareRequest",
  "finishRequest",
  "shutdownRequest",
  "closeRequest",
] as const;

/** How often another port is tried when the one that the system gave is taken meanwhile. */
const PORT_TRIES = 10;

/** Makes a server class run as a pool of Workers. */
function poolOf<Base extends Constructor<TCPServer>>(Base: Base): Pooled<Base> {
  abstract class PoolServer extends Base {
    static workers: number = navigator.hardwareConcurrency;
    static maxConnectionsPerWorker = 1024;
    static requestTimeout: number | null = null;
    static blockOnClose = true;
    #settings: Settings;
    readonly #loop: PoolLoop;
    #tls: TLSIdentity | null;
    #address: SharedAddress | null = null;
    #sharing: Sharing = "queue";

    // deno-lint-ignore no-explicit-any -- see Constructor
    constructor(...args: any[]) {
      const [address, Handler, options = {}, ...rest] = args;
      const settings = settingsFrom(new.target as unknown as PoolStatics, options);
      const handler = handlerModule(nameOf(new.target), Handler);
      super(address, Handler, { ...options, bindAndActivate: false }, ...rest);
      this.#settings = settings;
      const { cert, key, alpnProtocols } = options as TLSServerOptions;
      this.#tls = this instanceof TLSServer
        ? { cert, key, ...(alpnProtocols === undefined ? {} : { alpnProtocols }) }
        : null;
      this.#loop = new PoolLoop(this, {
        handler,
        init: () => ({
          address: this.#address!,
          sharing: this.#sharing,
          queueShare: Math.ceil(this.requestQueueSize / this.workers),
          tls: this.#tls !== null && this instanceof TLSServer
            ? { ...this.#tls, handshakeTimeout: this.handshakeTimeout }
            : null,
        }),
        settings: () => this.#settingsOfWorkers(),
        // It would get its share of the clients, whom nobody would accept.
        onReady: () => this.#sharing === "port" && this.closeSocket(),
        isPortFree: () => this.#isPortFree(),
      });
      serveBy(this, this.#loop);
      bindAndActivate(this, options.bindAndActivate);
    }

    get workers(): number {
      return this.#settings.workers;
    }

    set workers(value: number) {
      this.#settings.workers = checkWorkers(value);
      this.#loop.limit(this.#limits());
    }

    get maxConnectionsPerWorker(): number {
      return this.#settings.maxConnectionsPerWorker;
    }

    set maxConnectionsPerWorker(value: number) {
      this.#settings.maxConnectionsPerWorker = checkPerWorker(value);
      this.#loop.limit(this.#limits());
    }

    override get maxConnections(): number {
      return this.workers * this.maxConnectionsPerWorker;
    }

    override get requestTimeout(): number | null {
      return this.#settings.requestTimeout;
    }

    override set requestTimeout(value: number | null) {
      this.#settings.requestTimeout = checkTime("requestTimeout", value, 1);
      this.#loop.limit(this.#limits());
    }

    override get blockOnClose(): boolean {
      return this.#settings.blockOnClose;
    }

    override set blockOnClose(value: boolean) {
      this.#settings.blockOnClose = checkBoolean("blockOnClose", value);
    }

    override handleRequest(): Promise<never> {
      return Promise.reject(this.#notHere("handleRequest", "use serveForever()"));
    }

    override getRequest(): Promise<never> {
      return Promise.reject(this.#notHere("getRequest", "they accept the clients"));
    }

    override checkSettings(): void {
      super.checkSettings();
      const step = STEPS.find((name) => this[name] !== PoolServer.prototype[name]);
      if (step !== undefined) throw stepError(nameOf(this.constructor), step);
      if (!this.allowReusePort) return;
      throw new TypeError(
        `Cannot use option 'allowReusePort' with ${
          nameOf(this.constructor)
        }: its Workers share one queue`,
      );
    }

    override openListener(): Deno.Listener {
      const asked = this.inetAddress();
      for (let left = PORT_TRIES;; left--) {
        // Fails as that of the base does; a listener that can be shared would join that of another pool instead.
        const probe = super.openListener();
        const { port } = probe.addr as Deno.NetAddr;
        probe.close();
        const { hostname } = asked;
        this.#address = { hostname, port, tcpBacklog: this.requestQueueSize };
        try {
          const { listener, sharing } = holdPort(this.#address, this.#tls);
          this.#sharing = sharing;
          return listener;
        } catch (error) {
          const isTaken = error instanceof Deno.errors.AddrInUse && asked.port === 0;
          if (!isTaken || left === 0) throw error;
        }
      }
    }

    #limits(): PoolLimits {
      const { maxConnectionsPerWorker: maxConnections, requestTimeout } = this.#settings;
      return { maxConnections, requestTimeout };
    }

    #settingsOfWorkers(): PoolSettings {
      return {
        ...this.#limits(),
        context: cloneContext(this.context), // what is wrong with it comes out here
        asks: {
          verifyRequest: this.verifyRequest !== Base.prototype.verifyRequest,
          handleError: this.handleError !== Base.prototype.handleError,
        },
      };
    }

    #isPortFree(): boolean {
      const { hostname, port } = this.#address!;
      try {
        Deno.listen({ hostname, port }).close();
        return true;
      } catch {
        // Where two Workers have let go at the same moment, Deno needs a third to do so alone.
        try {
          listenShared(this.#address!, null, this.#sharing).close();
        } catch {
          // another server has the port
        }
        return false;
      }
    }

    #notHere(method: string, instead: string): Error {
      return new Deno.errors.NotSupported(
        `Cannot call ${method}() of ${
          nameOf(this.constructor)
        }: its Workers do that side by side; ${instead}`,
      );
    }
  }
  return PoolServer;
}

function settingsFrom(
  defaults: PoolStatics,
  options: PoolTCPServerOptions,
): Settings {
  const given = <Name extends keyof PoolStatics>(name: Name) =>
    orDefault<unknown>(options[name], defaults[name]);
  return {
    workers: checkWorkers(given("workers")),
    maxConnectionsPerWorker: checkPerWorker(given("maxConnectionsPerWorker")),
    requestTimeout: checkTime("requestTimeout", given("requestTimeout"), 1),
    blockOnClose: checkBoolean("blockOnClose", given("blockOnClose")),
  };
}

function stepError(server: string, step: string): Error {
  return new TypeError(
    `Cannot use own ${step}() with ${server}: its Workers do that; ` +
      "use a server with ThreadingMixIn or ConcurrentMixIn",
  );
}

function checkWorkers(value: unknown): number {
  return checkInteger("workers", value, 1, 1024);
}

function checkPerWorker(value: unknown): number {
  return checkInteger("maxConnectionsPerWorker", value, 1, 2 ** 20);
}

/** What {@linkcode PoolTCPServer} extends. */
export const PoolTCPServerBase: Pooled<typeof TCPServer> = poolOf(TCPServer);

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
 * `requestContext()` is called when `serveForever()` is, and handlers find its value as `server.context`.
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
 */
export class PoolTCPServer extends PoolTCPServerBase {
  /**
   * Makes the server and, unless `bindAndActivate` is false, takes the address; Workers start with `serveForever()`.
   *
   * @param serverAddress Where to listen.
   * @param RequestHandlerClass What serves the clients: an exported class with `moduleUrl`.
   * @param options Settings; each goes before the static property of the same name.
   * @throws {TypeError} When the handler cannot be loaded elsewhere, or a step of a request is overridden.
   * @throws {RangeError} When a setting is out of range.
   * @throws {Deno.errors.NotSupported} When Deno shares no listener.
   * @throws {Error} When the bind fails, as in {@linkcode TCPServer}.
   */
  constructor(
    serverAddress: InetAddress,
    RequestHandlerClass: RequestHandlerLike<StreamSocket, TCPAddr>,
    options: PoolTCPServerOptions = {},
  ) {
    super(serverAddress, RequestHandlerClass, options);
  }
}

/** What {@linkcode PoolTLSServer} extends. */
export const PoolTLSServerBase: Pooled<typeof TLSServer> = poolOf(TLSServer);

/**
 * {@linkcode PoolTCPServer} that speaks TLS; the handshakes are done in the Workers, too.
 *
 * `Deno.listenTls()` takes no part in a shared queue, so that each Worker has a queue of its own, as described there: it
 * needs Linux and `--unstable-net`, and clients who come before the first Worker listens are reset.
 *
 * @example Make one
 * ```ts
 * import { PoolTLSServer, StreamRequestHandler } from "@netkit/socketserver";
 *
 * export class EchoHandler extends StreamRequestHandler {
 *   static override readonly moduleUrl = import.meta.url;
 *   override async handle() {
 *     for await (const line of this.rfile) await this.wfile.write(line);
 *   }
 * }
 * if (import.meta.main) {
 *   await using server = new PoolTLSServer({ hostname: "", port: 8443 }, EchoHandler, {
 *     cert: await Deno.readTextFile("cert.pem"),
 *     key: await Deno.readTextFile("key.pem"),
 *   });
 *   await server.serveForever();
 * }
 * ```
 */
export class PoolTLSServer extends PoolTLSServerBase {
  /**
   * Makes the server and, unless `bindAndActivate` is false, takes the address; Workers start with `serveForever()`.
   *
   * @param serverAddress Where to listen.
   * @param RequestHandlerClass What serves the clients: an exported class with `moduleUrl`.
   * @param options Certificate and key, and settings.
   * @throws {TypeError} When certificate, key or handler is none, or a step of a request is overridden.
   * @throws {RangeError} When a setting is out of range.
   * @throws {Deno.errors.NotSupported} When Deno shares no listener.
   * @throws {Error} When the bind fails, as in {@linkcode TCPServer}.
   */
  constructor(
    serverAddress: InetAddress,
    RequestHandlerClass: RequestHandlerLike<StreamSocket, TCPAddr>,
    options: PoolTLSServerOptions,
  ) {
    super(serverAddress, RequestHandlerClass, options);
  }
}
