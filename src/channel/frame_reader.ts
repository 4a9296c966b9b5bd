/**
 * The end of a channel that frames are read from.
 *
 * @module
 */
import type { BlockingChannel, Channel } from "./channel.ts";
import { type FrameLimits, type FrameType, HEADER_BYTES } from "./frames.ts";

const encoder = new TextEncoder();

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
   * @param interruptible Whether it fails when the other end interrupts.
   * @returns The frame's type, or `null` when the other end has closed.
   */
  next(interruptible = true): Promise<FrameType | null> {
    return this.#next ??= this.#goNext(interruptible);
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

  async #goNext(interruptible: boolean): Promise<FrameType | null> {
    try {
      while (this.#left > 0) {
        if (await this.read(this.#skipped ??= new Uint8Array(4096), interruptible) === null) {
          return null;
        }
      }
      while (this.#headerRead < this.#header.length) {
        const count = await this.#channel.read(
          this.#header.subarray(this.#headerRead),
          interruptible,
        );
        if (count === null) return null;
        this.#headerRead += count;
      }
      return this.#parseHeader();
    } finally {
      this.#next = null;
    }
  }

  /** Reads some of the payload. Resolves to how many bytes, or to `null` when the other end has closed. */
  async read(p: Uint8Array, interruptible = true): Promise<number | null> {
    const part = p.length > this.#left ? p.subarray(0, this.#left) : p;
    const count = await this.#channel.read(part, interruptible);
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

function endless(): Error {
  return new Deno.errors.UnexpectedEof("the frame has no end");
}
