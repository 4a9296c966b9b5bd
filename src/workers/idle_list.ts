/**
 * The idle workers of a pool, and when they end.
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
  readonly #dueOf: (longest: Entry) => number;
  readonly #end: (entry: Entry) => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** When it fires, by the clock of `performance.now()`. */
  #fires = 0;

  /**
   * @param dueOf When the one that has been idle for longest is to end, by the clock of `performance.now()`.
   * @param end Ends one that has been taken out.
   */
  constructor(dueOf: (longest: Entry) => number, end: (entry: Entry) => void) {
    this.#dueOf = dueOf;
    this.#end = end;
  }

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

  /** Ends those that have been idle for too long, now and when it is time. */
  endDue(): void {
    for (let { longest } = this; longest !== undefined; { longest } = this) {
      const due = this.#dueOf(longest);
      const left = due - performance.now();
      if (left === Infinity) return;
      if (left > 0) return this.#endLater(due, left);
      this.remove(longest);
      this.#end(longest);
    }
  }

  /** Ends nobody any more. */
  close(): void {
    clearTimeout(this.#timer);
  }

  /** Looks again when it is time; a timer that comes before is left, as this is called for each request. */
  #endLater(due: number, left: number): void {
    if (this.#timer !== undefined) {
      if (this.#fires <= due) return;
      clearTimeout(this.#timer);
    }
    this.#fires = due;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.endDue();
    }, Math.ceil(left));
    Deno.unrefTimer(this.#timer);
  }

  #listOf({ served }: Entry): Entry[] {
    return served > 0 ? this.#used : this.#unused;
  }
}
