/**
 * The entry point `./testing`: servers without sockets, and handlers' errors that fail the test.
 *
 * @module
 */
import { assert, assertEquals, assertInstanceOf, assertRejects, assertThrows } from "@std/assert";
import {
  BaseRequestHandler,
  ConcurrentTCPServer,
  ForkingTCPServer,
  PoolTCPServer,
  PoolTLSServer,
  ServerExit,
  StreamRequestHandler,
  type StreamSocket,
  TCPServer,
  ThreadingMixIn,
  ThreadingTCPServer,
  ThreadingUnixStreamServer,
  TLSServer,
  UDPServer,
  WorkerDiedError,
} from "@netkit/socketserver";
import { MemoryMixIn, serveInTest } from "@netkit/socketserver/testing";
import { MemoryListener } from "../../src/testing/memory_listener.ts";
import { AwaitingUnitCommandHandler } from "../handlers.ts";
import { PoolCommandHandler } from "../servers/pool_handlers.ts";
import { exchange, ListLogger, LOOPBACK, runProgram, text, TLS, until } from "../harness.ts";

class EchoHandler extends StreamRequestHandler {
  override async handle(): Promise<void> {
    for await (const line of this.rfile) await this.wfile.write(line);
  }
}

const MemoryTCPServer = MemoryMixIn(TCPServer);
const MemoryConcurrentServer = MemoryMixIn(ConcurrentTCPServer);

function quiet(): { logger: ListLogger } {
  return { logger: new ListLogger() };
}

for (const Server of [MemoryTCPServer, MemoryConcurrentServer]) {
  Deno.test(`${Server.name} in memory serves who connects, with addresses that differ`, async () => {
    const peers = new Set<string>();
    class PeerHandler extends EchoHandler {
      override async handle(): Promise<void> {
        peers.add(`${this.clientAddress}`);
        await super.handle();
      }
    }
    await using run = serveInTest(new Server(LOOPBACK, PeerHandler));
    const answers = ["a\n", "b\n", "c\n"].map((line) => run.server.exchange(line));
    assertEquals(await Promise.all(answers), ["a\n", "b\n", "c\n"]);
    assertEquals(peers.size, 3);
    await until(() => run.server.stats().active === 0);
    assertEquals(run.server.stats().completed, 3);
  });

  Deno.test(`${Server.name} in memory makes writes wait for a client that does not read, and loses nothing`, async () => {
    const data = crypto.getRandomValues(new Uint8Array(65536));
    let sent = 0;
    const handler = async (request: StreamSocket) => {
      for (; sent < 16; sent++) await request.sendAll(data);
    };
    await using run = serveInTest(new Server(LOOPBACK, handler));
    using client = run.server.connect();
    await client.recv(1);
    assert(sent < 16, "nothing waited");
    const rest = new Uint8Array(await new Response(client.readable).arrayBuffer());
    assertEquals(rest.length, 16 * data.length - 1);
    assertEquals(rest.subarray(-data.length), data);
  });

  Deno.test(`${Server.name} in memory has a handler's reads fail when the client resets, which fails no test`, async () => {
    const failures: unknown[] = [];
    const server = new Server(LOOPBACK, EchoHandler, quiet());
    server.handleError = (error) => void failures.push(error);
    await using run = serveInTest(server);
    const client = run.server.connect();
    await client.sendAll("half a line");
    client.reset();
    await until(() => failures.length === 1);
    assertInstanceOf(failures[0], Deno.errors.ConnectionReset);
  });

  Deno.test(`${Server.name} in memory has time limits of reads and writes`, async () => {
    class ImpatientHandler extends EchoHandler {
      override timeout = 20;
    }
    await using run = serveInTest(new Server(LOOPBACK, ImpatientHandler, quiet()));
    using silent = run.server.connect();
    assertEquals(text(await silent.recv()), "");
    using deaf = run.server.connect();
    const line = new Uint8Array(60_000).fill(0x61);
    line[59_999] = 0x0a;
    await assertRejects(async () => {
      for (let n = 0; n < 100; n++) await deaf.sendAll(line);
    }, Deno.errors.BrokenPipe);
    await until(() => run.server.stats().failed === 2);
  });

  Deno.test(`${Server.name} in memory serves who waits when it drains, and refuses who comes then`, async () => {
    const server = new Server(LOOPBACK, EchoHandler);
    const waiting = server.exchange("waited\n");
    const serving = server.serveForever();
    await server.drain();
    await serving;
    assertEquals(await waiting, "waited\n");
    assertThrows(() => server.connect(), Deno.errors.ConnectionRefused, "listen");
  });

  Deno.test(`${Server.name} in memory resets who waits when it is closed`, async () => {
    const server = new Server(LOOPBACK, EchoHandler);
    using client = server.connect();
    await server.serverClose();
    await assertRejects(() => client.recv(), Deno.errors.ConnectionReset);
    await server.finished;
  });

  Deno.test(`${Server.name} in memory is served by handleRequest(), and refuses who comes before the bind`, async () => {
    await using server = new Server(LOOPBACK, EchoHandler, { bindAndActivate: false });
    assertThrows(() => server.connect(), Deno.errors.ConnectionRefused, "bound");
    server.serverBind();
    server.serverActivate();
    const answer = server.exchange("one\n");
    await server.handleRequest();
    assertEquals(await answer, "one\n");
  });
}

