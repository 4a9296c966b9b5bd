/**
 * Bytes stay with their client: what a write that failed, a reset or a cut-off leaves behind reaches nobody else.
 *
 * @module
 */
import { assert, assertEquals, assertInstanceOf, assertLess } from "@std/assert";
import {
  ConcurrentUDPServer,
  ConcurrentUnixDatagramServer,
  ForkingUDPServer,
  type SocketAddress,
  ThreadingUDPServer,
  ThreadingUnixDatagramServer,
} from "@netkit/socketserver";
import type { AnyServer } from "@netkit/socketserver";
import { firstForeign, OwnDatagramHandler, ownPattern } from "./bytes_handlers.ts";
import { bytes, LOOPBACK, start, tempSocketPath, until } from "./harness.ts";
import { children, connectTo, logger, MIB, MODES, readOwn, TOO_MUCH } from "./own_bytes.ts";

for (const mode of MODES.filter(({ name }) => /^(Threading|Forking)/.test(name))) {
  Deno.test(`fault 1: ${mode.name} sends a client whose write timed out nothing of the next client`, async () => {
    const server = mode.make() as AnyServer;
    const [failed, served] = [Promise.withResolvers<unknown>(), Promise.withResolvers<void>()];
    server.handleError = async (error) => {
      failed.resolve(error);
      await served.promise;
    };
    await using _ = start(server);
    using first = await connectTo(mode, server.serverAddress);
    await first.write(bytes(`send 1 ${TOO_MUCH} 300\n`));
    assertInstanceOf(await failed.promise, Deno.errors.TimedOut);
    using second = await connectTo(mode, server.serverAddress);
    await second.write(bytes(`send 2 ${4 * MIB}\n`));
    assertEquals(await readOwn(second, 2), { got: 4 * MIB, end: "eof" });
    const { got } = await readOwn(first, 1);
    served.resolve();
    assert(got < TOO_MUCH);
  });
}

for (const mode of MODES) {
  Deno.test(`fault 2: ${mode.name} sends nothing more after a write that failed half-way`, async () => {
    await using server = mode.make();
    const serving = server.serveForever();
    logger.lines.length = 0;
    {
      using client = await connectTo(mode, server.serverAddress as SocketAddress);
      await client.write(bytes(`send-on 3 ${TOO_MUCH} 300\n`));
      await until(() => server.stats().completed + server.stats().failed > 0);
      const { got } = await readOwn(client, 3);
      assertLess(got, TOO_MUCH);
    }
    const wroteOn = logger.lines.filter((line) => line.includes("wrote on"));
    assertEquals(wroteOn, []);
    await server.shutdown();
    await serving;
  });
}

/** How many clients there are at once. */
const CLIENTS = 6;

const Datagram = OwnDatagramHandler;
const DATAGRAM_SERVERS: Record<string, () => AnyServer> = {
  ConcurrentUDPServer: () => new ConcurrentUDPServer(LOOPBACK, Datagram, { logger }),
  ConcurrentUnixDatagramServer: () =>
    new ConcurrentUnixDatagramServer({ path: tempSocketPath() }, Datagram, { logger }),
  ThreadingUDPServer: () => new ThreadingUDPServer(LOOPBACK, Datagram, { logger }),
  ThreadingUnixDatagramServer: () =>
    new ThreadingUnixDatagramServer({ path: tempSocketPath() }, Datagram, { logger }),
  ForkingUDPServer: () => new ForkingUDPServer(LOOPBACK, Datagram, { ...children, logger }),
};

for (const [name, make] of Object.entries(DATAGRAM_SERVERS)) {
  Deno.test(`fault 3: ${name} answers each of many clients at once with its own bytes`, async () => {
    await using started = start(make());
    const address = started.server.serverAddress as SocketAddress;
    await Promise.all(Array.from({ length: CLIENTS }, async (_, id) => {
      const client = address.transport === "udp"
        ? Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 })
        : Deno.listenDatagram({ transport: "unixpacket", path: tempSocketPath() });
      const end = performance.now() + 200;
      for (let round = 1; round < 10 || performance.now() < end; round++) {
        const size = 2 * (1 + (round * 997) % 4000);
        await client.send(ownPattern(id, size), address);
        const halves = [await client.receive(), await client.receive()].map(([data]) => data);
        const places = [0, size / 2];
        // Each half tells by its bytes which one it is.
        if (firstForeign(halves[0]!, id) >= 0) places.reverse();
        halves.forEach((half, index) => assertEquals(firstForeign(half, id, places[index]), -1));
      }
      client.close();
    }));
  });
}
