/**
 * The connection that a stream handler talks to.
 *
 * This folder is what handlers talk to their clients with: sockets for streams and for datagrams, `rfile` and `wfile`, and
 * what these are made of. It uses `base/`; servers, and what runs in workers, put the sockets over what carries the bytes.
 *
 * @module
 */
import { cannotBlock, cannotBlockYet, type LeftBehind, warnOf } from "./misuse.ts";
import { noteSource } from "../base/errors.ts";
import type { ServerLogger } from "../base/log.ts";
import { checkTime } from "../base/options.ts";
import { SocketReader } from "./socket_reader.ts";
import { BufferPool } from "./buffer_pool.ts";
import { sinkOf, streamOf, type StreamTransport } from "./streams.ts";
import { turnAtEnd, Watchdog } from "../base/time.ts";
import { toBytes } from "../base/bytes.ts";
import { outlive } from "../base/unawaited.ts";

export type { StreamTransport };

/** How many bytes `recv()` asks for when nobody says. */
const DEFAULT_RECV = 64 * 1024;

/** What messages call a write. */
const WRITE = "write to client";

const nothing = (): void => {};

/** What the rest of the package may do with a socket, beyond what everybody may. */
export interface SocketInternals {
  /** The reader, for the relay, which reads ahead of the handler. */
  reads(socket: StreamSocket): SocketReader;
  /** Keeps an error of a source that is a socket from ending the program when nobody awaits it. */
  outlive(source: object, error: unknown, what: LeftBehind): void;
  /** What failed without being awaited; null for nothing. */
  leftBehind(socket: StreamSocket): LeftBehind | null;
  /** Warns that the handler, wherever it ran, has left something behind; once for each socket. */
  warn(socket: StreamSocket, what: LeftBehind): void;
}

/** Set when the class is made. */
export let internals: SocketInternals;

/**
 * A connected stream socket: a full `Deno.Conn` with the manners of a Python socket.
 *
 * Any library that takes a `Deno.Conn` works with it. Differences from the raw connection, each of them
 * there because the raw one has hurt somebody: reading to the end does not close the write side, so a client
 * that has said all it wanted still gets its whole answer; `close()` may be called twice; every operation may
 * have a time limit, and a read that ran out of time loses no data.
 *
 * Writes may be left un-awaited: they go out in the order of the calls, the server waits for them before it
 * closes, and a failing one is no unhandled rejection. Do not change the bytes before the promise settles. A read
 * that is left un-awaited fails when the request has ended, and so does a write of something that goes on in the
 * background; that is a warning in the server's log, and no unhandled rejection either.
 *
 * The methods whose names end in `Sync` do the same as their namesakes, throw the same, and block the isolate. They work
 * where {@linkcode StreamSocket.canBlock} says so, and throw `Deno.errors.NotSupported` elsewhere. While an asynchronous
 * call of the same direction is under way they throw `Deno.errors.Busy`.
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
 * @category Sockets
 */
export class StreamSocket implements Deno.Conn<Deno.Addr> {
  // Reads go straight to the transport, until something needs the reader: a time limit, a transport that can block,
  // `shutdown("read")`, or a relay. All later ones go through it.
  //
  // The write side is open until `closeWrite()` has ended it, or a write failed half-way, or `close()` was called. One
  // write at a time is under way; the next begins when it has succeeded, and fails with it.
  static {
    internals = {
      reads: (socket) => socket.#needReader(),
      outlive: (source, error, what) =>
        #transport in source && outlive(error, () => source.#warn(what)),
      leftBehind: (socket) => socket.#leftBehind,
      warn: (socket, what) => socket.#warn(what),
    };
  }

  readonly #transport: StreamTransport;
  readonly #logger: ServerLogger;
  #leftBehind: LeftBehind | null = null;
  #timeout: number | null = null;
  #closed = false;
  #readsAtEnd = 0;
  #reader: SocketReader | null = null;
  #pool: BufferPool | null = null;
  /** How many writes have not settled, the end of the write side among them. */
  #writing = 0;
  /** The last of them; null or settled while there is none. */
  #lastWrite: Promise<unknown> | null = null;
  #writeEnded: Promise<void> | null = null;
  /** What a write failed with: nobody knows how much of it the client has got, so nothing may follow. */
  #writeFailed: Error | null = null;
  #watchdog: Watchdog | null = null;
  #readable: ReadableStream<Uint8Array<ArrayBuffer>> | null = null;
  #writable: WritableStream<Uint8Array<ArrayBufferLike>> | null = null;

