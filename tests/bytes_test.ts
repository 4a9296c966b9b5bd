/**
 * Bytes stay with their client: what a write that failed, a reset or a cut-off leaves behind reaches nobody else.
 *
 * `SOCKETSERVER_STORM=60000 deno test -A tests/bytes_test.ts --filter storm` lets the storms last a minute each.
 *
 * @module
 */
import { assert, assertEquals, assertInstanceOf, assertLess } from "@std/assert";
import {
  ConcurrentTCPServer,
  ConcurrentTLSServer,
  ConcurrentUDPServer,
  ConcurrentUnixDatagramServer,
  ForkingTCPServer,
  ForkingUDPServer,
  ForkingUnixStreamServer,
  PoolTCPServer,
  type SocketAddress,
  TCPServer,
  ThreadingTCPServer,
  ThreadingTLSServer,
  ThreadingUDPServer,
  ThreadingUnixDatagramServer,
  ThreadingUnixStreamServer,
} from "@netkit/socketserver";
import type { AnyServer } from "@netkit/socketserver";
import { firstForeign, OwnBytesHandler, OwnDatagramHandler, ownPattern } from "./bytes_handlers.ts";
import {
  bytes,
  connect,
  connectTLS,
  ListLogger,
  LOOPBACK,
  start,
  tempSocketPath,
  TLS,
  until,
  writeAll,
} from "./harness.ts";

const MIB = 1024 * 1024;
/** More than the system and the relay take while the client reads nothing. */
const TOO_MUCH = 16 * MIB;

/** A way of serving, with Workers and subprocesses that are used again. */
interface Mode {
  name: string;
  make: () => AnyServer | PoolTCPServer;
  tls?: boolean;
}

const tls = { cert: TLS.cert, key: TLS.key };
const children = { maxRequestsPerChild: 0, minSpareChildren: 0 };
const logger = new ListLogger();
const MODES: Mode[] = [
  { name: "TCPServer", make: () => new TCPServer(LOOPBACK, OwnBytesHandler, { logger }) },
  {
    name: "ConcurrentTCPServer",
    make: () => new ConcurrentTCPServer(LOOPBACK, OwnBytesHandler, { logger }),
  },
  {
    name: "ConcurrentTLSServer",
    make: () => new ConcurrentTLSServer(LOOPBACK, OwnBytesHandler, { ...tls, logger }),
    tls: true,
  },
  {
    name: "ThreadingTCPServer",
    make: () => new ThreadingTCPServer(LOOPBACK, OwnBytesHandler, { minSpareThreads: 0, logger }),
  },
  {
    name: "ThreadingUnixStreamServer",
    make: () =>
      new ThreadingUnixStreamServer({ path: tempSocketPath() }, OwnBytesHandler, {
        minSpareThreads: 0,
        logger,
      }),
  },
  {
    name: "ThreadingTLSServer",
    make: () =>
      new ThreadingTLSServer(LOOPBACK, OwnBytesHandler, { ...tls, minSpareThreads: 0, logger }),
    tls: true,
  },
  {
    name: "ForkingTCPServer",
    make: () => new ForkingTCPServer(LOOPBACK, OwnBytesHandler, { ...children, logger }),
  },
  {
    name: "ForkingUnixStreamServer",
    make: () =>
      new ForkingUnixStreamServer({ path: tempSocketPath() }, OwnBytesHandler, {
        ...children,
        logger,
      }),
  },
  {
    name: "PoolTCPServer",
    make: () => new PoolTCPServer(LOOPBACK, OwnBytesHandler, { workers: 2, logger }),
  },
];

function connectTo(mode: Mode, address: SocketAddress): Promise<Deno.Conn> {
  return mode.tls ? connectTLS(address) : connect(address);
}

/** Reads until the connection ends, however it does; fails at the first byte that is not the client's own. */
async function readOwn(
  conn: Deno.Conn,
  id: number,
  from = 0,
): Promise<{ got: number; end: "eof" | "cut" }> {
  const buffer = new Uint8Array(65536);
  let got = from;
  try {
    for (let count = await conn.read(buffer); count !== null; count = await conn.read(buffer)) {
      const foreign = firstForeign(buffer.subarray(0, count), id, got);
      assertEquals(foreign, -1, `byte ${foreign} that client ${id} got is not its own`);
      got += count;
    }
  } catch (error) {
    if (isCut(error)) return { got, end: "cut" };
    throw error;
  }
  return { got, end: "eof" };
}

