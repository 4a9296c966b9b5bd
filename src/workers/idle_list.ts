/**
 * The idle workers of a pool.
 *
 * @module
 */

/** What the list needs to know of a worker. */
export interface Spare {
  /** How many requests it has served. */
  readonly served: number;
  /** Since when it is idle, by the clock of `performance.now()`. */
  readonly idleSince: number;
}

/** The idle workers of a pool, in the order in which they became idle. */
export class IdleList<Entry extends Spare> {
  readonly #used: Entry[] = [];
  readonly #unused: Entry[] = [];

  get length(): number {
    return this.#used.length + this.#unused.length;
  }

  /** The one that has been idle for longest. */
  get longest(): Entry | undefined {
    const [used] = this.#used;
    const [unused] = this.#unused;
    if (used === undefined || unused === undefined) return used ?? unused;
    return used.idleSince < unused.idleSince ? used : unused;
  }

  /** Adds one that has become idle now. */
  add(entry: Entry): void {
    this.#listOf(entry).push(entry);
  }

  /** Takes the one that was used last: it is the warmest. */
  take(): Entry | undefined {
    return this.#used.pop() ?? this.#unused.pop();
  }

  /** Takes one out. */
  remove(entry: Entry): void {
    const list = this.#listOf(entry);
    list.splice(list.indexOf(entry), 1);
  }

  #listOf({ served }: Entry): Entry[] {
    return served > 0 ? this.#used : this.#unused;
  }
}
