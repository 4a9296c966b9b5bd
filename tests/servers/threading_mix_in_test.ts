/**
 * ThreadingMixIn: each request in a Web Worker of its own.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  HandlerLoadError,
  LineTooLongError,
  type RequestHandlerClass,
  type ServerOptions,
  type SocketAddress,
  StreamRequestHandler,
  type StreamSocket,
  type TCPAddr,
  TCPServer,
  ThreadingMixIn,
  type ThreadingOptions,
  ThreadingTCPServer,
  ThreadingUDPServer,
  ThreadingUnixDatagramServer,
  ThreadingUnixStreamServer,
  UDPServer,
  WorkerDiedError,
} from "@netkit/socketserver";
import { executorTimes } from "../../src/workers/relay/executor.ts";
import { assertSame, reset, resettable } from "../conversation.ts";
import DefaultHandler, {
  AwaitingUnitCommandHandler,
  DatagramCommandHandler,
  OtherNameHandler,
  OwnError,
  StreamCommandHandler,
  UnitCommandHandler,
} from "../handlers.ts";
import {
  bytes,
  connect,
  datagramExchange,
  exchange,
  exchangeOn,
  ListLogger,
  LOOPBACK,
  openDescriptors,
  pattern,
  readAll,
  readExactly,
  runProgram,
  start,
  tempFolder,
  tempSocketPath,
  text,
  until,
  withTimes,
  writeAll,
} from "../harness.ts";

/** Keeps what its handlers failed with. */
class RecordingServer extends ThreadingTCPServer {
  readonly errors: unknown[] = [];
  override handleError(error: unknown): void {
    this.errors.push(error);
  }

  /** Resolves to the next error. */
  async nextError(): Promise<unknown> {
    await until(() => this.errors.length > 0);
    return this.errors.shift();
  }
}

/** How clients come to their Workers, and a handler that brings it about. */
const WAYS = { direct: AwaitingUnitCommandHandler, relay: UnitCommandHandler };

type Way = keyof typeof WAYS;
type Recording = (options?: ServerOptions & ThreadingOptions) => RecordingServer;

function recording(options?: ServerOptions & ThreadingOptions): RecordingServer {
  return new RecordingServer(LOOPBACK, UnitCommandHandler, options);
}

/** A test that holds whichever way clients come to their Workers. */
function both(name: string, body: (recording: Recording, way: Way) => Promise<void>): void {
  for (const [way, Handler] of Object.entries(WAYS)) {
    const make: Recording = (options = {}) => {
      const server = new RecordingServer(LOOPBACK, Handler, options);
      assertEquals(server.threadingMode.way, options.minSpareThreads === 0 ? "relay" : way);
      return server;
    };
    Deno.test(`${name} (${way})`, () => body(make, way as Way));
  }
}

/** A client that has said a command and heard the first words of the answer. */
async function client(
  address: SocketAddress,
  command: string,
  answer: string,
): Promise<Deno.Conn> {
  const conn = await connect(address);
  await writeAll(conn, bytes(`${command}\n`));
  assertEquals(text(await readExactly(conn, answer.length)), answer);
  return conn;
}

/** Hears the end of a stream, be it a reset. */
async function hearEnd(conn: Deno.Conn): Promise<void> {
  assertEquals(await readAll(conn).catch(() => new Uint8Array()), new Uint8Array());
}

async function assertServes({ serverAddress }: { serverAddress: SocketAddress }): Promise<void> {
  assertEquals(await exchange(serverAddress, "echo-sync\nas ever\n"), "as ever\n");
}

/** Makes a handler class that claims to be in a module with this text. */
function inModule(source: string): RequestHandlerClass<StreamSocket, SocketAddress> {
  const path = `${tempFolder()}/handler.ts`;
  const mod = new URL("../../mod.ts", import.meta.url);
  Deno.writeTextFileSync(
    path,
    `import * as socketserver from ${JSON.stringify(mod.href)};\n${source}`,
  );
  return class TextHandler extends StreamRequestHandler {
    static override readonly moduleUrl = `file://${path}`;
  };
}

both(
  "test_threading_handled: an error in a worker goes to handleError() once, and the server goes on",
  async (recording) => {
    await using started = start(recording({ maxThreads: 1 }));
    const { server } = started;
    assertEquals(await exchange(server.serverAddress, "throw type\n"), "");
    assertInstanceOf(await server.nextError(), TypeError);
    await assertServes(server);
    assertEquals(server.errors, []);
    assertEquals([server.stats().failed, server.stats().workers!.started], [1, 1]);
  },
);

