/**
 * Why a call that would block does not.
 *
 * @module
 */

/**
 * Makes the error of a blocking call in the server's own isolate.
 *
 * @param call What was called.
 * @param instead What to do here.
 */
export function cannotBlock(call: string, instead: string): Error {
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
