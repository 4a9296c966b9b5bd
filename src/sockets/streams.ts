/**
 * What carries the bytes of a connection, and bytes as a stream of the web platform.
 *
 * @module
 */
import { isInstance } from "../base/errors.ts";

/**
 * What a {@linkcode StreamSocket} needs beneath it: a `Deno.Conn`, less its streams.
 *
 * In a Web Worker or a subprocess, where a handler may block, the transport has `readSync()` and `writeSync()`;
 * in the server's own isolate it has not.
 */
export interface StreamTransport {
  /** Reads at least one byte into `p`; resolves to how many, or to `null` at the end of the stream. */
  read(p: Uint8Array): Promise<number | null>;
  /** Writes some of `p`; resolves to the number of bytes. */
  write(p: Uint8Array): Promise<number>;
  /** Closes both directions. A read or write under way settles soon, and touches its bytes no more then. */
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
  /**
   * Reads as `read()`, blocking the isolate for no longer than `timeout` milliseconds; `null` for ever.
   *
   * @throws {Deno.errors.TimedOut} When nothing came in time.
   */
  readSync?(p: Uint8Array, timeout: number | null): number | null;
  /** Writes as `write()`, blocking the isolate. */
  writeSync?(p: Uint8Array): number;
  /** Is told of each change of the socket's `timeout`, in milliseconds; `null` for none. */
  setTimeout?(timeout: number | null): void;
}

/** How many bytes a stream asks for at once. */
const CHUNK_SIZE = 64 * 1024;

/**
 * Makes the bytes of a reader a stream, which ends with them and does nothing else at the end.
 *
 * @param source Where the bytes come from.
 * @param cancel Called when nobody wants the rest.
 * @param own Called with an error of this stream that the reader has not thrown itself.
 */
export function streamOf(
  source: { read(p: Uint8Array): Promise<number | null> },
  cancel: () => void,
  own: (error: unknown) => void = () => {},
): ReadableStream<Uint8Array<ArrayBuffer>> {
  return new ReadableStream({
    type: "bytes",
    autoAllocateChunkSize: CHUNK_SIZE,
    async pull(controller) {
      const request = controller.byobRequest;
      if (request?.view == null) return;
      const { buffer, byteOffset, byteLength } = request.view;
      let count: number | null;
      try {
        count = await source.read(new Uint8Array(buffer, byteOffset, byteLength));
      } catch (error) {
        if (!isInstance(error, Deno.errors.BadResource)) throw error;
        // Deno replaces that by an error of its own in what reads a stream, and nobody knows whose that is.
        const closed = new Deno.errors.Interrupted(error.message, { cause: error });
        own(closed);
        throw closed;
      }
      if (count === null) controller.close();
      request.respond(count ?? 0);
    },
    cancel,
  });
}

/**
 * Makes a stream that sends what is written to it by a socket; closing it ends the write side, aborting it closes all.
 */
export function sinkOf(
  socket: { sendAll(chunk: Uint8Array): Promise<void>; closeWrite(): Promise<void>; close(): void },
): WritableStream<Uint8Array<ArrayBufferLike>> {
  return new WritableStream({
    // At once: abort() is called only when the write under way has ended, which may be never.
    start: ({ signal }) => signal.addEventListener("abort", () => socket.close(), { once: true }),
    write: (chunk) => socket.sendAll(chunk),
    close: () => socket.closeWrite(),
  });
}
