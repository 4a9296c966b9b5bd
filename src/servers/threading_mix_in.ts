/**
 * Each request in a Web Worker.
 *
 * @module
 */
import type { ConcurrencyOptions, Constructor, MixedIn } from "../families/concurrent_mix_in.ts";
import { admitMore } from "../core/loop/serve_loop.ts";
import { logOf } from "../core/faults.ts";
import { checkBoolean, integerFrom, type ServeOptions, timeFrom } from "../base/options.ts";
import { defineSettings, type Settings } from "../base/settings.ts";
import { ABORT_FAULT } from "../base/unawaited.ts";
import { hasRoomForClient } from "../workers/thread/start_gate.ts";
import type { Executor } from "../workers/relay/executor.ts";
import { ThreadWorker } from "../workers/thread/thread_worker.ts";
import { type AnyServer, degradeWhen, serveBy } from "../core/base_server.ts";
import { POISONED_SETTING, PoisonedBound, type PoisonedHost } from "../pool/poisoned.ts";
import { openShared } from "../pool/shared_listener.ts";
import { TCPServer } from "../families/tcp_server.ts";
import { type ThreadHost, type ThreadingMode, ThreadLoop, whyRelay } from "../pool/thread_loop.ts";
import type { RemoteHandlerClass } from "../core/server_view.ts";
import { remoteMixIn } from "./remote_mix_in.ts";

/** How many descriptors a Worker that starts leaves for clients that come meanwhile, at the most. */
const MAX_RESERVE = 24;
/** How many clients may wait for Workers for which there are no descriptors; the next is not accepted. */
const MAX_WAITING = 16;

/** Options of the servers with {@linkcode ThreadingMixIn}; the others refuse them. */
export interface ThreadingOptions extends Omit<ConcurrencyOptions, "maxConnections"> {
  /**
   * The most Workers at once, and with them requests.
   *
   * @default {4 × the number of cores, at least 16}
   */
  maxThreads?: number;
  /**
   * How many Workers are kept ready.
   *
   * @default {1}
   */
  minSpareThreads?: number;
  /**
   * How long a Worker beyond those may be idle, in milliseconds; `null` for ever.
   *
   * @default {30000}
   */
  threadIdleTimeout?: number | null;
  /**
   * How many requests a Worker serves; 0 for any number, 1 for a fresh Worker for each request.
   *
   * @default {0}
   */
  maxRequestsPerThread?: number;
  /**
   * Whether closing the server does not wait for its Workers and ends them.
   *
   * @default {false}
   */
  daemonThreads?: boolean;
  /**
   * How many Workers may run beside those that serve because their handlers never await, or leave something running that
   * never does, so that Deno can end neither the handler nor the Worker: such a Worker is replaced, and goes on until it
   * awaits, for ever if it does not. One more that does the same is given up on, too, but its place stays empty until one
   * of them has ended, which is said in the log, as an error. Where there is no place left for 30 seconds,
   * `serveForever()` rejects. `null` for as many as there may be Workers. `stats().workers.poisoned` counts those that
   * still run, and with that many the server's `state` is "degraded" in place of "serving". Without a `requestTimeout` no
   * handler is given up on. A Worker that serves nobody has 5 seconds more than that to show that it awaits.
   *
   * @default {null}
   */
  maxPoisoned?: number | null;
}

type OwnOptions = Omit<ThreadingOptions, keyof ConcurrencyOptions>;

const SETTINGS: Settings<OwnOptions> = {
  maxThreads: {
    default: Math.max(16, 4 * navigator.hardwareConcurrency),
    check: integerFrom(1, 4096),
  },
  minSpareThreads: { default: 1, check: integerFrom(0, 4096) },
  threadIdleTimeout: { default: 30_000, check: timeFrom(0) },
  maxRequestsPerThread: { default: 0, check: integerFrom(0, Number.MAX_SAFE_INTEGER) },
  daemonThreads: { default: false, check: checkBoolean },
  ...POISONED_SETTING,
};

/**
 * A server class with {@linkcode ThreadingMixIn} in it.
 *
 * @typeParam Base The server class without.
 */
export type Threading<Base extends Constructor<AnyServer>> = MixedIn<
  Base,
  ThreadingOptions,
  {
    /** `maxThreads`, and how many clients wait beside that end their streams without a word. */
    readonly maxConnections: number;
    /** How clients come to their Workers, and why. */
    readonly threadingMode: ThreadingMode;
  },
  RemoteHandlerClass
