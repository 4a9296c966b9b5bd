/**
 * The read direction of a connection: reads with time limits that lose no data.
 *
 * @module
 */
import { cannotBlock, cannotBlockYet } from "./misuse.ts";
import type { StreamTransport } from "./streams.ts";
import { SerialQueue, Watchdog } from "../base/time.ts";

/** A read of the transport that a time limit may detach from its caller: what comes is then for the next. */
interface DetachableRead extends PromiseWithResolvers<number | null> {
  readonly buffer: Uint8Array<ArrayBuffer>;
  /** Gives or throws what became of it; null while it is under way. */
  outcome: (() => number | null) | null;
}

/** The most that a read with a time limit asks for, in bytes. */
const MAX_DETACHABLE_READ = 64 * 1024;

/**
 * Reads from a transport, for one socket.
 *
 * A read without a time limit goes straight to the transport. One with a limit reads into memory of ours: when its time
 * is up the caller leaves, and the read stays, detached, for the next one to take over. What it brings and nobody has
 * taken yet is the leftover. While a detachable read or a leftover is there, and while a read is in the queue, all others
 * go through the queue, so that the bytes keep their order. Ended, by `end()` or `close()`, it gives the end of the
 * stream.
 */
export class SocketReader {
  /** The time limit of each read, in milliseconds; `null` for none. */
  timeout: number | null = null;
  readonly #transport: StreamTransport;
  #ended: boolean;
  #detachable: DetachableRead | null = null;
  /** Data of a detachable read that did not fit where it was wanted. */
  #leftover: Uint8Array<ArrayBuffer> | null = null;
  /** The reads with a time limit, and those that were called while one of them waited. */
  readonly #queue = new SerialQueue();
  /** How many of the other reads wait; counted only where one could block meanwhile. */
  #unqueued = 0;
  /** The last of them; a transport that can block takes one at a time. */
  #lastUnqueued: Promise<unknown> | null = null;
  #watchdog: Watchdog | null = null;
  /** What a read ahead of the others failed with, which they do as well. */
  #failure: Error | null = null;

  /**
   * @param transport Where the bytes come from.
   * @param ended Whether reads give the end of the stream from the start.
   */
  constructor(transport: StreamTransport, ended: boolean) {
    this.#transport = transport;
    this.#ended = ended;
  }

