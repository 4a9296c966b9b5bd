/**
 * Log lines: what a server needs of a logger, and how what clients and handlers say becomes lines that cannot be forged.
 *
 * @module
 */
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

/** The methods of a logger, the least important first. */
export const LEVELS = ["debug", "info", "warn", "error"] as const;

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

/** The longest line that is logged, in bytes of UTF-8. */
const MAX_LINE = 4096;
/** How many lines are logged of an error and its causes. */
const MAX_LINES = 64;
/** How many causes of causes are looked at. */
const MAX_CAUSES = 8;
/** What the lines of an error's stack begin with, and none that says something of its own. */
const INDENT = "    ";

const encoder = new TextEncoder();
const lineBytes = new Uint8Array(MAX_LINE);
/** What moves the cursor, ends a line, turns the direction of writing around or is no character at all. */
const UNSAFE = /[\p{Cc}\p{Zl}\p{Zp}\p{Cs}\p{Bidi_Control}]/gu;
const ESCAPES: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/**
 * Writes text of anybody as one line for a log or a terminal: line ends and control characters as in a program (`\n`,
 * `\x1b`), and so what turns the direction of writing around and halves of characters. What is longer than 4 KiB is cut.
 *
 * @param text What to write.
 * @returns The line, with how many characters there are where those are more.
 *
 * @example Log what a client said
 * ```ts
 * import { formatText } from "@netkit/socketserver";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(formatText("Grüße\nforged \x1b[2J"), String.raw`Grüße\nforged \x1b[2J`);
 * ```
 * @category Logging
 */
export function formatText(text: string): string {
  const start = text.slice(0, MAX_LINE).replace(UNSAFE, escaped);
  const { read } = encoder.encodeInto(start, lineBytes);
  if (read === start.length && text.length <= MAX_LINE) return start;
  return `${start.slice(0, read)}... (of ${text.length} characters)`;
}

function escaped(character: string): string {
  const code = character.codePointAt(0)!.toString(16);
  return ESCAPES[character] ??
    (code.length <= 2 ? `\\x${code.padStart(2, "0")}` : `\\u{${code}}`);
}

/**
 * Writes a log line, made safe by {@linkcode formatText}.
 *
 * @param errors What was thrown, if anything; its stack and its causes follow in lines of their own.
 */
export function logTo(
  logger: ServerLogger,
  level: keyof ServerLogger,
  message: string,
  ...errors: [error?: unknown]
): void {
  if (errors.length === 0) return write(logger, level, formatText(message));
  const [first = "", ...more] = errorLines(errors[0]);
  write(logger, level, paragraph([`${message}: ${first}`, ...more]));
}

/** Writes a log line, or several, which {@linkcode logTo} has made elsewhere. */
export function passOn(logger: ServerLogger, level: keyof ServerLogger, text: string): void {
  write(logger, level, paragraph(text.split("\n")));
}

/** Makes text of lines of which only the first stands where a line of the log begins. */
export function paragraph([first = "", ...more]: string[]): string {
  const indented = more.slice(0, MAX_LINES).map((line) => INDENT + formatText(line.trimStart()));
  return [formatText(first), ...indented].join("\n");
}

/** A logger that fails, now or later, must not harm the service. */
function write(logger: ServerLogger, level: keyof ServerLogger, text: string): void {
  try {
    const written = logger[level](text);
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

/** What an error says, where it comes from, and the same of its causes. */
function errorLines(error: unknown): string[] {
  const lines: string[] = [];
  let link = error;
  for (let depth = 0; depth < MAX_CAUSES && (depth === 0 || link !== undefined); depth++) {
    const prefix = depth === 0 ? "" : "[cause]: ";
    if (!isInstance(link, Error)) return [...lines, prefix + oneLine(link)];
    lines.push(...linesOf(link, prefix));
    link = propertyOf(link, "cause");
  }
  return lines;
}

/** What one error says, less its cause; nothing on it need be what it is on others. */
function linesOf(error: Error, prefix: string): string[] {
  const [name, stack, errors] = ["name", "stack", "errors"].map((key) => propertyOf(error, key));
  const message = messageOf(error);
  const lines = [`${prefix}${typeof name === "string" ? name : "Error"}: ${message}`];
  if (typeof stack === "string") lines.push(...framesOf(stack, message));
  try {
    if (Array.isArray(errors)) {
      lines.push(...errors.slice(0, MAX_LINES).map((each) => `[error]: ${oneLine(each)}`));
    }
  } catch {
    // It is a Proxy that does not let itself be looked at.
  }
  return lines;
}

/** The lines of a stack that say where, less what the error says, which may look like them. */
function framesOf(stack: string, message: string): string[] {
  const frames = stack.slice(stack.indexOf(message) + message.length);
  return frames.split("\n").map((line) => line.trim()).filter((line) => line.startsWith("at "));
}

/** Lets one line through a second and counts what it holds back. */
export class RateLimit {
  #next = 0;
  #held = 0;

  /**
   * Asks whether a line may be written now.
   *
   * @param now The time, in milliseconds, from a clock that never goes back.
   * @param lines How many lines it stands for, itself included.
   * @returns For how many it is written that were held back, or `null` when it is held back too.
   */
  take(now: number, lines = 1): number | null {
    if (now < this.#next) {
      this.#held += lines;
      return null;
    }
    const held = this.#held + lines - 1;
    this.#next = now + 1000;
    this.#held = 0;
    return held;
  }
}

/** How many kinds of lines are told apart; the others share a limit. */
const MAX_KINDS = 64;

/** How a line ends that stands for others. */
const HELD = / \(and (\d{1,15}) like it since the last line\)$/;

/** Lets one line of each kind through a second, for what strangers can cause as often as they like. */
export class KindLimit {
  readonly #limits = new Map<string, RateLimit>();

  /**
   * Asks whether a line may be written now.
   *
   * @param kind What lines are counted with this one.
   * @param lines How many lines it stands for, itself included.
   * @returns What to append to the line, or `null` when it is held back.
   */
  take(kind: string, lines = 1): string | null {
    const name = this.#limits.size < MAX_KINDS || this.#limits.has(kind) ? kind : "";
    let limit = this.#limits.get(name);
    if (limit === undefined) this.#limits.set(name, limit = new RateLimit());
    const held = limit.take(performance.now(), lines);
    return held === null ? null : held === 0 ? "" : ` (and ${held} like it since the last line)`;
  }

  /** Takes a line that another limit has let through, with those that it stands for; `null` when it is held back here. */
  takeLine(kind: string, line: string): string | null {
    const held = HELD.exec(line);
    const more = this.take(kind, 1 + Number(held?.[1] ?? 0));
    return more === null ? null : line.slice(0, held?.index) + more;
  }
}