>;

/**
 * Makes a server class run each request in a Web Worker, which the request has to itself while it runs: a handler may
 * compute or block for as long as it likes without delaying others.
 *
 * Where nothing needs the connections in the main isolate, Workers accept clients by themselves ("direct"); else the main
 * isolate accepts them and relays what they send and get. The relay serves:
 *
 * - TLS, Unix sockets and datagrams;
 * - a handler that may block (see `blocking` of {@linkcode BaseRequestHandler});
 * - a server with a `getRequest()`, `processRequest()`, `prepareRequest()`, `finishRequest()`, `shutdownRequest()`,
 *   `closeRequest()` or an opening of its socket of its own;
 * - one with `maxConnectionsPerSource`, with `minSpareThreads` of 0, or with a `requestContext()` that makes another object
 *   each time;
 * - one that may not listen on its port again (`--allow-net` for port 0 alone);
 * - all requests of `handleRequest()`, and of what follows it.
 *
 * It is decided when `serveForever()` begins, and `threadingMode` tells it. Under direct serving `verifyRequest()` and
 * `handleError()` get a request of which only the addresses can be used, `requestContext()` is called once for each
 * `serveForever()`, and hooks that are given to the server meanwhile count from the next.
 *
 * The handler is loaded in the Worker from its own module, so its class must be exported and say where: `static
 * override readonly moduleUrl = import.meta.url`. What the handler needs of its server comes by `requestContext()` (it
 * sees a {@linkcode ServerView}); memory that it has in common with others is a `SharedArrayBuffer` there. Locks and
 * messages among Workers are the platform's: `navigator.locks`, and a `BroadcastChannel`, which keeps 256 messages for
 * one that is busy and drops the others. `server.call()` calls the server itself. Workers are used again for later
 * requests, so what a module keeps in a variable outlives the request; `maxRequestsPerThread = 1` prevents that. What
 * a handler or a library posts with `postMessage()` reaches nobody. Hooks such as `verifyRequest()` and
 * `handleError()` run in the main isolate. Workers have the permissions of the program, and need `--allow-read` for
 * the handler's modules; not so in a program made by `deno compile`, which has embedded them.
 *
 * While the server serves, its Workers keep the program alive, which `unref()` cannot change; soon after
 * `serveForever()` or `handleRequest()` has ended so do those that have no request.
 *
 * Where three starts in a row fail and no Worker has ever been of use, `serveForever()` rejects with the first error;
 * failures of a server that has served are logged, and met by the clients that wait for a Worker.
 *
 * A Worker that does not end when its request is cut off is given up on: Deno cannot stop a loop that never awaits.
 * Its client is gone and its place is free; `stats()` counts it as poisoned for as long as it runs.
 *
 * @typeParam Base The server class to mix into.
 * @param Base A server class.
 * @returns The server class with the mix-in; extend it, or use one that is ready-made.
 *
 * @example A class of one's own
 * ```ts
 * import { StreamRequestHandler, TCPServer, ThreadingMixIn } from "@netkit/socketserver";
 *
 * export class PrimeHandler extends StreamRequestHandler {
 *   static override readonly moduleUrl = import.meta.url;
 *   override async handle() {
 *     await this.wfile.write("2 3 5 7\n");
 *   }
 * }
 * class PrimeServer extends ThreadingMixIn(TCPServer) {
 *   static override maxThreads = 8;
 * }
 * if (import.meta.main) {
 *   await using server = new PrimeServer({ hostname: "127.0.0.1", port: 0 }, PrimeHandler);
 *   await server.serveForever();
 * }
 * ```
 * @tags allow-read
 * @category Mix-ins
 */
