/**
 * Bytes between the main isolate and a subprocess through its standard input and output.
 *
 * @module
 */
import type { BlockingChannel, Channel } from "./channel.ts";

/** How much one read of a pipe asks for, in bytes: what a pipe of Linux holds. */
const BUFFER_BYTES = 64 * 1024;

/** The pipes of a `Deno.ChildProcess`, seen from its parent. */
export interface ChildPipes {
  /** What the child reads. */
  readonly stdin: WritableStream<Uint8Array<ArrayBufferLike>>;
  /** What the child writes; a stream of bytes. */
  readonly stdout: ReadableStream<Uint8Array<ArrayBuffer>>;
}

/** What a child reads from: `Deno.stdin`, or what was kept of it. */
export type StdioInput = Pick<typeof Deno.stdin, "read" | "readSync" | "close">;
/** What a child writes to: `Deno.stdout`, or what was kept of it. */
export type StdioOutput = Pick<typeof Deno.stdout, "write" | "writeSync" | "close">;

/** Bytes that came in one piece and are asked for in smaller ones. */
class Unread {
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
class Pending<T> {
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

/**
 * A child's end: over its standard input and output.
 *
 * A read that blocks cannot be given a time limit, nor be interrupted. One that does not block can: what it had
 * begun at the system goes on, and its bytes are kept for later reads.
 */
export class StdioChannel implements BlockingChannel {
  readonly canTimeOut = false;
  readonly #input: StdioInput;
  readonly #output: StdioOutput;
  readonly #buffer = new Uint8Array(BUFFER_BYTES);
  readonly #unread = new Unread();
  readonly #reading = new Pending<number | null>();
  readonly #writing = new Pending<void>();
  /** Whether the read that waits fails when it is interrupted. */
  #interruptible = true;
  /** Where the read that waits wants its bytes. */
  #target: Uint8Array = this.#buffer;
  /** Whether the system reads into the buffer; that may outlive the read that began it. */
  #filling = false;
  #ended = false;
  /** What went wrong when the system read; each later read tells it. */
  #failure: { error: unknown } | null = null;
  #interrupted = false;
  #closed = false;

  /**
   * Makes the end of the child.
   *
   * @param input What to read from; nobody else should read from it.
   * @param output What to write to; nobody else should write to it.
   */
  constructor(input: StdioInput, output: StdioOutput) {
    this.#input = input;
    this.#output = output;
  }

  /** Whether the reads of this end are interrupted. */
  get interrupted(): boolean {
    return this.#interrupted;
  }