Deno.test("MemoryMixIn serves without TLS where a server has it", async () => {
  const { cert, key } = TLS;
  const server = new (MemoryMixIn(TLSServer))(LOOPBACK, EchoHandler, { cert, key });
  await using run = serveInTest(server);
  assertEquals(await run.server.exchange("plain\n"), "plain\n");
});

for (
  const Server of [
    MemoryMixIn(ThreadingTCPServer),
    MemoryMixIn(ForkingTCPServer),
    ThreadingMixIn(MemoryTCPServer),
  ]
) {
  Deno.test(`${Server.name} in memory has handlers run in Workers or subprocesses`, async () => {
    await using run = serveInTest(new Server(LOOPBACK, AwaitingUnitCommandHandler));
    assertEquals(await run.server.exchange("echo-sync\none\ntwo\n"), "one\ntwo\n");
  });
}

Deno.test("MemoryMixIn refuses what has no TCP listener in this isolate, by type and in words", () => {
  class OwnPool extends PoolTCPServer {}
  // @ts-expect-error -- its Workers accept
  assertThrows(() => MemoryMixIn(OwnPool), TypeError, "with OwnPool: its Workers accept");
  // @ts-expect-error -- its Workers accept
  assertThrows(() => MemoryMixIn(PoolTLSServer), TypeError, "its Workers accept");
  // @ts-expect-error -- on Unix
  assertThrows(() => MemoryMixIn(ThreadingUnixStreamServer), TypeError, "it is no TCP server");
  // @ts-expect-error -- no stream
  assertThrows(() => MemoryMixIn(UDPServer), TypeError, "with UDPServer: it is no TCP server");
});

Deno.test("MemoryMixIn has reads into no memory end at once, as Deno.Conn does", async () => {
  const counts: (number | null)[] = [];
  const handler = async (request: StreamSocket) => {
    counts.push(await request.read(new Uint8Array(0)));
    request.timeout = 60_000;
    counts.push(await request.read(new Uint8Array(0)));
  };
  await using run = serveInTest(new MemoryTCPServer(LOOPBACK, handler));
  using client = run.server.connect();
  await client.recv();
  assertEquals([await client.read(new Uint8Array(0)), ...counts], [0, 0, 0]);
});

Deno.test("MemoryMixIn needs no permission", async () => {
  const { code, stdout, stderr } = await runProgram(
    `
    import { StreamRequestHandler, TCPServer } from "@netkit/socketserver";
    import { MemoryMixIn, serveInTest } from "@netkit/socketserver/testing";
    class EchoHandler extends StreamRequestHandler {
      override async handle() {
        await this.wfile.write(await this.rfile.readline());
      }
    }
    const Server = MemoryMixIn(TCPServer);
    await using run = serveInTest(new Server({ hostname: "127.0.0.1", port: 0 }, EchoHandler));
    console.log(await run.server.exchange("hello\\n"));
  `,
    { flags: ["--no-check"] },
  );
  assertEquals([code, stdout, stderr], [0, "hello\n\n", ""]);
});

Deno.test("serveInTest() throws what a handler has failed with at the end, after the server's own handleError()", async () => {
  const seen: unknown[] = [];
  class FaultyHandler extends BaseRequestHandler {
    override handle(): void {
      throw new RangeError("handler on demand");
    }
  }
  const server = new MemoryTCPServer(LOOPBACK, FaultyHandler, quiet());
  server.handleError = (error) => void seen.push(error);
  await assertRejects(
    async () => {
      await using run = serveInTest(server);
      assertEquals(await run.server.exchange(""), "");
    },
    RangeError,
    "handler on demand",
  );
  assertEquals(seen.length, 1);
});

