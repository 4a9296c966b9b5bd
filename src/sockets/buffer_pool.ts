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
/** Smaller buffers are as quickly made as found again, in bytes. */
const MIN_KEPT = 4096;
/** How many buffers are kept for other connections. */
const MAX_KEPT = 16;

const kept: Uint8Array<ArrayBuffer>[] = [];

/**
 * The buffers of one connection. Each belongs to the read that acquires it, until `finish()`; one whose read
 * fails is not used again.
 */
export class BufferPool {
  /** A buffer that the last `recv()` left almost empty. */
  #spare: Uint8Array<ArrayBuffer> | null = null;

  /**
   * Gives a buffer to a read.
   *
   * @param maxBytes How long it is to be, up to 256 KiB.
   * @throws {RangeError} When `maxBytes` is not a positive integer.
   */
  acquire(maxBytes: number): Uint8Array<ArrayBuffer> {
    checkInteger("maxBytes", maxBytes, 1, Number.MAX_SAFE_INTEGER);
    const size = Math.min(maxBytes, MAX_RECV);
    const spare = this.#spare;
    this.#spare = null;
    if (spare === null || spare.length < size) return takeKept(size) ?? new Uint8Array(size);
    return spare.length === size ? spare : spare.subarray(0, size);
  }

  /** Gives what was read: a small message is copied and the buffer stays here, a large one takes it along. */
  finish(received: Uint8Array<ArrayBuffer>, count: number): Uint8Array<ArrayBuffer> {
    const { buffer } = received;
    if (count * 2 >= buffer.byteLength) {
      new Uint8Array(buffer, count).fill(0); // nobody is to find there what another client has sent
      return received.subarray(0, count);
    }
    this.#spare = received.length === buffer.byteLength ? received : new Uint8Array(buffer);
    return received.slice(0, count);
  }

  /** Leaves the buffer to other connections, when this one is over. */
  release(): void {
    const spare = this.#spare;
    this.#spare = null;
    if (spare !== null && spare.length >= MIN_KEPT && kept.length < MAX_KEPT) kept.push(spare);
  }
}

/** Takes a kept buffer of that size, if there is one. */
function takeKept(size: number): Uint8Array<ArrayBuffer> | undefined {
  if (size < MIN_KEPT) return undefined;
  const at = kept.findLastIndex((buffer) => buffer.length === size);
  return at < 0 ? undefined : kept.splice(at, 1)[0];
}
