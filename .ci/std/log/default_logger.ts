/**
 * Stands in for the functions of `@std/log` that log through the logger named `"default"`. It is
 * only for building where JSR is out of reach.
 *
 * @module
 */

import { getLogger } from "./get_logger.ts";
import type { GenericFunction } from "./logger.ts";
import "./setup.ts";

type Message<T> = (T extends GenericFunction ? never : T) | (() => T);

/**
 * Logs a lazy message at level DEBUG.
 *
 * @typeParam T What the message is made of.
 * @param msg Called for the message, unless the logger's level is higher.
 * @param args Kept in the record, for formatters.
 * @returns The message, or `undefined` when `msg` was not called.
 */
export function debug<T>(msg: () => T, ...args: unknown[]): T | undefined;
/**
 * Logs a message at level DEBUG.
 *
 * @typeParam T What the message is.
 * @param msg The message, of any type but a function.
 * @param args Kept in the record, for formatters.
 * @returns The message.
 */
export function debug<T>(msg: T extends GenericFunction ? never : T, ...args: unknown[]): T;
export function debug<T>(msg: Message<T>, ...args: unknown[]): T | undefined {
  // Each branch is one overload: the two together fit none.
  const logger = getLogger("default");
  return msg instanceof Function ? logger.debug(msg, ...args) : logger.debug(msg, ...args);
}

/**
 * Logs a lazy message at level INFO.
 *
 * @typeParam T What the message is made of.
 * @param msg Called for the message, unless the logger's level is higher.
 * @param args Kept in the record, for formatters.
 * @returns The message, or `undefined` when `msg` was not called.
 */
export function info<T>(msg: () => T, ...args: unknown[]): T | undefined;
/**
 * Logs a message at level INFO.
 *
 * @typeParam T What the message is.
 * @param msg The message, of any type but a function.
 * @param args Kept in the record, for formatters.
 * @returns The message.
 */
export function info<T>(msg: T extends GenericFunction ? never : T, ...args: unknown[]): T;
export function info<T>(msg: Message<T>, ...args: unknown[]): T | undefined {
  // Each branch is one overload: the two together fit none.
  const logger = getLogger("default");
  return msg instanceof Function ? logger.info(msg, ...args) : logger.info(msg, ...args);
}

/**
 * Logs a lazy message at level WARN.
 *
 * @typeParam T What the message is made of.
 * @param msg Called for the message, unless the logger's level is higher.
 * @param args Kept in the record, for formatters.
 * @returns The message, or `undefined` when `msg` was not called.
 */
export function warn<T>(msg: () => T, ...args: unknown[]): T | undefined;
/**
 * Logs a message at level WARN.
 *
 * @typeParam T What the message is.
 * @param msg The message, of any type but a function.
 * @param args Kept in the record, for formatters.
 * @returns The message.
 */
export function warn<T>(msg: T extends GenericFunction ? never : T, ...args: unknown[]): T;
export function warn<T>(msg: Message<T>, ...args: unknown[]): T | undefined {
  // Each branch is one overload: the two together fit none.
  const logger = getLogger("default");
  return msg instanceof Function ? logger.warn(msg, ...args) : logger.warn(msg, ...args);
}

/**
 * Logs a lazy message at level ERROR.
 *
 * @typeParam T What the message is made of.
 * @param msg Called for the message, unless the logger's level is higher.
 * @param args Kept in the record, for formatters.
 * @returns The message, or `undefined` when `msg` was not called.
 */
export function error<T>(msg: () => T, ...args: unknown[]): T | undefined;
/**
 * Logs a message at level ERROR.
 *
 * @typeParam T What the message is.
 * @param msg The message, of any type but a function.
 * @param args Kept in the record, for formatters.
 * @returns The message.
 */
export function error<T>(msg: T extends GenericFunction ? never : T, ...args: unknown[]): T;
export function error<T>(msg: Message<T>, ...args: unknown[]): T | undefined {
  // Each branch is one overload: the two together fit none.
  const logger = getLogger("default");
  return msg instanceof Function ? logger.error(msg, ...args) : logger.error(msg, ...args);
}

/**
 * Logs a lazy message at level CRITICAL.
 *
 * @typeParam T What the message is made of.
 * @param msg Called for the message, unless the logger's level is higher.
 * @param args Kept in the record, for formatters.
 * @returns The message, or `undefined` when `msg` was not called.
 */
export function critical<T>(msg: () => T, ...args: unknown[]): T | undefined;
/**
 * Logs a message at level CRITICAL.
 *
 * @typeParam T What the message is.
 * @param msg The message, of any type but a function.
 * @param args Kept in the record, for formatters.
 * @returns The message.
 */
export function critical<T>(msg: T extends GenericFunction ? never : T, ...args: unknown[]): T;
export function critical<T>(msg: Message<T>, ...args: unknown[]): T | undefined {
  // Each branch is one overload: the two together fit none.
  const logger = getLogger("default");
  return msg instanceof Function ? logger.critical(msg, ...args) : logger.critical(msg, ...args);
}
