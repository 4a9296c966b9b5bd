/**
 * Stands in for `@std/log/logger`: loggers and the records that they make. It is only for building
 * where JSR is out of reach.
 *
 * @module
 */

import type { BaseHandler } from "./base_handler.ts";
import {
  getLevelByName,
  getLevelName,
  type LevelName,
  type LogLevel,
  LogLevels,
} from "./levels.ts";

/** Any function. */
// deno-lint-ignore no-explicit-any -- with `unknown` a function that has parameters does not fit
export type GenericFunction = (...args: any[]) => any;

type Message<T> = (T extends GenericFunction ? never : T) | (() => T);

/** What a {@linkcode LogRecord} is made of. */
export interface LogRecordOptions {
  /** The message, as text. */
  msg: string;
  /** What was passed behind the message. */
  args: unknown[];
  /** How grave it is. */
  level: LogLevel;
  /** Which logger made it. */
  loggerName: string;
}

/** How a logger is to be set up. */
export class LoggerConfig {
  /** The lowest level that it logs; INFO unless told. */
  level?: LevelName;
  /** The names of its handlers. */
  handlers?: string[];
}

/** What `setup()` takes. */
export interface LogConfig {
  /** The handlers by name. */
  handlers?: { [name: string]: BaseHandler };
  /** The loggers by name. */
  loggers?: { [name: string]: LoggerConfig };
}

/** One message, with all that formatters may show of it. */
export class LogRecord {
  /** The message, as text. */
  readonly msg: string;
  /** How grave it is. */
  readonly level: number;
  /** The name of its level. */
  readonly levelName: string;
  /** Which logger made it. */
  readonly loggerName: string;
  readonly #args: unknown[];
  readonly #time = Date.now();

  /**
   * Makes a record of this moment.
   *
   * @param options What it is made of.
   */
  constructor(options: LogRecordOptions) {
    this.msg = options.msg;
    this.level = options.level;
    this.levelName = getLevelName(options.level);
    this.loggerName = options.loggerName;
    this.#args = [...options.args];
  }

