/**
 * One direction of the bytes between the main isolate and a Web Worker: a ring in shared memory.
 *
 * A Worker that waits sleeps on a control word (`Atomics.wait`, or `Atomics.waitAsync` where it must not block), the main
 * isolate waits for its doorbell, and who changes something wakes it.
 *
 * @module
 */
import * as atomics from "../../channel/atomics.ts";
import { type Bell, Doorbell, ring } from "./doorbell.ts";

/** Which end of a channel: that of the main isolate or that of the worker. */
export type RingSide = "main" | "worker";

/** What a {@linkcode Ring} is made of, which both of its ends have. */
export interface RingParts {
  /** The {@linkcode RING_WORDS} control words. */
  control: Int32Array<SharedArrayBuffer>;
  /** The bytes; as many as a power of two. */
  data: Uint8Array<SharedArrayBuffer>;
  /** Wakes the main end. */
  bell: Bell;
}

/** How many control words a ring has. */
export const RING_WORDS = 32;
// What the writer changes and what the reader changes stand 64 bytes apart, so that the two threads do not fight over one
// cache line.
/** How many bytes have been written, modulo 2^32. */
const WRITTEN = 0;
/** 1 while the writer waits; who wakes it sets 0. */
const WRITER_WAITS = 1;
/** How many bytes have been read, modulo 2^32. */
const READ = 16;
/** 1 while the reader waits; who wakes it sets 0. */
const READER_WAITS = 17;

/** Of this isolate, for all main ends in it. */
export const doorbell = new Doorbell();

/** Has the counters of bytes of a new ring begin at `origin`. */
export function beginAt(control: Int32Array<SharedArrayBuffer>, origin: number): void {
  control[WRITTEN] = control[READ] = origin;
}

/** One direction as one of its two ends sees it. */
export class Ring {
  /** The words on which this end waits, and the other. */
  readonly ownWait: number;
  readonly peerWait: number;
  /** Whether this end waits asynchronously. */
  waiting = false;
  readonly #control: Int32Array<SharedArrayBuffer>;
  readonly #data: Uint8Array<SharedArrayBuffer>;
  readonly #bell: Bell;
  readonly #isMain: boolean;

  constructor({ control, data, bell }: RingParts, role: "reader" | "writer", side: RingSide) {
    this.#control = control;
    this.#data = data;
    this.#bell = bell;
    this.#isMain = side === "main";
    this.ownWait = role === "reader" ? READER_WAITS : WRITER_WAITS;
    this.peerWait = role === "reader" ? WRITER_WAITS : READER_WAITS;
  }

  /** How many bytes have been written, modulo 2^32. */
  get written(): number {
    return atomics.load(this.#control, WRITTEN);
  }

  /** Copies into `p` what is there up to the byte `written`; returns how much. */
  take(p: Uint8Array, written: number): number {
    const read = atomics.load(this.#control, READ);
    // The difference of two 32-bit counters is right after they have wrapped, too.
    const filled = (written - read) | 0;
    const count = Math.min(filled, p.length);
    if (count === 0) return 0;
    const capacity = this.#data.length;
    const start = read & (capacity - 1);
    const first = Math.min(count, capacity - start);
    p.set(this.#data.subarray(start, start + first));
    if (first < count) p.set(this.#data.subarray(0, count - first), first);
    atomics.store(this.#control, READ, (read + count) | 0);
    // A writer that waits goes on when half of the ring is free, not for every few bytes. It is never
    // forgotten: a reader that goes on finds half free before it finds nothing and waits.
    if ((filled - count) * 2 <= capacity) this.wake(this.peerWait);
    return count;
  }

  /** How many bytes are there. */
  get unread(): number {
    return (this.written - atomics.load(this.#control, READ)) | 0;
  }

  /** How many bytes there is room for. */
  get room(): number {
    return this.#data.length - this.unread;
  }

  /** Copies what there is room for out of `p`, from `from` on; returns how much. */
  put(p: Uint8Array, from: number): number {
    const { written } = this;
    const capacity = this.#data.length;
    const count = Math.min(this.room, p.length - from);
    if (count === 0) return 0;
    const start = written & (capacity - 1);
    const first = Math.min(count, capacity - start);
    this.#data.set(first === p.length ? p : p.subarray(from, from + first), start);
    if (first < count) this.#data.set(p.subarray(from + first, from + count));
    atomics.store(this.#control, WRITTEN, (written + count) | 0);
    this.wake(this.peerWait);
    return count;
  }

  /** Makes `attempt` until it gives something, whenever this end is woken. */
  async wait<T>(attempt: () => T | undefined): Promise<T> {
    this.waiting = true;
    try {
      while (true) {
        atomics.store(this.#control, this.ownWait, 1);
        const result = attempt();
        if (result !== undefined) return result;
        if (this.#isMain) {
          await doorbell.wait(this.#bell.slot);
          continue;
        }
        const woken = atomics.waitAsync(this.#control, this.ownWait, 1);
        if (woken.async) await woken.value;
      }
    } finally {
      this.waiting = false;
      atomics.store(this.#control, this.ownWait, 0);
    }
  }

  /** As {@linkcode Ring.wait}, blocking; `undefined` when `timeout` milliseconds are over. */
  waitSync<T>(attempt: () => T | undefined, timeout: number): T | undefined {
    const deadline = performance.now() + timeout;
    try {
      while (true) {
        atomics.store(this.#control, this.ownWait, 1);
        const result = attempt();
        const left = deadline - performance.now();
        if (result !== undefined || left <= 0) return result;
        atomics.wait(this.#control, this.ownWait, 1, left);
      }
    } finally {
      atomics.store(this.#control, this.ownWait, 0);
    }
  }

  /** Wakes who waits on a word; what it waits for must have been stored before. */
  wake(word: number): void {
    if (atomics.load(this.#control, word) === 0) return;
    atomics.store(this.#control, word, 0);
    if (this.#isMain === (word === this.ownWait)) ring(this.#bell);
    else atomics.notify(this.#control, word);
  }
}
