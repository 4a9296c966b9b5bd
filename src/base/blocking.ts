/**
 * Why a call that would block does not.
 *
 * @module
 */

/** Whether this is a Worker that has its connections itself. */
let hasConnections = false;

/** Notes that this is a Worker that has its connections itself, on which nothing blocks. */
export function noteOwnConnections(): void {
  hasConnections = true;
}

/**
 * Makes the error of a blocking call where nothing blocks.
 *
 * @param call What was called.
 * @param instead What to do here.
 */
export function cannotBlock(call: string, instead: string): Error {
  if (hasConnections) {
    return new Deno.errors.NotSupported(
      `Cannot block in ${call}: this Worker has the connection itself; ` +
        `declare 'static override readonly blocking = true' in the handler, or ${instead}`,
    );
  }
  return new Deno.errors.NotSupported(
    `Cannot block in ${call}: the server's own isolate serves others meanwhile; ` +
      `use a ThreadingMixIn or ForkingMixIn server, or ${instead}`,
  );
}

/**
 * Makes the error of a blocking call while an asynchronous one of the same direction is under way.
 *
 * @param call What was called.
 * @param underWay What is under way.
 */
export function cannotBlockYet(call: string, underWay: "read" | "write" | "send"): Error {
  return new Deno.errors.Busy(
    `Cannot block in ${call}: an asynchronous ${underWay} is under way; await it first`,
  );
}
