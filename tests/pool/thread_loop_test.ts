/**
 * Threading servers whose Workers accept clients by themselves: when they do, and what holds then.
 *
 * @module
 */
import {
  assert,
  assertEquals,
  assertGreaterOrEqual,
  assertInstanceOf,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import {
  type AnyServer,
  BaseRequestHandler,
  HandlerLoadError,
  PoolTCPServer,
  type ServerLogger,
  StreamRequestHandler,
  type StreamSocket,
  type TCPAddr,
  TCPServer,
  ThreadingMixIn,
  ThreadingTCPServer,
  ThreadingTLSServer,
  ThreadingUDPServer,
  ThreadingUnixStreamServer,
} from "@netkit/socketserver";
import {
  AwaitingUnitCommandHandler,
  DatagramCommandHandler,
  StreamCommandHandler,
  UnitCommandHandler,
} from "../handlers.ts";
import { settlesWithin } from "../../src/base/time.ts";
import { MarkHandler } from "../servers/forking_handlers.ts";
import {
  bytes,
  connect,
  exchange,
  exchangeOn,
  ListLogger,
  LOOPBACK,
  readAll,
  readExactly,
  runProgram,
  start,
  tempFolder,
  tempSocketPath,
  text,
  TLS,
  until,
  writeAll,
} from "../harness.ts";

class SyncHandler extends BaseRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override handle(): void {}
}

/** Has its Worker tell all others that there is no place in accept, if the memory for that is within its reach. */
export class ForgingHandler extends BaseRequestHandler<StreamSocket> {
  static override readonly moduleUrl = import.meta.url;
  override async handle(): Promise<void> {
    const { sub, store } = Atomics;
    const forge = (cells: Int32Array<SharedArrayBuffer>, index: number, value: number): number => {
      [0, 99, 0, 99].forEach((forged, cell) => store(cells, cell, forged));
      return sub(cells, index, value);
    };
    Object.assign(Atomics, { sub: forge });
    await this.request.sendAll("forged");
  }
}

/** What other code has handed to the functions of `Atomics`, which this handler replaces. */
let handedOver = 0;

/** Tells how much shared memory it has been handed. */
export class SpyingHandler extends BaseRequestHandler<StreamSocket> {
  static override readonly moduleUrl = import.meta.url;
  override async handle(): Promise<void> {
    for (const name of Object.getOwnPropertyNames(Atomics)) {
      const original: unknown = Reflect.get(Atomics, name);
      if (typeof original !== "function") continue;
      const spy = (...args: unknown[]) => {
        handedOver++;
        return Reflect.apply(original, Atomics, args);
      };
      Object.assign(Atomics, { [name]: spy });
    }
    await this.request.sendAll(String(handedOver));
  }
}

/** The same over the relay. */
export class RelayedSpyingHandler extends SpyingHandler {
  static override readonly moduleUrl = import.meta.url;
  static override readonly blocking = true;
}

class OwnProcessServer extends ThreadingTCPServer {
  override async processRequest(request: StreamSocket, clientAddress: TCPAddr): Promise<void> {
    await super.processRequest(request, clientAddress);
  }
}

class BelowServer extends TCPServer {
  override async getRequest(): Promise<[StreamSocket, TCPAddr]> {
    return await super.getRequest();
  }
}

class OwnListenerServer extends ThreadingTCPServer {
  override openListener(): Deno.Listener {
    return Deno.listen(LOOPBACK);
  }
}

/** A server whose Workers accept. */
function direct(options = {}): ThreadingTCPServer {
  return new ThreadingTCPServer(LOOPBACK, AwaitingUnitCommandHandler, {
    logger: new ListLogger(),
    ...options,
  });
}

/** A client that has said a command and heard the first words of the answer. */
async function client(server: AnyServer, command: string, answer: string): Promise<Deno.Conn> {
  const conn = await connect(server.serverAddress);
  await writeAll(conn, bytes(`${command}\n`));
  assertEquals(text(await readExactly(conn, answer.length)), answer);
  return conn;
}

function isFree(address: TCPAddr): boolean {
  try {
    Deno.listen(address).close();
    return true;
  } catch (error) {
    assertInstanceOf(error, Deno.errors.AddrInUse);
    return false;
  }
}

