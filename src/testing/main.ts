/**
 * Tests of services, without sockets and without permissions.
 *
 * {@linkcode MemoryMixIn} makes a TCP server class take its clients from the test itself, and {@linkcode serveInTest} has a
 * server of any class serve until the end of a scope, where an error of its handlers fails the test. Deno's sanitizers for
 * operations and resources stay on.
 *
 * @example Test an echo service
 * ```ts
 * import { StreamRequestHandler, TCPServer } from "@netkit/socketserver";
 * import { MemoryMixIn, serveInTest } from "@netkit/socketserver/testing";
 * import { assertEquals } from "@std/assert";
 *
 * class EchoHandler extends StreamRequestHandler {
 *   override async handle() {
 *     for await (const line of this.rfile) await this.wfile.write(line);
 *   }
 * }
 * const EchoServer = MemoryMixIn(TCPServer);
 *
 * Deno.test("echoes lines", async () => {
 *   const server = new EchoServer({ hostname: "127.0.0.1", port: 0 }, EchoHandler);
 *   await using run = serveInTest(server);
 *   assertEquals(await run.server.exchange("one\ntwo\n"), "one\ntwo\n");
 * });
 *
 * Deno.test("lets go of a client that vanishes", async () => {
 *   const server = new EchoServer({ hostname: "127.0.0.1", port: 0 }, EchoHandler);
 *   await using run = serveInTest(server);
 *   const client = run.server.connect();
 *   await client.sendAll("half a line");
 *   client.reset();
 * });
 * ```
 *
 * @module
 */
// This folder is for tests of users alone; it uses the servers through their classes.
export { MemoryClient } from "./memory_listener.ts";
export { type InMemory, type MemoryMembers, MemoryMixIn } from "./memory_mix_in.ts";
export { serveInTest, type TestRun } from "./serve_in_test.ts";