Deno.test("serveInTest() throws all of several errors, beside that of the test", async () => {
  const server = new MemoryTCPServer(LOOPBACK, () => {
    throw new Error("each of them");
  }, quiet());
  const error = await assertRejects(async () => {
    await using run = serveInTest(server);
    await run.server.exchange("");
    await run.server.exchange("");
    throw new Error("the test's own");
  });
  assertInstanceOf(error, SuppressedError);
  assertEquals(error.suppressed.message, "the test's own");
  assertInstanceOf(error.error, AggregateError);
  assertEquals(error.error.errors.length, 2);
});

Deno.test("serveInTest() throws what handlers have failed with also where the server cannot be closed", async () => {
  class UnclosableServer extends MemoryTCPServer {
    override closeSocket(): void {
      super.closeSocket();
      throw new Error("not to be closed");
    }
  }
  const server = new UnclosableServer(LOOPBACK, () => {
    throw new Error("of the handler");
  }, quiet());
  const error = await assertRejects(async () => {
    await using run = serveInTest(server);
    await run.server.exchange("");
  }, AggregateError);
  assertEquals(error.errors.map(({ message }) => message), ["of the handler", "not to be closed"]);
});

Deno.test("serveInTest() throws what a hook has failed with, also where that only comes to the log", async () => {
  const hooks = ["handleError", "getRequest", "shutdownRequest", "closeRequest"] as const;
  for (const hook of hooks) {
    const server = new MemoryConcurrentServer(LOOPBACK, EchoHandler, quiet());
    let isFirst = true;
    const original = server[hook].bind(server) as (...args: unknown[]) => void;
    Object.assign(server, {
      [hook]: (...args: unknown[]) => {
        if (!isFirst) return original(...args);
        isFirst = false;
        throw new RangeError(`${hook} on demand`);
      },
    });
    await assertRejects(
      async () => {
        await using run = serveInTest(server);
        const client = run.server.connect();
        await client.sendAll("half a line");
        if (hook === "handleError") client.reset();
        else await client.closeWrite();
        await until(() => run.server.stats().accepted === 1 && run.server.stats().active === 0);
        client.close();
      },
      RangeError,
      `${hook} on demand`,
    );
  }
});

for (const Server of [PoolTCPServer, ThreadingTCPServer, ForkingTCPServer]) {
  Deno.test(`serveInTest() throws what has ended the Worker of a handler of ${Server.name}`, async () => {
    const server = new Server(LOOPBACK, PoolCommandHandler, quiet());
    const error = await assertRejects(async () => {
      await using run = serveInTest(server);
      await exchange(run.server.serverAddress, "crash\n");
    }, Error);
    if (Server === PoolTCPServer) assertEquals(error.message, "crashed");
    else assertInstanceOf(error, WorkerDiedError);
  });
}

Deno.test("serveInTest() throws what has ended the loop", async () => {
  const server = new MemoryTCPServer(LOOPBACK, () => {
    throw new ServerExit(3);
  });
  await assertRejects(async () => {
    await using run = serveInTest(server);
    await run.server.exchange("");
  }, ServerExit);
});

Deno.test("serveInTest() waits for handlers, and for no more than a second", async () => {
  const server = new MemoryConcurrentServer(LOOPBACK, async (request: StreamSocket) => {
    await request.recv();
    await new Promise(() => {});
  }, quiet());
  {
    await using run = serveInTest(server);
    await run.server.connect().sendAll("go");
    await until(() => run.server.stats().active === 1);
  }
  assertEquals([server.state, server.stats().aborted], ["closed", 1]);
});

Deno.test("MemoryListener and its connections refuse all once they are closed, as Deno's do", async () => {
  const listener = new MemoryListener(LOOPBACK);
  const client = listener.connect();
  let conn: Deno.Conn | undefined;
  for await (conn of listener) {
    conn.ref();
    conn.unref();
    conn.close();
    listener.close();
  }
  await assertRejects(() => conn!.read(new Uint8Array(1)), Deno.errors.BadResource);
  await assertRejects(() => conn!.write(new Uint8Array(1)), Deno.errors.BadResource);
  await assertRejects(() => listener.accept(), Deno.errors.BadResource);
  assertThrows(() => listener.close(), Deno.errors.BadResource);
  assertThrows(() => listener.connect(), Deno.errors.ConnectionRefused);
  assertEquals(await client.recv(1), new Uint8Array(0));
});
