/**
 * Many connections one after the other leave nothing behind.
 *
 * @module
 */
import { assert, assertEquals, assertLess } from "@std/assert";
import { StreamRequestHandler, TCPServer } from "@netkit/socketserver";
import { exchange, LOOPBACK, openDescriptors, start } from "./harness.ts";

const COUNT = 20_000;
const WARM_UP = 2000;
/** In bytes. */
const MAX_GROWTH = 2 * 1024 * 1024;

interface Growth {
  /** Of the used heap, in bytes. */
  heap: number;
  /** Of the open descriptors. */
  descriptors: number;
  served: number;
}

class EchoHandler extends StreamRequestHandler {
  override timeout = 5000;
  override async handle() {
    const { signal } = this;
    assert(!signal.aborted);
    await this.wfile.write(await this.rfile.readline());
  }
}

/** What one process measures; it runs with `--expose-gc`. */
async function measure(count: number): Promise<Growth> {
  const server = new TCPServer(LOOPBACK, EchoHandler);
  await using _ = start(server);
  const line = `${"x".repeat(63)}\n`;
  const run = async (times: number) => {
    for (let n = 0; n < times; n++) {
      assertEquals(await exchange(server.serverAddress, line), line);
    }
  };
  await run(WARM_UP);
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

if (import.meta.main && Deno.args[0] !== undefined) {
  console.log(JSON.stringify(await measure(Number(Deno.args[0]))));
} else {
  Deno.test(`TCPServer leaves heap and descriptors as they were when ${COUNT} clients came one by one`, async () => {
    const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "-A",
        "--v8-flags=--expose-gc",
        "--config",
        new URL("../deno.json", import.meta.url).pathname,
        new URL(import.meta.url).pathname,
        String(COUNT),
      ],
    }).output();
    assert(success, new TextDecoder().decode(stderr));
    const growth: Growth = JSON.parse(new TextDecoder().decode(stdout));
    assertEquals(growth.served, WARM_UP + COUNT);
    assertLess(growth.heap, MAX_GROWTH);
    assertLess(Math.abs(growth.descriptors), 3);
  });
}
