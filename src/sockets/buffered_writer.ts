/**
 * `wfile`: writing all of it, buffered or not.
 *
 * @module
 */
import { isInstance } from "../base/errors.ts";
import { cannotBlock, cannotBlockYet } from "./misuse.ts";
import { checkInteger } from "../base/options.ts";
import { internals } from "./stream_socket.ts";
import { toBytes } from "../base/bytes.ts";

/** What a {@linkcode BufferedWriter} writes to: a {@linkcode StreamSocket}, or anything that takes all bytes. */
export interface WriteSink {
  /** Sends all of the bytes, after those of earlier calls. */
  sendAll(data: Uint8Array): Promise<void>;
  /** Sends as `sendAll()`, blocking the isolate. The blocking methods of the writer need it. */
  sendAllSync?(data: Uint8Array): void;
  /**
   * Whether `sendAllSync()` works.
   *
   * @default {true}
   */
  readonly canBlock?: boolean;
}

/** Options of a {@linkcode BufferedWriter}. */
export interface BufferedWriterOptions {
  /**
   * The size of the buffer in bytes; 0 sends each write at once, -1 chooses 8192.
   *
   * @default {0}
   */
  bufferSize?: number;
}

/** The buffer's size for -1, in bytes. */
const DEFAULT_BUFFER_SIZE = 8192;

/** What messages call a write. */
const WRITE = "write to wfile";

const nothing = (): void => {};

/**
 * A writer that sends everything it is given: Python's `wfile`.
 *
 * A write may be left un-awaited: writes go out in the order of the calls, and the first error is thrown by
 * whatever is called after it, too: a write, `flush()` or `close()`. Awaiting is what makes a handler wait for
 * a slow client instead of filling memory.
 *
 * `writeSync()` and `flushSync()` do the same as their namesakes, throw the same, and block the isolate. They work where
 * a handler may block, which is in a Web Worker or a subprocess ({@linkcode StreamSocket.canBlock}); elsewhere they throw
 * `Deno.errors.NotSupported`, also when the buffer has room. While an earlier write is still sent, or the sink is busy
 * otherwise, they throw `Deno.errors.Busy`: then nothing was sent, and what was in the buffer is still there.
 *
 * @example Write into memory
 * ```ts
 * import { BufferedWriter } from "@netkit/socketserver";
 * import { assertEquals } from "@std/assert";
 *
 * const sent: Uint8Array[] = [];
 * const writer = new BufferedWriter({ sendAll: async (data) => void sent.push(data) }, {
 *   bufferSize: -1,
 * });
 * assertEquals(await writer.write("250 "), 4);
 * await writer.write("OK\r\n");
 * assertEquals(sent.length, 0); // still in the buffer
 * await writer.flush();
 * assertEquals(new TextDecoder().decode(sent[0]), "250 OK\r\n");
 * ```
 * @category Sockets
 */
export class BufferedWriter {
  // Open until close(), which refuses what comes after it. A send that fails, at any time, makes all later calls fail.

  readonly #sink: WriteSink;
  readonly #bufferSize: number;
  /** Bytes that wait for a flush, in `#used` of the buffer; the buffer is made when it is first needed. */
  #buffer: Uint8Array | null = null;
  #used = 0;
  #closed = false;
  /** The first error of a send, in a box because an error may be any value. */
  #failed: { error: unknown } | null = null;
  /** How many sends are under way. */
  #sending = 0;
  /** What the last send so far gives. */
  #lastSend: Promise<number> | null = null;
  #writable: WritableStream<Uint8Array<ArrayBufferLike>> | null = null;

  /**
   * Puts a writer over a sink.
   *
   * @param sink Where the bytes go.
   * @param options The size of the buffer.
   * @throws {RangeError} When the size is out of range.
   */
  constructor(sink: WriteSink, options: BufferedWriterOptions = {}) {
    const { bufferSize = 0 } = options;
    if (bufferSize !== 0) checkInteger("bufferSize", bufferSize, -1, 2 ** 30);
    this.#sink = sink;
    this.#bufferSize = bufferSize === -1 ? DEFAULT_BUFFER_SIZE : bufferSize;
  }

  /** Whether `close()` has been called. */
  get closed(): boolean {
    return this.#closed;
  }

