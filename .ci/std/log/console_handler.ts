/**
 * Stands in for `@std/log/console-handler`: the handler that writes to the console. It is only for
 * building where JSR is out of reach.
 *
 * @module
 */

import { BaseHandler, type BaseHandlerOptions } from "./base_handler.ts";
import { type LevelName, LogLevels } from "./levels.ts";
import type { LogRecord } from "./logger.ts";

/** Options of {@linkcode ConsoleHandler}. */
export interface ConsoleHandlerOptions extends BaseHandlerOptions {
  /**
   * Whether the level gives the text a colour; `NO_COLOR` in the environment turns it off anyway.
   *
   * @default {true}
   */
  useColors?: boolean;
}

/** Writes to standard output, with `console.log()`. */
export class ConsoleHandler extends BaseHandler {
  readonly #useColors: boolean;

  /**
   * Makes a handler.
   *
   * @param levelName The lowest level that it lets through.
   * @param options Its formatter, and whether it uses colours.
   */
  constructor(levelName: LevelName, options: ConsoleHandlerOptions = {}) {
    super(levelName, options);
    this.#useColors = (options.useColors ?? true) && !Deno.noColor;
  }

  override format(logRecord: LogRecord): string {
    const text = super.format(logRecord);
    return this.#useColors ? inColor(text, logRecord.level) : text;
  }

  log(msg: string): void {
    console.log(msg);
  }
}

function inColor(text: string, level: number): string {
  switch (level) {
    case LogLevels.INFO:
      return paint(text, 34, 39);
    case LogLevels.WARN:
      return paint(text, 33, 39);
    case LogLevels.ERROR:
      return paint(text, 31, 39);
    case LogLevels.CRITICAL:
      return paint(paint(text, 31, 39), 1, 22);
    default:
      return text;
  }
}

/** A colour that ends inside the text begins again. */
function paint(text: string, on: number, off: number): string {
  const begin = `\x1b[${on}m`;
  const end = `\x1b[${off}m`;
  return begin + text.replaceAll(end, begin) + end;
}
