/**
 * A connection whose both ends are in this isolate, without a socket.
 *
 * @module
 */
import type { TCPAddr } from "../base/address.ts";
import { MAX_TIMER } from "../base/options.ts";
import type { StreamTransport } from "../sockets/streams.ts";

/** How many bytes wait for a reader before writes do, as the buffers of a connection hold some. */
const CAPACITY = 64 * 1024;

/** Waits, and keeps the program alive meanwhile, as what waits for a socket does. */
export async function keepAlive<T>(promise: Promise<T>): Promise<T> {
  const timer = setTimeout(() => {}, MAX_TIMER);
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
  }
}

/** One direction. */
class MemoryPipe {
  readonly #buffer = new Uint8Array(CAPACITY);
  #length = 0;
  #isEnded = false;
  #fault: (() => Error) | null = null;
  #changed = Promise.withResolvers<void>();

  async read(p: Uint8Array): Promise<number | null> {
    while (this.#fault === null && this.#length === 0 && !this.#isEnded) {
      await keepAlive(this.#changed.promise);
    }
    if (this.#fault !== null) throw this.#fault();
    if (this.#length === 0) return null;
    const count = Math.min(p.length, this.#length);
    p.set(this.#buffer.subarray(0, count));
    this.#buffer.copyWithin(0, count, this.#length);
    this.#length -= count;
    this.#change();
    return count;
  }

  async write(p: Uint8Array): Promise<number> {
    while (this.#fault === null && this.#length === CAPACITY && !this.#isEnded) {
      await keepAlive(this.#changed.promise);
    }
    if (this.#fault !== null) throw this.#fault();
    if (this.#isEnded) throw new Deno.errors.BrokenPipe("Cannot write: the write side has ended");
    const count = Math.min(p.length, CAPACITY - this.#length);
    this.#buffer.set(p.subarray(0, count), this.#length);
    this.#length += count;
    this.#change();
    return count;
  }

  /** Has reads end when they have got what is there. */
  end(): void {
    this.#isEnded = true;
    this.#change();
  }

  /** Has reads and writes fail from now on, those under way included. */
  fail(fault: () => Error): void {
    this.#fault ??= fault;
    this.#change();
  }

  #change(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}

/** One end of a connection in memory. */
export class MemoryConn implements StreamTransport {
  readonly localAddr: TCPAddr;
  readonly remoteAddr: TCPAddr;
  readonly #in: MemoryPipe;
  readonly #out: MemoryPipe;
  #isClosed = false;

  /** Makes the two ends: of the server, then of the client. */
  static pair(server: TCPAddr, client: TCPAddr): [MemoryConn, MemoryConn] {
    const [up, down] = [new MemoryPipe(), new MemoryPipe()];
    return [new MemoryConn(server, client, up, down), new MemoryConn(client, server, down, up)];
  }

  private constructor(local: TCPAddr, remote: TCPAddr, input: MemoryPipe, output: MemoryPipe) {
    this.localAddr = local;
    this.remoteAddr = remote;
    this.#in = input;
    this.#out = output;
  }

  read(p: Uint8Array): Promise<number | null> {
    if (p.length === 0) return Promise.resolve(0); // at once, as a `Deno.Conn` does
    return this.#unlessClosed(() => this.#in.read(p));
  }

  write(p: Uint8Array): Promise<number> {
    return this.#unlessClosed(() => this.#out.write(p));
  }

  /** What is under way when this end is closed was not the other end's doing. */
  async #unlessClosed<T>(operation: () => Promise<T>): Promise<T> {
    if (this.#isClosed) throw new Deno.errors.BadResource("Cannot use connection: it is closed");
    try {
      return await operation();
    } catch (error) {
      throw this.#isClosed ? new Deno.errors.Interrupted("operation canceled") : error;
    }
  }

  closeWrite(): Promise<void> {
    this.#out.end();
    return Promise.resolve();
  }

  /** Closes this end: the other one reads what was sent, and can send no more. */
  close(): void {
    this.#isClosed = true;
    this.#out.end();
    this.#in.fail(() => new Deno.errors.BrokenPipe("Broken pipe: the other end is closed"));
  }

  /** Closes this end as a client that crashes does: reads and writes of the other one fail. */
  reset(): void {
    const fault = () => new Deno.errors.ConnectionReset("Connection reset by peer");
    this.#isClosed = true;
    this.#out.fail(fault);
    this.#in.fail(fault);
  }

  /** There is no TLS to begin with. */
  handshake(): Promise<Deno.TlsHandshakeInfo> {
    return Promise.resolve({ alpnProtocol: null });
  }

  setNoDelay(): void {}

  setKeepAlive(): void {}

  ref(): void {}

  unref(): void {}
}
