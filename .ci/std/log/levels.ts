/**
 * Stands in for `@std/log/levels`: the names of the levels and their numbers. It is only for
 * building where JSR is out of reach.
 *
 * @module
 */

/** The level of each name. */
export const LogLevels = {
  NOTSET: 0,
  DEBUG: 10,
  INFO: 20,
  WARN: 30,
  ERROR: 40,
  CRITICAL: 50,
} as const;

/** The name of a level. */
export type LevelName = keyof typeof LogLevels;

/** The number of a level. */
export type LogLevel = typeof LogLevels[LevelName];

/** The names, lowest level first. */
export const LogLevelNames: LevelName[] = [
  "NOTSET",
  "DEBUG",
  "INFO",
  "WARN",
  "ERROR",
  "CRITICAL",
];

/**
 * Looks up a level by its name.
 *
 * @param name The name, in capitals.
 * @returns The number.
 * @throws {Error} when there is no such level.
 */
export function getLevelByName(name: LevelName): LogLevel {
  if (Object.hasOwn(LogLevels, name)) return LogLevels[name];
  throw new Error(`Cannot get log level: no level named ${name}`);
}

/**
 * Looks up the name of a level.
 *
 * @param level The number.
 * @returns The name.
 * @throws {Error} when no level has this number.
 */
export function getLevelName(level: LogLevel): LevelName {
  const name = LogLevelNames.find((each) => LogLevels[each] === level);
  if (name !== undefined) return name;
  throw new Error(`Cannot get log level: no name for level: ${level}`);
}