both(
  "test_threading_not_handled: ServerExit ends the request in its worker and nothing else",
  async (recording) => {
    const logger = new ListLogger();
    await using started = start(recording({ logger }));
    const { server } = started;
    for (const _ of ["told", "counted"]) {
      assertEquals(await exchange(server.serverAddress, "exit-server\n"), "");
    }
    await assertServes(server);
    assertEquals(server.errors, []);
    assertEquals(server.state, "serving");
    assertEquals(logger.lines, [
      "warn: Server exit with code 0 ends only its request: it was thrown in a Worker",
    ]);
  },
);

for (
  const [name, Class, message] of [
    ["type", TypeError, "wrong type"],
    ["line", LineTooLongError, "80"],
    ["timeout", Deno.errors.TimedOut, "too late"],
    ["plain", Error, "plain"],
  ] as const
) {
  both(
    `ThreadingMixIn.handleError() gets a ${Class.name} of a worker as one`,
    async (recording) => {
      await using started = start(recording());
      const { server } = started;
      await exchange(server.serverAddress, `throw ${name}\n`);
      const error = await server.nextError();
      assertInstanceOf(error, Class);
      assertEquals(error.name, Class.name);
      assertStringIncludes(error.message, message);
      assertStringIncludes(error.stack!, "handlers.ts");
    },
  );
}

both(
  "ThreadingMixIn.handleError() gets an error that only the worker knows as the nearest that both do",
  async (recording) => {
    await using started = start(recording());
    const { server } = started;
    await exchange(server.serverAddress, "throw own\n");
    const error = await server.nextError();
    assertInstanceOf(error, Deno.errors.InvalidData);
    assert(!(error instanceof OwnError));
    assertEquals([error.name, error.message], ["OwnError", "mine"]);
    assertEquals((error as unknown as OwnError).place, 7);
  },
);

both(
  "ThreadingMixIn.handleError() gets what is no error as it was thrown, or as it looks",
  async (recording) => {
    await using started = start(recording());
    const { server } = started;
    await exchange(server.serverAddress, "throw string\n");
    assertEquals(await server.nextError(), "just text");
    await exchange(server.serverAddress, "throw object\n");
    assertEquals(await server.nextError(), '{ some: "thing" }');
  },
);

both(
  "ThreadingMixIn.maxThreads is never exceeded when 100 clients come to 4 Workers, and all are served",
  async (recording) => {
    const server = recording({ maxThreads: 4 });
    let peak = 0;
    server.verifyRequest = () => {
      peak = Math.max(peak, server.stats().active);
      return true;
    };
    await using _ = start(server);
    const meeting = `meet ${tempFolder()}\n`; // which takes all four
    const answers = await Promise.all(
      Array.from(
        { length: 100 },
        (_, n) => exchange(server.serverAddress, n % 25 === 0 ? meeting : `echo-sync\n${n}\n`),
      ),
    );
    assertEquals(
      answers,
      Array.from({ length: 100 }, (_, n) => n % 25 === 0 ? "met" : `${n}\n`),
    );
    assertEquals([peak, server.stats().peak], [4, 4]);
    const { started: workers, poisoned } = server.stats().workers!;
    assert(workers <= 4, `${workers} Workers`);
    assertEquals(poisoned, 0);
  },
);

both(
  "ThreadingMixIn computes in threads: four handlers that never await run at the same time",
  async (recording) => {
    await using started = start(recording({ maxThreads: 4 }));
    const line = `meet ${tempFolder()}\n`;
    const asked = [1, 2, 3, 4].map(() => exchange(started.server.serverAddress, line));
    assertEquals(await Promise.all(asked), ["met", "met", "met", "met"]);
  },
);

both("ThreadingMixIn lets a handler that blocks delay nobody else", async (recording) => {
  await using started = start(recording());
  const { server } = started;
  using blocked = await client(server.serverAddress, "block", "blocking");
  for (let count = 0; count < 20; count++) await assertServes(server);
  assertEquals(server.stats().active, 1);
  await blocked.closeWrite();
  await hearEnd(blocked);
  await until(() => server.stats().active === 0);
  assertEquals(server.errors, []);
});

Deno.test("ThreadingMixIn lets a handler read and write in the blocking style", async () => {
  await using started = start(recording());
  const { server } = started;
  using conn = await connect(server.serverAddress);
  await writeAll(conn, bytes("echo-sync\n"));
  for (const line of ["one\n", "two\n", `${"x".repeat(60_000)}\n`]) {
    await writeAll(conn, bytes(line));
    assertEquals(text(await readExactly(conn, line.length)), line);
  }
  await conn.closeWrite();
  await hearEnd(conn);
});

