/**
 * PoolTCPServer and PoolTLSServer: one accept queue for many Workers, and a life like that of any other server.
 *
 * @module
 */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertLess,
  assertMatch,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  HandlerLoadError,
  ServerExit,
  type StreamSocket,
  type TCPAddr,
  TCPServer,
} from "@netkit/socketserver";
import { PoolTCPServer, PoolTLSServer } from "../../src/servers/ready_made.ts";
import type { PoolTCPServerOptions } from "../../src/servers/pool_server.ts";
import {
  bytes,
  connect,
  connectTLS,
  exchange,
  exchangeOn,
  ListLogger,
  LOOPBACK,
  openDescriptors,
  PATIENCE,
  readAll,
  runProgram,
  tempFolder,
  text,
  TLS,
  until,
  withTimes,
} from "../harness.ts";
import { supervisorTimes } from "../../src/pool/pool_supervisor.ts";
import { delay, settlesWithin } from "../../src/base/time.ts";
import { PoolCommandHandler } from "./pool_handlers.ts";

/** Makes a pool of two Workers that logs nothing. */
function makePool(options: PoolTCPServerOptions = {}): PoolTCPServer {
  const settings = { workers: 2, logger: new ListLogger(), ...options };
  return new PoolTCPServer(LOOPBACK, PoolCommandHandler, settings);
}

/** A client whose request is under way. */
class Client implements Disposable {
  readonly conn: Deno.Conn;
  /** What the server said first. */
  readonly greeting: string;

  private constructor(conn: Deno.Conn, greeting: string) {
    this.conn = conn;
    this.greeting = greeting;
  }

  /** Connects, says something and waits for the beginning of the answer. */
  static async start(address: TCPAddr, command: string): Promise<Client> {
    const conn = await connect(address);
    await conn.write(bytes(`${command}\n`));
    const buffer = new Uint8Array(100);
    const count = await conn.read(buffer);
    return new Client(conn, text(buffer.subarray(0, count ?? 0)));
  }

  /** Lets a handler that holds go on, and gives the rest of its answer. */
  async release(command = ""): Promise<string> {
    await this.conn.write(bytes(`${command}\n`));
    return await this.rest();
  }

  /** What comes until the server ends the connection, in whatever way. */
  async rest(): Promise<string> {
    try {
      return text(await readAll(this.conn));
    } catch (error) {
      if (error instanceof Deno.errors.ConnectionReset) return "reset";
      throw error;
    }
  }

  [Symbol.dispose](): void {
    this.conn[Symbol.dispose]();
  }
}

Deno.test("PoolTCPServer.serveForever() serves clients in all Workers", async () => {
  await using server = makePool({ workers: 3, maxConnectionsPerWorker: 1 });
  const serving = server.serveForever();
  const address = server.serverAddress;
  const clients = await Promise.all([1, 2, 3].map(() => Client.start(address, "hold")));
  assertEquals(new Set(clients.map(({ greeting }) => greeting)).size, 3);
  for (const client of clients) {
    assertEquals(await client.release(), " released");
    client[Symbol.dispose]();
  }
  await server.shutdown();
  await serving;
});

Deno.test("PoolTCPServer deals many slow clients out to all Workers", async () => {
  await using server = makePool();
  const serving = server.serveForever();
  await until(() => server.stats().workers!.spare === 2);
  const counts = new Map<string, number>();
  const clients: Client[] = [];
  // On a busy machine one Worker may be awake for a while before the other is.
  while (clients.length < 40 || counts.size < 2 && clients.length < 500) {
    const client = await Client.start(server.serverAddress, "hold");
    clients.push(client);
    counts.set(client.greeting, (counts.get(client.greeting) ?? 0) + 1);
  }
  assertEquals(counts.size, 2, Deno.inspect(counts));
  await until(() => server.stats().active === clients.length);
  for (const client of clients) {
    await client.release();
    client[Symbol.dispose]();
  }
  await server.shutdown();
  await serving;
});

Deno.test("PoolTCPServer serves one client at a time in each Worker when told so", async () => {
  await using server = makePool({ workers: 1, maxConnectionsPerWorker: 1 });
  const serving = server.serveForever();
  using first = await Client.start(server.serverAddress, "hold");
  const second = exchange(server.serverAddress, "who\n");
  assertEquals(server.stats().active, 1);
  await first.release();
  assertEquals(await second, first.greeting);
  await until(() => server.stats().completed === 2);
  assertEquals(server.stats().peak, 1);
  await server.shutdown();
  await serving;
});

Deno.test("PoolTCPServer.serveForever() serves who came before it was called", async () => {
  await using server = makePool();
  const answers = [1, 2, 3, 4, 5].map(() => exchange(server.serverAddress, "echo\nhello\n"));
  using waiting = await connect(server.serverAddress); // is in the queue for certain
  await waiting.closeWrite();
  const serving = server.serveForever();
  assertEquals(await Promise.all(answers), new Array(5).fill("hello\n"));
  await server.shutdown();
  await serving;
});

Deno.test("PoolTCPServer.stats() sums over the Workers", async () => {
  await using server = makePool();
  assertEquals(server.stats(), {
    state: "idle",
    accepted: 0,
    active: 0,
    peak: 0,
    completed: 0,
    failed: 0,
    rejected: 0,
    aborted: 0,
    acceptErrors: {},
    workers: { spare: 0, busy: 0, starting: 0, poisoned: 0, started: 0 },
  });
  const serving = server.serveForever();
  await until(() => server.stats().workers!.spare === 2);
  await Promise.all(Array.from({ length: 20 }, () => exchange(server.serverAddress, "who\n")));
  await exchange(server.serverAddress, "fail\n");
  using held = await Client.start(server.serverAddress, "hold");
  await until(() => server.stats().completed + server.stats().failed === 21);
  const { accepted, active, completed, failed, state, workers } = server.stats();
  assertEquals({ accepted, active, completed, failed, state }, {
    accepted: 22,
    active: 1,
    completed: 20,
    failed: 1,
    state: "serving",
  });
  assertEquals(workers, { spare: 1, busy: 1, starting: 0, poisoned: 0, started: 2 });
  await held.release();
  await server.shutdown();
  await serving;
  await server.serverClose();
  assertEquals(server.stats().completed, 21); // which is known when it is closed
  assertEquals(server.stats().workers!.spare, 0);
});

