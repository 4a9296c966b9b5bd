/**
 * Stands in for `@std/log/setup`: which loggers there are, and where their records go. It is only
 * for building where JSR is out of reach.
 *
 * @module
 */

import { ConsoleHandler } from "./console_handler.ts";
import { type LogConfig, Logger } from "./logger.ts";
import { state } from "./state.ts";

const DEFAULT_CONFIG: LogConfig = {
  handlers: { default: new ConsoleHandler("INFO") },
  loggers: { default: { level: "INFO", handlers: ["default"] } },
};

/**
 * Replaces all handlers and loggers, except that a handler and a logger named `"default"` remain
 * from INFO on to the console unless the configuration has others of this name.
 *
 * @param config What there is to be. A logger's handlers that are not in it are passed over.
 */
export function setup(config: LogConfig): void {
  for (const handler of state.handlers.values()) handler.destroy();
  state.handlers.clear();
  state.loggers.clear();

  const handlers = { ...DEFAULT_CONFIG.handlers, ...config.handlers };
  for (const [name, handler] of Object.entries(handlers)) {
    handler.setup();
    state.handlers.set(name, handler);
  }
  const loggers = { ...DEFAULT_CONFIG.loggers, ...config.loggers };
  for (const [name, { level = "INFO", handlers: names = [] }] of Object.entries(loggers)) {
    const own = names.map((each) => state.handlers.get(each)).filter((each) => each !== undefined);
    state.loggers.set(name, new Logger(name, level, { handlers: own }));
  }
}

setup(DEFAULT_CONFIG);
