/**
 * What is particular to TCP: addresses, settings, binding, closing, and how a connection ends.
 *
 * @module
 */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertLess,
  assertNotEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { type StreamSocket, TCPServer } from "@netkit/socketserver";
import {
  bytes,
  connect,
  exchange,
  ListLogger,
  LOOPBACK,
  openDescriptors,
  readAll,
  start,
  text,
  until,
  writeAll,
} from "../harness.ts";

const nothing = () => {};

/** Fails when `attempts` tries have left descriptors open; a few may be Deno's own. */
function assertNoLeak(attempt: () => void, attempts: number): void {
  const descriptors = openDescriptors();
  for (let n = 0; n < attempts; n++) attempt();
  assertLess(openDescriptors(), descriptors + attempts / 10);
}

/** Sends back what the client sent. */
async function echo(request: StreamSocket): Promise<void> {
  for (let data = await request.recv(); data.length > 0; data = await request.recv()) {
    await request.sendAll(data);
  }
}

/** Gives back the error that `make` throws. */
function thrownBy(make: () => TCPServer): Error {
  try {
    make();
  } catch (error) {
    assertInstanceOf(error, Error);
    return error;
  }
  throw new Error("nothing was thrown");
}

Deno.test("TCPServer() listens on a free port when the port is 0 and reports it in serverAddress", async () => {
  await using one = new TCPServer(LOOPBACK, nothing);
  await using two = new TCPServer(LOOPBACK, nothing);
  assertEquals(one.serverAddress.transport, "tcp");
  assertEquals(one.serverAddress.hostname, "127.0.0.1");
  assert(one.serverAddress.port > 0);
  assertNotEquals(one.serverAddress.port, two.serverAddress.port);
  assertEquals(one.serverAddress as Deno.Addr, one.socket.addr);
});

Deno.test("TCPServer.handleError() has a debug line for a handler that closed its connection under a read", async () => {
  const logger = new ListLogger();
  const leave = async (request: StreamSocket) => {
    const reading = request.recv();
    request.close();
    await reading;
  };
  await using started = start(new TCPServer(LOOPBACK, leave, { logger }));
  using conn = await connect(started.server.serverAddress);
  await readAll(conn);
  await until(() => started.server.stats().failed === 1);
  assertEquals(logger.lines.length, 1);
  assertStringIncludes(logger.lines[0]!, "debug: Connection of client ");
});

Deno.test("TCPServer() listens on every interface when the host name is empty", async () => {
  const server = new TCPServer({ hostname: "", port: 0 }, echo);
  await using _ = start(server);
  assertEquals(server.serverAddress.hostname, "0.0.0.0");
  const { port } = server.serverAddress;
  assertEquals(await exchange({ transport: "tcp", hostname: "127.0.0.1", port }, "hi"), "hi");
});

Deno.test("TCPServer() resolves a host name when it binds", async () => {
  const server = new TCPServer({ hostname: "localhost", port: 0 }, echo);
  await using _ = start(server);
  assert(["127.0.0.1", "::1"].includes(server.serverAddress.hostname));
  assertEquals(await exchange(server.serverAddress, "hi"), "hi");
});

Deno.test("TCPServer() serves IPv6 when the address is one", async () => {
  const server = new TCPServer({ hostname: "::1", port: 0 }, echo);
  await using _ = start(server);
  assertEquals(server.addressFamily, "AF_INET6");
  assertEquals(await exchange(server.serverAddress, "hi"), "hi");
});

Deno.test("TCPServer.addressFamily and socketType name the socket's kind", async () => {
  await using server = new TCPServer(LOOPBACK, nothing);
  assertEquals([server.addressFamily, server.socketType], ["AF_INET", "SOCK_STREAM"]);
});

Deno.test("TCPServer() throws TypeError when the address is none", () => {
  for (const address of [null, undefined, {}, { port: 0 }, { hostname: "::1", port: "80" }]) {
    assertThrows(() => new TCPServer(address as never, nothing), TypeError, "Cannot use address");
  }
});

Deno.test("TCPServer() throws RangeError when the port is out of range, 1,024 times without a leak", () => {
  const construct = () => new TCPServer({ hostname: "127.0.0.1", port: -1 }, nothing);
  assertNoLeak(() => assertThrows(construct, RangeError, "-1"), 1024);
  for (const port of [65536, 1.5, NaN]) {
    assertThrows(() => new TCPServer({ hostname: "127.0.0.1", port }, nothing), RangeError);
  }
});

Deno.test("TCPServer() throws AddrInUse when the port is taken, 1,000 times without a leak", async () => {
  await using owner = new TCPServer(LOOPBACK, nothing);
  const construct = () => new TCPServer(owner.serverAddress, nothing);
  assertNoLeak(() => assertThrows(construct, Deno.errors.AddrInUse), 1000);
});

