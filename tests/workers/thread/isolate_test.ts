/**
 * The port between the main isolate and its Workers, which handlers cannot disturb.
 *
 * @module
 */
import { assertEquals, assertInstanceOf, assertStringIncludes } from "@std/assert";
import { PoolTCPServer, ThreadingTCPServer, WorkerDiedError } from "@netkit/socketserver";
import {
  bytes,
  connect,
  exchange,
  ListLogger,
  LOOPBACK,
  readAll,
  runProgram,
  start,
  tempSocketPath,
  text,
  until,
  writeAll,
} from "../../harness.ts";
import { Isolate } from "../../../src/workers/thread/isolate.ts";
import { LoudHandler, PostingHandler } from "../posting_handlers.ts";

function makeThreading(): ThreadingTCPServer {
  return new ThreadingTCPServer(LOOPBACK, PostingHandler, {
    ...{ maxThreads: 1, logger: new ListLogger() },
  });
}

function makePool(): PoolTCPServer {
  return new PoolTCPServer(LOOPBACK, PostingHandler, {
    ...{ workers: 1, logger: new ListLogger() },
  });
}

for (const [what, make] of [["threading", makeThreading], ["pool", makePool]] as const) {
  Deno.test(`fault 4: what a handler or its module posts is ignored by a ${what} server`, async () => {
    const server = make();
    await using _ = start<ThreadingTCPServer | PoolTCPServer>(server);
    for (let client = 0; client < 5; client++) {
      assertEquals(await exchange(server.serverAddress, "hello\n"), "heard 0");
    }
    await until(() => server.stats().completed === 5);
    const { failed, workers } = server.stats();
    assertEquals([failed, workers!.started, server.state], [0, 1, "serving"]);
    assertEquals((server.logger as ListLogger).lines, []);
  });

  Deno.test(`fault 4: a ${what} server cuts off a handler that has taken the Worker's global object`, async () => {
    const server = make();
    const errors: unknown[] = [];
    server.handleError = (error) => void errors.push(error);
    await using _ = start<ThreadingTCPServer | PoolTCPServer>(server);
    await until(() => server.stats().workers!.spare === 1); // its start is no part of the time
    // Where the machine is too busy for an answer in that time there is more of it.
    let answer = "";
    for (let timeout = 200; timeout < 30_000 && answer === ""; timeout *= 3) {
      server.requestTimeout = timeout;
      const cutOff = errors.length + 1;
      using conn = await connect(server.serverAddress);
      await writeAll(conn, bytes("wait\n"));
      answer = text(await readAll(conn));
      await until(() => errors.length === cutOff);
      assertInstanceOf(errors.at(-1), Deno.errors.TimedOut);
    }
    assertEquals(answer, "waiting");
    server.requestTimeout = null;
    assertEquals(await exchange(server.serverAddress, "hello\n"), "heard 0");
  });
}

Deno.test("fault 4: a Worker whose handler posts is still known to have ended", async () => {
  const server = makeThreading();
  const errors: unknown[] = [];
  server.handleError = (error) => void errors.push(error);
  await using _ = start(server);
  for (const [command, code] of [["exit", 7], ["throw-later", null]] as const) {
    assertEquals(await exchange(server.serverAddress, `${command}\n`), "");
    await until(() => errors.length > 0);
    const error = errors.shift();
    assertInstanceOf(error, WorkerDiedError);
    assertEquals(error.status, { code, signal: null });
    assertEquals(await exchange(server.serverAddress, "hello\n"), "heard 0");
  }
});

Deno.test("Isolate ends a Worker that says what no Worker says, and nothing else", async () => {
  for (const said of ["null", "undefined", "5", "'text'"]) {
    const program = `onmessage = ({ data: { port } }) => port.postMessage(${said});`;
    const entry = new URL(`data:text/javascript,${encodeURIComponent(program)}`);
    const isolate = new Isolate(entry, "Odd", null, { onNews: () => {} });
    const { error } = await isolate.ended;
    assertInstanceOf(error, Error);
    assertEquals(error.message, "it said what no Worker says");
  }
});

Deno.test("a handler does not get hold of the port by a patched prototype", async () => {
  const server = makeThreading();
  server.handleError = () => {};
  await using _ = start(server);
  await exchange(server.serverAddress, "hello\n"); // its start is no part of the time
  server.requestTimeout = 500;
  await exchange(server.serverAddress, "patch\n").catch(() => {}); // it is cut off
  server.requestTimeout = null;
  assertEquals(await exchange(server.serverAddress, "stolen\n"), "stolen 0");
  assertEquals(server.stats().workers!.started, 1);
});

for (
  const [how, what] of [
    ["throw", "ends by an error that nobody catches"],
    ["reject", "ends by a rejection that nobody awaits"],
    ["listen", "has a listener that throws when its request is cut off"],
  ]
) {
  for (const made of ["ThreadingTCPServer", "PoolTCPServer", "ThreadingUnixStreamServer"]) {
    Deno.test(`fault 31: a Worker of ${made} that ${what} prints nothing of its own`, async () => {
      const address = made === "ThreadingUnixStreamServer" ? { path: tempSocketPath() } : LOOPBACK;
      const { code, stdout, stderr } = await runProgram(`
        import { formatAddress, ${made} } from "@netkit/socketserver";
        import { LoudHandler } from ${JSON.stringify(LoudHandler.moduleUrl)};
        const logger = Object.fromEntries(["debug", "info", "warn"].map((level) => [level, () => {}]));
        const server = new ${made}(${JSON.stringify(address)}, LoudHandler, {
          logger: { ...logger, error },
          requestTimeout: ${how === "listen" ? 500 : null},
        });
        let isTold = false;
        function error(line: string) {
          console.log(line);
          isTold ||= line.includes("A\\\\x1b");
        }
        server.serveForever();
        while (!isTold) { // a Worker that is slow to hear of its end is killed before it can tell
          using conn = await Deno.connect(server.serverAddress);
          await conn.write(new TextEncoder().encode("${how} A\\x1b[2J\\n"));
          while (await conn.read(new Uint8Array(9)).catch(() => null) !== null);
          while (server.stats().active > 0) await new Promise((resolve) => setTimeout(resolve, 5));
        }
        await server.drain();
      `);
      assertEquals([code, stderr], [0, ""]);
      assertStringIncludes(stdout, "A\\x1b[2J");
      assertEquals(stdout.includes("\x1b"), false);
    });
  }
}

for (const Server of [ThreadingTCPServer, PoolTCPServer]) {
  Deno.test(`A Worker of ${Server.name} goes on when its handler takes a rejection for handled, and ends by another`, async () => {
    const logger = new ListLogger();
    const server = new Server(LOOPBACK, LoudHandler, { logger });
    await using _ = start<ThreadingTCPServer | PoolTCPServer>(server);
    for (const how of ["handled", "unhandledRejection", "uncaughtException"]) {
      assertEquals(await exchange(server.serverAddress, `${how} it\n`), "goes on");
    }
    assertEquals(await exchange(server.serverAddress, "reject another\n"), "");
    await until(() => logger.lines.some((line) => line.includes("another")));
  });

  Deno.test(`A Worker of ${Server.name} that ends by what is no error says what that was`, async () => {
    const logger = new ListLogger();
    const server = new Server(LOOPBACK, LoudHandler, { logger });
    await using _ = start<ThreadingTCPServer | PoolTCPServer>(server);
    assertEquals(await exchange(server.serverAddress, "throw null\n"), "");
    await until(() => logger.lines.some((line) => line.includes("Uncaught null")));
  });
}
