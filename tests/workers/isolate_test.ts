/**
 * The port between the main isolate and its Workers, which handlers cannot disturb.
 *
 * @module
 */
import { assertEquals, assertInstanceOf } from "@std/assert";
import { PoolTCPServer, ThreadingTCPServer, WorkerDiedError } from "@netkit/socketserver";
import { connect, exchange, ListLogger, LOOPBACK, readAll, start, until } from "../harness.ts";
import { bytes, text, writeAll } from "../harness.ts";
import { PostingHandler } from "../posting_handlers.ts";

function makeThreading(requestTimeout: number | null = null): ThreadingTCPServer {
  return new ThreadingTCPServer(LOOPBACK, PostingHandler, {
    ...{ maxThreads: 1, logger: new ListLogger(), requestTimeout },
  });
}

function makePool(requestTimeout: number | null = null): PoolTCPServer {
  return new PoolTCPServer(LOOPBACK, PostingHandler, {
    ...{ workers: 1, logger: new ListLogger(), requestTimeout },
  });
}

for (const [what, make] of [["threading", makeThreading], ["pool", makePool]] as const) {
  Deno.test(`fault 4: what a handler or its module posts is ignored by a ${what} server`, async () => {
    const server = make();
    await using _ = start<ThreadingTCPServer | PoolTCPServer>(server);
    for (let client = 0; client < 5; client++) {
      assertEquals(await exchange(server.serverAddress, "hello\n"), "heard 0");
    }
    await until(() => server.stats().completed === 5);
    const { failed, workers } = server.stats();
    assertEquals([failed, workers!.started, server.state], [0, 1, "serving"]);
    assertEquals((server.logger as ListLogger).lines, []);
  });

  Deno.test(`fault 4: a ${what} server cuts off a handler that has taken the Worker's global object`, async () => {
    const server = make(1000);
    const timedOut = Promise.withResolvers<unknown>();
    server.handleError = (error) => timedOut.resolve(error);
    await using _ = start<ThreadingTCPServer | PoolTCPServer>(server);
    await until(() => server.stats().workers!.spare === 1); // its start is no part of the time
    using conn = await connect(server.serverAddress);
    await writeAll(conn, bytes("wait\n"));
    assertEquals(text(await readAll(conn)), "waiting");
    assertInstanceOf(await timedOut.promise, Deno.errors.TimedOut);
    assertEquals(await exchange(server.serverAddress, "hello\n"), "heard 0");
  });
}

Deno.test("fault 4: a Worker whose handler posts is still known to have ended", async () => {
  const server = makeThreading();
  const errors: unknown[] = [];
  server.handleError = (error) => void errors.push(error);
  await using _ = start(server);
  for (const [command, code] of [["exit", 7], ["throw-later", null]] as const) {
    assertEquals(await exchange(server.serverAddress, `${command}\n`), "");
    await until(() => errors.length > 0);
    const error = errors.shift();
    assertInstanceOf(error, WorkerDiedError);
    assertEquals(error.status, { code, signal: null });
    assertEquals(await exchange(server.serverAddress, "hello\n"), "heard 0");
  }
});
