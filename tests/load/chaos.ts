/**
 * Workers and children that end in the middle of requests, all the time: the server goes on, and keeps nothing.
 *
 * `SOCKETSERVER_CHAOS=10000 deno test -A tests/load/chaos.ts` lets it go on for ten seconds each.
 *
 * @module
 */
import { assert, assertEquals, assertLess } from "@std/assert";
import { ForkingTCPServer, ThreadingTCPServer, WorkerDiedError } from "@netkit/socketserver";
import { AwaitingUnitCommandHandler, UnitCommandHandler } from "../handlers.ts";
import {
  bytes,
  connect,
  exchange,
  LOOPBACK,
  openDescriptors,
  readExactly,
  start,
  text,
  until,
  writeAll,
} from "../harness.ts";
import { childrenOf, kill } from "../processes.ts";

/** How long each test lasts, in milliseconds. */
const CHAOS = Number(Deno.env.get("SOCKETSERVER_CHAOS") ?? 3000);
const MIB = 1024 * 1024;

/** What is let end, and what may be left of it. */
interface Victims {
  server: ThreadingTCPServer | ForkingTCPServer;
  /** Lets the next one end. */
  end: (count: number) => Promise<unknown>;
  /** How many there are when all is quiet, beside what the server tells. */
  isAlone: () => boolean;
  /** How many descriptors and bytes of memory more may be there in the end. */
  most: { descriptors: number; memory: number };
}

/** Has 100 clients at once talk to a server, while one of its Workers or children ends each 100 ms. */
async function chaos({ server, end, isAlone, most }: Victims): Promise<void> {
  const errors: unknown[] = [];
  server.handleError = (error) => void errors.push(error);
  await using _ = start(server);
  const ask = async () => {
    assertEquals(await exchange(server.serverAddress, "echo-sync\nas ever\n"), "as ever\n");
  };
  const isQuiet = () => {
    const { spare, busy, starting } = server.stats().workers!;
    return spare === 1 && busy + starting === 0 && isAlone();
  };
  await ask();
  await until(isQuiet);
  const descriptors = openDescriptors();
  const memory = Deno.memoryUsage().rss;
  const due = performance.now() + CHAOS;
  let [wrong, served, ended] = [0, 0, 0];
  // A busy machine gets as long as it needs for enough of it.
  const goesOn = () => performance.now() < due || served <= 20 || ended <= 2;
  const talk = async (name: number) => {
    while (goesOn()) {
      using conn = await connect(server.serverAddress);
      try {
        await writeAll(conn, bytes("echo-sync\n"));
        for (let n = 0; n < 20; n++) {
          const line = `${name} ${n}\n`;
          await writeAll(conn, bytes(line));
          if (text(await readExactly(conn, line.length)) !== line) wrong++;
          served++;
        }
      } catch {
        // What served it has ended; the client comes again.
      }
    }
  };
  const disturb = async () => {
    while (goesOn()) {
      await end(ended++);
      await new Promise((resolve) => setTimeout(resolve, 100)); // the pace
    }
  };
  await Promise.all([disturb(), ...Array.from({ length: 100 }, (_, name) => talk(name))]);
  await ask();
  assertEquals(wrong, 0);
  await until(isQuiet);
  await until(() => openDescriptors() - descriptors < most.descriptors);
  assertLess(Deno.memoryUsage().rss - memory, most.memory);
  assert(errors.every((error) => error instanceof WorkerDiedError), `${errors}`);
}

for (const Handler of [UnitCommandHandler, AwaitingUnitCommandHandler]) {
  Deno.test(`ThreadingMixIn recovers from chaos: a Worker ends in the middle of a request every 100 ms (${Handler.name})`, async () => {
    const options = { maxThreads: 6, threadIdleTimeout: 50 };
    const server = new ThreadingTCPServer(LOOPBACK, Handler, options);
    const commands = ["exit 3", "close-self", "throw-later", "process-exit 1"];
    await chaos({
      server,
      end: (count) =>
        exchange(server.serverAddress, `${commands[count % commands.length]}\n`).catch(() => ""),
      isAlone: () => true,
      most: { descriptors: 12, memory: 300 * MIB }, // a Worker has six; 170 MB for six Workers that come and go
    });
  });
}

Deno.test("ForkingTCPServer recovers from chaos: a random child is killed every 100 ms", async () => {
  const options = { maxRequestsPerChild: 0, maxChildren: 6, childIdleTimeout: 50 };
  const server = new ForkingTCPServer(LOOPBACK, UnitCommandHandler, options);
  await chaos({
    server,
    end: async () => {
      await until(() => server.activeChildren.size > 0);
      const pids = [...server.activeChildren];
      kill(pids[Math.floor(Math.random() * pids.length)]!);
    },
    isAlone: () => childrenOf(Deno.pid).length === 1,
    most: { descriptors: 4, memory: 100 * MIB }, // a child has four
  });
});

Deno.test("ThreadingMixIn loses no client while Workers come and go all the time", async () => {
  const options = { maxThreads: 4, maxRequestsPerThread: 3, threadIdleTimeout: 1 };
  const server = new ThreadingTCPServer(LOOPBACK, AwaitingUnitCommandHandler, options);
  await using _ = start(server);
  for (let round = 0; round < 20; round++) {
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, n) => exchange(server.serverAddress, `echo-sync\n${n}\n`)),
    );
    assertEquals(answers, Array.from({ length: 10 }, (_, n) => `${n}\n`));
  }
  const { accepted, completed, workers } = server.stats();
  assertEquals([accepted, completed, workers!.poisoned], [200, 200, 0]);
  assert(workers!.started > 10);
});
