/**
 * What servers may be told, and the checks at the door.
 *
 * @module
 */
import type { ClientAddress } from "./address.ts";
import type { ServerLogger } from "./log.ts";

/** Options of every server. */
export interface ServerOptions {
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
  /**
   * Called with what a request failed with, and who asked, in place of what `handleError()` writes to the log; a class
   * with a `handleError()` of its own decides whether it calls `super.handleError()`. What it throws is logged.
   */
  onError?: (error: unknown, clientAddress: ClientAddress) => void | Promise<void>;
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
  /**
   * Called before the server begins to serve, with where it listens, and awaited, though not for longer than the server
   * is to serve; what it throws ends the loop.
   */
  onListen?: (serverAddress: ClientAddress) => void | Promise<void>;
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

/** How long `drain()` lets running requests go on when nobody says, in milliseconds. */
export const DRAIN_TIMEOUT = 10_000;

/** The longest time a timer takes, in milliseconds (2^31 − 1, near 25 days). */
export const MAX_TIMER = 2_147_483_647;

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
 * Checks an option that is a function, or left out.
 *
 * @throws {TypeError} When it is something else.
 */
export function checkCallback<Callback>(
  name: string,
  value: Callback | undefined,
): Callback | undefined {
  if (value === undefined || typeof value === "function") return value;
  throw new TypeError(`Cannot use option '${name}': expected a function, got ${shown(value)}`);
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

/** A check of an option that may be `null` as well. */
export function nullOr<Value>(
  check: (name: string, value: unknown) => Value,
): (name: string, value: unknown) => Value | null {
  return (name, value) => value === null ? null : check(name, value);
}

/** A check of an option that is an integer from `min` to `max`. */
export function integerFrom(min: number, max: number): (name: string, value: unknown) => number {
  return (name, value) => checkInteger(name, value, min, max);
}

/** A check of an option that is a time in milliseconds, or `null` for none. */
export function timeFrom(min: number): (name: string, value: unknown) => number | null {
  return (name, value) => checkTime(name, value, min);
}

/** A value as an error message shows it. */
export function shown(value: unknown): string {
  return Deno.inspect(value, {
    compact: true,
    breakLength: Infinity,
    strAbbreviateSize: 60,
    depth: 1,
  });
}
