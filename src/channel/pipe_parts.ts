/**
 * What both ends of a pipe between processes are made of.
 *
 * @module
 */

/** How much one read of a pipe asks for, in bytes: what a pipe of Linux holds. */
export const BUFFER_BYTES = 64 * 1024;

/** Bytes that came in one piece and are asked for in smaller ones. */
export class Unread {
  #bytes = new Uint8Array(0);
  #start = 0;

  /** Replaces the bytes, which have all been taken. */
  refill(bytes: Uint8Array<ArrayBuffer>): void {
    this.#bytes = bytes;
    this.#start = 0;
  }

  /** Copies what there is into `p`; returns how much. */
  take(p: Uint8Array): number {
    const count = Math.min(p.length, this.#bytes.length - this.#start);
    if (count > 0) p.set(this.#bytes.subarray(this.#start, this.#start + count));
    this.#start += count;
    return count;
  }
}

/** The one operation of a direction that waits: it may be given up while what is under it goes on. */
export class Pending<T> {
  #settle: PromiseWithResolvers<T> | null = null;

  /** Whether an operation waits. */
  get waits(): boolean {
    return this.#settle !== null;
  }

  begin(): Promise<T> {
    this.#settle = Promise.withResolvers<T>();
    return this.#settle.promise;
  }

  resolve(value: T): void {
    const settle = this.#settle;
    this.#settle = null;
    settle?.resolve(value);
  }

  reject(error: unknown): void {
    const settle = this.#settle;
    this.#settle = null;
    settle?.reject(error);
  }
}

/** What cannot be done to a channel. */
export type Action = "read from" | "write to";

export function busy(action: Action): Error {
  return new Deno.errors.Busy(`Cannot ${action} channel: another such call is under way`);
}

export function closed(action: Action): Error {
  return new Deno.errors.BadResource(`Cannot ${action} channel: it is closed`);
}

export function interrupted(): Error {
  return new Deno.errors.Interrupted("Cannot read from channel: interrupted by the other end");
}

/** Names the channel in the error of a pipe that nobody reads any more; any other error stays as it is. */
export function broken(cause: unknown): unknown {
  if (!(cause instanceof Deno.errors.BrokenPipe)) return cause;
  const message = "Cannot write to channel: the other end has closed";
  return new Deno.errors.BrokenPipe(message, { cause });
}