const WAYS: Record<string, [() => AnyServer & { threadingMode: unknown }, string]> = {
  "an async handle()": [() => new ThreadingTCPServer(LOOPBACK, StreamCommandHandler), "direct"],
  "a handle() that is none": [() => new ThreadingTCPServer(LOOPBACK, SyncHandler), "may block"],
  "'blocking'": [() => new ThreadingTCPServer(LOOPBACK, UnitCommandHandler), "may block"],
  "no 'blocking'": [() => direct(), "direct"],
  "TLS": [
    () => new ThreadingTLSServer(LOOPBACK, StreamCommandHandler, TLS),
    "the server has its own prepareRequest()",
  ],
  "a Unix socket": [
    () => new ThreadingUnixStreamServer({ path: tempSocketPath() }, StreamCommandHandler),
    "the server has its own",
  ],
  "datagrams": [
    () => new ThreadingUDPServer(LOOPBACK, DatagramCommandHandler),
    "its clients come by another way than TCP",
  ],
  "an own processRequest()": [
    () => new OwnProcessServer(LOOPBACK, StreamCommandHandler),
    "the server has its own processRequest()",
  ],
  "an own getRequest() below": [
    () => new (ThreadingMixIn(BelowServer))(LOOPBACK, StreamCommandHandler),
    "the server has its own getRequest()",
  ],
  "an own openListener()": [
    () => new OwnListenerServer(LOOPBACK, StreamCommandHandler),
    "the server has its own openListener()",
  ],
  "a listener of somebody else": [
    () => {
      const server = direct({ bindAndActivate: false });
      server.socket = Deno.listen(LOOPBACK);
      server.serverAddress = server.socket.addr as TCPAddr;
      return server;
    },
    "Workers cannot share its listener",
  ],
  "maxConnectionsPerSource": [
    () => direct({ maxConnectionsPerSource: 3 }),
    "'maxConnectionsPerSource' is set",
  ],
  "minSpareThreads 0": [() => direct({ minSpareThreads: 0 }), "'minSpareThreads' is 0"],
  "a context that changes": [
    () => Object.assign(direct(), { requestContext: () => ({}) }),
    "requestContext() gives another object each time",
  ],
  "a context that cannot be sent": [
    () => Object.assign(direct(), { requestContext: () => () => {} }),
    "its context cannot be sent: ",
  ],
};

for (const [what, [make, expected]] of Object.entries(WAYS)) {
  Deno.test(`ThreadingMixIn.threadingMode tells how clients come to their Workers: ${what}`, async () => {
    await using server = make();
    const { way, reason } = server.threadingMode as { way: string; reason: string };
    if (expected === "direct") assertEquals(way, "direct");
    else {
      assertEquals(way, "relay");
      assertStringIncludes(reason, expected);
    }
  });
}

Deno.test("ThreadingMixIn says once in the log how clients come to their Workers, and why", async () => {
  const lines: string[] = [];
  const logger = { debug: (line: string) => void lines.push(line) } as unknown as ServerLogger;
  await using server = direct({ logger: Object.assign(new ListLogger(), logger) });
  for (let round = 0; round < 3; round++) {
    await server.serveForever({ signal: AbortSignal.abort() });
  }
  assertEquals(lines, [
    "Workers accept clients: nothing needs the connections in the main isolate",
  ]);
  await using other = new ThreadingTCPServer(LOOPBACK, UnitCommandHandler, {
    logger: Object.assign(new ListLogger(), logger),
  });
  await other.serveForever({ signal: AbortSignal.abort() });
  assertEquals(lines.slice(1), ["Main isolate relays: its handler may block"]);
});

Deno.test("ThreadingMixIn serves while the main isolate does nothing at all", async () => {
  await using started = start(direct());
  const { server } = started;
  assertEquals(await exchange(server.serverAddress, "echo-sync\nfirst\n"), "first\n");
  const { port } = server.serverAddress;
  const cells = new Int32Array(new SharedArrayBuffer(8));
  const source = `onmessage = async ({ data }) => {
    for (let count = 0; count < 20; count++) {
      using conn = await Deno.connect({ hostname: "127.0.0.1", port: ${port} });
      await conn.write(new TextEncoder().encode("echo-sync\\nhello\\n"));
      await conn.closeWrite();
      const answer = new Uint8Array(6);
      await conn.read(answer);
      if (new TextDecoder().decode(answer) === "hello\\n") Atomics.add(data, 0, 1);
    }
    Atomics.store(data, 1, 1);
    Atomics.notify(data, 1);
  }`;
  const url = `data:text/javascript,${encodeURIComponent(source)}`;
  const clients = new Worker(url, { type: "module" });
  clients.postMessage(cells);
  assertEquals(Atomics.wait(cells, 1, 0, 60_000), "ok");
  assertEquals(cells[0], 20);
  clients.terminate();
});

