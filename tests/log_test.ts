/**
 * Where log lines go, which level they have, and how many there are.
 *
 * @module
 */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import {
  LineTooLongError,
  type ServerLogger,
  type StreamSocket,
  TCPServer,
} from "@netkit/socketserver";
import { RateLimit } from "../src/log.ts";
import {
  connect,
  exchange,
  ListLogger,
  LOOPBACK,
  runProgram,
  start,
  text,
  until,
} from "./harness.ts";

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

for (
  const error of [
    new Deno.errors.ConnectionReset("Connection reset by peer"),
    new Deno.errors.BrokenPipe("Broken pipe"),
    new Deno.errors.UnexpectedEof("the stream ended"),
  ]
) {
  Deno.test(`TCPServer.handleError() writes a debug line when a handler fails with ${error.name}`, async () => {
    const { lines, client } = await logOf(error);
    assertEquals(lines, [`debug: Client "${client}" went away: ${error.message}`]);
  });
}

for (
  const error of [
    new Deno.errors.TimedOut("Cannot read from client: no progress in 20 ms"),
    new LineTooLongError(10),
  ]
) {
  Deno.test(`TCPServer.handleError() writes a warning when a handler fails with ${error.name}`, async () => {
    const { lines, client } = await logOf(error);
    assertEquals(lines, [`warn: Cannot serve client "${client}": ${error.message}`]);
  });
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
  assertMatch(second!, /^ +at .*log_test\.ts/);
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
});
