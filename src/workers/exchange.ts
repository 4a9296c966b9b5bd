/**
 * Questions and answers between two isolates with a port between them, of which either may ask.
 *
 * @module
 */
import { type ErrorMessage, fromErrorMessage, toErrorMessage } from "../channel/messages.ts";

/** What one side posts to the other. */
export type ExchangeMessage =
  | { id: number; question: unknown }
  | { id: number; answer: unknown }
  | { id: number; error: ErrorMessage };

/** One side of an exchange. */
export class Exchange {
  readonly #post: (message: ExchangeMessage) => void;
  readonly #answer: (question: unknown) => unknown;
  /** The questions that have no answer yet. */
  readonly #asked = new Map<number, PromiseWithResolvers<unknown>>();
  /** What is being answered. */
  readonly #answering = new Set<Promise<void>>();
  #count = 0;
  #isClosed = false;

  /**
   * @param post Sends a message to the other side.
   * @param answer Answers what the other side asks, at once or by a promise; what it throws is thrown there.
   */
  constructor(
    post: (message: ExchangeMessage) => void,
    answer: (question: unknown) => unknown,
  ) {
    this.#post = post;
    this.#answer = answer;
  }

  /**
   * Asks the other side something.
   *
   * @returns The answer; null when the exchange is closed first.
   * @throws {unknown} What its `answer` threw, as far as it can be sent.
   */
  ask(question: unknown): Promise<unknown> {
    if (this.#isClosed) return Promise.resolve(null);
    const asked = Promise.withResolvers<unknown>();
    const id = ++this.#count;
    this.#asked.set(id, asked);
    this.#post({ id, question });
    return asked.promise;
  }

  /** Takes a message of the other side. */
  take(message: ExchangeMessage): void {
    const { id } = message;
    if ("question" in message) {
      const replying = this.#reply(id, message.question); // never rejects
      this.#answering.add(replying);
      void replying.then(() => this.#answering.delete(replying));
      return;
    }
    const asked = this.#asked.get(id);
    this.#asked.delete(id);
    if ("error" in message) asked?.reject(fromErrorMessage(message.error));
    else asked?.resolve(message.answer);
  }

  /** Resolves when everything that the other side has asked is answered. */
  async settled(): Promise<void> {
    while (this.#answering.size > 0) await Promise.all(this.#answering);
  }

  /** To be called when the other side is no more. */
  close(): void {
    this.#isClosed = true;
    for (const { resolve } of this.#asked.values()) resolve(null);
    this.#asked.clear();
  }

  async #reply(id: number, question: unknown): Promise<void> {
    try {
      this.#post({ id, answer: await this.#answer(question) });
    } catch (error) {
      this.#post({ id, error: toErrorMessage(error) });
    }
  }
}
