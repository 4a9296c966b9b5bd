/**
 * Where log lines go, which level they have, and how many there are.
 *
 * @module
 */
import { assertEquals, assertLess, assertMatch, assertStringIncludes } from "@std/assert";
import {
  type AnyServer,
  ConcurrentTCPServer,
  ForkingTCPServer,
  PoolTCPServer,
  type ServerLogger,
  type SocketAddress,
  type StreamSocket,
  TCPServer,
  ThreadingTCPServer,
  TLSServer,
  UDPServer,
  UnixDatagramServer,
} from "@netkit/socketserver";
import { connect as connectNode } from "node:net";
import { connect as connectNodeTLS } from "node:tls";
import { formatText, KindLimit, logTo, passOn, RateLimit } from "../../src/base/log.ts";
import {
  bytes,
  connect,
  exchange,
  ListLogger,
  LOOPBACK,
  ODD_VALUES,
  runProgram,
  start,
  tempFolder,
  tempSocketPath,
  text,
  TLS,
  until,
  writeAll,
} from "../harness.ts";
import { FailingHandler } from "./log_handlers.ts";

/** The part of a program that makes a server whose handler fails, and has one client. */
const SERVE = `
  import * as ss from "@netkit/socketserver";
  class NoisyServer extends ss.TCPServer {
    override verifyRequest(): boolean {
      for (const level of ["debug", "info", "warn", "error"] as const) {
        this.logger[level]("a line at " + level);
      }
      return false;
    }
  }
  const make = () => new NoisyServer({ hostname: "127.0.0.1", port: 0 }, () => {});
  const visit = async (server: ss.TCPServer) => {
    const handled = server.handleRequest();
    using conn = await Deno.connect(server.serverAddress);
    await handled;
    await server.serverClose();
  };
`;

/** Runs a program and gives the lines of its standard output and standard error. */
async function run(program: string): Promise<{ out: string[]; err: string[] }> {
  const { code, stdout, stderr } = await runProgram(program);
  assertEquals(code, 0, stderr);
  return { out: stdout.split("\n").slice(0, -1), err: stderr.split("\n").slice(0, -1) };
}

/** What a program that configures `@std/log` writes: each line of the logger to standard output. */
const SETUP = `
  setup({
    handlers: { plain: new ConsoleHandler("DEBUG", { formatter: ({ levelName, msg }) => levelName + "|" + msg }) },
    loggers: { socketserver: { level: "WARN", handlers: ["plain"] } },
  });
`;
const IMPORT_LOG = `import { ConsoleHandler, setup } from "@std/log";\n`;

Deno.test("logTo() writes a line about whatever was thrown, and about whatever caused it", () => {
  for (const [what, make] of Object.entries(ODD_VALUES)) {
    const logger = new ListLogger();
    logTo(logger, "error", "It failed", make());
    logTo(logger, "error", "It failed", new Error("outer", { cause: make() }));
    assertEquals(logger.lines.length, 2, what);
  }
});

Deno.test("The default logger writes INFO and above to standard error when the program has configured none", async () => {
  const { out, err } = await run(`${SERVE} await visit(make());`);
  assertEquals(out, []);
  assertEquals(err, ["INFO a line at info", "WARN a line at warn", "ERROR a line at error"]);
});

Deno.test("The default logger obeys setup() of @std/log that ran before the server was made", async () => {
  const { out, err } = await run(`${IMPORT_LOG} ${SERVE} ${SETUP} await visit(make());`);
  assertEquals(out, ["WARN|a line at warn", "ERROR|a line at error"]);
  assertEquals(err, []);
});

Deno.test("The default logger obeys setup() of @std/log that ran after the server was made", async () => {
  const { out, err } = await run(`${IMPORT_LOG} ${SERVE}
    const server = make();
    ${SETUP}
    await visit(server);`);
  assertEquals(out, ["WARN|a line at warn", "ERROR|a line at error"]);
  assertEquals(err, []);
});

Deno.test("The default logger obeys setup() of @std/log that ran after lines were written", async () => {
  const { out, err } = await run(`${IMPORT_LOG} ${SERVE}
    await visit(make());
    ${SETUP}
    await visit(make());`);
  assertEquals(err, ["INFO a line at info", "WARN a line at warn", "ERROR a line at error"]);
  assertEquals(out, ["WARN|a line at warn", "ERROR|a line at error"]);
});

Deno.test("The default logger is silent when the program has configured it without a handler", async () => {
  const { out, err } = await run(`${IMPORT_LOG} ${SERVE}
    setup({ loggers: { socketserver: { level: "INFO", handlers: [] } } });
    await visit(make());`);
  assertEquals([out, err], [[], []]);
});

