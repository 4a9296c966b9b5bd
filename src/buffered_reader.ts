/**
 * `rfile`: reading lines and frames, each with a limit.
 *
 * @module
 */
import { IncompleteReadError, LineTooLongError } from "./errors.ts";
import { checkInteger } from "./options.ts";
import { streamOf } from "./stream_socket.ts";

/** What a {@linkcode BufferedReader} reads from: a socket, a file, a `Deno.Conn`. */
export interface ReadSource {
  /** Reads into `p`; resolves to the number of bytes, or `null` at the end. */
  read(p: Uint8Array): Promise<number | null>;
}

/** Options of a {@linkcode BufferedReader}. */
export interface BufferedReaderOptions {
  /**
   * The size of the buffer in bytes; -1 chooses 8192, and 0 never reads ahead of what is asked for, at the
   * price of a system call for each byte of a line.
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

/** The buffer's size when nobody says, in bytes; Python's `io.DEFAULT_BUFFER_SIZE`. */
const DEFAULT_BUFFER_SIZE = 8192;
/** The longest line when nobody says, in bytes. */
const DEFAULT_LINE_LENGTH = 65536;
/** How much is set aside at first for a frame of known size; more only as its bytes arrive. */
const MAX_FIRST_ALLOCATION = 64 * 1024;

const NEWLINE = 0x0a;
const RETURN = 0x0d;
const NEWLINE_DELIMITER = Uint8Array.of(NEWLINE);
const EMPTY = new Uint8Array(0);

const encoder = new TextEncoder();

/**
 * A buffered reader over a byte stream: Python's `rfile`, with limits.
 *
 * The time of a read grows with its data and no faster, and what a client can make the reader hold is bounded
 * by the limit of the call. The bytes that a method returns are the caller's to keep. One read at a time: a
 * second one while the first waits is refused with `Deno.errors.Busy`.
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
 */
export class BufferedReader implements AsyncIterable<Uint8Array<ArrayBuffer>> {
  /** The longest line that `readline()` and the iterations accept, in bytes with its end. */
  readonly maxLineLength: number;
  readonly #source: ReadSource;
  /** How many bytes a read ahead asks for; 0 for none. */
  readonly #bufferSize: number;
  #buffer: Uint8Array = EMPTY;
  /** Where the unread bytes of the buffer begin and end. */
  #start = 0;
  #end = 0;
  #ended = false;
  /** Whether a read is under way; a second one would tear its bytes apart. */
  #reading = false;
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
    checkInteger("bufferSize", bufferSize, -1, 2 ** 30);
    this.#source = source;
    this.#bufferSize = bufferSize === -1 ? DEFAULT_BUFFER_SIZE : bufferSize;
    this.maxLineLength = checkInteger("maxLineLength", maxLineLength, 1, 2 ** 30);
  }

  /**
   * Makes a reader over bytes in memory.
   *
   * @param bytes The bytes; not copied, so leave them unchanged while reading.
   * @param options The sizes.
   * @returns A reader whose stream ends with the bytes.
   */
  static fromBytes(bytes: Uint8Array, options: BufferedReaderOptions = {}): BufferedReader {
    const reader = new BufferedReader({ read: () => Promise.resolve(null) }, options);
    reader.#buffer = bytes;
    reader.#end = bytes.length;
    reader.#ended = true;
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
    checkInteger("size", size, -1, Number.MAX_SAFE_INTEGER);
    this.#begin();
    try {
      const wanted = size === -1 ? Infinity : size;
      const enough = this.#unread >= wanted || this.#ended;
      return enough ? this.#take(wanted) : await this.#readFrame(wanted);
    } finally {
      this.#reading = false;
    }
  }

