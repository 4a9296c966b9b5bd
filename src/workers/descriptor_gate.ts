/**
 * Accepting no client who would take the descriptors that a worker waits for.
 *
 * @module
 */
import { RateLimit } from "../base/log.ts";

/** The descriptors that a start waits for, and those that there are. */
export interface Lack {
  needs: number;
  has: number;
}

/** Who is told of a start that has to wait, and cannot say for how long. */
export interface ShortageListener {
  /** It begins to wait; what it lacks is kept up to date where that is known. */
  waits(lack?: Readonly<Lack>): void;
  /** It waits no more. */
  begins(): void;
  /** It is over, however it ended. */
  ended(): void;
}

/** Says what is missing. */
export function describeLack({ needs, has }: Lack): string {
  return `it needs ${needs} free file descriptors to start, and there are ${has} ("ulimit -n")`;
}

/** How long a worker waits for descriptors before that is logged, in milliseconds. */
const LOG_DELAY = 500;

/** For the lines that say so, of which one is enough for all. */
const lines = new RateLimit();

export interface AcceptGateOptions {
  /** What messages call a worker. */
  kind: string;
  /** Writes a warning. */
  log: (line: string) => void;
  /** How many clients may wait for a worker while there are no descriptors. */
  maxWaiting?: number;
  /** Whether there is room for a client who waits, beside what the next worker needs; `true` when left out. */
  hasRoom?: () => boolean;
}

/**
 * Pauses accepting while workers cannot start for lack of file descriptors, and says so in the log. Clients that wait
 * for a worker hold descriptors too; if they used up the ones that the worker needs, it would never start and they would
 * never leave.
 */
export class AcceptGate {
  readonly #options: AcceptGateOptions;
  /** How many starts have had to wait and are not over. */
  #starts = 0;
  /** Those of them that wait, by what they lack. */
  readonly #waiting = new Set<Readonly<Lack>>();
  #logTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: AcceptGateOptions) {
    this.#options = options;
  }

  /** Whether starts have had to wait and are not over. */
  get isShort(): boolean {
    return this.#starts > 0;
  }

  /** Who is to be told of one start. */
  listener(): ShortageListener {
    let waiting: Readonly<Lack> | undefined;
    const stop = () => {
      if (waiting !== undefined) this.#waiting.delete(waiting);
      if (this.#waiting.size === 0) this.#stopTimer();
    };
    return {
      waits: (lack = { needs: Infinity, has: 0 }) => {
        waiting = lack;
        this.#starts++;
        this.#waiting.add(lack);
        this.#logTimer ??= setInterval(() => this.#log(), LOG_DELAY);
      },
      begins: stop,
      ended: () => {
        stop();
        this.#starts--;
      },
    };
  }

  /**
   * Throws when no client may be accepted now.
   *
   * @param waiting How many wait for a worker.
   * @throws {Error} With the code "EMFILE", as when the system has no descriptor for the client itself.
   */
  check(waiting: () => number): void {
    if (!this.isShort) return;
    const { kind, maxWaiting = Infinity, hasRoom } = this.#options;
    if (waiting() < maxWaiting && hasRoom?.() !== false) return;
    const message = `no descriptors are left for another ${kind}`;
    throw Object.assign(new Error(message), { code: "EMFILE" });
  }

  /** Says what is missing, once, if it is: a start may only wait for others to come up. */
  #log(): void {
    const lack = [...this.#waiting].find(({ needs, has }) => has < needs);
    if (lack === undefined) return;
    this.#stopTimer();
    if (lines.take(performance.now()) === null) return;
    const { kind, log } = this.#options;
    const reason = lack.needs === Infinity ? "the system has no room for it" : describeLack(lack);
    log(`Cannot start another ${kind} yet: ${reason}`);
  }

  #stopTimer(): void {
    clearInterval(this.#logTimer);
    this.#logTimer = undefined;
  }
}
