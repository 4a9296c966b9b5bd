/**
 * The child's end of a channel to its parent, over its own standard input and output.
 *
 * @module
 */
import type { BlockingChannel } from "../../channel/channel.ts";
import { broken, BUFFER_BYTES, busy, closed, interrupted, Pending, Unread } from "./pipe.ts";

/** What a child reads from: `Deno.stdin`, or what was kept of it. */
export type StdioInput = Pick<typeof Deno.stdin, "read" | "readSync" | "close">;
/** What a child writes to: `Deno.stdout`, or what was kept of it. */
export type StdioOutput = Pick<typeof Deno.stdout, "write" | "writeSync" | "close">;

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

  get interrupted(): boolean {
    return this.#interrupted;
  }

  /**
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
   * `p` must stay as it is until the promise settles.
   *
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