Deno.test("ThreadingMixIn relays, so that clients are told, when no Worker can be started any more, and serves once one can", async () => {
  const folder = tempFolder();
  const [flag, path] = [`${folder}/mended`, `${folder}/handler.ts`];
  const mod = new URL("../../mod.ts", import.meta.url).href;
  await Deno.writeTextFile(
    path,
    `import { StreamRequestHandler } from ${JSON.stringify(mod)};
    Deno.readTextFileSync(${JSON.stringify(flag)});
    export class BreakingHandler extends StreamRequestHandler {
      async handle() { await this.wfile.write("mended"); }
    }`,
  );
  class BreakingHandler extends StreamRequestHandler {
    static override readonly moduleUrl = `file://${path}`;
    override async handle() {}
  }
  await Deno.writeTextFile(flag, "");
  const said: string[] = [];
  const logger = Object.assign(new ListLogger(), { debug: (line: string) => said.push(line) });
  const options = { logger, maxRequestsPerThread: 1 };
  const server = new ThreadingTCPServer(LOOPBACK, BreakingHandler, options);
  const errors: unknown[] = [];
  server.handleError = (error) => void errors.push(error);
  await using _ = start(server);
  assertEquals(await exchange(server.serverAddress, ""), "mended");
  assertEquals(server.threadingMode.way, "direct");
  await Deno.remove(flag);
  let answer: string;
  do answer = await exchange(server.serverAddress, ""); while (answer === "mended"); // by who was up
  assertEquals(answer, "");
  assertInstanceOf(errors[0], HandlerLoadError);
  assertEquals(server.threadingMode.way, "relay");
  const relays = said.filter((line) => /relays: no Worker can be started: Cannot load/.test(line));
  assertEquals(relays.length, 1, said.join("\n"));
  await Deno.writeTextFile(flag, "");
  while (answer === "") answer = await exchange(server.serverAddress, "");
  assertEquals(answer, "mended");
});

Deno.test("ThreadingMixIn tells a handler that blocks all the same what to declare", async () => {
  const server = direct();
  const errors: unknown[] = [];
  server.handleError = (error) => void errors.push(error);
  await using _ = start(server);
  assertEquals(await exchange(server.serverAddress, "block-anyway\n"), "");
  await until(() => errors.length === 1);
  assertInstanceOf(errors[0], Deno.errors.NotSupported);
  assertStringIncludes(errors[0].message, "'static override readonly blocking = true'");
});

Deno.test("ThreadingMixIn asks verifyRequest() and handleError() in the main isolate though Workers accept", async () => {
  const server = direct();
  const seen: unknown[] = [];
  server.verifyRequest = async (request, clientAddress) => {
    assertEquals(request.remoteAddr, clientAddress);
    await assertRejects(() => request.recv(), Deno.errors.NotSupported, "a Worker has it");
    seen.push(clientAddress.port);
    return seen.length < 3;
  };
  server.handleError = (error, request, clientAddress) => {
    assertEquals(request.remoteAddr, clientAddress);
    seen.push((error as Error).message);
  };
  await using _ = start(server);
  const conn = await connect(server.serverAddress);
  const { port } = conn.localAddr as Deno.NetAddr;
  assertEquals(await exchangeOn(conn, "throw plain\n"), "");
  await until(() => seen.length === 2);
  assertEquals(seen, [port, "plain"]);
  assertEquals(await exchange(server.serverAddress, "served\n").catch(() => ""), "");
  await until(() => server.stats().rejected === 1);
});

