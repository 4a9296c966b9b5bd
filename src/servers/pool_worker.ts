/**
 * A Worker of a pool, seen from the main isolate.
 *
 * @module
 */
import type { ServerLogger } from "../base/log.ts";
import { type ShortageListener, startWithDescriptors } from "../workers/descriptor_gate.ts";
import { Isolate } from "../workers/isolate.ts";
import { fromErrorMessage } from "../channel/messages.ts";
import {
  type Counts,
  type FromPoolWorker,
  type PoolAnswer,
  type PoolCommand,
  type PoolInit,
  type PoolQuestion,
  type PoolReply,
  SharedCounters,
  type ToPoolWorker,
} from "./pool_messages.ts";
import type { WorkerEnd } from "../workers/worker.ts";

/** Never called: puts what a Worker runs into the module graph, for `deno cache` and `deno compile`. */
export const entryModules = (): Promise<unknown>[] => [import("./pool_main.ts")];

/** What a Worker has to say unasked, and what it asks before it starts. */
export interface PoolWorkerEvents {
  /** Whether no other Worker of the pool is up. */
  isFirst: () => boolean;
  /** Told when its start has to wait for descriptors. */
  shortage: ShortageListener;
  /** A hook of the server is to be called; never rejects. */
  onQuestion: (question: PoolQuestion) => Promise<PoolAnswer>;
  onLog: (level: keyof ServerLogger, message: string) => void;
  /** Its server has left its loop with an error, such as a `ServerExit`. */
  onExit: (error: unknown) => void;
}

/** How many descriptors a Worker that starts leaves for the clients of the others. */
const RESERVE = 24;
let workers = 0;

/** A Worker of a pool: it runs a server on the shared queue, which obeys commands. */
export class PoolWorker {
  /** What messages call it. */
  readonly name: string = `Pool-${++workers}`;
  /** Resolves when it listens; rejects when it cannot. */
  readonly ready: Promise<void>;
  /** Resolves when it listens no more; never rejects. */
  readonly unlistened: Promise<void>;
  /** Resolves when it is no more; never rejects. */
  readonly ended: Promise<WorkerEnd>;
  acceptErrors: Record<string, number> = {};
  /** Null until there are descriptors for it. */
  #isolate: Isolate<ToPoolWorker, FromPoolWorker> | null = null;
  /** Aborted when it is to end. */
  readonly #ending = new AbortController();
  readonly #counters: SharedCounters;
  readonly #events: PoolWorkerEvents;
  readonly #ready = Promise.withResolvers<void>();
  readonly #unlistened = Promise.withResolvers<void>();
  readonly #ended = Promise.withResolvers<WorkerEnd>();
  /** The commands under way. */
  readonly #commands = new Map<number, (reply: PoolReply) => void>();
  #ordered = 0;
  #isEnded = false;

  constructor(init: Omit<PoolInit, "counters">, events: PoolWorkerEvents) {
    this.#events = events;
    this.ready = this.#ready.promise;
    this.unlistened = this.#unlistened.promise;
    this.ended = this.#ended.promise;
    const counters = SharedCounters.allocate();
    this.#counters = new SharedCounters(counters);
    const options = {
      url: init.handler.moduleUrl,
      reserve: () => RESERVE,
      signal: this.#ending.signal,
      isFirst: events.isFirst,
      shortage: events.shortage,
    };
    startWithDescriptors(options, () => {
      this.#start({ ...init, counters });
      return this.ready;
    }).catch(() => {}); // `ready` and `ended` tell
  }

  #start(init: PoolInit): void {
    const entry = new URL("./pool_main.ts", import.meta.url);
    this.#isolate = new Isolate(entry, this.name, init, (said: FromPoolWorker) => this.#take(said));
    void this.#isolate.ended.then((end) => this.#end(end));
  }

  /** A snapshot of its counters; of what it began last, it may not have counted the end yet. */
  counts(): Counts {
    return this.#counters.read();
  }

  /** Whether it waits for descriptors, for as long as it takes. */
  get isWaiting(): boolean {
    return this.#isolate === null && !this.#isEnded;
  }

  /**
   * Gives it something to do, once it has been started.
   *
   * @returns How that ended; null when the Worker ended first.
   */
  async order(order: PoolCommand): Promise<PoolReply | null> {
    if (this.#isEnded) return null;
    const { promise, resolve } = Promise.withResolvers<PoolReply>();
    const id = ++this.#ordered;
    this.#commands.set(id, resolve);
    this.#tell({ type: "order", id, order });
    return await Promise.race([promise, this.ended.then(() => null)]);
  }

  /** Ends it at once. One that never awaits goes on all the same: Deno cannot stop it. */
  terminate(): void {
    this.#isolate?.terminate();
    this.#end({ code: null, signal: null });
  }

  #take(data: FromPoolWorker): void {
    switch (data.type) {
      case "ready":
        this.#ready.resolve();
        break;
      case "failed":
        this.#ready.reject(fromErrorMessage(data.error));
        break;
      case "unlistened":
        this.#unlistened.resolve();
        break;
      case "reply":
        this.#commands.get(data.id)?.(data.reply);
        this.#commands.delete(data.id);
        break;
      case "question":
        void this.#events.onQuestion(data.question).then((answer) => { // never rejects
          this.#tell({ type: "answer", id: data.id, answer });
        });
        break;
      case "log":
        this.#events.onLog(data.level, data.message);
        break;
      case "acceptErrors":
        this.acceptErrors = data.counts;
        break;
      case "exit":
        this.#events.onExit(fromErrorMessage(data.error));
        break;
    }
  }

  #end(end: WorkerEnd): void {
    this.#isEnded = true;
    this.#ending.abort();
    this.#unlistened.resolve();
    this.#ended.resolve(end);
    // After a Worker was ready nobody hears this.
    this.#ready.reject(end.error ?? new Error(`Worker "${this.name}" ended while it started`));
    this.#ready.promise.catch(() => {});
  }

  #tell(message: ToPoolWorker): void {
    this.#isolate!.tell(message); // only one that has started is told anything
  }
}
