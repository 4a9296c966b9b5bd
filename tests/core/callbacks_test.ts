/**
 * `onListen` and `onError`, in every mode.
 *
 * @module
 */
import { assertEquals, assertInstanceOf, assertRejects, assertThrows } from "@std/assert";
import {
  ConcurrentTCPServer,
  ForkingTCPServer,
  PoolTCPServer,
  TCPServer,
  type TCPServerOptions,
  ThreadingTCPServer,
} from "@netkit/socketserver";
import { FailingHandler } from "../servers/call_handlers.ts";
import { exchange, LOOPBACK, until } from "../harness.ts";

const SERVERS = [
  TCPServer,
  ConcurrentTCPServer,
  ThreadingTCPServer,
  ForkingTCPServer,
  PoolTCPServer,
];

/** All ways to end a server. */
const ENDS: Record<string, (server: TCPServer, signal: AbortController) => void | Promise<void>> = {
  "its signal": (_, controller) => controller.abort(),
  "shutdown()": (server) => server.shutdown(),
  "serverClose()": (server) => server.serverClose(),
  "drain()": async (server) => void await server.drain(),
};

for (const Server of SERVERS) {
  Deno.test(`${Server.name} tells onListen where it listens, and onError what a handler threw`, async () => {
    const errors: unknown[] = [];
    const onError = (error: unknown, clientAddress: unknown) =>
      void errors.push(error, clientAddress);
    const options: TCPServerOptions = { onError };
    const server: TCPServer = new Server(LOOPBACK, FailingHandler, options);
    const controller = new AbortController();
    const listening = Promise.withResolvers<unknown>();
    const { signal } = controller;
    const serving = server.serveForever({ signal, onListen: listening.resolve });
    assertEquals(await listening.promise, server.serverAddress);
    await exchange(server.serverAddress, "");
    await until(() => errors.length === 2);
    assertInstanceOf(errors[0], RangeError);
    assertEquals((errors[1] as Deno.NetAddr).hostname, "127.0.0.1");
    controller.abort();
    await serving;
    await server.serverClose();
    await server.finished;
  });

  for (const [what, end] of Object.entries(ENDS)) {
    Deno.test(`${Server.name} is ended by ${what} though onListen has not settled`, async () => {
      const server: TCPServer = new Server(LOOPBACK, FailingHandler);
      const controller = new AbortController();
      const called = Promise.withResolvers<unknown>();
      const onListen = (address: unknown) => {
        called.resolve(address);
        return new Promise<void>(() => {});
      };
      const serving = server.serveForever({ signal: controller.signal, onListen });
      await called.promise;
      await end(server, controller);
      await serving;
      await server.serverClose();
      await server.finished;
    });

    Deno.test(`${Server.name} lets onListen await ${what}`, async () => {
      const server: TCPServer = new Server(LOOPBACK, FailingHandler);
      const controller = new AbortController();
      const onListen = () => end(server, controller);
      await server.serveForever({ signal: controller.signal, onListen });
      await server.serverClose();
      await server.finished;
    });
  }

  Deno.test(`${Server.name} lets serviceActions() await serverClose()`, async () => {
    const server: TCPServer = new Server(LOOPBACK, FailingHandler);
    server.serviceActions = () => server.serverClose();
    await server.serveForever({ pollInterval: 5 });
    await server.finished;
  });
}

Deno.test("BaseServer.serveForever() rejects with what onListen throws, and may be called again", async () => {
  await using server = new TCPServer(LOOPBACK, () => {});
  const onListen = () => {
    throw new RangeError("no listening today");
  };
  await assertRejects(() => server.serveForever({ onListen }), RangeError, "no listening today");
  const later = () => Promise.reject(new RangeError("nor later"));
  await assertRejects(() => server.serveForever({ onListen: later }), RangeError, "nor later");
  const serving = server.serveForever();
  await server.shutdown();
  await serving;
});

Deno.test("BaseServer refuses onError and onListen that are no functions", async () => {
  const wrong = "log" as unknown as () => void;
  assertThrows(
    () => new TCPServer(LOOPBACK, () => {}, { onError: wrong }),
    TypeError,
    "Cannot use option 'onError': expected a function",
  );
  await using server = new TCPServer(LOOPBACK, () => {});
  await assertRejects(() => server.serveForever({ onListen: wrong }), TypeError, "'onListen'");
});
