/**
 * What a server's `requestContext()` gives, on its way to handlers that run elsewhere.
 *
 * @module
 */
import type { Buffer } from "node:buffer";
import { serialize } from "node:v8";
import { isInstance } from "../../base/errors.ts";
import { MAX_CONTEXT } from "../../channel/frames.ts";
import type { Context } from "../worker.ts";

const NONE: Context = { version: 0, packed: new Uint8Array(), value: undefined };

/** The contexts of a server; a worker is sent one only when it is another than the last. */
export class ContextSource {
  readonly #sharesMemory: boolean;
  /** What the server gave last. */
  #given: unknown = undefined;
  #last: Context = NONE;
  #packed: Buffer | null = null;
  #count = 0;

  /** @param sharesMemory Whether workers can have memory in common with the server. */
  constructor(sharesMemory: boolean) {
    this.#sharesMemory = sharesMemory;
  }

  /**
   * Takes what the server gives for a request. What goes by `packed` is compared with the last; of anything else only
   * another object is a change.
   *
   * @throws {TypeError} When it is a promise, or has shared memory in it that workers cannot have.
   * @throws {RangeError} When it is too long.
   * @throws {Error} When it cannot be cloned.
   */
  take(given: unknown): Context {
    const isSame = Object.is(given, this.#given);
    if (isSame && (this.#packed === null || typeof given !== "object")) return this.#last;
    refusePromise(given);
    const content = contentOf(given);
    if (content === "shared" && !this.#sharesMemory) {
      throw new TypeError(
        "Cannot send what requestContext() gave: there is shared memory in it, which a subprocess cannot have; " +
          "use threads, or let handlers call the server",
      );
    }
    const packed = content === "plain" || !this.#sharesMemory ? packedContext(given) : null;
    if (packed === null || this.#packed === null || !packed.equals(this.#packed)) {
      const value = packed === null ? structuredClone(given) : undefined;
      this.#last = { version: ++this.#count, packed: new Uint8Array(packed ?? []), value };
    }
    this.#given = given;
    this.#packed = packed;
    return this.#last;
  }
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
  if (contentOf(clone) === "plain") packedContext(clone); // for its length
  return clone;
}

function packedContext(context: unknown): Buffer {
  const packed = serialize(context);
  if (packed.length <= MAX_CONTEXT) return packed;
  throw new RangeError(
    `Cannot send what requestContext() gave: it has ${packed.length} bytes, ${MAX_CONTEXT} are the most; ` +
      "let handlers load what is large from a file or a database",
  );
}

type Content = "plain" | "other" | "shared";

/** What is in a value: only what any isolate can be sent as bytes, memory that is shared, or something else. */
function contentOf(value: unknown, seen: Set<object> = new Set()): Content {
  if (typeof value !== "object" || value === null) return "plain";
  if (value instanceof SharedArrayBuffer) return "shared";
  if (ArrayBuffer.isView(value)) return contentOf(value.buffer);
  if (PLAIN.some((known) => value instanceof known) || seen.has(value)) return "plain";
  seen.add(value);
  const isPlain = Array.isArray(value) || value instanceof Map || value instanceof Set ||
    [Object.prototype, null].includes(Object.getPrototypeOf(value));
  let content: Content = isPlain ? "plain" : "other";
  const parts = value instanceof Map ? value.entries() : value instanceof Set ? value : [];
  for (const part of [...parts, ...Object.values(value)]) {
    const found = contentOf(part, seen);
    if (found === "shared") return found;
    if (found === "other") content = found;
  }
  return content;
}

/** Objects of these classes are the same when they are cloned, as are primitive values, arrays, maps, sets and plain objects. */
const PLAIN = [ArrayBuffer, Date, RegExp, Error];

/** Refuses what an asynchronous `requestContext()` gives, and takes its error, which would end the program. */
function refusePromise(context: unknown): void {
  if (!isInstance(context, Promise)) return;
  context.catch(() => {});
  throw new TypeError(
    "Cannot send what requestContext() gave: a promise; it may not be asynchronous, so await what it needs before " +
      "the server serves",
  );
}
