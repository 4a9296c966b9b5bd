/**
 * The tests of CPython's test_socketserver.py that apply to plain servers, by their names there, and the cases
 * that it lacks.
 *
 * @module
 */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertLess,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import {
  type AnyServer,
  BaseRequestHandler,
  BufferedReader,
  BufferedWriter,
  DatagramRequestHandler,
  ServerExit,
  type SocketAddress,
  StreamRequestHandler,
  StreamSocket,
  TCPServer,
  UDPServer,
} from "@netkit/socketserver";
import * as socketserver from "@netkit/socketserver";
import {
  bytes,
  connect,
  datagramClient,
  datagramExchange,
  exchange,
  ListLogger,
  LOOPBACK,
  openDescriptors,
  readExactly,
  start,
  text,
  until,
} from "./harness.ts";
import { FAMILIES, type Family } from "./families.ts";

const HELLO = "hello world\n";

class StreamEcho extends StreamRequestHandler {
  override async handle() {
    await this.wfile.write(await this.rfile.readline());
  }
}

class DatagramEcho extends DatagramRequestHandler {
  override async handle() {
    await this.wfile.write(await this.rfile.readline());
  }
}

function echoServer(family: Family): AnyServer {
  return family.make((family.datagram ? DatagramEcho : StreamEcho) as never);
}

for (const family of FAMILIES) {
  Deno.test(`test_${family.name}: the server echoes a line to three clients and stops cleanly`, async () => {
    const server = echoServer(family);
    server.handleError = (error: unknown) => {
      throw error;
    };
    assertEquals(server.serverAddress, server.socket!.addr as SocketAddress);
    const serving = server.serveForever({ pollInterval: 10 });
    for (let client = 0; client < 3; client++) {
      assertEquals(await family.ask(server.serverAddress, HELLO), HELLO);
    }
    await server.shutdown();
    await serving;
    await server.serverClose();
    assertEquals(server.stats().completed, 3);
    await assertRejects(() => nextRequest(server), Deno.errors.BadResource);
  });

  Deno.test(`test_shutdown: 20 loops of ${family.name} end when shutdown() comes right after the start`, async () => {
    const servers = Array.from({ length: 20 }, () => echoServer(family));
    const loops = servers.map((server) => server.serveForever({ pollInterval: 10 }));
    await Promise.all(servers.map((server) => server.shutdown()));
    await Promise.all(loops);
    await Promise.all(servers.map((server) => server.serverClose()));
  });

  Deno.test(`test_close_immediately: closing a ${family.name} that never served raises nothing`, async () => {
    const server = echoServer(family);
    await server.serverClose();
    await server.finished;
  });

  Deno.test(`test_context_manager: leaving the scope closes the socket of a ${family.name}`, async () => {
    let server: AnyServer;
    {
      await using scoped = echoServer(family);
      server = scoped;
    }
    await assertRejects(() => nextRequest(server), Deno.errors.BadResource);
  });

  Deno.test(`test_shutdown_request_called_if_verify_request_false: exactly once by ${family.name}`, async () => {
    const server = echoServer(family);
    await using _ = server;
    let shutdowns = 0;
    let handled = 0;
    const shutdownRequest = server.shutdownRequest.bind(server);
    server.shutdownRequest = (request: unknown) => {
      shutdowns++;
      return shutdownRequest(request);
    };
    server.verifyRequest = () => false;
    server.finishRequest = () => {
      handled++;
      return Promise.resolve();
    };
    const serving = server.handleRequest();
    if (family.datagram) await sendOnly(server.serverAddress);
    else await family.ask(server.serverAddress, HELLO).catch(() => {}); // may see a reset
    await serving;
    assertEquals([shutdowns, handled], [1, 0]);
  });
}

/** Asks the socket itself. */
async function nextRequest(server: AnyServer): Promise<void> {
  const { socket } = server;
  if (socket !== undefined && "accept" in socket) await socket.accept();
  else await socket?.receive();
}

async function sendOnly(address: SocketAddress): Promise<void> {
  const client = datagramClient(address);
  await client.send(bytes(HELLO), address);
  client.close();
}

/** Serves one request whose handler throws, and tells what happened, as CPython's BaseErrorTestServer. */
class ErrorServer extends TCPServer {
  readonly log: string[] = [];
  constructor(error: unknown) {
    super(LOOPBACK, () => {
      this.log.push("Handler called");
      throw error;
    });
  }
  override handleError(): void {
    this.log.push("Error handled");
  }
  async serveOne(): Promise<void> {
    using _ = await connect(this.serverAddress);
    await this.handleRequest();
  }
}

