/**
 * What servers may be told, and the checks at the door.
 *
 * @module
 */
import { nameOf } from "./errors.ts";
import type { ServerLogger } from "./log.ts";

/**
 * Options of the servers that serve many requests at a time, which are those with {@linkcode ConcurrentMixIn};
 * the others refuse them.
 */
export interface ConcurrencyOptions {
  /**
   * How many requests may be under way at once. At the limit nothing is accepted: clients wait in the system's
   * queue.
   *
   * @default {1024}
   */
  maxConnections?: number;
  /**
   * How many requests of one client may be under way at once; one more is closed at once. `null` for any number.
   * An IPv6 client counts by its /64 network, an IPv4 address mapped into IPv6 as IPv4. Unix clients all count
   * as one.
   *
   * @default {null}
   */
  maxConnectionsPerSource?: number | null;
  /**
   * How long one request may take, its TLS handshake included, in milliseconds; `null` for ever. Then it is
   * aborted, and `handleError()` gets a `Deno.errors.TimedOut`.
   *
   * @default {null}
   */
  requestTimeout?: number | null;
  /**
   * Whether `serverClose()` waits for the requests under way.
   *
   * @default {true}
   */
  blockOnClose?: boolean;
}

/** Options of the servers with {@linkcode ThreadingMixIn}; the others refuse them. */
export interface ThreadingOptions {
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
}

/** Options of the servers with {@linkcode ForkingMixIn}; the others refuse them. */
export interface ForkingOptions {
  /**
   * The most subprocesses at once, and with them requests. Each takes five of the server's descriptors, its client's
   * included (`ulimit -n`). Of the clients that end their streams without a word before there is a subprocess for
   * them, which most do that have gone, a quarter of this number (at least 4) may wait; one more is closed.
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
   * large as V8 lets it. Beyond, the subprocess ends, and its request fails with a `WorkerDiedError`. What the buffers of
   * typed arrays hold does not count: for that, limit the memory of the server's whole control group.
   *
   * @default {null}
   */
  childMemoryLimit?: number | null;
}

/** Options of every server. */
export interface ServerOptions extends ConcurrencyOptions, ThreadingOptions, ForkingOptions {
  /**
   * Whether the constructor binds and activates. With `false` the caller sets instance properties, then
   * calls `serverBind()` and `serverActivate()`, and closes the server when either fails.
   *
   * @default {true}
   */
  bindAndActivate?: boolean;
  /**
   * How long `handleRequest()` waits for a request, in milliseconds; 0 looks once, `null` waits for ever.
   *
   * @default {null}
   */
  timeout?: number | null;
  /** Where log lines go; without it, to the logger "socketserver" of `@std/log`. */
  logger?: ServerLogger;
}

/** Options of {@linkcode BaseServer.serveForever}. */
export interface ServeOptions {
  /**
   * How often `serviceActions()` is called while nothing arrives, in milliseconds. Nothing else waits for
   * it: without an overridden `serviceActions()` there is no timer at all.
   *
   * @default {500}
   */
  pollInterval?: number;
  /** Ends the loop as `shutdown()` does when it is aborted; the promise resolves. */
  signal?: AbortSignal;
}

/** Options of {@linkcode BaseServer.drain}. */
export interface DrainOptions {
  /**
   * How long running and waiting requests get, in milliseconds; `null` waits for ever. Nobody is accepted for longer
   * than the first second of it.
   *
   * @default {10000}
   */
  timeout?: number | null;
}

/** What {@linkcode BaseServer.drain} did. */
export interface DrainResult {
  /** Requests that ended by themselves while the server drained. */
  completed: number;
  /** Requests that were still running at the time limit and were cut off. */
  aborted: number;
}

/** The longest time a timer takes, in milliseconds (2^31 − 1, near 25 days). */
const MAX_TIMER = 2_147_483_647;

/** The options that not every server has, wherever they are declared. */
const MIX_IN_OPTIONS: readonly string[] = [
  "maxConnections",
  "maxConnectionsPerSource",
  "requestTimeout",
  "blockOnClose",
  "maxThreads",
  "minSpareThreads",
  "threadIdleTimeout",
  "maxRequestsPerThread",
  "daemonThreads",
  "maxChildren",
  "minSpareChildren",
  "maxRequestsPerChild",
  "childIdleTimeout",
  "childPermissions",
  "childEnv",
  "childMemoryLimit",
  "workers",
  "maxConnectionsPerWorker",
];

