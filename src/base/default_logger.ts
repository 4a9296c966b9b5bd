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
import { stderr } from "./stderr.ts";

/** The name of the logger in `@std/log` that a program may configure. */
export const LOGGER_NAME = "socketserver";

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
