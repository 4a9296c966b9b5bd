/**
 * A Web Worker that runs a handler.
 *
 * This folder is what only Web Workers need: this is the main side of one, and `thread_main.ts` what it runs, which uses
 * `inside/`. Bytes go by `shared_ring.ts`. As the Workers of `pool/` do, they talk by the port of `isolate.ts`, whose other
 * end is `isolate_entry.ts`, and start when `start_gate.ts` lets them.
 *
 * @module
 */
import { type StartOptions, startTimes, startWithDescriptors } from "./start_gate.ts";
import { Isolate } from "./isolate.ts";
import { fromErrorMessage, type Init } from "../../channel/messages.ts";
import { RingChannel } from "./shared_ring.ts";
import { HandlerWorker, type WorkerEnd } from "../worker.ts";
import type { ThreadTalk } from "./thread_main.ts";

/** Never called: puts what a Worker runs into the module graph, for `deno cache` and `deno compile`. */
export const entryModules = (): Promise<unknown>[] => [import("./thread_main.ts")];

/** How long a Worker may wait for descriptors before it loads its handler, in milliseconds. */
const SHORTAGE_LIMIT = 30_000;

/** What a Worker depends on. */
export interface ThreadOptions extends Omit<StartOptions, "url" | "limit"> {
  /** Told of what a listener of a request's signal has thrown. */
  onAbortFault: (error: unknown) => void;
}

let workers = 0;

/** A Web Worker that runs a handler. */
export class ThreadWorker extends HandlerWorker {
  readonly name: string;
  readonly ended: Promise<WorkerEnd>;
  /** What is meant for one request is told from what is meant for the next, so that nothing is left of it. */
  readonly reusableAfterAbort = true;
  /** Which request it has heard to be cut off; only one that awaits hears anything. */
  #heard = 0;
  readonly #isolate: Isolate<ThreadTalk>;
  readonly #channel: RingChannel;

  /**
   * Starts a Worker, once there are descriptors for it, and loads the handler in it.
   *
   * @throws {HandlerLoadError} When that fails, takes too long, or is not wanted any more.
   * @throws {WorkerDiedError} When the Worker ends meanwhile.
   */
  static async start(init: Init, options: ThreadOptions): Promise<ThreadWorker> {
    const startOptions = { url: init.moduleUrl, limit: SHORTAGE_LIMIT, ...options };
    return await startWithDescriptors(startOptions, async () => {
      const worker = new ThreadWorker(options.onAbortFault);
      await worker.initWithin(startTimes.load, init, options.signal);
      return worker;
    });
  }

  /** Starts the Worker; {@linkcode ThreadWorker.start} loads the handler as well. */
  constructor(onAbortFault: ThreadOptions["onAbortFault"]) {
    const memory = RingChannel.allocate();
    const channel = new RingChannel(memory, "main");
    super(channel);
    this.name = `Thread-${++workers}`;
    this.#channel = channel;
    const entry = new URL("./thread_main.ts", import.meta.url);
    this.#isolate = new Isolate<ThreadTalk>(entry, this.name, { memory }, {
      onNews: (news) => {
        if ("closed" in news) this.closed(news.closed);
        else onAbortFault(fromErrorMessage(news.abortFault));
      },
      onQuestion: ({ call, args }) => this.called(call, args),
    });
    this.ended = this.#isolate.ended.then((end) => {
      channel.close();
      return end;
    });
  }

  /** A Worker that computes goes on for ever when it is terminated. */
  get canKill(): boolean {
    return this.#heard === this.count;
  }

  override hasExited(): Promise<boolean> {
    return this.#isolate.hasExited();
  }

  override get unread(): number {
    return this.#channel.unread;
  }

  abort(): void {
    this.#channel.interruptPeer();
    const abort = this.count;
    void this.#isolate.order({ abort }).then((heard) => {
      if (heard !== null) this.#heard = abort;
    });
  }

  protected override postContext(posted: number, context: unknown): void {
    void this.#isolate.order({ posted, context });
  }

  clearAbort(): void {
    this.#channel.clearInterrupt();
  }

  close(): void {
    this.#channel.close(); // which it reads as the end
  }

  kill(): void {
    this.#isolate.terminate();
  }
}
