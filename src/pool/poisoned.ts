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

  /** Why nobody can be served any more; null while there are places left. */
  failure(places: number, poisoned: number): Error | null {
    return this.left(places, poisoned) > 0 ? null : new Error(
      `Cannot serve: ${poisoned} Workers never awaited and were given up on, and no more are started ('maxPoisoned')`,
    );
  }

  /**
   * Notes that one more is poisoned, and says so when it is the last that is replaced.
   *
   * @returns What {@linkcode PoisonedBound.failure} says.
   */
  note(places: number, poisoned: number): Error | null {
    const most = this.#server.maxPoisoned ?? places;
    if (poisoned >= most && !this.#isSaid) this.#say(poisoned);
    return this.failure(places, poisoned);
  }

  #say(poisoned: number): void {
    this.#isSaid = true;
    const line =
      `Workers that never awaited and were given up on, and may run for ever: ${poisoned}`;
    logTo(this.#server.logger, "error", `${line}; no more are replaced ('maxPoisoned')`);
  }
}
