/**
 * What a client causes in a handler and nobody is there to catch: errors of its connection that are not awaited, and
 * those of listeners for the end of its request.
 *
 * @module
 */

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
    const tell = typeof event.reason === "object" && event.reason !== null
      ? owners.get(event.reason)
      : undefined;
    if (tell === undefined) return;
    event.preventDefault();
    tell();
  });
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
