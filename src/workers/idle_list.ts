/**
 * The idle workers of a pool, and when they end.
 *
 * @module
 */

import { LazyTimer } from "../base/time.ts";

/** What the list needs to know of a worker. */
export interface Spare {
  /** How many requests it has served. */
  readonly served: number;
}

/** The idle workers of a pool, in the order in which they became idle. */
export class IdleList<Entry extends Spare> {
  readonly #entries: Entry[] = [];
  readonly #dueOf: (longest: Entry) => number;
  readonly #end: (entry: Entry) => void;
  readonly #timer = new LazyTimer(() => this.endDue());

  /**
   * @param dueOf When the one that has been idle for longest is to end, by the clock of `performance.now()`.
   * @param end Ends one that has been taken out.
   */
  constructor(dueOf: (longest: Entry) => number, end: (entry: Entry) => void) {
    this.#dueOf = dueOf;
    this.#end = end;
  }

  get length(): number {
    return this.#entries.length;
  }

  /** Adds one that has become idle now. */
  add(entry: Entry): void {
    this.#entries.push(entry);
  }

  /** Takes the one that was used last, which is the warmest; one that never was only where there is no other. */
  take(): Entry | undefined {
    const at = this.#entries.findLastIndex(({ served }) => served > 0);
    return at < 0 ? this.#entries.pop() : this.#entries.splice(at, 1)[0];
  }

  /** Takes one out. */
  remove(entry: Entry): void {
    this.#entries.splice(this.#entries.indexOf(entry), 1);
  }

  /** Ends those that have been idle for too long, now and when it is time. */
  endDue(): void {
    for (let [longest] = this.#entries; longest !== undefined; [longest] = this.#entries) {
      const due = this.#dueOf(longest);
      if (due > performance.now()) return this.#timer.set(due);
      this.remove(longest);
      this.#end(longest);
    }
  }

  /** Ends nobody any more. */
  close(): void {
    this.#timer.stop();
  }
}
