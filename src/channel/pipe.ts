/**
 * The parent's end of a channel to a subprocess, over the child's standard input and output.
 *
 * @module
 */
import type { Channel } from "./channel.ts";
import { broken, BUFFER_BYTES, busy, closed, Pending, Unread } from "./pipe_parts.ts";

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
   * Reads what is there into `p`, waiting for the first byte.
   *
   * @returns How many bytes there were, or `null` when the child has closed its output, or ended, and all is read.
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
   * Writes all of `p`, waiting while the child is slow to read. `p` must stay as it is until the promise settles.
   *
   * @throws {Deno.errors.BrokenPipe} When the child has closed its input, or ended.
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
