/**
 * What a server's `requestContext()` gives, on its way to handlers that run elsewhere.
 *
 * @module
 */
import { assertEquals, assertInstanceOf, assertRejects, assertStringIncludes } from "@std/assert";
import { ForkingTCPServer, PoolTCPServer, ThreadingTCPServer } from "@netkit/socketserver";
import { cloneContext } from "../../src/workers/context.ts";
import { ContextHandler } from "../servers/forking_handlers.ts";
import { exchange, LOOPBACK, start, until } from "../harness.ts";

const MIB = 1024 * 1024;
const TOO_LONG = "Cannot send what requestContext() gave: it has ";

for (const Server of [ThreadingTCPServer, ForkingTCPServer]) {
  Deno.test(`fault 24: ${Server.name} refuses a context over 16 MiB by an error that says so, and sends one below`, async () => {
    const errors: unknown[] = [];
    let size = 17 * MIB;
    const server: ThreadingTCPServer | ForkingTCPServer = new Server(LOOPBACK, ContextHandler);
    server.requestContext = () => "x".repeat(size);
    server.handleError = (error) => void errors.push(error);
    await using _ = start<typeof server>(server);
    assertEquals(await exchange(server.serverAddress, ""), "");
    await until(() => errors.length === 1);
    const error = errors.pop();
    assertInstanceOf(error, RangeError);
    assertStringIncludes(error.message, TOO_LONG);
    size = 16 * MIB - 100;
    assertEquals(await exchange(server.serverAddress, ""), String(size));
    assertEquals(errors, []);
  });
}

Deno.test("fault 24: PoolTCPServer.serveForever() rejects with a context over 16 MiB", async () => {
  class ContextServer extends PoolTCPServer {
    override requestContext(): unknown {
      return new Uint8Array(17 * MIB);
    }
  }
  const server = new ContextServer(LOOPBACK, ContextHandler, { workers: 1 });
  await assertRejects(() => server.serveForever(), RangeError, TOO_LONG);
  await server.serverClose();
});

Deno.test("cloneContext() leaves memory shared that is shared", () => {
  const memory = new SharedArrayBuffer(8);
  const { clone } = cloneContext({ clone: memory }) as { clone: SharedArrayBuffer };
  new Uint8Array(memory)[0] = 7;
  assertEquals(new Uint8Array(clone)[0], 7);
});
