/**
 * The payloads of frames that are not bytes of a client, and which values go in them.
 *
 * @module
 */
import { MAX_CALL } from "./frames.ts";

/** How many parts a payload has at the most, its value included. */
const MAX_PACKED = 3;

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
    if (end > packed.length || all.length === MAX_PACKED) throw malformed();
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

/**
 * Throws unless a value is plain: `null`, a boolean, a number, a string, or an array or an object of these; `undefined`
 * is so where it is no element of an array.
 *
 * @param what What the message calls it.
 * @throws {TypeError} When it is not.
 * @throws {RangeError} When it has more parts than there is room for.
 */
export function assertPlain(value: unknown, what: string): void {
  if (value !== undefined) assertPart(value, what, { parts: MAX_PARTS });
}

/** @param left How many parts more there may be: the same one may be in many others. */
function assertPart(value: unknown, what: string, left: { parts: number }, depth = 0): void {
  if (left.parts-- === 0) {
    throw new RangeError(`Cannot send ${what}: it has more than ${MAX_PARTS} parts`);
  }
  if (value === null || typeof value === "string" || typeof value === "boolean") return;
  if (typeof value === "number" && Number.isFinite(value)) return;
  if (typeof value === "object" && depth < MAX_DEPTH) {
    if (Array.isArray(value)) {
      for (const part of value) assertPart(part, what, left, depth + 1);
      return;
    }
    if ([Object.prototype, null].includes(Object.getPrototypeOf(value))) {
      for (const part of Object.values(value)) {
        if (part !== undefined) assertPart(part, what, left, depth + 1);
      }
      return;
    }
  }
  throw new TypeError(
    `Cannot send ${what}: ${
      describe(value)
    } is in it, and between processes go only null, booleans, ` +
      "numbers, strings, and arrays and objects of these",
  );
}

/** No frame has room for more, each with a comma. */
const MAX_PARTS = MAX_CALL / 2;
/** A value that goes deeper goes round in a circle, or as good as. */
const MAX_DEPTH = 64;

function describe(value: unknown): string {
  if (typeof value !== "object") return typeof value === "number" ? String(value) : typeof value;
  if (Array.isArray(value)) return "an array in too many others";
  const { name } = Object.getPrototypeOf(value)?.constructor ?? {};
  return typeof name === "string" && name !== "Object" ? name : "an object in too many others";
}
