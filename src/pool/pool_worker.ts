/**
 * A Worker of a pool, seen from the main isolate.
 *
 * @module
 */
import { HandlerLoadError, ServerExit } from "../base/errors.ts";
import type { ServerLogger } from "../base/log.ts";
import {
  type StartOptions,
  startTimes,
  startWithDescriptors,
} from "../workers/thread/start_gate.ts";
import { Isolate } from "../workers/thread/isolate.ts";
import { fromErrorMessage } from "../channel/messages.ts";
import type { PoolCommand, PoolInit, PoolNews, PoolTalk } from "./pool_messages.ts";
import { type Counts, WorkerRecord } from "./inside/worker_record.ts";
import type { WorkerEnd } from "../workers/worker.ts";
import type { Supervised } from "../workers/supervisor.ts";

/** Never called: puts what a Worker runs into the module graph, for `deno cache` and `deno compile`. */
export const entryModules = (): Promise<unknown>[] => [import("./inside/pool_main.ts")];

/** What a Worker has to say unasked. */
export interface PoolWorkerEvents {
  /** A hook of the server is to be called. */
  onQuestion: (question: PoolTalk["question"]) => Promise<unknown>;
  onLog: (level: keyof ServerLogger, message: string) => void;
  /** Its server has left its loop with an error, such as a `ServerExit`. */
  onExit: (error: unknown) => void;
}

/** When to start a Worker of a pool. */
export interface PoolStartOptions extends Pick<StartOptions, "signal" | "isFirst" | "shortage"> {
  /** Aborted when one that has not come up is to end. */
  ending: AbortSignal;
}

/** How many descriptors a Worker that starts leaves for the clients of the others. */
const RESERVE = 24;
/** How many there have been, by what their names begin with. */
const numbers = new Map<string, number>();

function nextName(kind: string): string {
  const number = (numbers.get(kind) ?? 0) + 1;
  numbers.set(kind, number);
  return `${kind}-${number}`;
}

/** A Worker of a pool: it runs a server on the shared queue, which carries out commands. */
export class PoolWorker implements Supervised {
  /** What messages call it. */
  readonly name: string;
  /** When it was started, by the clock of `performance.now()`. */
  readonly since: number = performance.now();
  /** Resolves when it listens no more; never rejects. */
  readonly unlistened: Promise<void>;
  /** Resolves when it is no more; never rejects. */
  readonly ended: Promise<WorkerEnd>;
  acceptErrors: Record<string, number> = {};
  /** Whether there are to be fewer, so that it ends when its requests have. */
  isLeaving = false;
  /** Whether its request has taken too long, for which it was ended. */
  isGivenUp = false;
  readonly #isolate: Isolate<PoolTalk>;
  /** What it has written down. */
  readonly record: WorkerRecord = new WorkerRecord();
  readonly #events: PoolWorkerEvents;
  readonly #unlistened = Promise.withResolvers<void>();

  /**
   * Starts a Worker, once there are descriptors for it; resolves when it listens.
   *
   * @throws {HandlerLoadError} When loading the handler fails or takes too long.
   * @throws {unknown} Why else it does not.
   */
  static async start(
    init: Omit<PoolInit, "record">,
    { ending, ...options }: PoolStartOptions,
    events: PoolWorkerEvents,
  ): Promise<PoolWorker> {
    const conditions = { url: init.handler.moduleUrl, reserve: () => RESERVE, ...options };
    return await startWithDescriptors(conditions, async () => {
      const worker = new PoolWorker(init, events);
      const terminate = () => worker.terminate();
      ending.addEventListener("abort", terminate);
      const { moduleUrl, className } = init.handler;
      const timer = setTimeout(() => {
        const reason = `no end of that within ${startTimes.load} ms`;
        worker.#isolate.terminate(new HandlerLoadError(moduleUrl, className, reason));
      }, startTimes.load);
      try {
        if (await worker.#isolate.order({ name: "listen" }) !== null) return worker;
      } catch (error) {
        terminate();
        throw error;
      } finally {
        clearTimeout(timer);
        ending.removeEventListener("abort", terminate);
      }
      const { error } = await worker.ended;
      throw error ?? new Error(`Worker "${worker.name}" ended while it started`);
    });
  }

  /** Starts the Worker; {@linkcode PoolWorker.start} makes it listen as well. */
  constructor(init: Omit<PoolInit, "record">, events: PoolWorkerEvents) {
    this.#events = events;
    this.name = nextName(init.turns === null ? "Pool" : "Thread");
    const record = this.record.memory;
    const entry = new URL("./inside/pool_main.ts", import.meta.url);
    this.#isolate = new Isolate<PoolTalk>(entry, this.name, { ...init, record }, {
      onNews: (news) => this.#take(news),
      onQuestion: (question) => events.onQuestion(question),
    });
    this.ended = this.#isolate.ended;
    this.unlistened = Promise.race([this.#unlistened.promise, this.ended.then(() => {})]);
  }

  /** A snapshot of its counters; of what it began last, it may not have counted the end yet. */
  counts(): Counts {
    return this.record.counters.read();
  }

  /**
   * Gives it something to do.
   *
   * @returns What came of it; null when that failed, or the Worker ended first.
   */
  async order(command: PoolCommand): Promise<PoolTalk["reply"] | null> {
    try {
      return await this.#isolate.order(command);
    } catch (error) {
      this.#isolate.terminate(error); // it would neither do as the others nor end
      return null;
    }
  }

  hasExited(): Promise<boolean> {
    return this.#isolate.hasExited();
  }

  /** Ends it at once, as {@linkcode PoolWorker.terminate} does, because its request has taken too long. */
  giveUp(): void {
    this.isGivenUp = true;
    this.terminate();
  }

  /** Ends it at once. One that never awaits goes on all the same: Deno cannot stop it. */
  terminate(): void {
    this.#isolate.terminate();
  }

  #take(news: PoolNews): void {
    switch (news.type) {
      case "unlistened":
        this.#unlistened.resolve();
        break;
      case "log":
        this.#events.onLog(news.level, news.message);
        break;
      case "acceptErrors":
        this.acceptErrors = Object.fromEntries(
          Object.entries(news.counts).map(([code, count]) => [code, Number(count)]),
        );
        break;
      case "exit": {
        const error = fromErrorMessage(news.error);
        if (error instanceof ServerExit) this.#events.onExit(error);
        else this.#isolate.terminate(error); // its loop has failed, and it serves nobody any more
        break;
      }
      default:
        throw new TypeError("Cannot take news of Worker: there are no such");
    }
  }
}
