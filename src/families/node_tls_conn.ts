/**
 * TLS by `node:tls` on a TCP connection of Deno's.
 *
 * @module
 */
import { Duplex } from "node:stream";
import { createSecureContext, type SecureContext, TLSSocket } from "node:tls";
import { streamOf } from "../sockets/streams.ts";
import { SerialQueue } from "../base/time.ts";

/** The most that one read takes from the connection, in bytes; a record of TLS has 16 KiB. */
const READ_SIZE = 32 * 1024;

/** Who the server is, and which application protocols it offers. */
export interface TLSIdentity {
  cert: string;
  key: string;
  alpnProtocols?: string[];
}

const contexts = new WeakMap<TLSIdentity, SecureContext>();

/**
 * The server's end of a TLS connection, as a `Deno.TlsConn` of `Deno.listenTls()` is it, but for its end: `close()`
 * frees the descriptor at once, whatever the client does. No byte of TLS is read before `handshake()`.
 */
export class NodeTLSConn implements Deno.TlsConn {
  readonly localAddr: Deno.NetAddr;
  readonly remoteAddr: Deno.NetAddr;
  readonly #conn: Deno.TcpConn;
  readonly #identity: TLSIdentity;
  readonly #reads = new SerialQueue();
  /** Made when the handshake begins. */
  #socket: TLSSocket | null = null;
  #handshake: Promise<Deno.TlsHandshakeInfo> | null = null;
  /** What has been read and not been asked for yet. */
  #leftover: Uint8Array = new Uint8Array(0);
  /** Whether the connection has ended, whether the handshake had before, and whether the client has said that it would. */
  #hasEnded = false;
  #isSecure = false;
  #saidGoodbye = false;
  /** Why nothing can be read or written any more. */
  #fault: Error | null = null;
  /** The operations under way, to be rejected when that happens. */
  readonly #waiting = new Set<(error: Error) => void>();
  /** Wakes the read that waits. */
  #wake: () => void = () => {};
  #readable: ReadableStream<Uint8Array<ArrayBuffer>> | null = null;
  #writable: WritableStream<Uint8Array<ArrayBufferLike>> | null = null;

  constructor(conn: Deno.TcpConn, identity: TLSIdentity) {
    this.#conn = conn;
    this.localAddr = conn.localAddr;
    this.remoteAddr = conn.remoteAddr;
    this.#identity = identity;
  }

