/**
 * What a client causes in a handler and nobody is there to catch: errors of its connection that are not awaited, and
 * those of listeners for the end of its request.
 *
 * @module
 */

import { isInstance, propertyOf } from "./errors.ts";

/** What is said of an error that `abortSafely()` reports. */
export const ABORT_FAULT =
  "Cannot tell handler that its request is cut off: its listener failed with";

/** Whom to tell of each such error. */
const owners = new WeakMap<object, () => void>();
let isListening = false;

/**
 * Keeps an error from ending the program when nobody awaits the promise that it rejects: a client that leaves must
 * not be able to do that to a handler which has left a read behind. An error that somebody awaits is as any other.
 *
 * @param error What a promise is about to be rejected with.
 * @param tell Called when nobody awaits that.
 */
export function outlive(error: unknown, tell: () => void): void {
  if (typeof error !== "object" || error === null) return;
  owners.set(error, tell);
  if (isListening) return;
  isListening = true;
  globalThis.addEventListener("unhandledrejection", (event) => {
    const tells = ownersOf(event.reason);
    if (tells === null) return;
    event.preventDefault();
    for (const tell of tells) tell();
  });
}

/** Whom to tell of an error, or of all those that one of `Promise.any()` is made of; null where it is anybody else's. */
function ownersOf(error: unknown): (() => void)[] | null {
  const tell = owners.get(error as object);
  if (tell !== undefined) return [tell];
  if (!isInstance(error, AggregateError)) return null;
  const errors = propertyOf(error, "errors");
  if (!isInstance(errors, Array) || errors.length === 0) return null;
  const tells = errors.map((one) => owners.get(one as object));
  return tells.every((tell) => tell !== undefined) ? tells : null;
}

/**
 * Aborts a signal whose listeners are a handler's: neither what they throw nor a promise of theirs that the abort
 * itself rejects ends the program, as it does otherwise.
 *
 * @param report Told of what a listener throws.
 */
export function abortSafely(
  controller: AbortController,
  reason: unknown,
  report: (error: unknown) => void,
): void {
  outlive(reason, () => {});
  const take = (event: ErrorEvent) => {
    event.preventDefault();
    report(event.error);
  };
  // Whatever a listener throws arrives here before abort() returns.
  globalThis.addEventListener("error", take);
  try {
    controller.abort(reason);
  } finally {
    globalThis.removeEventListener("error", take);
  }
}
