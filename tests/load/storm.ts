/**
 * Storms of clients who stall, go and are cut off: bytes stay with their client.
 *
 * `SOCKETSERVER_STORM=60000 deno test -A tests/load/storm.ts` lets the storms last a minute each.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { PoolTCPServer, type SocketAddress } from "@netkit/socketserver";
import { firstForeign, ownPattern } from "../bytes_handlers.ts";
import { bytes, until, writeAll } from "../harness.ts";
import { connectTo, isCut, logger, MODES, readOwn, TOO_MUCH } from "../own_bytes.ts";

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
