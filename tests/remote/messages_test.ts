/**
 * Errors on their way between isolates.
 *
 * @module
 */
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import {
  DatagramTooLongError,
  HandlerLoadError,
  IncompleteReadError,
  LineTooLongError,
  ServerExit,
} from "@netkit/socketserver";
import { type ErrorMessage, fromErrorMessage, toErrorMessage } from "../../src/remote/messages.ts";

/** There and back, as text in between. */
function roundTrip(thrown: unknown): unknown {
  return fromErrorMessage(JSON.parse(JSON.stringify(toErrorMessage(thrown))) as ErrorMessage);
}

const ERRORS = [
  new Error("plain"),
  new TypeError("type"),
  new RangeError("range"),
  new Deno.errors.NotFound("file"),
  new Deno.errors.ConnectionReset("peer"),
  new Deno.errors.NotCapable("permission"),
  new LineTooLongError(80),
  new IncompleteReadError(Uint8Array.of(1, 2), 5),
  new DatagramTooLongError(512),
  new HandlerLoadError("file:///h.ts", "Handler", "no reason"),
  new ServerExit(),
];

for (const error of ERRORS) {
  Deno.test(`fromErrorMessage() makes ${error.name} as it was`, () => {
    const made = roundTrip(error);
    assertInstanceOf(made, error.constructor as ErrorConstructor);
    assertEquals([made.name, made.message, made.stack], [error.name, error.message, error.stack]);
  });
}

Deno.test("fromErrorMessage() keeps the causes, the code and what is plain of the rest", () => {
  const cause = new Error("middle", { cause: new SyntaxError("first") });
  const error = Object.assign(new Deno.errors.NotFound("last", { cause }), {
    code: "ENOENT",
    count: 3,
    flag: true,
    nothing: null,
    left: { out: 1 },
  });
  const made = roundTrip(error) as Error & Record<string, unknown>;
  assertEquals([made.code, made.count, made.flag, made.nothing], ["ENOENT", 3, true, null]);
  assert(!("left" in made));
  const middle = made.cause as Error;
  assertEquals(middle.message, "middle");
  assertInstanceOf(middle.cause, SyntaxError);
});

Deno.test("toErrorMessage() ends where causes go round in a circle", () => {
  const error = new Error("round");
  error.cause = error;
  let depth = 0;
  for (let at = roundTrip(error); at instanceof Error; at = at.cause) depth++;
  assertEquals(depth, 9);
});

Deno.test("fromErrorMessage() makes an own error one of the nearest class that both sides know", () => {
  class OwnError extends Deno.errors.TimedOut {
    override name = "OwnError";
  }
  const made = roundTrip(new OwnError("mine"));
  assertInstanceOf(made, Deno.errors.TimedOut);
  assertEquals([made.name, made.message], ["OwnError", "mine"]);
});

Deno.test("fromErrorMessage() gives what is plain and no error as it was", () => {
  for (const thrown of ["text", "", 0, 7, true, false, null]) {
    assertEquals(roundTrip(thrown), thrown);
  }
});

Deno.test("fromErrorMessage() gives what is neither plain nor an error as it looks", () => {
  assertEquals(roundTrip(undefined), "undefined");
  assertEquals(roundTrip({ some: 1n }), "{ some: 1n }");
});
