/**
 * Each request in a subprocess.
 *
 * @module
 */
import type { ConcurrencyOptions, Constructor, MixedIn } from "../families/concurrent_mix_in.ts";
import { nameOf } from "../base/errors.ts";
import { delay } from "../base/time.ts";
import { admitMore } from "../core/loop/serve_loop.ts";
import { logOf } from "../core/faults.ts";
import { integerFrom, nullOr, timeFrom } from "../base/options.ts";
import { defineSettings, type Settings } from "../base/settings.ts";
import { ProcessWorker } from "../workers/process/process_worker.ts";
import type { Executor } from "../workers/relay/executor.ts";
import type { AnyServer } from "../core/base_server.ts";
import type { RemoteHandlerClass } from "../core/server_view.ts";
import { remoteMixIn } from "./remote_mix_in.ts";
import type { SocketAddress } from "../base/address.ts";

/** Options of the servers with {@linkcode ForkingMixIn}; the others refuse them. */
export interface ForkingOptions extends Omit<ConcurrencyOptions, "maxConnections"> {
  /**
   * The most subprocesses at once, and with them requests. Each takes five of the server's descriptors, its client's
   * included (`ulimit -n`). Clients that end their streams without a word before there is a subprocess for them, as
   * those do that have gone, wait beside these, and behind all others: as many as this number, and at least 40. When
   * there is one too many, the one that has waited the longest is closed, which is a warning in the log.
   *
   * @default {40}
   */
  maxChildren?: number;
  /**
   * How many subprocesses are kept ready.
   *
   * @default {1}
   */
  minSpareChildren?: number;
  /**
   * How many requests a subprocess serves; 1 for a fresh one for each request, 0 for any number.
   *
   * @default {1}
   */
  maxRequestsPerChild?: number;
  /**
   * How long a subprocess beyond the spare ones may be idle, in milliseconds; `null` for ever.
   *
   * @default {30000}
   */
  childIdleTimeout?: number | null;
  /**
   * What the subprocesses may do, as flags of Deno: `["--allow-net=example.com:443"]`. They need none to load the
   * handler and to talk to the client. Other flags go as well, such as `--config=` where theirs is not next to the
   * handler's module: subprocesses have none of the flags of the program.
   *
   * @default {[]}
   */
  childPermissions?: readonly string[];
  /**
   * What the subprocesses have in their environment besides what Deno itself needs (`PATH`, `HOME`, `DENO_*`, proxies,
   * locale), which it overrides; a handler that reads it needs `--allow-env` among `childPermissions` as well. From a
   * server without `--allow-env`, which cannot pick out what Deno needs, they inherit the whole environment.
   */
  childEnv?: Readonly<Record<string, string>>;
  /**
   * How large the heap of a subprocess may become, in MiB (V8's `--max-old-space-size`, 16 or more); `null` for as
   * large as V8 lets it. Beyond, the subprocess ends, and its request fails with a `WorkerDiedError`. A Worker that the
   * handler starts has a heap of its own, as large again, and what the buffers of typed arrays hold does not count: for
   * both, limit the memory of the server's whole control group, or on Linux start the server by
   * `prlimit --data=800000000`, in bytes for each process, of which Deno 2.9.6 reserves 570 MB. Then allocations throw
   * a `RangeError`, or the subprocess ends.
   *
   * @default {null}
   */
  childMemoryLimit?: number | null;
}

type OwnOptions = Omit<ForkingOptions, keyof ConcurrencyOptions>;

const SETTINGS: Settings<OwnOptions> = {
  maxChildren: { default: 40, check: integerFrom(1, 4096) },
  minSpareChildren: { default: 1, check: integerFrom(0, 4096) },
  maxRequestsPerChild: { default: 1, check: integerFrom(0, Number.MAX_SAFE_INTEGER) },
  childIdleTimeout: { default: 30_000, check: timeFrom(0) },
  childPermissions: { default: [], check: checkFlags },
  childEnv: { default: {}, check: checkEnv },
  childMemoryLimit: { default: null, check: nullOr(integerFrom(16, 1024 * 1024)) },
};

/**
 * A server class with {@linkcode ForkingMixIn} in it.
 *
 * @typeParam Base The server class without.
 */
