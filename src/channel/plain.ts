/**
 * Values that go between isolates as JSON and are on the other side what they were.
 *
 * @module
 */

/**
 * Throws unless a value is plain: `null`, a boolean, a number, a string, or an array or an object of these; `undefined`
 * is so where it is no element of an array.
 *
 * @param what What the message calls it.
 * @throws {TypeError} When it is not.
 */
export function assertPlain(value: unknown, what: string): void {
  if (value !== undefined) assertPart(value, what);
}

function assertPart(value: unknown, what: string, depth = 0): void {
  if (value === null || typeof value === "string" || typeof value === "boolean") return;
  if (typeof value === "number" && Number.isFinite(value)) return;
  if (typeof value === "object" && depth < MAX_DEPTH) {
    if (Array.isArray(value)) {
      for (const part of value) assertPart(part, what, depth + 1);
      return;
    }
    if ([Object.prototype, null].includes(Object.getPrototypeOf(value))) {
      for (const part of Object.values(value)) {
        if (part !== undefined) assertPart(part, what, depth + 1);
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

/** A value that goes deeper goes round in a circle, or as good as. */
const MAX_DEPTH = 64;

function describe(value: unknown): string {
  if (typeof value !== "object") return typeof value === "number" ? String(value) : typeof value;
  if (Array.isArray(value)) return "an array in too many others";
  const { name } = Object.getPrototypeOf(value)?.constructor ?? {};
  return typeof name === "string" && name !== "Object" ? name : "an object in too many others";
}
