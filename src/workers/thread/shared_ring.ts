/**
 * Bytes between the main isolate and a Web Worker through shared memory: a ring for each direction. No message is posted
 * for a read or a write.
 *
 * @module
 */
import * as atomics from "../../channel/atomics.ts";
import { checkInteger } from "../../base/options.ts";
import type { BlockingChannel } from "../../channel/channel.ts";
import { type Bell, ring } from "./doorbell.ts";
import { beginAt, doorbell, Ring, RING_WORDS, type RingParts, type RingSide } from "./ring.ts";

/** The memory of a channel, which both ends have. */
export interface RingMemory {
  readonly buffer: SharedArrayBuffer;
  /** Wakes the main end. */
  readonly bell: Bell;
}

/**
 * How many bytes each direction holds when nobody says. With room for two frames of 64 KiB one is written while
 * the other is read.
 */
const DEFAULT_CAPACITY = 128 * 1024;

// The control words: those of the ring to the worker, those of the ring to the main end, and those of the two ends.
/** Where the words of the ends begin. */
const ENDS = 2 * RING_WORDS;
/** How many words an end has. */
const END_WORDS = 2;
/** 1 when it has closed. */
const CLOSED = 0;
/** How often its reads were interrupted and let go on: odd while they are interrupted. */
const INTERRUPTS = 1;
const HEADER_WORDS = 80;
const HEADER_BYTES = HEADER_WORDS * Int32Array.BYTES_PER_ELEMENT;

const DONE = Promise.resolve();

/** The parts of the ring of a direction: 0 to the worker, 1 to the main end. */
function ringOf({ buffer, bell }: RingMemory, direction: 0 | 1): RingParts {
  const capacity = (buffer.byteLength - HEADER_BYTES) / 2;
  const first = direction * RING_WORDS * Int32Array.BYTES_PER_ELEMENT;
  return {
    control: new Int32Array(buffer, first, RING_WORDS),
    data: new Uint8Array(buffer, HEADER_BYTES + direction * capacity, capacity),
    bell,
  };
}

/**
 * One end of a two-way stream of bytes in shared memory.
 *
 * Both ends have all methods. The main isolate uses only those that do not block; its waiting reads and writes do
 * not keep the program alive (Deno does not count `Atomics.waitAsync`). The two ends may be in one isolate as long as
 * neither blocks.
 *
 * A Worker that ends, or is terminated, closes nothing: who ends it closes the main end.
 */
export class RingChannel implements BlockingChannel {
  readonly canTimeOut = true;
  readonly #control: Int32Array<SharedArrayBuffer>;
  readonly #bell: Bell;
  /** What this end reads from, and what it writes to. */
  readonly #in: Ring;
  readonly #out: Ring;
  /** Where the words of the ends begin. */
  readonly #own: number;
  readonly #peer: number;
  #closed = false;

  /**
   * Makes the memory of a channel: post it to the Worker, and make an end of it on either side.
   *
   * @param capacity How many bytes each direction holds; a power of two.
   * @param origin Where the counters of bytes begin; tests start them shortly before they wrap.
   * @throws {RangeError} When `capacity` is not a power of two up to 1 GiB.
   */
  static allocate(capacity: number = DEFAULT_CAPACITY, origin = 0): RingMemory {
    checkInteger("capacity", capacity, 1, 2 ** 30);
    if ((capacity & (capacity - 1)) !== 0) {
      throw new RangeError(
        `Cannot use option 'capacity': expected a power of two, got ${capacity}`,
      );
    }
    const buffer = new SharedArrayBuffer(HEADER_BYTES + 2 * capacity);
    const memory = { buffer, bell: doorbell.take() };
    for (const direction of [0, 1] as const) beginAt(ringOf(memory, direction).control, origin);
    return memory;
  }

  /** Makes an end, one for each side, of what {@linkcode RingChannel.allocate} gave. */
  constructor(memory: RingMemory, side: RingSide) {
    const own = side === "main" ? 0 : 1;
    const peer = side === "main" ? 1 : 0;
    this.#control = new Int32Array(memory.buffer, 0, HEADER_WORDS);
    this.#bell = memory.bell;
    this.#out = new Ring(ringOf(memory, own), "writer", side);
    this.#in = new Ring(ringOf(memory, peer), "reader", side);
    this.#own = ENDS + own * END_WORDS;
    this.#peer = ENDS + peer * END_WORDS;
  }