export type Forking<Base extends Constructor<AnyServer>> = MixedIn<
  Base,
  ForkingOptions,
  {
    /** `maxChildren`, and how many may wait beside those, as is said there. */
    readonly maxConnections: number;
    /** The process ids of the subprocesses that serve a request. */
    readonly activeChildren: ReadonlySet<number>;
    /**
     * Called where Python reaps its children, which Deno does by itself. With `blocking` it waits until no subprocess
     * serves a request any more.
     */
    collectChildren(options?: { blocking?: boolean }): Promise<void>;
  },
  RemoteHandlerClass
>;

/** How long the start of a spare child leaves the cores to the request that took the last one, in milliseconds. */
const SPARE_DELAY = 10;
/** How many clients may wait for subprocesses for which there are no descriptors; the next is not accepted. */
const MAX_WAITING = 4;
/** What the environment of a child has when nobody says: what Deno reads itself. */
const ENV_NAMES = [
  ...["PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "XDG_CACHE_HOME", "NO_COLOR"],
  ...["DENO_DIR", "DENO_TLS_CA_STORE", "DENO_CERT", "DENO_AUTH_TOKENS", "JSR_URL"],
  ...["DENO_COVERAGE_DIR", "NPM_CONFIG_REGISTRY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"],
];

/**
 * Makes a server class run each request in a subprocess (`Deno.Command`), which the request has to itself: what a
 * handler does to its process harms nobody else, and it may do only what `childPermissions` say.
 *
 * A subprocess starts from nothing, as there is no `fork()` here: the handler is loaded from its own module, so its class
 * must be exported and say where, `static override readonly moduleUrl = import.meta.url`, and memory is not shared: what
 * the handler needs of its server comes by `requestContext()` (it sees a {@linkcode ServerView}). A spare subprocess hides
 * the start. What a handler prints goes to the server's log. Hooks such as `verifyRequest()` and `handleError()` run in
 * the server's own process, which owns the sockets.
 *
 * A subprocess that dies is a `WorkerDiedError` with the exit code or the signal. None outlives the server, even one that
 * was killed, by more than 2 s; but where that was killed, a handler that never awaits ends first. Where three starts in a
 * row fail and no subprocess has ever been of use, `serveForever()` rejects with the first error; later failures are
 * logged. Needs `--allow-run` of Deno itself (`Deno.execPath()`).
 *
 * `server.timeout` is 300,000 ms here, as in Python. A program made by `deno compile` cannot fork.
 *
 * @typeParam Base The server class to mix into.
 * @param Base A server class.
 * @returns The server class with the mix-in; extend it, or use one that is ready-made.
 *
 * @example A class of one's own
 * ```ts
 * import { ForkingMixIn, StreamRequestHandler, TCPServer } from "@netkit/socketserver";
 *
 * export class PidHandler extends StreamRequestHandler {
 *   static override readonly moduleUrl = import.meta.url;
 *   override async handle() {
 *     await this.wfile.write(`${Deno.pid}\n`);
 *   }
 * }
 * class PidServer extends ForkingMixIn(TCPServer) {
 *   static override maxChildren = 8;
 * }
 * if (import.meta.main) {
 *   await using server = new PidServer({ hostname: "127.0.0.1", port: 0 }, PidHandler);
 *   await server.serveForever();
 * }
 * ```
 * @tags allow-run
 * @category Mix-ins
 */
export function ForkingMixIn<Base extends Constructor<AnyServer>>(Base: Base): Forking<Base> {
  const [Remote, execute] = remoteMixIn<AnyServer & Required<ForkingOptions>, ProcessWorker>(
    Base,
    { mixIn: "ForkingMixIn", place: "subprocess", most: "maxChildren" },
  );
  abstract class ForkingServer extends Remote {
    static override readonly name: string = `Forking${Base.name}`;
    static timeout: number | null = 300_000;
    readonly #executor: Executor<ProcessWorker>;
    /** Called when no subprocess serves a request any more. */
    #whenNoneActive: (() => void)[] = [];

    // deno-lint-ignore no-explicit-any -- see Constructor
    constructor(...args: any[]) {
      if (Deno.build.standalone) { // it would start itself, without end
        const name = nameOf(new.target);
        throw new Deno.errors.NotSupported(
          `Cannot use ${name} in a program made by deno compile: it has no Deno to start; use a threading server`,
        );
      }
      super(...args);
      this.#executor = execute(this, {
        kind: "child",
        sharesMemory: false,
        maxWaiting: MAX_WAITING,
        start: async (init, conditions) => {
          if (this.#executor.waiting(this.stats()) <= 0) await delay(SPARE_DELAY);
          return await ProcessWorker.start(init, {
            ...conditions,
            flags: this.childPermissions,
            memoryLimit: this.childMemoryLimit,
            env: { ...defaultEnv(), ...this.childEnv },
            clearEnv: mayReadEnv(),
            onLine: (line) => logOf(this, "info", line),
          });
        },
        max: () => this.maxChildren,
        minSpare: () => this.minSpareChildren,
        idleTimeout: () => this.childIdleTimeout,
        maxRequests: () => this.maxRequestsPerChild,
      });
    }

    static {
      defineSettings<OwnOptions, ForkingServer>(this, SETTINGS, {
        onSet(server) {
          server.#executor.pool.fill();
          admitMore(server);
        },
      });
    }

    get activeChildren(): ReadonlySet<number> {
      return new Set(Array.from(this.#executor.active, ({ pid }) => pid));
    }

    async collectChildren({ blocking = false }: { blocking?: boolean } = {}): Promise<void> {
      if (!blocking || this.#executor.active.size === 0) return;
      await new Promise<void>((resolve) => this.#whenNoneActive.push(resolve));
    }

    override async finishRequest(request: unknown, clientAddress: SocketAddress): Promise<void> {
      try {
        await super.finishRequest(request, clientAddress);
      } catch (error) {
        nameSetting(error);
        throw error;
      } finally {
        if (this.#executor.active.size === 0) {
          for (const resolve of this.#whenNoneActive.splice(0)) resolve();
        }
      }
    }
  }
  // The type checker cannot see what defineSettings() adds.
  return ForkingServer as unknown as Forking<Base>;
}

function checkFlags(name: string, value: unknown): readonly string[] {
  if (Array.isArray(value) && value.every((flag) => typeof flag === "string" && /^-/.test(flag))) {
    return value;
  }
  throw new TypeError(
    `Cannot use option '${name}': expected flags such as "--allow-net", got ${Deno.inspect(value)}`,
  );
}

function checkEnv(name: string, value: unknown): Readonly<Record<string, string>> {
  if (
    typeof value === "object" && value !== null &&
    Object.values(value).every((text) => typeof text === "string")
  ) return value as Record<string, string>;
  throw new TypeError(`Cannot use option '${name}': expected an object of strings`);
}

/**
 * Takes over what Deno needs. Without `--allow-env` nobody can tell that from the rest, and a child without it finds
 * neither its cache nor its registry; it inherits all then, which it may not look into either.
 */
function defaultEnv(): Record<string, string> {
  if (!mayReadEnv()) return {};
  const values = ENV_NAMES.map((name) => [name, Deno.env.get(name)]);
  return Object.fromEntries(values.filter(([, value]) => value !== undefined));
}

function mayReadEnv(): boolean {
  return ENV_NAMES.every((variable) =>
    Deno.permissions.querySync({ name: "env", variable }).state === "granted"
  );
}

/** Deno says with which flag to run the program; where a subprocess lacks a permission, that is a setting here. */
function nameSetting(error: unknown): void {
  const seen = new Set<unknown>();
  for (let link = error; link instanceof Error && !seen.has(link); link = link.cause) {
    seen.add(link);
    for (const name of ["message", "stack"] as const) {
      const text: unknown = link[name];
      if (typeof text !== "string") continue;
      const value = text.replace(
        /run again with the (--allow-[a-z-]+) flag/g,
        `add "$1" to 'childPermissions' of the server`,
      );
      // Defined and not set: that of a DOMException is read-only.
      if (value !== text) {
        Reflect.defineProperty(link, name, { value, configurable: true, writable: true });
      }
    }
  }
}
