/**
 * Frames on a channel, both ends of which are in this isolate.
 *
 * @module
 */
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { FRAME, FrameReader, FrameWriter, pack, unpack } from "../../src/remote/protocol.ts";
import { RingChannel } from "../../src/remote/shared_ring.ts";
import { assertSame, pattern } from "../conversation.ts";
import { bytes, text } from "../harness.ts";

/** Two ends, for writing at one and reading at the other. */
class Pair implements Disposable {
  readonly main: RingChannel;
  readonly unit: RingChannel;
  readonly writer: FrameWriter<RingChannel>;
  readonly reader: FrameReader<RingChannel>;
  /** What waits in a ring keeps nothing alive. */
  readonly #alive = setInterval(() => {}, 60_000);

  constructor(capacity?: number) {
    const memory = RingChannel.allocate(capacity);
    this.main = new RingChannel(memory, "main");
    this.unit = new RingChannel(memory, "unit");
    this.writer = new FrameWriter(this.main);
    this.reader = new FrameReader(this.unit);
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

Deno.test("FrameReader.nextSync() throws TimedOut when nothing came, and loses nothing", async () => {
  using pair = new Pair();
  await pair.main.write(Uint8Array.of(FRAME.DATA, 1, 0));
  assertThrows(() => pair.reader.nextSync(1), Deno.errors.TimedOut);
  await pair.main.write(Uint8Array.of(0, 0, 7));
  assertEquals(pair.reader.nextSync(1), FRAME.DATA);
  const payload = new Uint8Array(4);
  assertEquals([pair.reader.readSync(payload, 1), payload[0]], [1, 7]);
});
