/**
 * What the main isolate and a unit say to each other: frames of a type and a payload, on any byte transport.
 *
 * A unit is told once which handler it runs (INIT, answered by READY or ERROR). Each request then goes from START to
 * DONE. In between the client's bytes travel as DATA and END both ways, and a unit may ask for what only the owner
 * of the socket can do: SEND_TO (answered by SENT), SET_OPTION, CLOSE. WAIT and EXPIRED are the time limit of a read that blocks.
 * After DONE a unit drops what still comes, up to the next START.
 *
 * @module
 */
import type { BlockingChannel, Channel } from "./channel.ts";

/** The types of frames. */
export const FRAME = {
  /** To a unit: the handler to run; an {@linkcode Init}. */
  INIT: 1,
  /** From a unit: the handler is there. */
  READY: 2,
  /** To a unit: a request; a {@linkcode Start}, then its context and its datagram. */
  START: 3,
  /** Either way: bytes of the stream. */
  DATA: 4,
  /** Either way: the end of the stream. */
  END: 5,
  /** From a unit: a datagram; the address, then the bytes. */
  SEND_TO: 6,
  /** From a unit: an option of the socket; a {@linkcode SocketOption}. */
  SET_OPTION: 7,
  /** From a unit: close the connection at once. To a unit: the client is cut off. */
  CLOSE: 8,
  /** From a unit: it blocks until there is more to read; a {@linkcode Wait}. */
  WAIT: 9,
  /** To a unit: the time of the {@linkcode Wait} of this number is up. */
  EXPIRED: 10,
  /** From a unit: the handler could not be loaded; an error. */
  ERROR: 11,
  /** From a unit: the request has ended; an {@linkcode Outcome}. */
  DONE: 12,
  /** To a unit: what became of its earliest SEND_TO so far; an error, or nothing. */
  SENT: 13,
} as const;

/** The type of a frame. */
export type FrameType = typeof FRAME[keyof typeof FRAME];

/** Type and length. */
export const HEADER_BYTES = 5;
/** The longest payload of a DATA frame, in bytes. */
export const MAX_DATA = 64 * 1024;
/** The longest payload of any other frame, in bytes; a context may be large, and a fault must not fill memory. */
const MAX_PAYLOAD = 256 * 1024 * 1024;

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const NOTHING = new Uint8Array(0);
const DONE = Promise.resolve();

/** Writes the header of a frame into its first bytes. */
export function writeHeader(frame: Uint8Array, type: FrameType, length: number): void {
  frame[0] = type;
  frame[1] = length;
  frame[2] = length >>> 8;
  frame[3] = length >>> 16;
  frame[4] = length >>> 24;
}

/** Joins a value as JSON and parts of bytes, each with its length before it. */
export function pack(value: unknown, ...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = [encoder.encode(JSON.stringify(value)), ...parts];
  const packed = new Uint8Array(all.reduce((size, part) => size + 4 + part.length, 0));
  const view = new DataView(packed.buffer);
  let at = 0;
  for (const part of all) {
    view.setUint32(at, part.length, true);
    packed.set(part, at + 4);
    at += 4 + part.length;
  }
  return packed;
}

/** Takes apart what {@linkcode pack} joined; the parts are views. */
export function unpack<Value>(packed: Uint8Array<ArrayBuffer>): {
  value: Value;
  parts: Uint8Array<ArrayBuffer>[];
} {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  const all: Uint8Array<ArrayBuffer>[] = [];
  for (let at = 0; at < packed.length;) {
    const end = at + 4 + view.getUint32(at, true);
    all.push(packed.subarray(at + 4, end));
    at = end;
  }
  const [json = NOTHING, ...parts] = all;
  return { value: JSON.parse(decoder.decode(json)), parts };
}

/** Writes frames, one after the other. */
export class FrameWriter<C extends Channel = Channel> {
  readonly channel: C;
  /** The frame that is being written; used again for the next. */
  #frame = new Uint8Array(1024);
  /** Settles when the last write so far has; null while there is none. */
  #last: Promise<void> | null = null;

