/**
 * Own steps of servers whose handlers run in Workers and subprocesses: each does what it promises, or is refused.
 *
 * @module
 */
import {
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  ForkingMixIn,
  ForkingTCPServer,
  ForkingUDPServer,
  runHandler,
  type StreamSocket,
  type TCPAddr,
  TCPServer,
  ThreadingMixIn,
  ThreadingTCPServer,
  ThreadingUDPServer,
  WorkerDiedError,
} from "@netkit/socketserver";
import type { AnyServer, SocketAddress } from "@netkit/socketserver";
import { DatagramCommandHandler, StreamCommandHandler, UnitCommandHandler } from "../handlers.ts";
import {
  bytes,
  connect,
  datagramExchange,
  exchange,
  ListLogger,
  LOOPBACK,
  readAll,
  readExactly,
  start,
  text,
  until,
} from "../harness.ts";

// Each has what these tests use of the other.
const STREAM_SERVERS = [
  ThreadingTCPServer,
  ForkingTCPServer as never,
] as typeof ThreadingTCPServer[];
const MIX_INS = [ThreadingMixIn, ForkingMixIn as never] as (typeof ThreadingMixIn)[];

for (const Server of STREAM_SERVERS) {
  for (const hook of ["verifyRequest", "prepareRequest", "finishRequest"] as const) {
    Deno.test(`fault 29: ${Server.name} finishes the request whose ${hook}() awaits serverClose()`, async () => {
      class ClosingServer extends Server {
        override async verifyRequest(): Promise<boolean> {
          if (hook === "verifyRequest") await this.serverClose();
          return true;
        }
        override async prepareRequest(): Promise<void> {
          if (hook === "prepareRequest") await this.serverClose();
        }
        override async finishRequest(request: StreamSocket, address: TCPAddr): Promise<void> {
          if (hook === "finishRequest") await this.serverClose();
          await super.finishRequest(request, address);
        }
      }
      for (const spare of hook === "verifyRequest" ? [0, 1] : [0]) {
        const logger = new ListLogger();
        const isThreading = Server === ThreadingTCPServer;
        const options = { [isThreading ? "minSpareThreads" : "minSpareChildren"]: spare, logger };
        await using server = new ClosingServer(LOOPBACK, StreamCommandHandler, options);
        const serving = server.serveForever();
        if (spare > 0) await until(() => server.stats().workers!.spare === spare);
        assertEquals(await exchange(server.serverAddress, "echo\nhello\n"), "hello\n");
        await serving;
        await server.finished;
        assertEquals([server.state, server.stats().completed], ["closed", 1]);
        assertEquals(logger.lines.filter((line) => line.startsWith("error")), []);
      }
    });
  }

  Deno.test(`fault 29: ${Server.name} loses no byte when finishRequest() is called again after WorkerDiedError`, async () => {
    const died = Promise.withResolvers<void>();
    class RetryingServer extends Server {
      override async finishRequest(request: StreamSocket, address: TCPAddr): Promise<void> {
        try {
          await super.finishRequest(request, address);
        } catch (error) {
          assertInstanceOf(error, WorkerDiedError);
          died.resolve();
          await super.finishRequest(request, address);
        }
      }
    }
    await using started = start(new RetryingServer(LOOPBACK, UnitCommandHandler));
    using client = await connect(started.server.serverAddress);
    await client.write(bytes("exit 3\n"));
    assertEquals(text(await readExactly(client, 10)), "last words");
    await died.promise;
    await client.write(bytes("echo-sync\nhello\n"));
    await client.closeWrite();
    assertEquals(text(await readAll(client)), "hello\n");
  });

  Deno.test(`fault 29: ${Server.name} serves a request that processRequest() has only queued`, async () => {
    const queue: [StreamSocket, TCPAddr][] = [];
    class QueueServer extends Server {
      override processRequest(request: StreamSocket, address: TCPAddr): Promise<void> {
        queue.push([request, address]);
        return Promise.resolve();
      }
    }
    await using started = start(new QueueServer(LOOPBACK, StreamCommandHandler));
    const { server } = started;
    const asked = exchange(server.serverAddress, "echo\nhello\n");
    await until(() => server.stats().completed === 1);
    const [request, address] = queue.shift()!;
    await server.finishRequest(request, address);
    await server.shutdownRequest(request);
    assertEquals(await asked, "hello\n");
  });
}

