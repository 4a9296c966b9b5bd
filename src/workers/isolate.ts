/**
 * A Web Worker and the port by which the main isolate talks to it.
 *
 * The port is private: what a handler or its module posts itself, or listens for, has nothing to do with it.
 *
 * @module
 */
import type { WorkerEnd } from "./worker.ts";

/** The first message, and the only one that does not come by the port. */
export interface Greeting<Init> {
  port: MessagePort;
  init: Init;
}

/** What comes by the port from the Worker: what it says, or that it ends itself. */
export type FromIsolate<Said> = { said: Said } | { exitCode: number };

/**
 * A Web Worker, seen from the main isolate.
 *
 * @typeParam Told What it is told.
 * @typeParam Said What it says.
 */
export class Isolate<Told, Said> {
  /** Resolves when it is no more; never rejects. */
  readonly ended: Promise<WorkerEnd>;
  readonly #worker: Worker;
  readonly #port: MessagePort;
  readonly #end: (end: WorkerEnd) => void;
  #isEnded = false;

  /**
   * Starts it.
   *
   * @param entry The module that it runs, which calls `inIsolate()`.
   * @param name What messages call it.
   * @param init What it is told first.
   * @param onSaid Gets what it says.
   */
  constructor(entry: URL, name: string, init: unknown, onSaid: (said: Said) => void) {
    const { promise, resolve } = Promise.withResolvers<WorkerEnd>();
    this.ended = promise;
    const { port1, port2 } = new MessageChannel();
    const worker = this.#worker = new Worker(entry, { type: "module", name });
    const port = this.#port = port1;
    this.#end = (end) => {
      this.#isEnded = true;
      port.close();
      resolve(end);
    };
    port.onmessage = ({ data }: MessageEvent<FromIsolate<Said>>) => {
      if ("said" in data) onSaid(data.said);
      else this.#end({ code: data.exitCode, signal: null });
    };
    worker.onerror = (event) => {
      event.preventDefault(); // it ends what the Worker serves, not the program
      const error = event.error ?? new Error(event.message);
      this.#end({ code: null, signal: null, error });
    };
    worker.postMessage({ port: port2, init } satisfies Greeting<unknown>, [port2]);
  }

  /** Tells it something, which is lost when it has ended. */
  tell(told: Told): void {
    if (!this.#isEnded) this.#port.postMessage(told);
  }

  /** Ends it at once. One that never awaits goes on all the same: Deno cannot stop it. */
  terminate(): void {
    this.#worker.terminate();
    this.#end({ code: null, signal: null });
  }
}
