/**
 * `RingChannel`: two ends in one isolate, and one in a Worker that blocks or does not.
 *
 * The Workers of these tests run this very file: `JOBS` is what they can do.
 *
 * @module
 */
import {
  assert,
  assertEquals,
  assertLessOrEqual,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { RingChannel, type RingMemory } from "../../../src/workers/thread/shared_ring.ts";
import { bytes, pattern, text } from "../../harness.ts";
import { readText, receive, send } from "../talk.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
/** Counters that start here wrap after a few bytes: at 2^32, and where a 32-bit number changes its sign. */
const ORIGINS = [0, 2 ** 32 - 100, 2 ** 31 - 100];

/** Both ends of a channel, in this isolate; closed at the end of the scope. */
class Pair {
  readonly main: RingChannel;
  readonly worker: RingChannel;
  /** What keeps the program alive: an end that waits does not. */
  readonly #timer = setInterval(() => {}, 60_000);

  constructor(capacity?: number, origin?: number) {
    const memory = RingChannel.allocate(capacity, origin);
    this.main = new RingChannel(memory, "main");
    this.worker = new RingChannel(memory, "worker");
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.main.close();
    this.worker.close();
  }
}

/** The name of the error that `operation` fails with. */
function failure(operation: () => unknown): string {
  try {
    operation();
  } catch (error) {
    return (error as Error).name;
  }
  return "none";
}

/** What a Worker can do with its ends; what it returns is posted back. */
const JOBS = {
  async echo(channels: RingChannel[]): Promise<string> {
    await Promise.all(channels.map(async (channel) => {
      const buffer = new Uint8Array(5000);
      while (true) {
        const count = await channel.read(buffer);
        if (count === null) return;
        await channel.write(buffer.subarray(0, count));
      }
    }));
    return "end";
  },

  echoBlocking([channel]: [RingChannel]): string {
    const buffer = new Uint8Array(5000);
    while (true) {
      const count = channel.readSync(buffer, null);
      if (count === null) return "end";
      channel.writeSync(buffer.subarray(0, count));
    }
  },

  /** Tells each interruption with an "I"; what it reads goes back. */
  async interruptible([channel]: [RingChannel]): Promise<string> {
    return await interruptible(channel, (p) => channel.read(p));
  },

  async interruptibleBlocking([channel]: [RingChannel]): Promise<string> {
    return await interruptible(channel, (p) => channel.readSync(p, null));
  },

  writeUntilFailure([channel]: [RingChannel]): string {
    return failure(() => {
      while (true) channel.writeSync(new Uint8Array(1000));
    });
  },

  writeAndClose([channel]: [RingChannel]): string {
    channel.writeSync(bytes("bye"));
    channel.close();
    return failure(() => channel.readSync(new Uint8Array(1), null));
  },
};

async function interruptible(
  channel: RingChannel,
  read: (p: Uint8Array) => number | null | Promise<number | null>,
): Promise<string> {
  const buffer = new Uint8Array(100);
  const nobodyNotifies = new Int32Array(new SharedArrayBuffer(4));
  channel.writeSync(bytes("R"));
  while (true) {
    try {
      const count = await read(buffer);
      if (count === null) return "end";
      channel.writeSync(buffer.subarray(0, count));
    } catch (error) {
      if (!(error instanceof Deno.errors.Interrupted)) throw error;
      channel.writeSync(bytes("I"));
      while (channel.interrupted) Atomics.wait(nobodyNotifies, 0, 0, 1);
      channel.writeSync(bytes("R"));
    }
  }
}

/** What is posted to a Worker of these tests. */
interface Order {
  job: keyof typeof JOBS;
  memories: RingMemory[];
}

const worker = globalThis as unknown as {
  onmessage: (event: MessageEvent<Order>) => void;
  postMessage: (result: unknown) => void;
};
if ("WorkerGlobalScope" in globalThis) {
  worker.onmessage = async ({ data: { job, memories } }) => {
    const channels = memories.map((memory) => new RingChannel(memory, "worker"));
    worker.postMessage(await JOBS[job](channels as [RingChannel]));
  };
}

/** A Worker with the ends of its channels on this side; terminated at the end of the scope. */
class HandlerWorker {
  readonly channels: RingChannel[];
  /** What the job returned. */
  readonly result: Promise<unknown>;
  readonly #worker = new Worker(import.meta.url, { type: "module" });

  constructor(job: keyof typeof JOBS, { channels = 1, capacity = 4 * KIB, origin = 0 } = {}) {
    const memories = Array.from(
      { length: channels },
      () => RingChannel.allocate(capacity, origin),
    );
    this.channels = memories.map((memory) => new RingChannel(memory, "main"));
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.#worker.onmessage = ({ data }) => resolve(data);
    this.#worker.onerror = (event) => reject(new Error(event.message));
    promise.catch(() => {}); // a test that cares awaits it
    this.result = promise;
    this.#worker.postMessage({ job, memories } satisfies Order);
  }

  get channel(): RingChannel {
    return this.channels[0]!;
  }

  [Symbol.dispose](): void {
    for (const channel of this.channels) channel.close();
    this.#worker.terminate();
  }
}

Deno.test("RingChannel.allocate() refuses a capacity that is not a power of two", () => {
  for (const capacity of [0, 3, 1000, -1, 0.5, 2 ** 31]) {
    const error = assertThrows(() => RingChannel.allocate(capacity), RangeError);
    assert(error.message.includes("'capacity'"), error.message);
  }
});

Deno.test("RingChannel gives each end what the other wrote, past the wrap of the counters", async () => {
  for (const origin of ORIGINS) {
    for (const capacity of [1, 8, 1 * KIB]) {
      using ends = new Pair(capacity, origin);
      const { main, worker } = ends;
      const data = pattern(capacity === 1 ? 300 : 20 * KIB);
      const [there, back] = await Promise.all([
        receive(worker, data.length, 3 * capacity),
        receive(main, data.length, 3 * capacity),
        send(main, data, 3 * capacity),
        send(worker, data, 2 * capacity),
      ]);
      assertEquals(there, data);
      assertEquals(back, data);
    }
  }
});

for (const job of ["echo", "echoBlocking"] as const) {
  Deno.test(`RingChannel carries both directions at once when the Worker runs ${job}`, async () => {
    for (const origin of ORIGINS) {
      using worker = new HandlerWorker(job, { origin });
      const data = pattern(512 * KIB);
      const [echo] = await Promise.all([
        receive(worker.channel, data.length, 9000),
        send(worker.channel, data, 9000),
      ]);
      assertEquals(echo, data);
      worker.channel.close();
      assertEquals(await worker.result, "end");
    }
  });
}

Deno.test("RingChannel carries 64 channels in parallel", async () => {
  using workers = new DisposableStack();
  const async = workers.use(new HandlerWorker("echo", { channels: 48 }));
  const blocking = Array.from({ length: 16 }, () => workers.use(new HandlerWorker("echoBlocking")));
  const channels = [...async.channels, ...blocking.map((worker) => worker.channel)];
  await Promise.all(channels.map(async (channel, i) => {
    const data = pattern(32 * KIB + i);
    const [echo] = await Promise.all([
      receive(channel, data.length, 9000),
      send(channel, data, 9000),
    ]);
    assertEquals(echo, data);
  }));
});

Deno.test("RingChannel.write() waits for a slow reader and holds no more than the ring", async () => {
  using ends = new Pair(64 * KIB);
  const { main, worker } = ends;
  const [total, chunk] = [16 * MIB, new Uint8Array(64 * KIB)];
  let written = 0;
  const writing = (async () => {
    for (; written < total; written += chunk.length) await main.write(chunk);
    main.close();
  })();
  const buffer = new Uint8Array(3000);
  let read = 0;
  for (let count = await worker.read(buffer); count !== null; count = await worker.read(buffer)) {
    read += count;
    assertLessOrEqual(written - read, 64 * KIB);
  }
  await writing;
  assertEquals(read, total);
});

Deno.test("RingChannel.read() takes nothing when it is asked for nothing", async () => {
  using ends = new Pair();
  const { main, worker } = ends;
  assertEquals(await worker.read(new Uint8Array(0)), 0);
  await main.write(new Uint8Array(0));
  await main.write(bytes("x"));
  assertEquals(worker.readSync(new Uint8Array(0), null), 0);
  assertEquals(await readText(worker), "x");
});

Deno.test("RingChannel.readSync() throws TimedOut when nothing came, and loses nothing", async () => {
  using ends = new Pair();
  const { main, worker } = ends;
  for (const timeout of [0, 5]) {
    assertThrows(() => worker.readSync(new Uint8Array(1), timeout), Deno.errors.TimedOut);
  }
  await main.write(bytes("later"));
  const buffer = new Uint8Array(10);
  assertEquals(worker.readSync(buffer, 0), 5);
  assertEquals(text(buffer.subarray(0, 5)), "later");
});

Deno.test("RingChannel refuses a second operation of a direction while one waits", async () => {
  using ends = new Pair(8);
  const { main, worker } = ends;
  const reading = worker.read(new Uint8Array(1));
  await assertRejects(() => worker.read(new Uint8Array(1)), Deno.errors.Busy);
  assertThrows(() => worker.readSync(new Uint8Array(1), null), Deno.errors.Busy);
  const writing = worker.write(new Uint8Array(9));
  await assertRejects(() => worker.write(new Uint8Array(1)), Deno.errors.Busy);
  assertThrows(() => worker.writeSync(new Uint8Array(1)), Deno.errors.Busy);
  await main.write(bytes("x"));
  assertEquals(await reading, 1);
  assertEquals(await main.read(new Uint8Array(9)), 8);
  await writing;
});

Deno.test("RingChannel.interruptPeer() fails the read that waits, and later ones until cleared", async () => {
  using ends = new Pair();
  const { main, worker } = ends;
  const reading = assertRejects(() => worker.read(new Uint8Array(1)), Deno.errors.Interrupted);
  assertStrictEquals(worker.interrupted, false);
  main.interruptPeer();
  main.interruptPeer();
  assertStrictEquals(worker.interrupted, true);
  assertStrictEquals(main.interrupted, false);
  await reading;
  await assertRejects(() => worker.read(new Uint8Array(1)), Deno.errors.Interrupted);
  assertThrows(() => worker.readSync(new Uint8Array(1), 0), Deno.errors.Interrupted);
  main.clearInterrupt();
  main.clearInterrupt();
  assertStrictEquals(worker.interrupted, false);
  assertThrows(() => worker.readSync(new Uint8Array(1), 0), Deno.errors.TimedOut);
});

Deno.test("RingChannel.interruptPeer() loses nothing and lets writes go on", async () => {
  using ends = new Pair(8);
  const { main, worker } = ends;
  await main.write(bytes("kept"));
  main.interruptPeer();
  await assertRejects(() => worker.read(new Uint8Array(1)), Deno.errors.Interrupted);
  const rest = main.write(bytes(" and more"));
  const answer = worker.write(bytes("an answer"));
  assertEquals(text(await receive(main, 9, 9)), "an answer");
  await answer;
  main.clearInterrupt();
  assertEquals(text(await receive(worker, 13, 13)), "kept and more");
  await rest;
});

Deno.test("RingChannel.interruptPeer() fails a read that waits even when cleared at once", async () => {
  using ends = new Pair();
  const { main, worker } = ends;
  const reading = worker.read(new Uint8Array(1));
  main.interruptPeer();
  main.clearInterrupt();
  await assertRejects(() => reading, Deno.errors.Interrupted);
  await main.write(bytes("x"));
  assertEquals(await readText(worker), "x");
});

for (const job of ["interruptible", "interruptibleBlocking"] as const) {
  Deno.test(`RingChannel.interruptPeer() reaches a Worker that runs ${job}, each time`, async () => {
    using worker = new HandlerWorker(job);
    const { channel } = worker;
    assertEquals(await readText(channel), "R");
    for (let round = 0; round < 200; round++) {
      channel.interruptPeer();
      await channel.write(bytes("data"));
      assertEquals(await readText(channel), "I");
      channel.clearInterrupt();
      assertEquals(text(await receive(channel, 5, 5)), "Rdata");
    }
    channel.close();
    assertEquals(await worker.result, "end");
  });
}

Deno.test("RingChannel.close() lets the other end read what is left, and then the end", async () => {
  using ends = new Pair(8, 2 ** 32 - 3);
  const { main, worker } = ends;
  await main.write(bytes("left"));
  main.close();
  main.close();
  await assertRejects(() => worker.write(bytes("x")), Deno.errors.BrokenPipe);
  assertThrows(() => worker.writeSync(bytes("x")), Deno.errors.BrokenPipe);
  assertEquals(await worker.read(new Uint8Array(3)), 3);
  assertEquals(worker.readSync(new Uint8Array(3), null), 1);
  assertStrictEquals(await worker.read(new Uint8Array(1)), null);
  assertStrictEquals(worker.readSync(new Uint8Array(1), 0), null);
  for (const operation of [() => main.read(new Uint8Array(1)), () => main.write(bytes("x"))]) {
    await assertRejects(operation, Deno.errors.BadResource);
  }
  worker.close();
});

Deno.test("RingChannel.close() ends what waits on both ends", async () => {
  for (const side of ["main", "worker"] as const) {
    using ends = new Pair(8);
    const [own, peer] = side === "main" ? [ends.main, ends.worker] : [ends.worker, ends.main];
    // Both write more than the ring holds, so that the writes of both wait.
    const ownWrite = assertRejects(() => own.write(pattern(12)), Deno.errors.BadResource);
    const peerWrite = assertRejects(() => peer.write(pattern(12)), Deno.errors.BrokenPipe);
    assertEquals(await peer.read(new Uint8Array(3)), 3);
    own.close();
    await ownWrite;
    await peerWrite;
    assertEquals(await receive(peer, 5, 5), pattern(8).subarray(3));
    assertStrictEquals(await peer.read(new Uint8Array(1)), null);
  }
  using ends = new Pair();
  const { main, worker } = ends;
  const ownRead = assertRejects(() => main.read(new Uint8Array(1)), Deno.errors.BadResource);
  const peerRead = worker.read(new Uint8Array(1));
  main.close();
  await ownRead;
  assertStrictEquals(await peerRead, null);
});

Deno.test("RingChannel.close() fails the write in which a Worker blocks", async () => {
  using worker = new HandlerWorker("writeUntilFailure");
  await receive(worker.channel, 10 * KIB, 1000);
  worker.channel.close();
  assertEquals(await worker.result, "BrokenPipe");
});

Deno.test("RingChannel.close() by a Worker is the end for the main isolate", async () => {
  using worker = new HandlerWorker("writeAndClose");
  assertEquals(await readText(worker.channel), "bye");
  assertStrictEquals(await readText(worker.channel), null);
  await assertRejects(() => worker.channel.write(bytes("x")), Deno.errors.BrokenPipe);
  assertEquals(await worker.result, "BadResource");
});

Deno.test("RingChannel lets a Worker be terminated while it blocks", async () => {
  const worker = new HandlerWorker("echoBlocking");
  await worker.channel.write(bytes("there?"));
  assertEquals(text(await receive(worker.channel, 6, 6)), "there?");
  const reading = assertRejects(() => worker.channel.read(new Uint8Array(1)));
  worker[Symbol.dispose]();
  await reading;
});