  /** A copy of what was passed behind the message. */
  get args(): unknown[] {
    return [...this.#args];
  }

  /** A copy of the time when it was made. */
  get datetime(): Date {
    return new Date(this.#time);
  }
}

/** Options of {@linkcode Logger}. */
export interface LoggerOptions {
  /** Where its records go; nowhere unless told. */
  handlers?: BaseHandler[];
}

/** What one part of a program logs through. */
export class Logger {
  /** Where the records go, one after the other. */
  handlers: BaseHandler[];
  readonly #loggerName: string;
  #level: LogLevel;

  /**
   * Makes a logger, known to nobody else: `getLogger()` does not find it.
   *
   * @param loggerName The name in its records.
   * @param levelName The lowest level that it logs.
   * @param options Its handlers.
   */
  constructor(loggerName: string, levelName: LevelName, options: LoggerOptions = {}) {
    this.#loggerName = loggerName;
    this.#level = getLevelByName(levelName);
    this.handlers = options.handlers ?? [];
  }

  /** The lowest level that it logs. */
  get level(): LogLevel {
    return this.#level;
  }

  set level(level: LogLevel) {
    if (!Object.values(LogLevels).includes(level)) {
      throw new TypeError(`Invalid log level: ${level}`);
    }
    this.#level = level;
  }

  /** The name of the lowest level that it logs. */
  get levelName(): LevelName {
    return getLevelName(this.#level);
  }

  set levelName(levelName: LevelName) {
    this.#level = getLevelByName(levelName);
  }

  /** The name in its records. */
  get loggerName(): string {
    return this.#loggerName;
  }

  /**
   * Logs a lazy message at level DEBUG.
   *
   * @typeParam T What the message is made of.
   * @param msg Called for the message, unless the logger's level is higher.
   * @param args Kept in the record, for formatters.
   * @returns The message, or `undefined` when `msg` was not called.
   */
  debug<T>(msg: () => T, ...args: unknown[]): T | undefined;
  /**
   * Logs a message at level DEBUG.
   *
   * @typeParam T What the message is.
   * @param msg The message, of any type but a function.
   * @param args Kept in the record, for formatters.
   * @returns The message.
   */
  debug<T>(msg: T extends GenericFunction ? never : T, ...args: unknown[]): T;
  debug<T>(msg: Message<T>, ...args: unknown[]): T | undefined {
    return this.#log(LogLevels.DEBUG, msg, args);
  }

  /**
   * Logs a lazy message at level INFO.
   *
   * @typeParam T What the message is made of.
   * @param msg Called for the message, unless the logger's level is higher.
   * @param args Kept in the record, for formatters.
   * @returns The message, or `undefined` when `msg` was not called.
   */
  info<T>(msg: () => T, ...args: unknown[]): T | undefined;
  /**
   * Logs a message at level INFO.
   *
   * @typeParam T What the message is.
   * @param msg The message, of any type but a function.
   * @param args Kept in the record, for formatters.
   * @returns The message.
   */
  info<T>(msg: T extends GenericFunction ? never : T, ...args: unknown[]): T;
  info<T>(msg: Message<T>, ...args: unknown[]): T | undefined {
    return this.#log(LogLevels.INFO, msg, args);
  }

  /**
   * Logs a lazy message at level WARN.
   *
   * @typeParam T What the message is made of.
   * @param msg Called for the message, unless the logger's level is higher.
   * @param args Kept in the record, for formatters.
   * @returns The message, or `undefined` when `msg` was not called.
   */
  warn<T>(msg: () => T, ...args: unknown[]): T | undefined;
  /**
   * Logs a message at level WARN.
   *
   * @typeParam T What the message is.
   * @param msg The message, of any type but a function.
   * @param args Kept in the record, for formatters.
   * @returns The message.
   */
  warn<T>(msg: T extends GenericFunction ? never : T, ...args: unknown[]): T;
  warn<T>(msg: Message<T>, ...args: unknown[]): T | undefined {
    return this.#log(LogLevels.WARN, msg, args);
  }

  /**
   * Logs a lazy message at level ERROR.
   *
   * @typeParam T What the message is made of.
   * @param msg Called for the message, unless the logger's level is higher.
   * @param args Kept in the record, for formatters.
   * @returns The message, or `undefined` when `msg` was not called.
   */
  error<T>(msg: () => T, ...args: unknown[]): T | undefined;
  /**
   * Logs a message at level ERROR.
   *
   * @typeParam T What the message is.
   * @param msg The message, of any type but a function.
   * @param args Kept in the record, for formatters.
   * @returns The message.
   */
  error<T>(msg: T extends GenericFunction ? never : T, ...args: unknown[]): T;
  error<T>(msg: Message<T>, ...args: unknown[]): T | undefined {
    return this.#log(LogLevels.ERROR, msg, args);
  }

  /**
   * Logs a lazy message at level CRITICAL.
   *
   * @typeParam T What the message is made of.
   * @param msg Called for the message, unless the logger's level is higher.
   * @param args Kept in the record, for formatters.
   * @returns The message, or `undefined` when `msg` was not called.
   */
  critical<T>(msg: () => T, ...args: unknown[]): T | undefined;
  /**
   * Logs a message at level CRITICAL.
   *
   * @typeParam T What the message is.
   * @param msg The message, of any type but a function.
   * @param args Kept in the record, for formatters.
   * @returns The message.
   */
  critical<T>(msg: T extends GenericFunction ? never : T, ...args: unknown[]): T;
  critical<T>(msg: Message<T>, ...args: unknown[]): T | undefined {
    return this.#log(LogLevels.CRITICAL, msg, args);
  }

  #log<T>(level: LogLevel, msg: Message<T>, args: unknown[]): T | undefined {
    const isLogged = this.#level <= level;
    if (msg instanceof Function) {
      if (!isLogged) return undefined;
      const message = msg();
      this.#emit(level, message, args);
      return message;
    }
    if (isLogged) this.#emit(level, msg, args);
    return msg;
  }

  #emit(level: LogLevel, message: unknown, args: unknown[]): void {
    const record = new LogRecord({
      msg: asText(message),
      args,
      level,
      loggerName: this.#loggerName,
    });
    for (const handler of this.handlers) handler.handle(record);
  }
}

/** Errors as their stack, objects (arrays too) as `{"name":value}`, functions as "undefined". */
function asText(value: unknown): string {
  if (value instanceof Error) return value.stack ?? "";
  if (typeof value === "object" && value !== null) {
    const entries = Object.entries(value).map(([name, each]) =>
      `"${name}":${typeof each === "string" ? `"${each}"` : asText(each)}`
    );
    return `{${entries.join(",")}}`;
  }
  return typeof value === "function" ? "undefined" : String(value);
}
