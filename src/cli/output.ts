/**
 * What the command line tool writes to standard error: the log, and a server's counters.
 *
 * @module
 */
import type { Level } from "./args.ts";
import type { Counters } from "./counters.ts";
import { defaultLogger, stderr } from "../base/default_logger.ts";
import { LEVELS, type ServerLogger } from "../base/log.ts";

/** Writes log lines, and counters that do not get into their way. */
export class Output implements ServerLogger, Disposable {
  readonly debug: ServerLogger["debug"] = (message) => this.#log("debug", message);
  readonly info: ServerLogger["info"] = (message) => this.#log("info", message);
  readonly warn: ServerLogger["warn"] = (message) => this.#log("warn", message);
  readonly error: ServerLogger["error"] = (message) => this.#log("error", message);
  readonly #level: number;
  readonly #isTerminal: boolean;
  #timer: ReturnType<typeof setInterval> | undefined;
  #read: (() => Counters) | null = null;
  /** The live line on the terminal. */
  #live = "";
  /** The length of the longest live line so far. */
  #widest = 0;
  #completed = 0;
  #since = 0;

  /**
   * @param level From which level on lines are written; `null` leaves that to `@std/log`.
   * @param isTerminal Whether standard error is one.
   */
  constructor(level: Level | null, isTerminal: boolean = Deno.stderr.isTerminal()) {
    this.#level = level === null ? -1 : LEVELS.findIndex((each) => each === level.toLowerCase());
    this.#isTerminal = isTerminal;
  }

  /** Shows counters each `interval` milliseconds, as long as the program lives. */
  show(read: () => Counters, interval: number): void {
    this.#read = read;
    this.#since = performance.now();
    this.#timer = setInterval(() => this.#show(), interval);
    Deno.unrefTimer(this.#timer);
  }

  /** Shows the counters for the last time, if they are shown at all. */
  [Symbol.dispose](): void {
    if (this.#read === null) return;
    clearInterval(this.#timer);
    this.#show();
    this.#read = null;
    // Blanks the "^C" that the terminal has put behind a line, which may have been a longer one.
    if (this.#isTerminal) stderr.write(`\r${this.#live.padEnd(this.#widest + 2)}\n`);
  }

  #log(level: keyof ServerLogger, message: string): void {
    if (LEVELS.indexOf(level) < this.#level) return;
    const live = this.#live;
    this.#redraw("");
    if (this.#level < 0) defaultLogger[level](message);
    else stderr.write(`${level.toUpperCase()} ${message}\n`);
    this.#redraw(live);
  }

  #show(): void {
    const counters = this.#read!();
    const { active, peak, completed, failed, gone, aborted, rejected } = counters;
    const now = performance.now();
    const perSecond = Math.round((completed - this.#completed) * 10_000 / (now - this.#since)) / 10;
    this.#completed = completed;
    this.#since = now;
    if (!this.#isTerminal) {
      const time = new Date().toISOString();
      stderr.write(`${JSON.stringify({ time, ...counters, perSecond })}\n`);
      return;
    }
    const [first, ...others] = [
      `active ${active}`,
      `${perSecond}/s`,
      `completed ${completed}`,
      `failed ${failed}`,
      `gone ${gone}`,
      `aborted ${aborted}`,
      `rejected ${rejected}`,
      `peak ${peak}`,
    ];
    const room = columns() - "^C".length - 1; // the terminal may put "^C" behind the line
    let line = first!;
    for (const other of others) {
      if (line.length + other.length + 2 > room) break;
      line += `, ${other}`;
    }
    this.#redraw(line);
  }

  /** Puts another live line into the place of the one that is there. */
  #redraw(line: string): void {
    if (line === this.#live) return;
    // What the new line leaves of the old one is blanked, and the cursor put behind the new one.
    const blank = " ".repeat(Math.max(0, this.#live.length - line.length));
    stderr.write(`\r${line}${blank}${"\b".repeat(blank.length)}`);
    this.#live = line;
    this.#widest = Math.max(this.#widest, line.length);
  }
}

/** How wide the terminal is: of a line that goes beyond, only the last row would be rewritten. */
function columns(): number {
  try {
    return Deno.consoleSize().columns || Infinity; // 0 where nobody has told the terminal
  } catch {
    return Infinity;
  }
}
