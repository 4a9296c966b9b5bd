/**
 * Many clients, one after the other and at once, cost no more Workers and children than they should.
 *
 * @module
 */
import { assert, assertEquals, assertLess, assertMatch } from "@std/assert";
import { ForkingTCPServer, ThreadingTCPServer } from "@netkit/socketserver";
import { EchoHandler } from "../servers/forking_handlers.ts";
import { UnitCommandHandler } from "../handlers.ts";
import {
  connect,
  connectAndReset,
  exchange,
  ListLogger,
  LOOPBACK,
  openDescriptors,
  start,
  until,
} from "../harness.ts";

Deno.test("ThreadingMixIn retains nothing of 1,000 requests", async () => {
  const server = new ThreadingTCPServer(LOOPBACK, UnitCommandHandler, { maxThreads: 4 });
  await using _ = start(server);
  const ask = async () => {
    assertEquals(await exchange(server.serverAddress, "echo-sync\nas ever\n"), "as ever\n");
  };
  await ask();
  const descriptors = openDescriptors();
  for (let round = 0; round < 100; round++) {
    await Promise.all(Array.from({ length: 10 }, ask));
  }
  await until(() => server.stats().active === 0);
  const { workers, completed } = server.stats();
  assertEquals(completed, 1001);
  assert(workers!.spare <= 4 && workers!.started <= 4, Deno.inspect(workers));
  assertEquals(workers!.busy, 0);
  // A Worker has descriptors of its own.
  assert(openDescriptors() - descriptors < 40, `${openDescriptors() - descriptors} descriptors`);
});

for (const how of ["close", "reset"] as const) {
  Deno.test(`fault 22: ForkingTCPServer: 300 clients that ${how} at once cost no more than a few children's starts`, async () => {
    const logger = new ListLogger();
    const options = { minSpareChildren: 0, logger };
    const server = new ForkingTCPServer(LOOPBACK, EchoHandler, options);
    const address = server.serverAddress;
    await using _ = start(server);
    await Promise.all(Array.from({ length: 300 }, async () => {
      if (how === "close") (await connect(address)).close();
      else await connectAndReset(address);
    }));
    assertEquals(await exchange(address, "next\n"), "next\n");
    // Some of those that wait may be given a child; it was one for each.
    assertLess(server.stats().workers!.started, 150);
    for (const line of logger.lines.filter((line) => !line.startsWith("debug: "))) {
      assertMatch(line, /^warn: Cannot serve client "[^"]+": no child was free, and more than 40 /);
    }
  });
}