Deno.test("PoolTCPServer.shutdown() is quick and serveForever() may be called again", async () => {
  await using server = makePool();
  const names = new Set<string>();
  let best = Infinity; // a busy machine may be slow once
  for (let round = 0; round < 5; round++) {
    const serving = server.serveForever();
    names.add(await exchange(server.serverAddress, "who\n"));
    const started = performance.now();
    await server.shutdown();
    best = Math.min(best, performance.now() - started);
    await serving;
    assertEquals(server.state, "idle");
  }
  assertLess(best, 50);
  assert(names.size <= 2, "the Workers stay");
  const answer = exchange(server.serverAddress, "echo\nlater\n");
  using waiting = await connect(server.serverAddress);
  await waiting.closeWrite();
  assertEquals(server.stats().accepted, 5);
  const serving = server.serveForever();
  assertEquals(await answer, "later\n");
  await server.shutdown();
  await serving;
});

Deno.test("PoolTCPServer.shutdown() waits for a request that has its Worker to itself", async () => {
  await using server = makePool({ workers: 1, maxConnectionsPerWorker: 1 });
  const serving = server.serveForever();
  using client = await Client.start(server.serverAddress, "hold");
  let isOver = false;
  const over = server.shutdown().then(() => isOver = true);
  using _ = await connect(server.serverAddress);
  assertEquals(isOver, false);
  assertEquals(await client.release(), " released");
  await over;
  await serving;
  assertEquals(server.stats().completed, 1);
});

Deno.test("PoolTCPServer.serveForever() ends when its signal is aborted", async () => {
  await using server = makePool();
  await server.serveForever({ signal: AbortSignal.abort() });
  const controller = new AbortController();
  const serving = server.serveForever({ signal: controller.signal });
  assertStringIncludes(await exchange(server.serverAddress, "echo\nhello\n"), "hello");
  controller.abort();
  await serving;
});

Deno.test("PoolTCPServer.serveForever() rejects when it serves already, and when it is closed", async () => {
  const server = makePool();
  const serving = server.serveForever();
  await assertRejects(() => server.serveForever(), Deno.errors.Busy, "serving already");
  await server.serverClose();
  await serving;
  await server.finished;
  assertEquals(server.state, "closed");
  await assertRejects(() => server.serveForever(), Deno.errors.BadResource, "is closed");
  await server.serverClose();
  assertEquals(await server.drain(), { completed: 0, aborted: 0 });
});

Deno.test("PoolTCPServer.serveForever() calls serviceActions(), and rejects with what that throws", async () => {
  class TickingServer extends PoolTCPServer {
    ticks = 0;
    override serviceActions(): void {
      if (++this.ticks === 3) throw new Error("enough");
    }
  }
  await using server = new TickingServer(LOOPBACK, PoolCommandHandler, { workers: 1 });
  await assertRejects(() => server.serveForever({ pollInterval: 1 }), Error, "enough");
  assertEquals(server.ticks, 3);
});

Deno.test("PoolTCPServer.serverClose() frees the port 100 times", async () => {
  let address: TCPAddr = LOOPBACK as TCPAddr;
  for (let round = 0; round < 100; round++) {
    const server = new PoolTCPServer(address, PoolCommandHandler, { workers: 2 });
    address = server.serverAddress;
    if (round % 25 === 0) {
      const serving = server.serveForever();
      assertEquals(await exchange(address, "echo\nhello\n"), "hello\n");
      await server.serverClose();
      await serving;
    } else {
      await server.serverClose();
    }
    Deno.listen(address).close();
  }
});

Deno.test("PoolTCPServer.serverClose() while Workers start frees the port", async () => {
  for (let round = 0; round < 5; round++) {
    const server = makePool();
    const serving = server.serveForever();
    await server.serverClose();
    await serving;
    Deno.listen(server.serverAddress).close();
  }
});

Deno.test("PoolTCPServer.serverClose() gives up on Workers that do not come up", async () => {
  using _times = withTimes(supervisorTimes, { closeLimit: 100 });
  class Slow extends PoolCommandHandler {
    static override readonly moduleUrl = "data:text/javascript,await new Promise(() => {})";
  }
  const logger = new ListLogger();
  const server = new PoolTCPServer(LOOPBACK, Slow, { workers: 2, logger });
  const serving = server.serveForever();
  assertEquals(server.stats().workers!.starting, 2);
  await server.serverClose();
  await serving;
  await server.finished;
  Deno.listen(server.serverAddress).close();
});

Deno.test("PoolTCPServer.serverClose() waits for the requests under way", async () => {
  const server = makePool();
  const serving = server.serveForever();
  using client = await Client.start(server.serverAddress, "hold");
  let isClosed = false;
  const closed = server.serverClose().then(() => isClosed = true);
  await serving;
  Deno.listen(server.serverAddress).close(); // the port is free already
  assertEquals(isClosed, false);
  assertEquals(await client.release(), " released");
  await closed;
  assertEquals(server.stats().completed, 1);
});