for (const method of ["serverClose", "drain"] as const) {
  Deno.test(`ThreadingMixIn.${method}() frees the port at once though a handler computes and never awaits`, async () => {
    const server = direct({ maxThreads: 2, blockOnClose: false });
    const address = server.serverAddress;
    const serving = server.serveForever();
    const folder = tempFolder();
    const met = [1, 2].map(() => exchange(address, `meet ${folder}\n`)); // until four are there
    await until(() => server.stats().active === 2);
    const ended = server[method]();
    await until(() => isFree(address));
    assertEquals(server.stats().active, 2);
    for (const name of ["third", "fourth"]) await Deno.writeTextFile(`${folder}/${name}`, "");
    assertEquals(await Promise.all(met), ["met", "met"]);
    await ended;
    await serving;
    await server.finished;
  });
}

Deno.test("ThreadingMixIn.drain() serves those who wait while all Workers are busy, one Worker each", async () => {
  const server = direct({ maxThreads: 2 });
  const address = server.serverAddress;
  const serving = server.serveForever();
  const held = await Promise.all([1, 2].map(() => client(server, "read", "reading")));
  const answers = [1, 2, 3].map((n) => exchange(address, `echo-sync\n${n}\n`));
  using last = await connect(address);
  await last.closeWrite();
  const drained = server.drain({ timeout: null });
  await until(() => isFree(address));
  for (const conn of held) {
    await conn.closeWrite();
    assertEquals(text(await readAll(conn)), "");
    conn.close();
  }
  assertEquals(await Promise.all(answers), ["1\n", "2\n", "3\n"]);
  assertEquals(await drained, { completed: 6, aborted: 0 });
  await serving;
  assertEquals(server.stats().peak, 2);
});

Deno.test("ThreadingMixIn.shutdown() leaves who comes later to the next serveForever(), with its context", async () => {
  const server = direct();
  const address = server.serverAddress;
  for (let round = 0; round < 5; round++) {
    const serving = server.serveForever();
    assertEquals(await exchange(address, "echo-sync\nnow\n"), "now\n");
    await server.shutdown();
    await serving;
    const { accepted } = server.stats();
    const later = exchange(address, "echo-sync\nlater\n");
    using waiting = await connect(address); // it is in the queue, and so is the one before
    await waiting.closeWrite();
    assertEquals(server.stats().accepted, accepted);
    const again = server.serveForever();
    assertEquals(await later, "later\n");
    await server.shutdown();
    await again;
  }
  assertEquals(server.threadingMode.way, "direct", server.threadingMode.reason);
  await server.serverClose();
});

Deno.test("ThreadingMixIn gives each request of a Worker a copy of the context, of the time when it began to serve", async () => {
  const server = new ThreadingTCPServer(LOOPBACK, MarkHandler, { maxThreads: 1 });
  const context = { count: 0 };
  server.requestContext = () => context;
  assertEquals(server.threadingMode.way, "direct", server.threadingMode.reason);
  for (context.count = 1; context.count < 3; context.count++) {
    const serving = server.serveForever();
    for (let request = 0; request < 3; request++) {
      assertEquals(await exchange(server.serverAddress, ""), `{ count: ${context.count} }\n`);
    }
    await server.shutdown();
    await serving;
  }
  await server.serverClose();
});

Deno.test("ThreadingMixIn relays once handleRequest() has served, which may still wait for a client", async () => {
  const server = direct({ timeout: 1 });
  await server.handleRequest();
  assertStringIncludes(server.threadingMode.reason, "has accepted clients before");
  await using _ = start(server);
  assertEquals(await exchange(server.serverAddress, "echo-sync\nhello\n"), "hello\n");
});

Deno.test("ThreadingMixIn.maxThreads raised admits who waits, and lowered cuts nobody off", async () => {
  const server = direct({ maxThreads: 1 });
  await using _ = start(server);
  const first = await client(server, "read", "reading");
  const waiting = client(server, "read", "reading");
  server.maxThreads = 2;
  const second = await waiting;
  assertEquals(server.stats().active, 2);
  server.maxThreads = 1;
  for (const conn of [first, second]) {
    await conn.closeWrite();
    assertEquals(text(await readAll(conn)), "");
    conn.close();
  }
  await until(() => server.stats().workers!.spare === 1 && server.stats().active === 0);
  assertEquals(await exchange(server.serverAddress, "echo-sync\nhello\n"), "hello\n");
  assertEquals(server.stats().workers!.busy <= 1, true);
});