both("ThreadingMixIn makes a handler that writes wait for a slow client", async (recording) => {
  await using started = start(recording());
  const { server } = started;
  const conn = await client(server.serverAddress, `write ${1 << 28}`, "x");
  for (let count = 0; count < 20; count++) await assertServes(server);
  conn.close();
  const { message } = await server.nextError() as Error;
  const [, written, reason] = /^wrote (\d+), then (\w+)$/.exec(message) ?? [];
  assert(Number(written) < 1 << 24, message);
  assert(["ConnectionReset", "BrokenPipe"].includes(reason!), message);
});

Deno.test("ThreadingMixIn sends all to a slow client, in order", async () => {
  await using started = start(new ThreadingTCPServer(LOOPBACK, StreamCommandHandler));
  const { server } = started;
  using conn = await connect(server.serverAddress);
  const data = pattern(1 << 22);
  const sent = writeAll(conn, bytes("echo\n")).then(() => writeAll(conn, data));
  const first = await readExactly(conn, 1000);
  for (let count = 0; count < 10; count++) await exchange(server.serverAddress, "echo\nx");
  const rest = readExactly(conn, data.length - first.length);
  const heard = new Uint8Array(data.length);
  await sent;
  await conn.closeWrite();
  heard.set(first);
  heard.set(await rest, first.length);
  assertSame(heard, data);
  await hearEnd(conn);
});

Deno.test("ThreadingMixIn makes a client wait that is faster than its handler", async () => {
  const server = new ThreadingUnixStreamServer({ path: tempSocketPath() }, StreamCommandHandler);
  const serving = server.serveForever();
  using conn = await client(server.serverAddress, "hold", "holding");
  let sent = 0;
  const sending = (async () => {
    const chunk = new Uint8Array(16 * 1024);
    while (sent < 1 << 24) sent += await conn.write(chunk);
  })();
  sending.catch(() => {}); // the connection is cut off
  for (let count = 0; count < 20; count++) {
    assertEquals(await exchange(server.serverAddress, "echo\nx"), "x");
  }
  assertEquals((await server.drain({ timeout: 0 })).aborted, 1);
  await serving;
  await sending.catch(() => {});
  assert(sent < 1 << 21, `sent ${sent} bytes`);
});

both("ThreadingMixIn.serverClose() waits for what runs", async (recording) => {
  const server = recording();
  const serving = server.serveForever();
  using conn = await client(server.serverAddress, "read", "reading");
  let closed = false;
  const closing = server.serverClose().then(() => closed = true);
  await serving;
  assertEquals(closed, false);
  await conn.closeWrite();
  await hearEnd(conn);
  await closing;
  assertEquals([server.stats().active, server.stats().completed], [0, 1]);
});

Deno.test("ThreadingMixIn.serverClose() waits for nobody with blockOnClose false", async () => {
  const server = new RecordingServer(LOOPBACK, UnitCommandHandler, { blockOnClose: false });
  const serving = server.serveForever();
  using conn = await client(server.serverAddress, "read", "reading");
  await server.serverClose();
  await serving;
  assertEquals(server.stats().active, 1);
  await conn.closeWrite();
  await hearEnd(conn);
  await server.finished;
  assertEquals([server.stats().completed, server.errors], [1, []]);
  server.blockOnClose = true;
  await server.serverClose(); // for its Workers
});

both(
  "ThreadingMixIn.serverClose() with daemonThreads ends a Worker that would never end",
  async (recording) => {
    const server = recording({ daemonThreads: true });
    const serving = server.serveForever();
    using conn = await client(server.serverAddress, "stick", "sticking");
    await server.serverClose();
    await serving;
    await hearEnd(conn);
    await server.finished;
    assertInstanceOf(await server.nextError(), WorkerDiedError);
    assertEquals(server.stats().workers!.busy, 0);
    server.daemonThreads = false;
    await server.serverClose(); // for its Workers
  },
);

Deno.test("ThreadingMixIn.serverClose() does not wait for a module that never ends to load", async () => {
  const Handler = inModule("await new Promise(() => {}); export class TextHandler {}");
  const server = new RecordingServer(LOOPBACK, Handler);
  const serving = server.serveForever();
  await until(() => server.stats().workers!.starting === 1);
  await server.serverClose();
  await serving;
  await server.finished;
  assertEquals(server.stats().workers!.starting, 0);
});

