/**
 * Stands in for the assertions of `@std/assert` that look at errors. It is only for building where
 * JSR is out of reach.
 *
 * @module
 */

import { stripVTControlCharacters } from "node:util";
import { AssertionError } from "./assertion_error.ts";
import { suffix } from "./report.ts";

// deno-lint-ignore no-explicit-any -- with `unknown` a class whose constructor has parameters does not fit
type ErrorConstructorOf<E extends Error> = abstract new (...args: any[]) => E;

/** The arguments behind the function, sorted. */
interface Expectation<E extends Error> {
  ErrorClass: ErrorConstructorOf<E> | undefined;
  msgIncludes: string | undefined;
  msg: string | undefined;
}

/**
 * Asserts that a value is an `Error`, of a class and with a text in its message if they are given.
 *
 * @typeParam E The class.
 * @param error The value.
 * @param ErrorClass The class that it should be an instance of.
 * @param msgMatches What its message should contain or match; colour codes do not count.
 * @param msg Put behind the sentence that says what is wrong.
 * @throws {AssertionError} when it is not such an error.
 */
function assertIsError<E extends Error = Error>(
  error: unknown,
  ErrorClass?: ErrorConstructorOf<E>,
  msgMatches?: string | RegExp,
  msg?: string,
): asserts error is E {
  if (!(error instanceof Error)) {
    throw new AssertionError(`Expected "error" to be an Error object${suffix(msg)}`);
  }
  if (ErrorClass && !(error instanceof ErrorClass)) {
    throw new AssertionError(
      `Expected error to be instance of "${ErrorClass.name}", ` +
        `but was "${error.constructor?.name}"${suffix(msg)}`,
    );
  }
  if (!msgMatches) return;
  const message = stripVTControlCharacters(error.message);
  const matches = typeof msgMatches === "string"
    ? message.includes(stripVTControlCharacters(msgMatches))
    : msgMatches.test(message);
  if (matches) return;
  const wanted = typeof msgMatches === "string" ? JSON.stringify(msgMatches) : msgMatches;
  throw new AssertionError(
    `Expected error message to include ${wanted}, ` +
      `but got ${JSON.stringify(error.message)}${suffix(msg)}`,
  );
}

/**
 * Asserts that a function throws.
 *
 * @param fn The function, called without arguments.
 * @param msg Put behind the sentence that says what is wrong.
 * @returns What it threw.
 * @throws {AssertionError} when it returns.
 */
export function assertThrows(fn: () => unknown, msg?: string): unknown;
/**
 * Asserts that a function throws an error of a class.
 *
 * @typeParam E The class.
 * @param fn The function, called without arguments.
 * @param ErrorClass The class that the error should be an instance of.
 * @param msgIncludes What its message should contain.
 * @param msg Put behind the sentence that says what is wrong.
 * @returns The error.
 * @throws {AssertionError} when it returns, or throws something else.
 */
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  ErrorClass: ErrorConstructorOf<E>,
  msgIncludes?: string,
  msg?: string,
): E;
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  errorClassOrMsg?: ErrorConstructorOf<E> | string,
  msgIncludesOrMsg?: string,
  msg?: string,
): unknown {
  const expectation = sort(errorClassOrMsg, msgIncludesOrMsg, msg);
  try {
    fn();
  } catch (error) {
    check(error, expectation, "thrown");
    return error;
  }
  throw new AssertionError(`Expected function to throw${suffix(expectation.msg)}`);
}

/**
 * Asserts that a function returns a promise that is rejected.
 *
 * @param fn The function, called without arguments.
 * @param msg Put behind the sentence that says what is wrong.
 * @returns What the promise was rejected with.
 * @throws {AssertionError} when it is fulfilled, or the function throws or returns no promise.
 */
export function assertRejects(fn: () => PromiseLike<unknown>, msg?: string): Promise<unknown>;
/**
 * Asserts that a function returns a promise that is rejected with an error of a class.
 *
 * @typeParam E The class.
 * @param fn The function, called without arguments.
 * @param ErrorClass The class that the error should be an instance of.
 * @param msgIncludes What its message should contain.
 * @param msg Put behind the sentence that says what is wrong.
 * @returns The error.
 * @throws {AssertionError} when the promise is fulfilled or rejected with something else, or the
 * function throws or returns no promise.
 */
export function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  ErrorClass: ErrorConstructorOf<E>,
  msgIncludes?: string,
  msg?: string,
): Promise<E>;
export async function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  errorClassOrMsg?: ErrorConstructorOf<E> | string,
  msgIncludesOrMsg?: string,
  msg?: string,
): Promise<unknown> {
  const expectation = sort(errorClassOrMsg, msgIncludesOrMsg, msg);
  const promise = promiseOf(fn);
  if (promise === undefined) {
    throw new AssertionError(
      `Function throws when expected to reject${suffix(expectation.msg)}`,
    );
  }
  try {
    await promise;
  } catch (error) {
    check(error, expectation, "rejected");
    return error;
  }
  throw new AssertionError(`Expected function to reject${suffix(expectation.msg)}`);
}

function sort<E extends Error>(
  errorClassOrMsg: ErrorConstructorOf<E> | string | undefined,
  msgIncludes: string | undefined,
  msg: string | undefined,
): Expectation<E> {
  return typeof errorClassOrMsg === "string"
    ? { ErrorClass: undefined, msgIncludes: undefined, msg: errorClassOrMsg }
    : { ErrorClass: errorClassOrMsg, msgIncludes, msg };
}

function check<E extends Error>(
  error: unknown,
  { ErrorClass, msgIncludes, msg }: Expectation<E>,
  verb: "thrown" | "rejected",
): void {
  if (ErrorClass === undefined) return;
  if (!(error instanceof Error)) {
    throw new AssertionError(`A non-Error object was ${verb}${suffix(msg)}`);
  }
  assertIsError(error, ErrorClass, msgIncludes, msg);
}

/** `undefined` when the function throws at once or returns no promise: the two have one message. */
function promiseOf(fn: () => PromiseLike<unknown>): PromiseLike<unknown> | undefined {
  try {
    const promise = fn();
    return typeof promise?.then === "function" ? promise : undefined;
  } catch {
    return undefined; // What it threw is not a rejection, whatever it is.
  }
}
