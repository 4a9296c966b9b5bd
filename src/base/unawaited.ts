/**
 * Errors of a client's connection that nobody awaits.
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
