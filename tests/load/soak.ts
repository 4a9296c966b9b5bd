/**
 * Many connections one after the other leave nothing behind.
 *
 * @module
 */
import { assert, assertEquals, assertLess } from "@std/assert";
import { StreamRequestHandler, TCPServer, ThreadingTCPServer } from "@netkit/socketserver";
import { CONFIG, exchange, LOOPBACK, openDescriptors, start } from "../harness.ts";

/** How many clients come one by one, after others. */
const RUNS = {
  TCPServer: { count: 20_000, warmUp: 2000 },
  ThreadingTCPServer: { count: 1000, warmUp: 1000 },
} as const;
/** In bytes. */
const MAX_GROWTH = 2 * 1024 * 1024;

interface Growth {
  /** Of the used heap, in bytes. */
  heap: number;
  /** Of the open descriptors. */
  descriptors: number;
  served: number;
}

export class EchoHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override timeout = 5000;
  override async handle(): Promise<void> {
    const { signal } = this;
    assert(!signal.aborted);
    await this.wfile.write(await this.rfile.readline());
  }
}

/** What one process measures; it runs with `--expose-gc`. */
async function measure(name: keyof typeof RUNS): Promise<Growth> {
  const { count, warmUp } = RUNS[name];
  const Server = name === "TCPServer" ? TCPServer : ThreadingTCPServer;
  const server = new Server(LOOPBACK, EchoHandler);
  await using _ = start(server);
  const line = `${"x".repeat(63)}\n`;
  const run = async (times: number) => {
    for (let n = 0; n < times; n++) {
      assertEquals(await exchange(server.serverAddress, line), line);
    }
  };
  await run(warmUp);
  // Deno opens two descriptors of its own half a second after the start.
  await new Promise((resolve) => setTimeout(resolve, 1000));
  const before = await measureNow();
  await run(count);
  const after = await measureNow();
  return {
    heap: after.heap - before.heap,
    descriptors: after.descriptors - before.descriptors,
    served: server.stats().completed,
  };
}

async function measureNow(): Promise<{ heap: number; descriptors: number }> {
  for (let round = 0; round < 3; round++) {
    await new Promise((resolve) => setTimeout(resolve, 20)); // for finalizers
    Reflect.get(globalThis, "gc")();
  }
  return { heap: Deno.memoryUsage().heapUsed, descriptors: openDescriptors() };
}

const names = Object.keys(RUNS) as (keyof typeof RUNS)[];
if (import.meta.main && Deno.args[0] !== undefined) {
  console.log(JSON.stringify(await measure(Deno.args[0] as keyof typeof RUNS)));
} else if (Deno.mainModule === import.meta.url) {
  for (const name of names) testOf(name);
}

function testOf(name: keyof typeof RUNS): void {
  const { count, warmUp } = RUNS[name];
  Deno.test(`${name} leaves heap and descriptors as they were when ${count} clients came one by one`, async () => {
    const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "-A",
        "--v8-flags=--expose-gc",
        "--config",
        CONFIG,
        new URL(import.meta.url).pathname,
        name,
      ],
    }).output();
    assert(success, new TextDecoder().decode(stderr));
    const growth: Growth = JSON.parse(new TextDecoder().decode(stdout));
    assertEquals(growth.served, warmUp + count);
    assertLess(growth.heap, MAX_GROWTH);
    assertLess(Math.abs(growth.descriptors), 3);
  });
}
