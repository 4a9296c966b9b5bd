/**
 * The end of a channel that frames are written to.
 *
 * @module
 */
import type { BlockingChannel, Channel } from "./channel.ts";
import { SerialQueue } from "../base/time.ts";
import { FRAME, type FrameType, HEADER_BYTES, MAX_DATA } from "./frames.ts";

const encoder = new TextEncoder();
const NOTHING = new Uint8Array(0);
const DONE = Promise.resolve();

/** Writes frames, one after the other. */
export class FrameWriter<C extends Channel = Channel> {
  readonly channel: C;
  /** What each frame begins with. */
  #key = NOTHING;
  /** The frame that is being written; used again for the next. */
  #frame = new Uint8Array(1024);
  readonly #queue = new SerialQueue();

  constructor(channel: C) {
    this.channel = channel;
  }

  /** Begins each frame from now on with a key, by which the other end tells frames from what others write. */
  useKey(key: string): void {
    this.#key = encoder.encode(key);
  }

  /** Whether a write is under way. */
  get writing(): boolean {
    return this.#queue.busy;
  }

  /** Resolves when the writes so far have settled, however they did. */
  settled(): Promise<void> {
    return this.#queue.settled();
  }

  /** Writes a frame; the payload must stay as it is until the promise settles. */
  write(type: FrameType, payload: Uint8Array = NOTHING): Promise<void> {
    if (!this.#queue.busy && this.#writeNow(this.#compose(type, payload))) return DONE;
    return this.#queue.run(() => this.channel.write(this.#compose(type, payload)));
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
    if (!this.#queue.busy && this.#writeNow(bytes)) return DONE;
    return this.#queue.run(() => this.channel.write(bytes));
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
    if (this.#queue.busy) {
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
}

/** Writes the type and the length of a frame. */
function writeHeader(frame: Uint8Array, at: number, type: FrameType, length: number): void {
  frame[at] = type;
  frame[at + 1] = length;
  frame[at + 2] = length >>> 8;
  frame[at + 3] = length >>> 16;
  frame[at + 4] = length >>> 24;
}