  constructor(channel: C) {
    this.channel = channel;
  }

  /** Whether a write is under way. */
  get writing(): boolean {
    return this.#last !== null;
  }

  /** Resolves when the writes so far have settled, however they did. */
  async settled(): Promise<void> {
    await this.#last?.catch(() => {}); // the caller of that write hears of it
  }

  /** Writes a frame; the payload must stay as it is until the promise settles. */
  write(type: FrameType, payload: Uint8Array = NOTHING): Promise<void> {
    if (this.#last === null && this.#writeNow(this.#compose(type, payload))) return DONE;
    return this.#enqueue(() => this.channel.write(this.#compose(type, payload)));
  }

  /**
   * Writes a DATA frame in place.
   *
   * @param frame Room for the header, then the data.
   * @param length How long the data is.
   */
  writeInPlace(frame: Uint8Array, length: number): Promise<void> {
    writeHeader(frame, FRAME.DATA, length);
    const bytes = frame.subarray(0, HEADER_BYTES + length);
    if (this.#last === null && this.#writeNow(bytes)) return DONE;
    return this.#enqueue(() => this.channel.write(bytes));
  }

  /**
   * Writes a frame, blocking.
   *
   * @throws {Deno.errors.Busy} When an asynchronous write is under way.
   */
  writeSync(
    this: FrameWriter<BlockingChannel>,
    type: FrameType,
    payload: Uint8Array = NOTHING,
  ): void {
    if (this.#last !== null) {
      throw new Deno.errors.Busy(
        "Cannot write: an asynchronous write is under way, await it first",
      );
    }
    this.channel.writeSync(this.#compose(type, payload));
  }

  #compose(type: FrameType, payload: Uint8Array): Uint8Array {
    const size = HEADER_BYTES + payload.length;
    if (this.#frame.length < size) {
      const frame = new Uint8Array(size);
      // A large payload is rare, but for DATA; its room is not kept.
      if (size <= HEADER_BYTES + MAX_DATA) this.#frame = frame;
      writeHeader(frame, type, payload.length);
      frame.set(payload, HEADER_BYTES);
      return frame;
    }
    writeHeader(this.#frame, type, payload.length);
    this.#frame.set(payload, HEADER_BYTES);
    return this.#frame.subarray(0, size);
  }

  /** Writes a frame if that needs no waiting; what stands in the way is for `write()` to say. */
  #writeNow(frame: Uint8Array): boolean {
    try {
      return this.channel.writeNow?.(frame) ?? false;
    } catch {
      return false; // the channel is closed
    }
  }

  #enqueue(write: () => Promise<void>): Promise<void> {
    const written = this.#last === null ? write() : this.#last.then(write, write);
    this.#last = written;
    const forget = () => {
      if (this.#last === written) this.#last = null;
    };
    written.then(forget, forget);
    return written;
  }
}

/**
 * Reads frames: first `next()`, then the payload, whole or in pieces. What is left of a payload is skipped by the next
 * `next()`. A read that is interrupted goes on where it was.
 */
export class FrameReader<C extends Channel = Channel> {
  readonly #channel: C;
  readonly #header = new Uint8Array(HEADER_BYTES);
  /** How much of the header has been read. */
  #headerRead = 0;
  #left = 0;
  /** The call of `next()` under way. */
  #next: Promise<FrameType | null> | null = null;
  #skipped: Uint8Array | null = null;

  constructor(channel: C) {
    this.#channel = channel;
  }

  /** How many bytes of the payload are still to be read. */
  get left(): number {
    return this.#left;
  }

  /**
   * Goes to the next frame. A second call joins the first while that waits, so that a handler that left a read behind
   * does not take the next request's frame away.
   *
   * @param heed Whether it fails when the other end interrupts.
   * @returns The frame's type, or `null` when the other end has closed.
   */
  next(heed = true): Promise<FrameType | null> {
    return this.#next ??= this.#goNext(heed);
  }

  /** Goes to the next frame if that needs no waiting; `undefined` when it does. */
  nextNow(): FrameType | undefined {
    if (this.#next !== null || this.#left > 0) return undefined;
    while (this.#headerRead < HEADER_BYTES) {
      const rest = this.#headerRead === 0 ? this.#header : this.#header.subarray(this.#headerRead);
      const count = this.#channel.readNow?.(rest) ?? 0;
      if (count === 0) return undefined;
      this.#headerRead += count;
    }
    return this.#parseHeader();
  }

  /** Reads some of the payload if that needs no waiting; 0 when it does. */
  readNow(p: Uint8Array): number {
    const part = p.length > this.#left ? p.subarray(0, this.#left) : p;
    const count = this.#channel.readNow?.(part) ?? 0;
    this.#left -= count;
    return count;
  }

  async #goNext(heed: boolean): Promise<FrameType | null> {
    try {
      while (this.#left > 0) {
        if (await this.read(this.#skipped ??= new Uint8Array(4096), heed) === null) return null;
      }
      while (this.#headerRead < HEADER_BYTES) {
        const count = await this.#channel.read(this.#header.subarray(this.#headerRead), heed);
        if (count === null) return null;
        this.#headerRead += count;
      }
      return this.#parseHeader();
    } finally {
      this.#next = null;
    }
  }

  /** Reads some of the payload. Resolves to how many bytes, or to `null` when the other end has closed. */
  async read(p: Uint8Array, heed = true): Promise<number | null> {
    const part = p.length > this.#left ? p.subarray(0, this.#left) : p;
    const count = await this.#channel.read(part, heed);
    if (count !== null) this.#left -= count;
    return count;
  }

  /** Reads the rest of the payload, whatever interrupts. */
  async payload(): Promise<Uint8Array<ArrayBuffer>> {
    const payload = new Uint8Array(this.#left);
    for (let at = 0; at < payload.length;) {
      const count = await this.read(payload.subarray(at), false);
      if (count === null) throw endless();
      at += count;
    }
    return payload;
  }

  /** Does what `next()` does, blocking for `timeout` milliseconds at the most. */
  nextSync(this: FrameReader<BlockingChannel>, timeout: number | null): FrameType | null {
    while (this.#left > 0) {
      if (this.readSync(this.#skipped ??= new Uint8Array(4096), timeout) === null) return null;
    }
    while (this.#headerRead < HEADER_BYTES) {
      const count = this.#channel.readSync(this.#header.subarray(this.#headerRead), timeout);
      if (count === null) return null;
      this.#headerRead += count;
    }
    return this.#parseHeader();
  }

  /** Does what `read()` does, blocking for `timeout` milliseconds at the most. */
  readSync(
    this: FrameReader<BlockingChannel>,
    p: Uint8Array,
    timeout: number | null,
  ): number | null {
    const rest = p.length > this.#left ? p.subarray(0, this.#left) : p;
    const count = this.#channel.readSync(rest, timeout);
    if (count !== null) this.#left -= count;
    return count;
  }

  /** Does what `payload()` does, blocking. */
  payloadSync(this: FrameReader<BlockingChannel>): Uint8Array<ArrayBuffer> {
    const payload = new Uint8Array(this.#left);
    for (let at = 0; at < payload.length;) {
      const count = this.readSync(payload.subarray(at), null);
      if (count === null) throw endless();
      at += count;
    }
    return payload;
  }

  #parseHeader(): FrameType {
    const [type = 0, a = 0, b = 0, c = 0, d = 0] = this.#header;
    const length = (a | b << 8 | c << 16 | d << 24) >>> 0;
    if (type < FRAME.INIT || type > FRAME.SENT || length > MAX_PAYLOAD) {
      throw new Deno.errors.InvalidData(
        `Cannot read frame: type ${type}, ${length} bytes; did something else write to the channel?`,
      );
    }
    this.#headerRead = 0;
    this.#left = length;
    return type as FrameType;
  }
}

function endless(): Error {
  return new Deno.errors.UnexpectedEof("the frame has no end");
}
