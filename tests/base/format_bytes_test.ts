/**
 * Bytes as a person reads them.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { formatBytes } from "@netkit/socketserver";
import { bytes } from "../harness.ts";

Deno.test("formatBytes() writes bytes as Python prints them, with nothing in them that steers a terminal", () => {
  assertEquals(formatBytes(bytes("")), "b''");
  assertEquals(formatBytes(bytes('a"b\\c\t\r\n')), String.raw`b'a"b\\c\t\r\n'`);
  assertEquals(formatBytes(bytes("it's")), `b"it's"`); // as Python chooses its quotes
  assertEquals(formatBytes(bytes(`'"`)), String.raw`b'\'"'`);
  assertEquals(
    formatBytes(Uint8Array.of(0, 31, 32, 126, 127, 128, 255)),
    String.raw`b'\x00\x1f ~\x7f\x80\xff'`,
  );
  const all = formatBytes(Uint8Array.from({ length: 256 }, (_, byte) => byte), 256);
  assertEquals([...all].filter((character) => character < " " || character > "~"), []);
});

Deno.test("formatBytes() writes no more than it is to, and says of how many", () => {
  assertEquals(formatBytes(bytes("x".repeat(201))), `b'${"x".repeat(200)}'… (201 bytes)`);
  assertEquals(formatBytes(bytes("x".repeat(200))), `b'${"x".repeat(200)}'`);
  assertEquals(formatBytes(bytes("abc"), 0), "b''… (3 bytes)");
});