Deno.test("ThreadingMixIn.serverClose() does not wait for long for a module on which a client waits", async () => {
  using _times = withTimes(executorTimes, { closeGrace: 500 });
  const loading = `${tempFolder()}/loading`;
  const Handler = inModule(`
    Deno.writeTextFileSync(${JSON.stringify(loading)}, "");
    await new Promise(() => {});
    export class TextHandler {}
  `);
  const options = { minSpareThreads: 0 }; // another start may wait for room, and ends with less to say
  const server = new RecordingServer(LOOPBACK, Handler, options);
  const serving = server.serveForever();
  const asked = exchange(server.serverAddress, "");
  await until(() => server.stats().active === 1 && existsSync(loading));
  await server.serverClose();
  await serving;
  assertEquals(await asked, "");
  const error = await server.nextError();
  assertInstanceOf(error, HandlerLoadError);
  assertStringIncludes(error.message, "no end of that before the server closed");
});

both("ThreadingMixIn.drain() aborts what runs at the time limit", async (recording) => {
  const server = recording();
  const serving = server.serveForever();
  using first = await client(server.serverAddress, "read", "reading");
  using second = await client(server.serverAddress, "stick", "sticking");
  using third = await client(server.serverAddress, "block", "blocking");
  assertEquals(await server.drain({ timeout: 20 }), { completed: 0, aborted: 3 });
  await serving;
  await Promise.all([first, second, third].map(hearEnd));
});

both(
  "ThreadingMixIn.requestTimeout ends a handler that awaits, whose Worker serves on",
  async (recording) => {
    await using started = start(recording({ requestTimeout: 500, maxThreads: 1 }));
    const { server } = started;
    await until(() => server.stats().workers!.spare === 1); // its start takes of the time, too
    using conn = await client(server.serverAddress, "read", "reading");
    await hearEnd(conn);
    assertInstanceOf(await server.nextError(), Deno.errors.TimedOut);
    await assertServes(server);
    const { workers, aborted } = server.stats();
    assertEquals([workers!.started, workers!.poisoned, aborted], [1, 0, 1]);
  },
);

Deno.test("ThreadingMixIn.requestTimeout ends a handler that blocks in a read, whose Worker serves on", async () => {
  await using started = start(recording({ requestTimeout: 500, maxThreads: 1 }));
  const { server } = started;
  await until(() => server.stats().workers!.spare === 1);
  using conn = await client(server.serverAddress, "block", "blocking");
  await hearEnd(conn);
  assertInstanceOf(await server.nextError(), Deno.errors.TimedOut);
  await assertServes(server);
  assertEquals(server.stats().workers!.poisoned, 0);
});

for (const [command, answer] of [["stick", "sticking"], ["read-on", "reading"]] as const) {
  both(
    `ThreadingMixIn.requestTimeout ends a Worker that does not heed it but awaits, as after "${command}", which is not poisoned`,
    async (recording) => {
      await using started = start(recording({ requestTimeout: 500, maxThreads: 1 }));
      const { server } = started;
      await until(() => server.stats().workers!.spare === 1);
      using conn = await client(server.serverAddress, command, answer);
      await conn.closeWrite();
      await hearEnd(conn);
      assertInstanceOf(await server.nextError(), Deno.errors.TimedOut);
      server.requestTimeout = null; // a new Worker may take long to start
      await assertServes(server);
      const { started: workers, poisoned } = server.stats().workers!;
      assertEquals([workers, poisoned], [2, 0]);
    },
  );
}

Deno.test("ThreadingMixIn.requestTimeout cuts off the client of a handler that spins, and others are served", async () => {
  // In a process of its own, for such a Worker runs as long as that.
  const { stdout, stderr, code } = await runProgram(
    `
    import { ThreadingTCPServer } from "@netkit/socketserver";
    import { UnitCommandHandler } from ${JSON.stringify(UnitCommandHandler.moduleUrl)};
    const server = new ThreadingTCPServer({ hostname: "127.0.0.1", port: 0 }, UnitCommandHandler, {
      requestTimeout: 300,
      maxThreads: 1,
      maxPoisoned: 2,
    });
    server.handleError = (error) => console.log(error.name);
    const serving = server.serveForever();
    const ask = async (line) => {
      const conn = await Deno.connect(server.serverAddress);
      await conn.write(new TextEncoder().encode(line));
      await conn.closeWrite().catch(() => {});
      return await new Response(conn.readable).text().catch(() => "cut off");
    };
    while (server.stats().workers.spare < 1) await new Promise((resolve) => setTimeout(resolve, 5));
    console.log(await ask("spin\\n"));
    server.requestTimeout = null; // a new Worker may take long to start
    console.log(await ask("served\\n"));
    console.log(server.stats().workers.poisoned);
    await server.serverClose();
    await serving;
    console.log("closed");
    Deno.exit();
    `,
  );
  assertEquals(stderr, "");
  const lines = stdout.trim().split("\n").filter((line) => line !== "TimedOut");
  assert(stdout.includes("TimedOut"));
  assert(["spinning", "cut off"].includes(lines[0]!), stdout);
  assertEquals(lines.slice(1), ["1", "1", "closed"]);
  assertEquals(code, 0);
});

