/**
 * Where the package's log lines go: the logger named "socketserver" of `@std/log`, or the one a program gives.
 *
 * This is the only file that knows `@std/log`.
 *
 * @module
 */
import { BaseHandler, getLogger, Logger } from "@std/log";
import { describeThrown, isInstance, messageOf, propertyOf } from "./errors.ts";

/**
 * What a server needs of a logger: `@std/log`'s `Logger` and `console` both fit.
 *
 * @example Log to the console
 * ```ts
 * import { type ServerLogger, TCPServer } from "@netkit/socketserver";
 *
 * const logger: ServerLogger = console;
 * await using server = new TCPServer({ hostname: "127.0.0.1", port: 0 }, () => {}, { logger });
 * ```
 */
export interface ServerLogger {
  /** What only a person who looks for a fault wants to see: a client that went away. */
  debug(message: string): unknown;
  /** What happened, and is as it should be. */
  info(message: string): unknown;
  /** What a client did wrong, or what will be tried again. */
  warn(message: string): unknown;
  /** What the program did wrong: an error that a handler threw. */
  error(message: string): unknown;
}

/** The name of the logger in `@std/log` that a program may configure. */
export const LOGGER_NAME = "socketserver";

/** Writes to standard error, so that what a program prints itself stays clean. */
class StderrHandler extends BaseHandler {
  log(message: string): void {
    console.error(message);
  }
}

let fallback: Logger | undefined;

/** The configured logger, or one that shows INFO and above where the program has not configured any. */
function currentLogger(): Logger {
  const configured = getLogger(LOGGER_NAME);
  if (configured.handlers.length > 0 || configured.levelName !== "NOTSET") return configured;
  fallback ??= new Logger(LOGGER_NAME, "INFO", { handlers: [new StderrHandler("INFO")] });
  return fallback;
}

/** Looks the logger up at each line, so that a program may configure it before or after the server. */
export const defaultLogger: ServerLogger = {
  debug: (message) => currentLogger().debug(message),
  info: (message) => currentLogger().info(message),
  warn: (message) => currentLogger().warn(message),
  error: (message) => currentLogger().error(message),
};

const LEVELS = ["debug", "info", "warn", "error"] as const;

/**
 * Checks what a server was given as its logger.
 *
 * @throws {TypeError} When one of the four methods is missing.
 */
export function checkLogger(logger: ServerLogger): ServerLogger {
  const missing = LEVELS.find((level) => typeof logger?.[level] !== "function");
  if (missing === undefined) return logger;
  throw new TypeError(`Cannot use option 'logger': it has no method "${missing}"`);
}

/** Writes a log line; a logger that fails, now or later, must not harm the service. */
export function logTo(logger: ServerLogger, level: keyof ServerLogger, message: string): void {
  try {
    const written = logger[level](message);
    // There is no other place to say it.
    if (written instanceof Promise) written.catch(() => {});
  } catch {
    // As above.
  }
}

/** What an error says, on one line; its stack is for those who look for a fault. */
export function oneLine(error: unknown): string {
  if (!isInstance(error, Error)) return describeThrown(error, { breakLength: Infinity });
  const [line = ""] = messageOf(error).split("\n");
  const cause = propertyOf(error, "cause");
  return cause === undefined || isInstance(cause, Error) ? line : `${line} (${oneLine(cause)})`;
}

/** Lets one line through a second and counts what it holds back. */
export class RateLimit {
  #next = 0;
  #held = 0;

  /**
   * Asks whether a line may be written now.
   *
   * @param now The time, in milliseconds, from a clock that never goes back.
   * @returns How many lines were held back since the last, or `null` when this one is held back too.
   */
  take(now: number): number | null {
    if (now < this.#next) {
      this.#held++;
      return null;
    }
    const held = this.#held;
    this.#next = now + 1000;
    this.#held = 0;
    return held;
  }
}
