/**
 * The connection that a stream handler talks to.
 *
 * @module
 */
import { Watchdog } from "./watchdog.ts";
import { checkInteger, checkTime } from "./options.ts";

/** What a {@linkcode StreamSocket} needs beneath it: a `Deno.Conn`, less its streams. */
export interface StreamTransport {
  /** Reads at least one byte into `p`; resolves to how many, or to `null` at the end of the stream. */
  read(p: Uint8Array): Promise<number | null>;
  /** Writes some of `p`; resolves to the number of bytes. */
  write(p: Uint8Array): Promise<number>;
  /** Closes both directions. */
  close(): void;
  /** Ends the write direction after what was written. */
  closeWrite(): Promise<void>;
  /** This end's address. */
  readonly localAddr: Deno.Addr;
  /** The other end's address. */
  readonly remoteAddr: Deno.Addr;
  /** Makes a pending operation keep the program alive. */
  ref(): void;
  /** Makes a pending operation not keep the program alive. */
  unref(): void;
  /** Switches Nagle's algorithm off, where the transport has it. */
  setNoDelay?(noDelay?: boolean): void;
  /** Switches keep-alive probes on, where the transport has them. */
  setKeepAlive?(keepAlive?: boolean): void;
  /** Finishes the TLS handshake, where there is one. */
  handshake?(): Promise<Deno.TlsHandshakeInfo>;
}

/** The most that one `recv()` allocates, in bytes, however much is asked for. */
const MAX_RECV = 256 * 1024;
/** How many bytes `recv()` and the streams ask for when nobody says. */
const DEFAULT_RECV = 64 * 1024;

const encoder = new TextEncoder();
const nothing = (): void => {};

/** A read of the transport that a time limit may part from its caller: what comes is then for the next. */
interface LateRead extends PromiseWithResolvers<number | null> {
  buffer: Uint8Array<ArrayBuffer>;
}

/** Runs operations one after the other, in the order of the calls. */
class Turns {
  /** Settles when the last operation so far has; null when none is under way. */
  #last: Promise<unknown> | null = null;

  /** Whether an operation has not settled yet. */
  get busy(): boolean {
    return this.#last !== null;
  }

  /** Runs an operation when all before it have succeeded; one that fails takes those that wait with it. */
  run<T>(operation: () => Promise<T>): Promise<T> {
    return this.#add(this.#last === null ? operation() : this.#last.then(operation));
  }

  /** Runs an operation when all before it have settled, whatever became of them. */
  runAnyway<T>(operation: () => Promise<T>): Promise<T> {
    return this.#add(this.#last === null ? operation() : this.#last.then(operation, operation));
  }

  #add<T>(running: Promise<T>): Promise<T> {
    this.#last = running;
    const forget = () => {
      if (this.#last === running) this.#last = null;
    };
    // Also what keeps an operation that nobody awaits from being an unhandled rejection.
    running.then(forget, forget);
    return running;
  }
}

/**
 * A connected stream socket: a full `Deno.Conn` with the manners of a Python socket.
 *
 * Any library that takes a `Deno.Conn` works with it. Differences from the raw connection, each of them
 * there because the raw one has hurt somebody: reading to the end does not close the write side, so a client
 * that has said all it wanted still gets its whole answer; `close()` may be called twice; every operation may
 * have a time limit, and a read that ran out of time loses no data.
 *
 * Writes may be left un-awaited: they go out in the order of the calls, the server waits for them before it
 * closes, and a failing one is no unhandled rejection. Do not change the bytes before the promise settles.
 *
 * @example Answer in upper case
 * ```ts
 * import { type StreamSocket, TCPServer } from "@netkit/socketserver";
 * import { assertEquals } from "@std/assert";
 *
 * const upper = async (socket: StreamSocket) => {
 *   const text = new TextDecoder().decode(await socket.recv(1024));
 *   await socket.sendAll(text.toUpperCase());
 * };
 * await using server = new TCPServer({ hostname: "127.0.0.1", port: 0 }, upper);
 * const handled = server.handleRequest();
 * using client = await Deno.connect(server.serverAddress);
 * await client.write(new TextEncoder().encode("hello"));
 * await handled;
 * const answer = new Uint8Array(5);
 * await client.read(answer);
 * assertEquals(new TextDecoder().decode(answer), "HELLO");
 * ```
 */
