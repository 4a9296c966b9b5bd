/**
 * Frames on a channel, both ends of which are in this isolate.
 *
 * @module
 */
import {
  assertEquals,
  assertLess,
  assertLessOrEqual,
  assertNotEquals,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { FrameReader } from "../../src/channel/frame_reader.ts";
import { FrameWriter } from "../../src/channel/frame_writer.ts";
import { FRAME, FROM_WORKER, newKey, TO_WORKER } from "../../src/channel/frames.ts";
import { pack, unpack } from "../../src/channel/payload.ts";
import { RingChannel } from "../../src/workers/thread/shared_ring.ts";
import { assertSame } from "../conversation.ts";
import { bytes, pattern, text } from "../harness.ts";

/** Two ends, for writing at one and reading at the other. */
class Pair implements Disposable {
  readonly main: RingChannel;
  readonly worker: RingChannel;
  readonly writer: FrameWriter<RingChannel>;
  readonly reader: FrameReader<RingChannel>;
  /** What waits in a ring keeps nothing alive. */
  readonly #alive = setInterval(() => {}, 60_000);

  constructor(capacity?: number) {
    const memory = RingChannel.allocate(capacity);
    this.main = new RingChannel(memory, "main");
    this.worker = new RingChannel(memory, "worker");
    this.writer = new FrameWriter(this.main);
    this.reader = new FrameReader(this.worker, TO_WORKER);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#alive);
  }
}

Deno.test("unpack() gives what pack() joined", () => {
  const { value, parts } = unpack<unknown>(pack({ name: "é", list: [1] }, bytes("one"), bytes("")));
  assertEquals(value, { name: "é", list: [1] });
  assertEquals(parts.map(text), ["one", ""]);
});

Deno.test("FrameReader.next() gives the types in order, FrameReader.payload() what came with them", async () => {
  using pair = new Pair();
  void pair.writer.write(FRAME.START, bytes("first"));
  void pair.writer.write(FRAME.END);
  void pair.writer.write(FRAME.DATA, bytes("third"));
  const frames = [];
  for (let count = 0; count < 3; count++) {
    frames.push([await pair.reader.next(), text(await pair.reader.payload())]);
  }
  assertEquals(frames, [[FRAME.START, "first"], [FRAME.END, ""], [FRAME.DATA, "third"]]);
});

Deno.test("FrameReader.next() skips what was not read of a payload", async () => {
  using pair = new Pair();
  void pair.writer.write(FRAME.DATA, pattern(10_000));
  void pair.writer.write(FRAME.END);
  await pair.reader.next();
  await pair.reader.read(new Uint8Array(7));
  assertEquals(pair.reader.left, 9993);
  assertEquals(await pair.reader.next(), FRAME.END);
});

Deno.test("FrameWriter.write() sends a frame that is larger than the channel, and another after it", async () => {
  using pair = new Pair(1024);
  const data = pattern(1 << 20);
  const written = pair.writer.write(FRAME.START, data);
  const after = pair.writer.write(FRAME.DATA, bytes("after"));
  assertEquals(pair.writer.writing, true);
  await pair.reader.next();
  assertSame(await pair.reader.payload(), data);
  await pair.reader.next();
  assertEquals(text(await pair.reader.payload()), "after");
  await Promise.all([written, after]);
  assertEquals(pair.writer.writing, false);
});

Deno.test("FrameWriter.writeSync() throws Busy while an asynchronous write is under way", async () => {
  using pair = new Pair(16);
  const written = pair.writer.write(FRAME.DATA, pattern(100));
  assertThrows(() => pair.writer.writeSync(FRAME.END), Deno.errors.Busy);
  await pair.reader.next();
  await pair.reader.payload();
  await written;
  pair.writer.writeSync(FRAME.END);
  assertEquals(await pair.reader.next(), FRAME.END);
});

Deno.test("FrameReader.next() goes on where it was interrupted, in the header and in what it skips", async () => {
  using pair = new Pair();
  const frame = Uint8Array.of(FRAME.DATA, 4, 0, 0, 0, 1, 2, 3, 4, FRAME.END, 0, 0, 0, 0);
  for (let cut = 1; cut < frame.length; cut++) {
    await pair.main.write(frame.subarray(0, cut));
    const types: unknown[] = [];
    const rest = async () => {
      while (types.at(-1) !== FRAME.END) types.push(await pair.reader.next());
    };
    const interrupted = assertRejects(rest, Deno.errors.Interrupted);
    await Promise.resolve(); // all that is there is read
    for (let turn = 0; turn < 20; turn++) await null;
    pair.main.interruptPeer();
    await interrupted;
    pair.main.clearInterrupt();
    await pair.main.write(frame.subarray(cut));
    await rest();
    assertEquals(types, [FRAME.DATA, FRAME.END], `cut at ${cut}`);
  }
});

Deno.test("FrameReader.next(false) and payload() are not interrupted", async () => {
  using pair = new Pair();
  pair.main.interruptPeer();
  const next = pair.reader.next(false);
  void pair.writer.write(FRAME.START, bytes("all of it"));
  assertEquals(await next, FRAME.START);
  assertEquals(text(await pair.reader.payload()), "all of it");
  await assertRejects(() => pair.reader.next(), Deno.errors.Interrupted);
});

Deno.test("FrameReader.next() joins a call that waits", async () => {
  using pair = new Pair();
  const both = Promise.all([pair.reader.next(), pair.reader.next()]);
  void pair.writer.write(FRAME.END);
  assertEquals(await both, [FRAME.END, FRAME.END]);
});

Deno.test("FrameReader.next() is null when the other end has closed", async () => {
  using pair = new Pair();
  pair.main.close();
  assertEquals(await pair.reader.next(), null);
  assertEquals(pair.reader.nextSync(null), null);
});

Deno.test("FrameReader.payload() rejects when the other end has closed in the middle", async () => {
  using pair = new Pair();
  await pair.main.write(Uint8Array.of(FRAME.DATA, 4, 0, 0, 0, 1));
  pair.main.close();
  await pair.reader.next();
  await assertRejects(() => pair.reader.payload(), Deno.errors.UnexpectedEof);
});

Deno.test("FrameReader.next() rejects what is no frame", async () => {
  for (const wrong of [[0, 0, 0, 0, 0], [99, 0, 0, 0, 0], [FRAME.DATA, 255, 255, 255, 255]]) {
    using pair = new Pair();
    await pair.main.write(Uint8Array.from(wrong));
    await assertRejects(() => pair.reader.next(), Deno.errors.InvalidData, "Cannot read frame");
  }
});

Deno.test("fault 5: unpack() refuses many parts, parts that go beyond the end, and what is no JSON", () => {
  const many = [...pack({}), ...new Uint8Array(4 * 100_000)];
  const wrong = [many, new Uint8Array(20_000_000), [4, 0, 0, 0, 110, 117], [1, 0], [
    1,
    0,
    0,
    0,
    120,
  ], []];
  for (const packed of wrong) {
    assertThrows(() => unpack(Uint8Array.from(packed)), Deno.errors.InvalidData, "malformed");
  }
});

Deno.test("fault 5: FrameReader.next() rejects frames that are longer than their type may be, and those of the other direction", async () => {
  for (const limits of [FROM_WORKER, TO_WORKER]) {
    for (const type of Object.values(FRAME)) {
      const limit = limits[type];
      for (const length of limit === undefined ? [0] : [limit, limit + 1]) {
        using pair = new Pair();
        const header = [length, length >>> 8, length >>> 16, length >>> 24].map((byte) =>
          byte & 255
        );
        await pair.main.write(Uint8Array.of(type, ...header));
        const reader = new FrameReader(pair.worker, limits);
        if (length === limit) assertEquals(await reader.next(), type);
        else await assertRejects(() => reader.next(), Deno.errors.InvalidData, "Cannot read frame");
      }
    }
  }
  // What a worker of a server sends is never as long as what a server may keep, or takes long to parse.
  assertLess(Math.max(...Object.values(FROM_WORKER)), 5 * 1024 * 1024);
  for (const type of [FRAME.ERROR, FRAME.DONE, FRAME.SET_OPTION, FRAME.WAIT]) {
    assertLessOrEqual(FROM_WORKER[type]!, 64 * 1024);
  }
});

Deno.test("fault 6: FrameReader.next() with a key reads what is written with it, and rejects all else", async () => {
  const key = newKey();
  assertNotEquals(key, newKey());
  for (const used of [key, "", newKey(), `${key.slice(1)}${key[0]}`]) {
    using pair = new Pair();
    pair.writer.useKey(used);
    const reader = new FrameReader(pair.worker, TO_WORKER, key);
    void pair.writer.write(FRAME.DATA, bytes("some text that is long enough"));
    void pair.writer.write(FRAME.END);
    if (used !== key) {
      await assertRejects(() => reader.next(), Deno.errors.InvalidData, "no key");
      continue;
    }
    assertEquals(await reader.next(), FRAME.DATA);
    assertEquals(text(await reader.payload()), "some text that is long enough");
    assertEquals(reader.nextSync(null), FRAME.END);
  }
});

Deno.test("FrameReader.nextSync() throws TimedOut when nothing came, and loses nothing", async () => {
  using pair = new Pair();
  await pair.main.write(Uint8Array.of(FRAME.DATA, 1, 0));
  assertThrows(() => pair.reader.nextSync(1), Deno.errors.TimedOut);
  await pair.main.write(Uint8Array.of(0, 0, 7));
  assertEquals(pair.reader.nextSync(1), FRAME.DATA);
  const payload = new Uint8Array(4);
  assertEquals([pair.reader.readSync(payload, 1), payload[0]], [1, 7]);
});