both(
  "ThreadingMixIn tells a handler by its signal and its reads that its client has vanished",
  async (recording) => {
    await using started = start(recording());
    const { server } = started;
    const address = server.serverAddress as Deno.NetAddr;
    const socket = await resettable(address);
    socket.write("signal\n");
    await until(() => socket.bytesRead > 0 || socket.readableLength > 0 || (socket.read(), false));
    await reset(socket);
    assertEquals((await server.nextError() as Error).message, "aborted, then ConnectionReset");
    await assertServes(server);
    assertEquals(server.stats().workers!.started <= 2, true);
  },
);

both(
  "ThreadingMixIn serves on when 200 clients vanish at once after they have come",
  async (recording) => {
    await using started = start(recording({ maxThreads: 4 }));
    const { server } = started;
    const address = server.serverAddress as Deno.NetAddr;
    for (let round = 0; round < 20; round++) {
      await Promise.all(Array.from({ length: 10 }, async () => {
        const socket = await resettable(address);
        socket.write("read\n");
        await reset(socket);
      }));
    }
    await until(() => server.stats().active === 0);
    await assertServes(server);
    const { started: workers, poisoned } = server.stats().workers!;
    assert(workers <= 4 && poisoned === 0, Deno.inspect(server.stats()));
  },
);

for (
  const [command, code] of [
    ["exit 3", 3],
    ["process-exit 4", 4],
    ["close-self", 0],
    ["throw-later", null],
  ] as const
) {
  both(
    `ThreadingMixIn.handleError() gets WorkerDiedError when a handler does "${command}"`,
    async (recording) => {
      await using started = start(recording());
      const { server } = started;
      const heard = await exchange(server.serverAddress, `${command}\n`);
      assertEquals(heard, code === 3 ? "last words" : "");
      const error = await server.nextError();
      assertInstanceOf(error, WorkerDiedError);
      assertEquals(error.status, { code, signal: null });
      if (code === null) assertStringIncludes((error.cause as Error).message, "thrown by nobody");
      await assertServes(server);
      await until(() => server.stats().workers!.spare > 0);
      assertEquals(server.stats().workers!.busy, 0);
    },
  );
}

Deno.test("ThreadingMixIn gives a request to another Worker when the one it was to have has ended before", async () => {
  const server = recording({ maxThreads: 1 });
  let isBlocked = false;
  server.prepareRequest = () => {
    if (!isBlocked) return;
    // The Worker ends meanwhile, of which nobody can hear here.
    for (const end = performance.now() + 300; performance.now() < end;);
  };
  await using _ = start(server);
  assertEquals(await exchange(server.serverAddress, "end-later\n"), "");
  isBlocked = true;
  using conn = await connect(server.serverAddress);
  await until(() => server.stats().workers!.started === 2);
  assertEquals(await exchangeOn(conn, "served\n"), "1");
  assertEquals([server.errors, server.stats().failed], [[], 0]);
});

Deno.test("ThreadingMixIn refuses a handler that no Worker can find", () => {
  class NoUrlHandler extends StreamRequestHandler {}
  class HeirHandler extends StreamCommandHandler {}
  for (const Handler of [NoUrlHandler, HeirHandler]) {
    assertThrows(
      () => new ThreadingTCPServer(LOOPBACK, Handler),
      TypeError,
      `Cannot use handler "${Handler.name}" with ThreadingTCPServer: it runs elsewhere and must be ` +
        "importable; export the class and add 'static override readonly moduleUrl = import.meta.url;' to it",
    );
  }
  assertThrows(
    // @ts-expect-error: the types refuse it, too
    () => new ThreadingTCPServer(LOOPBACK, () => {}),
    TypeError,
    "Cannot use a function as request handler of ThreadingTCPServer",
  );
});

for (const Handler of [OtherNameHandler, DefaultHandler]) {
  Deno.test(`ThreadingMixIn finds ${Handler.name}, whatever its export is called`, async () => {
    await using started = start(new ThreadingTCPServer(LOOPBACK, Handler));
    const answer = await exchange(started.server.serverAddress, "");
    assert(["by another name", "by default"].includes(answer), answer);
  });
}