export class StreamSocket implements Deno.Conn<Deno.Addr> {
  readonly #transport: StreamTransport;
  #timeout: number | null = null;
  #closed = false;
  #readEnded = false;
  #writeEnded: Promise<void> | null = null;
  /** A buffer that the last `recv()` left almost empty, kept for the next. */
  #spare: Uint8Array<ArrayBuffer> | null = null;
  #late: LateRead | null = null;
  /** Data of a late read that did not fit where it was wanted. */
  #leftover: Uint8Array<ArrayBuffer> | null = null;
  readonly #writes = new Turns();
  /** The reads with a time limit, and those that were called while one of them waited. */
  readonly #reads = new Turns();
  /** Set when a write ran out of time: nobody knows what the client has got, so nothing may follow. */
  #writeTimedOut: Error | null = null;
  #readWatchdog: Watchdog | null = null;
  #writeWatchdog: Watchdog | null = null;
  #readable: ReadableStream<Uint8Array<ArrayBuffer>> | null = null;
  #writable: WritableStream<Uint8Array<ArrayBufferLike>> | null = null;

  /**
   * Puts the socket over a connection, which it owns from now on.
   *
   * @param transport A `Deno.Conn`, or anything that does what {@linkcode StreamTransport} lists.
   */
  constructor(transport: StreamTransport) {
    this.#transport = transport;
  }

  /** This end's address. */
  get localAddr(): Deno.Addr {
    return this.#transport.localAddr;
  }

  /** The client's address; the path of a Unix client that bound none is `null`, whatever the type says. */
  get remoteAddr(): Deno.Addr {
    return this.#transport.remoteAddr;
  }

  /**
   * The time limit of each read and write, in milliseconds; `null` for none.
   *
   * An operation that takes longer rejects with `Deno.errors.TimedOut`; what has arrived while the program was
   * busy is not late. After a read that timed out the next one goes on where it stopped. After a write that
   * timed out nobody knows how much went out, so all later ones reject with the same error. Of several reads
   * at once each has its time from when it is its turn.
   *
   * @throws {RangeError} When it is set to 0, less, or more than a timer takes.
   */
  get timeout(): number | null {
    return this.#timeout;
  }

  set timeout(value: number | null) {
    this.#timeout = checkTime("timeout", value, 1);
  }

