/**
 * The error classes, and how an error is told from others.
 *
 * @module
 */
import { assert, assertEquals, assertInstanceOf, assertStrictEquals } from "@std/assert";
import {
  DatagramTooLongError,
  IncompleteReadError,
  LineTooLongError,
  ServerExit,
  TLSHandshakeError,
} from "@netkit/socketserver";
import {
  describeThrown,
  errorCode,
  isInstance,
  isOfClient,
  isPeerGone,
  messageOf,
  noteSource,
} from "../../src/base/errors.ts";
import { oneLine } from "../../src/base/log.ts";
import { ODD_VALUES } from "../harness.ts";

Deno.test("ServerExit has a code, which is 0 unless told", () => {
  const error = new ServerExit(3);
  assertInstanceOf(error, Error);
  assertEquals([error.name, error.code, error.message], [
    "ServerExit",
    3,
    "Server exit with code 3",
  ]);
  assertEquals(new ServerExit().code, 0);
});

Deno.test("LineTooLongError has the limit in bytes", () => {
  const error = new LineTooLongError(80);
  assertInstanceOf(error, Error);
  assertEquals([error.name, error.limit], ["LineTooLongError", 80]);
  assertEquals(error.message, "Cannot read line: no end within 80 bytes");
});

Deno.test("IncompleteReadError is an UnexpectedEof that has the bytes that came", () => {
  const partial = Uint8Array.of(1, 2);
  const error = new IncompleteReadError(partial, 4);
  assertInstanceOf(error, Deno.errors.UnexpectedEof);
  assertStrictEquals(error.partial, partial);
  assertEquals(error.name, "IncompleteReadError");
  assertEquals(error.message, "Cannot read 4 bytes: the stream ended after 2");
});

Deno.test("DatagramTooLongError has the limit in bytes", () => {
  const error = new DatagramTooLongError(512);
  assertInstanceOf(error, Error);
  assertEquals([error.name, error.limit], ["DatagramTooLongError", 512]);
  assertEquals(
    error.message,
    "Cannot receive datagram: longer than 512 bytes ('maxPacketSize')",
  );
});

Deno.test("TLSHandshakeError has the time it took and the cause", () => {
  const cause = new Deno.errors.InvalidData("received corrupt message");
  const error = new TLSHandshakeError(12.5, { cause });
  assertInstanceOf(error, Error);
  assertEquals([error.name, error.elapsed], ["TLSHandshakeError", 12.5]);
  assertStrictEquals(error.cause, cause);
  assertEquals(error.message, "Cannot finish TLS handshake: received corrupt message");
  assertEquals(new TLSHandshakeError(1).message, "Cannot finish TLS handshake: failed");
});

Deno.test("errorCode() gives the system's code, or else the class's name", () => {
  assertEquals(errorCode(Object.assign(new Error("x"), { code: "EMFILE" })), "EMFILE");
  assertEquals(errorCode(new Deno.errors.NotConnected("x")), "NotConnected");
  assertEquals(errorCode(new TypeError("x")), "TypeError");
  assertEquals(errorCode("x"), "string");
  assertEquals(errorCode(undefined), "undefined");
});

Deno.test("isPeerGone() tells that a client has gone", () => {
  const gone = [
    new Deno.errors.ConnectionReset("x"),
    new Deno.errors.BrokenPipe("x"),
    new Deno.errors.ConnectionAborted("x"),
    new Deno.errors.NotConnected("x"),
    new IncompleteReadError(new Uint8Array(), 1),
  ];
  const others = [new Error("x"), new TypeError("x"), new Deno.errors.TimedOut("x"), "x", null];
  assert(gone.every(isPeerGone));
  assert(!others.some(isPeerGone));
});

Deno.test("isOfClient() goes by where an error comes from, and not by its class", () => {
  const [request, other, address] = [{}, {}, {}];
  const packet = new Uint8Array();
  const error = () => new Deno.errors.BrokenPipe("x");
  const isHis = (error: unknown) => isOfClient(error, request, address);
  assertEquals([isHis(error()), isHis("x"), isHis(undefined)], [false, false, false]);
  assertEquals(isHis(noteSource(error(), request)), true);
  assertEquals(isHis(noteSource(error(), address)), true);
  assertEquals(isHis(noteSource(error(), other)), false);
  assertEquals(isOfClient(noteSource(error(), packet), [packet, other], address), true);
  assertEquals(noteSource("x", request), "x");
});

for (const [what, make] of Object.entries(ODD_VALUES)) {
  Deno.test(`fault 14: describeThrown(), messageOf() and all that tells errors apart take ${what}`, () => {
    const odd = make();
    for (const say of [describeThrown, messageOf, errorCode, oneLine]) {
      assertEquals(typeof say(odd), "string", say.name);
    }
    assertEquals([isOfClient(odd, {}, {}), isPeerGone(odd), isInstance(odd, ServerExit)], [
      false,
      false,
      false,
    ]);
  });
}
