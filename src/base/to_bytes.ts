/**
 * What may be sent, as bytes.
 *
 * @module
 */

const encoder = new TextEncoder();

/**
 * Gives text as UTF-8, and memory of any type as its bytes, which are not copied.
 *
 * @param data What is to be sent.
 * @param action What is to be done, for the message, as in "write to client".
 * @throws {TypeError} When it is neither.
 */
export function toBytes(
  data: string | ArrayBufferLike | ArrayBufferView,
  action: string,
): Uint8Array {
  if (data instanceof Uint8Array) return data;
  if (typeof data === "string") return encoder.encode(data);
  if (ArrayBuffer.isView(data)) {
    return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  }
  if (data instanceof ArrayBuffer || data instanceof SharedArrayBuffer) return new Uint8Array(data);
  throw new TypeError(`Cannot ${action}: expected bytes or text, got ${typeName(data)}`);
}

/** The type of a value that a type checker would have refused. */
function typeName(value: unknown): string {
  if (value === null || typeof value !== "object") return value === null ? "null" : typeof value;
  return Array.isArray(value) ? "an array" : Object.prototype.toString.call(value).slice(8, -1);
}
