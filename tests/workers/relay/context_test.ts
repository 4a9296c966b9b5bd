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
  assertThrows,
} from "@std/assert";
import { ForkingTCPServer, PoolTCPServer, ThreadingTCPServer } from "@netkit/socketserver";
import { settlesWithin } from "../../../src/base/time.ts";
import { cloneContext, ContextSource } from "../../../src/workers/relay/context.ts";
import { ContextHandler, CounterHandler, MarkHandler } from "../../servers/forking_handlers.ts";
import { RelayingTCPServer } from "../../servers/relaying_server.ts";
import { exchange, ListLogger, LOOPBACK, start, until } from "../../harness.ts";

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

Deno.test("ContextSource.take() gives another version only where something has changed", () => {
  const source = new ContextSource(true);
  const versions = (...contexts: unknown[]) => contexts.map((given) => source.take(given).version);
  assertEquals(versions(undefined, undefined), [0, 0]);
  assertEquals(versions(1, 1, 2, "a", "a"), [1, 1, 2, 3, 3]);
  const list: unknown[] = [1, new Map([[1, new Date(0)]]), new Set([new Uint8Array(2)])];
  assertEquals(versions(list, [...list]), [4, 4]);
  list.push(list);
  assertEquals(versions(list, list, undefined, undefined, list), [5, 5, 6, 6, 7]);
  const shared = { counter: new Int32Array(new SharedArrayBuffer(8)) };
  assertEquals(versions(shared, shared, { ...shared }, 1, shared), [8, 8, 9, 10, 11]);
  assertEquals(versions(new Blob(["a"]), new Blob(["b"])), [12, 13]); // which look the same as bytes
});

for (
  const memory of [new SharedArrayBuffer(8), [{ view: new DataView(new SharedArrayBuffer(8)) }]]
) {
  Deno.test(`ContextSource.take() refuses ${Deno.inspect(memory)} for subprocesses, with words`, () => {
    const source = new ContextSource(false);
    const error = assertThrows(() => source.take(new Map([["memory", memory]])), TypeError);
    assertStringIncludes(error.message, "there is shared memory in it, which a subprocess cannot");
    assertEquals(source.take("fine").version, 1);
  });
}

Deno.test("ThreadingMixIn: handlers of 8 clients at once count in memory that requestContext() shares", async () => {
  const counter = new Int32Array(new SharedArrayBuffer(4));
  const server = new ThreadingTCPServer(LOOPBACK, CounterHandler, { maxThreads: 8 });
  server.requestContext = () => ({ counter });
  await using _ = start(server);
  const asked = Array.from({ length: 8 }, () => exchange(server.serverAddress, "10000\n"));
  assertEquals(await Promise.all(asked), Array.from({ length: 8 }, () => "done\n"));
  assertEquals(Atomics.load(counter, 0), 80_000);
});

for (const Server of [ThreadingTCPServer, ForkingTCPServer]) {
  Deno.test(`${Server.name}: each request gets the context of its time, and not what another made of it`, async () => {
    const server: ThreadingTCPServer | ForkingTCPServer = Server === ThreadingTCPServer
      ? new RelayingTCPServer(LOOPBACK, MarkHandler, { maxThreads: 1 })
      : new ForkingTCPServer(LOOPBACK, MarkHandler, { maxChildren: 1, maxRequestsPerChild: 9 });
    const context = { count: 0 };
    server.requestContext = () => context.count < 3 ? context : undefined;
    await using _ = start<typeof server>(server);
    const ask = () => exchange(server.serverAddress, "");
    assertEquals(await ask(), "{ count: 0 }\n");
    assertEquals(await ask(), "{ count: 0 }\n");
    context.count = 2;
    assertEquals(await ask(), "{ count: 2 }\n");
    context.count = 3;
    assertEquals(await ask(), "undefined\n");
    context.count = 1;
    assertEquals(await ask(), "{ count: 1 }\n");
  });
}

Deno.test("ThreadingMixIn: a context goes from what is posted to what is sent and back", async () => {
  const server = new RelayingTCPServer(LOOPBACK, MarkHandler, { maxThreads: 1 });
  const contexts: unknown[] = [new SharedArrayBuffer(1), 1, new SharedArrayBuffer(2), undefined];
  server.requestContext = () => contexts[0];
  await using _ = start(server);
  for (let left = contexts.length; left > 0; left--) {
    assertStringIncludes(await exchange(server.serverAddress, ""), Deno.inspect(contexts[0]));
    contexts.shift();
  }
});
