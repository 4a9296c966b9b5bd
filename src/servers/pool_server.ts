/**
 * A pool of Workers that take their clients from one accept queue.
 *
 * @module
 */
import { bindAndActivate } from "../core/bind.ts";
import type { ConcurrencyOptions, Constructor, MixedIn } from "../families/concurrent_mix_in.ts";
import { nameOf } from "../base/errors.ts";
import type { TLSIdentity } from "../families/node_tls_conn.ts";
import { logOf } from "../core/faults.ts";
import { checkBoolean, integerFrom, type ServeOptions, timeFrom } from "../base/options.ts";
import { defineSettings, type Settings } from "../base/settings.ts";
import { cloneContext } from "../workers/relay/context.ts";
import { handlerModule } from "../workers/handler_module.ts";
import { POISONED_SETTING, PoisonedBound, type PoisonedHost } from "../pool/poisoned.ts";
import { PoolLoop } from "../pool/pool_loop.ts";
import { PoolSupervisor } from "../pool/pool_supervisor.ts";
import {
  holdPort,
  listenShared,
  type SharedAddress,
  type Sharing,
  takePort,
} from "../pool/shared_listener.ts";
import type { PoolLimits, PoolSettings } from "../pool/pool_messages.ts";
import type { ThreadingOptions } from "./threading_mix_in.ts";
import type { RemoteHandlerClass } from "../core/server_view.ts";
import { degradeWhen, serveBy } from "../core/base_server.ts";
import type { TCPServer, TCPServerOptions } from "../families/tcp_server.ts";
import { TLSServer, type TLSServerOptions } from "../families/tls_server.ts";

/** Options of {@linkcode PoolTCPServer} and {@linkcode PoolTLSServer}; the others refuse them. */
export interface PoolOptions
  extends
    Pick<ConcurrencyOptions, "requestTimeout" | "blockOnClose">,
    Pick<ThreadingOptions, "maxPoisoned"> {
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

const SETTINGS: Settings<PoolOptions> = {
  workers: { default: navigator.hardwareConcurrency, check: integerFrom(1, 1024) },
  maxConnectionsPerWorker: { default: 1024, check: integerFrom(1, 2 ** 20) },
  requestTimeout: { default: null, check: timeFrom(1) },
  blockOnClose: { default: true, check: checkBoolean },
  ...POISONED_SETTING,
};

/** Options of {@linkcode PoolTCPServer}. */
export interface PoolTCPServerOptions extends TCPServerOptions, PoolOptions {}

/** Options of {@linkcode PoolTLSServer}. */
export interface PoolTLSServerOptions extends TLSServerOptions, PoolOptions {}

/**
 * A server class that runs as a pool of Workers.
 *
 * @typeParam Base The server class that each Worker runs.
 */
export type Pooled<Base extends Constructor<TCPServer>> = MixedIn<
  Base,
  PoolOptions,
  { /** How many clients all Workers serve at once. */ readonly maxConnections: number },
  RemoteHandlerClass
>;

/** The steps of a request, which a pool takes in its Workers and cannot take here. */
const STEPS = [
  "getRequest",
  "processRequest",
  "prepareRequest",
  "finishRequest",
  "shutdownRequest",
  "closeRequest",
] as const;

/** Makes a server class run as a pool of Workers. */
export function poolOf<Base extends Constructor<TCPServer>>(Base: Base): Pooled<Base> {
  abstract class PoolServer
    extends (Base as Constructor<TCPServer> as Constructor<TCPServer & Required<PoolOptions>>) {
    static override readonly name: string = `Pool${Base.name}`;
    readonly #loop: PoolLoop;
    readonly #bound: PoisonedBound;
    #tls: TLSIdentity | null;
    #address: SharedAddress | null = null;
    #sharing: Sharing = "queue";

    // deno-lint-ignore no-explicit-any -- see Constructor
    constructor(...args: any[]) {
      const [address, Handler, options = {}, ...rest] = args;
      const handler = handlerModule(nameOf(new.target), Handler);
      super(address, Handler, { ...options, bindAndActivate: false }, ...rest);
      const { cert, key, alpnProtocols } = options as TLSServerOptions;
      this.#tls = this instanceof TLSServer
        ? { cert, key, ...(alpnProtocols === undefined ? {} : { alpnProtocols }) }
        : null;
      const bound = this.#bound = new PoisonedBound(this as unknown as PoisonedHost, {
        places: () => this.workers,
        poisoned: () => this.#loop.supervisor.poisoned,
        onFailure: (error) => this.#loop.fail(error),
      });
      this.#loop = new PoolLoop(this, {
        ...{ kind: "Worker of pool", handler },
        size: () => bound.left,
        supervise: (options) => new PoolSupervisor(options),
        onLost: ({ name }) => {
          const why = "its requests had no end within 'requestTimeout', and it did not await";
          logOf(this, "error", `Worker "${name}" is given up on: ${why}`);
        },
        onPoisoned: () => bound.note(),
        init: () => ({
          address: this.#address!,
          sharing: this.#sharing,
          turns: null,
          serverAddress: this.serverAddress,
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
      serveBy(this, () => this.#loop);
      degradeWhen(this, () => bound.isReached);
      bindAndActivate(this, options.bindAndActivate);
    }

    static {
      defineSettings<PoolOptions, PoolServer>(this, SETTINGS, {
        onSet(server) {
          server.#bound.note();
          server.#loop.supervisor.limit(server.#limits());
        },
      });
    }

    override get maxConnections(): number {
      return this.workers * this.maxConnectionsPerWorker;
    }

    override async serveForever(options?: ServeOptions): Promise<void> {
      this.checkSettings();
      this.#bound.check();
      await super.serveForever(options);
    }

    override handleRequest(): Promise<never> {
      return Promise.reject(this.#notHere("handleRequest", "use serveForever()"));
    }

    override getRequest(): Promise<never> {
      return Promise.reject(this.#notHere("getRequest", "they accept the clients"));
    }

    override checkSettings(): void {
      super.checkSettings();
      const server = nameOf(this.constructor);
      const step = STEPS.find((name) => this[name] !== PoolServer.prototype[name]);
      if (step !== undefined) {
        throw new TypeError(
          `Cannot use own ${step}() with ${server}: its Workers do that; ` +
            "use a server with ThreadingMixIn or ConcurrentMixIn",
        );
      }
      if (!this.allowReusePort) return;
      throw new TypeError(
        `Cannot use option 'allowReusePort' with ${server}: its Workers share one queue`,
      );
    }

    override openListener(): Deno.Listener {
      return takePort(this, () => super.openListener(), (address) => {
        const { listener, sharing } = holdPort(address, this.#tls);
        this.#address = address;
        this.#sharing = sharing;
        return listener;
      });
    }

    #limits(): PoolLimits {
      const { maxConnectionsPerWorker: maxConnections, requestTimeout } = this;
      return { maxConnections, requestTimeout, thread: null };
    }

    #settingsOfWorkers(): PoolSettings {
      return {
        ...this.#limits(),
        context: cloneContext(this.context), // what is wrong with it comes out here
        asks: { verifyRequest: this.verifyRequest !== Base.prototype.verifyRequest },
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
      const server = nameOf(this.constructor);
      return new Deno.errors.NotSupported(
        `Cannot call ${method}() of ${server}: its Workers do that side by side; ${instead}`,
      );
    }
  }
  // The type checker cannot see what defineSettings() adds.
  return PoolServer as unknown as Pooled<Base>;
}
