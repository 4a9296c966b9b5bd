/**
 * Many clients, one after the other and at once, cost no more Workers, children and memory than they should.
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
  runProgram,
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

Deno.test("ConcurrentMixIn retains nothing of 1,000 requests from 1,000 sources", async () => {
  const { code, stdout, stderr } = await runProgram(
    `
    import { BaseServer, ConcurrentMixIn, ConcurrentTCPServer } from "@netkit/socketserver";

    async function collect() {
      for (let round = 0; round < 5; round++) {
        await new Promise((resolve) => setTimeout(resolve, 10));
        gc();
      }
    }
    const refs = [];
    const options = { maxConnectionsPerSource: 1000, requestTimeout: 60_000 };
    const server = new ConcurrentTCPServer({ hostname: "127.0.0.1", port: 0 }, async (socket) => {
      refs.push(new WeakRef(socket), new WeakRef(server.requestSignal(socket)));
      await socket.sendAll("hello");
    }, options);
    const serving = server.serveForever();
    for (let n = 0; n < 1000; n++) {
      using client = await Deno.connect(server.serverAddress);
      while (await client.read(new Uint8Array(16)) !== null);
    }
    // The last one may still be known to the loop that waits.
    await collect();
    const retained = refs.slice(0, -2).filter((ref) => ref.deref() !== undefined).length;
    await server.serverClose();
    await serving;

    class ListServer extends BaseServer {
      left = 0;
      getRequest() {
        if (this.left-- <= 0) throw new Deno.errors.BadResource("closed");
        const hostname = this.left.toString(16).padStart(8, "0").replace(/(....)(....)/, "2001:db8:$1:$2::1");
        return [{}, { transport: "udp", hostname, port: 1 }];
      }
      closeSocket() {}
    }
    async function heapAfter(count) {
      const server = new (ConcurrentMixIn(ListServer))({ path: "list" }, () => {}, options);
      server.left = count;
      await server.serveForever();
      await collect();
      const { heapUsed } = Deno.memoryUsage();
      return [heapUsed, server.stats().completed];
    }
    await heapAfter(1000);
    const [before] = await heapAfter(1000);
    const [after, completed] = await heapAfter(50_000);
    console.log(JSON.stringify({ refs: refs.length, retained, growth: after - before, completed }));
    `,
    { flags: ["-A", "--no-check", "--v8-flags=--expose-gc"] },
  );
  assertEquals(code, 0, stderr);
  const { refs, retained, growth, completed } = JSON.parse(stdout);
  assertEquals([refs, retained, completed], [2000, 0, 50_000]);
  // Each source that stays would cost near 100 bytes.
  assert(growth < 1_000_000, `${growth} bytes`);
});
