/**
 * A Web Worker and the port by which the main isolate talks to it.
 *
 * The port is private: what a handler or its module posts itself, or listens for, has nothing to do with it.
 *
 * @module
 */
import { type ErrorMessage, fromErrorMessage, toErrorMessage } from "../../channel/messages.ts";
import type { WorkerEnd } from "../worker.ts";

/** What a Worker and the main isolate say to each other. */
export interface Talk {
  /** What the Worker is told first. */
  init: unknown;
  /** What it is to do. */
  command: unknown;
  /** What came of a command. */
  reply: object;
  /** What it asks. */
  question: unknown;
  /** What it is answered. */
  answer: unknown;
  /** What it says without asking. */
  news: unknown;
}

/** The first message, and the only one that does not come by the port. */
export interface Greeting<Init> {
  port: MessagePort;
  init: Init;
  /** The name of a lock that it holds for as long as it runs. */
  lock: string;
}

/** What comes by the port from the Worker: its part of the exchange, news, or that it ends itself, or by an error. */
export type FromIsolate =
  | ExchangeMessage
  | { news: unknown }
  | { exitCode: number }
  | { uncaught: ErrorMessage };

/** The locks that isolates have in common, which Deno's types do not show. */
interface Locks {
  request<T>(
    name: string,
    options: { ifAvailable?: boolean },
    callback: (lock: object | null) => T | Promise<T>,
  ): Promise<T>;
}
const { locks } = navigator as { locks?: Locks };

/** Takes the lock by which {@linkcode Isolate.hasExited} knows a Worker; to be called in that. */
export function holdWhileRunning(lock: string): void {
  void locks?.request(lock, {}, () => new Promise(() => {})); // Deno lets go of it when the thread ends
}

/** Who has started a Worker. */
export interface IsolateOwner<T extends Talk> {
  /** Gets what it says. */
  onNews: (news: T["news"]) => void;
  /** Answers what it asks; left out for one that asks nothing. */
  onQuestion?: (question: T["question"]) => T["answer"] | Promise<T["answer"]>;
}

/**
 * A Web Worker, seen from the main isolate.
 *
 * @typeParam T What is said.
 */
export class Isolate<T extends Talk> {
  /** Resolves when it is no more; never rejects. */
  readonly ended: Promise<WorkerEnd>;
  readonly #worker: Worker;
  readonly #lock = crypto.randomUUID();
  readonly #exchange: Exchange;
  readonly #end: (end: WorkerEnd) => void;

  /**
   * Starts it.
   *
   * @param entry The module that it runs, which calls `inIsolate()`.
   * @param name What messages call it.
   * @param init What it is told first.
   * @param owner Who hears of it.
   */
  constructor(entry: URL, name: string, init: T["init"], owner: IsolateOwner<T>) {
    const { promise, resolve } = Promise.withResolvers<WorkerEnd>();
    this.ended = promise;
    const { port1: port, port2 } = new MessageChannel();
    const worker = this.#worker = new Worker(entry, { type: "module", name });
    this.#end = (end) => {
      this.#exchange.close();
      port.close();
      resolve(end);
    };
    this.#exchange = new Exchange(
      (message) => port.postMessage(message),
      (question) => owner.onQuestion?.(question),
    );
    const take = (data: FromIsolate) => {
      if ("news" in data) owner.onNews(data.news);
      else if ("exitCode" in data) this.#end({ code: Number(data.exitCode), signal: null });
      else if ("uncaught" in data) this.terminate(fromErrorMessage(data.uncaught));
      else this.#exchange.take(data);
    };
    port.onmessage = ({ data }: MessageEvent<FromIsolate>) => {
      try {
        take(data);
      } catch (cause) {
        // A handler may have got hold of the port, by a patched prototype for one, and can say anything.
        this.terminate(new Error("it said what no Worker says", { cause }));
      }
    };
    worker.onerror = (event) => {
      event.preventDefault(); // it ends what the Worker serves, not the program
      const error = event.error ?? new Error(event.message);
      this.#end({ code: null, signal: null, error });
    };
    const greeting: Greeting<unknown> = { port: port2, init, lock: this.#lock };
    worker.postMessage(greeting, [port2]);
  }

  /**
   * Gives it something to do.
   *
   * @returns What came of it; null when the Worker ended first.
   * @throws {unknown} What that failed with there.
   */
  order(command: T["command"]): Promise<T["reply"] | null> {
    return this.#exchange.ask(command) as Promise<T["reply"] | null>;
  }

  /**
   * Ends it at once. One that never awaits goes on all the same: Deno cannot stop it.
   *
   * @param error Why, where that is worth telling.
   */
  terminate(error?: unknown): void {
    this.#worker.terminate();
    this.#end({ code: null, signal: null, error });
  }

  /** Whether nothing of it runs any more, which may come long after `terminate()`, and of which Deno tells nobody. */
  async hasExited(): Promise<boolean> {
    if (locks === undefined) return false;
    return await locks.request(this.#lock, { ifAvailable: true }, (lock) => lock !== null);
  }
}

/** What one side posts to the other. */
export type ExchangeMessage =
  | { id: number; question: unknown }
  | { id: number; answer: unknown }
  | { id: number; error: ErrorMessage };

/** One side of an exchange of questions and answers, which either may ask, between two isolates with a port between them. */
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
  constructor(post: (message: ExchangeMessage) => void, answer: (question: unknown) => unknown) {
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
