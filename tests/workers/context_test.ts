/**
 * What a server's `requestContext()` gives, on its way to handlers that run elsewhere.
 *
 * @module
 */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { ForkingTCPServer, PoolTCPServer, ThreadingTCPServer } from "@netkit/socketserver";
import { settlesWithin } from "../../src/base/time.ts";
import { cloneContext } from "../../src/workers/context.ts";
import { ContextHandler } from "../servers/forking_handlers.ts";
import { exchange, ListLogger, LOOPBACK, start, until } from "../harness.ts";

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

const PROMISE = "Cannot send what requestContext() gave: a promise; it may not be asynchronous";

for (const Server of [ThreadingTCPServer, ForkingTCPServer]) {
  Deno.test(`fault 24: ${Server.name} fails the request whose context is a promise, and takes its error`, async () => {
    const errors: unknown[] = [];
    const server: ThreadingTCPServer | ForkingTCPServer = new Server(LOOPBACK, ContextHandler);
    server.requestContext = () => Promise.reject(new Error("nobody awaits this"));
    server.handleError = (error) => void errors.push(error);
    await using _ = start<typeof server>(server);
    assertEquals(await exchange(server.serverAddress, ""), "");
    await until(() => errors.length === 1);
    assertInstanceOf(errors[0], TypeError);
    assertStringIncludes(errors[0].message, PROMISE);
  });
}

Deno.test("fault 24: a pool whose context cannot be had rejects when it is to serve, and not when it is to drain", async () => {
  const logger = new ListLogger();
  const contexts: [() => unknown, string][] = [
    [() => Promise.reject(new Error("nobody awaits this")), PROMISE],
    [() => () => 1, "could not be cloned"],
  ];
  for (const [context, message] of contexts) {
    const server = new PoolTCPServer(LOOPBACK, ContextHandler, { workers: 1, logger });
    server.requestContext = context;
    await assertRejects(() => server.serveForever(), Error, message);
    assertEquals(await server.drain(), { completed: 0, aborted: 0 });
    assertStringIncludes(logger.lines.splice(0).join(), "error: Cannot serve clients that wait");
    await server.finished;
  }
});

Deno.test("PoolTCPServer.serverClose() called by requestContext() closes the pool", async () => {
  const server = new PoolTCPServer(LOOPBACK, ContextHandler, { workers: 1 });
  server.requestContext = () => void server.serverClose();
  await server.serveForever();
  assert(await settlesWithin(server.finished, 5000));
  assertEquals(server.state, "closed");
});

Deno.test("cloneContext() leaves memory shared that is shared", () => {
  const memory = new SharedArrayBuffer(8);
  const { clone } = cloneContext({ clone: memory }) as { clone: SharedArrayBuffer };
  new Uint8Array(memory)[0] = 7;
  assertEquals(new Uint8Array(clone)[0], 7);
});
