/**
 * The memory that `recv()` receives into.
 *
 * A new buffer of 64 KiB for each connection is most of what a short one would cost, by the pages that the system
 * clears and by the garbage collections that so much memory brings on: it is used again, by other connections too.
 *
 * @module
 */
import { checkInteger } from "../base/options.ts";

/** The most that is received at once, in bytes. */
const MAX_RECV = 256 * 1024;
/** Smaller rooms are as quickly made as found again, in bytes. */
const MIN_KEPT = 4096;
/** How many rooms are kept for other connections. */
const MAX_KEPT = 16;

const kept: Uint8Array<ArrayBuffer>[] = [];

/** The room of one connection. */
export class BufferPool {
  /** One that the last `recv()` left almost empty. */
  #spare: Uint8Array<ArrayBuffer> | null = null;

  /**
   * Sets room aside.
   *
   * @param maxBytes How much, up to 256 KiB.
   * @throws {RangeError} When `maxBytes` is not a positive integer.
   */
  take(maxBytes: number): Uint8Array<ArrayBuffer> {
    checkInteger("maxBytes", maxBytes, 1, Number.MAX_SAFE_INTEGER);
    const size = Math.min(maxBytes, MAX_RECV);
    const spare = this.#spare;
    this.#spare = null;
    if (spare === null || spare.length < size) return takeKept(size) ?? new Uint8Array(size);
    return spare.length === size ? spare : spare.subarray(0, size);
  }

  /** Gives what was received: a small message is copied out and the room stays here, a large one takes it along. */
  cut(room: Uint8Array<ArrayBuffer>, count: number): Uint8Array<ArrayBuffer> {
    const { buffer } = room;
    if (count * 2 >= buffer.byteLength) {
      new Uint8Array(buffer, count).fill(0); // nobody is to find there what another client has sent
      return room.subarray(0, count);
    }
    this.#spare = room.length === buffer.byteLength ? room : new Uint8Array(buffer);
    return room.slice(0, count);
  }

  /** Leaves the room to other connections, when this one is over. */
  release(): void {
    const spare = this.#spare;
    this.#spare = null;
    if (spare !== null && spare.length >= MIN_KEPT && kept.length < MAX_KEPT) kept.push(spare);
  }
}

/** Takes a kept room of that size, if there is one. */
function takeKept(size: number): Uint8Array<ArrayBuffer> | undefined {
  if (size < MIN_KEPT) return undefined;
  const at = kept.findLastIndex((room) => room.length === size);
  return at < 0 ? undefined : kept.splice(at, 1)[0];
}
