/**
 * `wfile`: writing all of it, buffered or not.
 *
 * @module
 */
import { cannotBlock, cannotBlockYet } from "../base/blocking.ts";
import { checkInteger } from "../base/options.ts";
import { internals } from "./stream_socket.ts";
import { toBytes } from "../base/to_bytes.ts";

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

const nothing = (): void => {};

/**
 * A writer that sends everything it is given: Python's `wfile`.
 *
 * A write may be left un-awaited: writes go out in the order of the calls, and the first error is thrown by
 * whatever is called after it, too: a write, `flush()` or `close()`. Awaiting is what makes a handler wait for
 * a slow client instead of filling memory.
 *
 * `writeSync()` and `flushSync()` do the same and block the isolate. They work where a handler may block, which is
 * in a Web Worker or a subprocess ({@linkcode StreamSocket.canBlock}); elsewhere they throw
 * `Deno.errors.NotSupported`, also when the buffer has room.
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
 */
export class BufferedWriter {
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
  /** Resolves when the last send so far has ended, well or not. */
  #lastSend: Promise<void> | null = null;
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
    checkInteger("bufferSize", bufferSize, -1, 2 ** 30);
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
    const bytes = toBytes(data, "write to wfile");
    if (this.#closed) return this.#refuse(closedError());
    if (this.#failed !== null) return this.#refuse(this.#failed.error);
    const written = this.#write(bytes, this.#send);
    if (written === null) return Promise.resolve(bytes.length);
    const counted = written.then(() => bytes.length);
    counted.catch(nothing); // kept in #failed for whoever comes next
    return counted;
  }

  /**
   * Writes as {@linkcode BufferedWriter.write}, blocking the isolate while the client is slow.
   *
   * @param data Bytes, or text that goes as UTF-8.
   * @returns How many bytes that were, all of them.
   * @throws {TypeError} When `data` is neither.
   * @throws {Deno.errors.NotSupported} Where nothing may block.
   * @throws {Deno.errors.Busy} When an earlier `write()` or `flush()` still sends.
   * @throws {Deno.errors.BadResource} When the writer is closed.
   * @throws {Deno.errors.BrokenPipe} When the client has gone.
   */
  writeSync(data: string | ArrayBufferLike | ArrayBufferView): number {
    this.#assertBlocking("write");
    if (this.#closed) throw closedError();
    const bytes = toBytes(data, "write to wfile");
    this.#write(bytes, this.#sendSync);
    return bytes.length;
  }

  /**
   * Sends what waits in the buffer, and waits until all writes so far have gone out.
   *
   * @throws {Deno.errors.BrokenPipe} When the client has gone.
   * @throws {Deno.errors.TimedOut} When the socket has a `timeout` and the client took nothing for as long.
   */
  flush(): Promise<void> {
    this.#sendBuffer(this.#send);
    const flushed = this.#settled();
    flushed.catch(nothing); // kept in #failed for whoever comes next
    return flushed;
  }

  /**
   * Sends what waits in the buffer, blocking the isolate while the client is slow.
   *
   * @throws {Deno.errors.NotSupported} Where nothing may block.
   * @throws {Deno.errors.Busy} When an earlier `write()` or `flush()` still sends.
   * @throws {Deno.errors.BrokenPipe} When the client has gone.
   */
  flushSync(): void {
    this.#assertBlocking("flush");
    this.#sendBuffer(this.#sendSync);
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
    refused.catch(nothing); // as any other write that nobody awaits
    return refused;
  }

  /** Buffers or sends; gives what the last send gave, or null when the bytes found room in the buffer. */
  #write<Sent>(bytes: Uint8Array, send: (bytes: Uint8Array) => Sent): Sent | null {
    if (this.#bufferSize === 0) return send(bytes);
    let sent: Sent | null = null;
    if (this.#used + bytes.length > this.#bufferSize) sent = this.#sendBuffer(send);
    if (bytes.length >= this.#bufferSize) return send(bytes);
    this.#buffer ??= new Uint8Array(this.#bufferSize);
    this.#buffer.set(bytes, this.#used);
    this.#used += bytes.length;
    return sent;
  }

  #sendBuffer<Sent>(send: (bytes: Uint8Array) => Sent): Sent | null {
    if (this.#buffer === null || this.#used === 0) return null;
    const bytes = this.#buffer.subarray(0, this.#used);
    this.#buffer = null; // it belongs to the send until that has ended
    this.#used = 0;
    return send(bytes);
  }

  readonly #send = (bytes: Uint8Array): Promise<void> => {
    const sending = this.#sink.sendAll(bytes);
    this.#sending++;
    this.#lastSend = sending.then(() => {
      this.#sending--;
    }, (error) => {
      this.#sending--;
      this.#failed ??= { error };
    });
    return sending;
  };

  readonly #sendSync = (bytes: Uint8Array): void => {
    try {
      this.#sink.sendAllSync!(bytes);
    } catch (error) {
      this.#failed ??= { error };
      throw error;
    }
  };

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
    await this.#lastSend;
    if (this.#failed !== null) throw this.#failed.error;
  }
}

function closedError(): Error {
  return new Deno.errors.BadResource("Cannot write to wfile: it is closed");
}
