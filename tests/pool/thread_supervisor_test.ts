/**
 * How many Workers a threading server has that accept clients by themselves.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { ThreadingTCPServer } from "@netkit/socketserver";
import { exchange, LOOPBACK, start } from "../harness.ts";
import { HangingHandler } from "./hanging_handlers.ts";

Deno.test("ThreadingMixIn waits for no Worker whose handler's module is never loaded, though Workers accept", async () => {
  const server = new ThreadingTCPServer(LOOPBACK, HangingHandler, { maxThreads: 2 });
  await using _ = start(server);
  assertEquals(server.threadingMode.way, "direct");
  assertEquals(await exchange(server.serverAddress, "echo\nhello"), "hello");
  const { starting, started } = server.stats().workers!;
  assertEquals([starting, started], [1, 1]);
});
