/**
 * Bytes between the main isolate and a Web Worker through shared memory: a ring for each direction.
 *
 * No message is posted for a read or a write: a Worker that waits sleeps on a control word (`Atomics.wait`, or
 * `Atomics.waitAsync` where it must not block), the main isolate waits for its doorbell, and who changes something wakes
 * it.
 *
 * @module
 */
import * as atomics from "../../channel/atomics.ts";
import { checkInteger } from "../../base/options.ts";
import type { BlockingChannel } from "../../channel/channel.ts";
import { type Bell, Doorbell, ring } from "./doorbell.ts";

/** Which end of a channel: that of the main isolate or that of the worker. */
export type RingSide = "main" | "worker";

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

// The control words of one direction, as indexes of 32-bit words. What the writer changes and what the reader
// changes stand 64 bytes apart, so that the two threads do not fight over one cache line.
/** How many bytes have been written, modulo 2^32. */
const WRITTEN = 0;
/** 1 while the writer waits; who wakes it sets 0. */
const WRITER_WAITS = 1;
/** How many bytes have been read, modulo 2^32. */
const READ = 16;
/** 1 while the reader waits; who wakes it sets 0. */
const READER_WAITS = 17;
/** How many words a direction has; those of the direction to the main end follow those to the worker. */
const DIRECTION_WORDS = 32;
/** Where the words of the ends begin, after those of the directions. */
const ENDS = 64;
/** How many words an end has. */
const END_WORDS = 2;
// The control words of one end.
/** 1 when it has closed. */
const CLOSED = 0;
/** How often its reads were interrupted and let go on: odd while they are interrupted. */
const INTERRUPTS = 1;
const HEADER_WORDS = 80;
const HEADER_BYTES = HEADER_WORDS * Int32Array.BYTES_PER_ELEMENT;

const DONE = Promise.resolve();
/** Of this isolate, for all main ends in it. */
const doorbell = new Doorbell();

/** One direction as one of its two ends sees it. */
class Ring {
  /** The words on which this end waits, and the other. */
  readonly ownWait: number;
  readonly peerWait: number;
  /** Whether this end waits asynchronously. */
  waiting = false;
  readonly #control: Int32Array<SharedArrayBuffer>;
  readonly #data: Uint8Array<SharedArrayBuffer>;
  readonly #bell: Bell;
  readonly #isMain: boolean;
  readonly #written: number;
  readonly #read: number;

  constructor(
    { buffer, bell }: RingMemory,
    direction: 0 | 1,
    role: "reader" | "writer",
    side: RingSide,
  ) {
    this.#bell = bell;
    this.#isMain = side === "main";
    const capacity = (buffer.byteLength - HEADER_BYTES) / 2;
    const first = direction * DIRECTION_WORDS;
    this.#control = new Int32Array(buffer, 0, HEADER_WORDS);
    this.#data = new Uint8Array(buffer, HEADER_BYTES + direction * capacity, capacity);
    this.#written = first + WRITTEN;
    this.#read = first + READ;
    this.ownWait = first + (role === "reader" ? READER_WAITS : WRITER_WAITS);
    this.peerWait = first + (role === "reader" ? WRITER_WAITS : READER_WAITS);
  }

  /** How many bytes have been written, modulo 2^32. */
  get written(): number {
    return atomics.load(this.#control, this.#written);
  }

  /** Copies into `p` what is there up to the byte `written`; returns how much. */
  take(p: Uint8Array, written: number): number {
    const read = atomics.load(this.#control, this.#read);
    // The difference of two 32-bit counters is right after they have wrapped, too.
    const filled = (written - read) | 0;
    const count = Math.min(filled, p.length);
    if (count === 0) return 0;
    const capacity = this.#data.length;
    const start = read & (capacity - 1);
    const first = Math.min(count, capacity - start);
    p.set(this.#data.subarray(start, start + first));
    if (first < count) p.set(this.#data.subarray(0, count - first), first);
    atomics.store(this.#control, this.#read, (read + count) | 0);
    // A writer that waits goes on when half of the ring is free, not for every few bytes. It is never
    // forgotten: a reader that goes on finds half free before it finds nothing and waits.
    if ((filled - count) * 2 <= capacity) this.wake(this.peerWait);
    return count;
  }

  /** How many bytes are there. */
  get unread(): number {
    return (this.written - atomics.load(this.#control, this.#read)) | 0;
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
    atomics.store(this.#control, this.#written, (written + count) | 0);
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
    const control = new Int32Array(buffer, 0, HEADER_WORDS);
    for (const first of [0, DIRECTION_WORDS]) {
      control[first + WRITTEN] = control[first + READ] = origin;
    }
    return { buffer, bell: doorbell.take() };
  }

  /** Makes an end, one for each side, of what {@linkcode RingChannel.allocate} gave. */
  constructor(memory: RingMemory, side: RingSide) {
    const own = side === "main" ? 0 : 1;
    const peer = side === "main" ? 1 : 0;
    this.#control = new Int32Array(memory.buffer, 0, HEADER_WORDS);
    this.#bell = memory.bell;
    this.#out = new Ring(memory, own, "writer", side);
    this.#in = new Ring(memory, peer, "reader", side);
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
