/**
 * The listener of TLS servers, which lets no number of clients that are silent or read nothing use up the descriptors.
 *
 * `Deno.listenTls()` is fast, but Deno cannot abandon a handshake or a write: a connection that is closed before the end
 * of either keeps its descriptor until the client leaves or, for a write, has read. So no more than a number of handshakes
 * and such closed connections are there at any time, and when for a while none of that many ends, the listener is replaced
 * by one on TCP, with TLS by `node:tls` on top, which can be cut off at any time and costs more processor time.
 *
 * Nothing tells when Deno lets go of a connection that was closed during a write, so one that was counts from then on.
 * How many may come to be so at once is how many are served at once.
 *
 * @module
 */
import { formatAddress } from "../base/address.ts";
import { errorCode } from "../base/errors.ts";
import { settlesWithin } from "../base/time.ts";
import type { NodeTLSConn, TLSIdentity } from "./node_tls_conn.ts";

/** How many handshakes may be under way or given up, and writes given up, as long as Deno does TLS. */
const MAX_HANDSHAKES = 64;
/** The least of them that are worth a change of the listener when descriptors run out. */
const MIN_HANDSHAKES = 8;
/** How long so many may all make no progress, in milliseconds. */
const PATIENCE = 1000;

/** How a {@linkcode TLSListener} listens. */
export interface TLSListenerOptions extends TLSIdentity {
  hostname: string;
  port: number;
  tcpBacklog: number;
  reusePort: boolean;
  /** Told when the listener is replaced. */
  onReplace: (message: string) => void;
  /** Instead of {@linkcode MAX_HANDSHAKES}. */
  maxHandshakes?: number;
  /** Instead of {@linkcode PATIENCE}. */
  patience?: number;
}

/** A listener on TCP with TLS, which goes on without Deno's before too many closed connections hold descriptors. */
export class TLSListener implements Deno.TlsListener {
  readonly #options: TLSListenerOptions;
  readonly #patience: number;
  /** The handshakes that have not ended; each is called when it has, or when all are to end. */
  readonly #handshakes = new Set<() => void>();
  /** How many connections were closed during a write. */
  #unread = 0;
  /** How many there may be of both. */
  #limit: number;
  /** The listener with Deno's TLS; null once it has been replaced. */
  #tls: Deno.TlsListener | null;
  /** The listener without. */
  #tcp: Deno.TcpListener | null = null;
  readonly addr: Deno.NetAddr;
  /** Loaded at the start, as this takes descriptors. */
  readonly #loading = import("./node_tls_conn.ts");
  #Conn: typeof NodeTLSConn | null = null;
  #closed = false;
  /** Ends the wait for a handshake to end. */
  #endWait: (() => void) | null = null;

  constructor(options: TLSListenerOptions) {
    const { onReplace: _, maxHandshakes, patience, ...listen } = options;
    this.#options = options;
    this.#limit = maxHandshakes ?? MAX_HANDSHAKES;
    this.#patience = patience ?? PATIENCE;
    this.#tls = Deno.listenTls(listen);
    this.addr = this.#tls.addr;
  }

  /** Accepts the next client, whose handshake is still to come. */
  async accept(): Promise<Deno.TlsConn> {
    while (!this.#closed) {
      if (this.#tls === null) return await this.#acceptTCP();
      if (this.#held < this.#limit) return await this.#acceptTLS(this.#tls);
      if (!await this.#oneEnds()) await this.#replace();
    }
    throw new Deno.errors.BadResource("Listener has been closed");
  }

  close(): void {
    this.#closed = true;
    this.#endWait?.();
    this.#tls?.[Symbol.dispose]();
    this.#tcp?.[Symbol.dispose]();
    for (const end of this.#handshakes) end();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  // Deno has no such thing for TLS.
  ref(): void {}
  unref(): void {}

  async *[Symbol.asyncIterator](): AsyncIterableIterator<Deno.TlsConn> {
    while (!this.#closed) yield await this.accept();
  }

  /** How many connections may hold a descriptor without being served. */
  get #held(): number {
    return this.#handshakes.size + this.#unread;
  }

  async #acceptTLS(listener: Deno.TlsListener): Promise<Deno.TlsConn> {
    try {
      const conn = await listener.accept();
      if (!this.#closed) this.#track(conn);
      return conn;
    } catch (error) {
      if (["EMFILE", "ENFILE"].includes(errorCode(error))) {
        this.#limit = Math.min(this.#limit, Math.max(MIN_HANDSHAKES, this.#held));
      }
      throw error;
    }
  }

  async #acceptTCP(): Promise<Deno.TlsConn> {
    const { hostname, port } = this.addr;
    const { tcpBacklog, reusePort } = this.#options;
    this.#tcp ??= Deno.listen({ hostname, port, tcpBacklog, reusePort });
    return new this.#Conn!(await this.#tcp.accept(), this.#options);
  }

  /**
   * Counts a connection until its handshake has ended, and puts off its `close()` until then; and again once it is closed
   * during a write.
   */
  #track(conn: Deno.TlsConn): void {
    const { promise, resolve, reject } = Promise.withResolvers<Deno.TlsHandshakeInfo>();
    promise.catch(() => {}); // it may end before anybody asks
    const close = conn.close.bind(conn);
    const write = conn.write.bind(conn);
    const closeWrite = conn.closeWrite.bind(conn);
    let lastWrite: Promise<unknown> | null = null;
    conn.write = (p) => lastWrite = write(p);
    conn.closeWrite = () => lastWrite = closeWrite();
    const closeAndCount = () => {
      close();
      // By how it ends, because to watch each write would cost each a promise.
      lastWrite?.catch((error) => {
        if (error instanceof Deno.errors.Interrupted) this.#unread++;
      });
    };
    let isClosed = false;
    const end = () => {
      if (!this.#handshakes.delete(end)) return;
      conn.close = closeAndCount;
      if (isClosed) close();
    };
    this.#handshakes.add(end);
    conn.close = () => {
      isClosed = true;
      reject(new Deno.errors.Interrupted("operation canceled"));
    };
    conn.handshake().then(resolve, reject).finally(() => {
      end();
      this.#limit = this.#options.maxHandshakes ?? MAX_HANDSHAKES;
      this.#endWait?.();
    });
    conn.handshake = () => promise;
  }

  /** Waits until a handshake ends, but not for ever; resolves to whether there is room then. */
  async #oneEnds(): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#endWait = resolve;
    await settlesWithin(promise, this.#patience);
    this.#endWait = null;
    return this.#closed || this.#held < this.#limit;
  }

  /** Goes on without Deno's TLS. Who waits in the accept queue is reset. */
  async #replace(): Promise<void> {
    const count = this.#held;
    const host = formatAddress(this.addr);
    // With the permission for port 0 alone nothing can listen on the port that the system gave.
    if (Deno.permissions.querySync({ name: "net", host }).state !== "granted") {
      this.#unread = 0; // handshakes end one day, and these would keep everybody out for good
      return;
    }
    const { NodeTLSConn } = await this.#loading;
    if (this.#closed) return;
    this.#Conn = NodeTLSConn;
    this.#tls?.[Symbol.dispose]();
    this.#tls = null;
    this.#options.onReplace(
      `${count} clients do not end their TLS handshakes, or read nothing: from now on TLS is done by node:tls, ` +
        "which can cut them off, and takes more processor time",
    );
  }
}