Deno.test("TCPServer() names the address and what to do when it cannot bind", async () => {
  await using owner = new TCPServer(LOOPBACK, nothing);
  const { port } = owner.serverAddress;
  const inUse = thrownBy(() => new TCPServer(owner.serverAddress, nothing));
  assertStringIncludes(inUse.message, `Cannot bind TCP server to "127.0.0.1:${port}"`);
  assertStringIncludes(inUse.message, "address already in use");
  assertInstanceOf(inUse.cause, Deno.errors.AddrInUse);
  const elsewhere = thrownBy(() => new TCPServer({ hostname: "192.0.2.1", port: 0 }, nothing));
  assertInstanceOf(elsewhere, Deno.errors.AddrNotAvailable);
  assertStringIncludes(elsewhere.message, "192.0.2.1:0");
  const unknown = thrownBy(() => new TCPServer({ hostname: "no-host.invalid", port: 0 }, nothing));
  assertStringIncludes(unknown.message, "host not found");
});

Deno.test("TCPServer() closes the listener when serverActivate() fails", () => {
  class Failing extends TCPServer {
    override serverActivate(): void {
      throw new Error("activation");
    }
  }
  const construct = () => new Failing(LOOPBACK, nothing);
  assertNoLeak(() => assertThrows(construct, Error, "activation"), 100);
});

Deno.test("TCPServer() calls serverBind() then serverActivate(), once each", async () => {
  const calls: string[] = [];
  class Traced extends TCPServer {
    override serverBind(): void {
      calls.push("serverBind");
      super.serverBind();
    }
    override serverActivate(): void {
      calls.push("serverActivate");
      super.serverActivate();
    }
  }
  await using _ = new Traced(LOOPBACK, nothing);
  assertEquals(calls, ["serverBind", "serverActivate"]);
});

Deno.test("TCPServer() opens nothing when bindAndActivate is false, until serverBind()", async () => {
  const server = new TCPServer(LOOPBACK, echo, { bindAndActivate: false });
  assertEquals(server.socket, undefined as unknown);
  assertEquals(server.serverAddress.port, 0);
  server.requestQueueSize = 7;
  server.serverBind();
  server.serverActivate();
  await using _ = start(server);
  assert(server.serverAddress.port > 0);
  assertEquals(await exchange(server.serverAddress, "hi"), "hi");
});

Deno.test("TCPServer.serverClose() closes a server that was never bound", async () => {
  const server = new TCPServer(LOOPBACK, nothing, { bindAndActivate: false });
  await server.serverClose();
  await server.finished;
  assertEquals(server.state, "closed");
});

Deno.test("TCPServer.requestQueueSize limits how many clients can wait", async () => {
  await using server = new TCPServer(LOOPBACK, nothing, { requestQueueSize: 1 });
  const clients = Array.from({ length: 8 }, () => {
    const controller = new AbortController();
    const { hostname, port } = server.serverAddress;
    const connecting = Deno.connect({ hostname, port, signal: controller.signal });
    return { controller, connecting };
  });
  let connected = 0;
  for (const { connecting } of clients) connecting.then(() => connected++, nothing);
  await until(() => connected === 2); // Linux lets in one more than the backlog
  await new Promise((resolve) => setTimeout(resolve, 50));
  assertEquals(connected, 2);
  for (const { controller, connecting } of clients) {
    controller.abort();
    await connecting.then((conn) => conn.close(), nothing);
  }
});

Deno.test("TCPServer settings come from the class, the options and the instance, later ones winning", async () => {
  class Busy extends TCPServer {
    static override requestQueueSize = 1024;
    static override allowReusePort = true;
  }
  await using byDefault = new TCPServer(LOOPBACK, nothing);
  await using byClass = new Busy(LOOPBACK, nothing);
  await using byOption = new Busy(LOOPBACK, nothing, {
    requestQueueSize: 16,
    allowReusePort: false,
  });
  const settings = [byDefault, byClass, byOption].map((server) => [
    server.requestQueueSize,
    server.allowReusePort,
    server.allowReuseAddress,
  ]);
  assertEquals(settings, [[511, false, true], [1024, true, true], [16, false, true]]);
});

Deno.test("TCPServer() refuses settings that it cannot have", () => {
  assertThrows(
    () => new TCPServer(LOOPBACK, nothing, { allowReuseAddress: false }),
    TypeError,
    "allowReuseAddress",
  );
  for (const requestQueueSize of [0, -1, 1.5, 65536]) {
    assertThrows(
      () => new TCPServer(LOOPBACK, nothing, { requestQueueSize }),
      RangeError,
      "requestQueueSize",
    );
  }
  assertThrows(
    () => new TCPServer(LOOPBACK, nothing, { requestQueueSize: "5" as never }),
    TypeError,
    "requestQueueSize",
  );
});

Deno.test("TCPServer.serverBind() checks settings that were set on the instance", () => {
  const server = new TCPServer(LOOPBACK, nothing, { bindAndActivate: false });
  server.allowReuseAddress = false;
  assertThrows(() => server.serverBind(), TypeError, "allowReuseAddress");
});

Deno.test("TCPServer.allowReusePort lets two servers share a port", async () => {
  const options = { allowReusePort: true };
  await using one = new TCPServer(LOOPBACK, nothing, options);
  await using two = new TCPServer(one.serverAddress, nothing, options);
  assertEquals(one.serverAddress, two.serverAddress);
});

