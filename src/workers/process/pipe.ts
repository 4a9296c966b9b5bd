/**
 * The parent's end of a channel to a subprocess, over the child's standard input and output.
 *
 * @module
 */
import type { Channel } from "../../channel/channel.ts";

/** The pipes of a `Deno.ChildProcess`, seen from its parent. */
export interface ChildPipes {
  /** What the child reads. */
  readonly stdin: WritableStream<Uint8Array<ArrayBufferLike>>;
  /** What the child writes; a stream of bytes. */
  readonly stdout: ReadableStream<Uint8Array<ArrayBuffer>>;
}

/**
 * The parent's end: over the pipes of a child.
 *
 * It takes both streams for itself, and reads into one buffer that is used again.
 */
export class PipeChannel implements Channel {
  readonly #reader: ReadableStreamBYOBReader;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array<ArrayBufferLike>>;
  readonly #unread = new Unread();
  readonly #writing = new Pending<void>();
  /** What the next read of the pipe fills; a read takes it along and gives it back. */
  #buffer = new ArrayBuffer(BUFFER_BYTES);
  #reading = false;
  #closed = false;
  readonly #over = Promise.withResolvers<void>();
  /** Resolves when all that the child wrote has been read, or this end is closed. */
  readonly over: Promise<void> = this.#over.promise;

  /** Makes the end of the parent of a child that was spawned with `stdin` and `stdout` as "piped". */
  constructor(child: ChildPipes) {
    this.#reader = child.stdout.getReader({ mode: "byob" });
    this.#writer = child.stdin.getWriter();
  }

  /**
   * @throws {Deno.errors.BadResource} When this end is closed, also while the read waits.
   * @throws {Deno.errors.Busy} When another read is under way.
   */
  read(p: Uint8Array): Promise<number | null> {
    if (this.#reading) return Promise.reject(busy("read from"));
    if (this.#closed) return Promise.reject(closed("read from"));
    const count = this.#unread.take(p);
    return count > 0 || p.length === 0 ? Promise.resolve(count) : this.#fill(p);
  }

  /**
   * `p` must stay as it is until the promise settles.
   *
   * @throws {Deno.errors.BadResource} When this end is closed, also while the write waits.
   * @throws {Deno.errors.Busy} When another write is under way.
   */
  write(p: Uint8Array): Promise<void> {
    if (this.#writing.waits) return Promise.reject(busy("write to"));
    if (this.#closed) return Promise.reject(closed("write to"));
    const written = this.#writing.begin();
    this.#writer.write(p).then(
      () => this.#writing.resolve(),
      (error) => this.#writing.reject(broken(error)),
    );
    return written;
  }

  /**
   * Closes both pipes: the child reads what is left and then the end, and its writes fail. What waits on this end
   * fails with `Deno.errors.BadResource`. Safe to call again.
   *
   * A write that the child has not taken keeps its pipe open until the child reads on, or ends.
   */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#over.resolve();
    this.#writing.reject(closed("write to"));
    // What either may reject with is that the pipe had failed before.
    this.#reader.cancel().catch(() => {});
    this.#writer.abort().catch(() => {});
  }

  async #fill(p: Uint8Array): Promise<number | null> {
    this.#reading = true;
    try {
      const { value, done } = await this.#reader.read(new Uint8Array(this.#buffer));
      if (this.#closed) throw closed("read from");
      if (value !== undefined) this.#buffer = value.buffer;
      if (done) {
        this.#over.resolve();
        return null;
      }
      this.#unread.refill(value);
      return this.#unread.take(p);
    } finally {
      this.#reading = false;
    }
  }
}

/** How much one read of a pipe asks for, in bytes: what a pipe of Linux holds. */
export const BUFFER_BYTES = 64 * 1024;

/** Bytes that came in one piece and are asked for in smaller ones. */
export class Unread {
  #bytes = new Uint8Array(0);
  #start = 0;

  /** Replaces the bytes, which have all been taken. */
  refill(bytes: Uint8Array<ArrayBuffer>): void {
    this.#bytes = bytes;
    this.#start = 0;
  }

  /** Copies what there is into `p`; returns how much. */
  take(p: Uint8Array): number {
    const count = Math.min(p.length, this.#bytes.length - this.#start);
    if (count > 0) p.set(this.#bytes.subarray(this.#start, this.#start + count));
    this.#start += count;
    return count;
  }
}

/** The one operation of a direction that waits: it may be given up while what is under it goes on. */
export class Pending<T> {
  #settle: PromiseWithResolvers<T> | null = null;

  /** Whether an operation waits. */
  get waits(): boolean {
    return this.#settle !== null;
  }

  begin(): Promise<T> {
    this.#settle = Promise.withResolvers<T>();
    return this.#settle.promise;
  }

  resolve(value: T): void {
    const settle = this.#settle;
    this.#settle = null;
    settle?.resolve(value);
  }

  reject(error: unknown): void {
    const settle = this.#settle;
    this.#settle = null;
    settle?.reject(error);
  }
}

/** What cannot be done to a channel. */
export type Action = "read from" | "write to";

export function busy(action: Action): Error {
  return new Deno.errors.Busy(`Cannot ${action} channel: another such call is under way`);
}

export function closed(action: Action): Error {
  return new Deno.errors.BadResource(`Cannot ${action} channel: it is closed`);
}

export function interrupted(): Error {
  return new Deno.errors.Interrupted("Cannot read from channel: interrupted by the other end");
}

/** Names the channel in the error of a pipe that nobody reads any more; any other error stays as it is. */
export function broken(cause: unknown): unknown {
  if (!(cause instanceof Deno.errors.BrokenPipe)) return cause;
  const message = "Cannot write to channel: the other end has closed";
  return new Deno.errors.BrokenPipe(message, { cause });
}
