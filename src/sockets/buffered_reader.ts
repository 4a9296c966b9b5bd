/**
 * `rfile`: reading lines and frames, each with a limit.
 *
 * @module
 */
import { cannotBlock } from "./misuse.ts";
import { checkInteger } from "../base/options.ts";
import { lineDecoder, LineIterator, NEWLINE } from "./line_iterator.ts";
import { ReadBuffer, type Result, type Steps } from "./read_buffer.ts";
import { turnAtEnd } from "../base/time.ts";
import { internals } from "./stream_socket.ts";
import { streamOf } from "./streams.ts";
import { toBytes } from "../base/bytes.ts";

/** What a {@linkcode BufferedReader} reads from: a socket, a file, a `Deno.Conn`. */
export interface ReadSource {
  /** Reads into `p`; resolves to the number of bytes, or `null` at the end. */
  read(p: Uint8Array): Promise<number | null>;
  /** Reads as `read()`, blocking the isolate. The blocking methods of the reader need it. */
  readSync?(p: Uint8Array): number | null;
  /**
   * Whether `readSync()` works.
   *
   * @default {true}
   */
  readonly canBlock?: boolean;
}

/** Options of a {@linkcode BufferedReader}. */
export interface BufferedReaderOptions {
  /**
   * The size of the buffer in bytes, which it has once reads fill it; -1 chooses 8192, and 0 never reads ahead of what
   * is asked for, at the price of a system call for each byte of a line.
   *
   * @default {-1}
   */
  bufferSize?: number;
  /**
   * The longest line that `readline()` and the iterations accept, in bytes with its end.
   *
   * @default {65536}
   */
  maxLineLength?: number;
}

/** The longest line when nobody says, in bytes. */
const DEFAULT_LINE_LENGTH = 65536;

/** The longest line that can be asked for, in bytes. */
const MAX_LINE_LENGTH = 2 ** 30;

const NEWLINE_DELIMITER = Uint8Array.of(NEWLINE);

/** What messages call a read. */
const READ = "read from rfile";

/** What a reader over bytes in memory reads from. */
const NO_SOURCE: ReadSource = { read: () => Promise.resolve(null), readSync: () => null };

/**
 * A buffered reader over a byte stream: Python's `rfile`, with limits.
 *
 * The time of a read grows with its data and no faster, and what a client can make the reader hold is bounded
 * by the limit of the call. The bytes that a method returns are the caller's to keep. One read at a time: a
 * second one while the first waits is refused with `Deno.errors.Busy`.
 *
 * The methods whose names end in `Sync`, and `for...of`, do the same as their namesakes, throw the same, and block the
 * isolate. They work where a handler may block, which is in a Web Worker or a subprocess
 * ({@linkcode StreamSocket.canBlock}), and on bytes in memory; elsewhere they throw `Deno.errors.NotSupported`,
 * whatever is in the buffer already.
 *
 * @example Read lines
 * ```ts
 * import { BufferedReader } from "@netkit/socketserver";
 * import { assertEquals } from "@std/assert";
 *
 * const reader = BufferedReader.fromBytes(new TextEncoder().encode("HELO there\r\nQUIT\r\n"));
 * const lines: string[] = [];
 * for await (const line of reader.lines()) lines.push(line);
 * assertEquals(lines, ["HELO there", "QUIT"]);
 * ```
 *
 * @example Read one line as text, and see whether more has come
 * ```ts
 * import { BufferedReader } from "@netkit/socketserver";
 * import { assertEquals } from "@std/assert";
 *
 * const reader = BufferedReader.fromBytes(new TextEncoder().encode("HELO there\r\nQUIT\r\n"));
 * assertEquals(await reader.readlineText(), "HELO there");
 * assertEquals(reader.buffered, 6);
 * assertEquals(await reader.readlineText(), "QUIT");
 * assertEquals([await reader.readlineText(), reader.buffered], [null, 0]);
 * ```
 *
 * @example Read without awaiting
 * ```ts
 * import { BufferedReader } from "@netkit/socketserver";
 * import { assertEquals } from "@std/assert";
 *
 * const text = new TextDecoder();
 * const reader = BufferedReader.fromBytes(new TextEncoder().encode("PUT 5\nhellobye\n"));
 * assertEquals(text.decode(reader.readlineSync()), "PUT 5\n");
 * assertEquals(text.decode(reader.readExactlySync(5)), "hello");
 * assertEquals([...reader.linesSync()], ["bye"]);
 * ```
 * @category Sockets
 */
