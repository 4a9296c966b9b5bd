/**
 * Stands in for `@std/log/base-handler`: what all handlers have in common. It is only for building
 * where JSR is out of reach.
 *
 * @module
 */

import { getLevelByName, getLevelName, type LevelName, type LogLevel } from "./levels.ts";
import type { LogRecord } from "./logger.ts";

export type { LevelName, LogLevel, LogRecord };

/** Makes the text of a record. */
export type FormatterFunction = (logRecord: LogRecord) => string;

/** Options of {@linkcode BaseHandler}. */
export interface BaseHandlerOptions {
  /** Makes the text; `LEVEL message` unless told. */
  formatter?: FormatterFunction;
}

/** Where records go. Subclasses say how one is written, in `log()`. */
export abstract class BaseHandler {
  /** Makes the text of a record. */
  formatter: FormatterFunction;
  #level: LogLevel;

  /**
   * Makes a handler.
   *
   * @param levelName The lowest level that it lets through.
   * @param options Its formatter.
   */
  constructor(levelName: LevelName, options: BaseHandlerOptions = {}) {
    this.#level = getLevelByName(levelName);
    this.formatter = options.formatter ?? ((record) => `${record.levelName} ${record.msg}`);
  }

  /** The lowest level that it lets through. */
  get level(): LogLevel {
    return this.#level;
  }

  set level(level: LogLevel) {
    this.#level = getLevelByName(getLevelName(level));
  }

  /** The name of the lowest level that it lets through. */
  get levelName(): LevelName {
    return getLevelName(this.#level);
  }

  set levelName(levelName: LevelName) {
    this.#level = getLevelByName(levelName);
  }

  /**
   * Formats a record and logs it, unless its level is too low.
   *
   * @param logRecord The record.
   */
  handle(logRecord: LogRecord): void {
    if (logRecord.level >= this.level) this.log(this.format(logRecord));
  }

  /**
   * Makes the text of a record.
   *
   * @param logRecord The record.
   * @returns What the formatter makes of it.
   */
  format(logRecord: LogRecord): string {
    return this.formatter(logRecord);
  }

  /**
   * Writes the text of a record.
   *
   * @param msg The text.
   */
  abstract log(msg: string): void;

  /** Called when `setup()` takes the handler into use. */
  setup(): void {}

  /** Called when the next `setup()` takes the handler out of use. */
  destroy(): void {}

  /** Destroys the handler. */
  [Symbol.dispose](): void {
    this.destroy();
  }
}
