/**
 * What a buffered reader does, less the waiting: the same steps serve reads that wait and reads that block.
 *
 * @module
 */
import { IncompleteReadError, LineTooLongError, noteSource } from "../base/errors.ts";
import { checkInteger } from "../base/options.ts";

/**
 * A read whose driver does the waiting: it yields the room for the next bytes of the source and is given how
 * many came, or `null` at the end. An error of the source is thrown into it.
 */
export type Steps<T> = Generator<Uint8Array, T, number | null>;

/** What a read gives: the result where that takes no bytes of the source, or else the steps to it. */
export type Result<T> = T | Steps<T>;

/** Whether a read has still to be driven. */
export function isSteps<T extends Uint8Array | number | null>(
  result: Result<T>,
): result is Steps<T> {
  return typeof result === "object" && result !== null && !(result instanceof Uint8Array);
}

/** The buffer's size when nobody says, in bytes; Python's `io.DEFAULT_BUFFER_SIZE`. */
const DEFAULT_BUFFER_SIZE = 8192;
/** How much is set aside at first for a frame of known size; more only as its bytes arrive. */
const MAX_FIRST_ALLOCATION = 64 * 1024;

const EMPTY = new Uint8Array(0);

/** The buffer of a reader, and its reads; one of them at a time. */
export class ReadBuffer {
  /** Where the bytes come from. */
  #source: object;
  /** How many bytes a read ahead asks for; 0 for none. */
  readonly #bufferSize: number;
  #buffer: Uint8Array = EMPTY;
  /** Where the unread bytes of the buffer begin and end. */
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
    checkInteger("bufferSize", bufferSize, -1, 2 ** 30);
    this.#bufferSize = bufferSize === -1 ? DEFAULT_BUFFER_SIZE : bufferSize;
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
  read(size: number): Result<Uint8Array<ArrayBuffer>> {
    checkInteger("size", size, -1, Number.MAX_SAFE_INTEGER);
    const wanted = size === -1 ? Infinity : size;
    return this.#unread >= wanted || this.#ended ? this.#take(wanted) : this.#readFrame(wanted);
  }

  /** Reads what is there with at most one read of the source; -1 for as much as the buffer takes. */
  read1(size: number): Result<Uint8Array<ArrayBuffer>> {
    checkInteger("size", size, -1, Number.MAX_SAFE_INTEGER);
    const wanted = size === -1 ? this.#bufferSize || DEFAULT_BUFFER_SIZE : size;
    return this.#unread > 0 || wanted === 0 ? this.#take(wanted) : this.#readOnce(wanted);
  }

  /** Reads `size` bytes and no fewer. */
  readExactly(size: number): Result<Uint8Array<ArrayBuffer>> {
    checkInteger("size", size, 0, Number.MAX_SAFE_INTEGER);
    return this.#unread >= size ? this.#take(size) : this.#readWhole(size);
  }

  /** Reads up to and with a delimiter. */
  readUntil(delimiter: Uint8Array, limit: number): Result<Uint8Array<ArrayBuffer>> {
    checkInteger("limit", limit, 1, 2 ** 30);
    checkInteger("delimiter.length", delimiter.length, 1, limit);
    return this.#takeTo(delimiter, limit, 0) ?? this.#readTo(delimiter, limit);
  }

  /** Looks at the next `size` bytes without taking them. */
  peek(size: number): Result<Uint8Array<ArrayBuffer>> {
    checkInteger("size", size, 0, 2 ** 30);
    return this.#unread >= size || this.#ended ? this.#copy(size) : this.#peekMore(size);
  }

  /** Reads some bytes: those in the buffer, or else the next, past the buffer when they would fill it. */
  *readInto(p: Uint8Array): Steps<number | null> {
    if (this.#unread === 0) {
      if (this.#ended) return null;
      if (p.length >= this.#bufferSize) return yield* this.#readSource(p);
      yield* this.#fill(p.length, p.length);
      if (this.#ended) return null;
    }
    const count = Math.min(p.length, this.#unread);
    p.set(this.#buffer.subarray(this.#start, this.#start + count));
    this.#start += count;
    return count;
  }

  *#readOnce(wanted: number): Steps<Uint8Array<ArrayBuffer>> {
    const bytes = new Uint8Array(Math.min(wanted, MAX_FIRST_ALLOCATION));
    return cut(bytes, (yield* this.readInto(bytes)) ?? 0);
  }

  *#readWhole(size: number): Steps<Uint8Array<ArrayBuffer>> {
    const bytes = this.#ended ? this.#take(size) : yield* this.#readFrame(size);
    if (bytes.length < size) throw noteSource(new IncompleteReadError(bytes, size), this.#source);
    return bytes;
  }

  *#readTo(delimiter: Uint8Array, limit: number): Steps<Uint8Array<ArrayBuffer>> {
    while (true) {
      const searched = Math.max(0, this.#unread - delimiter.length + 1);
      yield* this.#fill(1, limit);
      const frame = this.#takeTo(delimiter, limit, searched);
      if (frame !== null) return frame;
    }
  }

  /**
   * Takes what is unread up to and with the delimiter, or to the end of the stream; null when more must come.
   *
   * @param searched How much of the unread bytes cannot be where the delimiter begins.
   */
  #takeTo(
    delimiter: Uint8Array,
    limit: number,
    searched: number,
  ): Uint8Array<ArrayBuffer> | null {
    const unread = this.#buffer.subarray(this.#start, this.#end);
    const at = indexOf(unread, delimiter, searched);
    if (at >= 0 && at + delimiter.length <= limit) return this.#take(at + delimiter.length);
    if (at >= 0 || unread.length >= limit) {
      throw noteSource(new LineTooLongError(limit), this.#source);
    }
    return this.#ended ? this.#take(unread.length) : null;
  }

  *#peekMore(size: number): Steps<Uint8Array<ArrayBuffer>> {
    while (this.#unread < size && !this.#ended) yield* this.#fill(size - this.#unread, size);
    return this.#copy(size);
  }

  /** Reads `wanted` bytes, or to the end, into memory that grows as they arrive. */
  *#readFrame(wanted: number): Steps<Uint8Array<ArrayBuffer>> {
    let frame = new Uint8Array(Math.min(wanted, Math.max(this.#unread, MAX_FIRST_ALLOCATION)));
    let length = 0;
    try {
      while (length < wanted) {
        if (length === frame.length) frame = grown(frame, Math.min(length * 2, wanted));
        const count = yield* this.readInto(frame.subarray(length));
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

  /**
   * Reads once from the source into the buffer, which holds fewer than `capacity` unread bytes. At the end
   * of the source it adds nothing.
   *
   * @param wanted How many bytes are asked for; more are read ahead unless that is off.
   * @param capacity How many unread bytes the buffer may grow to hold.
   */
  *#fill(wanted: number, capacity: number): Steps<void> {
    this.#makeRoom(wanted, Math.max(capacity, this.#bufferSize));
    const until = this.#bufferSize === 0
      ? Math.min(this.#end + wanted, this.#buffer.length)
      : this.#buffer.length;
    const count = yield* this.#readSource(this.#buffer.subarray(this.#end, until));
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
  *#readSource(p: Uint8Array): Steps<number | null> {
    while (true) {
      const count = yield p;
      if (count === null) this.#ended = true;
      if (count !== 0) return count;
    }
  }

  /** Drops what is unread, and ends. */
  end(): void {
    this.#ended = true;
    this.#start = this.#end;
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
