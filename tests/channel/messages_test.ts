/**
 * Errors on their way between isolates.
 *
 * @module
 */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertLess,
  assertStringIncludes,
} from "@std/assert";
import {
  DatagramTooLongError,
  HandlerLoadError,
  IncompleteReadError,
  LineTooLongError,
  ServerExit,
} from "@netkit/socketserver";
import { type ErrorMessage, fromErrorMessage, toErrorMessage } from "../../src/channel/messages.ts";
import { FRAME, FROM_WORKER } from "../../src/channel/frames.ts";
import { pack } from "../../src/channel/payload.ts";

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

Deno.test("fromErrorMessage() keeps a name that looks like one, and no line in its place", () => {
  const named = (name: string) => {
    const error = Object.assign(new RangeError("no"), { name });
    return (fromErrorMessage(toErrorMessage(error)) as Error).name;
  };
  for (const name of ["ZugFehler", "Überlauf", "$_1", "node.Error", "HTTP Error"]) {
    assertEquals(named(name), name);
  }
  for (const name of ["Error\n10.0.0.1: served", "\x1b[2J", "Error\u2028", "", "E".repeat(101)]) {
    assertEquals(named(name), "RangeError");
  }
});

Deno.test("fromErrorMessage() takes no more of a text than goes along", () => {
  const long = "x".repeat(1 << 20);
  const sent: ErrorMessage = {
    ...{ className: "Error", name: "Error", message: long, stack: long, more: {} },
  };
  const { message, stack } = fromErrorMessage(sent) as Error;
  assertEquals([message.length, stack!.length], [8193, 8193]);
  assertEquals((fromErrorMessage({ ...sent, thrown: long }) as string).length, 8193);
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

Deno.test("fault 9: fromErrorMessage() makes an error of what only looks like a class that both sides know", () => {
  const said = { name: "Error", message: "text", more: {} };
  for (const className of ["constructor", "toString", "__proto__", "hasOwnProperty", "no such"]) {
    const made = fromErrorMessage({ ...said, className });
    assertInstanceOf(made, Error);
    assertEquals([Object.getPrototypeOf(made), String(made)], [Error.prototype, "Error: text"]);
  }
});

Deno.test("fault 9: fromErrorMessage() makes an error of whatever a worker sends", () => {
  const more = JSON.parse(
    '{ "__proto__": null, "toString": "x", "message": 5, "cause": 1, "a": [1], "b": 2 }',
  );
  const wrong = { className: 1, name: {}, message: null, stack: 7, more, cause: "c" };
  for (const sent of [wrong, null, 5, "text", [], { thrown: { some: "object" }, more: "text" }]) {
    const made = fromErrorMessage(sent as unknown as ErrorMessage) as Error;
    assertInstanceOf(made, Error);
    assertEquals(made.name, "Error");
    assertStringIncludes(Deno.inspect(made), "Error");
  }
  const made = fromErrorMessage(wrong as unknown as ErrorMessage) as Error & { b: number };
  assertEquals([made.message, made.b, Object.keys(made)], ["null", 2, ["b"]]);
});

Deno.test("fault 5: toErrorMessage() makes of no error more than may be sent", () => {
  const long = "\x00".repeat(1_000_000);
  const fields = Array.from({ length: 1000 }, (_, n) => [`${n}${long.slice(0, 5000)}`, long]);
  let error = new Error();
  for (let n = 0; n < 20; n++) {
    error = Object.assign(new Error(long, { cause: error }), Object.fromEntries(fields));
    error.stack = long;
    error.name = long;
  }
  const { byteLength } = pack({ error: toErrorMessage(error) });
  assertLess(byteLength, FROM_WORKER[FRAME.DONE]!);
  assertLess(pack({ error: toErrorMessage(long) }).byteLength, FROM_WORKER[FRAME.DONE]!);
});

Deno.test("fromErrorMessage() takes no more than a few of very many properties", () => {
  const more = Object.fromEntries(Array.from({ length: 5000 }, (_, n) => [`p${n}`, n]));
  const said = { className: "Error", name: "Error", message: "text", more };
  assertEquals(Object.keys(fromErrorMessage(said) as Error).length, 16);
  assertEquals(Object.keys(toErrorMessage(Object.assign(new Error(), more)).more).length, 16);
});

Deno.test("toErrorMessage() shortens a long error with long causes before it leaves causes out", () => {
  const text = "long ".repeat(1000);
  let error = new Error(text);
  for (let n = 0; n < 4; n++) error = new Error(text, { cause: error });
  const made = roundTrip(error) as Error;
  let depth = 0;
  for (let at: unknown = made; at instanceof Error; at = at.cause) depth++;
  assertEquals([depth, made.message], [5, text]);
});

Deno.test("toErrorMessage() tells what can be said of a value that throws when it is looked at", () => {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  const hostile = new Error("x");
  Object.defineProperty(hostile, "stack", {
    get() {
      throw new Error("no");
    },
  });
  for (const thrown of [proxy, hostile, Object.create(null)]) {
    assertEquals(typeof roundTrip(thrown), "string");
  }
});
