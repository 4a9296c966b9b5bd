/**
 * What a server's `requestContext()` gives, on its way to handlers that run elsewhere.
 *
 * @module
 */
import { serialize } from "node:v8";
import { isInstance } from "../base/errors.ts";

/** How long it may be, in bytes as it is sent: it is copied several times on the way, for each request anew. */
export const MAX_CONTEXT = 16 * 1024 * 1024;

/**
 * Serializes a context.
 *
 * @returns What `deserialize()` of `node:v8` reads; empty for `undefined`.
 * @throws {TypeError} When it is a promise.
 * @throws {RangeError} When it is too long.
 * @throws {Error} When it cannot be cloned.
 */
export function packContext(context: unknown): Uint8Array<ArrayBuffer> {
  if (context === undefined) return new Uint8Array();
  refusePromise(context);
  const packed = new Uint8Array(serialize(context));
  if (packed.length <= MAX_CONTEXT) return packed;
  throw new RangeError(
    `Cannot send what requestContext() gave: it has ${packed.length} bytes, ${MAX_CONTEXT} are the most; ` +
      "let handlers load what is large from a file or a database",
  );
}

/**
 * Clones a context that is posted as it is.
 *
 * @throws {TypeError} When it is a promise.
 * @throws {RangeError} When it is too long.
 * @throws {Error} When it cannot be cloned.
 */
export function cloneContext(context: unknown): unknown {
  refusePromise(context);
  const clone = structuredClone(context);
  try {
    packContext(clone);
  } catch (error) {
    if (error instanceof RangeError) throw error;
    // There is shared memory in it, which can be posted and not serialized.
  }
  return clone;
}

/** Refuses what an asynchronous `requestContext()` gives, and takes its error, which would end the program. */
function refusePromise(context: unknown): void {
  if (!isInstance(context, Promise)) return;
  context.catch(() => {});
  throw new TypeError(
    "Cannot send what requestContext() gave: a promise; it may not be asynchronous, so await what it needs before " +
      "the server serves",
  );
}