export class BufferedReader
  implements AsyncIterable<Uint8Array<ArrayBuffer>>, Iterable<Uint8Array<ArrayBuffer>> {
  /** The longest line that `readline()` and the iterations accept, in bytes with its end. */
  readonly maxLineLength: number;
  readonly #source: ReadSource;
  readonly #buffer: ReadBuffer;
  /** Whether a read is under way; a second one would tear its bytes apart. */
  #reading = false;
  #readsAtEnd = 0;
  #readable: ReadableStream<Uint8Array<ArrayBuffer>> | null = null;

  /**
   * Puts a reader over a source.
   *
   * @param source Where the bytes come from. Nobody else should read from it meanwhile.
   * @param options The sizes.
   * @throws {RangeError} When a size is out of range.
   */
  constructor(source: ReadSource, options: BufferedReaderOptions = {}) {
    const { bufferSize = -1, maxLineLength = DEFAULT_LINE_LENGTH } = options;
    this.#source = source;
    this.#buffer = new ReadBuffer(source, bufferSize);
    this.maxLineLength = maxLineLength;
    if (maxLineLength !== DEFAULT_LINE_LENGTH) {
      checkInteger("maxLineLength", maxLineLength, 1, MAX_LINE_LENGTH);
    }
  }

  /**
   * Makes a reader over bytes in memory.
   *
   * @param bytes The bytes; not copied, so leave them unchanged while reading.
   * @param options The sizes.
   * @returns A reader whose stream ends with the bytes.
   */
  static fromBytes(bytes: Uint8Array, options: BufferedReaderOptions = {}): BufferedReader {
    const reader = new BufferedReader(NO_SOURCE, options);
    reader.#buffer.holdAll(bytes);
    return reader;
  }

  /**
   * Reads `size` bytes, or all to the end of the stream.
   *
   * Without a size there is no limit but memory to what a client can make this hold.
   *
   * @param size How many bytes; -1 for all.
   * @returns The bytes, fewer than `size` only at the end of the stream, empty there.
   * @throws {Deno.errors.TimedOut} When the socket has a `timeout` and the client was silent for as long.
   */
  async read(size = -1): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = this.#idle().read(size);
    return isThere(bytes) ? bytes : await this.#wait(bytes);
  }

  /** Reads as {@linkcode BufferedReader.read}, blocking the isolate. */
  readSync(size = -1): Uint8Array<ArrayBuffer> {
    return this.#runSync(this.#idleSync("read").read(size));
  }

  /**
   * Reads what is there with at most one read of the source, waiting for the first byte.
   *
   * @param size How many bytes at the most; -1 for as many as the buffer takes.
   * @returns The bytes; empty at the end of the stream.
   * @throws {Deno.errors.TimedOut} When the socket has a `timeout` and the client was silent for as long.
   */
  async read1(size = -1): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = this.#idle().read1(size);
    return isThere(bytes) ? bytes : await this.#wait(bytes);
  }

  /** Reads as {@linkcode BufferedReader.read1}, blocking the isolate. */
  read1Sync(size = -1): Uint8Array<ArrayBuffer> {
    return this.#runSync(this.#idleSync("read1").read1(size));
  }

  /**
   * Reads exactly `size` bytes.
   *
   * @param size How many bytes.
   * @returns The bytes.
   * @throws {IncompleteReadError} When the stream ended before; `partial` has what arrived.
   * @throws {Deno.errors.TimedOut} When the socket has a `timeout` and the client was silent for as long.
   */
  async readExactly(size: number): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = this.#idle().readExactly(size);
    return isThere(bytes) ? bytes : await this.#wait(bytes);
  }

  /** Reads as {@linkcode BufferedReader.readExactly}, blocking the isolate. */
  readExactlySync(size: number): Uint8Array<ArrayBuffer> {
    return this.#runSync(this.#idleSync("readExactly").readExactly(size));
  }

  /**
   * Reads one line.
   *
   * @param limit The longest line that is accepted, in bytes with its end.
   * @returns The line with its `\n`; without one where the stream ended first; empty at the end.
   * @throws {LineTooLongError} When no line end came within `limit` bytes; they stay in the buffer.
   * @throws {Deno.errors.TimedOut} When the socket has a `timeout` and the client was silent for as long.
   */
  async readline(limit: number = this.maxLineLength): Promise<Uint8Array<ArrayBuffer>> {
    const buffer = this.#idle();
    if (limit !== this.maxLineLength) checkInteger("limit", limit, 1, MAX_LINE_LENGTH);
    const line = buffer.takeUntil(NEWLINE_DELIMITER, limit);
    if (line !== null && line.length > 0) return line;
    return await this.#wait(line ?? buffer.readUntil(NEWLINE_DELIMITER, limit));
  }

  /** Reads as {@linkcode BufferedReader.readline}, blocking the isolate. */
  readlineSync(limit: number = this.maxLineLength): Uint8Array<ArrayBuffer> {
    const buffer = this.#idleSync("readline");
    if (limit !== this.maxLineLength) checkInteger("limit", limit, 1, MAX_LINE_LENGTH);
    return buffer.takeUntil(NEWLINE_DELIMITER, limit) ??
      this.#runSync(buffer.readUntil(NEWLINE_DELIMITER, limit));
  }

  /**
   * Reads up to and with a delimiter.
   *
   * @param delimiter What ends the frame: bytes, or text that goes as UTF-8.
   * @param limit The longest frame that is accepted, in bytes with its delimiter.
   * @returns The frame with its delimiter; without one where the stream ended first; empty at the end.
   * @throws {LineTooLongError} When no delimiter came within `limit` bytes; they stay in the buffer.
   * @throws {RangeError} When the delimiter is empty.
   * @throws {Deno.errors.TimedOut} When the socket has a `timeout` and the client was silent for as long.
   */
  async readUntil(
    delimiter: string | ArrayBufferLike | ArrayBufferView,
    limit: number = this.maxLineLength,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const buffer = this.#idle();
    const end = delimiterOf(delimiter, limit);
    const frame = buffer.takeUntil(end, limit);
    if (frame !== null && frame.length > 0) return frame;
    return await this.#wait(frame ?? buffer.readUntil(end, limit));
  }

  /** Reads as {@linkcode BufferedReader.readUntil}, blocking the isolate. */
  readUntilSync(
    delimiter: string | ArrayBufferLike | ArrayBufferView,
    limit: number = this.maxLineLength,
  ): Uint8Array<ArrayBuffer> {
    const buffer = this.#idleSync("readUntil");
    const end = delimiterOf(delimiter, limit);
    return buffer.takeUntil(end, limit) ?? this.#runSync(buffer.readUntil(end, limit));
  }

  /**
   * Looks at the next bytes without taking them.
   *
   * @param size How many bytes to wait for.
   * @returns The bytes, fewer than `size` only where the stream ends.
   * @throws {RangeError} When `size` is negative or above 1 GiB.
   * @throws {Deno.errors.TimedOut} When the socket has a `timeout` and the client was silent for as long.
   */
  async peek(size: number): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = this.#idle().peek(size);
    return isThere(bytes) ? bytes : await this.#wait(bytes);
  }

  /** Looks ahead as {@linkcode BufferedReader.peek}, blocking the isolate. */
  peekSync(size: number): Uint8Array<ArrayBuffer> {
    return this.#runSync(this.#idleSync("peek").peek(size));
  }

  /** Iterates over the lines as bytes with their ends, until the stream ends. */
  [Symbol.asyncIterator](): AsyncGenerator<Uint8Array<ArrayBuffer>, void, void> {
    return new LineIterator(() => this.readline(), (line) => line);
  }

  /** Iterates as `for await` does, blocking the isolate: over the lines as bytes with their ends. */
  *[Symbol.iterator](): Generator<Uint8Array<ArrayBuffer>, void, void> {
    while (true) {
      const line = this.readlineSync();
      if (line.length === 0) return;
      yield line;
    }
  }

  /**
   * Iterates over the lines as text, without their ends (`\n` or `\r\n`), until the stream ends.
   *
   * @param encoding A name that `TextDecoder` knows; bytes that are not in it become U+FFFD.
   * @returns The lines.
   * @throws {RangeError} When there is no such encoding, or one in which a line end is not one byte.
   */
  lines(encoding = "utf-8"): AsyncGenerator<string, void, void> {
    return new LineIterator(() => this.readline(), lineDecoder(encoding));
  }

  /** Iterates as {@linkcode BufferedReader.lines}, blocking the isolate. */
  *linesSync(encoding = "utf-8"): Generator<string, void, void> {
    const decode = lineDecoder(encoding);
    for (const line of this) yield decode(line);
  }

  /**
   * Reads one line as text, without its end (`\n` or `\r\n`): in Python, `rfile.readline().decode()`.
   *
   * @param encoding A name that `TextDecoder` knows; bytes that are not in it become U+FFFD.
   * @returns The line; `null` where the stream ends.
   * @throws {LineTooLongError} When it is longer than `maxLineLength`.
   * @throws {RangeError} When there is no such encoding, or one in which a line end is not one byte.
   * @throws {Deno.errors.TimedOut} When the socket has a `timeout` and the client was silent for as long.
   */
  async readlineText(encoding = "utf-8"): Promise<string | null> {
    const decode = lineDecoder(encoding);
    const line = await this.readline();
    return line.length === 0 ? null : decode(line);
  }

  /** Reads as {@linkcode BufferedReader.readlineText}, blocking the isolate. */
  readlineTextSync(encoding = "utf-8"): string | null {
    const decode = lineDecoder(encoding);
    const line = this.readlineSync();
    return line.length === 0 ? null : decode(line);
  }

  /**
   * Whether the stream has ended, which may have to be waited for: otherwise there is another record to read.
   *
   * @returns True where reads get nothing any more.
   * @throws {Deno.errors.TimedOut} When the socket has a `timeout` and the client was silent for as long.
   */
  async atEnd(): Promise<boolean> {
    return (await this.peek(1)).length === 0;
  }

  /** Looks as {@linkcode BufferedReader.atEnd}, blocking the isolate. */
  atEndSync(): boolean {
    return this.#runSync(this.#idleSync("atEnd").peek(1)).length === 0;
  }

  /** How many bytes are here already, which reads get without waiting. At 0 more may be on its way. */
  get buffered(): number {
    return this.#buffer.unread;
  }

  /** What is still to be read, as a stream of bytes. Its end closes nothing. */
  get readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return this.#readable ??= streamOf(
      { read: (p) => this.#run(this.#idle().readInto(p)) },
      () => this.#buffer.end(),
      (error) => internals.outlive(this.#source, error, "read"),
    );
  }

  /** Gives the buffer to a read, when no other has it. */
  #idle(): ReadBuffer {
    if (this.#reading) {
      throw new Deno.errors.Busy("Cannot read from rfile: another read is under way");
    }
    return this.#buffer;
  }

  /** As `#idle()`, for a read that may block. */
  #idleSync(method: string): ReadBuffer {
    const { readSync, canBlock = true } = this.#source;
    if (!canBlock) throw cannotBlock(`${method}Sync()`, `await ${method}()`);
    if (readSync === undefined) {
      throw new Deno.errors.NotSupported(
        `Cannot block in ${method}Sync(): the source has no readSync(); await ${method}()`,
      );
    }
    return this.#idle();
  }

  /** Goes on with a read that has not got bytes at once. */
  #wait(result: Result): Promise<Uint8Array<ArrayBuffer>> {
    return result instanceof Uint8Array ? this.#waitAtEnd(result) : this.#run(result);
  }

  async #waitAtEnd(nothing: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
    await turnAtEnd(++this.#readsAtEnd);
    return nothing;
  }

  /** Drives a read that waits. */
  async #run<T>(steps: Steps<T>): Promise<T> {
    this.#reading = true;
    try {
      let step = steps.next();
      while (step.done !== true) {
        let count: number | null;
        try {
          count = await this.#source.read(step.value);
        } catch (error) {
          step = steps.throw(error);
          continue;
        }
        step = steps.next(count);
      }
      return step.value;
    } catch (error) {
      internals.outlive(this.#source, error, "read");
      await turnAtEnd(++this.#readsAtEnd); // one that wants more bytes than come fails at once there
      throw error;
    } finally {
      this.#reading = false;
    }
  }

  /** Drives a read that blocks, step by step as `#run()` does. */
  #runSync(result: Result): Uint8Array<ArrayBuffer> {
    if (result instanceof Uint8Array) return result;
    this.#reading = true;
    try {
      let step = result.next();
      while (step.done !== true) {
        let count: number | null;
        try {
          count = this.#source.readSync!(step.value);
        } catch (error) {
          step = result.throw(error);
          continue;
        }
        step = result.next(count);
      }
      return step.value;
    } finally {
      this.#reading = false;
    }
  }
}

/** Whether a read has got bytes without waiting. */
function isThere(result: Result): result is Uint8Array<ArrayBuffer> {
  return result instanceof Uint8Array && result.length > 0;
}

/** Checks what `readUntil()` was given, and gives the delimiter as bytes. */
function delimiterOf(
  delimiter: string | ArrayBufferLike | ArrayBufferView,
  limit: number,
): Uint8Array {
  const bytes = toBytes(delimiter, READ);
  checkInteger("limit", limit, 1, MAX_LINE_LENGTH);
  checkInteger("delimiter.length", bytes.length, 1, limit);
  return bytes;
}