Deno.test("PoolTCPServer.serverClose() does not wait for requests with blockOnClose false", async () => {
  const server = makePool({ blockOnClose: false });
  const serving = server.serveForever();
  using client = await Client.start(server.serverAddress, "hold");
  await server.serverClose();
  await serving;
  assertEquals(await client.release(), " released");
  await server.finished;
});

Deno.test("PoolTCPServer.drain() serves who waits, and waits for who is served", async () => {
  const server = makePool({ workers: 1, maxConnectionsPerWorker: 1 });
  const serving = server.serveForever();
  using client = await Client.start(server.serverAddress, "hold");
  const answers = [1, 2, 3].map(() => exchange(server.serverAddress, "echo\nhello\n"));
  using waiting = await connect(server.serverAddress);
  await waiting.closeWrite();
  const drained = server.drain();
  assertEquals(server.state, "draining");
  assertEquals(await client.release(), " released");
  assertEquals(await Promise.all(answers), new Array(3).fill("hello\n"));
  assertEquals(await drained, { completed: 5, aborted: 0 });
  await serving;
  await server.finished;
});

Deno.test("PoolTCPServer.drain() serves who waits though nobody has served before", async () => {
  const server = makePool();
  const answer = exchange(server.serverAddress, "echo\nhello\n");
  using waiting = await connect(server.serverAddress);
  await waiting.closeWrite();
  await server.drain();
  assertEquals(await answer, "hello\n");
});

/** Resolves when another server may have an address. */
async function freed(address: TCPAddr): Promise<void> {
  await until(() => {
    try {
      Deno.listen(address).close();
      return true;
    } catch (error) {
      if (error instanceof Deno.errors.AddrInUse) return false;
      throw error;
    }
  }, 20_000);
}

for (const Server of [PoolTCPServer, PoolTLSServer]) {
  Deno.test(`fault 26: ${Server.name}.drain() frees the address at once, and what runs has its time`, async () => {
    const settings = { workers: 2, logger: new ListLogger(), cert: TLS.cert, key: TLS.key };
    const server: PoolTCPServer | PoolTLSServer = new Server(
      LOOPBACK,
      PoolCommandHandler,
      settings,
    );
    const address = server.serverAddress;
    const serving = server.serveForever();
    await until(() => server.stats().workers!.spare === 2); // a TLS pool resets who comes before
    using conn = Server === PoolTLSServer ? await connectTLS(address) : await connect(address);
    await conn.write(bytes("hold\n"));
    await until(() => server.stats().active === 1);
    await conn.read(new Uint8Array(100));
    const drained = server.drain({ timeout: 60_000 });
    await freed(address);
    await conn.write(bytes("\n"));
    assertEquals(text(await readAll(conn)), " released");
    assertEquals(await drained, { completed: 1, aborted: 0 });
    await serving;
    await server.finished;
  });
}

