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

/** How long a server waits for one of its Workers to end when it has no place left, in milliseconds. */
const PATIENCE = 30_000;

/** What a {@linkcode PoisonedBound} looks at. */
export interface PoisonedHost {
  readonly maxPoisoned: number | null;
  readonly logger: ServerLogger;
}

/** What a {@linkcode PoisonedBound} is made with. */
export interface PoisonedBoundOptions {
  /** How many Workers there may be where none is poisoned. */
  places: () => number;
  /** How many are, and still run. */
  poisoned: () => number;
  /** Told why nobody can be served any more. */
  onFailure: (error: Error) => void;
  /** Instead of {@linkcode PATIENCE}. */
  patience?: number;
}

/**
 * Says when a server has as many poisoned Workers as it may, and how many places it has left.
 *
 * Without a place nobody is served until one of them has ended, as one does that only computes for long; where none
 * does in time, the server has failed.
 */
export class PoisonedBound {
  readonly #server: PoisonedHost;
  readonly #options: PoisonedBoundOptions;
  #isSaid = false;
  #failureTimer: ReturnType<typeof setTimeout> | undefined;
  #hasFailed = false;

  constructor(server: PoisonedHost, options: PoisonedBoundOptions) {
    this.#server = server;
    this.#options = options;
  }

  /** How many Workers there may be. */
  get left(): number {
    const { places, poisoned } = this.#options;
    return Math.max(0, places() - Math.max(0, poisoned() - this.#most));
  }

  /** Why nobody can be served any more; null where that is not so, or not known yet. */
  get failure(): Error | null {
    if (!this.#hasFailed || this.left > 0) return null;
    const count = this.#options.poisoned();
    return new Error(
      `Cannot serve: ${count} Workers never awaited, were given up on and still run, and no more are started ('maxPoisoned')`,
    );
  }

  /** Notes that there are more that are poisoned and still run, or fewer. */
  note(): void {
    const count = this.#options.poisoned();
    if (count === 0) this.#isSaid = false;
    else if (count >= this.#most && !this.#isSaid) this.#say(count);
    if (this.left > 0) {
      clearTimeout(this.#failureTimer);
      this.#failureTimer = undefined;
      this.#hasFailed = false;
    } else if (this.#failureTimer === undefined) {
      this.#failureTimer = setTimeout(() => this.#fail(), this.#options.patience ?? PATIENCE);
      Deno.unrefTimer(this.#failureTimer);
    }
  }

  #fail(): void {
    this.#hasFailed = true;
    const { failure } = this; // null where a setting has made room meanwhile
    if (failure !== null) this.#options.onFailure(failure);
  }

  get #most(): number {
    return this.#server.maxPoisoned ?? this.#options.places();
  }

  #say(count: number): void {
    this.#isSaid = true;
    const line = `Workers that never awaited, were given up on and still run: ${count}`;
    const next = "while they do, no more are replaced ('maxPoisoned')";
    logOf(this.#server, "error", `${line}; ${next}`);
  }
}
