/**
 * Bytes: what may be sent as such, and how a person reads them.
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

/** How many bytes are written when nobody says. */
const MAX_BYTES = 200;
const NAMED = new Map([[9, "\\t"], [10, "\\n"], [13, "\\r"], [92, "\\\\"]]);

/**
 * Writes bytes for a log or a message, as Python prints them: printable ASCII as it is, line ends and the like as `\n`,
 * anything else as `\xNN`. So nothing in them can forge a line, or steer a terminal.
 *
 * @param bytes What to write.
 * @param max How many of them are written at the most.
 * @returns `b'…'`, and how many bytes there are where those are more than `max`.
 *
 * @example Log what a client sent
 * ```ts
 * import { formatBytes } from "@netkit/socketserver";
 * import { assertEquals } from "@std/assert";
 *
 * const data = new TextEncoder().encode("Hello\n\x1b[2J");
 * assertEquals(formatBytes(data), String.raw`b'Hello\n\x1b[2J'`);
 * assertEquals(formatBytes(data, 5), "b'Hello'… (10 bytes)");
 * ```
 * @category Logging
 */
export function formatBytes(bytes: Uint8Array, max: number = MAX_BYTES): string {
  const shown = bytes.subarray(0, max);
  const quote = shown.includes(39) && !shown.includes(34) ? '"' : "'";
  const text = Array.from(shown, (byte) => {
    const character = String.fromCharCode(byte);
    if (character === quote) return `\\${quote}`;
    return NAMED.get(byte) ??
      (byte >= 32 && byte < 127 ? character : `\\x${byte.toString(16).padStart(2, "0")}`);
  });
  const more = bytes.length > max ? `… (${bytes.length} bytes)` : "";
  return `b${quote}${text.join("")}${quote}${more}`;
}