Deno.test("fault 26: PoolTCPServer.drain() stops accepting though two clients come each 10 ms", async () => {
  const server = makePool();
  const address = server.serverAddress;
  const serving = server.serveForever();
  await until(() => server.stats().workers!.spare === 2);
  using client = await Client.start(address, "hold");
  let isFreed = false;
  const deadline = performance.now() + 2 * PATIENCE;
  const traffic = [1, 2].map(async () => {
    while (!isFreed && performance.now() < deadline) {
      // One that comes while the listener closes may be reset, but none may be left without an end.
      const asked = exchange(address, "echo\nhello\n").catch((error) => {
        isFreed ||= error instanceof Deno.errors.ConnectionRefused;
      });
      let timer;
      const late = new Promise((resolve) => timer = setTimeout(resolve, PATIENCE, "late"));
      if (await Promise.race([asked, late]) === "late") throw new Error("nobody answers");
      clearTimeout(timer);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  });
  await until(() => server.stats().completed > 10);
  const drained = server.drain({ timeout: null });
  await Promise.all(traffic);
  assert(isFreed);
  assertEquals(await client.release(), " released");
  assertEquals((await drained).aborted, 0);
  await serving;
});

Deno.test("fault 26: PoolTCPServer.drain() serves who has come before its Workers are up", async () => {
  const server = makePool();
  const address = server.serverAddress;
  const clients = [await connect(address), await connect(address), await connect(address)];
  const serving = server.serveForever();
  const drained = server.drain();
  for (const conn of clients) assertEquals(await exchangeOn(conn, "echo\nhello\n"), "hello\n");
  assertEquals(await drained, { completed: 3, aborted: 0 });
  await serving;
});

Deno.test("PoolTCPServer.drain() starts Workers enough for all who wait, though not all at once", async () => {
  const workers = 3 * Math.max(4, navigator.hardwareConcurrency);
  const server = makePool({ workers, requestQueueSize: 20 });
  const clients = await Promise.all(
    Array.from({ length: 20 }, () => connect(server.serverAddress)),
  );
  const serving = server.serveForever();
  const drained = server.drain();
  const answers = await Promise.all(clients.map((conn) => exchangeOn(conn, "echo\nhello\n")));
  assertEquals(new Set(answers), new Set(["hello\n"]));
  assertEquals(await drained, { completed: 20, aborted: 0 });
  await serving;
});

Deno.test("fault 26: PoolTCPServer.drain() leaves the last listener to Workers, which accept until they close it", async () => {
  let hadOthers: boolean | undefined;
  class Watched extends PoolTCPServer {
    override closeSocket(): void {
      const { serverAddress } = this;
      super.closeSocket();
      try {
        Deno.listen(serverAddress).close();
        hadOthers ??= false;
      } catch (error) {
        assertInstanceOf(error, Deno.errors.AddrInUse);
        hadOthers ??= true;
      }
    }
  }
  const server = new Watched(LOOPBACK, PoolCommandHandler, {
    ...{ workers: 2, logger: new ListLogger() },
  });
  const serving = server.serveForever();
  assertEquals(await exchange(server.serverAddress, "echo\nhello\n"), "hello\n");
  await server.drain();
  await serving;
  assertEquals(hadOthers, true);
});

for (const Server of [PoolTCPServer, PoolTLSServer]) {
  for (const blockOnClose of [true, false]) {
    const how = blockOnClose ? "waits for what runs" : "waits for nobody";
    Deno.test(`fault 27: ${Server.name}.drain() cuts off what runs after a serverClose() that ${how}`, async () => {
      const settings = { workers: 2, logger: new ListLogger(), cert: TLS.cert, key: TLS.key };
      const server: PoolTCPServer | PoolTLSServer = new Server(
        LOOPBACK,
        PoolCommandHandler,
        { ...settings, blockOnClose },
      );
      const address = server.serverAddress;
      const serving = server.serveForever();
      await until(() => server.stats().workers!.spare === 2); // a TLS pool resets who comes before
      using conn = Server === PoolTLSServer ? await connectTLS(address) : await connect(address);
      await conn.write(bytes("hold\n"));
      await until(() => server.stats().active === 1);
      await conn.read(new Uint8Array(100));
      const closing = server.serverClose();
      if (!blockOnClose) await closing;
      const drained = server.drain({ timeout: null });
      assertEquals(await server.drain({ timeout: 30 }), { completed: 0, aborted: 1 });
      assertEquals(server.state, "closed");
      await readAll(conn).catch(() => {}); // the connection is closed
      assertEquals(await drained, { completed: 0, aborted: 1 });
      await closing;
      await serving;
      await server.finished;
    });
  }
}

Deno.test("fault 27: PoolTCPServer.drain() takes a shorter time limit after serverClose()", async () => {
  const server = makePool({ blockOnClose: false });
  const serving = server.serveForever();
  using _ = await Client.start(server.serverAddress, "hold");
  const drained = server.drain({ timeout: null });
  const closing = server.serverClose();
  assertEquals(await server.drain({ timeout: 30 }), { completed: 0, aborted: 1 });
  assertEquals(await drained, { completed: 0, aborted: 1 });
  await closing;
  await serving;
  await server.finished;
});

Deno.test("PoolTCPServer.drain() cuts off what is not over in time", async () => {
  for (const command of ["abort", "hang"]) {
    const server = makePool();
    const serving = server.serveForever();
    using client = await Client.start(server.serverAddress, command);
    assertEquals(await server.drain({ timeout: 10 }), { completed: 0, aborted: 1 });
    await client.rest();
    await serving;
    assertEquals(server.stats().aborted, 1);
    Deno.listen(server.serverAddress).close();
  }
});

Deno.test("PoolTCPServer.drain() takes a shorter time limit later", async () => {
  const server = makePool();
  const serving = server.serveForever();
  using _ = await Client.start(server.serverAddress, "abort");
  const first = server.drain({ timeout: null });
  assertEquals(await server.drain({ timeout: 1 }), { completed: 0, aborted: 1 });
  assertEquals(await first, { completed: 0, aborted: 1 });
  await serving;
});

Deno.test("PoolTCPServer constructor throws when the port is in use, also by a pool of this process", async () => {
  const before = openDescriptors();
  await using server = makePool();
  const address = server.serverAddress;
  const { port } = address;
  for (let round = 0; round < 100; round++) {
    assertThrows(
      () => new PoolTCPServer(address, PoolCommandHandler),
      Deno.errors.AddrInUse,
      `Cannot bind TCP server to "127.0.0.1:${port}": address already in use`,
    );
  }
  using plain = Deno.listen(LOOPBACK);
  assertThrows(
    () => new PoolTCPServer(plain.addr as TCPAddr, PoolCommandHandler),
    Deno.errors.AddrInUse,
  );
  await server.serverClose();
  plain.close();
  assert(openDescriptors() <= before + 1);
});

Deno.test("PoolTCPServer on port 0 has a queue of its own", async () => {
  await using first = makePool();
  await using second = makePool();
  const serving = first.serveForever();
  const others = second.serveForever();
  assert(first.serverAddress.port !== second.serverAddress.port);
  for (let left = 20; left > 0; left--) await exchange(first.serverAddress, "who\n");
  await until(() => first.stats().completed === 20);
  assertEquals(second.stats().accepted, 0);
  await Promise.all([first.shutdown(), second.shutdown()]);
  await Promise.all([serving, others]);
});

Deno.test("PoolTCPServer takes settings by class, option and instance", async () => {
  class BigPool extends PoolTCPServer {
    static override workers = 5;
    static override maxConnectionsPerWorker = 7;
    static override requestTimeout = 1000;
  }
  const options = { bindAndActivate: false };
  await using server = new BigPool(LOOPBACK, PoolCommandHandler, { ...options, workers: 6 });
  assertEquals([server.workers, server.maxConnectionsPerWorker], [6, 7]);
  assertEquals([server.maxConnections, server.requestTimeout], [42, 1000]);
  server.workers = 1;
  server.requestTimeout = null;
  assertThrows(() => server.workers = 0, RangeError, "'workers'");
  await using usual = new PoolTCPServer(LOOPBACK, PoolCommandHandler, options);
  assertEquals(usual.workers, navigator.hardwareConcurrency);
  assertEquals([usual.maxConnectionsPerWorker, usual.blockOnClose], [1024, true]);
  await assertRejects(() => usual.serveForever(), Deno.errors.BadResource, "it is not bound");
  server.serverBind();
  server.serverActivate();
  const serving = server.serveForever();
  await exchange(server.serverAddress, "who\n");
  assertEquals(server.stats().workers!.started, 1);
  await server.shutdown();
  await serving;
  server.workers = 3;
  const again = server.serveForever();
  await until(() => server.stats().workers!.started === 3);
  await server.shutdown();
  await again;
  server.workers = 1;
  const less = server.serveForever();
  await until(() => server.stats().workers!.spare === 1);
  await server.shutdown();
  await less;
});

Deno.test("PoolTCPServer loses no client when there are to be fewer Workers", async () => {
  await using server = makePool();
  const serving = server.serveForever();
  let isOver = false;
  const ask = async () => {
    for (let n = 0; !isOver; n++) {
      assertEquals(await exchange(server.serverAddress, `echo\n${n}\n`), `${n}\n`);
    }
  };
  const clients = Promise.all([ask(), ask(), ask(), ask()]);
  clients.catch(() => {}); // it is awaited at the end
  const workers = () => server.stats().workers!.spare + server.stats().workers!.busy;
  for (let n = 0; n < 4; n++) {
    server.workers = 3;
    await until(() => workers() === 3);
    server.workers = 1;
    await until(() => workers() === 1);
  }
  isOver = true;
  await clients;
  assertLess(server.stats().peak, 3 * 4 + 1); // of three Workers, each of which may have had all clients
  await server.shutdown();
  await serving;
});

Deno.test("PoolTCPServer constructor refuses what it cannot do", () => {
  const make = (options: object) => () => new PoolTCPServer(LOOPBACK, PoolCommandHandler, options);
  assertThrows(make({ workers: 0 }), RangeError, "'workers'");
  assertThrows(make({ workers: "2" }), TypeError, "'workers'");
  assertThrows(make({ maxConnectionsPerWorker: 0 }), RangeError, "'maxConnectionsPerWorker'");
  assertThrows(make({ requestTimeout: 0 }), RangeError, "'requestTimeout'");
  assertThrows(make({ maxConnections: 5 }), TypeError, "'maxConnections'");
  assertThrows(make({ maxConnectionsPerSource: 5 }), TypeError, "'maxConnectionsPerSource'");
  assertThrows(make({ maxThreads: 5 }), TypeError, "'maxThreads'");
  assertThrows(make({ allowReusePort: true }), TypeError, "share one queue");
  assertThrows(
    // @ts-expect-error: the types refuse it, too
    () => new PoolTCPServer(LOOPBACK, () => {}),
    TypeError,
    "Cannot use a function as request handler of PoolTCPServer",
  );
  class Homeless extends PoolCommandHandler {}
  assertThrows(() => new PoolTCPServer(LOOPBACK, Homeless), TypeError, "'static override readonly");
  class OwnStep extends PoolTCPServer {
    override async finishRequest(request: StreamSocket): Promise<void> {
      await request.sendAll("mine");
    }
  }
  assertThrows(
    () => new OwnStep(LOOPBACK, PoolCommandHandler),
    TypeError,
    "Cannot use own finishRequest() with OwnStep: its Workers do that; use a server with ThreadingMixIn",
  );
});

Deno.test("fault 34: a pool says what is wrong with a setting that is a field, and drains all the same", async () => {
  for (const value of [Symbol("queue"), -1, NaN, "5", { valueOf: () => 5 }]) {
    const server = makePool();
    Object.defineProperty(server, "requestQueueSize", { value });
    await assertRejects(
      () => server.serveForever({ signal: AbortSignal.abort() }),
      Error,
      "Cannot use option 'requestQueueSize'",
    );
    assertEquals(await server.drain(), { completed: 0, aborted: 0 });
    await server.finished;
  }
});

Deno.test("fault 11: PoolTCPServer refuses to serve with a step that is a field", async () => {
  const steps = ["getRequest", "processRequest", "prepareRequest", "finishRequest"] as const;
  for (const step of [...steps, "shutdownRequest", "closeRequest"] as const) {
    const server = makePool();
    Object.defineProperty(server, step, { value: () => {} });
    await assertRejects(
      () => server.serveForever({ signal: AbortSignal.abort() }),
      TypeError,
      `Cannot use own ${step}() with PoolTCPServer: its Workers do that`,
    );
    await server.serverClose();
  }
});

Deno.test("PoolTCPServer.handleRequest() and getRequest() say what to do instead", async () => {
  await using server = makePool();
  await assertRejects(() => server.handleRequest(), Deno.errors.NotSupported, "use serveForever()");
  await assertRejects(() => server.getRequest(), Deno.errors.NotSupported, "Workers");
});

for (const [command, how] of [["crash", "crashed"], ["exit", "it exited with code 3"]] as const) {
  Deno.test(`PoolTCPServer tells of a Worker that dies while it drains, as by "${command}"`, async () => {
    const logger = new ListLogger();
    await using server = makePool({ workers: 1, logger });
    const serving = server.serveForever();
    using client = await Client.start(server.serverAddress, "next");
    const drained = server.drain();
    assertEquals(server.state, "draining");
    await client.release(command);
    await drained;
    await serving;
    assertMatch(logger.lines.join("\n"), new RegExp(`error: Worker "Pool-\\d+" died: .*${how}`));
  });
}

Deno.test("PoolTCPServer replaces a Worker that dies, and its clients see the end", async () => {
  const logger = new ListLogger();
  await using server = makePool({ workers: 2, logger });
  const serving = server.serveForever();
  let deaths = 0;
  for (const command of ["exit", "close", "crash"]) {
    await until(() => server.stats().workers!.spare === 2);
    using bystander = await Client.start(server.serverAddress, "hold");
    using client = await Client.start(server.serverAddress, command);
    await client.rest();
    deaths++;
    await until(() => server.stats().workers!.started === 2 + deaths);
    await until(() => server.stats().workers!.busy + server.stats().workers!.spare === 2);
    bystander[Symbol.dispose]();
    await until(() => server.stats().active === 0);
  }
  assertEquals(await exchange(server.serverAddress, "echo\nhello\n"), "hello\n");
  assertMatch(
    logger.lines.join("\n"),
    /error: Worker "Pool-\d+" died: Error: it exited with code 3/,
  );
  assertMatch(logger.lines.join("\n"), /Worker "Pool-\d+" died: .*crashed/);
  await server.shutdown();
  await serving;
  await server.serverClose();
  Deno.listen(server.serverAddress).close();
  const { accepted, completed, failed } = server.stats();
  assertEquals(accepted, completed + failed);
});

Deno.test("PoolTCPServer.serveForever() rejects after three failed starts, with the first error", async () => {
  const { moduleUrl } = PoolCommandHandler;
  class NotExported extends PoolCommandHandler {
    static override readonly moduleUrl = moduleUrl;
  }
  class Throwing extends PoolCommandHandler {
    static override readonly moduleUrl = "data:text/javascript,throw new Error('not today')";
  }
  class Missing extends PoolCommandHandler {
    static override readonly moduleUrl = new URL("no_such_file.ts", import.meta.url).href;
  }
  const cases: [typeof PoolCommandHandler, string][] = [
    [NotExported, "it exports no handler class of that name"],
    [Throwing, "not today"],
    [Missing, "importing it failed"],
  ];
  for (const [Handler, reason] of cases) {
    const logger = new ListLogger();
    await using server = new PoolTCPServer(LOOPBACK, Handler, { workers: 3, logger });
    const error = await assertRejects(() => server.serveForever(), HandlerLoadError, reason);
    assertEquals(error.moduleUrl, Handler.moduleUrl);
    assertEquals(server.state, "idle");
    assertEquals(logger.lines.length, 2, logger.lines.join("\n"));
    for (const line of logger.lines) {
      assertMatch(
        line,
        /^error: Cannot keep Worker ready: Cannot load handler .*$/,
      );
    }
    await assertRejects(() => server.serveForever(), HandlerLoadError, reason);
  }
});

Deno.test("PoolTCPServer.serveForever() rejects when the handler's module starts a server", async () => {
  const path = `${tempFolder()}/unguarded.ts`;
  const source = new URL("../../src/servers/ready_made.ts", import.meta.url).href;
  const handlers = new URL("./pool_handlers.ts", import.meta.url).href;
  await Deno.writeTextFile(
    path,
    `
    import { PoolTCPServer } from "${source}";
    import { PoolCommandHandler } from "${handlers}";
    export class Unguarded extends PoolCommandHandler {
      static moduleUrl = import.meta.url;
    }
    await new PoolTCPServer({ hostname: "127.0.0.1", port: 0 }, Unguarded).serveForever();
  `,
  );
  class Unguarded extends PoolCommandHandler {
    static override readonly moduleUrl = `file://${path}`;
  }
  const logger = new ListLogger();
  await using server = new PoolTCPServer(LOOPBACK, Unguarded, { workers: 2, logger });
  await assertRejects(() => server.serveForever(), HandlerLoadError, "import.meta.main");
});

Deno.test("PoolTCPServer.serveForever() rejects with a handler's ServerExit", async () => {
  await using server = makePool();
  const serving = assertRejects(() => server.serveForever(), ServerExit);
  assertEquals(await exchange(server.serverAddress, "leave\n"), "");
  assertEquals((await serving).code, 7);
  assertEquals(server.state, "idle");
  const again = server.serveForever();
  assertEquals(await exchange(server.serverAddress, "echo\nhello\n"), "hello\n");
  await server.shutdown();
  await again;
});

for (const name of ["maxConnectionsPerWorker", "workers"] as const) {
  Deno.test(`fault 28: raising ${name} of a PoolTCPServer admits who waits, and lowering it cuts nobody off`, async () => {
    const server = makePool({ workers: 1, maxConnectionsPerWorker: 1 });
    const serving = server.serveForever();
    const first = await Client.start(server.serverAddress, "hold");
    const waiting = Client.start(server.serverAddress, "hold");
    assertEquals(await settlesWithin(waiting, 100), false); // as ever, until the limit is raised
    server[name] = 2;
    const second = await waiting; // which the first would keep waiting
    assertEquals(server.stats().active, 2);
    server[name] = 1;
    for (const client of [first, second]) {
      assertEquals(await client.release(), " released");
      client[Symbol.dispose]();
    }
    await until(() => server.stats().workers!.spare === 1 && server.stats().active === 0);
    assertEquals(await exchange(server.serverAddress, "echo\nhello\n"), "hello\n");
    server[name] = 2;
    await until(() => server.stats().workers!.spare === server.workers);
    await server.shutdown();
    await serving;
    await server.serverClose();
    assertEquals((server.logger as ListLogger).lines, []);
  });
}

Deno.test("fault 28: PoolTCPServer.requestTimeout holds from when it is set", async () => {
  const server = makePool({ workers: 1 });
  const serving = server.serveForever();
  using first = await Client.start(server.serverAddress, "hold");
  server.requestTimeout = 20;
  await until(() => server.stats().active === 1);
  using second = await Client.start(server.serverAddress, "abort");
  assertEquals(await second.rest(), "");
  assertEquals(await first.release(), " released");
  await server.shutdown();
  await serving;
  await server.serverClose();
});

Deno.test("PoolTCPServer calls verifyRequest() and handleError() of a subclass in the main isolate", async () => {
  class AskingServer extends PoolTCPServer {
    verified: TCPAddr[] = [];
    errors: unknown[] = [];
    isOpen = true;
    fault: Error | null = null;
    override async verifyRequest(request: StreamSocket, clientAddress: TCPAddr): Promise<boolean> {
      assertEquals(request.remoteAddr, clientAddress);
      assertEquals(request.localAddr, this.serverAddress);
      await assertRejects(() => request.recv(), Deno.errors.NotSupported, "a Worker has it");
      this.verified.push(clientAddress);
      if (this.fault !== null) throw this.fault;
      return this.isOpen;
    }
    override handleError(error: unknown, _request: StreamSocket, _clientAddress: TCPAddr): void {
      this.errors.push(error);
    }
  }
  await using server = new AskingServer(LOOPBACK, PoolCommandHandler, { workers: 2 });
  const serving = server.serveForever();
  const conn = await connect(server.serverAddress);
  const local = conn.localAddr;
  assertEquals(await exchangeOn(conn, "echo\nhello\n"), "hello\n");
  assertEquals(server.verified, [local as TCPAddr]);
  await exchange(server.serverAddress, "fail\n");
  await until(() => server.stats().failed === 1);
  const [error] = server.errors;
  assertInstanceOf(error, RangeError);
  assertEquals(error.message, "no such thing");
  assertInstanceOf(error.cause, TypeError);
  server.fault = new Deno.errors.PermissionDenied("not you");
  assertEquals(await exchange(server.serverAddress, "").catch(() => ""), "");
  await until(() => server.errors.length === 2);
  assertInstanceOf(server.errors[1], Deno.errors.PermissionDenied);
  server.fault = null;
  server.isOpen = false;
  assertEquals(await exchange(server.serverAddress, "").catch(() => ""), "");
  await until(() => server.stats().rejected === 2);
  await server.shutdown();
  await serving;
});

Deno.test("PoolTCPServer.shutdown() and drain() may be awaited inside hooks", async () => {
  for (const method of ["shutdown", "drain", "serverClose"] as const) {
    class StoppingServer extends PoolTCPServer {
      override async verifyRequest(): Promise<boolean> {
        await this[method]();
        return true;
      }
    }
    const options = { workers: 2, maxConnectionsPerWorker: 1 };
    const server = new StoppingServer(LOOPBACK, PoolCommandHandler, options);
    const serving = server.serveForever();
    assertEquals(await exchange(server.serverAddress, "echo\nhello\n"), "hello\n");
    await serving;
    await server.drain();
    await server.finished;
  }
});

Deno.test("PoolTCPServer logs to its logger what happens in Workers", async () => {
  const logger = new ListLogger();
  await using server = makePool({ logger });
  const serving = server.serveForever();
  await exchange(server.serverAddress, "fail\n");
  await until(() => logger.lines.length > 0);
  assertMatch(
    logger.lines.join(),
    /^error: Cannot serve client "127.0.0.1:\d+": RangeError: no such/,
  );
  await server.shutdown();
  await serving;
});

Deno.test("PoolTCPServer gives handlers a view of the server, with its context", async () => {
  const logger = new ListLogger();
  class ContextServer extends PoolTCPServer {
    motto: unknown = new Map([["say", "hello"]]);
    override requestContext(): unknown {
      return this.motto;
    }
  }
  await using server = new ContextServer(LOOPBACK, PoolCommandHandler, { workers: 1, logger });
  const serving = server.serveForever();
  assertEquals(
    await exchange(server.serverAddress, "describe\n"),
    Deno.inspect([server.serverAddress, server.motto, false]),
  );
  await exchange(server.serverAddress, "shutdown\n");
  await until(() => logger.lines.length > 0);
  assertStringIncludes(logger.lines[0]!, "Cannot use 'server.shutdown' in a Worker");
  await server.shutdown();
  await serving;
  server.motto = () => {};
  await assertRejects(() => server.serveForever(), DOMException, "could not be cloned");
  const useless = new ContextServer(LOOPBACK, PoolCommandHandler, { workers: 1, logger });
  useless.motto = server.motto;
  assertEquals(await useless.drain(), { completed: 0, aborted: 0 });
  assertMatch(logger.lines.at(-1)!, /Cannot serve clients that wait: .*could not be cloned/s);
  assertEquals(useless.state, "closed");
  useless.motto = null;
  server.motto = "again";
  const again = server.serveForever();
  assertStringIncludes(await exchange(server.serverAddress, "describe\n"), `"again"`);
  await server.shutdown();
  await again;
});

Deno.test("PoolTCPServer cuts off a request that takes longer than requestTimeout", async () => {
  const logger = new ListLogger();
  await using server = makePool({
    workers: 1,
    maxConnectionsPerWorker: 1,
    requestTimeout: 20,
    logger,
  });
  const serving = server.serveForever();
  for (const command of ["abort", "hang"]) {
    using client = await Client.start(server.serverAddress, command);
    await client.rest();
  }
  assertEquals(await exchange(server.serverAddress, "echo\nhello\n"), "hello\n");
  await until(() => server.stats().aborted === 2);
  assertStringIncludes(logger.lines[0]!, "'requestTimeout'");
  await server.shutdown();
  await serving;
});

Deno.test("PoolTCPServer serves others while a handler computes", async () => {
  await using server = makePool({ workers: 2, maxConnectionsPerWorker: 1 });
  const serving = server.serveForever();
  await until(() => server.stats().workers!.spare === 2);
  using client = await Client.start(server.serverAddress, "compute");
  for (let left = 5; left > 0; left--) {
    assertEquals(await exchange(server.serverAddress, "echo\nhello\n"), "hello\n");
  }
  await until(() => server.stats().completed === 5);
  assertEquals(server.stats().active, 1);
  assertEquals(await client.rest(), "");
  await server.shutdown();
  await serving;
});

Deno.test("PoolTCPServer.serverClose() and drain() end though a handler never stops computing", async () => {
  const source = new URL("../../src/servers/ready_made.ts", import.meta.url).href;
  const handlers = new URL("./pool_handlers.ts", import.meta.url).href;
  const times = new URL("../../src/pool/pool_supervisor.ts", import.meta.url).href;
  const program = `
    import { PoolTCPServer } from "${source}";
    import { PoolCommandHandler } from "${handlers}";
    import { supervisorTimes } from "${times}";
    Object.assign(supervisorTimes, { closeLimit: 200, drainGrace: 100 });
    const lines: string[] = [];
    const log = (line: string) => void lines.push(line);
    const logger = { debug: log, info: log, warn: log, error: log };
    const address = { hostname: "127.0.0.1", port: 0 };
    for (const method of ["drain", "serverClose"] as const) {
      const options = { workers: 1, blockOnClose: false, logger };
      const server = new PoolTCPServer(address, PoolCommandHandler, options);
      const serving = server.serveForever();
      const conn = await Deno.connect(server.serverAddress);
      await conn.write(new TextEncoder().encode("compute for ever\\n"));
      await conn.read(new Uint8Array(10));
      console.log(JSON.stringify(await server[method]({ timeout: 1 }) ?? lines));
      await serving;
      console.log(server.state, server.stats().workers!.poisoned);
    }
    Deno.exit();
  `;
  const { code, stdout, stderr } = await runProgram(program, {});
  assertEquals(code, 0, stderr);
  const lines = stdout.trim().split("\n");
  assertEquals(lines.slice(0, 2), [`{"completed":0,"aborted":1}`, "closed 1"]);
  assertMatch(lines[2]!, /Cannot free \\"127.0.0.1:\d+\\" yet: a Worker does not pause/);
  assertEquals(lines[3], "closed 0");
});

Deno.test("PoolTLSServer serves over TLS, in all Workers", async () => {
  const { cert, key } = TLS;
  const options = { workers: 2, cert, key, logger: new ListLogger() };
  const server = new PoolTLSServer(LOOPBACK, PoolCommandHandler, options);
  const address = server.serverAddress;
  const serving = server.serveForever();
  await until(() => server.stats().workers!.spare === 2);
  assertEquals(await exchangeOn(await connectTLS(address), "echo\nhello\n"), "hello\n");
  const names = new Set<string>();
  while (names.size < 2) names.add(await exchangeOn(await connectTLS(address), "who\n"));
  await server.shutdown();
  await serving;
  await server.serverClose();
  Deno.listen(address).close();
  assertEquals(server.kind, "TLS server");
});

Deno.test("PoolTLSServer constructor checks certificate, key and port as TLSServer does", async () => {
  const { cert, key } = TLS;
  const make = (options: object) => () =>
    new PoolTLSServer(LOOPBACK, PoolCommandHandler, { cert, key, ...options });
  assertThrows(make({ cert: "none" }), TypeError, "'cert'");
  assertThrows(make({ key: "none" }), TypeError, "'key'");
  assertThrows(make({ handshakeTimeout: 0 }), RangeError, "'handshakeTimeout'");
  await using taken = new TCPServer(LOOPBACK, () => {});
  assertThrows(
    () => new PoolTLSServer(taken.serverAddress, PoolCommandHandler, { cert, key }),
    Deno.errors.AddrInUse,
    "Cannot bind TLS server",
  );
});

Deno.test("PoolTCPServer gives each Worker a port of its own where Deno shares no queue", async () => {
  const { listen } = Deno;
  const older = (options: Deno.ListenOptions & { loadBalanced?: boolean }) => {
    const { loadBalanced: _, ...known } = options;
    return listen(known);
  };
  Object.defineProperty(Deno, "listen", { value: older, configurable: true, writable: true });
  try {
    const server = makePool();
    const serving = server.serveForever();
    await until(() => server.stats().workers!.spare === 2);
    const names = new Set<string>();
    while (names.size < 2) names.add(await exchange(server.serverAddress, "who\n"));
    await server.shutdown();
    await serving;
    const again = server.serveForever();
    assertEquals(await exchange(server.serverAddress, "echo\nhello\n"), "hello\n");
    await server.drain();
    await again;
    listen(server.serverAddress).close();
  } finally {
    Object.defineProperty(Deno, "listen", { value: listen, configurable: true, writable: true });
  }
});

Deno.test("PoolTCPServer replaces a Worker whose loop has failed, and goes on with the others", async () => {
  const logger = new ListLogger();
  await using server = makePool({ logger });
  let isServing = true;
  const serving = server.serveForever().finally(() => isServing = false);
  (await Client.start(server.serverAddress, "patch then"))[Symbol.dispose]();
  // It fails when the next client comes to it.
  while (!logger.lines.some((line) => /died: .*patched/.test(line))) {
    (await connect(server.serverAddress)).close();
    await delay(10);
  }
  await until(() => server.stats().workers!.started === 3);
  for (let n = 0; n < 4; n++) {
    assertEquals(await exchange(server.serverAddress, "echo\nhello\n"), "hello\n");
  }
  assert(isServing);
  await server.drain();
  await serving;
});

Deno.test("PoolTCPServer.drain() ends a Worker that fails at it", async () => {
  await using server = makePool({ workers: 1 });
  const serving = server.serveForever();
  (await Client.start(server.serverAddress, "patch timers"))[Symbol.dispose]();
  await server.drain({ timeout: 500 });
  await serving;
  await server.finished;
});

for (const method of ["shutdown", "drain", "serverClose"] as const) {
  Deno.test(`PoolTCPServer.serviceActions() may await ${method}()`, async () => {
    class EndingServer extends PoolTCPServer {
      override async serviceActions(): Promise<void> {
        await this[method]();
      }
    }
    const settings = { workers: 1, logger: new ListLogger() };
    await using server = new EndingServer(LOOPBACK, PoolCommandHandler, settings);
    await server.serveForever({ pollInterval: 50 });
    await server.drain();
    assertEquals(server.state, "closed");
  });
}
