/**
 * What a Worker of a threading server runs.
 *
 * @module
 */
import { inIsolate } from "./isolate_entry.ts";
import { Runner } from "./runner.ts";
import { RingChannel } from "../../channel/shared_ring.ts";

/** What a Worker is told first. */
export interface WorkerInit {
  /** The memory of the channel. */
  memory: SharedArrayBuffer;
}

/** What it is told later: which request is cut off. */
export interface ToWorker {
  abort: number;
}

/** What it says: which request it has heard to be cut off, and whose connection is closed. */
export type FromWorker = { heard: number } | { closed: number };

/** Serves the requests that come by the channel, then ends the Worker. */
function serve(): void {
  inIsolate<WorkerInit, ToWorker, FromWorker>(({ memory }, { say, end }) => {
    const channel = new RingChannel(memory, "worker");
    const runner = new Runner(channel, (number) => say({ closed: number }));
    runner.run().then(() => end(0), (error) => {
      // The main end of the channel has been closed while something was written to it.
      if (error instanceof Deno.errors.BrokenPipe) end(0);
      else throw error;
    });
    return {
      hear({ abort }) {
        say({ heard: abort });
        runner.abort(abort);
      },
    };
  });
}

if (import.meta.main) serve();