Deno.test("ThreadingMixIn keeps the memory in which Workers take turns from a handler that replaces Atomics", async () => {
  const logger = new ListLogger();
  const options = { minSpareThreads: 2, maxThreads: 4, logger };
  const server = new ThreadingTCPServer(LOOPBACK, ForgingHandler, options);
  await using _ = start(server);
  const answers = (async () => {
    for (let n = 0; n < 20; n++) assertEquals(await exchange(server.serverAddress, ""), "forged");
  })();
  assert(await settlesWithin(answers, 20_000), "nobody accepts any more");
  assertEquals(server.threadingMode.way, "direct", server.threadingMode.reason);
});

for (
  const [how, make] of Object.entries({
    "a Worker that accepts": () =>
      new ThreadingTCPServer(LOOPBACK, SpyingHandler, { maxThreads: 1 }),
    "a Worker of the relay": () =>
      new ThreadingTCPServer(LOOPBACK, RelayedSpyingHandler, { maxThreads: 1 }),
    "a Worker of a pool": () => new PoolTCPServer(LOOPBACK, SpyingHandler, { workers: 1 }),
  })
) {
  Deno.test(`${how} hands no shared memory to a handler that replaces Atomics`, async () => {
    const server: TCPServer = make();
    await using _ = start<TCPServer>(server);
    for (let n = 0; n < 4; n++) assertEquals(await exchange(server.serverAddress, ""), "0");
  });
}

const POOL = new URL("../../src/pool/", import.meta.url).href;
/** Has servers look for Workers that never await eight times as often as they do elsewhere, and wait as much less. */
const QUICK = `
  import { stuckTimes } from "${POOL}poisoned.ts";
  import { supervisorTimes } from "${POOL}pool_supervisor.ts";
  for (const times of [stuckTimes, supervisorTimes] as Record<string, number>[]) {
    for (const name of Object.keys(times)) times[name]! /= 8;
  }
`;

/**
 * Has servers give up on Workers whose handlers never await, in a process of its own, in which they go on.
 *
 * @param times What sets the times of which that takes some; `QUICK` when left out.
 */
async function poison(program: string, times = QUICK): Promise<string[]> {
  const handlers = AwaitingUnitCommandHandler.moduleUrl;
  const { code, stdout, stderr } = await runProgram(`
    import { PoolTCPServer, ThreadingTCPServer } from "@netkit/socketserver";
    import { AwaitingUnitCommandHandler, UnitCommandHandler } from ${JSON.stringify(handlers)};
    ${times}
    const address = { hostname: "127.0.0.1", port: 0 };
    const logger = { debug() {}, info() {}, warn() {}, error: (line: string) => console.log("error:", line) };
    const until = async (condition: () => boolean) => {
      while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
    };
    const ask = async (line: string, length: number) => {
      const conn = await Deno.connect(server.serverAddress);
      await conn.write(new TextEncoder().encode(line + "\\n"));
      const answer = new Uint8Array(length);
      for (let count = 0; count < length;) count += await conn.read(answer.subarray(count)) ?? length;
      return new TextDecoder().decode(answer);
    };
    /** Until one does: it may be cut off before it has begun. Not to be awaited, as the next one may find no place. */
    const spin = async (command = "spin") => {
      while (await ask(command, 8).catch(() => "") !== "spinning");
    };
    ${program}
    Deno.exit();
  `);
  assertEquals([code, stderr], [0, ""]);
  return stdout.trim().split("\n");
}

for (const Handler of ["AwaitingUnitCommandHandler", "UnitCommandHandler"]) {
  Deno.test(`ThreadingMixIn.maxPoisoned bounds the Workers that are replaced because they never await (${Handler})`, async () => {
    const lines = await poison(`
    const server = new ThreadingTCPServer(address, ${Handler}, {
      ...{ maxThreads: 2, maxPoisoned: 1, requestTimeout: 300, logger },
    });
    server.handleError = (error) => console.log(error.name);
    const serving = server.serveForever();
    await until(() => server.stats().workers!.spare === 1);
    for (let count = 1; count <= 2; count++) {
      void spin();
      await until(() => server.stats().workers!.poisoned === count);
      console.log(server.state, server.stats().state);
    }
    server.requestTimeout = null; // a new Worker may take long to start
    const [held, waiting] = [1, 2].map(() => ask("read", 7));
    console.log(await Promise.race([held, waiting]), server.stats().active);
    await new Promise((resolve) => setTimeout(resolve, 100));
    const { spare, busy, starting, poisoned } = server.stats().workers!;
    console.log(spare, busy, starting, poisoned);
    `);
    assertEquals(lines.filter((line) => line.startsWith("error: ")), [
      "error: Workers that never awaited, were given up on and still run: 1; " +
      "while they do, no more are replaced ('maxPoisoned')",
    ]);
    const others = lines.filter((line) => !line.startsWith("error: "));
    assertGreaterOrEqual(others.filter((line) => line === "TimedOut").length, 2);
    const active = Handler === "UnitCommandHandler" ? 2 : 1; // the relay has accepted who waits
    assertEquals(others.filter((line) => line !== "TimedOut"), [
      ...[
        "degraded degraded",
        "degraded degraded",
        `reading ${active}`,
        "0 1 0 2",
      ],
    ]);
  });
}

