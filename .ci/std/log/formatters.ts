/**
 * Stands in for `@std/log/formatters`: one JSON object a line. It is only for building where JSR is
 * out of reach.
 *
 * @module
 */

import type { LogRecord } from "./logger.ts";

/**
 * Makes a JSON object with `level`, `datetime` (in milliseconds), `message` and `args`, which is
 * not there without arguments and is the argument itself when there is one.
 *
 * @param logRecord The record.
 * @returns The object, as text.
 */
export function jsonFormatter(logRecord: LogRecord): string {
  const { args } = logRecord;
  return JSON.stringify({
    level: logRecord.levelName,
    datetime: logRecord.datetime.getTime(),
    message: logRecord.msg,
    args: args.length > 1 ? args : args[0],
  });
}

/** All formatters. */
export const formatters: { readonly jsonFormatter: typeof jsonFormatter } = { jsonFormatter };
