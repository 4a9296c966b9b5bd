/**
 * How many Workers a threading server has that accept clients by themselves.
 *
 * @module
 */
import { assertEquals, assertInstanceOf, assertStringIncludes } from "@std/assert";
import { HandlerLoadError, PoolTCPServer, ThreadingTCPServer } from "@netkit/socketserver";
import { startTimes } from "../../src/workers/thread/start_gate.ts";
import { exchange, ListLogger, LOOPBACK, start, until, withTimes } from "../harness.ts";
import { EndlessHandler } from "./endless_handlers.ts";
import { HangingHandler } from "./hanging_handlers.ts";

Deno.test("ThreadingMixIn waits for no Worker whose handler's module is never loaded, though Workers accept", async () => {
  const server = new ThreadingTCPServer(LOOPBACK, HangingHandler, { maxThreads: 2 });
  await using _ = start(server);
  assertEquals(server.threadingMode.way, "direct");
  assertEquals(await exchange(server.serverAddress, "echo\nhello"), "hello");
  const { starting, started } = server.stats().workers!;
  assertEquals([starting, started], [1, 1]);
});

for (const Server of [PoolTCPServer, ThreadingTCPServer]) {
  Deno.test(`${Server.name}.serveForever() rejects when the handler's module is never loaded, though Workers accept`, async () => {
    using _times = withTimes(startTimes, { load: 100 });
    const server = new Server(LOOPBACK, EndlessHandler, { logger: new ListLogger() });
    let error: unknown;
    server.serveForever().catch((reason) => error = reason);
    await until(() => error !== undefined);
    assertInstanceOf(error, HandlerLoadError);
    assertStringIncludes(error.message, "no end of that within 100 ms");
    await server.serverClose();
    await server.finished;
  });
}
