/**
 * Handlers and hooks that throw what no error is, in Workers.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { PoolTCPServer, ThreadingTCPServer } from "@netkit/socketserver";
import { exchange, ListLogger, LOOPBACK, start, until } from "../harness.ts";
import { ODD, OddHandler } from "./odd_handlers.ts";

for (const Server of [ThreadingTCPServer, PoolTCPServer]) {
  Deno.test(`fault 14: ${Server.name} survives whatever a handler throws`, async () => {
    const logger = new ListLogger();
    const server: ThreadingTCPServer | PoolTCPServer = new Server(LOOPBACK, OddHandler, {
      logger,
      ...(Server === PoolTCPServer ? { workers: 1 } : { maxThreads: 1 }),
    });
    await using _ = start<typeof server>(server);
    const kinds = Object.keys(ODD);
    for (const kind of kinds) assertEquals(await exchange(server.serverAddress, `${kind}\n`), "");
    assertEquals(await exchange(server.serverAddress, "none\n"), "served");
    await until(() => server.stats().completed === 1);
    const { failed, active, workers } = server.stats();
    assertEquals([failed, active, workers!.started], [kinds.length, 0, 1]);
    assertEquals(server.state, "serving");
    const errors = () => logger.lines.filter((line) => line.startsWith("error: "));
    await until(() => errors().length >= 1);
  });
}

for (const hook of ["verifyRequest", "handleError"] as const) {
  Deno.test(`fault 14: PoolTCPServer survives whatever ${hook}() throws`, async () => {
    const kinds = Object.values(ODD);
    const thrown = kinds.values();
    const server = new PoolTCPServer(LOOPBACK, OddHandler, {
      ...{ workers: 1, logger: new ListLogger() },
    });
    const fail = () => {
      const { value: make } = thrown.next();
      if (make !== undefined) throw make();
      return true;
    };
    if (hook === "verifyRequest") server.verifyRequest = fail;
    else server.handleError = () => void fail();
    await using _ = start(server);
    for (const _ of kinds) assertEquals(await exchange(server.serverAddress, "string\n"), "");
    assertEquals(await exchange(server.serverAddress, "none\n"), "served");
    assertEquals([server.state, server.stats().workers!.started], ["serving", 1]);
  });
}