Deno.test("PoolTCPServer replaces Workers that never await when requests have a time limit, up to maxPoisoned", async () => {
  const lines = await poison(`
    const server = new PoolTCPServer(address, AwaitingUnitCommandHandler, {
      ...{ workers: 2, maxConnectionsPerWorker: 1, maxPoisoned: 2, requestTimeout: 300, logger },
    });
    const serving = server.serveForever();
    await until(() => server.stats().workers!.spare === 2);
    for (let count = 1; count <= 3; count++) {
      void spin();
      await until(() => server.stats().workers!.poisoned === count);
      console.log(server.state);
    }
    server.maxPoisoned = 4;
    console.log(server.state);
    server.maxPoisoned = 2;
    server.requestTimeout = null; // a new Worker may take long to start
    console.log(await ask("served", 1));
    const { poisoned, started } = server.stats().workers!;
    console.log(poisoned, started);
  `);
  assertEquals(lines.filter((line) => /given up on: /.test(line)).length, 3);
  const said = "while they do, no more are replaced ('maxPoisoned')";
  assertEquals(lines.filter((line) => /'maxPoisoned'/.test(line)), [
    `error: Workers that never awaited, were given up on and still run: 2; ${said}`,
    `error: Workers that never awaited, were given up on and still run: 3; ${said}`,
  ]);
  assertEquals(lines.filter((line) => !line.startsWith("error: ")), [
    ...["serving", "degraded", "degraded", "serving", "1", "3 4"],
  ]);
});

/** Has the time in which a server without a place waits for one pass at once, or after `gate`, and tells when it has. */
const WITHOUT_PATIENCE = `
  const { setTimeout: later } = globalThis;
  const passed = Promise.withResolvers<void>();
  let gate = Promise.resolve();
  globalThis.setTimeout = (callback, time, ...args) => {
    if (time !== 30_000) return later(callback, time, ...args);
    return later(() => gate.then(() => {
      callback();
      passed.resolve();
    }));
  };
`;
/** What it says then. */
const NOBODY = "Cannot serve: 1 Workers never awaited, were given up on and still run, " +
  "and no more are started ('maxPoisoned')";

/** Each with one Worker. */
const MADE = {
  "threads that accept":
    "new ThreadingTCPServer(address, AwaitingUnitCommandHandler, { ...options, maxThreads: 1 })",
  "threads of the relay":
    "new ThreadingTCPServer(address, UnitCommandHandler, { ...options, maxThreads: 1 })",
  "a pool": "new PoolTCPServer(address, AwaitingUnitCommandHandler, { ...options, workers: 1 })",
};

for (const [how, made] of Object.entries(MADE)) {
  Deno.test(`fault 37: ${how} are replaced that serve nobody and never await what a handler has left running`, async () => {
    const lines = await poison(`
      const options = { requestTimeout: 500, maxPoisoned: 8, logger };
      const server = ${made};
      server.handleError = () => {};
      const serving = server.serveForever();
      await until(() => server.stats().workers!.spare === 1);
      const running = new Promise((resolve) => new BroadcastChannel("left").onmessage = resolve);
      console.log(await ask("spin-later", 12));
      await running;
      // A Worker may have taken one more client just before it began to run on.
      const late = () => new Promise((resolve) => setTimeout(resolve, 500, "late"));
      let answer;
      do answer = await Promise.race([ask("served", 1).catch(() => "failed"), late()]);
      while (answer !== "1" || server.stats().workers!.poisoned === 0);
      console.log("answered", server.stats().workers!.poisoned);
    `);
    const others = lines.filter((line) => !line.startsWith("error: "));
    assertEquals(others, ["left a timer", "answered 1"]);
  });
}

