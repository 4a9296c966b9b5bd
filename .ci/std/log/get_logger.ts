/**
 * Stands in for `@std/log/get-logger`: loggers by name. It is only for building where JSR is out of
 * reach.
 *
 * @module
 */

import { Logger } from "./logger.ts";
import { state } from "./state.ts";

export type { Logger };

/**
 * Finds a logger by its name. One that is not set up is made, with level NOTSET and no handlers,
 * and found again from then on.
 *
 * @param name The name; `"default"` unless told.
 * @returns The logger.
 * @throws {Error} when there is neither a name nor a logger `"default"`, as before `setup()`.
 */
export function getLogger(name?: string): Logger {
  const found = state.loggers.get(name || "default");
  if (found !== undefined) return found;
  if (!name) throw new Error('"default" logger must be set for getting logger without name');
  const logger = new Logger(name, "NOTSET", { handlers: [] });
  state.loggers.set(name, logger);
  return logger;
}
