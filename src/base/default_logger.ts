/**
 * Where log lines go unless a program says otherwise: to the logger named "socketserver" of `@std/log`.
 *
 * This is the only file that knows `@std/log`. What runs in subprocesses does not import it: their main module is the
 * user's, whose import map need not have it.
 *
 * @module
 */
import { BaseHandler, getLogger, Logger } from "@std/log";
import { paragraph, type ServerLogger } from "./log.ts";
import { settlesWithin } from "./time.ts";

/** The name of the logger in `@std/log` that a program may configure. */
const LOGGER_NAME = "socketserver";

/** Writes to standard error, so that what a program prints itself stays clean, and never waits for its reader. */
class StderrHandler extends BaseHandler {
  log(message: string): void {
    stderr.write(`${paragraph(message.split("\n"))}\n`); // a program may log what a client says, too
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

/** How much may wait for the reader, in characters; lines beyond that are lost. */
const MAX_WAITING = 256 * 1024;
/** A write that has taken longer than this says that nobody reads, in milliseconds. */
const STALLED = 100;
/** How long a {@linkcode BackgroundWriter} waits, in milliseconds; an object, so that tests can have it wait for less. */
export const writerTimes = {
  /** How long a program that ends waits for its last lines: a busy machine may be slow to write them. */
  flushLimit: 2000,
};
/** How long a write that has just begun gets when the program exits, in milliseconds. */
const EXIT_GRACE = 20;

const encoder = new TextEncoder();

/**
 * Writes text in the order of the calls, in the background: a pipe that nobody reads, or that is closed, holds up
 * nobody. What does not fit any more is lost, and how much that was is written when there is room again.
 */
export class BackgroundWriter {
  readonly #sink: { write(data: Uint8Array): Promise<number> };
  #waiting = "";
  /** How many calls of `write()` came to nothing. */
  #lost = 0;
  /** When the write under way began, by the clock of `performance.now()`; null while there is none. */
  #since: number | null = null;
  /** The writes under way, or the last ones; never rejects. */
  #draining: Promise<void> = Promise.resolve();

  /** @param sink Where the text goes, as UTF-8. */
  constructor(sink: { write(data: Uint8Array): Promise<number> }) {
    this.#sink = sink;
  }

  /** Writes text, or loses it. */
  write(text: string): void {
    if (this.#waiting.length + text.length > MAX_WAITING) {
      this.#lost++;
      return;
    }
    this.#waiting += text;
    if (this.#since === null) this.#draining = this.#drain();
  }

  /** Resolves when all is written; when nobody reads, in 2 s all the same. */
  async flush(): Promise<void> {
    await settlesWithin(this.#draining, writerTimes.flushLimit);
  }

  /**
   * What an exit would lose, to be written by other means; empty where that could block. Waits for a moment for the
   * write under way.
   */
  rest(): string {
    const rest = this.#waiting;
    if (this.#since === null || performance.now() - this.#since > STALLED) return "";
    this.#waiting = "";
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, EXIT_GRACE);
    return rest;
  }

  async #drain(): Promise<void> {
    while (this.#waiting !== "") {
      const data = encoder.encode(this.#waiting);
      this.#waiting = "";
      this.#since = performance.now();
      try {
        for (let sent = 0; sent < data.length;) sent += await this.#sink.write(data.subarray(sent));
      } catch {
        this.#lost++; // it is closed; there is no other place to say it
        continue;
      }
      if (this.#lost === 0) continue;
      this.#waiting += `WARN Log lines lost, as nobody read them: ${this.#lost}\n`;
      this.#lost = 0;
    }
    this.#since = null;
  }
}

/** Standard error of this process. */
export const stderr = new BackgroundWriter(Deno.stderr);

addEventListener("unload", () => {
  const rest = stderr.rest();
  if (rest !== "") console.error(rest.replace(/\n$/, ""));
});
