/**
 * Values that go between isolates as JSON and are on the other side what they were.
 *
 * @module
 */

import { MAX_CALL } from "./frames.ts";

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