Deno.test("The default logger writes when the program has configured only others", async () => {
  const { out, err } = await run(`${IMPORT_LOG} ${SERVE}
    setup({ loggers: { mine: { level: "DEBUG", handlers: ["default"] } } });
    await visit(make());`);
  assertEquals(out, []);
  assertEquals(err, ["INFO a line at info", "WARN a line at warn", "ERROR a line at error"]);
});

Deno.test("A server without trouble writes nothing", async () => {
  const logger = new ListLogger();
  const echo = async (socket: StreamSocket) => await socket.sendAll(await socket.recv());
  await using started = start(new TCPServer(LOOPBACK, echo, { logger }));
  assertEquals(await exchange(started.server.serverAddress, "hello"), "hello");
  await started.server.drain();
  assertEquals(logger.lines, []);
});

/** Serves one client by a handler that fails so, and gives the log. */
async function logOf(error: unknown): Promise<{ lines: string[]; client: string }> {
  const logger = new ListLogger();
  const fail = () => {
    throw error;
  };
  await using started = start(new TCPServer(LOOPBACK, fail, { logger }));
  using conn = await connect(started.server.serverAddress);
  await until(() => started.server.stats().failed === 1);
  const { hostname, port } = conn.localAddr as Deno.NetAddr;
  return { lines: logger.lines, client: `${hostname}:${port}` };
}

Deno.test("TCPServer.handleError() writes an error with client, stack and cause when a handler has a bug", async () => {
  const { lines, client } = await logOf(
    new TypeError("x is not a function", { cause: new Error("root") }),
  );
  assertEquals(lines.length, 1);
  const [first, second] = lines[0]!.split("\n");
  assertEquals(
    first,
    `error: Cannot serve client "${client}": TypeError: x is not a function`,
  );
  assertMatch(second!, /^ {4}at .*log_test\.ts/);
  assertStringIncludes(lines[0]!, "[cause]: Error: root");
});

for (const thrown of ["text", undefined, null, { code: 7 }]) {
  Deno.test(`TCPServer.handleError() writes an error line when a handler throws ${Deno.inspect(thrown)}`, async () => {
    const { lines, client } = await logOf(thrown);
    assertEquals(lines.length, 1);
    assertStringIncludes(lines[0]!, `error: Cannot serve client "${client}": `);
  });
}

Deno.test("TCPServer.logger is the console when the program gives that", () => {
  const logger: ServerLogger = console;
  const server = new TCPServer(LOOPBACK, () => {}, { logger, bindAndActivate: false });
  assertEquals(server.logger, console);
});

Deno.test("TCPServer.serveForever() serves on when the logger throws", async () => {
  let asked = 0;
  const refuse = () => {
    asked++;
    throw new Error("the disk is full");
  };
  const logger = { debug: refuse, info: refuse, warn: refuse, error: refuse };
  const failOnBad = async (socket: StreamSocket) => {
    const word = text(await socket.recv());
    if (word === "bad") throw new Error("bad word");
    await socket.sendAll(word);
  };
  await using started = start(new TCPServer(LOOPBACK, failOnBad, { logger }));
  const { server } = started;
  assertEquals(await exchange(server.serverAddress, "bad"), "");
  assertEquals(await exchange(server.serverAddress, "good"), "good");
  assertEquals(asked, 1);
  const { completed, failed } = server.stats();
  assertEquals({ completed, failed }, { completed: 1, failed: 1 });
});

Deno.test("TCPServer.serveForever() serves on when the logger rejects", async () => {
  const refuse = () => Promise.reject(new Error("the disk is full"));
  const logger = { debug: refuse, info: refuse, warn: refuse, error: refuse };
  const rejected = Promise.withResolvers<boolean>();
  const onRejection = (event: PromiseRejectionEvent) => {
    event.preventDefault();
    rejected.resolve(true);
  };
  globalThis.addEventListener("unhandledrejection", onRejection);
  try {
    const fail = () => {
      throw new Error("bug");
    };
    await using started = start(new TCPServer(LOOPBACK, fail, { logger }));
    await exchange(started.server.serverAddress, "one");
    await until(() => started.server.stats().failed === 1);
    const timer = setTimeout(() => rejected.resolve(false), 20);
    assertEquals(await rejected.promise, false, "the logger's rejection is nobody's");
    clearTimeout(timer);
  } finally {
    globalThis.removeEventListener("unhandledrejection", onRejection);
  }
});

