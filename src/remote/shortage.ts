/**
 * What a server does while there are no descriptors for the units that its clients wait for.
 *
 * @module
 */

/**
 * Keeps a server from accepting clients who would take the descriptors that the units need for whom they wait: where
 * all are taken so, no unit ever starts, and no client ever leaves.
 */
export class Shortage {
  /** What kind of unit it is, for the message. */
  readonly #kind: string;
  readonly #maxWaiting: number;
  /** How many starts wait for descriptors. */
  #starts = 0;

  /**
   * Makes one for a server.
   *
   * @param kind What messages call a unit.
   * @param maxWaiting How many clients may wait for one while there are no descriptors.
   */
  constructor(kind: string, maxWaiting: number) {
    this.#kind = kind;
    this.#maxWaiting = maxWaiting;
  }

  /** To be called when a start begins to wait for descriptors, and again when it does so no more. */
  readonly note = (waits: boolean): void => {
    this.#starts += waits ? 1 : -1;
  };

  /**
   * Throws when no client may be accepted now.
   *
   * @param waiting How many wait for a unit.
   * @throws {Error} With the code "EMFILE", as when the system has no descriptor for the client itself.
   */
  check(waiting: () => number): void {
    if (this.#starts === 0 || waiting() < this.#maxWaiting) return;
    const message = `no descriptors are left for another ${this.#kind}`;
    throw Object.assign(new Error(message), { code: "EMFILE" });
  }
}