  /**
   * Reads what is there with at most one read of the source, waiting for the first byte.
   *
   * @param size How many bytes at the most; -1 for as many as the buffer takes.
   * @returns The bytes; empty at the end of the stream.
   * @throws {Deno.errors.TimedOut} When the socket has a `timeout` and the client was silent for as long.
   */
  async read1(size = -1): Promise<Uint8Array<ArrayBuffer>> {
    checkInteger("size", size, -1, Number.MAX_SAFE_INTEGER);
    this.#begin();
    try {
      const wanted = size === -1 ? this.#bufferSize || DEFAULT_BUFFER_SIZE : size;
      if (this.#unread > 0 || wanted === 0) return this.#take(wanted);
      const bytes = new Uint8Array(Math.min(wanted, MAX_FIRST_ALLOCATION));
      return cut(bytes, await this.#readInto(bytes) ?? 0);
    } finally {
      this.#reading = false;
    }
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
    checkInteger("size", size, 0, Number.MAX_SAFE_INTEGER);
    const bytes = await this.read(size);
    if (bytes.length < size) throw new IncompleteReadError(bytes, size);
    return bytes;
  }

  /**
   * Reads one line.
   *
   * @param limit The longest line that is accepted, in bytes with its end.
   * @returns The line with its `\n`; without one where the stream ended first; empty at the end.
   * @throws {LineTooLongError} When no line end came within `limit` bytes; they stay in the buffer.
   * @throws {Deno.errors.TimedOut} When the socket has a `timeout` and the client was silent for as long.
   */
  readline(limit: number = this.maxLineLength): Promise<Uint8Array<ArrayBuffer>> {
    return this.#readTo(NEWLINE_DELIMITER, limit);
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
  readUntil(
    delimiter: Uint8Array | string,
    limit: number = this.maxLineLength,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = typeof delimiter === "string" ? encoder.encode(delimiter) : delimiter;
    return this.#readTo(bytes, limit);
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
    checkInteger("size", size, 0, 2 ** 30);
    this.#begin();
    try {
      while (this.#unread < size && !this.#ended) await this.#fill(size - this.#unread, size);
      return this.#copy(size);
    } finally {
      this.#reading = false;
    }
  }

  /** Iterates over the lines as bytes with their ends, until the stream ends. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array<ArrayBuffer>, void, void> {
    while (true) {
      const line = await this.readline();
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
  async *lines(encoding = "utf-8"): AsyncGenerator<string, void, void> {
    const decoder = new TextDecoder(encoding, { ignoreBOM: true });
    if (decoder.encoding.startsWith("utf-16")) {
      throw new RangeError(`Cannot read lines in "${encoding}": a line end must be one byte`);
    }
    for await (const line of this) {
      let end = line.length;
      if (line[end - 1] === NEWLINE) end--;
      if (end < line.length && line[end - 1] === RETURN) end--;
      yield decoder.decode(line.subarray(0, end));
    }
  }

  /** What is still to be read, as a stream of bytes. Its end closes nothing. */
  get readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return this.#readable ??= streamOf({ read: (p) => this.#readSome(p) }, () => {
      this.#ended = true;
      this.#start = this.#end;
    });
  }

  async #readTo(delimiter: Uint8Array, limit: number): Promise<Uint8Array<ArrayBuffer>> {
    checkInteger("limit", limit, 1, 2 ** 30);
    checkInteger("delimiter.length", delimiter.length, 1, limit);
    this.#begin();
    try {
      let searched = 0; // how much of the unread bytes cannot be where the delimiter begins
      while (true) {
        const unread = this.#buffer.subarray(this.#start, this.#end);
        const at = indexOf(unread, delimiter, searched);
        if (at >= 0 && at + delimiter.length <= limit) return this.#take(at + delimiter.length);
        if (at >= 0 || unread.length >= limit) throw new LineTooLongError(limit);
        if (this.#ended) return this.#take(unread.length);
        searched = Math.max(0, unread.length - delimiter.length + 1);
        await this.#fill(1, limit);
      }
    } finally {
      this.#reading = false;
    }
  }

  async #readSome(p: Uint8Array): Promise<number | null> {
    this.#begin();
    try {
      return await this.#readInto(p);
    } finally {
      this.#reading = false;
    }
  }