export function ThreadingMixIn<Base extends Constructor<AnyServer>>(Base: Base): Threading<Base> {
  const [Remote, execute] = remoteMixIn<AnyServer & Required<ThreadingOptions>, ThreadWorker>(
    Base,
    { mixIn: "ThreadingMixIn", place: "Worker", most: "maxThreads" },
  );
  abstract class ThreadingServer extends Remote {
    static override readonly name: string = `Threading${Base.name}`;
    readonly #executor: Executor<ThreadWorker>;
    /** How the server serves where its Workers accept by themselves. */
    #threads: ThreadLoop | null = null;
    readonly #bound = new PoisonedBound(this as PoisonedHost, {
      places: () => this.maxThreads,
      poisoned: () => this.#executor.pool.poisoned + (this.#threads?.supervisor.poisoned ?? 0),
      onFailure: (error) => {
        this.#executor.fail(error);
        this.#threads?.direct.fail(error);
      },
    });

    // deno-lint-ignore no-explicit-any -- see Constructor
    constructor(...args: any[]) {
      super(...args);
      const onAbortFault = (error: unknown) => logOf(this, "error", ABORT_FAULT, error);
      const onPoisoned = () => this.#poisonedChanged();
      this.#executor = execute(this, {
        kind: "Worker",
        sharesMemory: true,
        maxWaiting: MAX_WAITING,
        hasRoom: hasRoomForClient,
        start: (init, conditions) => {
          const reserve = () => Math.min(this.maxThreads - this.#executor.active.size, MAX_RESERVE);
          return ThreadWorker.start(init, { ...conditions, reserve, onAbortFault });
        },
        max: () => Math.max(0, this.#bound.left - (this.#threads?.supervisor.alive ?? 0)),
        minSpare: () => this.minSpareThreads,
        idleTimeout: () => this.threadIdleTimeout,
        maxRequests: () => this.maxRequestsPerThread,
        onPoisoned,
      });
      degradeWhen(this, () => this.#bound.isReached);
      if (!(this instanceof TCPServer)) return;
      const host = this as unknown as ThreadHost;
      serveBy(this, (usual) =>
        this.#threads = new ThreadLoop(host, usual, {
          handler: this.#executor.handler,
          whyRelay: () => whyRelay(host, ThreadingServer.prototype, Base.prototype),
          relay: (loop) => {
            this.#executor.pool.isProven = true; // as Workers that accept have been of use
            return this.#executor.handleOne(loop, () => void this.shutdown());
          },
          size: () => this.#bound.left,
          onEnd: () => this.#executor.pool.fill(),
          onPoisoned,
        }));
    }

    #poisonedChanged(): void {
      this.#bound.note();
      this.#executor.pool.fill();
      this.#threads?.supervisor.fill();
    }

    static {
      defineSettings<OwnOptions, ThreadingServer>(this, SETTINGS, {
        onSet(server) {
          server.#poisonedChanged();
          server.#threads?.limit();
          admitMore(server);
        },
      });
    }

    get threadingMode(): ThreadingMode {
      return this.#threads?.mode ??
        { way: "relay", reason: "its clients come by another way than TCP" };
    }

    override get requestTimeout(): number | null {
      return super.requestTimeout;
    }

    override set requestTimeout(limit: number | null) {
      super.requestTimeout = limit;
      if (#threads in this) this.#threads?.limit();
    }

    override get blockOnClose(): boolean {
      return super.blockOnClose && !this.daemonThreads;
    }

    override set blockOnClose(value: boolean) {
      super.blockOnClose = value;
    }

    /** Opens one that Workers can join in, where it would be an ordinary one on TCP. */
    openListener(): Deno.Listener {
      const server = this as unknown as TCPServer;
      const { openListener } = Base.prototype as TCPServer;
      const isPlain = openListener === TCPServer.prototype.openListener && !server.allowReusePort;
      const usual = () => openListener.call(server);
      return isPlain ? openShared(server, usual) : usual();
    }

    override async serveForever(options: ServeOptions = {}): Promise<void> {
      this.checkSettings(); // before any worker starts
      this.#bound.check();
      if (!this.#threads?.decide()) await super.serveForever(options);
      else await (Base.prototype as AnyServer).serveForever.call(this, options);
    }

    override async handleRequest(): Promise<void> {
      this.checkSettings();
      this.#bound.check();
      this.#threads?.noteRelay();
      await super.handleRequest();
    }

    override async serverClose(): Promise<void> {
      try {
        await super.serverClose();
      } finally {
        if (this.daemonThreads) {
          this.#executor.end();
          for (const worker of this.#executor.active) worker.kill();
          this.#threads?.supervisor.terminate();
        }
      }
    }
  }
  // The type checker cannot see what defineSettings() adds.
  return ThreadingServer as unknown as Threading<Base>;
}
