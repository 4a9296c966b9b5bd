/**
 * `BufferedWriter`: all bytes in the order of the calls, and no error lost.
 *
 * @module
 */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { BufferedWriter, type WriteSink } from "@netkit/socketserver";
import { unhandledRejections } from "../conversation.ts";
import { bytes, settle, text } from "../harness.ts";

/** A sink that keeps what it is sent. */
class ListSink implements WriteSink {
  readonly sent: string[] = [];
  sendAll(data: Uint8Array): Promise<void> {
    this.sent.push(text(data));
    return Promise.resolve();
  }
}

/** A sink that takes bytes when it is told, in the order in which they came, as a socket does. */
class SlowSink implements WriteSink {
  readonly sent: string[] = [];
  readonly #waiting: { data: Uint8Array; settle: PromiseWithResolvers<void> }[] = [];

  sendAll(data: Uint8Array): Promise<void> {
    const settle = Promise.withResolvers<void>();
    this.#waiting.push({ data, settle });
    return settle.promise;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  take(): void {
    const { data, settle } = this.#waiting.shift()!;
    this.sent.push(text(data)); // only now: the bytes must not have changed meanwhile
    settle.resolve();
  }

  fail(error: unknown): void {
    this.#waiting.shift()!.settle.reject(error);
  }
}

const gone = () => new Deno.errors.BrokenPipe("gone");

/** Whether a promise has settled once everything that is ready has run. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  promise.then(() => settled = true, () => settled = true);
  await new Promise((resolve) => setTimeout(resolve, 0));
  return settled;
}

Deno.test("BufferedWriter.write() sends each write at once when the buffer has no size", async () => {
  const sink = new ListSink();
  const writer = new BufferedWriter(sink);
  assertEquals(await writer.write("one"), 3);
  assertEquals(sink.sent, ["one"]);
  writer.write(bytes("two")); // before anything is awaited
  assertEquals(sink.sent, ["one", "two"]);
  await writer.flush();
  assertEquals(sink.sent, ["one", "two"]);
});

Deno.test("BufferedWriter.write() counts bytes and sends text as UTF-8", async () => {
  for (const bufferSize of [0, 4, -1]) {
    const sink = new ListSink();
    const writer = new BufferedWriter(sink, { bufferSize });
    assertEquals(await writer.write("ž€😀"), 9);
    assertEquals(await writer.write(bytes("ž")), 2);
    assertEquals(await writer.write(""), 0);
    assertEquals(await writer.write(new Uint8Array(0)), 0);
    await writer.close();
    assertEquals(sink.sent.join(""), "ž€😀ž");
  }
});

Deno.test("BufferedWriter.write() waits until the bytes are sent when the buffer has no size", async () => {
  const sink = new SlowSink();
  const writer = new BufferedWriter(sink);
  const written = writer.write("abc");
  assertEquals(await isSettled(written), false);
  sink.take();
  assertEquals(await written, 3);
});

Deno.test("BufferedWriter.write() keeps bytes until the buffer is full", async () => {
  const sink = new ListSink();
  const writer = new BufferedWriter(sink, { bufferSize: 8 });
  assertEquals(await writer.write("abc"), 3);
  assertEquals(await writer.write("defgh"), 5); // exactly full
  assertEquals(sink.sent, []);
  assertEquals(await writer.write("i"), 1);
  assertEquals(sink.sent, ["abcdefgh"]);
  await writer.flush();
  assertEquals(sink.sent, ["abcdefgh", "i"]);
  await writer.flush();
  assertEquals(sink.sent, ["abcdefgh", "i"]);
});

Deno.test("BufferedWriter chooses 8192 bytes for a bufferSize of -1", async () => {
  const sink = new ListSink();
  const writer = new BufferedWriter(sink, { bufferSize: -1 });
  for (let index = 0; index < 8192; index++) await writer.write("x");
  assertEquals(sink.sent.length, 0);
  await writer.write("y");
  assertEquals(sink.sent.map((data) => data.length), [8192]);
});

Deno.test("BufferedWriter.write() sends what is larger than the buffer past it, in order", async () => {
  const sink = new ListSink();
  const writer = new BufferedWriter(sink, { bufferSize: 8 });
  writer.write("ab");
  writer.write("0123456789");
  writer.write("cd");
  writer.write("01234567"); // as large as the buffer
  writer.write("ef");
  await writer.close();
  assertEquals(sink.sent, ["ab", "0123456789", "cd", "01234567", "ef"]);
});

Deno.test("BufferedWriter.write() waits when the buffer has to be sent first", async () => {
  const sink = new SlowSink();
  const writer = new BufferedWriter(sink, { bufferSize: 4 });
  assertEquals(await writer.write("abc"), 3); // found room
  const written = writer.write("def");
  assertEquals(await isSettled(written), false);
  sink.take();
  assertEquals(await written, 3);
  const flushed = writer.flush();
  sink.take();
  await flushed;
  assertEquals(sink.sent, ["abc", "def"]);
});

Deno.test("BufferedWriter.write() copies what it keeps, and does not change what is on its way", async () => {
  const sink = new SlowSink();
  const writer = new BufferedWriter(sink, { bufferSize: 4 });
  const data = bytes("abc");
  await writer.write(data);
  data.fill(0x2e);
  writer.flush();
  writer.write("xyz"); // while "abc" is on its way
  sink.take();
  writer.flush();
  sink.take();
  assertEquals(sink.sent, ["abc", "xyz"]);
});

Deno.test("BufferedWriter.write() keeps the order of writes that nobody awaits", async () => {
  for (const bufferSize of [0, 1, 7, 64, -1]) {
    const sink = new SlowSink();
    const writer = new BufferedWriter(sink, { bufferSize });
    let expected = "";
    for (let index = 0; index < 200; index++) {
      const data = `${index};`.repeat(index % 5);
      expected += data;
      writer.write(index % 2 === 0 ? data : bytes(data));
    }
    const closed = writer.close();
    while (sink.waiting > 0) sink.take();
    await closed;
    assertEquals(sink.sent.join(""), expected);
  }
});

Deno.test("BufferedWriter.flush() waits for all writes so far", async () => {
  for (const bufferSize of [0, -1]) {
    const sink = new SlowSink();
    const writer = new BufferedWriter(sink, { bufferSize });
    writer.write("abc");
    const flushed = writer.flush();
    assertEquals(await isSettled(flushed), false);
    sink.take();
    await flushed;
    assertEquals(sink.sent, ["abc"]);
  }
});

Deno.test("BufferedWriter.write() rejects with the error of the sink", async () => {
  const sink = new SlowSink();
  const writer = new BufferedWriter(sink);
  const written = writer.write("abc");
  sink.fail(gone());
  await assertRejects(() => written, Deno.errors.BrokenPipe, "gone");
});

Deno.test("BufferedWriter keeps the error of a write that nobody awaited for the next call", async () => {
  const next: Record<string, (writer: BufferedWriter) => Promise<unknown>> = {
    write: (writer) => writer.write("more"),
    flush: (writer) => writer.flush(),
    close: (writer) => writer.close(),
  };
  for (const [name, call] of Object.entries(next)) {
    const sink = new SlowSink();
    const writer = new BufferedWriter(sink);
    writer.write("abc");
    sink.fail(gone());
    await new Promise((resolve) => setTimeout(resolve, 0)); // unhandled, it would fail the test
    await assertRejects(() => call(writer), Deno.errors.BrokenPipe, "gone", name);
    assertEquals(sink.waiting, 0, name); // nothing is sent after what was lost
  }
});

Deno.test("BufferedWriter keeps the first of several errors", async () => {
  const sink = new SlowSink();
  const writer = new BufferedWriter(sink);
  writer.write("a");
  writer.write("b");
  sink.fail(gone());
  sink.fail(new TypeError("another"));
  await assertRejects(() => writer.flush(), Deno.errors.BrokenPipe);
});

Deno.test("BufferedWriter.flush() rejects when an earlier send failed and the last did not", async () => {
  const sink = new SlowSink();
  const writer = new BufferedWriter(sink);
  writer.write("a");
  writer.write("b");
  sink.fail(gone());
  sink.take();
  await assertRejects(() => writer.flush(), Deno.errors.BrokenPipe);
});

Deno.test("BufferedWriter.flush() and close() that nobody awaits are no unhandled rejections", async () => {
  using unhandled = unhandledRejections();
  for (const end of ["flush", "close"] as const) {
    const sink = new SlowSink();
    const writer = new BufferedWriter(sink, { bufferSize: -1 });
    writer.write("abc");
    writer[end]();
    sink.fail(gone());
    await settle();
  }
  assertEquals(unhandled.reasons, []);
});

Deno.test("BufferedWriter.close() flushes, once, and leaves no way to write", async () => {
  const sink = new ListSink();
  const writer = new BufferedWriter(sink, { bufferSize: -1 });
  await writer.write("abc");
  assertEquals(writer.closed, false);
  await writer.close();
  assertEquals(writer.closed, true);
  assertEquals(sink.sent, ["abc"]);
  await writer.close();
  await assertRejects(() => writer.write("more"), Deno.errors.BadResource, "wfile");
  assertEquals(sink.sent, ["abc"]);
});

Deno.test("BufferedWriter.close() that failed may be called again", async () => {
  const sink = new SlowSink();
  const writer = new BufferedWriter(sink, { bufferSize: -1 });
  writer.write("abc");
  const closed = writer.close();
  sink.fail(gone());
  await assertRejects(() => closed, Deno.errors.BrokenPipe);
  assertEquals(writer.closed, true);
  await writer.close();
});

Deno.test("BufferedWriter.writable writes, and closing it flushes and closes the writer", async () => {
  const sink = new ListSink();
  const writer = new BufferedWriter(sink, { bufferSize: -1 });
  assertStrictEquals(writer.writable, writer.writable);
  await writer.write("head;");
  await ReadableStream.from([bytes("a;"), bytes("b")]).pipeTo(writer.writable);
  assertEquals(sink.sent, ["head;a;b"]);
  assertEquals(writer.closed, true);
});

Deno.test("BufferedWriter.writable fails with the error of the sink", async () => {
  const sink: WriteSink = { sendAll: () => Promise.reject(gone()) };
  const stream = new BufferedWriter(sink).writable.getWriter();
  stream.closed.catch(() => {}); // the same error again
  const error = await stream.write(bytes("abc")).catch((error: unknown) => error);
  assertInstanceOf(error, Deno.errors.BrokenPipe);
});

/** A sink on which one may block. */
class BlockingSink extends SlowSink {
  sendAllSync(data: Uint8Array): void {
    assertEquals(this.waiting, 0, "a blocking send while another is under way");
    this.sent.push(text(data));
  }
}

Deno.test("BufferedWriter.writeSync() sends or keeps as write() does", () => {
  const direct = new BlockingSink();
  const unbuffered = new BufferedWriter(direct);
  assertEquals(unbuffered.writeSync("ž€"), 5);
  assertEquals(unbuffered.writeSync(bytes("two")), 3);
  assertEquals(direct.sent, ["ž€", "two"]);

  const sink = new BlockingSink();
  const writer = new BufferedWriter(sink, { bufferSize: 8 });
  for (const data of ["ab", "0123456789", "cd", "efghijk", "lm"]) writer.writeSync(data);
  assertEquals(sink.sent, ["ab", "0123456789", "cd", "efghijk"]);
  writer.flushSync();
  writer.flushSync();
  assertEquals(sink.sent.slice(4), ["lm"]);
});

Deno.test("BufferedWriter.writeSync() and write() keep one order", async () => {
  const sink = new BlockingSink();
  const writer = new BufferedWriter(sink, { bufferSize: 8 });
  await writer.write("a");
  writer.writeSync("b");
  writer.write("c");
  const flushed = writer.flush();
  sink.take();
  await flushed;
  writer.writeSync("d");
  writer.flushSync();
  assertEquals(sink.sent, ["abc", "d"]);
});

Deno.test("BufferedWriter.writeSync() throws Busy while an asynchronous write is sent", async () => {
  const sink = new BlockingSink();
  const writer = new BufferedWriter(sink);
  const written = writer.write("first");
  assertThrows(() => writer.writeSync("x"), Deno.errors.Busy, "writeSync()");
  assertThrows(() => writer.flushSync(), Deno.errors.Busy, "flushSync()");
  sink.take();
  await written;
  writer.writeSync("second");
  assertEquals(sink.sent, ["first", "second"]);
});

Deno.test("BufferedWriter keeps the error of a blocking write for the next call, and of others for it", async () => {
  const failing: WriteSink = {
    sendAll: () => Promise.reject(gone()),
    sendAllSync: () => {
      throw gone();
    },
  };
  const writer = new BufferedWriter(failing);
  const error = assertThrows(() => writer.writeSync("x"), Deno.errors.BrokenPipe, "gone");
  assertStrictEquals(assertThrows(() => writer.flushSync()), error);
  assertStrictEquals(await assertRejects(() => writer.write("x")), error);
  const other = new BufferedWriter(failing);
  const first = await assertRejects(() => other.write("x"), Deno.errors.BrokenPipe);
  assertStrictEquals(assertThrows(() => other.writeSync("x")), first);
});

Deno.test("BufferedWriter sends nothing while its sink is busy for blocking writes, loses nothing, and goes on later", async () => {
  class BusySink extends BlockingSink {
    isBusy = true;
    override sendAllSync(data: Uint8Array): void {
      if (this.isBusy) throw new Deno.errors.Busy("a call is under way");
      super.sendAllSync(data);
    }
  }
  const direct = new BusySink();
  const unbuffered = new BufferedWriter(direct);
  assertThrows(() => unbuffered.writeSync("x"), Deno.errors.Busy, "a call is");
  direct.isBusy = false;
  assertEquals(unbuffered.writeSync("y"), 1);
  assertEquals(direct.sent, ["y"]);

  const sink = new BusySink();
  const writer = new BufferedWriter(sink, { bufferSize: 8 });
  writer.writeSync("abcd");
  assertThrows(() => writer.flushSync(), Deno.errors.Busy);
  assertThrows(() => writer.writeSync("efghi"), Deno.errors.Busy);
  assertThrows(() => writer.writeSync("longer than 8"), Deno.errors.Busy);
  writer.writeSync("efgh");
  const flushed = writer.flush();
  sink.take();
  await flushed;
  assertEquals(sink.sent, ["abcdefgh"]);
});

Deno.test("BufferedWriter fails for good where its sink becomes busy half-way", () => {
  const sent: string[] = [];
  const writer = new BufferedWriter({
    sendAll: () => Promise.resolve(),
    sendAllSync: (data) => {
      if (sent.length > 0) throw new Deno.errors.Busy("on demand");
      sent.push(text(data));
    },
  }, { bufferSize: 4 });
  writer.writeSync("abc");
  const error = assertThrows(() => writer.writeSync("defgh"), Deno.errors.Busy);
  assertStrictEquals(assertThrows(() => writer.writeSync("x")), error);
  assertEquals(sent, ["abc"]);
});

Deno.test("BufferedWriter.writeSync() throws when the writer is closed", async () => {
  const writer = new BufferedWriter(new BlockingSink());
  await writer.close();
  assertThrows(() => writer.writeSync("x"), Deno.errors.BadResource, "wfile");
});

Deno.test("BufferedWriter throws RangeError when the size is none", () => {
  for (const bufferSize of [-2, 1.5, NaN, Infinity]) {
    assertThrows(() => new BufferedWriter(new ListSink(), { bufferSize }), RangeError);
  }
  assert(new BufferedWriter(new ListSink(), {}).closed === false);
});