Deno.test("RateLimit.take() lets one line through a second and counts the others", () => {
  const limit = new RateLimit();
  assertEquals([0, 1, 500, 999].map((now) => limit.take(now)), [0, null, null, null]);
  assertEquals(limit.take(1000), 3);
  assertEquals([1001, 1999].map((now) => limit.take(now)), [null, null]);
  assertEquals(limit.take(5000), 2);
  assertEquals(limit.take(6000), 0);
  assertEquals([limit.take(6001, 4), limit.take(6002)], [null, null]);
  assertEquals(limit.take(7000, 3), 7);
});

/** Makes a server of each kind that runs handlers somewhere else. */
const MODES: Record<string, (logger: ServerLogger) => AnyServer> = {
  TCPServer: (logger) => new TCPServer(LOOPBACK, FailingHandler, { logger }),
  ConcurrentTCPServer: (logger) => new ConcurrentTCPServer(LOOPBACK, FailingHandler, { logger }),
  ThreadingTCPServer: (logger) => new ThreadingTCPServer(LOOPBACK, FailingHandler, { logger }),
  ForkingTCPServer: (logger) =>
    new ForkingTCPServer(LOOPBACK, FailingHandler, {
      logger,
      childPermissions: ["--allow-net=127.0.0.1"],
    }),
  PoolTCPServer: (logger) => new PoolTCPServer(LOOPBACK, FailingHandler, { logger, workers: 1 }),
};

/** Takes a connection, then resets it. */
async function resetNext(listener: Deno.Listener): Promise<void> {
  using conn = await listener.accept();
  await conn.read(new Uint8Array(1)); // of more that has come
}

/** Connects, says a line and hears the first answer, then resets the connection. */
async function beginAndReset(address: SocketAddress): Promise<void> {
  const { hostname, port } = address as Deno.NetAddr;
  const { promise, resolve } = Promise.withResolvers<void>();
  const socket = connectNode(port, hostname, () => socket.write("begun\n"));
  socket.on("data", () => socket.resetAndDestroy());
  socket.on("error", () => {});
  socket.on("close", () => resolve());
  await promise;
}

for (const [mode, make] of Object.entries(MODES)) {
  Deno.test(`fault 32: ${mode} logs a client's own faults as such, and those of the handler's own connection as errors`, async () => {
    const logger = new ListLogger();
    await using started = start(make(logger));
    const { server } = started;
    /** Has a handler fail, and gives the line that says so, less the client's port. */
    const fail = async (cause: () => Promise<unknown>): Promise<string> => {
      const { length } = logger.lines;
      await cause();
      await until(() => logger.lines.length > length);
      return logger.lines[length]!.replace(/"127.0.0.1:\d+"/, "C");
    };
    const say = (line: string) => () => exchange(server.serverAddress, line);

    assertEquals(
      await fail(say("short\n12345")),
      "debug: Client C went away: Cannot read 100 bytes: the stream ended after 5",
    );
    assertEquals(
      await fail(say("long\n12345")),
      "warn: Cannot serve client C: Cannot read line: no end within 4 bytes",
    );
    const sayOnly = (line: string) => async () => {
      using conn = await connect(server.serverAddress);
      await writeAll(conn, bytes(line));
      await conn.read(new Uint8Array(1)).catch(() => {}); // closed, or reset
    };
    assertMatch(
      await fail(sayOnly("silent\n")),
      /^warn: Cannot serve client C: Cannot read from client: no progress in 20 ms$/,
    );
    assertMatch(
      await fail(() => beginAndReset(server.serverAddress)),
      /^debug: Client C went away: Connection reset by peer[^\n]*$/,
    );
    using listener = Deno.listen(LOOPBACK);
    const reset = resetNext(listener);
    assertMatch(
      await fail(say(`upstream ${listener.addr.port}\n`)),
      /^error: Cannot serve client C: (ConnectionReset|BrokenPipe): .*\n {4}at /,
    );
    await reset;
    assertMatch(
      await fail(say("forge\n")),
      /^error: Cannot serve client C: ConnectionReset: Connection reset by peer\n {4}at .*log_handlers/,
    );
    assertMatch(
      await fail(sayOnly("close\n")),
      /^debug: Connection of client C was closed here: (operation canceled|.*connection is closed)$/,
    );
    assertEquals(logger.lines.length, 7);
  });

  Deno.test(`fault 31: ${mode} logs what a client says in a line that it cannot break`, async () => {
    const logger = new ListLogger();
    await using started = start(make(logger));
    const { server } = started;
    const evil = "parse \x1b[2J\u2028\x07\u202e\r" + "x".repeat(20_000);
    assertEquals(await exchange(server.serverAddress, `${evil}\n`), "");
    await until(() => logger.lines.length === 1);
    assertOneSafeLine(logger.lines[0]!);
    assertStringIncludes(logger.lines[0]!, "\\x1b[2J");
    if (mode !== "ForkingTCPServer") return;
    assertEquals(
      await exchange(server.serverAddress, `print \x1b[2J\u2028${"x".repeat(9000)}\n`),
      "",
    );
    await until(() => logger.lines.length === 2);
    assertStringIncludes(logger.lines[1]!, "info: print \\x1b[2J\\u{2028}x");
    assertOneSafeLine(logger.lines[1]!);
  });
}