  /** Reads `wanted` bytes, or to the end, into memory that grows as they arrive. */
  async #readFrame(wanted: number): Promise<Uint8Array<ArrayBuffer>> {
    let frame = new Uint8Array(Math.min(wanted, Math.max(this.#unread, MAX_FIRST_ALLOCATION)));
    let length = 0;
    try {
      while (length < wanted) {
        if (length === frame.length) frame = grown(frame, Math.min(length * 2, wanted));
        const count = await this.#readInto(frame.subarray(length));
        if (count === null) break;
        length += count;
      }
    } catch (error) {
      // The buffer is empty, or nothing would have been read; what has arrived is for the next read.
      this.#buffer = frame;
      this.#start = 0;
      this.#end = length;
      throw error;
    }
    return cut(frame, length);
  }

  /** Reads some bytes: those in the buffer, or else the next, past the buffer when they would fill it. */
  async #readInto(p: Uint8Array): Promise<number | null> {
    if (this.#unread === 0) {
      if (this.#ended) return null;
      if (p.length >= this.#bufferSize) return await this.#readSource(p);
      await this.#fill(p.length, p.length);
      if (this.#ended) return null;
    }
    const count = Math.min(p.length, this.#unread);
    p.set(this.#buffer.subarray(this.#start, this.#start + count));
    this.#start += count;
    return count;
  }

  /**
   * Reads once from the source into the buffer, which holds fewer than `capacity` unread bytes. At the end
   * of the source it adds nothing.
   *
   * @param wanted How many bytes are asked for; more are read ahead unless that is off.
   * @param capacity How many unread bytes the buffer may grow to hold.
   */
  async #fill(wanted: number, capacity: number): Promise<void> {
    this.#makeRoom(wanted, Math.max(capacity, this.#bufferSize));
    const until = this.#bufferSize === 0
      ? Math.min(this.#end + wanted, this.#buffer.length)
      : this.#buffer.length;
    const count = await this.#readSource(this.#buffer.subarray(this.#end, until));
    if (count !== null) this.#end += count;
  }

  /** Moves or grows so that each byte is moved a bounded number of times however it arrives. */
  #makeRoom(wanted: number, capacity: number): void {
    const unread = this.#unread;
    if (unread === 0) {
      this.#start = this.#end = 0;
      // What a long line made grow is given back once it has been read.
      if (this.#buffer.length > this.#bufferSize) this.#buffer = EMPTY;
    }
    const { length } = this.#buffer;
    if (this.#end < length) return;
    const first = Math.max(this.#bufferSize, Math.min(unread + wanted, MAX_FIRST_ALLOCATION));
    const target = Math.min(Math.max(length * 2, first), capacity);
    if (target > length && unread * 2 >= length) {
      const larger = new Uint8Array(target);
      larger.set(this.#buffer.subarray(this.#start, this.#end));
      this.#buffer = larger;
    } else {
      this.#buffer.copyWithin(0, this.#start, this.#end);
    }
    this.#start = 0;
    this.#end = unread;
  }

  /** Reads at least one byte from the source, or notes the end. */
  async #readSource(p: Uint8Array): Promise<number | null> {
    while (true) {
      const count = await this.#source.read(p);
      if (count === null) this.#ended = true;
      if (count !== 0) return count;
    }
  }

  /** Begins a read, which ends by clearing `#reading`. */
  #begin(): void {
    if (this.#reading) {
      throw new Deno.errors.Busy("Cannot read from rfile: another read is under way");
    }
    this.#reading = true;
  }

  /** How many bytes of the buffer are unread. */
  get #unread(): number {
    return this.#end - this.#start;
  }

  /** A copy of the next unread bytes, no more than `count`. */
  #copy(count: number): Uint8Array<ArrayBuffer> {
    const end = Math.min(this.#start + count, this.#end);
    return new Uint8Array(this.#buffer.subarray(this.#start, end));
  }

  #take(count: number): Uint8Array<ArrayBuffer> {
    const bytes = this.#copy(count);
    this.#start += bytes.length;
    return bytes;
  }
}

/** The first `length` bytes, in memory of no more than that. */
function cut(bytes: Uint8Array<ArrayBuffer>, length: number): Uint8Array<ArrayBuffer> {
  return length === bytes.length ? bytes : bytes.slice(0, length);
}

function grown(bytes: Uint8Array<ArrayBuffer>, size: number): Uint8Array<ArrayBuffer> {
  const larger = new Uint8Array(size);
  larger.set(bytes);
  return larger;
}

/** Where `delimiter` begins in `bytes`, from `from` on, or -1. */
function indexOf(bytes: Uint8Array, delimiter: Uint8Array, from: number): number {
  const first = delimiter[0]!;
  const last = bytes.length - delimiter.length;
  for (
    let at = bytes.indexOf(first, from);
    at >= 0 && at <= last;
    at = bytes.indexOf(first, at + 1)
  ) {
    let same = 1;
    while (same < delimiter.length && bytes[at + same] === delimiter[same]) same++;
    if (same === delimiter.length) return at;
  }
  return -1;
}