  /**
   * Writes all of `data`: to the client when the writer is unbuffered, else into the buffer, which is sent
   * when it is full.
   *
   * @param data Bytes, or text that goes as UTF-8.
   * @returns How many bytes that were, all of them.
   * @throws {TypeError} When `data` is neither; at once, and not by the promise, which may be left un-awaited.
   * @throws {Deno.errors.BadResource} When the writer is closed.
   * @throws {Deno.errors.BrokenPipe} When the client has gone.
   * @throws {Deno.errors.TimedOut} When the socket has a `timeout` and the client took nothing for as long.
   */
  write(data: string | ArrayBufferLike | ArrayBufferView): Promise<number> {
    const bytes = data instanceof Uint8Array ? data : toBytes(data, WRITE);
    if (this.#closed) return this.#refuse(closedError());
    if (this.#failed !== null) return this.#refuse(this.#failed.error);
    if (this.#bufferSize > 0) return this.#writeBuffered(bytes);
    return this.#sendLater(bytes, bytes.length);
  }

  /** Writes as {@linkcode BufferedWriter.write}, blocking the isolate while the client is slow. */
  writeSync(data: string | ArrayBufferLike | ArrayBufferView): number {
    this.#assertBlocking("write");
    if (this.#closed) throw closedError();
    const bytes = toBytes(data, WRITE);
    this.#sendSync(() => this.#put(bytes));
    return bytes.length;
  }

  /**
   * Sends what waits in the buffer, and waits until all writes so far have gone out.
   *
   * @throws {Deno.errors.BrokenPipe} When the client has gone.
   * @throws {Deno.errors.TimedOut} When the socket has a `timeout` and the client took nothing for as long.
   */
  flush(): Promise<void> {
    if (this.#used > 0) void this.#sendLater(this.#takeBuffer(), 0);
    if (this.#sending === 0 && this.#failed === null) return Promise.resolve();
    const flushed = this.#settled();
    flushed.catch(nothing); // kept in #failed for whoever comes next
    return flushed;
  }

  /** Sends what waits in the buffer, blocking the isolate while the client is slow. */
  flushSync(): void {
    this.#assertBlocking("flush");
    if (this.#used > 0) this.#sendSync(() => [this.#takeBuffer()]);
  }

  /** Flushes, then refuses further writes; the socket stays open. Nothing when it is closed already. */
  close(): Promise<void> {
    if (this.#closed) return Promise.resolve();
    this.#closed = true;
    return this.flush();
  }

  /** A stream that writes what is written to it; closing it flushes and closes this writer. */
  get writable(): WritableStream<Uint8Array<ArrayBufferLike>> {
    return this.#writable ??= new WritableStream({
      write: async (chunk) => void await this.write(chunk),
      close: () => this.close(),
    });
  }

  /** A write that comes too late, as those of a timer do which a handler has forgotten. */
  #refuse(error: unknown): Promise<never> {
    internals.outlive(this.#sink, error, "write");
    const refused = Promise.reject(error);
    refused.then(undefined, nothing); // as any other write that nobody awaits
    return refused;
  }

  #writeBuffered(bytes: Uint8Array): Promise<number> {
    const { length } = bytes;
    let written: Promise<number> | null = null;
    for (const due of this.#put(bytes)) written = this.#sendLater(due, length);
    return written ?? Promise.resolve(length);
  }

  /** Puts bytes into the buffer, or what does not fit past it; gives what is to be sent now, in order. */
  #put(bytes: Uint8Array): Uint8Array[] {
    const due: Uint8Array[] = [];
    if (this.#used > 0 && this.#used + bytes.length > this.#bufferSize) {
      due.push(this.#takeBuffer());
    }
    if (bytes.length >= this.#bufferSize) {
      due.push(bytes);
    } else {
      this.#buffer ??= new Uint8Array(this.#bufferSize);
      this.#buffer.set(bytes, this.#used);
      this.#used += bytes.length;
    }
    return due;
  }

  /** Takes what waits in the buffer, which belongs to the send from then on. */
  #takeBuffer(): Uint8Array {
    const bytes = this.#buffer!.subarray(0, this.#used);
    this.#buffer = null;
    this.#used = 0;
    return bytes;
  }

  /** Sends for a call that may be left un-awaited. */
  #sendLater(bytes: Uint8Array, count: number): Promise<number> {
    const sending = this.#send(bytes, count);
    sending.then(undefined, nothing); // kept in #failed for whoever comes next
    return this.#lastSend = sending;
  }

  /** Sends, and gives `count` when that is done. */
  async #send(bytes: Uint8Array, count: number): Promise<number> {
    this.#sending++;
    try {
      await this.#sink.sendAll(bytes);
      return count;
    } catch (error) {
      this.#failed ??= { error };
      throw error;
    } finally {
      this.#sending--;
    }
  }

  /** Sends what `take` takes, blocking; takes it back when the sink has no time for the first of it. */
  #sendSync(take: () => Uint8Array[]): void {
    const [buffer, used] = [this.#buffer, this.#used];
    let hasSent = false;
    try {
      for (const bytes of take()) {
        this.#sink.sendAllSync!(bytes);
        hasSent = true;
      }
    } catch (error) {
      if (isInstance(error, Deno.errors.Busy) && !hasSent) {
        this.#buffer = buffer;
        this.#used = used;
      } else {
        this.#failed ??= { error };
      }
      throw error;
    }
  }

  /** Checks that a call may block, and that nothing has failed before. */
  #assertBlocking(method: string): void {
    const { sendAllSync, canBlock = true } = this.#sink;
    if (!canBlock) throw cannotBlock(`${method}Sync()`, `await ${method}()`);
    if (sendAllSync === undefined) {
      throw new Deno.errors.NotSupported(
        `Cannot block in ${method}Sync(): the sink has no sendAllSync(); await ${method}()`,
      );
    }
    if (this.#failed !== null) throw this.#failed.error;
    if (this.#sending > 0) throw cannotBlockYet(`${method}Sync()`, "write");
  }

  /** Waits for all sends so far, and throws what any of them failed with. */
  async #settled(): Promise<void> {
    try {
      await this.#lastSend;
    } catch {
      // The first error is thrown, which may be of an earlier one.
    }
    if (this.#failed !== null) throw this.#failed.error;
  }
}

function closedError(): Error {
  return new Deno.errors.BadResource("Cannot write to wfile: it is closed");
}