/** Checks that a line stays one on any terminal, but for lines of a stack. */
function assertOneSafeLine(logged: string): void {
  const [first = "", ...more] = logged.split("\n");
  // deno-lint-ignore no-control-regex -- that is what is looked for
  const unsafe = /[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]/;
  for (const line of [first, ...more]) {
    assertEquals(unsafe.test(line), false, Deno.inspect(line));
    assertEquals(bytes(line).length < 4200, true, `${line.length} characters`);
  }
  assertEquals(more.filter((line) => !line.startsWith("    at ")), []);
}

Deno.test("fault 31: UnixDatagramServer logs the path of a client in a line that it cannot break", async () => {
  const logger = new ListLogger();
  const fail = () => {
    throw new Error("bug");
  };
  await using started = start(new UnixDatagramServer({ path: tempSocketPath() }, fail, { logger }));
  const path = `${tempFolder()}/c\nERROR forged\x1b[1m`;
  const client = Deno.listenDatagram({ transport: "unixpacket", path });
  await client.send(bytes("x"), started.server.serverAddress);
  await until(() => logger.lines.length === 1);
  client.close();
  assertOneSafeLine(logger.lines[0]!);
  assertStringIncludes(logger.lines[0]!, '/c\\nERROR forged\\x1b[1m": Error: bug\n    at ');
});

Deno.test("fault 31: the default logger escapes what a program logs by itself", async () => {
  const { err } = await run(`${SERVE}
    const server = make();
    server.logger.error("a\\nb\\x1b[2J\\u{d800}");
    await server.serverClose();`);
  assertEquals(err, ["ERROR a", "    b\\x1b[2J\\u{d800}"]);
});

Deno.test("fault 31: formatText() escapes what is no character to be shown, and cuts at 4 KiB", () => {
  assertEquals(formatText("Grüße 🎉 C:\\new"), "Grüße 🎉 C:\\new");
  assertEquals(formatText("\n\r\t\0\x1b\x7f\x9b"), "\\n\\r\\t\\x00\\x1b\\x7f\\x9b");
  assertEquals(formatText("\u2029\u200f\u2066\udc00"), "\\u{2029}\\u{200f}\\u{2066}\\u{dc00}");
  assertEquals(formatText("x".repeat(4096)), "x".repeat(4096));
  assertEquals(formatText("x".repeat(4097)), `${"x".repeat(4096)}... (of 4097 characters)`);
  assertEquals(formatText("ü".repeat(4096)), `${"ü".repeat(2048)}... (of 4096 characters)`);
});

Deno.test("fault 31: logTo() shows the stack of an error whose message looks like one without that", () => {
  const logger = new ListLogger();
  const error = new TypeError("bad\n    at admin (safe.ts:1:1)", { cause: "\x1b" });
  logTo(logger, "error", "Cannot do", error);
  const [first, second, ...more] = logger.lines[0]!.split("\n");
  assertEquals(first, "error: Cannot do: TypeError: bad\\n    at admin (safe.ts:1:1)");
  assertMatch(second!, /^ {4}at .*log_test\.ts/);
  assertEquals(more.at(-1), '    [cause]: "\\x1b"');
  passOn(logger, "error", logger.lines[0]!);
  assertEquals(logger.lines[1], `error: ${logger.lines[0]}`);
});

Deno.test("fault 20: plain bytes after a TLS handshake are one line of warning, once a second", async () => {
  const logger = new ListLogger();
  const read = async (socket: StreamSocket) => {
    await socket.sendAll("hello"); // the handshake is over
    await socket.recv();
  };
  const server = new TLSServer(LOOPBACK, read, { cert: TLS.cert, key: TLS.key, logger });
  await using _ = start(server);
  for (let client = 0; client < 5; client++) {
    const { promise, resolve } = Promise.withResolvers<void>();
    const raw = connectNode(server.serverAddress.port, "127.0.0.1");
    const tls = connectNodeTLS({ socket: raw, servername: "localhost", ca: TLS.ca });
    tls.on("data", () => raw.write("GET / HTTP/1.0\r\n\r\n"));
    raw.on("error", () => {});
    tls.on("error", () => {});
    raw.on("close", () => resolve());
    await promise;
  }
  await until(() => server.stats().failed === 5);
  assertEquals(logger.lines.length, 1, logger.lines.join("\n"));
  assertMatch(logger.lines[0]!, /^warn: Cannot serve client "127.0.0.1:\d+": [^\n]+$/);
});