  /**
   * Puts the socket over a connection, which it owns from now on.
   *
   * @param transport A `Deno.Conn`, or anything that does what {@linkcode StreamTransport} lists.
   * @param logger Where a warning goes when a read or write that nobody awaits fails.
   */
  constructor(transport: StreamTransport, logger: ServerLogger = console) {
    this.#transport = transport;
    this.#logger = logger;
    if (transport.readSync !== undefined) this.#needReader();
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
   * timed out nobody knows how much went out, so the connection is closed and all later ones reject with the same
   * error. Of several reads at once each has its time from when it is its turn.
   *
   * A client that reads slowly may run out of it while it reads: Linux takes more only when about a third of its buffer,
   * of up to 4 MB, is free, so that one write to a client that reads 400 KB/s waits for up to 7 s.
   *
   * It holds for blocking reads, too. A blocking write waits for the server, which cuts the connection off when
   * the client takes nothing for as long.
   *
   * @throws {RangeError} When it is set to 0, less, or more than a timer takes.
   */
  get timeout(): number | null {
    return this.#timeout;
  }

  set timeout(value: number | null) {
    this.#timeout = checkTime("timeout", value, 1);
    if (value !== null || this.#reader !== null) this.#needReader().timeout = value;
    this.#transport.setTimeout?.(this.#timeout);
  }

  /**
   * Reads what has arrived into `p`, waiting for the first byte.
   *
   * @param p Where the bytes go.
   * @returns How many there were, or `null` at the end of the stream.
   * @throws {Deno.errors.TimedOut} When nothing came within `timeout`.
   * @throws {Deno.errors.ConnectionReset} When the client reset the connection.
   */
  async read(p: Uint8Array): Promise<number | null> {
    try {
      const reader = this.#reader;
      const count = reader !== null
        ? await reader.read(p)
        : this.#closed
        ? null
        : await this.#transport.read(p);
      if (count === null) await turnAtEnd(++this.#readsAtEnd);
      return count;
    } catch (error) {
      this.#outlive(error, "read");
      throw error;
    }
  }

  /** Reads as {@linkcode StreamSocket.read}, blocking the isolate until the first byte comes. */
  readSync(p: Uint8Array): number | null {
    return this.#noting(() => this.#needReader().readSync(p, "read"));
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
    const pool = this.#pool ??= new BufferPool();
    const buffer = pool.acquire(maxBytes);
    return pool.finish(buffer, await this.read(buffer) ?? 0);
  }

  /** Receives as {@linkcode StreamSocket.recv}, blocking the isolate until the first byte comes. */
  recvSync(maxBytes: number = DEFAULT_RECV): Uint8Array<ArrayBuffer> {
    const pool = this.#pool ??= new BufferPool();
    const buffer = pool.acquire(maxBytes);
    const count = this.#noting(() => this.#needReader().readSync(buffer, "recv"));
    return pool.finish(buffer, count ?? 0);
  }

  /**
   * Writes some of `p` and resolves to how many bytes went; {@linkcode StreamSocket.sendAll} writes all.
   *
   * @param p The bytes.
   * @returns How many were written.
   * @throws {TypeError} When that is something else; at once, and not by the promise.
   * @throws {Deno.errors.TimedOut} When nothing went out within `timeout`.
   * @throws {Deno.errors.BrokenPipe} When the client has gone.
   */
  write(p: ArrayBufferLike | ArrayBufferView): Promise<number> {
    return this.#writes(this.#send(toBytes(p, WRITE), true));
  }

  /** Writes as {@linkcode StreamSocket.write}, blocking the isolate while the client is slow to read. */
  writeSync(p: ArrayBufferLike | ArrayBufferView): number {
    const bytes = toBytes(p, WRITE);
    this.#assertBlocking("write");
    return this.#noting(() => this.#transport.writeSync!(bytes));
  }

  /** The same as {@linkcode StreamSocket.write}, by Python's name. */
  send(data: ArrayBufferLike | ArrayBufferView): Promise<number> {
    return this.write(data);
  }

  /**
   * Sends all of `data`, waiting while the client is slow to read.
   *
   * @param data Bytes, or text that goes as UTF-8.
   * @throws {TypeError} When that is something else; at once, and not by the promise.
   * @throws {Deno.errors.TimedOut} When the client took nothing for as long as `timeout`.
   * @throws {Deno.errors.BrokenPipe} When the client has gone.
   */
  sendAll(data: string | ArrayBufferLike | ArrayBufferView): Promise<void> {
    return this.#writes(this.#send(data instanceof Uint8Array ? data : toBytes(data, WRITE)));
  }

  /** Sends as {@linkcode StreamSocket.sendAll}, blocking the isolate while the client is slow to read. */
  sendAllSync(data: string | ArrayBufferLike | ArrayBufferView): void {
    const bytes = toBytes(data, WRITE);
    this.#assertBlocking("sendAll");
    for (let sent = 0; sent < bytes.length;) {
      sent += this.#noting(() => this.#transport.writeSync!(bytes.subarray(sent)));
    }
  }

  /**
   * Ends one direction or both, as Python's `shutdown()` does.
   *
   * @param how `"write"` lets the client see the end of the stream once all is sent; `"read"` makes reads
   * give the end of the stream, those that wait with a time limit included (Deno has no way to end one
   * without: it waits until something comes or the connection is closed); `"both"` does both.
   */
  shutdown(how: "read" | "write" | "both"): Promise<void> {
    if (how !== "write") this.#needReader().end();
    return how === "read" ? Promise.resolve() : this.closeWrite();
  }

  /** Ends the write side after all writes so far, once; the client sees the end of the stream. */
  closeWrite(): Promise<void> {
    return this.#writeEnded ??= this.#writes(this.#send(null, true));
  }

  /** Closes the connection at once. Safe to call again; a pending operation rejects. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#reader?.close();
    this.#watchdog?.stop();
    this.#pool?.release();
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

  /** Whether the blocking methods work here: in a Web Worker or a subprocess, and not in the server's own isolate. */
  get canBlock(): boolean {
    return this.#transport.readSync !== undefined && this.#transport.writeSync !== undefined;
  }

  /** Whether a write has not settled yet. */
  get writing(): boolean {
    return this.#writing > 0;
  }

  /** Resolves when all writes so far have settled, however they did. */
  async settled(): Promise<void> {
    await this.#lastWrite?.then(nothing, nothing);
  }

  /** The same as `close()`, for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /**
   * The data as a stream of bytes. Its end leaves the write side open; cancelling it ends the read side.
   */
  get readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return this.#readable ??= streamOf(
      this,
      () => void this.shutdown("read"),
      (error) => this.#outlive(error, "read"),
    );
  }

  /** A stream that sends what is written to it; closing it ends the write side, aborting it closes all. */
  get writable(): WritableStream<Uint8Array<ArrayBufferLike>> {
    return this.#writable ??= sinkOf(this);
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
    try {
      return await this.#transport.handshake?.() ?? null;
    } catch (error) {
      this.#outlive(error, "read");
      throw error;
    }
  }

  /** Makes a pending read keep the program alive, as it does from the start. */
  ref(): void {
    this.#transport.ref();
  }

  /** Makes a pending read not keep the program alive. */
  unref(): void {
    this.#transport.unref();
  }

  /** Calls what blocks, and notes what it throws. */
  #noting<T>(operation: () => T): T {
    try {
      return operation();
    } catch (error) {
      throw noteSource(error, this);
    }
  }