for (
  const [what, source, message] of [
    [
      "does not export it",
      "class TextHandler {}",
      'it exports no handler class of that name; write "export class TextHandler"',
    ],
    ["throws", "throw new RangeError('not today');", "importing it failed: not today"],
    ["has a wrong syntax", "export class {", "importing it failed: "],
    [
      "starts a server",
      "new socketserver.ThreadingTCPServer({ hostname: '', port: 0 }, () => {});",
      "put what starts it under if (import.meta.main)",
    ],
    ["ends the Worker", "self.close(); await new Promise(() => {});", "exited with code 0"],
  ] as const
) {
  Deno.test(`fault 25: ThreadingMixIn.serveForever() rejects with a clear error when the handler's module ${what}`, async () => {
    const logger = new ListLogger();
    for (const minSpareThreads of [1, 0]) {
      const options = { logger, minSpareThreads };
      const server = new RecordingServer(LOOPBACK, inModule(source), options);
      await using started = start(server);
      using conn = await connect(server.serverAddress); // where none is kept ready, somebody has to come
      const error = await started.serving.then(() => null, (error) => error);
      assert(error instanceof HandlerLoadError || error instanceof WorkerDiedError);
      assertStringIncludes(error.message, message);
      assertEquals([server.state, server.stats().workers!.started], ["idle", 0]);
      await server.serverClose();
      await hearEnd(conn);
    }
    for (const line of logger.lines.filter((line) => line.startsWith("error: "))) {
      assertMatch(line, /^error: Cannot keep Worker ready: .*$/);
      assertStringIncludes(line, message);
    }
  });
}

Deno.test("fault 25: ThreadingMixIn serves on when the handler's module breaks later, says so, and serves once it is mended", async () => {
  const folder = tempFolder();
  const flag = `${folder}/mended`;
  const Handler = inModule(`
    Deno.readTextFileSync(${JSON.stringify(flag)});
    export class TextHandler extends socketserver.StreamRequestHandler {
      async handle() { await this.wfile.write("mended"); }
    }
  `);
  const logger = new ListLogger();
  const options = { logger, maxRequestsPerThread: 1 };
  const server = new RecordingServer(LOOPBACK, Handler, options);
  await assertRejects(() => server.serveForever(), HandlerLoadError, "importing it failed");
  await Deno.writeTextFile(flag, "");
  await using _ = start(server); // which begins anew
  assertEquals(await exchange(server.serverAddress, ""), "mended");
  await until(() => server.stats().workers!.spare === 1);
  logger.lines.length = 0;
  await Deno.remove(flag);
  assertEquals(await exchange(server.serverAddress, ""), "mended");
  await until(() => logger.lines.filter((line) => line.startsWith("error: ")).length === 3);
  assertEquals(await exchange(server.serverAddress, ""), "");
  assertInstanceOf(await server.nextError(), HandlerLoadError);
  assertEquals(server.state, "serving");
  await Deno.writeTextFile(flag, "");
  let answer = "";
  while (answer === "") answer = await exchange(server.serverAddress, "");
  assertEquals(answer, "mended");
});

both(
  "ThreadingMixIn.handleError() gets a context that cannot be sent, and the Worker is free",
  async (recording) => {
    const server = recording({ maxThreads: 1 });
    server.requestContext = () => () => {};
    await using _ = start(server);
    for (let client = 0; client < 3; client++) {
      assertEquals(await exchange(server.serverAddress, ""), "");
      assertStringIncludes((await server.nextError() as Error).message, "could not be cloned");
    }
    server.requestContext = () => undefined;
    await assertServes(server);
  },
);

both(
  "ThreadingMixIn.maxRequestsPerThread 1 gives each request a fresh module, 0 keeps it",
  async (recording) => {
    for (const [maxRequestsPerThread, expected] of [[1, "1 1 1"], [2, "1 2 1"], [0, "1 2 3"]]) {
      const options = { maxRequestsPerThread: maxRequestsPerThread as number, maxThreads: 1 };
      await using started = start(recording({ ...options, minSpareThreads: 0 }));
      const answers = [];
      for (let client = 0; client < 3; client++) {
        answers.push(await exchange(started.server.serverAddress, "served\n"));
      }
      assertEquals(answers.join(" "), expected);
    }
  },
);

both(
  "ThreadingMixIn.threadIdleTimeout ends the Workers beyond minSpareThreads",
  async (recording) => {
    await using started = start(recording({ threadIdleTimeout: 20, minSpareThreads: 1 }));
    const { server } = started;
    const conns = await Promise.all(
      Array.from({ length: 3 }, () => client(server.serverAddress, "read", "reading")),
    );
    assert(server.stats().workers!.started >= 3);
    for (const conn of conns) conn.close();
    await until(() => {
      const { spare, busy, starting } = server.stats().workers!;
      return spare === 1 && busy === 0 && starting === 0;
    });
    await assertServes(server);
  },
);