Deno.test("test_sync_handled: an error in a handler goes to handleError() once and no further", async () => {
  await using server = new ErrorServer(new RangeError("test"));
  await server.serveOne();
  assertEquals(server.log, ["Handler called", "Error handled"]);
});

Deno.test("test_sync_not_handled: ServerExit comes out of handleRequest() past handleError()", async () => {
  await using server = new ErrorServer(new ServerExit(1));
  await assertRejects(() => server.serveOne(), ServerExit);
  assertEquals(server.log, ["Handler called"]);
});

Deno.test("test_tcpserver_bind_leak: 1,024 constructions with port -1 throw and open nothing", () => {
  const descriptors = openDescriptors();
  for (let n = 0; n < 1024; n++) {
    for (const Server of [TCPServer, UDPServer]) {
      assertThrows(() => new Server({ hostname: "127.0.0.1", port: -1 }, () => {}), RangeError);
    }
  }
  assertLess(openDescriptors(), descriptors + 100);
});

Deno.test("test_basics: wfile is a BufferedWriter on the request, which is the connection", async () => {
  let checked = false;
  class CheckingHandler extends StreamRequestHandler {
    override handle() {
      assertInstanceOf(this.wfile, BufferedWriter);
      assertInstanceOf(this.rfile, BufferedReader);
      assertInstanceOf(this.request, StreamSocket);
      assertStrictEquals(this.connection, this.request);
      assertEquals(this.clientAddress.transport, "tcp");
      assert(this.server instanceof TCPServer);
      checked = true;
    }
  }
  await using server = new TCPServer(LOOPBACK, CheckingHandler);
  const handled = server.handleRequest();
  await exchange(server.serverAddress, HELLO);
  await handled;
  assert(checked);
});

Deno.test("test_write: a write goes out at once without flush() and returns its length", async () => {
  const gate = Promise.withResolvers<void>();
  let written = 0;
  class WritingHandler extends StreamRequestHandler {
    override async handle() {
      written = await this.wfile.write("write result");
      await gate.promise;
    }
  }
  await using server = new TCPServer(LOOPBACK, WritingHandler);
  const handled = server.handleRequest();
  using client = await connect(server.serverAddress);
  assertEquals(text(await readExactly(client, 12)), "write result");
  assertEquals(written, 12);
  gate.resolve();
  await handled;
});

Deno.test("test_write: a huge write among signals is sent completely and returns its full length", async () => {
  const size = 16 * 1024 * 1024 + 1;
  const data = new Uint8Array(size).fill(0x78);
  let written = 0;
  class WritingHandler extends StreamRequestHandler {
    override async handle() {
      written = await this.wfile.write(data);
    }
  }
  let signals = 0;
  const onSignal = () => void signals++;
  Deno.addSignalListener("SIGWINCH", onSignal);
  await using server = new TCPServer(LOOPBACK, WritingHandler);
  const handled = server.handleRequest();
  using client = await connect(server.serverAddress);
  try {
    let received = 0;
    const buffer = new Uint8Array(1024 * 1024);
    for (let n = await client.read(buffer); n !== null; n = await client.read(buffer)) {
      received += n;
      Deno.kill(Deno.pid, "SIGWINCH");
    }
    await handled;
    assertEquals([received, written], [size, size]);
    await until(() => signals > 0);
  } finally {
    Deno.removeSignalListener("SIGWINCH", onSignal);
  }
});

Deno.test("test_all: what Python's __all__ lists for plain servers is exported by the same name", () => {
  const names = [
    "BaseServer",
    "TCPServer",
    "UDPServer",
    "UnixStreamServer",
    "UnixDatagramServer",
    "BaseRequestHandler",
    "StreamRequestHandler",
    "DatagramRequestHandler",
  ];
  assertEquals(names.filter((name) => !(name in socketserver)), []);
});

