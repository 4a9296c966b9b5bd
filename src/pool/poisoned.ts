/**
 * How many Workers that never await a server gives up on and replaces.
 *
 * @module
 */
import { logTo, type ServerLogger } from "../base/log.ts";
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
  #isSaid = false;

  constructor(server: PoisonedHost) {
    this.#server = server;
  }

  /**
   * How many Workers there may be.
   *
   * @param places How many there may be where none is poisoned.
   * @param poisoned How many are.
   */
  left(places: number, poisoned: number): number {
    return Math.max(0, places - Math.max(0, poisoned - (this.#server.maxPoisoned ?? places)));
  }

  /** Notes that one more is poisoned, and says so when it is the last that is replaced. */
  note(places: number, poisoned: number): void {
    const most = this.#server.maxPoisoned ?? places;
    if (poisoned < most || this.#isSaid) return;
    this.#isSaid = true;
    const line =
      `Workers that never awaited and were given up on, and may run for ever: ${poisoned}`;
    logTo(this.#server.logger, "error", `${line}; no more are replaced ('maxPoisoned')`);
  }
}
