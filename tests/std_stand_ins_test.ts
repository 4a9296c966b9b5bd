/**
 * What this project relies on of `@std/assert`, `@std/cli` and `@std/log`. The tests pass with the
 * packages of JSR and with the stand-ins of `.ci/std`: a part that is added there is tested here.
 */

import {
  assert,
  assertEquals,
  assertFalse,
  assertGreater,
  assertGreaterOrEqual,
  assertInstanceOf,
  AssertionError,
  assertLess,
  assertLessOrEqual,
  assertMatch,
  assertNotEquals,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
  equal,
} from "@std/assert";
import { parseArgs } from "@std/cli";
import { type Args, parseArgs as parseArgsOfSubPath, type ParseOptions } from "@std/cli/parse-args";
import * as log from "@std/log";
import { BaseHandler, type FormatterFunction } from "@std/log/base-handler";
import { ConsoleHandler } from "@std/log/console-handler";
import { getLogger } from "@std/log/get-logger";
import { getLevelByName, getLevelName, type LevelName, LogLevels } from "@std/log/levels";
import { type LogConfig, Logger, LogRecord } from "@std/log/logger";
import { setup } from "@std/log/setup";

/** Fails to compile unless both types are the same. */
function assertSameType<A, B>(
  _proof: (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false,
): void {}

/** The message of the `AssertionError` that an assertion throws. */
function messageOf(assertion: () => void): string {
  try {
    assertion();
  } catch (error) {
    if (error instanceof AssertionError) return error.message;
    throw error;
  }
  throw new Error("The assertion holds");
}

class CollectingHandler extends BaseHandler {
  readonly lines: string[] = [];
  readonly events: string[] = [];

  log(msg: string): void {
    this.lines.push(msg);
  }

  override setup(): void {
    this.events.push("setup");
  }

  override destroy(): void {
    this.events.push("destroy");
  }
}

/** What goes to `console.log()` until it is disposed of. */
class ConsoleCapture implements Disposable {
  readonly lines: unknown[][] = [];
  readonly #log = console.log;

  constructor() {
    console.log = (...line: unknown[]) => void this.lines.push(line);
  }

  [Symbol.dispose](): void {
    console.log = this.#log;
  }
}

function record(level: LevelName, ...args: unknown[]): LogRecord {
  return new LogRecord({ msg: "text", args, level: LogLevels[level], loggerName: "x" });
}

Deno.test("AssertionError has its name, its message and its cause", () => {
  const error = new AssertionError("text", { cause: 1 });
  assertInstanceOf(error, Error);
  assertStrictEquals(error.name, "AssertionError");
  assertStrictEquals(error.message, "text");
  assertStrictEquals(error.cause, 1);
});

Deno.test("assert() narrows and throws with the whole message when the value is falsy", () => {
  const value: string | undefined = ["text"][0];
  assert(value);
  assertSameType<typeof value, string>(true);
  assertStrictEquals(messageOf(() => assert(0, "whole")), "whole");
  assertStrictEquals(messageOf(() => assert(null)), "");
});

Deno.test("assertFalse() throws with the whole message when the value is truthy", () => {
  assertFalse("");
  assertStrictEquals(messageOf(() => assertFalse(1, "whole")), "whole");
});

Deno.test("equal() compares primitives as themselves, with NaN equal to NaN and 0 to -0", () => {
  assert(equal(NaN, NaN));
  assert(equal(0, -0));
  assertFalse(equal(1, "1"));
  assertFalse(equal(1, 1n));
  assertFalse(equal(null, undefined));
  assertFalse(equal(() => 1, () => 1));
});

Deno.test("equal() compares the contents of objects", () => {
  class Point {
    constructor(readonly x: number) {}
  }
  assert(equal({ a: [1, { b: 2 }] }, { a: [1, { b: 2 }] }));
  assert(equal(Object.create(null), {}));
  assert(equal(new Point(1), new Point(1)));
  assertFalse(equal(new Point(1), new Point(2)));
  assertFalse(equal(new Point(1), { x: 1 }));
  assertFalse(equal({ a: undefined }, {}));
  assertFalse(equal([1, 2], [2, 1]));
});

Deno.test("equal() compares the contents of collections, buffers, dates and URLs", () => {
  assert(equal(new Map([[{ k: 1 }, [1]]]), new Map([[{ k: 1 }, [1]]])));
  assertFalse(equal(new Map([["k", 1]]), new Map([["k", 2]])));
  assert(equal(new Set([1, 2]), new Set([2, 1])));
  assertFalse(equal(new Set([[1]]), new Set([[2]])));
  assert(equal(Uint8Array.of(1, 2), Uint8Array.of(1, 2)));
  assertFalse(equal(Uint8Array.of(1, 2), Uint8Array.of(1, 3)));
  assertFalse(equal(Uint8Array.of(1), [1]));
  assert(equal(Uint8Array.of(1).buffer, Uint8Array.of(1).buffer));
  assertFalse(equal(new Date(1), new Date(2)));
  assertFalse(equal(new URL("tcp://a:1"), new URL("tcp://a:2")));
});

Deno.test("equal() ends when objects hold themselves", () => {
  const a: unknown[] = [1];
  const b: unknown[] = [1];
  a.push(a);
  b.push(b);
  assert(equal(a, b));
});

Deno.test("assertEquals() throws when the structures differ, showing both sides", () => {
  assertEquals({ a: [1] }, { a: [1] });
  const message = messageOf(() => assertEquals({ a: 1, b: 2 }, { a: 1, b: 3 }, "because"));
  assertMatch(message, /^Values are not equal: because\n/);
  assertMatch(message, /\n.*- {5}b: 2,/);
  assertMatch(message, /\n.*\+ {5}b: 3,/);
  assertMatch(messageOf(() => assertEquals("a\n", "b\n")), /^Values are not equal\.\n/);
});

Deno.test("assertNotEquals() throws when the structures are the same", () => {
  assertNotEquals([1], [2]);
  assertStrictEquals(
    messageOf(() => assertNotEquals(1, 1)),
    "Expected actual: 1 not to be: 1.",
  );
});

Deno.test("assertStrictEquals() throws when the values are not the same one", () => {
  const text = ["te", "xt"].join("");
  const value: unknown = text;
  assertStrictEquals(value, text);
  assertSameType<typeof value, string>(true);
  assertStringIncludes(messageOf(() => assertStrictEquals(1, 2)), "Values are not strictly equal.");
  assertStringIncludes(
    messageOf(() => assertStrictEquals([1], [1], "because")),
    "Values have the same structure but are not reference-equal: because",
  );
  assertThrows(() => assertStrictEquals(0, -0), AssertionError);
});

Deno.test("assertInstanceOf() narrows and throws when the class is another", () => {
  const value: unknown = new TypeError();
  assertInstanceOf(value, TypeError);
  assertSameType<typeof value, TypeError>(true);
  assertInstanceOf(new CollectingHandler("INFO"), BaseHandler);
  assertStrictEquals(
    messageOf(() => assertInstanceOf(new Map(), TypeError)),
    'Expected object to be an instance of "TypeError" but was "Map".',
  );
});

Deno.test("assertMatch() throws when the pattern does not match", () => {
  assertMatch("text", /^t/);
  assertStrictEquals(
    messageOf(() => assertMatch("text", /^x/)),
    'Expected actual: "text" to match: "/^x/".',
  );
});

Deno.test("assertStringIncludes() throws when the string does not contain the other", () => {
  assertStringIncludes("text", "ex");
  assertStrictEquals(
    messageOf(() => assertStringIncludes("text", "y", "because")),
    'Expected actual: "text" to contain: "y": because',
  );
});

Deno.test("assertGreater() and its kin throw when the order is another", () => {
  assertGreater(2, 1);
  assertGreaterOrEqual(1, 1);
  assertLess(1n, 2n);
  assertLessOrEqual("a", "a");
  assertStrictEquals(messageOf(() => assertGreater(1, 1)), "Expect 1 > 1");
  assertStrictEquals(messageOf(() => assertGreaterOrEqual(0, 1)), "Expect 0 >= 1");
  assertStrictEquals(messageOf(() => assertLess(1, 1)), "Expect 1 < 1");
  assertStrictEquals(messageOf(() => assertLessOrEqual(1, 0, "whole")), "whole");
});

Deno.test("assertThrows() returns what was thrown", () => {
  const error = assertThrows(() => {
    throw new TypeError("text");
  }, TypeError);
  assertSameType<typeof error, TypeError>(true);
  assertStrictEquals(error.message, "text");
  const value = assertThrows(() => {
    throw 1;
  });
  assertSameType<typeof value, unknown>(true);
  assertStrictEquals(value, 1);
});

Deno.test("assertThrows() throws when the function returns, or throws something else", () => {
  const throwing = () => {
    throw new RangeError("text");
  };
  assertThrows(throwing, Error, "ex", "because");
  assertStrictEquals(
    messageOf(() => assertThrows(() => {}, "because")),
    "Expected function to throw: because",
  );
  assertStrictEquals(
    messageOf(() => assertThrows(throwing, TypeError)),
    'Expected error to be instance of "TypeError", but was "RangeError".',
  );
  assertStrictEquals(
    messageOf(() => assertThrows(throwing, RangeError, "y")),
    'Expected error message to include "y", but got "text".',
  );
});

Deno.test("assertRejects() returns what the promise was rejected with", async () => {
  const error = await assertRejects(() => Promise.reject(new TypeError("text")), TypeError, "ex");
  assertSameType<typeof error, TypeError>(true);
  assertStrictEquals(error.message, "text");
  assertStrictEquals(await assertRejects(() => Promise.reject(1)), 1);
});

Deno.test("assertRejects() throws when the promise is fulfilled or there is none", async () => {
  await assertRejects(
    () => assertRejects(() => Promise.resolve(), "because"),
    AssertionError,
    "Expected function to reject: because",
  );
  await assertRejects(
    () =>
      assertRejects(() => {
        throw new Error("at once");
      }),
    AssertionError,
    "Function throws when expected to reject.",
  );
  await assertRejects(
    () => assertRejects(() => Promise.reject(1), Error),
    AssertionError,
    "A non-Error object was rejected.",
  );
});

Deno.test("parseArgs() sorts flags from other arguments, and numbers from strings", () => {
  assertEquals(parseArgs(["--a", "1", "-b", "--c=x", "d", "2"]), {
    a: 1,
    b: true,
    c: "x",
    _: ["d", 2],
  });
  assertEquals(parseArgs(["-n5", "-xyz", "v", "-"]), {
    n: 5,
    x: true,
    y: true,
    z: "v",
    _: ["-"],
  });
  assertStrictEquals(parseArgsOfSubPath, parseArgs);
});

Deno.test("parseArgs() keeps the values of string flags as they are", () => {
  const args = parseArgs(["--tcp", "0123", "--mode", "--tls="], {
    string: ["tcp", "mode", "tls", "absent"],
  });
  assertSameType<typeof args.tcp, string | undefined>(true);
  assertSameType<typeof args._, Array<string | number>>(true);
  assertSameType<typeof args.undeclared, unknown>(true);
  assertEquals(args, { tcp: "0123", mode: "", tls: "", _: [] });
  assertStrictEquals(args.absent, undefined);
});

Deno.test("parseArgs() gives boolean flags no value, and false when they are not given", () => {
  const args = parseArgs(["--help", "file", "--stats=false", "--all", "true"], {
    boolean: ["help", "stats", "all", "quiet"],
  });
  assertSameType<typeof args.help, boolean>(true);
  assertEquals(args, { help: true, stats: false, all: true, quiet: false, _: ["file"] });
});

Deno.test("parseArgs() takes defaults for flags that are not given", () => {
  const args = parseArgs(["--mode", "pool"], {
    string: ["mode", "tcp"],
    boolean: ["stats"],
    default: { mode: "sync", tcp: "localhost:0", stats: true, max: 16 },
  });
  assertSameType<typeof args.mode, string>(true);
  assertSameType<typeof args.stats, boolean>(true);
  assertSameType<typeof args.max, unknown>(true);
  assertEquals(args, { mode: "pool", tcp: "localhost:0", stats: true, max: 16, _: [] });
});

Deno.test("parseArgs() sets a flag and its aliases alike", () => {
  const args = parseArgs(["-h", "--class", "EchoHandler"], {
    boolean: ["help"],
    string: ["class"],
    alias: { help: "h", class: ["c", "handler"] },
  });
  assertSameType<typeof args.h, boolean>(true);
  assertSameType<typeof args.handler, string | undefined>(true);
  assertEquals(args, {
    h: true,
    help: true,
    class: "EchoHandler",
    c: "EchoHandler",
    handler: "EchoHandler",
    _: [],
  });
  assertEquals(parseArgs(["-h"], { boolean: ["help"], alias: { h: "help" } }), {
    h: true,
    help: true,
    _: [],
  });
});

Deno.test("parseArgs() makes negatable flags false, and others a flag named no-…", () => {
  const args = parseArgs(["--no-color", "--no-tls"], {
    boolean: ["color"],
    string: ["log"],
    negatable: ["color", "log"],
    default: { color: true },
  });
  assertSameType<typeof args.log, string | false | undefined>(true);
  assertEquals(args, { color: false, "no-tls": true, _: [] });
});

Deno.test("parseArgs() collects the values of flags that may be given several times", () => {
  const args = parseArgs(["--tcp", "a:1", "--tcp=b:2", "--log", "x", "--log", "y"], {
    string: ["tcp", "log", "udp"],
    collect: ["tcp", "udp"],
  });
  assertSameType<typeof args.tcp, string[]>(true);
  assertEquals(args, { tcp: ["a:1", "b:2"], udp: [], log: "y", _: [] });
});

Deno.test("parseArgs() asks about unknown arguments, and leaves out those answered with false", () => {
  const asked: unknown[] = [];
  const args = parseArgs(["file", "--port", "1", "--known", "-x", "taken"], {
    boolean: ["known"],
    unknown: (arg, key, value) => {
      asked.push([arg, key, value]);
      return arg === "file";
    },
  });
  assertEquals(args, { known: true, _: ["file"] });
  assertEquals(asked, [
    ["file", undefined, undefined],
    ["--port", "port", "1"],
    ["-x", "x", "taken"],
  ]);
});

Deno.test("parseArgs() stops at the first argument that is no flag when told to", () => {
  assertEquals(parseArgs(["--a", "-b", "file", "--c", "1"], { stopEarly: true, boolean: ["b"] }), {
    a: true,
    b: true,
    _: ["file", "--c", "1"],
  });
});

Deno.test("parseArgs() leaves what follows -- unparsed", () => {
  assertEquals(parseArgs(["a", "--", "--b", "1"]), { _: ["a", "--b", "1"] });
  const args = parseArgs(["a", "--", "--b", "1"], { "--": true });
  assertSameType<typeof args["--"], string[]>(true);
  assertEquals(args, { _: ["a"], "--": ["--b", "1"] });
});

Deno.test("parseArgs() takes options and gives results of the exported types", () => {
  const options: ParseOptions = { boolean: ["b"], alias: { b: ["c"] }, default: { d: 1 } };
  const args: Args = parseArgs(["-c"], options);
  assertEquals(args, { b: true, c: true, d: 1, _: [] });
});

Deno.test("getLogger() makes and remembers a silent logger when the name is not set up", () => {
  const logger = getLogger("stand-ins-unknown");
  assertInstanceOf(logger, Logger);
  assertStrictEquals(logger.loggerName, "stand-ins-unknown");
  assertStrictEquals(logger.level, 0);
  assertStrictEquals(logger.levelName, "NOTSET");
  assertEquals(logger.handlers, []);
  assertStrictEquals(log.getLogger("stand-ins-unknown"), logger);
});

Deno.test("getLogger() returns a logger for INFO and the console when no name is given", () => {
  setup({});
  const logger = getLogger();
  assertStrictEquals(logger.loggerName, "default");
  assertStrictEquals(logger.levelName, "INFO");
  assertInstanceOf(logger.handlers[0], ConsoleHandler);
  assertStrictEquals(getLogger("default"), logger);
});

Deno.test("setup() replaces the loggers, also those that were asked for before", () => {
  const handler = new CollectingHandler("DEBUG");
  const before = getLogger("stand-ins-setup");
  const config: LogConfig = {
    handlers: { collect: handler },
    loggers: { "stand-ins-setup": { level: "WARN", handlers: ["collect", "absent"] } },
  };
  setup(config);
  const logger = getLogger("stand-ins-setup");
  assertNotEquals(logger, before);
  assertStrictEquals(logger.levelName, "WARN");
  assertEquals(logger.handlers, [handler]);
  setup({});
  assertNotEquals(getLogger("stand-ins-setup"), logger);
});

Deno.test("setup() sets handlers up, and destroys them when the next one follows", () => {
  const handler = new CollectingHandler("DEBUG");
  setup({ handlers: { collect: handler } });
  assertEquals(handler.events, ["setup"]);
  setup({});
  assertEquals(handler.events, ["setup", "destroy"]);
});

Deno.test("Logger logs to all its handlers what is not below their level and its own", () => {
  const all = new CollectingHandler("NOTSET");
  const errors = new CollectingHandler("ERROR");
  const logger = new Logger("x", "INFO", { handlers: [all, errors] });
  logger.debug("d");
  logger.info("i");
  logger.warn("w");
  logger.error("e");
  logger.critical("c");
  assertEquals(all.lines, ["INFO i", "WARN w", "ERROR e", "CRITICAL c"]);
  assertEquals(errors.lines, ["ERROR e", "CRITICAL c"]);
});

Deno.test("Logger returns the message, and calls a lazy one when it is logged only", () => {
  const handler = new CollectingHandler("NOTSET");
  const logger = new Logger("x", "INFO", { handlers: [handler] });
  assertStrictEquals(logger.info(1), 1);
  assertStrictEquals(logger.debug("below"), "below");
  assertStrictEquals(logger.info(() => "lazy"), "lazy");
  assertStrictEquals(logger.debug(() => assert(false)), undefined);
  assertEquals(handler.lines, ["INFO 1", "INFO lazy"]);
});

Deno.test("Logger logs errors with their stack and objects by their entries", () => {
  const handler = new CollectingHandler("NOTSET");
  const logger = new Logger("x", "INFO", { handlers: [handler] });
  const error = new Error("text");
  logger.info(error);
  logger.info({ a: 1, b: "t", c: null });
  assertEquals(handler.lines, [`INFO ${error.stack}`, 'INFO {"a":1,"b":"t","c":null}']);
});

Deno.test("Logger has a level that can be set by number and by name", () => {
  const logger = new Logger("x", "INFO");
  assertEquals(logger.handlers, []);
  logger.level = LogLevels.ERROR;
  assertStrictEquals(logger.levelName, "ERROR");
  logger.levelName = "DEBUG";
  assertStrictEquals(logger.level, LogLevels.DEBUG);
});

Deno.test("getLevelByName() and getLevelName() throw when there is no such level", () => {
  assertEquals(LogLevels, {
    NOTSET: 0,
    DEBUG: 10,
    INFO: 20,
    WARN: 30,
    ERROR: 40,
    CRITICAL: 50,
  });
  assertStrictEquals(getLevelByName("WARN"), 30);
  assertStrictEquals(getLevelName(30), "WARN");
  // As a name comes from a command line, unchecked.
  const name: string = "LOUD";
  assertThrows(() => getLevelByName(name as LevelName), Error, "no level named LOUD");
});

Deno.test("LogRecord has what was logged, when and where, in copies", () => {
  const args = [1, { a: 2 }];
  const made = record("WARN", ...args);
  assertStrictEquals(made.msg, "text");
  assertStrictEquals(made.level, 30);
  assertStrictEquals(made.levelName, "WARN");
  assertStrictEquals(made.loggerName, "x");
  assertEquals(made.args, args);
  made.args.push(3);
  assertEquals(made.args, args);
  assertInstanceOf(made.datetime, Date);
});

Deno.test("BaseHandler formats with its formatter", () => {
  const formatter: FormatterFunction = (made) => `${made.loggerName}: ${made.msg} ${made.args}`;
  const handler = new CollectingHandler("INFO", { formatter });
  handler.handle(record("INFO", 1, 2));
  handler.handle(record("DEBUG"));
  assertEquals(handler.lines, ["x: text 1,2"]);
  assertStrictEquals(new CollectingHandler("INFO").format(record("INFO")), "INFO text");
});

Deno.test("BaseHandler has a level that can be set, and is destroyed by `using`", () => {
  const handler = new CollectingHandler("INFO");
  handler.levelName = "ERROR";
  assertStrictEquals(handler.level, LogLevels.ERROR);
  handler.level = LogLevels.DEBUG;
  assertStrictEquals(handler.levelName, "DEBUG");
  {
    using _handler = handler;
  }
  assertEquals(handler.events, ["destroy"]);
});

Deno.test("ConsoleHandler colours a line by its level unless told not to", () => {
  const plain = new ConsoleHandler("DEBUG", { useColors: false });
  assertStrictEquals(plain.format(record("INFO")), "INFO text");
  const coloured = new ConsoleHandler("DEBUG");
  assertStrictEquals(
    coloured.format(record("INFO")),
    Deno.noColor ? "INFO text" : "\x1b[34mINFO text\x1b[39m",
  );
  assertStrictEquals(coloured.format(record("DEBUG")), "DEBUG text");
});

Deno.test("ConsoleHandler.handle() writes with console.log()", () => {
  using capture = new ConsoleCapture();
  const handler = new ConsoleHandler("INFO", { useColors: false });
  handler.handle(record("ERROR"));
  handler.handle(record("DEBUG"));
  assertEquals(capture.lines, [["ERROR text"]]);
});

Deno.test("@std/log has the same things as its sub-paths", () => {
  assertStrictEquals(log.BaseHandler, BaseHandler);
  assertStrictEquals(log.ConsoleHandler, ConsoleHandler);
  assertStrictEquals(log.getLevelByName, getLevelByName);
  assertStrictEquals(log.getLogger, getLogger);
  assertStrictEquals(log.Logger, Logger);
  // A type only in ".": as a value it is in "./logger".
  assertSameType<log.LogRecord, LogRecord>(true);
  assertStrictEquals(log.setup, setup);
});