  /** Notes the last write, which may be left un-awaited. */
  #writes<T>(writing: Promise<T>): Promise<T> {
    writing.then(undefined, nothing);
    return this.#lastWrite = writing;
  }

  /**
   * Does one thing to the write side, when all before it have succeeded: sends all of the bytes; sends some of them,
   * once, and gives how many; or ends the side, for null.
   */
  #send(bytes: Uint8Array): Promise<void>;
  #send(bytes: Uint8Array, once: true): Promise<number>;
  #send(bytes: null, once: true): Promise<void>;
  async #send(bytes: Uint8Array | null, once = false): Promise<number | void> {
    const before = this.#writing++ === 0 ? null : this.#lastWrite;
    const length = bytes?.length ?? 0; // that of the bytes is 0 as soon as somebody transfers the memory
    let sent = 0;
    try {
      if (before !== null) await before;
      while (once || sent < length) {
        if (this.#closed || this.#writeFailed !== null) throw this.#writeFault();
        const step: Promise<number | void> = bytes === null
          ? this.#transport.closeWrite()
          : this.#transport.write(sent === 0 ? bytes : bytes.subarray(sent));
        const count = await (this.#timeout === null ? step : this.#limited(step, this.#timeout));
        if (once || count === undefined) return count;
        sent += count;
      }
    } catch (error) {
      if (sent > 0 && !this.#closed && error instanceof Error) this.#writeFailed = error;
      // Whoever awaits the write hears of this; who awaits it in what is itself not awaited may not.
      this.#outlive(error, "write");
      throw error;
    } finally {
      this.#writing--;
    }
  }

  #needReader(): SocketReader {
    return this.#reader ??= new SocketReader(this.#transport, this.#closed);
  }

  /** Notes that an error is this connection's, and keeps it from ending the program when nobody awaits it. */
  #outlive(error: unknown, what: LeftBehind): void {
    noteSource(error, this);
    outlive(error, () => this.#warn(what));
  }

  #warn(what: LeftBehind): void {
    if (this.#leftBehind !== null) return;
    this.#leftBehind = what;
    warnOf(what, this.remoteAddr, this.#logger);
  }

  /** Why nothing can be written any more. */
  #writeFault(): Error {
    return this.#writeFailed ??
      new Deno.errors.BadResource("Cannot write to client: the connection is closed");
  }

  /** Checks that a call that writes may block. */
  #assertBlocking(method: string): void {
    const call = `${method}Sync()`;
    if (!this.canBlock) throw cannotBlock(call, `await ${method}()`);
    if (this.writing) throw cannotBlockYet(call, "write");
    if (this.#closed || this.#writeFailed !== null) throw this.#writeFault();
  }

  /** Gives a step of a write the time limit. */
  #limited<T>(step: Promise<T>, limit: number): Promise<T> {
    // Nothing would stop the timer of a watchdog that begins after close().
    if (this.#closed) return step;
    this.#watchdog ??= new Watchdog();
    return this.#watchdog.watchToEnd(step, limit, () => {
      const text = `Cannot write to client: the system took nothing more in ${limit} ms`;
      this.#writeFailed = new Deno.errors.TimedOut(text);
      this.close();
      return this.#writeFailed;
    });
  }
}
