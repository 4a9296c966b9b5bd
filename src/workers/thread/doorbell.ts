/**
 * One bell for all channels of the main isolate that are made of shared memory.
 *
 * Who has something for the main isolate leaves a mark at its own slot and rings. Only an isolate that sleeps is woken:
 * what is marked while it is awake it finds before it sleeps again. So many Workers that are ready at a time cost one
 * wake-up, where a wait for each of them would cost one each.
 *
 * @module
 */
import * as atomics from "../../channel/atomics.ts";

/** How many slots there are, which later channels share: who is woken in vain looks and waits again. */
const SLOTS = 1024;
/** 1 while the isolate sleeps; who wakes it sets 0. */
const ASLEEP = 0;
/** Where the marks begin, a bit for each slot. */
const MARKS = 1;
const BITS = 32;
const WORDS = MARKS + SLOTS / BITS;

/** The bell, for those who ring it: what a Worker is given. */
export interface Bell {
  readonly cells: Int32Array<SharedArrayBuffer>;
  /** The slot of the channel. */
  readonly slot: number;
}

/**
 * Wakes who waits at the slot of a bell; what it waits for must have been stored before.
 *
 * @param always Whether to wake the isolate even if somebody else says that he does: he may have been killed meanwhile.
 */
export function ring({ cells, slot }: Bell, always = false): void {
  atomics.or(cells, MARKS + Math.trunc(slot / BITS), 1 << slot % BITS);
  if (!always && atomics.load(cells, ASLEEP) === 0) return;
  atomics.store(cells, ASLEEP, 0);
  atomics.notify(cells, ASLEEP);
}

/** The bell, for the isolate that answers it. */
export class Doorbell {
  readonly #cells = new Int32Array(new SharedArrayBuffer(WORDS * Int32Array.BYTES_PER_ELEMENT));
  /** Those who wait, by slot; most isolates, such as those of Workers, have no channel. */
  readonly #waiting: (() => void)[][] = [];
  #slots = 0;
  #waiters = 0;
  #answering = false;

  /** The bell for one channel more. */
  take(): Bell {
    return { cells: this.#cells, slot: this.#slots++ % SLOTS };
  }

  /** Resolves when somebody has rung at that slot. It does not keep the program alive. */
  wait(slot: number): Promise<void> {
    this.#waiters++;
    return new Promise((resolve) => {
      (this.#waiting[slot] ??= []).push(resolve);
      if (!this.#answering) void this.#answer(); // never rejects
    });
  }

  async #answer(): Promise<void> {
    this.#answering = true;
    while (this.#waiters > 0) {
      // In this order: who marks a slot after the look at it finds the isolate asleep.
      atomics.store(this.#cells, ASLEEP, 1);
      this.#callMarked();
      const rung = atomics.waitAsync(this.#cells, ASLEEP, 1);
      if (rung.async) await rung.value;
    }
    this.#answering = false;
  }

  #callMarked(): void {
    const slots = Math.min(this.#slots, SLOTS);
    for (let first = 0; first < slots; first += BITS) {
      const word = MARKS + first / BITS;
      if (atomics.load(this.#cells, word) === 0) continue;
      const marks = atomics.exchange(this.#cells, word, 0);
      for (let bit = 0; bit < BITS; bit++) if ((marks & 1 << bit) !== 0) this.#call(first + bit);
    }
  }

  #call(slot: number): void {
    const waiting = this.#waiting[slot]?.splice(0) ?? [];
    this.#waiters -= waiting.length;
    for (const resolve of waiting) resolve();
  }
}
