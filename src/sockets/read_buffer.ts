/**
 * What a buffered reader does, less the waiting: the same steps serve reads that wait and reads that block.
 *
 * @module
 */
import { IncompleteReadError, LineTooLongError, noteSource } from "../base/errors.ts";
import { checkInteger } from "../base/options.ts";

/**
 * A read whose driver does the waiting: it yields the memory for the next bytes of the source and is given how
 * many came, or `null` at the end. An error of the source is thrown into it.
 */
export type Steps<T> = Generator<Uint8Array, T, number | null>;

/** What a read gives: its bytes where the buffer has them, or else the steps to them. */
export type Result = Uint8Array<ArrayBuffer> | Steps<Uint8Array<ArrayBuffer>>;

/** The buffer's size when nobody says, in bytes; Python's `io.DEFAULT_BUFFER_SIZE`. */
const DEFAULT_BUFFER_SIZE = 8192;
/** How large a buffer is at first, in bytes; it doubles, up to its size, when a read fills it. Most clients send little. */
const FIRST_BUFFER_SIZE = 1024;
/** How much memory a read of known size gets at first, in bytes; more only as its bytes arrive. */
const MAX_FIRST_ALLOCATION = 64 * 1024;

const EMPTY = new Uint8Array(0);

/**
 * The buffer of a reader, and its reads; one of them at a time.
 *
 * The bytes from `#start` to `#end` are unread. The buffer begins empty and is open until its source ends or
 * `end()` is called; ended, it gives what is unread and then empty results, without asking the source again.
 */
export class ReadBuffer {
  /** Where the bytes come from. */
  #source: object;
  /** How many bytes a read ahead asks for at the most; 0 for none. */
  readonly #bufferSize: number;
  #buffer: Uint8Array = EMPTY;
  #start = 0;
  #end = 0;
  #ended = false;

  /**
   * Makes an empty buffer.
   *
   * @param source Where the bytes will come from, for the errors.
   * @param bufferSize Its size in bytes; -1 chooses 8192, 0 never reads ahead.
   * @throws {RangeError} When that is out of range.
   */
  constructor(source: object, bufferSize: number) {
    this.#source = source;
    this.#bufferSize = bufferSize === -1
      ? DEFAULT_BUFFER_SIZE
      : checkInteger("bufferSize", bufferSize, -1, 2 ** 30);
  }

  /** Makes `bytes` all that there is to read; they are not copied. */
  holdAll(bytes: Uint8Array): void {
    this.#source = bytes;
    this.#buffer = bytes;
    this.#start = 0;
    this.#end = bytes.length;
    this.#ended = true;
  }

  /** Reads `size` bytes, or all to the end for -1. */
  read(size: number): Result {
    checkInteger("size", size, -1, Number.MAX_SAFE_INTEGER);
    const wanted = size === -1 ? Infinity : size;
    return this.unread >= wanted || this.#ended ? this.#take(wanted) : this.#readMany(wanted);
  }

  /** Reads what is there with at most one read of the source; -1 for as much as the buffer takes. */
  read1(size: number): Result {
    checkInteger("size", size, -1, Number.MAX_SAFE_INTEGER);
    const wanted = size === -1 ? this.#bufferSize || DEFAULT_BUFFER_SIZE : size;
    const isThere = this.unread > 0 || wanted === 0 || this.#ended;
    return isThere ? this.#take(wanted) : this.#readOnce(wanted);
  }

  /** Reads `size` bytes and no fewer. */
  readExactly(size: number): Result {
    checkInteger("size", size, 0, Number.MAX_SAFE_INTEGER);
    return this.unread >= size ? this.#take(size) : this.#readWhole(size);
  }

  /** Looks at the next `size` bytes without taking them. */
  peek(size: number): Result {
    checkInteger("size", size, 0, 2 ** 30);
    return this.unread >= size || this.#ended ? this.#copy(size) : this.#peekMore(size);
  }

