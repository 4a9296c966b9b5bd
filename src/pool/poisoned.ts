/**
 * How many Workers that never await a server gives up on and replaces.
 *
 * @module
 */
import { logOf } from "../core/faults.ts";
import type { ServerLogger } from "../base/log.ts";
import { integerFrom, nullOr } from "../base/options.ts";
import type { Settings } from "../base/settings.ts";

/** The setting `maxPoisoned`. */
export const POISONED_SETTING: Settings<{ maxPoisoned: number | null }> = {
  maxPoisoned: { default: null, check: nullOr(integerFrom(0, 4096)) },
};

/** What a {@linkcode PoisonedBound} looks at. */
export interface PoisonedHost {
  readonly maxPoisoned: number | null;
  readonly logger: ServerLogger;
}

/** Says when a server has as many poisoned Workers as it may, and how many places it has left. */
export class PoisonedBound {
  readonly #server: PoisonedHost;
  readonly #places: () => number;
  readonly #poisoned: () => number;
  #isSaid = false;

  /**
   * @param places How many Workers there may be where none is poisoned.
   * @param poisoned How many are.
   */
  constructor(server: PoisonedHost, places: () => number, poisoned: () => number) {
    this.#server = server;
    this.#places = places;
    this.#poisoned = poisoned;
  }

  /** How many Workers there may be. */
  get left(): number {
    return Math.max(0, this.#places() - Math.max(0, this.#poisoned() - this.#most));
  }

  /** Why nobody can be served any more; null while there are places left. */
  get failure(): Error | null {
    return this.left > 0 ? null : new Error(
      `Cannot serve: ${this.#poisoned()} Workers never awaited and were given up on, and no more are started ('maxPoisoned')`,
    );
  }

  /**
   * Notes that one more is poisoned, and says so when it is the last that is replaced.
   *
   * @returns What {@linkcode PoisonedBound.failure} says.
   */
  note(): Error | null {
    if (this.#poisoned() >= this.#most && !this.#isSaid) this.#say();
    return this.failure;
  }

  get #most(): number {
    return this.#server.maxPoisoned ?? this.#places();
  }

  #say(): void {
    this.#isSaid = true;
    const line =
      `Workers that never awaited and were given up on, and may run for ever: ${this.#poisoned()}`;
    logOf(this.#server, "error", `${line}; no more are replaced ('maxPoisoned')`);
  }
}