for (const [how, made] of Object.entries(MADE)) {
  Deno.test(`${how} get a place back when a handler ends that has computed for too long`, async () => {
    const lines = await poison(`
      const options = { maxPoisoned: 0, requestTimeout: 300, logger };
      const server = ${made};
      server.handleError = () => {};
      const memory = new Int32Array(new SharedArrayBuffer(4));
      server.requestContext = () => memory;
      const serving = server.serveForever();
      for (let n = 0; n < 2; n++) {
        server.requestTimeout = 300;
        void spin("spin-until");
        await until(() => server.stats().workers!.poisoned === 1);
        server.requestTimeout = null; // a new Worker may take long to start
        const waits = ask("served", 1);
        Atomics.store(memory, 0, 1);
        console.log(await waits, server.stats().workers!.poisoned);
        Atomics.store(memory, 0, 0);
      }
    `);
    assertEquals(lines.filter((line) => !line.startsWith("error: ")), ["1 0", "1 0"]);
  });

  Deno.test(`serveForever() of ${how} rejects when all Workers there may be are given up on and go on, and does not begin again`, async () => {
    const times = how === "a pool" ? "" : QUICK; // one with the times of users
    const program = `
      const options = { maxPoisoned: 0, requestTimeout: 300, logger: { ...logger, error() {} } };
      ${WITHOUT_PATIENCE}
      const server = ${made};
      server.handleError = () => {};
      const serving = server.serveForever();
      void spin();
      for (const loop of [serving, server.serveForever.bind(server)]) {
        const served = typeof loop === "function" ? loop() : loop;
        console.log(await served.then(() => "served", (error) => error.message));
      }
    `;
    assertEquals(await poison(program, times), [NOBODY, NOBODY]);
  });

  Deno.test(`a program goes on when ${how} have no place left after their server has drained`, async () => {
    const lines = await poison(`
      const options = { maxPoisoned: 0, requestTimeout: 300, logger: { ...logger, error() {} } };
      ${WITHOUT_PATIENCE}
      const server = ${made};
      server.handleError = () => {};
      const drained = Promise.withResolvers<void>();
      gate = drained.promise;
      const serving = server.serveForever();
      void spin();
      await until(() => server.stats().workers!.poisoned === 1);
      await server.drain({ timeout: 100 });
      await serving;
      drained.resolve();
      await passed.promise;
      console.log(server.state, await new Promise((resolve) => setTimeout(resolve, 20, "goes on")));
    `);
    assertEquals(lines, ["closed goes on"]);
  });

  Deno.test(`a server with ${how} rejects, too, when it has fewer places than are poisoned`, async () => {
    const lines = await poison(`
      const options = { maxPoisoned: 2, requestTimeout: 500, logger: { ...logger, error() {} } };
      ${WITHOUT_PATIENCE}
      const server = ${made};
      const places = "workers" in server ? "workers" : "maxThreads";
      server[places] = 2;
      server.handleError = () => {};
      const serving = server.serveForever();
      for (let count = 1; count <= 2; count++) {
        void spin();
        await until(() => server.stats().workers!.poisoned >= count);
      }
      server.maxPoisoned = 1; // one place is left
      console.log(await Promise.race([serving, new Promise((resolve) => setTimeout(resolve, 50, "goes on"))]));
      server[places] = 1;
      console.log(await serving.catch((error) => error.message));
    `);
    assertEquals(lines, ["goes on", NOBODY.replace("1", "2")]);
  });
}

Deno.test("ThreadingMixIn.handleRequest() rejects when all Workers there may be are given up on and go on", async () => {
  const lines = await poison(`
    const options = { maxPoisoned: 0, requestTimeout: 300, logger: { ...logger, error() {} } };
    ${WITHOUT_PATIENCE}
    const server = new ThreadingTCPServer(address, UnitCommandHandler, { ...options, maxThreads: 1 });
    server.handleError = () => {};
    void spin();
    for (let n = 0; n < 2; n++) {
      try {
        while (true) await server.handleRequest();
      } catch (error) {
        console.log(error.message);
      }
    }
  `);
  assertEquals(lines, [NOBODY, NOBODY]);
});
