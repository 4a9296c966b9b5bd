/**
 * What a byte transport between the main isolate and a worker (a Web Worker or a subprocess) looks like.
 *
 * This folder is what the main isolate and a worker say to each other: frames, on whatever carries bytes, and the messages
 * in them. What carries the bytes stands with each kind of worker: memory that is shared with a Web Worker
 * (`workers/thread/shared_ring.ts`), and the pipes of a subprocess (`workers/process/pipe.ts`). It uses `base/` and a type
 * of `sockets/`; `workers/` and `pool/` talk by it.
 *
 * @module
 */

/** One end of a two-way stream of bytes. At most one read and one write are under way at a time. */
export interface Channel {
  /**
   * Reads what is there into `p`, waiting for the first byte.
   *
   * @param interruptible Whether it fails when the other end interrupts, where that can be; `true` when left out.
   * @returns How many bytes there were, or `null` when the other end has closed and all is read.
   */
  read(p: Uint8Array, interruptible?: boolean): Promise<number | null>;
  /**
   * Reads what is there and waits for nothing, on a channel that can tell; nobody else may be reading.
   *
   * @returns How many bytes there were; 0 when `read()` has to say what there is.
   */
  readNow?(p: Uint8Array): number;
  /**
   * Writes all of `p` or nothing, and waits for nothing, on a channel that can tell.
   *
   * @returns Whether it was written; if not, `write()` has to.
   */
  writeNow?(p: Uint8Array): boolean;
  /**
   * Writes all of `p`, waiting while the other end is slow to read.
   *
   * @throws {Deno.errors.BrokenPipe} When the other end has closed.
   */
  write(p: Uint8Array): Promise<void>;
  /** Closes both directions: the other end reads what is left and then the end. Safe to call again. */
  close(): void;
}

/** A worker's end of a channel, on which it may also block. */
export interface BlockingChannel extends Channel {
  /** Whether `readSync()` keeps to its time limit. */
  readonly canTimeOut: boolean;
  /**
   * Reads as {@linkcode Channel.read}, blocking the isolate.
   *
   * @param timeout How long to block at most, in milliseconds; `null` for ever.
   * @throws {Deno.errors.TimedOut} When nothing came in time.
   * @throws {Deno.errors.Interrupted} When the other end interrupts.
   * @throws {Deno.errors.Busy} When an asynchronous read is under way.
   */
  readSync(p: Uint8Array, timeout: number | null): number | null;
  /** Writes as {@linkcode Channel.write}, blocking the isolate. */
  writeSync(p: Uint8Array): void;
  /**
   * Whether the reads of this end are interrupted: what waits has rejected with `Deno.errors.Interrupted`, and so
   * does each read until that is over. Writes go on; the other end takes them in any case.
   */
  readonly interrupted: boolean;
}