  get interrupted(): boolean {
    return (atomics.load(this.#control, this.#own + INTERRUPTS) & 1) === 1;
  }

  /** How many bytes that were written the other end has not read. */
  get unread(): number {
    return this.#out.unread;
  }

  /**
   * @throws {Deno.errors.Interrupted} When the other end interrupts; no byte is lost by it.
   * @throws {Deno.errors.BadResource} When this end is closed, also while the read waits.
   * @throws {Deno.errors.Busy} When another asynchronous read is under way.
   */
  read(p: Uint8Array, interruptible = true): Promise<number | null> {
    try {
      const begun = this.#beginRead();
      const interrupts = interruptible ? begun : null;
      const count = this.#tryRead(p, interrupts);
      return count === undefined
        ? this.#in.wait(() => this.#tryRead(p, interrupts))
        : Promise.resolve(count);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  readNow(p: Uint8Array): number {
    if (this.#closed || this.#in.waiting) return 0;
    return this.#tryRead(p, this.#beginRead()) ?? 0;
  }

  writeNow(p: Uint8Array): boolean {
    if (this.#closed || this.#out.waiting || this.#out.room < p.length) return false;
    return this.#tryWrite(p, 0) === p.length;
  }

  readSync(p: Uint8Array, timeout: number | null): number | null {
    const interrupts = this.#beginRead();
    let count = this.#tryRead(p, interrupts);
    if (count !== undefined) return count;
    count = this.#in.waitSync(() => this.#tryRead(p, interrupts), timeout ?? Infinity);
    if (count !== undefined) return count;
    throw new Deno.errors.TimedOut(`Cannot read from channel: nothing came within ${timeout} ms`);
  }

  /**
   * `p` must stay as it is until the promise settles.
   *
   * @throws {Deno.errors.BrokenPipe} When the other end has closed, also while the write waits.
   * @throws {Deno.errors.BadResource} When this end is closed, also while the write waits.
   * @throws {Deno.errors.Busy} When another asynchronous write is under way.
   */
  write(p: Uint8Array): Promise<void> {
    try {
      this.#beginWrite();
      const sent = this.#tryWrite(p, 0);
      return sent === p.length ? DONE : this.#writeLater(p, sent);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  writeSync(p: Uint8Array): void {
    this.#beginWrite();
    let sent = this.#tryWrite(p, 0);
    if (sent === p.length) return;
    this.#out.waitSync(() => (sent += this.#tryWrite(p, sent)) === p.length || undefined, Infinity);
  }

  /**
   * Interrupts the reads of the other end: one that waits, blocked or not, fails with
   * `Deno.errors.Interrupted`, and so does each later one until {@linkcode RingChannel.clearInterrupt}. What
   * is in the ring stays there, and no read that had begun before gets what is written from now on.
   */
  interruptPeer(): void {
    this.#interruptPeer(true);
    this.#out.wake(this.#out.peerWait);
  }

  /** Lets the other end read again. A read that waited when it was interrupted fails all the same. */
  clearInterrupt(): void {
    this.#interruptPeer(false);
  }

  /**
   * Closes both directions: the other end reads what is left and then the end, and its writes fail with
   * `Deno.errors.BrokenPipe`. What waits on this end fails with `Deno.errors.BadResource`. Safe to call again.
   */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    atomics.store(this.#control, this.#own + CLOSED, 1);
    for (const way of [this.#in, this.#out]) {
      way.wake(way.ownWait);
      way.wake(way.peerWait);
    }
    ring(this.#bell, true); // a Worker that was killed while it rang has woken nobody
  }

  #interruptPeer(interrupted: boolean): void {
    const word = this.#peer + INTERRUPTS;
    const odd = (atomics.load(this.#control, word) & 1) === 1;
    if (odd !== interrupted) atomics.add(this.#control, word, 1);
  }

  /** Checks that a read may begin; returns what its word of interruptions must be and stay. */
  #beginRead(): number {
    if (this.#in.waiting) {
      throw new Deno.errors.Busy("Cannot read from channel: another read is under way");
    }
    return atomics.load(this.#control, this.#own + INTERRUPTS) & ~1;
  }

  /** Reads if that needs no waiting; `undefined` when it does. With `null` nothing interrupts it. */
  #tryRead(p: Uint8Array, interrupts: number | null): number | null | undefined {
    if (this.#closed) {
      throw new Deno.errors.BadResource("Cannot read from channel: it is closed");
    }
    // In this order, or else what was written before the other end closed could be missed, and what was
    // written after it interrupted could be read.
    const closed = atomics.load(this.#control, this.#peer + CLOSED) === 1;
    const { written } = this.#in;
    const now = atomics.load(this.#control, this.#own + INTERRUPTS);
    if (interrupts !== null && now !== interrupts) {
      throw new Deno.errors.Interrupted("Cannot read from channel: interrupted by the other end");
    }
    const count = this.#in.take(p, written);
    if (count > 0 || p.length === 0) return count;
    return closed ? null : undefined;
  }

  #beginWrite(): void {
    if (this.#out.waiting) {
      throw new Deno.errors.Busy("Cannot write to channel: another write is under way");
    }
  }

  /** Writes what there is room for, from `from` on; returns how much. */
  #tryWrite(p: Uint8Array, from: number): number {
    if (this.#closed) {
      throw new Deno.errors.BadResource("Cannot write to channel: it is closed");
    }
    if (atomics.load(this.#control, this.#peer + CLOSED) === 1) {
      throw new Deno.errors.BrokenPipe("Cannot write to channel: the other end has closed");
    }
    return this.#out.put(p, from);
  }

  async #writeLater(p: Uint8Array, sent: number): Promise<void> {
    await this.#out.wait(() => (sent += this.#tryWrite(p, sent)) === p.length || undefined);
  }
}