/** Whether an error says that the server has cut the connection. */
function isCut(error: unknown): boolean {
  return error instanceof Deno.errors.ConnectionReset || error instanceof Deno.errors.BrokenPipe ||
    error instanceof Deno.errors.UnexpectedEof;
}

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

/** How long each storm lasts, in milliseconds. */
const STORM = Number(Deno.env.get("SOCKETSERVER_STORM") ?? 400);
/** How many clients there are at once. */
const CLIENTS = 6;

/** What a client does, which checks every byte that it gets; gives whether it got all that it wanted. */
type Behave = (conn: Deno.Conn, id: number) => Promise<boolean>;

const pause = (time: number) => new Promise((resolve) => setTimeout(resolve, time));

/** Sends its bytes while it reads them back, and ends its half of the connection after that. */
const echo: Behave = async (conn, id) => {
  const size = 1000 + id * 1000;
  const sent = writeAll(conn, bytes(`echo ${id}\n`)).then(() =>
    writeAll(conn, ownPattern(id, size))
  )
    .then(() => conn.closeWrite());
  const [{ got }] = await Promise.all([readOwn(conn, id), sent]);
  return got === size;
};

/** Reads all that it has asked for. */
const receive: Behave = async (conn, id) => {
  const size = 1000 + id * 2000;
  await writeAll(conn, bytes(`send ${id} ${size}\n`));
  const { got } = await readOwn(conn, id);
  return got === size;
};

/** Reads no more after the first byte until the write has run out of time, or the request, or else very slowly. */
const stall = (timeout: number): Behave => async (conn, id) => {
  await writeAll(conn, bytes(`send ${id} ${TOO_MUCH} ${timeout}\n`));
  const first = new Uint8Array(1);
  if (await conn.read(first) === null) return false;
  assertEquals(firstForeign(first, id), -1);
  await pause(30 + id);
  const { got } = await readOwn(conn, id, 1);
  return got === TOO_MUCH;
};

/** Goes in the middle, with bytes that it has not read, so that the connection is reset. */
const vanish: Behave = async (conn, id) => {
  await writeAll(conn, bytes(`send ${id} ${TOO_MUCH}\n`));
  await conn.read(new Uint8Array(1000 + id));
  return true;
};

/** Goes while it sends. */
const leave: Behave = async (conn, id) => {
  await writeAll(conn, bytes(`echo ${id}\n`));
  await writeAll(conn, ownPattern(id, 1000 * id));
  return true;
};

const BEHAVIOURS = [echo, receive, stall(20), stall(0), vanish, leave, echo, receive];

for (const mode of MODES) {
  Deno.test(`fault 3: ${mode.name} gives each client its own bytes in a storm of time-outs, resets and cut-offs`, async () => {
    await using server = mode.make();
    const limit = (requestTimeout: number | null) => {
      if (server instanceof PoolTCPServer || server.requestTimeout === requestTimeout) return;
      Object.assign(server, { requestTimeout });
    };
    if (mode.name !== "TCPServer") limit(400);
    logger.lines.length = 0;
    const serving = server.serveForever();
    const behave = async (behaviour: Behave, id: number) => {
      using conn = await connectTo(mode, server.serverAddress as SocketAddress);
      return await behaviour(conn, id);
    };
    const end = performance.now() + STORM;
    let clients = 0;
    await Promise.all(Array.from({ length: CLIENTS }, async () => {
      while (performance.now() < end || clients < 2 * BEHAVIOURS.length) {
        const id = clients++;
        try {
          await behave(BEHAVIOURS[id % BEHAVIOURS.length]!, id % 256);
        } catch (error) {
          if (!isCut(error)) throw error;
        }
      }
    }));
    await until(() => server.stats().active === 0);
    limit(null);
    for (const behaviour of [echo, receive]) assert(await behave(behaviour, 7)); // it serves as ever
    const wrong = logger.lines.filter((line) =>
      /is foreign|wrote on|broke the protocol/.test(line)
    );
    assertEquals(wrong, []);
    await server.shutdown();
    await serving;
  });
}

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
      const end = performance.now() + STORM / 2;
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