  /**
   * Reads what has arrived into `p`, waiting for the first byte.
   *
   * @param p Where the bytes go.
   * @returns How many there were, or `null` at the end of the stream.
   * @throws {Deno.errors.TimedOut} When nothing came within `timeout`.
   * @throws {Deno.errors.ConnectionReset} When the client reset the connection.
   */
  read(p: Uint8Array): Promise<number | null> {
    if (this.#readEnded) return Promise.resolve(null);
    const free = this.#late === null && this.#leftover === null && !this.#reads.busy;
    if (free && this.#timeout === null) return this.#transport.read(p);
    return this.#readInTurn(p);
  }

  /**
   * Receives what has arrived, waiting for the first byte, as Python's `recv()` does.
   *
   * @param maxBytes How many bytes at the most; no more than 256 KiB come at once.
   * @returns The bytes, which are the caller's to keep; empty at the end of the stream.
   * @throws {Deno.errors.TimedOut} When nothing came within `timeout`.
   * @throws {Deno.errors.ConnectionReset} When the client reset the connection.
   * @throws {RangeError} When `maxBytes` is not a positive integer.
   */
  async recv(maxBytes: number = DEFAULT_RECV): Promise<Uint8Array<ArrayBuffer>> {
    checkInteger("maxBytes", maxBytes, 1, Number.MAX_SAFE_INTEGER);
    const size = Math.min(maxBytes, MAX_RECV);
    const spare = this.#spare;
    this.#spare = null;
    const buffer = spare !== null && spare.length >= size ? spare : new Uint8Array(size);
    const count = await this.read(buffer.length === size ? buffer : buffer.subarray(0, size)) ?? 0;
    // A small message is copied out and the buffer kept; a large one takes the buffer with it.
    if (count * 2 >= buffer.length) return buffer.subarray(0, count);
    this.#spare = buffer;
    return buffer.slice(0, count);
  }

  /**
   * Writes some of `p` and resolves to how many bytes went; {@linkcode StreamSocket.sendAll} writes all.
   *
   * @param p The bytes.
   * @returns How many were written.
   * @throws {Deno.errors.TimedOut} When nothing went out within `timeout`.
   * @throws {Deno.errors.BrokenPipe} When the client has gone.
   */
  write(p: Uint8Array): Promise<number> {
    return this.#writes.run(() => this.#writeSome(p));
  }

  /**
   * Sends some of `data` and resolves to how many bytes went, as Python's `send()` does.
   *
   * @param data The bytes.
   * @returns How many were sent.
   * @throws {Deno.errors.TimedOut} When nothing went out within `timeout`.
   * @throws {Deno.errors.BrokenPipe} When the client has gone.
   */
  send(data: Uint8Array): Promise<number> {
    return this.write(data);
  }

  /**
   * Sends all of `data`, waiting while the client is slow to read.
   *
   * @param data Bytes, or text that goes as UTF-8.
   * @throws {Deno.errors.TimedOut} When the client took nothing for as long as `timeout`.
   * @throws {Deno.errors.BrokenPipe} When the client has gone.
   */
  sendAll(data: Uint8Array | string): Promise<void> {
    const bytes = typeof data === "string" ? encoder.encode(data) : data;
    return this.#writes.run(() => this.#writeAll(bytes));
  }

  /**
   * Ends one direction or both, as Python's `shutdown()` does.
   *
   * @param how `"write"` lets the client see the end of the stream once all is sent; `"read"` makes reads
   * give the end of the stream, those that wait with a time limit included (Deno has no way to end one
   * without: it waits until something comes or the connection is closed); `"both"` does both.
   */
  shutdown(how: "read" | "write" | "both"): Promise<void> {
    if (how !== "write") {
      this.#readEnded = true;
      this.#late?.resolve(null);
    }
    return how === "read" ? Promise.resolve() : this.closeWrite();
  }

  /** Ends the write side after all writes so far, once; the client sees the end of the stream. */
  closeWrite(): Promise<void> {
    this.#writeEnded ??= this.#writes.run(() => this.#endWriting());
    return this.#writeEnded;
  }

  /** Closes the connection at once. Safe to call again; a pending operation rejects. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#readEnded = true;
    this.#readWatchdog?.stop();
    this.#writeWatchdog?.stop();
    try {
      this.#transport.close();
    } catch (error) {
      // Closed beneath us, by a stream or a library that took the connection.
      if (!(error instanceof Deno.errors.BadResource)) throw error;
    }
  }

  /** Whether `close()` has been called. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Whether a write has not settled yet. */
  get writing(): boolean {
    return this.#writes.busy;
  }

  /** The same as `close()`, for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /**
   * The data as a stream of bytes. Its end leaves the write side open; cancelling it ends the read side.
   */
  get readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return this.#readable ??= streamOf(this, () => void this.shutdown("read"));
  }

  /** A stream that sends what is written to it; closing it ends the write side, aborting it closes all. */
  get writable(): WritableStream<Uint8Array<ArrayBufferLike>> {
    return this.#writable ??= new WritableStream({
      write: (chunk) => this.sendAll(chunk),
      close: () => this.closeWrite(),
      abort: () => this.close(),
    });
  }

  /**
   * Switches Nagle's algorithm off, so that small writes go out at once; nothing on a Unix socket.
   *
   * @param noDelay `false` to switch it on again.
   */
  setNoDelay(noDelay = true): void {
    this.#transport.setNoDelay?.(noDelay);
  }

  /**
   * Makes the system probe a silent connection from time to time; nothing on a Unix socket.
   *
   * @param keepAlive `false` to switch it off again.
   */
  setKeepAlive(keepAlive = true): void {
    this.#transport.setKeepAlive?.(keepAlive);
  }

  /**
   * Finishes the TLS handshake, which {@linkcode TLSServer} has done before a handler runs.
   *
   * @returns What was agreed on, such as `alpnProtocol`; `null` on a connection without TLS.
   */
  async handshake(): Promise<Deno.TlsHandshakeInfo | null> {
    return await this.#transport.handshake?.() ?? null;
  }

  /** Makes a pending read keep the program alive, as it does from the start. */
  ref(): void {
    this.#transport.ref();
  }

  /** Makes a pending read not keep the program alive. */
  unref(): void {
    this.#transport.unref();
  }

  /** On its own because a closure in `read()` would cost every read its context. */
  #readInTurn(p: Uint8Array): Promise<number | null> {
    return this.#reads.runAnyway(() => this.#readLate(p));
  }

  /** Reads with a time limit, or what an earlier read with one has left behind. */
  async #readLate(p: Uint8Array): Promise<number | null> {
    if (this.#readEnded) return null;
    if (p.length === 0) return 0;
    if (this.#leftover === null) {
      // The bytes go into a buffer of ours: one that times out may fill it long after the caller left.
      const late = this.#late ??= this.#startRead(p.length);
      const count = await this.#timed("read", late.promise);
      this.#late = null;
      if (count === null) return null;
      this.#leftover = late.buffer.subarray(0, count);
    }
    const data = this.#leftover;
    const count = Math.min(data.length, p.length);
    p.set(data.subarray(0, count));
    this.#leftover = count < data.length ? data.subarray(count) : null;
    return count;
  }

  #startRead(length: number): LateRead {
    const buffer = new Uint8Array(Math.min(length, DEFAULT_RECV));
    const late = { buffer, ...Promise.withResolvers<number | null>() };
    late.promise.catch(nothing); // may settle after the connection was closed, when nobody waits for it
    this.#transport.read(buffer).then(late.resolve, late.reject);
    return late;
  }

  async #writeAll(bytes: Uint8Array): Promise<void> {
    let sent = 0;
    while (sent < bytes.length) {
      sent += await this.#writeSome(sent === 0 ? bytes : bytes.subarray(sent));
    }
  }

  #writeSome(bytes: Uint8Array): Promise<number> {
    const fault = this.#writeFault();
    if (fault !== null) return Promise.reject(fault);
    return this.#timed("write", this.#transport.write(bytes));
  }

  #endWriting(): Promise<void> {
    const fault = this.#writeFault();
    if (fault !== null) return Promise.reject(fault);
    return this.#timed("write", this.#transport.closeWrite());
  }

  /** Why nothing can be written any more, if so. */
  #writeFault(): Error | null {
    if (!this.#closed) return this.#writeTimedOut;
    return new Deno.errors.BadResource("Cannot write to client: the connection is closed");
  }

  /** Gives an operation the time limit, if there is one. */
  #timed<T>(direction: "read" | "write", operation: Promise<T>): Promise<T> {
    const limit = this.#timeout;
    // Nothing would stop the timer of a watchdog that begins after close().
    if (limit === null || this.#closed) return operation;
    return this.#watched(direction, operation, limit);
  }

  /** On its own for the same reason. */
  #watched<T>(direction: "read" | "write", operation: Promise<T>, limit: number): Promise<T> {
    const watchdog = direction === "read"
      ? this.#readWatchdog ??= new Watchdog()
      : this.#writeWatchdog ??= new Watchdog();
    return watchdog.watch(operation, limit, () => {
      const preposition = direction === "read" ? "from" : "to";
      const error = new Deno.errors.TimedOut(
        `Cannot ${direction} ${preposition} client: no progress in ${limit} ms`,
      );
      if (direction === "write") this.#writeTimedOut = error;
      return error;
    });
  }
}

/** The bytes of a reader as a stream, which ends with them and does nothing else at the end. */
export function streamOf(
  source: { read(p: Uint8Array): Promise<number | null> },
  cancel: () => void,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  return new ReadableStream({
    type: "bytes",
    autoAllocateChunkSize: DEFAULT_RECV,
    async pull(controller) {
      const request = controller.byobRequest;
      if (request?.view == null) return;
      const { buffer, byteOffset, byteLength } = request.view;
      const count = await source.read(new Uint8Array(buffer, byteOffset, byteLength));
      if (count === null) controller.close();
      request.respond(count ?? 0);
    },
    cancel,
  });
}