for (const Server of [ThreadingUDPServer, ForkingUDPServer]) {
  Deno.test(`fault 29: ${Server.name} serves a datagram that processRequest() has only queued`, async () => {
    const server: AnyServer = new Server(LOOPBACK, DatagramCommandHandler);
    const queue: [unknown, SocketAddress][] = [];
    server.processRequest = (request, address) => {
      queue.push([request, address]);
      return Promise.resolve();
    };
    await using _ = start(server);
    const asked = datagramExchange(server.serverAddress, "echo hello");
    await until(() => queue.length === 1);
    await server.finishRequest(...queue[0]!);
    assertEquals(await asked, "hello");
  });
}

/** Makes its handler itself, as Python's documentation advises. */
function making(Base: typeof TCPServer): typeof TCPServer {
  return class MakingServer extends Base {
    override async finishRequest(request: StreamSocket, address: TCPAddr): Promise<void> {
      await runHandler(new StreamCommandHandler(request, address, this));
    }
  } as typeof TCPServer;
}

for (const MixIn of MIX_INS) {
  Deno.test(`fault 11: ${MixIn.name} refuses a finishRequest() above it that runs the handler itself`, () => {
    const Server = making(MixIn(TCPServer) as unknown as typeof TCPServer);
    const error = assertThrows(
      () => new Server(LOOPBACK, StreamCommandHandler),
      TypeError,
      "Cannot use own finishRequest() with MakingServer, which does not call super.finishRequest()",
    );
    assertStringIncludes(error.message, "requestContext()");
  });

  Deno.test(`fault 11: ${MixIn.name} refuses a finishRequest() below it, which it would never call`, () => {
    class MixedServer extends (MixIn(making(TCPServer)) as unknown as typeof TCPServer) {}
    assertThrows(
      () => new MixedServer(LOOPBACK, StreamCommandHandler),
      TypeError,
      `Cannot use finishRequest() of "MakingServer" with MixedServer: ${MixIn.name} never calls it`,
    );
  });

  Deno.test(`fault 11: ${MixIn.name} lets no handler run in the server's own isolate`, async () => {
    const Server = MixIn(TCPServer) as unknown as typeof TCPServer;
    const errors: unknown[] = [];
    class OwnServer extends Server {
      override async getRequest(): Promise<[StreamSocket, TCPAddr]> {
        return await super.getRequest(); // so that no Worker accepts by itself
      }
    }
    const server = new OwnServer(LOOPBACK, StreamCommandHandler);
    server.handleError = (error) => void errors.push(error);
    await using _ = start(server);
    const ways: (typeof server.finishRequest)[] = [
      (request, address) => runHandler(new StreamCommandHandler(request, address, server)),
      async (request, address) => {
        const handler = new StreamCommandHandler(request, address, server);
        await handler.setup();
        await handler.handle();
        await handler.finish();
      },
    ];
    for (const way of ways) {
      server.finishRequest = way;
      assertEquals(await exchange(server.serverAddress, "echo\nhello\n"), "");
      await until(() => errors.length === 1);
      const error = errors.pop();
      assertInstanceOf(error, TypeError);
      assertStringIncludes(error.message, 'Cannot run handler "StreamCommandHandler" here');
    }
  });

  Deno.test(`fault 11: ${MixIn.name} refuses to serve with a finishRequest() that is a field or was assigned`, async () => {
    const Server = MixIn(TCPServer) as unknown as typeof TCPServer;
    class FieldServer extends Server {
      override finishRequest = async (request: StreamSocket, address: TCPAddr): Promise<void> => {
        await runHandler(new StreamCommandHandler(request, address, this));
      };
    }
    class AssignedServer extends Server {}
    const options = { timeout: 0 };
    const assigned = new AssignedServer(LOOPBACK, StreamCommandHandler, options);
    assigned.finishRequest = (request) => request.sendAll("mine");
    for (const server of [new FieldServer(LOOPBACK, StreamCommandHandler, options), assigned]) {
      const serve = () => server.serveForever({ signal: AbortSignal.abort() });
      for (const begin of [serve, () => server.handleRequest()]) {
        await assertRejects(
          begin,
          TypeError,
          `Cannot use own finishRequest() with ${server.constructor.name}, which does not call super.finishRequest()`,
        );
      }
      await server.serverClose();
    }
  });

  Deno.test(`${MixIn.name} serves with a finishRequest() that is a field around that of the mix-in`, async () => {
    const Server = MixIn(TCPServer) as unknown as typeof TCPServer;
    let finished = 0;
    class AroundServer extends Server {
      override finishRequest = async (request: StreamSocket, address: TCPAddr): Promise<void> => {
        await super.finishRequest(request, address);
        finished++;
      };
    }
    const server = new AroundServer(LOOPBACK, StreamCommandHandler);
    await using _ = start(server);
    assertEquals(await exchange(server.serverAddress, "echo\nhello\n"), "hello\n");
    await until(() => finished === 1);
  });
}
