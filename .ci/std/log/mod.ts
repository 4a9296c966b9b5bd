/**
 * Stands in for `@std/log` 0.224.14, without its file handlers and formatters, and what logs to the
 * default logger. It is only for building where JSR is out of reach.
 *
 * @module
 */

// `LogRecord` is a type only here, as in the real one: as a value it is in "./logger".
export {
  BaseHandler,
  type BaseHandlerOptions,
  type FormatterFunction,
  type LevelName,
  type LogLevel,
  type LogRecord,
} from "./base_handler.ts";
export { ConsoleHandler, type ConsoleHandlerOptions } from "./console_handler.ts";
export { getLogger } from "./get_logger.ts";
export { getLevelByName, getLevelName, LogLevelNames, LogLevels } from "./levels.ts";
export {
  type GenericFunction,
  type LogConfig,
  Logger,
  LoggerConfig,
  type LoggerOptions,
  type LogRecordOptions,
} from "./logger.ts";
export { setup } from "./setup.ts";