Deno.test("TCPServer.serverClose() frees the port before it resolves, 100 times", async () => {
  let server = new TCPServer(LOOPBACK, echo);
  const address = server.serverAddress;
  for (let round = 0; round < 100; round++) {
    const serving = server.serveForever();
    assertEquals(await exchange(address, "hi"), "hi");
    await server.serverClose();
    await serving;
    server = new TCPServer(address, echo);
  }
  await server.serverClose();
});

Deno.test("TCPServer.serverClose() frees the port when a timed-out handleRequest() has left an accept", async () => {
  let server = new TCPServer(LOOPBACK, nothing, { timeout: 0 });
  const address = server.serverAddress;
  for (let round = 0; round < 100; round++) {
    await server.handleRequest();
    await server.serverClose();
    server = new TCPServer(address, nothing, { timeout: 0 });
  }
  await server.serverClose();
});

Deno.test("TCPServer.drain() frees the port before it resolves", async () => {
  let server = new TCPServer(LOOPBACK, echo);
  const address = server.serverAddress;
  for (let round = 0; round < 10; round++) {
    const serving = server.serveForever();
    assertEquals(await exchange(address, "hi"), "hi");
    await server.drain();
    await serving;
    server = new TCPServer(address, echo);
  }
  await server.serverClose();
});

Deno.test("TCPServer.serverClose() resets the clients that wait in the queue", async () => {
  const server = new TCPServer(LOOPBACK, nothing);
  using client = await connect(server.serverAddress);
  await server.serverClose();
  await assertRejects(() => readAll(client), Deno.errors.ConnectionReset);
});

Deno.test("TCPServer.getRequest() gives the connection and the client's address", async () => {
  let address: unknown;
  const server = new TCPServer(
    LOOPBACK,
    (_request, clientAddress) => void (address = clientAddress),
  );
  await using _ = server;
  using client = await connect(server.serverAddress);
  await server.handleRequest();
  assertEquals(address, client.localAddr);
});

Deno.test("TCPServer.getRequest() may be overridden to wrap the connection", async () => {
  class Counting extends TCPServer {
    taken = 0;
    override async getRequest(): ReturnType<TCPServer["getRequest"]> {
      const pair = await super.getRequest();
      this.taken++;
      return pair;
    }
  }
  const server = new Counting(LOOPBACK, echo);
  await using _ = start(server);
  assertEquals(await exchange(server.serverAddress, "hi"), "hi");
  assertEquals(server.taken, 1);
});

Deno.test("TCPServer.shutdownRequest() gives the client its answer and the end when input was left unread", async () => {
  const server = new TCPServer(LOOPBACK, async (request) => {
    await request.recv(1);
    await request.sendAll("answer");
  });
  await using _ = start(server);
  for (let round = 0; round < 50; round++) {
    using client = await connect(server.serverAddress);
    await writeAll(client, new Uint8Array(50_000));
    assertEquals(text(await readAll(client)), "answer");
  }
});

Deno.test("TCPServer.shutdownRequest() waits for writes that the handler left un-awaited", async () => {
  const answer = "x".repeat(4_000_000);
  const server = new TCPServer(LOOPBACK, (request) => {
    for (let n = 0; n < 4; n++) {
      void request.sendAll(answer.slice(n * 1_000_000, (n + 1) * 1_000_000));
    }
  });
  await using _ = start(server);
  assertEquals((await exchange(server.serverAddress, "")).length, answer.length);
});

Deno.test("TCPServer.shutdownRequest() closes when the client has reset the connection", async () => {
  const { connect } = await import("node:net");
  const entered = Promise.withResolvers<void>();
  const gate = Promise.withResolvers<void>();
  const server = new TCPServer(LOOPBACK, async () => {
    entered.resolve();
    await gate.promise;
  });
  await using _ = server;
  const handled = server.handleRequest();
  const { hostname, port } = server.serverAddress;
  const client = connect(port, hostname);
  client.on("error", nothing);
  await entered.promise;
  const closed = new Promise((resolve) => client.on("close", resolve));
  client.resetAndDestroy();
  await closed;
  gate.resolve();
  await handled;
  assertEquals(server.stats().completed, 1);
});

Deno.test("TCPServer serves clients one at a time in the order of their arrival", async () => {
  const log: string[] = [];
  const server = new TCPServer(LOOPBACK, async (request) => {
    const name = text(await request.recv());
    log.push(`${name} begins`);
    await new Promise((resolve) => setTimeout(resolve, 5));
    log.push(`${name} ends`);
  });
  const clients: Deno.Conn[] = [];
  for (const name of ["a", "b", "c"]) {
    const client = await connect(server.serverAddress);
    await client.write(bytes(name));
    clients.push(client);
  }
  await using _ = start(server);
  for (const client of clients) {
    await readAll(client);
    client.close();
  }
  assertEquals(log, ["a begins", "a ends", "b begins", "b ends", "c begins", "c ends"]);
  assertEquals(server.stats().peak, 1);
});
