/**
 * Values that go between isolates as JSON.
 *
 * @module
 */
import { assertEquals, assertThrows } from "@std/assert";
import { assertPlain } from "../../src/channel/payload.ts";
import { fromErrorMessage, toErrorMessage } from "../../src/channel/messages.ts";

Deno.test("assertPlain() takes what JSON gives back as it was", () => {
  const all = [null, true, 1.5, "x", [], [[1], { a: { b: [] } }], Object.create(null), {
    a: undefined,
  }];
  for (const value of [undefined, ...all, all]) assertPlain(value, "it");
});

Deno.test("assertPlain() refuses what has more parts than there is room for, soon", () => {
  let value: unknown = [];
  for (let depth = 0; depth < 40; depth++) value = [value, value];
  assertThrows(
    () => assertPlain(value, "it"),
    RangeError,
    "Cannot send it: it has more than 32768 parts",
  );
});

Deno.test("toErrorMessage() sends numbers that JSON has not as text", () => {
  for (const thrown of [NaN, Infinity, -Infinity]) {
    const sent = JSON.parse(JSON.stringify(toErrorMessage(thrown)));
    assertEquals(fromErrorMessage(sent), String(thrown));
  }
});