Deno.test("fault 20: answers to a datagram from port 0 are one line of warning, once a second", async () => {
  const logger = new ListLogger();
  class FromPortZero extends UDPServer {
    override async getRequest(): ReturnType<UDPServer["getRequest"]> {
      const [request, address] = await super.getRequest();
      return [request, { ...address, port: 0 }];
    }
  }
  await using started = start(
    new FromPortZero(LOOPBACK, ([data, socket], address) => socket.sendTo(data, address), {
      logger,
    }),
  );
  const { server } = started;
  const client = Deno.listenDatagram({ transport: "udp", ...LOOPBACK });
  for (let n = 0; n < 5; n++) await client.send(bytes("x"), server.serverAddress);
  await until(() => server.stats().failed === 5);
  client.close();
  assertEquals(logger.lines.length, 1);
  assertMatch(logger.lines[0]!, /^warn: Cannot serve client "127.0.0.1:0": [^\n]+$/);
});

for (const mode of ["ConcurrentTCPServer", "ThreadingTCPServer", "PoolTCPServer"]) {
  Deno.test(`fault 20: clients that reset ${mode} are one line for debugging, once a second`, async () => {
    const logger = new ListLogger();
    await using started = start(MODES[mode]!(logger));
    const { server } = started;
    // None is slow enough for a second line.
    await Promise.all(Array.from({ length: 8 }, () => beginAndReset(server.serverAddress)));
    await until(() => server.stats().failed === 8);
    const [first, ...more] = logger.lines;
    assertMatch(first!, /^debug: Client "127.0.0.1:\d+" went away: [^\n]+$/);
    for (const line of more) assertMatch(line, / \(and \d+ like it since the last line\)$/);
    assertEquals(more.length <= 1, true, logger.lines.join("\n"));
  });
}

for (const [mode, make] of Object.entries(MODES)) {
  if (mode === "TCPServer") continue; // it has no 'requestTimeout'
  Deno.test(`fault 20: silent clients of ${mode} with 'requestTimeout' are one line of warning, once a second`, async () => {
    const logger = new ListLogger();
    await using started = start(make(logger));
    const { server } = started;
    Reflect.set(server, "requestTimeout", 200);
    const clients = await Promise.all(
      Array.from({ length: 8 }, () => connect(server.serverAddress)),
    );
    await until(() => server.stats().aborted === 8);
    await until(() => logger.lines.length > 0);
    const [first, ...more] = logger.lines;
    const pattern =
      /^warn: Cannot serve client "127.0.0.1:\d+": no end within 200 ms \('requestTimeout'\)/;
    assertMatch(first!, pattern);
    for (const line of more) assertMatch(line, / \(and \d+ like it since the last line\)$/);
    assertLess(logger.lines.length, 5, logger.lines.join("\n"));
    assertEquals(logger.lines.join("").includes("\n"), false);
    for (const client of clients) client.close();
  });
}

Deno.test("KindLimit.takeLine() counts the lines that another limit has held back", () => {
  const { now } = performance;
  try {
    let time = 5000;
    performance.now = () => time;
    const limit = new KindLimit();
    const take = (line: string) => limit.takeLine("a", line);
    const and = (count: number) => ` (and ${count} like it since the last line)`;
    assertEquals(take(`one${and(3)}`), `one${and(3)}`);
    assertEquals([take(`two${and(5)}`), take("three")], [null, null]);
    time = 6000;
    assertEquals(take(`four${and(2)}`), `four${and(9)}`); // 6, 1 and 2
    time = 7000;
    assertEquals(take(`five${and(1)} or so`), `five${and(1)} or so`);
  } finally {
    performance.now = now;
  }
});

Deno.test("KindLimit.take() has a limit for each kind, and one for all kinds after 64", () => {
  const limit = new KindLimit();
  assertEquals(["a", "a", "b", "a"].map((kind) => limit.take(kind)), ["", null, "", null]);
  for (let kind = 0; kind < 62; kind++) assertEquals(limit.take(`${kind}`), "");
  assertEquals(["x", "y", "z"].map((kind) => limit.take(kind)), ["", null, null]);
});