both(
  "ThreadingMixIn.minSpareThreads are ready before the first client comes",
  async (recording) => {
    await using started = start(recording({ minSpareThreads: 3 }));
    await until(() => started.server.stats().workers!.spare === 3);
  },
);

const SETTINGS: [keyof ThreadingOptions, unknown, unknown, unknown, unknown][] = [
  ["maxThreads", 2, 3, 4, 0],
  ["minSpareThreads", 0, 2, 3, -1],
  ["threadIdleTimeout", 1, null, 3, -1],
  ["maxRequestsPerThread", 1, 2, 3, -1],
  ["daemonThreads", true, false, true, "yes"],
  ["maxPoisoned", 1, null, 0, -1],
];

for (const [name, byClass, byOption, byInstance, wrong] of SETTINGS) {
  Deno.test(`ThreadingMixIn.${name} comes from the class, the options and the instance, later ones winning`, () => {
    class OwnServer extends ThreadingTCPServer {}
    Object.assign(OwnServer, { [name]: byClass });
    const make = (options = {}) =>
      new OwnServer(LOOPBACK, UnitCommandHandler, { bindAndActivate: false, ...options });
    assertEquals(make()[name], byClass as never);
    const server = make({ [name]: byOption });
    assertEquals(server[name], byOption as never);
    Object.assign(server, { [name]: byInstance });
    assertEquals(server[name], byInstance as never);
  });

  Deno.test(`ThreadingMixIn refuses a wrong ${name} by class, option and instance, and leaves nothing open`, async () => {
    const before = openDescriptors();
    class OwnServer extends ThreadingTCPServer {}
    Object.assign(OwnServer, { [name]: wrong });
    const isOption = (error: Error) => assertStringIncludes(error.message, `'${name}'`);
    isOption(assertThrows(() => new OwnServer(LOOPBACK, UnitCommandHandler), Error));
    isOption(
      assertThrows(
        () => new ThreadingTCPServer(LOOPBACK, UnitCommandHandler, { [name]: wrong }),
        Error,
      ),
    );
    await using server = recording();
    isOption(assertThrows(() => Object.assign(server, { [name]: wrong }), Error));
    await server.serverClose();
    await until(() => openDescriptors() <= before); // Workers of earlier tests may still end
  });

  Deno.test(`TCPServer refuses ${name}, which is for ThreadingMixIn`, () => {
    assertThrows(
      () => new TCPServer(LOOPBACK, UnitCommandHandler, { [name]: byOption }),
      TypeError,
      `Cannot use option '${name}' with TCPServer: it has no such setting`,
    );
  });
}

for (const name of ["maxConnections", "maxChildren", "childEnv"] as const) {
  Deno.test(`ThreadingMixIn refuses ${name}, which is for another mix-in`, () => {
    const value = name === "childEnv" ? {} : 3;
    assertThrows(
      () => new ThreadingTCPServer(LOOPBACK, UnitCommandHandler, { [name]: value }),
      TypeError,
      `Cannot use option '${name}' with ThreadingTCPServer: it has no such setting`,
    );
  });
}

Deno.test("ThreadingMixIn() makes a server of the user's own run its handlers in Workers", async () => {
  class OwnServer extends ThreadingMixIn(UDPServer) {
    static override maxThreads = 2;
  }
  await using started = start(new OwnServer(LOOPBACK, DatagramCommandHandler));
  const { server } = started;
  assertEquals(await datagramExchange(server.serverAddress, "echo hello"), "hello");
  assertEquals([server.maxThreads, server.stats().workers!.started >= 1], [2, true]);
});

Deno.test("ThreadingMixIn calls the hooks in the main isolate, in their order", async () => {
  const calls: string[] = [];
  class HookServer extends ThreadingTCPServer {
    override verifyRequest(): boolean {
      calls.push("verify");
      return true;
    }
    override prepareRequest(): void {
      calls.push("prepare");
    }
    override async finishRequest(request: StreamSocket, address: TCPAddr): Promise<void> {
      calls.push("finish");
      await super.finishRequest(request, address);
      await request.sendAll("and from the server");
    }
    override async shutdownRequest(request: StreamSocket): Promise<void> {
      calls.push("shutdown");
      await super.shutdownRequest(request);
    }
    override closeRequest(request: StreamSocket): void | Promise<void> {
      calls.push("close");
      return super.closeRequest(request);
    }
    override handleError(): void {
      calls.push("error");
    }
  }
  await using started = start(new HookServer(LOOPBACK, UnitCommandHandler));
  const { serverAddress } = started.server;
  assertEquals(await exchange(serverAddress, "served\n"), "1and from the server");
  assertEquals(calls.splice(0), ["verify", "prepare", "finish", "shutdown", "close"]);
  await exchange(serverAddress, "throw\n");
  assertEquals(calls, ["verify", "prepare", "finish", "error", "shutdown", "close"]);
});

