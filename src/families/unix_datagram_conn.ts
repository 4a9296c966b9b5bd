/**
 * A Unix datagram socket that can send while it receives.
 *
 * Deno locks its `unixpacket` socket for the length of an operation: `send()` during a pending `receive()`
 * throws `Deno.errors.Busy`, and so does a second `send()`. A server receives all the time, so here a send
 * that finds a receive under way wakes it with a datagram of our own, goes first, and lets it resume.
 *
 * @module
 */

import { fitsSocket } from "../base/address.ts";
import { SerialQueue } from "../base/time.ts";
import { bindSocketFile, isStillThere, removeSocketFile, type SocketFile } from "./unix_path.ts";

/** How many random bytes tell our wake-up datagram from a client's. */
const TOKEN_BYTES = 16;

/** A send that waits for its turn. */
interface QueuedSend {
  data: Uint8Array;
  address: Deno.Addr;
  settle: PromiseWithResolvers<number>;
}

/** A `Deno.DatagramConn` on a Unix path on which sends and one receive may be under way at once. */
export class UnixDatagramConn implements Deno.DatagramConn {
  /** The file that the bind made; null for an abstract name. */
  readonly #file: SocketFile | null;
  readonly addr: Deno.Addr;
  readonly #conn: Deno.DatagramConn;
  readonly #token: Uint8Array<ArrayBuffer> = crypto.getRandomValues(new Uint8Array(TOKEN_BYTES));
  /** Bound to no path: it sends the wake-ups. Made at the start, as later there may be no descriptor for it. */
  readonly #unnamed = Deno.listenDatagram({ transport: "unixpacket" });
  /** Whether Deno's socket is locked by a receive, and whether its wake-up has been sent. */
  #receiving = false;
  #woken = false;
  readonly #sends: QueuedSend[] = [];
  /** Settles when the queue has been sent; null while nothing is being sent. */
  #sending: Promise<void> | null = null;
  /** What goes out by that, one datagram after the other. */
  readonly #unnamedSends = new SerialQueue();
  #closed = false;

  /**
   * Binds.
   *
   * @param path Where to.
   * @param mode The permissions of the file; null for what the umask leaves.
   * @throws {Deno.errors.AddrInUse} When a live server has the path, or it is not a socket.
   */
  constructor(path: string, mode: number | null = null) {
    const bind = (path: string) => Deno.listenDatagram({ transport: "unixpacket", path });
    try {
      const { socket, file } = bindSocketFile(path, { bind, mode, removedByDeno: false });
      this.#conn = socket;
      this.addr = socket.addr;
      this.#file = file;
    } catch (error) {
      this.#unnamed.close();
      throw error;
    }
  }

  async receive(
    p: Uint8Array = new Uint8Array(65507),
  ): Promise<[Uint8Array<ArrayBuffer>, Deno.Addr]> {
    const buffer = p.length < TOKEN_BYTES ? new Uint8Array(TOKEN_BYTES) : p;
    while (true) {
      while (this.#sending !== null) await this.#sending;
      this.#receiving = true;
      let data: Uint8Array<ArrayBuffer>;
      let address: Deno.Addr;
      try {
        [data, address] = await this.#conn.receive(buffer);
      } finally {
        this.#receiving = false;
        if (this.#sends.length > 0) this.#sending ??= this.#sendQueued();
      }
      if (this.#isWakeUp(data, address)) {
        this.#woken = false;
        continue;
      }
      if (buffer === p) return [data, address];
      p.set(data.subarray(0, p.length));
      return [p.subarray(0, Math.min(data.length, p.length)) as Uint8Array<ArrayBuffer>, address];
    }
  }

  send(data: Uint8Array, address: Deno.Addr): Promise<number> {
    if (this.#closed) return Promise.reject(closedError());
    // A wake-up that is sent to our path may go to a successor by now, or to nobody.
    if (this.#receiving && this.#file !== null && !isStillThere(this.#file)) {
      return this.#sendUnnamed(data, address);
    }
    const settle = Promise.withResolvers<number>();
    this.#sends.push({ data, address, settle });
    if (this.#receiving) this.#wakeReceive();
    else this.#sending ??= this.#sendQueued();
    return settle.promise;
  }

  /** Removes the file, unless that is another server's by now, then closes the socket. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    // While the socket is open no other server takes the path for a dead one's.
    if (this.#file !== null) removeSocketFile(this.#file);
    this.#conn.close();
    this.#unnamed.close();
    for (const { settle } of this.#sends.splice(0)) settle.reject(closedError());
  }

  async *[Symbol.asyncIterator](): AsyncIterableIterator<[Uint8Array<ArrayBuffer>, Deno.Addr]> {
    while (!this.#closed) yield await this.receive();
  }

  joinMulticastV4(): Promise<Deno.MulticastV4Membership> {
    return Promise.reject(new Deno.errors.NotSupported("Cannot join multicast on a Unix socket"));
  }

  joinMulticastV6(): Promise<Deno.MulticastV6Membership> {
    return Promise.reject(new Deno.errors.NotSupported("Cannot join multicast on a Unix socket"));
  }

  async #sendQueued(): Promise<void> {
    for (let next = this.#sends.shift(); next !== undefined; next = this.#sends.shift()) {
      const { data, address, settle } = next;
      try {
        settle.resolve(await this.#conn.send(data, address));
      } catch (error) {
        settle.reject(this.#closed ? closedError() : error);
      }
    }
    this.#sending = null;
  }

  #wakeReceive(): void {
    if (this.#woken) return;
    this.#woken = true;
    this.#sendUnnamed(this.#token, this.#ownAddress()).catch(() => {
      this.#woken = false; // the queue is full, so that the receive ends without us
    });
  }

  /** Where to send to ourselves, also when the working directory has changed. */
  #ownAddress(): Deno.Addr {
    const path = this.#file?.path;
    return path !== undefined && fitsSocket(path) ? { transport: "unixpacket", path } : this.addr;
  }

  /** Sends from a socket without a name: for a reply better than nothing, though the client cannot answer it. */
  #sendUnnamed(data: Uint8Array, address: Deno.Addr): Promise<number> {
    return this.#unnamedSends.run(async () => {
      if (this.#closed) throw closedError();
      return await this.#unnamed.send(data, address);
    });
  }

  #isWakeUp(data: Uint8Array, address: Deno.Addr): boolean {
    return "path" in address && !address.path && data.length === TOKEN_BYTES &&
      data.every((byte, index) => byte === this.#token[index]);
  }
}

function closedError(): Error {
  return new Deno.errors.BadResource("Cannot send datagram: the server is closed");
}
