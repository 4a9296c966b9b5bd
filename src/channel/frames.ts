/**
 * What the main isolate and a worker say to each other: frames of a type and a payload, on any byte transport.
 *
 * A worker is told once which handler it runs (INIT, answered by READY or ERROR). Each request then goes from START to
 * DONE. In between the client's bytes travel as DATA and END both ways, and a worker may ask for what only the owner
 * of the socket can do: SEND_TO (answered by SENT), SET_OPTION, CLOSE. WAIT and EXPIRED are the time limit of a read that blocks.
 * After DONE a worker drops what still comes, up to the next START.
 *
 * @module
 */
import type { BlockingChannel, Channel } from "./channel.ts";

/** The types of frames. */
export const FRAME = {
  /** To a worker: the handler to run; an {@linkcode Init}. */
  INIT: 1,
  /** From a worker: the handler is there. */
  READY: 2,
  /** To a worker: a request; a {@linkcode Start}, then its context and its datagram. */
  START: 3,
  /** Either way: bytes of the stream. */
  DATA: 4,
  /** Either way: the end of the stream. */
  END: 5,
  /** From a worker: a datagram; the address, then the bytes. */
  SEND_TO: 6,
  /** From a worker: an option of the socket; a {@linkcode SocketOption}. */
  SET_OPTION: 7,
  /** From a worker: close the connection at once. To a worker: the client is cut off. */
  CLOSE: 8,
  /** From a worker: it blocks until there is more to read; a {@linkcode Wait}. */
  WAIT: 9,
  /** To a worker: the time of the {@linkcode Wait} of this number is up. */
  EXPIRED: 10,
  /** From a worker: the handler could not be loaded; an error. */
  ERROR: 11,
  /** From a worker: the request has ended; an {@linkcode Outcome}. */
  DONE: 12,
  /** To a worker: what became of its earliest SEND_TO so far; an error, or nothing. */
  SENT: 13,
} as const;

/** The type of a frame. */
export type FrameType = typeof FRAME[keyof typeof FRAME];

/** Type and length. */
export const HEADER_BYTES = 5;
/** How long a key is; see {@linkcode newKey}. */
const KEY_BYTES = 16;
/** The longest payload of a DATA frame, in bytes: with its key and header it fills a pipe of Linux. */
export const MAX_DATA = 64 * 1024 - KEY_BYTES - HEADER_BYTES;
/** The longest payload of a START frame, in bytes; a context may be large, and a fault must not fill memory. */
const MAX_START = 256 * 1024 * 1024;
/** The longest payload of a frame with an error in it, in bytes; `toErrorMessage()` makes none that is longer. */
const MAX_ERROR = 4 * 1024 * 1024;
/** The longest payload of a frame with a few settings in it, in bytes. */
const MAX_SETTINGS = 64 * 1024;
/** The longest datagram that a worker asks to be sent, in bytes; no system sends one as long as that. */
export const MAX_DATAGRAM = 1024 * 1024;
/** How many parts a payload has at the most. */
const MAX_PARTS = 3;

/** The types of frames that an end reads, each with its longest payload in bytes. */
export type FrameLimits = Readonly<Partial<Record<FrameType, number>>>;

/** What a worker reads. */
export const TO_UNIT: FrameLimits = {
  [FRAME.INIT]: MAX_SETTINGS,
  [FRAME.START]: MAX_START,
  [FRAME.DATA]: MAX_DATA,
  [FRAME.END]: 0,
  [FRAME.CLOSE]: 0,
  [FRAME.EXPIRED]: 0,
  [FRAME.SENT]: MAX_ERROR,
};

/** What the main isolate reads. */
export const FROM_UNIT: FrameLimits = {
  [FRAME.READY]: 0,
  [FRAME.DATA]: MAX_DATA,
  [FRAME.END]: 0,
  [FRAME.SEND_TO]: MAX_DATAGRAM + MAX_SETTINGS,
  [FRAME.SET_OPTION]: MAX_SETTINGS,
  [FRAME.CLOSE]: 0,
  [FRAME.WAIT]: MAX_SETTINGS,
  [FRAME.ERROR]: MAX_ERROR,
  [FRAME.DONE]: MAX_ERROR,
};

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const NOTHING = new Uint8Array(0);
const DONE = Promise.resolve();

/** Makes a key that nobody can guess. */
export function newKey(): string {
  const random = crypto.getRandomValues(new Uint8Array(KEY_BYTES / 4 * 3));
  return btoa(String.fromCharCode(...random));
}

