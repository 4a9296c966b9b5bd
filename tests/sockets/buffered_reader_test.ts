/**
 * `BufferedReader`: lines and frames with limits, from sources that behave and sources that do not.
 *
 * @module
 */
import {
  assert,
  assertEquals,
  assertGreater,
  assertInstanceOf,
  assertLess,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import {
  BufferedReader,
  type BufferedReaderOptions,
  IncompleteReadError,
  LineTooLongError,
  type ReadSource,
  StreamRequestHandler,
  TCPServer,
} from "@netkit/socketserver";
import {
  bytes,
  connect,
  letsTurn,
  LOOPBACK,
  readAll,
  readExactly,
  start,
  text,
  writeAll,
} from "../harness.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

/** A source that gives its chunks one read at a time and keeps a record of what it was asked for. */
class ChunkSource implements ReadSource {
  /** The sizes of the buffers that it was given. */
  readonly asked: number[] = [];
  /** How many bytes it has given. */
  given = 0;
  readonly #chunks: Uint8Array[];

  constructor(...chunks: (string | Uint8Array)[]) {
    this.#chunks = chunks.map((chunk) => typeof chunk === "string" ? bytes(chunk) : chunk);
  }

  read(p: Uint8Array): Promise<number | null> {
    return Promise.resolve(this.readSync(p));
  }

  readSync(p: Uint8Array): number | null {
    this.asked.push(p.length);
    const chunk = this.#chunks[0];
    if (chunk === undefined) return null;
    const count = Math.min(chunk.length, p.length);
    p.set(chunk.subarray(0, count));
    if (count < chunk.length) this.#chunks[0] = chunk.subarray(count);
    else this.#chunks.shift();
    this.given += count;
    return count;
  }
}

/** A source that gives what it is told, when it is told. */
class ManualSource implements ReadSource {
  #waiting: { p: Uint8Array; settle: PromiseWithResolvers<number | null> } | null = null;

  read(p: Uint8Array): Promise<number | null> {
    assertEquals(this.#waiting, null, "two reads of the source at once");
    this.#waiting = { p, settle: Promise.withResolvers<number | null>() };
    return this.#waiting.settle.promise;
  }

  get waiting(): boolean {
    return this.#waiting !== null;
  }

  give(data: string | null): void {
    const { p, settle } = this.#waiting!;
    this.#waiting = null;
    if (data === null) return settle.resolve(null);
    p.set(bytes(data));
    settle.resolve(data.length);
  }
}

/** A source of one byte for ever. */
class EndlessSource implements ReadSource {
  mostAsked = 0;
  given = 0;
  reads = 0;
  read(p: Uint8Array): Promise<number | null> {
    this.reads++;
    this.mostAsked = Math.max(this.mostAsked, p.length);
    this.given += p.length;
    p.fill(0x78);
    return Promise.resolve(p.length);
  }
}

/** Counts the bytes that typed arrays move and search, until the end of the scope. */
class WorkCounter implements Disposable {
  bytes = 0;
  readonly #prototype = Object.getPrototypeOf(Uint8Array.prototype);
  readonly #original = {
    set: Uint8Array.prototype.set,
    copyWithin: Uint8Array.prototype.copyWithin,
    indexOf: Uint8Array.prototype.indexOf,
  };

  constructor() {
    const count = (bytes: number) => this.bytes += bytes;
    const { set, copyWithin, indexOf } = this.#original;
    Object.assign(this.#prototype, {
      set(this: Uint8Array, source: Uint8Array, offset?: number): void {
        count(source.length);
        set.call(this, source, offset);
      },
      copyWithin(this: Uint8Array, to: number, from: number, end = this.length): Uint8Array {
        count(end - from);
        return copyWithin.call(this, to, from, end);
      },
      indexOf(this: Uint8Array, byte: number, from = 0): number {
        const found = indexOf.call(this, byte, from);
        count((found < 0 ? this.length : found + 1) - from);
        return found;
      },
    });
  }

  [Symbol.dispose](): void {
    Object.assign(this.#prototype, this.#original);
  }
}

/** The methods of a reader that wait. */
type Face = Pick<
  BufferedReader,
  "read" | "read1" | "readExactly" | "readline" | "readUntil" | "peek" | "lines"
>;

/** The methods of a reader that block, under the names of those that wait. */
class BlockingFace implements Face {
  readonly #reader: BufferedReader;

  constructor(reader: BufferedReader) {
    this.#reader = reader;
  }

  read(size?: number) {
    return Promise.try(() => this.#reader.readSync(size));
  }

  read1(size?: number) {
    return Promise.try(() => this.#reader.read1Sync(size));
  }

  readExactly(size: number) {
    return Promise.try(() => this.#reader.readExactlySync(size));
  }

  readline(limit?: number) {
    return Promise.try(() => this.#reader.readlineSync(limit));
  }

  readUntil(delimiter: Uint8Array | string, limit?: number) {
    return Promise.try(() => this.#reader.readUntilSync(delimiter, limit));
  }

  peek(size: number) {
    return Promise.try(() => this.#reader.peekSync(size));
  }

  async *lines(encoding?: string) {
    yield* this.#reader.linesSync(encoding);
  }

  async *[Symbol.asyncIterator]() {
    yield* this.#reader;
  }
}

const FACES: Record<string, (reader: BufferedReader) => Face & AsyncIterable<Uint8Array>> = {
  waiting: (reader) => reader,
  blocking: (reader) => new BlockingFace(reader),
};

/** A reader over chunks. */
function readerOf(...chunks: (string | Uint8Array)[]): BufferedReader {
  return new BufferedReader(new ChunkSource(...chunks));
}

async function collect<T>(values: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const value of values) all.push(value);
  return all;
}

Deno.test("BufferedReader.read() gives all to the end, and nothing after that", async () => {
  const reader = readerOf("abc", "def", "g");
  assertEquals(text(await reader.read()), "abcdefg");
  assertEquals((await reader.read()).length, 0);
  assertEquals((await reader.read(5)).length, 0);
  assertEquals((await reader.readline()).length, 0);
  assertEquals((await reader.read1()).length, 0);
  assertEquals((await reader.peek(1)).length, 0);
});

Deno.test("BufferedReader.read() gives the size it is asked for, however it arrives", async () => {
  const reader = readerOf("a", "bc", "defgh", "ij");
  assertEquals(text(await reader.read(0)), "");
  assertEquals(text(await reader.read(4)), "abcd");
  assertEquals(text(await reader.read(1)), "e");
  assertEquals(text(await reader.read(100)), "fghij");
});

Deno.test("BufferedReader.read() gives bytes that are the caller's to change", async () => {
  const reader = readerOf("abcdef\nghi\n");
  for (const read of ["peek", "read", "read1", "readExactly"] as const) {
    (await reader[read](1)).fill(0);
  }
  (await reader.readline()).fill(0);
  assertEquals(text(await reader.readline()), "ghi\n");
});

Deno.test("BufferedReader.read() moves megabytes unharmed", async () => {
  const data = new Uint8Array(3 * MIB + 17).map((_, index) => (index * 7) & 0xff);
  for (const bufferSize of [0, 100, -1, MIB]) {
    const reader = new BufferedReader(new ChunkSource(data.slice()), { bufferSize });
    const head = await reader.read(MIB + 1);
    const rest = await reader.read();
    assertEquals(head.length + rest.length, data.length);
    assert(head.every((byte, index) => byte === data[index]));
    assert(rest.every((byte, index) => byte === data[head.length + index]));
  }
});

Deno.test("BufferedReader.read() after readline() gives a long body unharmed", async () => {
  const body = new Uint8Array(200_000).map((_, index) => (index * 7 + (index >> 8)) | 0x80);
  for (const bufferSize of [0, 1, 100, -1, MIB]) {
    for (const chunk of [1000, 1460, 10_000, MIB]) {
      for (const size of [-1, body.length]) {
        const chunks = Array.from(
          { length: Math.ceil(body.length / chunk) },
          (_, index) => body.subarray(index * chunk, (index + 1) * chunk),
        );
        const reader = new BufferedReader(new ChunkSource("POST\n", ...chunks), { bufferSize });
        assertEquals(text(await reader.readline()), "POST\n");
        const got = await reader.read(size);
        const what = `bufferSize ${bufferSize}, chunks of ${chunk}, read(${size})`;
        assertEquals(got.length, body.length, what);
        assertEquals(got.findIndex((byte, index) => byte !== body[index]), -1, what);
      }
    }
  }
});

Deno.test("BufferedReader.read() throws RangeError when the size is none", async () => {
  const reader = readerOf("abc");
  for (const size of [-2, 1.5, NaN]) {
    await assertRejects(() => reader.read(size), RangeError, "size");
    await assertRejects(() => reader.read1(size), RangeError, "size");
  }
  for (const size of [-1, 1.5]) {
    await assertRejects(() => reader.readExactly(size), RangeError, "size");
    await assertRejects(() => reader.peek(size), RangeError, "size");
  }
  for (const limit of [0, -1, 1.5]) {
    await assertRejects(() => reader.readline(limit), RangeError, "limit");
    await assertRejects(() => reader.readUntil(";", limit), RangeError, "limit");
  }
  await assertRejects(() => reader.readUntil(""), RangeError, "delimiter");
  await assertRejects(() => reader.readUntil(new Uint8Array(0)), RangeError, "delimiter");
  assertEquals(text(await reader.read()), "abc");
});

Deno.test("BufferedReader throws RangeError when a size is out of range", () => {
  const make = (options: BufferedReaderOptions) => () =>
    new BufferedReader(new ChunkSource(), options);
  assertThrows(make({ bufferSize: -2 }), RangeError, "bufferSize");
  assertThrows(make({ bufferSize: 0.5 }), RangeError, "bufferSize");
  assertThrows(make({ maxLineLength: 0 }), RangeError, "maxLineLength");
  assertEquals(make({})().maxLineLength, 65536);
  assertEquals(make({ maxLineLength: 10 })().maxLineLength, 10);
});

Deno.test("BufferedReader.read1() reads the source once at the most", async () => {
  const source = new ChunkSource("abc", "def");
  const reader = new BufferedReader(source);
  assertEquals(text(await reader.read1(2)), "ab");
  assertEquals(text(await reader.read1(10)), "c");
  assertEquals(source.asked.length, 1);
  assertEquals(text(await reader.read1()), "def");
  assertEquals((await reader.read1()).length, 0);
});

Deno.test("BufferedReader.read1() does not read the source for no bytes", async () => {
  const source = new ChunkSource("abc");
  const reader = new BufferedReader(source);
  assertEquals((await reader.read1(0)).length, 0);
  assertEquals(source.asked, []);
});

Deno.test("BufferedReader.read1() does not allocate the size when that is huge", async () => {
  for (const size of [2 ** 31, Number.MAX_SAFE_INTEGER]) {
    const source = new ChunkSource("abc");
    const reader = new BufferedReader(source);
    assertEquals(text(await reader.read1(size)), "abc");
    assertLess(source.asked[0]!, MIB + 1);
  }
});

Deno.test("BufferedReader.readExactly() throws IncompleteReadError with what arrived", async () => {
  const reader = readerOf("ab", "cd", "e");
  assertEquals(text(await reader.readExactly(3)), "abc");
  const error = await assertRejects(() => reader.readExactly(4), IncompleteReadError);
  assertEquals(text(error.partial), "de");
  assertInstanceOf(error, Deno.errors.UnexpectedEof);
  assertEquals((await reader.readExactly(0)).length, 0);
  const empty = await assertRejects(() => reader.readExactly(1), IncompleteReadError);
  assertEquals(empty.partial.length, 0);
});

Deno.test("BufferedReader.readExactly() does not allocate the size when the stream is short", async () => {
  for (const size of [2 ** 40, Number.MAX_SAFE_INTEGER]) {
    const source = new ChunkSource("abc");
    const reader = new BufferedReader(source);
    const error = await assertRejects(() => reader.readExactly(size), IncompleteReadError);
    assertEquals(text(error.partial), "abc");
    assertEquals(error.partial.buffer.byteLength, 3);
    assert(Math.max(...source.asked) <= 64 * KIB);
  }
});

Deno.test("BufferedReader.readExactly() reads a huge frame past the buffer, in few reads", async () => {
  const source = new EndlessSource();
  const reader = new BufferedReader(source);
  assertEquals(await reader.peek(3), bytes("xxx"));
  assertEquals((await reader.readExactly(64 * MIB)).length, 64 * MIB);
  assertLess(source.reads, 20); // as much at a time as has arrived before
  assertLess(source.mostAsked, 64 * MIB);
});

Deno.test("BufferedReader.read() reads ahead for small frames", async () => {
  const source = new ChunkSource(bytes("0123456789".repeat(1000)));
  const reader = new BufferedReader(source);
  for (let frame = 0; frame < 1000; frame++) {
    assertEquals(text(await reader.read(4)), "0123");
    assertEquals(text(await reader.readExactly(6)), "456789");
  }
  assertEquals(source.asked, [1024, 2048, 4096, 8192]);
});

Deno.test("BufferedReader has a small buffer until a read fills it", async () => {
  const source = new ChunkSource("short\n", "another\n", "x\n".repeat(20_000));
  const reader = new BufferedReader(source);
  await reader.readline();
  await reader.readline();
  assertEquals(source.asked, [1024, 1024]);
  for await (const _ of reader) { /* all of them */ }
  assertEquals(source.asked.slice(2), [1024, 2048, 4096, ...Array(6).fill(8192)]);
});

Deno.test("BufferedReader has a buffer of no more than the size it is told", async () => {
  for (const bufferSize of [1, 100, 1024, 3000]) {
    const source = new ChunkSource("x\n".repeat(20_000));
    const reader = new BufferedReader(source, { bufferSize });
    for await (const _ of reader) { /* all of them */ }
    assertEquals(Math.max(...source.asked), Math.max(bufferSize, 1));
  }
});

Deno.test("BufferedReader.readline() gives lines with their ends", async () => {
  const reader = readerOf("one\ntw", "o\r\n\nthree");
  assertEquals(text(await reader.readline()), "one\n");
  assertEquals(text(await reader.readline()), "two\r\n");
  assertEquals(text(await reader.readline()), "\n");
  assertEquals(text(await reader.readline()), "three");
  assertEquals(text(await reader.readline()), "");
});

Deno.test("BufferedReader.readline() takes a line of exactly the limit, its end included", async () => {
  for (const limit of [1, 2, 10, 8192, 8193, 65536]) {
    const line = "x".repeat(limit - 1) + "\n";
    for (const bufferSize of [0, 1, 7, -1]) {
      const good = new BufferedReader(new ChunkSource(line, "rest"), { bufferSize });
      assertEquals(text(await good.readline(limit)), line);
      assertEquals(text(await good.read()), "rest");

      const bad = new BufferedReader(new ChunkSource("x" + line), { bufferSize });
      const error = await assertRejects(() => bad.readline(limit), LineTooLongError);
      assertEquals(error.limit, limit);
    }
  }
});

Deno.test("BufferedReader.readline() over its limit throws, and the bytes stay readable", async () => {
  const reader = readerOf("GET /a-long-path", "-that-goes-on HTTP/1.0\n", "next\n");
  await assertRejects(() => reader.readline(20), LineTooLongError);
  await assertRejects(() => reader.readline(20), LineTooLongError);
  assertEquals(text(await reader.peek(4)), "GET ");
  assertEquals(text(await reader.readline(1000)), "GET /a-long-path-that-goes-on HTTP/1.0\n");
  assertEquals(text(await reader.readline(20)), "next\n");
});

Deno.test("BufferedReader.readline() without a limit takes maxLineLength", async () => {
  const options = { maxLineLength: 4 };
  const fits = new BufferedReader(new ChunkSource("abc\nabcd\n"), options);
  assertEquals(text(await fits.readline()), "abc\n");
  assertEquals((await assertRejects(() => fits.readline(), LineTooLongError)).limit, 4);
  assertEquals(text(await fits.readline(5)), "abcd\n");
  const iterated = new BufferedReader(new ChunkSource("abcd\n"), options);
  await assertRejects(() => collect(iterated), LineTooLongError);
  const asText = new BufferedReader(new ChunkSource("abcd\n"), options);
  await assertRejects(() => collect(asText.lines()), LineTooLongError);
  const until = new BufferedReader(new ChunkSource("abcd;"), options);
  await assertRejects(() => until.readUntil(";"), LineTooLongError);
});

Deno.test("BufferedReader.readUntil() reads up to and with the delimiter", async () => {
  const reader = readerOf("key: value; other: thing\r\n\r\nbody");
  assertEquals(text(await reader.readUntil("; ")), "key: value; ");
  assertEquals(text(await reader.readUntil(bytes("\r\n\r\n"))), "other: thing\r\n\r\n");
  assertEquals(text(await reader.readUntil("\r\n")), "body");
  assertEquals(text(await reader.readUntil("\r\n")), "");
});

Deno.test("BufferedReader.readUntil() takes a delimiter that is text as UTF-8", async () => {
  const reader = new BufferedReader(
    new ChunkSource(...[...bytes("ž€;€ a")].map((b) => Uint8Array.of(b))),
  );
  assertEquals(text(await reader.readUntil("€")), "ž€");
  assertEquals(text(await reader.readUntil("€")), ";€");
});

Deno.test("BufferedReader.readUntil() finds a delimiter wherever it is split, and one that overlaps itself", async () => {
  const cases: [data: string, delimiter: string, frame: string][] = [
    ["aaab", "aab", "aaab"],
    ["aaaab", "aab", "aaaab"],
    ["ababac!", "abac", "ababac"],
    ["aabaabaaab", "aabaaab", "aabaabaaab"],
    ["\r\r\n\r\n", "\r\n\r\n", "\r\r\n\r\n"],
    ["\r\n\r\r\n\r\nx", "\r\n\r\n", "\r\n\r\r\n\r\n"],
    ["--bound--boundary--", "--boundary--", "--bound--boundary--"],
    ["aaaa", "aab", "aaaa"],
    ["aa", "aab", "aa"],
  ];
  for (const [data, delimiter, frame] of cases) {
    for (let first = 0; first <= data.length; first++) {
      for (let second = first; second <= data.length; second++) {
        const chunks = [data.slice(0, first), data.slice(first, second), data.slice(second)];
        for (const bufferSize of [0, 1, 3, -1]) {
          const source = new ChunkSource(...chunks.filter((chunk) => chunk !== ""));
          const reader = new BufferedReader(source, { bufferSize });
          assertEquals(text(await reader.readUntil(delimiter)), frame, chunks.join("|"));
          assertEquals(text(await reader.read()), data.slice(frame.length));
        }
      }
    }
  }
});

Deno.test("BufferedReader.readUntil() counts the delimiter in its limit", async () => {
  for (const bufferSize of [0, -1]) {
    const make = () => new BufferedReader(new ChunkSource("abcdef\r\nrest"), { bufferSize });
    assertEquals(text(await make().readUntil("\r\n", 8)), "abcdef\r\n");
    const reader = make();
    await assertRejects(() => reader.readUntil("\r\n", 7), LineTooLongError);
    assertEquals(text(await reader.readUntil("\r\n", 8)), "abcdef\r\n");
    await assertRejects(() => make().readUntil("a long delimiter", 4), RangeError);
  }
});

Deno.test("BufferedReader.peek() looks without taking, and waits for its size", async () => {
  const reader = readerOf("a", "bc", "def");
  assertEquals(text(await reader.peek(0)), "");
  assertEquals(text(await reader.peek(2)), "ab");
  assertEquals(text(await reader.peek(5)), "abcde");
  assertEquals(text(await reader.read(3)), "abc");
  assertEquals(text(await reader.peek(100)), "def");
  assertEquals(text(await reader.read()), "def");
});

Deno.test("BufferedReader.atEnd() waits for the next record or the end, and takes nothing", async () => {
  const source = new ManualSource();
  const reader = new BufferedReader(source);
  const isEnd = reader.atEnd();
  source.give("ab");
  assertEquals([await isEnd, await reader.atEnd()], [false, false]);
  assertEquals(text(await reader.readExactly(2)), "ab");

  const bytesOnly = BufferedReader.fromBytes(bytes("a"));
  assertEquals(bytesOnly.atEndSync(), false);
  assertEquals(text(bytesOnly.readSync()), "a");
  assertEquals([bytesOnly.atEndSync(), await bytesOnly.atEnd()], [true, true]);
});

Deno.test("BufferedReader.peek() may look beyond the size of the buffer", async () => {
  const long = "x".repeat(100_000);
  const reader = readerOf(long, "end");
  assertEquals(text(await reader.peek(100_003)), `${long}end`);
  assertEquals(text(await reader.read()), `${long}end`);
});

Deno.test("BufferedReader.peek() does not allocate the size before the bytes arrive", async () => {
  for (const bufferSize of [0, -1]) {
    const source = new ChunkSource("abc");
    const reader = new BufferedReader(source, { bufferSize });
    assertEquals(text(await reader.peek(2 ** 30)), "abc");
    assert(Math.max(...source.asked) <= 64 * KIB);
  }
});

Deno.test("BufferedReader iterates over lines as bytes, and goes on where an iteration stopped", async () => {
  const reader = readerOf("one\ntwo\r\nthr", "ee\nfour");
  for await (const line of reader) {
    assertEquals(text(line), "one\n");
    break;
  }
  assertEquals(text(await reader.read(2)), "tw");
  assertEquals((await collect(reader)).map(text), ["o\r\n", "three\n", "four"]);
  assertEquals(await collect(reader), []);
});

Deno.test("BufferedReader.lines() gives text without the ends", async () => {
  const read = (data: string | Uint8Array, encoding?: string) =>
    collect(
      BufferedReader.fromBytes(typeof data === "string" ? bytes(data) : data).lines(encoding),
    );
  assertEquals(await read("a\nb\r\nc"), ["a", "b", "c"]);
  assertEquals(await read("a\n\n\r\nb\n"), ["a", "", "", "b"]);
  assertEquals(await read("a\rb\r\r\nc\r"), ["a\rb\r", "c\r"]);
  assertEquals(await read(""), []);
  assertEquals(await read("\n"), [""]);
  assertEquals(await read("žluť €\n😀\n"), ["žluť €", "😀"]);
});

Deno.test("BufferedReader.lines() decodes what it is told, and replaces what is wrong", async () => {
  const reader = (data: number[]) => BufferedReader.fromBytes(Uint8Array.from(data));
  assertEquals(await collect(reader([0xe9, 0x0a, 0xfc]).lines("latin1")), ["é", "ü"]);
  assertEquals(await collect(reader([0x41, 0xff, 0x0a, 0x42]).lines()), ["A\ufffd", "B"]);
  // A sequence that the line end cuts short does not reach into the next line.
  assertEquals(await collect(reader([0xe2, 0x82, 0x0a, 0xac, 0x0a]).lines()), ["\ufffd", "\ufffd"]);
});

Deno.test("BufferedReader.lines() keeps a byte order mark, on each line", async () => {
  const data = "\ufeffone\n\ufefftwo\n";
  assertEquals(await collect(BufferedReader.fromBytes(bytes(data)).lines()), [
    "\ufeffone",
    "\ufefftwo",
  ]);
});

Deno.test("BufferedReader.lines() refuses encodings in which a line end is not one byte", async () => {
  for (const encoding of ["utf-16", "utf-16le", "UTF-16BE", "no-such-encoding"]) {
    const reader = readerOf("abc\n");
    assertThrows(() => reader.lines(encoding), RangeError);
    assertEquals(text(await reader.read()), "abc\n");
  }
});

for (const how of ["bytes", "text"]) {
  const iterate = (reader: BufferedReader): AsyncGenerator<unknown, void, void> =>
    how === "bytes" ? reader[Symbol.asyncIterator]() : reader.lines();

  Deno.test(`BufferedReader's iteration over lines as ${how} is over when it has failed, and the reader goes on`, async () => {
    const source = new ChunkSource("abcdefgh\nnext\n");
    const reader = new BufferedReader(source, { maxLineLength: 4 });
    const lines = iterate(reader);
    await assertRejects(() => lines.next(), LineTooLongError);
    assertEquals(await lines.next(), { done: true, value: undefined });
    assertEquals(text(await reader.readline(100)), "abcdefgh\n");
  });

  Deno.test(`BufferedReader's iteration over lines as ${how} leaves the rest to others when its loop is left`, async () => {
    const reader = readerOf("one\ntwo\nthree\n");
    const lines = iterate(reader);
    for await (const _ of lines) break;
    assertEquals(await lines.next(), { done: true, value: undefined });
    assertEquals(text(await reader.readline()), "two\n");
  });

  const end = how === "bytes" ? "\n" : "";
  const given = ({ value, done }: IteratorResult<unknown, void>): string | null => {
    if (done === true) return null;
    return value instanceof Uint8Array ? text(value) : String(value);
  };

  Deno.test(`BufferedReader's iteration over lines as ${how} gives several that are asked for at once in order`, async () => {
    const lines = iterate(new BufferedReader(new ChunkSource("one\nt", "wo\n", "three\n")));
    const asked = Array.from({ length: 4 }, () => lines.next());
    asked.push(asked[1]!.then(() => lines.next()));
    const expected = [`one${end}`, `two${end}`, `three${end}`, null, null];
    assertEquals((await Promise.all(asked)).map(given), expected);
  });

  Deno.test(`BufferedReader's iteration over lines as ${how} tells of an error once when several are asked for`, async () => {
    const lines = iterate(new BufferedReader(new ChunkSource("abcdefgh\n"), { maxLineLength: 4 }));
    const [first, second] = [lines.next(), lines.next()];
    await assertRejects(() => first, LineTooLongError);
    assertEquals(await second, { done: true, value: undefined });
  });

  Deno.test(`BufferedReader's iteration over lines as ${how} is ended by return(), throw() and disposal, but not the line under way`, async () => {
    const ends: ((lines: AsyncGenerator<unknown, void, void>) => Promise<unknown>)[] = [
      (lines) => lines.return(),
      (lines) => assertRejects(() => lines.throw(new RangeError("own")), RangeError, "own"),
      async (lines) => await lines[Symbol.asyncDispose](),
    ];
    for (const endBy of ends) {
      const source = new ManualSource();
      const lines = iterate(new BufferedReader(source));
      const asked = [lines.next(), lines.next()];
      await endBy(lines);
      source.give("one\ntwo\n");
      assertEquals((await Promise.all(asked)).map(given), [`one${end}`, null]);
      assertEquals(await lines.next(), { done: true, value: undefined });
    }
  });
}

Deno.test("BufferedReader.readable gives the rest, what was buffered first", async () => {
  const reader = readerOf("head\nbody ", "and more");
  await reader.readline();
  assertEquals(await new Response(reader.readable).text(), "body and more");
  assertStrictEquals(reader.readable, reader.readable);
  assertEquals((await reader.read()).length, 0);
});

Deno.test("BufferedReader.readable takes turns with the other methods", async () => {
  const reader = readerOf("head\nabcdefgh");
  assertEquals(text(await reader.readline()), "head\n");
  const stream = reader.readable.getReader({ mode: "byob" });
  assertEquals(text((await stream.read(new Uint8Array(3))).value!), "abc");
  stream.releaseLock();
  assertEquals(text(await reader.read(2)), "de");
  assertEquals((await Array.fromAsync(reader.readable)).map(text), ["fgh"]);
  assertEquals((await reader.read()).length, 0);
});

Deno.test("BufferedReader.readable ends the reader when it is cancelled", async () => {
  const reader = readerOf("abc", "def");
  const stream = reader.readable.getReader();
  assertEquals(text((await stream.read()).value!), "abc");
  await stream.cancel();
  assertEquals((await reader.read()).length, 0);
});

Deno.test("BufferedReader.fromBytes() reads bytes in memory, which it leaves alone", async () => {
  const data = bytes("one\ntwo\nthree");
  const reader = BufferedReader.fromBytes(data);
  assertEquals(text(await reader.readline()), "one\n");
  assertEquals(text(await reader.peek(3)), "two");
  assertEquals(text(await reader.read()), "two\nthree");
  assertEquals(text(data), "one\ntwo\nthree");
  assertEquals((await BufferedReader.fromBytes(new Uint8Array(0)).read()).length, 0);
  const part = BufferedReader.fromBytes(data.subarray(4, 8));
  assertEquals(await collect(part.lines()), ["two"]);
  const limited = BufferedReader.fromBytes(data, { maxLineLength: 3 });
  await assertRejects(() => limited.readline(), LineTooLongError);
});

Deno.test("BufferedReader with bufferSize 0 never reads ahead of what is asked for", async () => {
  const source = new ChunkSource("line\r\nframe;12345peeked rest of it");
  const reader = new BufferedReader(source, { bufferSize: 0 });
  await reader.readline();
  assertEquals(source.given, 6);
  await reader.readUntil(";");
  assertEquals(source.given, 12);
  await reader.readExactly(5);
  assertEquals(source.given, 17);
  await reader.peek(6);
  assertEquals(source.given, 23);
  await reader.read(6);
  assertEquals(source.given, 23);
  await reader.read1(3);
  assertEquals(source.given, 26);
  for await (const line of readerOf()) assertEquals(line.length, 0);
  await reader.read(2);
  assertEquals(source.given, 28);
});

Deno.test("BufferedReader asks for at most limit + 64 KiB while it looks for a line's end", async () => {
  for (const limit of [10, 5000, 8192, 100_000, MIB]) {
    for (const bufferSize of [0, -1, 64 * KIB]) {
      const source = new EndlessSource();
      const reader = new BufferedReader(source, { bufferSize });
      await assertRejects(() => reader.readline(limit), LineTooLongError);
      assert(source.mostAsked <= limit + 64 * KIB, `asked ${source.mostAsked}`);
      assert(source.given <= limit + 64 * KIB, `read ${source.given}`);
      assert(source.given >= limit);
    }
  }
});

Deno.test("BufferedReader gives a grown buffer back once the long line is read", async () => {
  const long = "x".repeat(500_000) + "\n";
  const source = new ChunkSource(long, "short\n", "another\n");
  const reader = new BufferedReader(source);
  assertEquals((await reader.readline(MIB)).length, long.length);
  assertGreater(Math.max(...source.asked), 8192); // it did grow
  const before = source.asked.length;
  assertEquals(text(await reader.readline()), "short\n");
  assertEquals(text(await reader.readline()), "another\n");
  assertEquals(Math.max(...source.asked.slice(before)), 1024);
});

Deno.test("BufferedReader reads many short lines without growing", async () => {
  const source = new ChunkSource(bytes("0123456789\n".repeat(20_000)));
  const reader = new BufferedReader(source);
  assertEquals((await collect(reader)).length, 20_000);
  assertEquals(Math.max(...source.asked), 8192);
});

Deno.test("BufferedReader does work that grows with the data and no faster", async () => {
  const reads: Record<string, (reader: BufferedReader, size: number) => Promise<Uint8Array>> = {
    readline: (reader) => reader.readline(MIB),
    readUntil: (reader) => reader.readUntil("x\n", MIB),
    read: (reader) => reader.read(),
    readExactly: (reader, size) => reader.readExactly(size),
    peek: (reader, size) => reader.peek(size),
  };
  for (const [name, read] of Object.entries(reads)) {
    for (const size of [1000, 200_000]) {
      let left = size;
      const reader = new BufferedReader({
        read: (p) => { // one byte at a time
          if (left === 0) return Promise.resolve(null);
          p[0] = --left === 0 ? 0x0a : 0x78;
          return Promise.resolve(1);
        },
      });
      using work = new WorkCounter();
      await read(reader, size);
      assertEquals(left, 0);
      assert(work.bytes <= 10 * size, `${name} of ${size} bytes: ${work.bytes} looked at or moved`);
    }
  }
});

Deno.test("BufferedReader refuses a second read while one waits, and the first loses nothing", async () => {
  const seconds: Record<string, (reader: BufferedReader) => Promise<unknown>> = {
    "read": (reader) => reader.read(),
    "read of less than is buffered": (reader) => reader.read(2),
    "read of more than is buffered": (reader) => reader.read(5),
    "read1": (reader) => reader.read1(),
    "readExactly": (reader) => reader.readExactly(5),
    "readline": (reader) => reader.readline(),
    "readUntil": (reader) => reader.readUntil(";"),
    "readUntil with a frame that is buffered": (reader) => reader.readUntil("b"),
    "peek": (reader) => reader.peek(5),
    "atEnd": (reader) => reader.atEnd(),
    "iteration": (reader) => reader[Symbol.asyncIterator]().next(),
    "lines": (reader) => reader.lines().next(),
    "readable": (reader) => reader.readable.getReader().read(),
  };
  for (const [name, second] of Object.entries(seconds)) {
    const source = new ManualSource();
    const reader = new BufferedReader(source);
    const peeked = reader.peek(3);
    source.give("abc");
    await peeked;
    const first = reader.readline();
    await assertRejects(() => second(reader), Deno.errors.Busy, undefined, name);
    source.give("def\nghi\n");
    assertEquals(text(await first), "abcdef\n", name);
    assertEquals(text(await reader.readline()), "ghi\n", name);
  }
});

Deno.test("BufferedReader refuses a second read while a frame waits", async () => {
  const source = new ManualSource();
  const reader = new BufferedReader(source);
  const first = reader.readExactly(20_000); // goes past the buffer
  first.catch(() => {}); // when it fails, that shows at the end
  await assertRejects(() => reader.readline(), Deno.errors.Busy);
  await assertRejects(() => reader.read1(), Deno.errors.Busy);
  source.give("x".repeat(15_000));
  do await assertRejects(() => reader.peek(1), Deno.errors.Busy); while (!source.waiting);
  source.give("x".repeat(5000));
  assertEquals((await first).length, 20_000);
});

Deno.test("BufferedReader reads on after a source gave no bytes", async () => {
  const chunks = () => new ChunkSource("", "ab", "", "", "c\n", "", "def", "");
  assertEquals(text(await new BufferedReader(chunks()).readline()), "abc\n");
  assertEquals(text(await new BufferedReader(chunks()).readExactly(6)), "abc\nde");
  assertEquals(text(await new BufferedReader(chunks()).read()), "abc\ndef");
  assertEquals(text(await new BufferedReader(chunks()).peek(3)), "abc");
  assertEquals((await collect(new BufferedReader(chunks()))).map(text), ["abc\n", "def"]);
});

Deno.test("BufferedReader.read1() does not take a read of no bytes for the end", async () => {
  const reader = readerOf("", "ab");
  assertEquals(text(await reader.read1()), "ab");
});

Deno.test("BufferedReader.readable goes on after a source gave no bytes", async () => {
  const reader = readerOf("", "ab", "", "c");
  assertEquals(await new Response(reader.readable).text(), "abc");
});

Deno.test("BufferedReader loses nothing when the source throws once", async (t) => {
  const failOnce = (...chunks: string[]): ReadSource => {
    const source = new ChunkSource(...chunks);
    let calls = 0;
    const readSync = (p: Uint8Array) => {
      if (++calls === 2) throw new Deno.errors.TimedOut("once");
      return source.readSync(p);
    };
    return { read: (p) => Promise.try(readSync, p), readSync };
  };
  const cases: Record<string, [(reader: Face) => Promise<Uint8Array>, string]> = {
    readline: [(reader) => reader.readline(), "abcdef\n"],
    readUntil: [(reader) => reader.readUntil("ef"), "abcdef"],
    peek: [(reader) => reader.peek(5), "abcde"],
    readExactly: [(reader) => reader.readExactly(6), "abcdef"],
    read: [(reader) => reader.read(6), "abcdef"],
    "read all": [(reader) => reader.read(), "abcdef\ng"],
  };
  for (const [name, [read, expected]] of Object.entries(cases)) {
    const combinations = [0, 2, -1].flatMap((bufferSize) =>
      Object.keys(FACES).map((face) => [bufferSize, face] as const)
    );
    for (const [bufferSize, face] of combinations) {
      await t.step(`${name}, bufferSize ${bufferSize}, ${face}`, async () => {
        const source = failOnce("abc", "def\ng");
        const reader = FACES[face]!(new BufferedReader(source, { bufferSize }));
        // With a buffer of no or two bytes the second read comes before all of "abc" has been taken.
        await assertRejects(() => read(reader), Deno.errors.TimedOut);
        assertEquals(text(await read(reader)), expected);
      });
    }
  }
});

Deno.test("BufferedReader reads a line of UTF-8 over a socket wherever the packets are split", async () => {
  const line = "žluť € 😀\r\n";
  const data = bytes(line);
  class SplitHandler extends StreamRequestHandler {
    override disableNagleAlgorithm = true;
    override async handle() {
      for (let split = 1; split < data.length; split++) {
        await this.rfile.peek(split);
        await this.wfile.write("k"); // the rest is sent only now
        const { value } = await this.rfile.lines().next();
        await this.wfile.write(`${value}\n`);
      }
    }
  }
  await using started = start(new TCPServer(LOOPBACK, SplitHandler));
  using conn = await connect(started.server.serverAddress);
  const answer = bytes(line.replace("\r", ""));
  for (let split = 1; split < data.length; split++) {
    await writeAll(conn, data.subarray(0, split));
    await readExactly(conn, 1);
    await writeAll(conn, data.subarray(split));
    assertEquals(text(await readExactly(conn, answer.length)), text(answer), `split at ${split}`);
  }
});

Deno.test("BufferedReader refuses 64 MiB without a line end having read under 256 KiB", async () => {
  const outcome = Promise.withResolvers<{ error: unknown; got: number; unread: string }>();
  class CountingHandler extends StreamRequestHandler {
    override async handle() {
      let got = 0;
      const { request } = this;
      this.rfile = new BufferedReader({
        read: async (p) => {
          const count = await request.read(p);
          got += count ?? 0;
          return count;
        },
      }, { maxLineLength: this.maxLineLength });
      const error = await this.rfile.readline().catch((error) => error);
      outcome.resolve({ error, got, unread: text(await this.rfile.peek(4)) });
      request.close();
    }
  }
  await using started = start(new TCPServer(LOOPBACK, CountingHandler));
  using conn = await connect(started.server.serverAddress);
  const flood = writeAll(conn, new Uint8Array(64 * MIB).fill(0x78)).catch(() => "cut off");
  const { error, got, unread } = await outcome.promise;
  assertInstanceOf(error, LineTooLongError);
  assertLess(got, 256 * KIB);
  assertEquals(unread, "xxxx");
  assertEquals(await flood, "cut off");
  await readAll(conn).catch(() => {});
});

/** A generator of the same numbers for the same seed (mulberry32), each from 0 to below `limit`. */
function random(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  };
}

/** What the model says that reading a frame must do: give so many bytes, or refuse. */
function frameLength(rest: string, delimiter: string, limit: number): number | "too long" {
  const at = rest.indexOf(delimiter);
  if (at >= 0 && at + delimiter.length <= limit) return at + delimiter.length;
  return rest.length >= limit ? "too long" : rest.length;
}

/** Reads random data in a random way and compares each answer with a string that is cut from the front. */
async function compareWithModel(seed: number, faces: string[]): Promise<void> {
  const next = random(seed);
  const alphabet = ["ab", "ab\n", "aab\r\n", "abcdefgh\n"][next(4)]!;
  const size = [0, 5, 50, 500, 30_000][next(5)]!;
  let rest = "";
  for (let index = 0; index < size; index++) rest += alphabet[next(alphabet.length)];
  const data = bytes(rest);
  const maxChunk = [1, 3, 20, 10_000][next(4)]!;
  const bufferSize = [0, 1, 2, 7, 64, -1][next(6)]!;
  const maxLineLength = [1, 8, 100, 65536][next(4)]!;
  let given = 0;
  const readSync = (p: Uint8Array) => {
    if (given === data.length) return null;
    const count = Math.min(1 + next(maxChunk), p.length, data.length - given);
    p.set(data.subarray(given, given + count));
    given += count;
    return count;
  };
  const source: ReadSource = { read: (p) => Promise.resolve(readSync(p)), readSync };
  const whole = new BufferedReader(source, { bufferSize, maxLineLength });

  const take = (got: Uint8Array, count: number, what: string) => {
    assertEquals(text(got), rest.slice(0, count), what);
    rest = rest.slice(count);
  };
  const frame = async (
    read: () => Promise<Uint8Array>,
    delimiter: string,
    limit: number,
    what: string,
  ) => {
    const length = frameLength(rest, delimiter, limit);
    if (length === "too long") await assertRejects(read, LineTooLongError, undefined, what);
    else take(await read(), length, what);
  };
  const small = () => next(next(4) === 0 ? 20_000 : 12);

  for (let step = 0; step < 60; step++) {
    const face = faces[step % faces.length]!;
    const reader = FACES[face]!(whole);
    const what = `seed ${seed}, step ${step}, ${face}`;
    switch (next(10)) {
      case 0: {
        const count = small();
        take(await reader.read(count), Math.min(count, rest.length), what);
        break;
      }
      case 1: {
        const count = small();
        const got = await reader.read1(count);
        assert(got.length <= count, what);
        assert(got.length > 0 || count === 0 || rest === "", what);
        take(got, got.length, what);
        break;
      }
      case 2: {
        const count = small();
        if (count <= rest.length) take(await reader.readExactly(count), count, what);
        else {
          const error = await assertRejects(() => reader.readExactly(count), IncompleteReadError);
          take(error.partial, rest.length, what);
        }
        break;
      }
      case 3: {
        const limit = 1 + small();
        await frame(() => reader.readline(limit), "\n", limit, what);
        break;
      }
      case 4: {
        const delimiter = ["\n", "aab", "abab", "\r\n", "b", "bb"][next(6)]!;
        const limit = delimiter.length + small();
        await frame(() => reader.readUntil(delimiter, limit), delimiter, limit, what);
        break;
      }
      case 5: {
        const count = small();
        assertEquals(text(await reader.peek(count)), rest.slice(0, count), what);
        break;
      }
      case 6: {
        const read = async () => {
          const { value } = await reader[Symbol.asyncIterator]().next();
          return value ?? new Uint8Array(0);
        };
        await frame(read, "\n", maxLineLength, what);
        break;
      }
      case 7: {
        const length = frameLength(rest, "\n", maxLineLength);
        const read = () => reader.lines().next();
        if (length === "too long") await assertRejects(read, LineTooLongError, undefined, what);
        else {
          const line = rest.slice(0, length).replace(/\r?\n$/, "");
          assertEquals((await read()).value, length === 0 ? undefined : line, what);
          rest = rest.slice(length);
        }
        break;
      }
      case 8: {
        if (rest === "") break; // at its end the stream closes, and gives no more readers' turns
        const stream = whole.readable.getReader({ mode: "byob" });
        const { value } = await stream.read(new Uint8Array(1 + small()));
        stream.releaseLock();
        assertGreater(value!.length, 0);
        take(value!, value!.length, what);
        break;
      }
      default: {
        if (next(20) === 0) take(await reader.read(), rest.length, what);
      }
    }
  }
  assertEquals(text(await whole.read()), rest, `seed ${seed}, the rest`);
}

Deno.test("BufferedReader answers as a simple model does, whatever the data, the chunks and the calls", async (t) => {
  for (const faces of [["waiting"], ["blocking"], ["waiting", "blocking", "blocking"]]) {
    await t.step(faces.join(", "), async () => {
      for (let seed = 0; seed < 400; seed++) await compareWithModel(seed, faces);
    });
  }
});

Deno.test("BufferedReader.readlineText() gives lines as text without their ends, then null", async () => {
  const chunks = ["a\r\n\u00e9", "\u20ac\n", "\n", "last"].map((chunk) =>
    new TextEncoder().encode(chunk)
  );
  const read = (p: Uint8Array): number | null => {
    const chunk = chunks.shift();
    if (chunk === undefined) return null;
    p.set(chunk);
    return chunk.length;
  };
  const reader = new BufferedReader({ read: (p) => Promise.resolve(read(p)), readSync: read });
  assertEquals(reader.buffered, 0);
  assertEquals(await reader.readlineText(), "a");
  assertEquals(reader.buffered, 2); // of the next line
  assertEquals(reader.readlineTextSync(), "\u00e9\u20ac");
  assertEquals([await reader.readlineText(), reader.buffered], ["", 0]);
  assertEquals(await reader.readlineText("latin1"), "last");
  assertEquals([await reader.readlineText(), reader.readlineTextSync()], [null, null]);
  await assertRejects(() => reader.readlineText("utf-16le"), RangeError, "one byte");
});

Deno.test("BufferedReader's reads at the end let the event loop turn, however many there are", async () => {
  const reads: Record<string, (reader: BufferedReader) => Promise<unknown>> = {
    "read": (reader) => reader.read(),
    "read of a size": (reader) => reader.read(5),
    "read1": (reader) => reader.read1(),
    "readExactly": (reader) => reader.readExactly(2).catch(() => {}),
    "readline": (reader) => reader.readline(),
    "readlineText": (reader) => reader.readlineText(),
    "readUntil": (reader) => reader.readUntil("--"),
    "peek": (reader) => reader.peek(2),
    "atEnd": (reader) => reader.atEnd(),
    "lines": (reader) => reader.lines().next(),
  };
  for (const [name, read] of Object.entries(reads)) {
    for (const reader of [readerOf(), BufferedReader.fromBytes(bytes(""))]) {
      assert(await letsTurn(() => read(reader)), name);
    }
  }
});