/**
 * Refuses an option that a server has no use for.
 *
 * @throws {TypeError} When there is one.
 */
export function refuseForeignOptions(server: object, options: ServerOptions): void {
  for (const name of MIX_IN_OPTIONS) {
    if (Reflect.get(options, name) === undefined || isSettable(server, name)) continue;
    throw noSuchSetting("option", name, server);
  }
}

/**
 * Passes on to the setters what a subclass has written as fields (`override maxThreads = 8`), which would hide them.
 *
 * @throws {TypeError} When there is no such setting, or the value is none.
 * @throws {RangeError} When the value is out of range.
 */
export function adoptFields(server: object): void {
  for (const name of MIX_IN_OPTIONS) {
    const field = Object.getOwnPropertyDescriptor(server, name);
    if (field === undefined || !(name in Object.getPrototypeOf(server))) continue;
    if (!isSettable(Object.getPrototypeOf(server), name)) {
      throw noSuchSetting("field", name, server);
    }
    Reflect.deleteProperty(server, name);
    try {
      Reflect.set(server, name, field.value);
    } catch (error) {
      Object.defineProperty(server, name, field); // so that the next call finds it, too
      throw error;
    }
  }
}

/** Whether {@linkcode adoptFields} has nothing to refuse. */
export function fieldsFit(server: object): boolean {
  try {
    adoptFields(server);
    return true;
  } catch {
    return false;
  }
}

/**
 * Refuses to serve with settings that have been changed since the bind, when they have no effect any more.
 *
 * @param bound What the server was bound with; null before.
 * @throws {TypeError} When one has another value now.
 */
export function checkUnchanged(
  server: object,
  bound: Readonly<Record<string, unknown>> | null,
): void {
  for (const [name, value] of Object.entries(bound ?? {})) {
    const now: unknown = Reflect.get(server, name);
    if (now === value) continue;
    throw new TypeError(
      `Cannot set '${name}' to ${shown(now)}: the server was bound with ${shown(value)} before; ` +
        `write 'static override ${name} = ${shown(now)}', or give an option`,
    );
  }
}

function noSuchSetting(what: string, name: string, server: object): TypeError {
  const known = nameOf(server.constructor);
  return new TypeError(`Cannot use ${what} '${name}' with ${known}: it has no such setting`);
}

function isSettable(object: object | null, name: string): boolean {
  for (let at = object; at !== null; at = Object.getPrototypeOf(at)) {
    const property = Object.getOwnPropertyDescriptor(at, name);
    if (property !== undefined) return property.set !== undefined;
  }
  return false;
}

/** An option, or its default where it was not given; `null` is given, and left to the checks. */
export function orDefault<T>(option: T | undefined, fallback: T): T {
  return option === undefined ? fallback : option;
}

/**
 * Checks an option that is true or false.
 *
 * @throws {TypeError} When it is neither.
 */
export function checkBoolean(name: string, value: unknown): boolean {
  if (typeof value === "boolean") return value;
  throw new TypeError(`Cannot use option '${name}': expected a boolean, got ${shown(value)}`);
}

/**
 * Checks an integer option.
 *
 * @throws {TypeError} When it is no number.
 * @throws {RangeError} When it is not an integer from `min` to `max`.
 */
export function checkInteger(name: string, value: unknown, min: number, max: number): number {
  if (typeof value !== "number") {
    throw new TypeError(`Cannot use option '${name}': expected a number, got ${shown(value)}`);
  }
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new RangeError(
      `Cannot use option '${name}': expected an integer from ${min} to ${max}, got ${value}`,
    );
  }
  return value;
}

/**
 * Checks a time in milliseconds, or `null` for none.
 *
 * @throws {TypeError} When it is neither a number nor null.
 * @throws {RangeError} When it is out of the range of a timer.
 */
export function checkTime(name: string, value: unknown, min = 0): number | null {
  if (value === null) return null;
  if (typeof value !== "number") {
    throw new TypeError(
      `Cannot use option '${name}': expected milliseconds or null, got ${shown(value)}`,
    );
  }
  if (!(value >= min && value <= MAX_TIMER)) {
    throw new RangeError(
      `Cannot use option '${name}': expected ${min} to ${MAX_TIMER} milliseconds or null, got ${value}`,
    );
  }
  return value;
}

/** A value as an error message shows it. */
function shown(value: unknown): string {
  return Deno.inspect(value, {
    compact: true,
    breakLength: Infinity,
    strAbbreviateSize: 60,
    depth: 1,
  });
}