/** Writes the type and the length of a frame. */
function writeHeader(frame: Uint8Array, at: number, type: FrameType, length: number): void {
  frame[at] = type;
  frame[at + 1] = length;
  frame[at + 2] = length >>> 8;
  frame[at + 3] = length >>> 16;
  frame[at + 4] = length >>> 24;
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

/**
 * Takes apart what {@linkcode pack} joined; the parts are views.
 *
 * @throws {Deno.errors.InvalidData} When it is nothing that `pack()` made.
 */
export function unpack<Value>(packed: Uint8Array<ArrayBuffer>): {
  value: Value;
  parts: Uint8Array<ArrayBuffer>[];
} {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  const all: Uint8Array<ArrayBuffer>[] = [];
  for (let at = 0; at < packed.length;) {
    const start = at + 4;
    const end = start > packed.length ? Infinity : start + view.getUint32(at, true);
    if (end > packed.length || all.length === MAX_PARTS) throw malformed();
    all.push(packed.subarray(start, end));
    at = end;
  }
  const [json = NOTHING, ...parts] = all;
  try {
    return { value: JSON.parse(decoder.decode(json)), parts };
  } catch (cause) {
    throw malformed(cause);
  }
}

/** Writes frames, one after the other. */
export class FrameWriter<C extends Channel = Channel> {
  readonly channel: C;
  /** What each frame begins with. */
  #key = NOTHING;
  /** The frame that is being written; used again for the next. */
  #frame = new Uint8Array(1024);
  /** Settles when the last write so far has; null while there is none. */
  #last: Promise<void> | null = null;

  constructor(channel: C) {
    this.channel = channel;
  }

  /** Begins each frame from now on with a key, by which the other end tells frames from what others write. */
  useKey(key: string): void {
    this.#key = encoder.encode(key);
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
   * Writes a DATA frame in place, where no key is used.
   *
   * @param frame Room for the header, then the data.
   * @param length How long the data is.
   */
  writeInPlace(frame: Uint8Array, length: number): Promise<void> {
    writeHeader(frame, 0, FRAME.DATA, length);
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
    const start = this.#key.length;
    const size = start + HEADER_BYTES + payload.length;
    let frame = this.#frame;
    if (frame.length < size) {
      frame = new Uint8Array(size);
      // A large payload is rare, but for DATA; its room is not kept.
      if (payload.length <= MAX_DATA) this.#frame = frame;
    }
    if (start > 0) frame.set(this.#key);
    writeHeader(frame, start, type, payload.length);
    frame.set(payload, start + HEADER_BYTES);
    return frame.subarray(0, size);
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
  readonly #limits: FrameLimits;
  readonly #key: Uint8Array;
  /** The key, the type and the length. */
  readonly #header: Uint8Array;
  /** How much of the header has been read. */
  #headerRead = 0;
  #left = 0;
  /** The call of `next()` under way. */
  #next: Promise<FrameType | null> | null = null;
  #skipped: Uint8Array | null = null;

  /**
   * @param channel What to read from.
   * @param limits Which frames there are.
   * @param key What each of them begins with.
   */
  constructor(channel: C, limits: FrameLimits, key = "") {
    this.#channel = channel;
    this.#limits = limits;
    this.#key = encoder.encode(key);
    this.#header = new Uint8Array(this.#key.length + HEADER_BYTES);
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
    while (this.#headerRead < this.#header.length) {
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
      while (this.#headerRead < this.#header.length) {
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
    while (this.#headerRead < this.#header.length) {
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
    const header = this.#header;
    const start = this.#key.length;
    let isKnown = true;
    for (let at = 0; at < start; at++) if (header[at] !== this.#key[at]) isKnown = false;
    const [type = 0, a = 0, b = 0, c = 0, d = 0] = start > 0 ? header.subarray(start) : header;
    const length = (a | b << 8 | c << 16 | d << 24) >>> 0;
    const limit = this.#limits[type as FrameType];
    if (!isKnown || limit === undefined || length > limit) {
      const what = isKnown ? `type ${type}, ${length} bytes` : "no key";
      throw new Deno.errors.InvalidData(
        `Cannot read frame: ${what}; did something else write to the channel?`,
      );
    }
    this.#headerRead = 0;
    this.#left = length;
    return type as FrameType;
  }
}

function malformed(cause?: unknown): Error {
  return new Deno.errors.InvalidData("Cannot read frame: its payload is malformed", { cause });
}

function endless(): Error {
  return new Deno.errors.UnexpectedEof("the frame has no end");
}