both(
  "ThreadingMixIn gives a handler the smaller view of its server, which says what is not there",
  async (recording) => {
    await using started = start(recording());
    const [address, context, ...others] = (await exchange(
      started.server.serverAddress,
      "server\n",
    )).split("\n");
    assertEquals([address, context], ["serverAddress: object", "context: undefined"]);
    for (const [index, name] of ["shutdown", "serverClose", "stats"].entries()) {
      assertStringIncludes(
        others[index]!,
        `${name}: NotSupported: Cannot use 'server.${name}' in a Worker or subprocess: the server is elsewhere`,
      );
    }
  },
);

Deno.test("ThreadingMixIn.serverClose() lets datagrams be answered that are under way", async () => {
  for (
    const server of [
      new ThreadingUDPServer(LOOPBACK, DatagramCommandHandler),
      new ThreadingUnixDatagramServer({ path: tempSocketPath() }, DatagramCommandHandler),
    ]
  ) {
    const serving = server.serveForever();
    const answers = Array.from(
      { length: 5 },
      (_, n) => datagramExchange(server.serverAddress, `echo ${n}`),
    );
    await until(() => server.stats().accepted === 5);
    await server.serverClose();
    await serving;
    assertEquals(await Promise.all(answers), ["0", "1", "2", "3", "4"]);
  }
});

Deno.test("ThreadingMixIn keeps no program alive that has ended its loop, and serves again after that", async () => {
  const program = (body: string) => `
    import { ThreadingTCPServer } from "@netkit/socketserver";
    import { UnitCommandHandler } from ${JSON.stringify(UnitCommandHandler.moduleUrl)};
    const server = new ThreadingTCPServer({ hostname: "127.0.0.1", port: 0 }, UnitCommandHandler);
    const ask = async () => {
      using conn = await Deno.connect(server.serverAddress);
      await conn.write(new TextEncoder().encode("served\\n"));
      console.log(await new Response(conn.readable).text());
    };
    ${body}
    console.log("end");`;
  const forever = `
    for (let round = 0; round < 2; round++) {
      const serving = server.serveForever();
      await ask();
      await server.shutdown();
      await serving;
    }`;
  const one = `
    for (let round = 0; round < 3; round++) await Promise.all([server.handleRequest(), ask()]);`;
  for (
    const [body, expected] of [[forever, /^1\n[12]\nend\n$/], [
      one,
      /^1\n[12]\n[123]\nend\n$/,
    ]] as const
  ) {
    const { stdout, stderr, code } = await runProgram(program(body));
    assertEquals([stderr, code], ["", 0]);
    assertMatch(stdout, expected);
  }
});

both("ThreadingMixIn.handleRequest() serves without serveForever()", async (recording) => {
  await using server = recording();
  const answer = exchange(server.serverAddress, "served\n");
  await server.handleRequest();
  assertEquals(await answer, "1");
});

Deno.test("ThreadingMixIn needs no more than the network and to read the handler's modules", async () => {
  const ours = fileURLToPath(new URL("../../", import.meta.url));
  const theirs = dirname(tempFolder());
  const read = `--allow-read=${[ours, theirs].join()}`;
  const { stdout, stderr, code } = await runProgram(
    `
    import { StreamRequestHandler, ThreadingTCPServer } from "@netkit/socketserver";
    export class EchoHandler extends StreamRequestHandler {
      static override readonly moduleUrl = import.meta.url;
      override async handle() {
        for await (const line of this.rfile) await this.wfile.write(line);
      }
    }
    if (import.meta.main) {
      await using server = new ThreadingTCPServer({ hostname: "127.0.0.1", port: 0 }, EchoHandler);
      const serving = server.serveForever();
      using conn = await Deno.connect(server.serverAddress);
      await conn.write(new TextEncoder().encode("hello\\n"));
      await conn.closeWrite();
      console.log((await new Response(conn.readable).text()).trim());
      await server.shutdown();
      await serving;
    }
    `,
    {
      flags: ["--no-check", "--allow-net", read],
    },
  );
  assertEquals([stdout, stderr, code], ["hello\n", "", 0]);
});
