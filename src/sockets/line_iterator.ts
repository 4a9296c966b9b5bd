/**
 * Iterating over the lines of a reader.
 *
 * @module
 */

/** What ends a line. */
export const NEWLINE = 0x0a;
const RETURN = 0x0d;

/**
 * Iterates over lines, as an asynchronous generator would, which takes several promises more for each line.
 *
 * Calls of `next()` wait for each other, as there. `return()` and `throw()` do not, which a silent client could hold up: a
 * `next()` under way still gets its line, and those behind it none.
 */
export class LineIterator<Line> implements AsyncGenerator<Line, void, void> {
  /** Gives the next line as bytes, with none at the end of the stream; null when the iteration has ended. */
  #read: (() => Promise<Uint8Array<ArrayBuffer>>) | null;
  readonly #convert: (line: Uint8Array<ArrayBuffer>) => Line;
  /** How many calls of `next()` have not settled, and the last of them; each begins when those before it have. */
  #waiting = 0;
  #last: Promise<unknown> | null = null;

  constructor(
    read: () => Promise<Uint8Array<ArrayBuffer>>,
    convert: (line: Uint8Array<ArrayBuffer>) => Line,
  ) {
    this.#read = read;
    this.#convert = convert;
  }

  next(): Promise<IteratorResult<Line, void>> {
    const next = this.#next(this.#waiting++ === 0 ? null : this.#last);
    this.#last = next;
    return next;
  }

  async #next(before: Promise<unknown> | null): Promise<IteratorResult<Line, void>> {
    try {
      // Whoever called for the line before hears of its error.
      if (before !== null) await before.catch(() => {});
      if (this.#read !== null) {
        const line = await this.#read();
        if (line.length > 0) return { done: false, value: this.#convert(line) };
      }
    } catch (error) {
      this.#read = null;
      throw error;
    } finally {
      this.#waiting--;
    }
    return await this.return();
  }

  async return(value?: void | PromiseLike<void>): Promise<IteratorReturnResult<void>> {
    this.#read = null;
    return { done: true, value: await value };
  }

  throw(error: unknown): Promise<never> {
    this.#read = null;
    return Promise.reject(error);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }
}

/** Makes what turns lines into text without their ends. */
export function lineDecoder(encoding: string): (line: Uint8Array) => string {
  const decoder = new TextDecoder(encoding, { ignoreBOM: true });
  if (decoder.encoding.startsWith("utf-16")) {
    throw new RangeError(`Cannot read lines in "${encoding}": a line end must be one byte`);
  }
  return (line) => {
    let end = line.length;
    if (line[end - 1] === NEWLINE) end--;
    if (end < line.length && line[end - 1] === RETURN) end--;
    return decoder.decode(line.subarray(0, end));
  };
}