  /**
   * Takes what is unread up to and with the delimiter, or to the end of the stream.
   *
   * @param limit How many bytes that may be.
   * @param searched How much of the unread bytes cannot be where the delimiter begins.
   * @returns The bytes; null when more must come, by {@linkcode ReadBuffer.readUntil}.
   */
  takeUntil(delimiter: Uint8Array, limit: number, searched = 0): Uint8Array<ArrayBuffer> | null {
    const unread = this.#buffer.subarray(this.#start, this.#end);
    const at = delimiter.length === 1
      ? unread.indexOf(delimiter[0]!, searched)
      : indexOf(unread, delimiter, searched);
    const length = at < 0 ? unread.length : at + delimiter.length;
    if (length > limit || at < 0 && length === limit) {
      throw noteSource(new LineTooLongError(limit), this.#source);
    }
    if (at < 0 && !this.#ended) return null;
    this.#start += length;
    return new Uint8Array(unread.subarray(0, length));
  }

  /** Reads up to and with a delimiter that the unread bytes do not have. */
  *readUntil(delimiter: Uint8Array, limit: number): Steps<Uint8Array<ArrayBuffer>> {
    while (true) {
      const searched = Math.max(0, this.#end - this.#start - delimiter.length + 1);
      const count = yield this.#room(1, limit);
      if (count === null) this.#ended = true;
      else this.#end += count;
      const frame = this.takeUntil(delimiter, limit, searched);
      if (frame !== null) return frame;
    }
  }

  /** Reads some bytes: those in the buffer, or else the next, past the buffer when they would fill it. */
  *readInto(p: Uint8Array): Steps<number | null> {
    while (this.unread === 0) {
      if (this.#ended) return null;
      const isPast = p.length >= this.#bufferSize;
      const count = yield isPast ? p : this.#room(p.length, p.length);
      if (count === null) this.#ended = true;
      else if (!isPast) this.#end += count;
      else if (count > 0) return count;
    }
    const count = Math.min(p.length, this.unread);
    p.set(this.#buffer.subarray(this.#start, this.#start + count));
    this.#start += count;
    return count;
  }

  *#readOnce(wanted: number): Steps<Uint8Array<ArrayBuffer>> {
    const bytes = new Uint8Array(Math.min(wanted, MAX_FIRST_ALLOCATION));
    return cut(bytes, (yield* this.readInto(bytes)) ?? 0);
  }

  *#readWhole(size: number): Steps<Uint8Array<ArrayBuffer>> {
    const bytes = this.#ended ? this.#take(size) : yield* this.#readMany(size);
    if (bytes.length < size) throw noteSource(new IncompleteReadError(bytes, size), this.#source);
    return bytes;
  }

  *#peekMore(size: number): Steps<Uint8Array<ArrayBuffer>> {
    while (this.unread < size && !this.#ended) {
      const count = yield this.#room(size - this.unread, size);
      if (count === null) this.#ended = true;
      else this.#end += count;
    }
    return this.#copy(size);
  }

  /** Reads `wanted` bytes, or to the end, into memory that grows as they arrive. */
  *#readMany(wanted: number): Steps<Uint8Array<ArrayBuffer>> {
    let bytes = new Uint8Array(Math.min(wanted, Math.max(this.unread, MAX_FIRST_ALLOCATION)));
    let length = 0;
    try {
      while (length < wanted) {
        if (length === bytes.length) bytes = grown(bytes, Math.min(length * 2, wanted));
        const count = yield* this.readInto(bytes.subarray(length));
        if (count === null) break;
        length += count;
      }
    } catch (error) {
      // The buffer is empty, or nothing would have been read; what has arrived is for the next read.
      this.#buffer = bytes;
      this.#start = 0;
      this.#end = length;
      throw error;
    }
    return cut(bytes, length);
  }

  /**
   * Gives the part of the buffer that the next bytes of the source go to. The buffer moves what is unread, or
   * grows, so that each byte is moved a bounded number of times however it arrives.
   *
   * @param wanted How many bytes are asked for; more are read ahead unless that is off.
   * @param limit How many unread bytes, of which there are fewer now, the buffer may grow to hold.
   */
  #room(wanted: number, limit: number): Uint8Array {
    const unread = this.#end - this.#start;
    const isFull = this.#end === this.#buffer.length;
    if (unread === 0) {
      this.#start = this.#end = 0;
      // What a long line made grow is given back once it has been read.
      if (this.#buffer.length > this.#bufferSize) this.#buffer = EMPTY;
    }
    const { length } = this.#buffer;
    const isSmall = length < this.#bufferSize;
    if (this.#end === length || isFull && isSmall) {
      const ahead = Math.min(this.#bufferSize, FIRST_BUFFER_SIZE);
      const first = Math.max(ahead, Math.min(unread + wanted, MAX_FIRST_ALLOCATION));
      const doubled = isSmall ? Math.min(length * 2, this.#bufferSize) : length * 2;
      const target = Math.min(Math.max(doubled, first), Math.max(limit, this.#bufferSize));
      if (target > length && (isSmall || unread * 2 >= length)) {
        this.#buffer = grown(this.#buffer.subarray(this.#start, this.#end), target);
      } else {
        this.#buffer.copyWithin(0, this.#start, this.#end);
      }
      this.#start = 0;
      this.#end = unread;
    }
    return this.#buffer.subarray(
      this.#end,
      this.#bufferSize === 0 ? this.#end + wanted : undefined,
    );
  }

  /** Drops what is unread, and ends. */
  end(): void {
    this.#ended = true;
    this.#start = this.#end;
  }

  /** How many bytes of the buffer are unread. */
  get unread(): number {
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

function grown(bytes: Uint8Array, size: number): Uint8Array<ArrayBuffer> {
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
