/**
 * The payloads of frames that are not bytes of a client.
 *
 * @module
 */

/** How many parts a payload has at the most. */
const MAX_PARTS = 3;

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const NOTHING = new Uint8Array(0);

/** Joins a value as JSON and parts of bytes, each with its length before it. */
export function pack(value: unknown, ...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = [encoder.encode(JSON.stringify(value)), ...parts];
  const packed = new Uint8Array(all.reduce((size, part) => size + 4 + part.length, 0));
  const view = new DataView(packed.buffer);
  let at = 0;
  for (const part of all) {
    view.setUint32(at, part.length, true);
    packed.set(part, at + 4);
    at += 4 + part.length;
  }
  return packed;
}

/**
 * Takes apart what {@linkcode pack} joined; the parts are views.
 *
 * @throws {Deno.errors.InvalidData} When it is nothing that `pack()` made.
 */
export function unpack<Value>(packed: Uint8Array<ArrayBuffer>): {
  value: Value;
  parts: Uint8Array<ArrayBuffer>[];
} {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  const all: Uint8Array<ArrayBuffer>[] = [];
  for (let at = 0; at < packed.length;) {
    const start = at + 4;
    const end = start > packed.length ? Infinity : start + view.getUint32(at, true);
    if (end > packed.length || all.length === MAX_PARTS) throw malformed();
    all.push(packed.subarray(start, end));
    at = end;
  }
  const [json = NOTHING, ...parts] = all;
  try {
    return { value: JSON.parse(decoder.decode(json)), parts };
  } catch (cause) {
    throw malformed(cause);
  }
}

function malformed(cause?: unknown): Error {
  return new Deno.errors.InvalidData("Cannot read frame: its payload is malformed", { cause });
}