/** A server whose handler fails in the steps it is told, and what happened. */
function failingIn(...failing: string[]) {
  const log: string[] = [];
  const errors: unknown[] = [];
  const step = (name: string) => {
    log.push(name);
    if (failing.includes(name)) throw new Error(name);
  };
  class FailingHandler extends BaseRequestHandler {
    override setup() {
      step("setup");
    }
    override handle() {
      step("handle");
    }
    override finish() {
      step("finish");
    }
  }
  class LoggingServer extends TCPServer {
    override verifyRequest(): boolean {
      step("verifyRequest");
      return true;
    }
    override handleError(error: unknown): void {
      errors.push(error);
      step("handleError");
    }
    override async shutdownRequest(request: StreamSocket): Promise<void> {
      log.push("shutdownRequest");
      await super.shutdownRequest(request);
    }
    override serviceActions(): void {
      step("serviceActions");
    }
    override handleTimeout(): void {
      step("handleTimeout");
    }
  }
  return {
    server: new LoggingServer(LOOPBACK, FailingHandler, { logger: new ListLogger() }),
    log,
    errors,
  };
}

Deno.test("missing upstream: setup raises, and neither handle() nor finish() runs", async () => {
  const { server, log, errors } = failingIn("setup");
  await using _ = server;
  const handled = server.handleRequest();
  assertEquals(await exchange(server.serverAddress, ""), "");
  await handled;
  assertEquals(log, ["verifyRequest", "setup", "handleError", "shutdownRequest"]);
  assertEquals(errors.map(String), ["Error: setup"]);
});

Deno.test("missing upstream: handle and finish raise, and handleError() gets finish's error with the other as its cause", async () => {
  const { server, log, errors } = failingIn("handle", "finish");
  await using _ = server;
  const handled = server.handleRequest();
  await exchange(server.serverAddress, "");
  await handled;
  assertEquals(log, [
    "verifyRequest",
    "setup",
    "handle",
    "finish",
    "handleError",
    "shutdownRequest",
  ]);
  const [error] = errors;
  assertInstanceOf(error, Error);
  assertEquals(error.message, "finish");
  assertEquals(String(error.cause), "Error: handle");
});

Deno.test("missing upstream: handle_timeout is called by handleRequest() alone, once each time", async () => {
  const { server, log } = failingIn();
  await using _ = server;
  server.timeout = 5;
  await server.handleRequest();
  await server.handleRequest();
  assertEquals(log, ["handleTimeout", "handleTimeout"]);
  const serving = server.serveForever({ pollInterval: 1 });
  await until(() => log.includes("serviceActions"));
  await new Promise((resolve) => setTimeout(resolve, 20));
  await server.shutdown();
  await serving;
  assertEquals(log.filter((step) => step === "handleTimeout").length, 2);
});

for (const family of FAMILIES.filter(({ datagram }) => !datagram)) {
  Deno.test(`missing upstream: disableNagleAlgorithm does no harm on ${family.name}`, async () => {
    class Handler extends StreamEcho {
      override disableNagleAlgorithm = true;
    }
    await using started = start(family.make(Handler as never));
    assertEquals(await family.ask(started.server.serverAddress, HELLO), HELLO);
  });
}

for (const family of FAMILIES.filter(({ datagram }) => datagram)) {
  Deno.test(`missing upstream: ${family.name} sends nothing when nothing was written, and an empty reply when that was`, async () => {
    class Handler extends DatagramRequestHandler {
      override async handle() {
        const line = text(this.packet);
        if (line === "empty") await this.wfile.write("");
        if (line === "last") await this.wfile.write("last");
      }
    }
    const server = family.make(Handler as never);
    await using _ = start(server);
    assertEquals(await family.ask(server.serverAddress, "empty"), "");
    const client = datagramClient(server.serverAddress);
    await client.send(bytes("nothing"), server.serverAddress);
    await client.send(bytes("last"), server.serverAddress);
    assertEquals(text((await client.receive())[0]), "last");
    client.close();
  });

  Deno.test(`missing upstream: ${family.name} sends what was written though handle() raises`, async () => {
    class Handler extends DatagramRequestHandler {
      override async handle() {
        await this.wfile.write("so far");
        throw new Error("on purpose");
      }
    }
    const server = family.make(Handler as never);
    server.handleError = () => {};
    await using _ = start(server);
    assertEquals(await family.ask(server.serverAddress, HELLO), "so far");
  });

  Deno.test(`missing upstream: ${family.name} delivers an empty datagram as a request`, async () => {
    class Handler extends DatagramRequestHandler {
      override async handle() {
        await this.wfile.write(`${this.packet.length} bytes`);
      }
    }
    const server = family.make(Handler as never);
    await using _ = start(server);
    assertEquals(await datagramExchange(server.serverAddress, ""), "0 bytes");
  });
}