  /**
   * Reads what is there into `p`, waiting for the first byte.
   *
   * @param interruptible Whether it fails when it is interrupted.
   * @returns How many bytes there were, or `null` when the parent has closed, or ended, and all is read.
   * @throws {Deno.errors.Interrupted} While {@linkcode StdioChannel.interrupt} holds; no byte is lost by it.
   * @throws {Deno.errors.BadResource} When this end is closed, also while the read waits.
   * @throws {Deno.errors.Busy} When another read is under way.
   */
  async read(p: Uint8Array, interruptible = true): Promise<number | null> {
    if (this.#reading.waits) throw busy("read from");
    this.#interruptible = interruptible;
    const count = this.#tryRead(p);
    if (count !== undefined) return count;
    this.#target = p;
    const read = this.#reading.begin();
    if (!this.#filling) this.#fill(); // it never rejects: what goes wrong is told to who reads
    return await read;
  }

  /**
   * Reads as {@linkcode StdioChannel.read}, blocking the isolate until there is a byte.
   *
   * @param _timeout Not heeded: see `canTimeOut`.
   * @throws {Deno.errors.Busy} When an asynchronous read is under way, or was interrupted and has not got its bytes.
   */
  readSync(p: Uint8Array, _timeout: number | null): number | null {
    if (this.#reading.waits) throw busy("read from");
    this.#interruptible = true;
    const count = this.#tryRead(p);
    if (count !== undefined) return count;
    if (this.#filling) {
      throw new Deno.errors.Busy(
        "Cannot read from channel: an asynchronous read was interrupted and still waits for its bytes",
      );
    }
    this.#note(this.#input.readSync(this.#buffer));
    return this.#tryRead(p) ?? null;
  }

  /**
   * Writes all of `p`, waiting while the parent is slow to read. `p` must stay as it is until the promise settles.
   *
   * @throws {Deno.errors.BrokenPipe} When the parent has closed, or ended.
   * @throws {Deno.errors.BadResource} When this end is closed, also while the write waits.
   * @throws {Deno.errors.Busy} When another write is under way.
   */
  write(p: Uint8Array): Promise<void> {
    if (this.#writing.waits) return Promise.reject(busy("write to"));
    if (this.#closed) return Promise.reject(closed("write to"));
    const written = this.#writing.begin();
    this.#writeAll(p).then(
      () => this.#writing.resolve(),
      (error) => this.#writing.reject(broken(error)),
    );
    return written;
  }

  /** Writes as {@linkcode StdioChannel.write}, blocking the isolate. */
  writeSync(p: Uint8Array): void {
    if (this.#writing.waits) throw busy("write to");
    if (this.#closed) throw closed("write to");
    try {
      for (let sent = 0; sent < p.length;) sent += this.#output.writeSync(p.subarray(sent));
    } catch (error) {
      throw broken(error);
    }
  }

  /**
   * Interrupts the reads of this end: an asynchronous one that waits fails with `Deno.errors.Interrupted`, and so does
   * each later one until {@linkcode StdioChannel.clearInterrupt}.
   */
  interrupt(): void {
    this.#interrupted = true;
    if (this.#interruptible) this.#reading.reject(interrupted());
  }

  /** Lets this end read again. */
  clearInterrupt(): void {
    this.#interrupted = false;
  }

  /**
   * Closes both directions; what waits fails with `Deno.errors.BadResource`. Safe to call again.
   *
   * The parent reads the end only when the process ends: Deno keeps the standard streams of a process open.
   */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#reading.reject(closed("read from"));
    this.#writing.reject(closed("write to"));
    this.#input.close();
    this.#output.close();
  }

  /** Reads if that needs no waiting; `undefined` when it does. */
  #tryRead(p: Uint8Array): number | null | undefined {
    if (this.#closed) throw closed("read from");
    if (this.#interrupted && this.#interruptible) throw interrupted();
    const count = this.#unread.take(p);
    if (count > 0 || p.length === 0) return count;
    if (this.#ended) return null;
    if (this.#failure !== null) throw this.#failure.error;
    return undefined;
  }

  /** Has the system read into the buffer, then lets the read that waits go on. */
  async #fill(): Promise<void> {
    this.#filling = true;
    try {
      this.#note(await this.#input.read(this.#buffer));
    } catch (error) {
      this.#failure = { error };
    }
    this.#filling = false;
    if (!this.#reading.waits) return;
    try {
      this.#reading.resolve(this.#tryRead(this.#target) ?? null);
    } catch (error) {
      this.#reading.reject(error);
    }
  }

  /** Notes what the system has read into the buffer. */
  #note(count: number | null): void {
    if (count === null) this.#ended = true;
    else this.#unread.refill(this.#buffer.subarray(0, count));
  }

  async #writeAll(p: Uint8Array): Promise<void> {
    for (let sent = 0; sent < p.length && !this.#closed;) {
      sent += await this.#output.write(sent === 0 ? p : p.subarray(sent));
    }
  }
}

/** What cannot be done to a channel. */
type Action = "read from" | "write to";

function busy(action: Action): Error {
  return new Deno.errors.Busy(`Cannot ${action} channel: another such call is under way`);
}

function closed(action: Action): Error {
  return new Deno.errors.BadResource(`Cannot ${action} channel: it is closed`);
}

function interrupted(): Error {
  return new Deno.errors.Interrupted("Cannot read from channel: interrupted by the other end");
}

/** Names the channel in the error of a pipe that nobody reads any more; any other error stays as it is. */
function broken(cause: unknown): unknown {
  if (!(cause instanceof Deno.errors.BrokenPipe)) return cause;
  const message = "Cannot write to channel: the other end has closed";
  return new Deno.errors.BrokenPipe(message, { cause });
}
