/**
 * The doorbell: the one wait of the main isolate for all channels of shared memory.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { type Bell, Doorbell, ring } from "../../../src/workers/thread/doorbell.ts";
import { RingChannel, type RingMemory } from "../../../src/workers/thread/shared_ring.ts";

const ASLEEP = 0;

/** Waits at each of the bells; tells in `order` which have been rung. */
function waitAt(doorbell: Doorbell, bells: Bell[], order: number[]): Promise<unknown> {
  return Promise.all(
    bells.map((bell, index) => doorbell.wait(bell.slot).then(() => order.push(index))),
  );
}

/** Rings at the last of the bells, and waits until it has been heard. */
async function ringLast(doorbell: Doorbell, bells: Bell[]): Promise<void> {
  const last = bells.at(-1)!;
  const heard = doorbell.wait(last.slot);
  ring(last);
  await heard;
}

/** Keeps the program alive, which a wait at the doorbell does not; a test that waits for longer fails. */
function stayAlive(): Disposable {
  const timer = setTimeout(() => {}, 20_000);
  return { [Symbol.dispose]: () => clearTimeout(timer) };
}

Deno.test("Doorbell wakes those at whose slots somebody has rung, and nobody else", async () => {
  using _ = stayAlive();
  const doorbell = new Doorbell();
  const bells = Array.from({ length: 70 }, () => doorbell.take());
  const order: number[] = [];
  const all = waitAt(doorbell, bells, order);
  for (const index of [3, 32]) ring(bells[index]!);
  await ringLast(doorbell, bells);
  assertEquals(order, [3, 32, 69]);
  for (const bell of bells) ring(bell);
  await all;
  assertEquals(order.length, 70);
});

Deno.test("Doorbell keeps what was rung while nobody slept", async () => {
  using _ = stayAlive();
  const doorbell = new Doorbell();
  const bell = doorbell.take();
  ring(bell);
  await doorbell.wait(bell.slot);
});

Deno.test("Doorbell has room for more channels than slots", async () => {
  using _ = stayAlive();
  const doorbell = new Doorbell();
  const bells = Array.from({ length: 3000 }, () => doorbell.take());
  const order: number[] = [];
  const all = waitAt(doorbell, bells, order);
  ring(bells[1500]!);
  await ringLast(doorbell, bells);
  assertEquals([order.includes(1500), order.includes(1499)], [true, false]);
  for (const bell of bells) ring(bell);
  await all;
});

Deno.test("Doorbell sleeps once for all who wait", async () => {
  using _ = stayAlive();
  const doorbell = new Doorbell();
  const bells = Array.from({ length: 40 }, () => doorbell.take());
  const { cells } = bells[0]!;
  const all = waitAt(doorbell, bells, []);
  assertEquals(Atomics.load(cells, ASLEEP), 1);
  // The first who rings wakes the isolate; the others only leave their marks.
  ring(bells[0]!);
  assertEquals(Atomics.load(cells, ASLEEP), 0);
  for (const bell of bells) ring(bell);
  assertEquals(Atomics.notify(cells, ASLEEP), 0);
  await all;
});

/** A channel with both ends here. */
function ends(memory: RingMemory = RingChannel.allocate(64)) {
  return {
    bell: memory.bell,
    main: new RingChannel(memory, "main"),
    worker: new RingChannel(memory, "worker"),
  };
}

Deno.test("RingChannel.close() wakes those whom a Worker that was killed while it rang did not", async () => {
  using _ = stayAlive();
  const [killed, other] = [ends(), ends()];
  const p = new Uint8Array(5);
  const reading = other.main.read(p);
  // It has said that it wakes the isolate, and gets no further.
  assertEquals(Atomics.exchange(killed.bell.cells, ASLEEP, 0), 1);
  await other.worker.write(new TextEncoder().encode("hello"));
  killed.main.close();
  assertEquals(await reading, 5);
  other.main.close();
});

Deno.test("RingChannel waits on both ends for as long as they need while others come and go", async () => {
  using _ = stayAlive();
  const stays = ends();
  const reading = stays.main.read(new Uint8Array(1));
  for (let count = 0; count < 1500; count++) {
    const { main, worker } = ends();
    const next = main.read(new Uint8Array(1));
    await worker.write(new Uint8Array(1));
    assertEquals(await next, 1);
    main.close();
  }
  await stays.worker.write(new Uint8Array(1));
  assertEquals(await reading, 1);
  stays.main.close();
});
