/**
 * What an error of accepting means: the one place that decides it.
 *
 * | error | meaning |
 * |---|---|
 * | the listener itself says that it is closed, three times in a row | no more will come |
 * | the client was gone before it was accepted, or its address cannot be told | try again at once |
 * | anything else: no descriptors, no memory, an error nobody knows | pause, then try again |
 *
 * An error of the second kind has used up a connection or a datagram, and such a client must not slow down the others.
 * The pause is 5 ms, doubles up to 1 s, and is 5 ms again after a success.
 *
 * @module
 */
import { errorCode, isInstance, OWN_ADDRESS } from "../../base/errors.ts";
import { Backoff } from "../../base/time.ts";

/** After so many connections in a row that were dead on arrival the loop pauses once. */
const PEER_ERRORS_IN_A_ROW = 100;
/** That pause, in milliseconds. */
const PEER_PAUSE = 5;
/** After so many tries in a row that found the listener closed, it is. */
const CLOSED_IN_A_ROW = 3;

/** Judges the errors of one listener. */
export class AcceptErrors {
  readonly #backoff = new Backoff();
  #peerErrors = 0;
  /** Errors of the listener that say that it is closed; fewer than three in a row may be one client's. */
  #suspects: unknown[] = [];

  /**
   * Judges one error.
   *
   * @param isListener Whether what was called is the listener, so that each error is the listener's own.
   * @returns How long to pause before the next try, in milliseconds, 0 for none; "suspect" to try again at once and tell
   * nobody yet; "closed" when no more will come.
   */
  judge(error: unknown, isListener: boolean): number | "suspect" | "closed" {
    if (isClosedError(error) && (isListener || ofListeners.has(error))) {
      return this.#suspects.push(error) < CLOSED_IN_A_ROW ? "suspect" : "closed";
    }
    if (!hasUsedOneUp(error)) return this.#backoff.next();
    return ++this.#peerErrors % PEER_ERRORS_IN_A_ROW === 0 ? PEER_PAUSE : 0;
  }

  /**
   * Starts over after a success.
   *
   * @returns The errors that said that the listener is closed, which it is not.
   */
  reset(): unknown[] {
    this.#backoff.reset();
    this.#peerErrors = 0;
    return this.#suspects.splice(0);
  }
}

/** The errors that a listener itself gave as its answer to the call to accept. */
const ofListeners = new WeakSet<object>();

/**
 * Notes that an error comes from a listener itself: what a `getRequest()` of the user's fails with may be of the same
 * class and says nothing about the listener.
 *
 * @param error What `accept()` or `receive()` threw.
 * @returns The error, to be thrown.
 */
export function listenerError(error: unknown): unknown {
  if (isClosedError(error)) ofListeners.add(error);
  return error;
}

function isClosedError(error: unknown): error is Error {
  return isInstance(error, Deno.errors.BadResource) || isInstance(error, Deno.errors.Interrupted);
}

/**
 * Whether a connection or a datagram is gone with the error. Deno asks for the peer's name after accept: a connection
 * that was reset meanwhile has none, and a path that is not UTF-8 cannot be told.
 */
function hasUsedOneUp(error: unknown): boolean {
  return isInstance(error, Deno.errors.NotConnected) ||
    isInstance(error, Deno.errors.ConnectionAborted) ||
    isInstance(error, Deno.errors.ConnectionReset) ||
    isInstance(error, Deno.errors.ConnectionRefused) || // a datagram's, where the system tells of it
    isInstance(error, Deno.errors.InvalidData) ||
    // What macOS says of a connection that was reset, and what is said of a datagram that comes from us.
    ["EINVAL", OWN_ADDRESS].includes(errorCode(error));
}