  /** Does what {@linkcode StreamSocket.read} does. */
  read(p: Uint8Array): Promise<number | null> {
    if (this.#ended) return Promise.resolve(null);
    const free = this.#detachable === null && this.#leftover === null && !this.#queue.busy &&
      this.#failure === null;
    if (!free || this.timeout !== null) return this.#readInTurn(p);
    if (this.#transport.readSync === undefined) return this.#transport.read(p);
    const read = this.#unqueued === 0 ? this.#transport.read(p) : this.#readNext(p);
    this.#unqueued++;
    this.#lastUnqueued = read;
    read.then(this.#unqueuedDone, this.#unqueuedDone);
    return read;
  }

  /**
   * Reads, blocking the isolate.
   *
   * @param p Where the bytes go.
   * @param method What was called, without its "Sync"; for the messages.
   */
  readSync(p: Uint8Array, method: string): number | null {
    const call = `${method}Sync()`;
    if (this.#transport.readSync === undefined) throw cannotBlock(call, `await ${method}()`);
    if (this.#ended) return null;
    if (this.#unqueued > 0 || this.#queue.busy) throw cannotBlockYet(call, "read");
    if (p.length === 0) return 0;
    if (this.#detachable !== null) {
      // It cannot end while the isolate blocks, and what it reads comes before what this one would.
      if (this.#detachable.outcome === null) {
        throw new Deno.errors.Busy(
          `Cannot block in ${call}: a read that timed out still waits for the client; ` +
            "await the next read instead",
        );
      }
      if (this.#keep(this.#detachable, this.#detachable.outcome()) === null) return null;
    }
    if (this.#leftover !== null) return this.#takeLeftover(this.#leftover, p);
    const limit = this.timeout;
    try {
      return this.#transport.readSync(p, limit);
    } catch (error) {
      throw limit !== null && error instanceof Deno.errors.TimedOut ? timedOut(limit) : error;
    }
  }

  /**
   * Reads for a relay, which does not know yet whether anybody wants it: without a time limit, in turn, and what is
   * not wanted goes back by {@linkcode SocketReader.unread} before the next read begins.
   */
  readAhead(p: Uint8Array): Promise<number | null> {
    return this.#queue.run(() => this.#readHeld(p));
  }

  /** Takes back the bytes of the last read, in the same turn of the event loop as that gave them. */
  unread(bytes: Uint8Array<ArrayBuffer>): void {
    const later = this.#leftover;
    this.#leftover = later === null ? bytes : new Uint8Array([...bytes, ...later]);
  }

  /** Whether a read waits, on a transport that can block. */
  get busy(): boolean {
    return this.#unqueued > 0 || this.#queue.busy;
  }

  /** Makes reads give the end of the stream. */
  end(): void {
    this.#ended = true;
    this.#detachable?.resolve(null);
  }

  /** Ends without a word to a read that waits, which fails with the connection. */
  close(): void {
    this.#ended = true;
    this.#watchdog?.stop();
  }

  /** Reads when the reads before have settled. */
  #readNext(p: Uint8Array): Promise<number | null> {
    const read = () => this.#ended ? Promise.resolve(null) : this.#transport.read(p);
    return this.#lastUnqueued!.then(read, read);
  }

  readonly #unqueuedDone = (): void => {
    this.#unqueued--;
  };

  /** On its own because a closure in `read()` would cost every read its context. */
  #readInTurn(p: Uint8Array): Promise<number | null> {
    return this.#queue.run(() => this.#readDetachable(p));
  }

  /** Reads with a time limit, or what an earlier read with one has left behind. */
  async #readDetachable(p: Uint8Array): Promise<number | null> {
    if (this.#ended) return null;
    if (p.length === 0) return 0;
    if (this.#leftover === null) {
      if (this.#failure !== null) throw this.#failure;
      // The bytes go into a buffer of ours: one that times out may fill it long after the caller left.
      const detachable = this.#detachable ??= this.#startRead(p.length);
      if (this.#keep(detachable, await this.#timed(detachable.promise)) === null) return null;
    }
    return this.#takeLeftover(this.#leftover!, p);
  }

  /** Reads what an earlier read has left behind, or else straight from the transport. */
  async #readHeld(p: Uint8Array): Promise<number | null> {
    if (this.#ended) return null;
    if (this.#detachable !== null) this.#keep(this.#detachable, await this.#detachable.promise);
    if (this.#leftover !== null) return this.#takeLeftover(this.#leftover, p);
    try {
      return await this.#transport.read(p);
    } catch (error) {
      this.#failure = error as Error;
      throw error;
    }
  }

  /** Keeps what a detachable read has brought until it is taken. */
  #keep(detachable: DetachableRead, count: number | null): Uint8Array<ArrayBuffer> | null {
    this.#detachable = null;
    return this.#leftover = count === null ? null : detachable.buffer.subarray(0, count);
  }

  #takeLeftover(data: Uint8Array<ArrayBuffer>, p: Uint8Array): number {
    const count = Math.min(data.length, p.length);
    p.set(data.subarray(0, count));
    this.#leftover = count < data.length ? data.subarray(count) : null;
    return count;
  }

  #startRead(length: number): DetachableRead {
    const buffer = new Uint8Array(Math.min(length, MAX_DETACHABLE_READ));
    const detachable: DetachableRead = {
      buffer,
      outcome: null,
      ...Promise.withResolvers<number | null>(),
    };
    // It may settle after the connection was closed, when nobody waits for it.
    detachable.promise.then((count) => detachable.outcome = () => count, (error) => {
      detachable.outcome = () => {
        throw error;
      };
    });
    const read = this.#unqueued === 0 ? this.#transport.read(buffer) : this.#readNext(buffer);
    read.then(detachable.resolve, detachable.reject);
    return detachable;
  }

  #timed<T>(operation: Promise<T>): Promise<T> {
    const limit = this.timeout;
    if (limit === null) return operation;
    this.#watchdog ??= new Watchdog();
    return this.#watchdog.watch(operation, limit, () => timedOut(limit));
  }
}

function timedOut(limit: number): Error {
  return new Deno.errors.TimedOut(`Cannot read from client: no progress in ${limit} ms`);
}