  get readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return this.#readable ??= streamOf(this, () => this.close());
  }

  get writable(): WritableStream<Uint8Array<ArrayBufferLike>> {
    return this.#writable ??= new WritableStream({
      write: async (chunk) => void await this.write(chunk),
      close: () => this.closeWrite(),
      abort: () => this.close(),
    });
  }

  handshake(): Promise<Deno.TlsHandshakeInfo> {
    this.#handshake ??= this.#orFault((resolve) => this.#begin(resolve));
    this.#handshake.catch(() => {}); // whoever reads or writes next is told
    return this.#handshake;
  }

  read(p: Uint8Array): Promise<number | null> {
    return this.#reads.run(() => this.#read(p));
  }

  async write(p: Uint8Array): Promise<number> {
    await this.handshake();
    await this.#orFault<void>((resolve) => {
      this.#socket!.write(p.slice(), (error) => error ? this.#fail(error) : resolve());
    });
    return p.length;
  }

  async closeWrite(): Promise<void> {
    await this.handshake();
    await this.#orFault<void>((resolve) => this.#socket!.end(resolve));
    await this.#conn.closeWrite();
  }

  close(): void {
    this.#fail(new Deno.errors.Interrupted("operation canceled"));
  }

  [Symbol.dispose](): void {
    this.close();
  }

  ref(): void {
    this.#conn.ref();
  }

  unref(): void {
    this.#conn.unref();
  }

  /** Begins the handshake; `resolve` is told of its end. */
  #begin(resolve: (info: Deno.TlsHandshakeInfo) => void): void {
    const { cert, key, alpnProtocols } = this.#identity;
    let context = contexts.get(this.#identity);
    if (context === undefined) {
      context = createSecureContext({ cert, key });
      contexts.set(this.#identity, context);
    }
    const options = {
      isServer: true,
      secureContext: context,
      allowHalfOpen: true,
      ...(alpnProtocols === undefined ? {} : { ALPNProtocols: alpnProtocols }),
    };
    const socket = this.#socket = new TLSSocket(this.#records(), options);
    const push = socket.push;
    socket.push = (chunk: unknown, encoding?: BufferEncoding): boolean => {
      if (chunk === null && !this.#hasEnded) this.#saidGoodbye = true;
      return push.call(socket, chunk, encoding);
    };
    socket.on("secure", () => {
      this.#isSecure = true;
      resolve({ alpnProtocol: socket.alpnProtocol || null });
    });
    socket.on("readable", () => this.#wake());
    socket.on("end", () => this.#wake());
    socket.on("error", (error) => this.#fail(error));
    socket.on("close", () => {
      if (!socket.readableEnded || !socket.writableFinished) this.#fail(unexpectedEnd());
    });
  }

  /** The connection as Node sees it. */
  #records(): Duplex {
    const records: Duplex = new Duplex({
      allowHalfOpen: true,
      read: () => void this.#pull(records),
      write: (chunk, _encoding, done) => void this.#send(chunk).then(() => done(), done),
    });
    records.on("error", (error) => this.#fail(error));
    return records;
  }

  async #pull(records: Duplex): Promise<void> {
    const buffer = new Uint8Array(READ_SIZE);
    try {
      const count = await this.#conn.read(buffer);
      if (count === null) this.#hasEnded = true;
      if (count === null && !this.#isSecure) return this.#fail(unexpectedEnd()); // else the socket waits for ever
      records.push(count === null ? null : buffer.subarray(0, count));
    } catch (error) {
      this.#fail(error as Error);
    }
  }

  async #send(chunk: Uint8Array): Promise<void> {
    for (let sent = 0; sent < chunk.length;) sent += await this.#conn.write(chunk.subarray(sent));
  }

  async #read(p: Uint8Array): Promise<number | null> {
    await this.handshake();
    if (p.length === 0) return 0;
    const socket = this.#socket!;
    while (this.#leftover.length === 0) {
      const chunk: Uint8Array | null = socket.read();
      if (chunk !== null) {
        this.#leftover = chunk;
      } else if (socket.readableEnded) {
        if (this.#saidGoodbye) return null;
        throw unexpectedEnd();
      } else {
        await this.#orFault<void>((resolve) => this.#wake = resolve);
      }
    }
    const count = Math.min(p.length, this.#leftover.length);
    p.set(this.#leftover.subarray(0, count));
    this.#leftover = this.#leftover.subarray(count);
    return count;
  }

  /** Starts an operation, which fails with the connection. */
  async #orFault<T>(start: (resolve: (value: T) => void) => void): Promise<T> {
    if (this.#fault !== null) throw this.#fault;
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    this.#waiting.add(reject);
    try {
      start(resolve);
      return await promise;
    } finally {
      this.#waiting.delete(reject);
    }
  }

  /** Ends everything, and frees the descriptor. */
  #fail(error: Error): void {
    if (this.#fault !== null) return;
    this.#fault = asDenoError(error, this.#hasEnded);
    for (const reject of this.#waiting) reject(this.#fault);
    this.#socket?.destroy();
    this.#conn[Symbol.dispose]();
  }
}

function unexpectedEnd(): Error {
  return new Deno.errors.UnexpectedEof("peer closed connection without sending TLS close_notify");
}

/** What the same failure is called on a connection of `Deno.listenTls()`. */
function asDenoError(error: Error, hasEnded: boolean): Error {
  if (error.constructor.name in Deno.errors) return error;
  return hasEnded ? unexpectedEnd() : new Deno.errors.InvalidData(error.message, { cause: error });
}
