/**
 * Stands in for the assertions of `@std/assert` that look at values. It is only for building where
 * JSR is out of reach.
 *
 * @module
 */

import { AssertionError } from "./assertion_error.ts";
import { equal } from "./equal.ts";
import { difference, format, red, suffix } from "./report.ts";

/** What {@linkcode assertFalse} narrows to. */
export type Falsy = false | 0 | 0n | "" | null | undefined;

/**
 * Asserts that a value is truthy.
 *
 * @param expr The value.
 * @param msg The error's whole message.
 * @throws {AssertionError} when it is not.
 */
export function assert(expr: unknown, msg = ""): asserts expr {
  if (!expr) throw new AssertionError(msg);
}

/**
 * Asserts that a value is falsy.
 *
 * @param expr The value.
 * @param msg The error's whole message.
 * @throws {AssertionError} when it is not.
 */
export function assertFalse(expr: unknown, msg = ""): asserts expr is Falsy {
  if (expr) throw new AssertionError(msg);
}

/**
 * Asserts that two values have the same structure.
 *
 * @param actual What was found.
 * @param expected What it should equal.
 * @param msg Put behind "Values are not equal".
 * @throws {AssertionError} when they differ.
 */
export function assertEquals<T>(actual: T, expected: T, msg?: string): void {
  if (equal(actual, expected)) return;
  throw new AssertionError(
    `Values are not equal${suffix(msg)}\n${difference(actual, expected)}`,
  );
}

/**
 * Asserts that two values do not have the same structure.
 *
 * @param actual What was found.
 * @param expected What it should not equal.
 * @param msg Put behind the sentence that shows both.
 * @throws {AssertionError} when they are equal.
 */
export function assertNotEquals<T>(actual: T, expected: T, msg?: string): void {
  if (!equal(actual, expected)) return;
  throw new AssertionError(
    `Expected actual: ${format(actual)} not to be: ${format(expected)}${suffix(msg)}`,
  );
}

/**
 * Asserts that two values are the same one, as `Object.is()` tells.
 *
 * @param actual What was found.
 * @param expected What it should be.
 * @param msg Put behind the first sentence.
 * @throws {AssertionError} when they are not.
 */
export function assertStrictEquals<T>(
  actual: unknown,
  expected: T,
  msg?: string,
): asserts actual is T {
  if (Object.is(actual, expected)) return;
  const text = format(actual);
  if (text === format(expected)) {
    const indented = text.split("\n").map((line) => `    ${line}`).join("\n");
    throw new AssertionError(
      "Values have the same structure but are not reference-equal" +
        `${suffix(msg)}\n\n${red(indented)}\n`,
    );
  }
  throw new AssertionError(
    `Values are not strictly equal${suffix(msg)}\n${difference(actual, expected)}`,
  );
}

/**
 * Asserts that a value is an instance of a class.
 *
 * @param actual The value.
 * @param expectedType The class.
 * @param msg Put behind the sentence that names both.
 * @throws {AssertionError} when it is not.
 */
export function assertInstanceOf<
  // deno-lint-ignore no-explicit-any -- with `unknown` a class whose constructor has parameters does not fit
  T extends abstract new (...args: any[]) => any,
>(actual: unknown, expectedType: T, msg = ""): asserts actual is InstanceType<T> {
  if (actual instanceof expectedType) return;
  const wanted = `Expected object to be an instance of "${expectedType.name}"`;
  const found = typeName(actual);
  if (found === expectedType.name) throw new AssertionError(`${wanted}${suffix(msg)}`);
  throw new AssertionError(
    found === "function"
      ? `${wanted} but was not an instanced object${suffix(msg)}`
      : `${wanted} but was "${found}"${suffix(msg)}`,
  );
}

/**
 * Asserts that a pattern matches a string.
 *
 * @param actual The string.
 * @param expected The pattern.
 * @param msg Put behind the sentence that shows both.
 * @throws {AssertionError} when it does not.
 */
export function assertMatch(actual: string, expected: RegExp, msg?: string): void {
  if (expected.test(actual)) return;
  throw new AssertionError(`Expected actual: "${actual}" to match: "${expected}"${suffix(msg)}`);
}

/**
 * Asserts that a string contains another.
 *
 * @param actual The string.
 * @param expected What it should contain.
 * @param msg Put behind the sentence that shows both.
 * @throws {AssertionError} when it does not.
 */
export function assertStringIncludes(actual: string, expected: string, msg?: string): void {
  if (actual.includes(expected)) return;
  throw new AssertionError(`Expected actual: "${actual}" to contain: "${expected}"${suffix(msg)}`);
}

/**
 * Asserts that `actual > expected`.
 *
 * @param actual What was found.
 * @param expected What it should be above.
 * @param msg The error's whole message.
 * @throws {AssertionError} when it is not.
 */
export function assertGreater<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual > expected)) throw unordered(actual, ">", expected, msg);
}

/**
 * Asserts that `actual >= expected`.
 *
 * @param actual What was found.
 * @param expected What it should not be below.
 * @param msg The error's whole message.
 * @throws {AssertionError} when it is.
 */
export function assertGreaterOrEqual<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual >= expected)) throw unordered(actual, ">=", expected, msg);
}

/**
 * Asserts that `actual < expected`.
 *
 * @param actual What was found.
 * @param expected What it should be below.
 * @param msg The error's whole message.
 * @throws {AssertionError} when it is not.
 */
export function assertLess<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual < expected)) throw unordered(actual, "<", expected, msg);
}

/**
 * Asserts that `actual <= expected`.
 *
 * @param actual What was found.
 * @param expected What it should not be above.
 * @param msg The error's whole message.
 * @throws {AssertionError} when it is.
 */
export function assertLessOrEqual<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual <= expected)) throw unordered(actual, "<=", expected, msg);
}

function unordered(
  actual: unknown,
  sign: string,
  expected: unknown,
  msg: string | undefined,
): AssertionError {
  return new AssertionError(msg ?? `Expect ${format(actual)} ${sign} ${format(expected)}`);
}

function typeName(value: unknown): string {
  if (value === null) return "null";
  return typeof value === "object" ? value.constructor?.name ?? "Object" : typeof value;
}
