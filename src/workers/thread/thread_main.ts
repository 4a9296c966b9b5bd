/**
 * What a Worker of a threading server runs.
 *
 * @module
 */
import { inIsolate } from "./isolate_entry.ts";
import { Runner } from "../inside/runner.ts";
import { type ErrorMessage, toErrorMessage } from "../../channel/messages.ts";
import { RingChannel, type RingMemory } from "./shared_ring.ts";

/** What a Worker and the main isolate say to each other beside the channel. */
export interface ThreadTalk {
  /** The memory of the channel. */
  init: { memory: RingMemory };
  /** Which request is cut off, or the context of those that come; the reply says no more than that it was heard. */
  command: { abort: number } | { posted: number; context: unknown };
  reply: Record<never, never>;
  /** A call of the server by the handler. */
  question: { call: string; args: unknown[] };
  answer: unknown;
  /** Of which request the handler has closed the connection, or what a listener of its signal has thrown. */
  news: { closed: number } | { abortFault: ErrorMessage };
}

/** Serves the requests that come by the channel, then ends the Worker. */
function serve(): void {
  inIsolate<ThreadTalk>(({ memory }, { say, ask, end }) => {
    const channel = new RingChannel(memory, "worker");
    const runner = new Runner(channel, {
      closed: (number) => say({ closed: number }),
      abortFault: (error) => say({ abortFault: toErrorMessage(error) }),
      call: (call, args) => ask({ call, args }),
    });
    runner.run().then(end, (error) => {
      // The main end of the channel has been closed while something was written to it.
      if (error instanceof Deno.errors.BrokenPipe) end();
      else throw error;
    });
    return {
      handle(command) {
        if ("abort" in command) runner.abort(command.abort);
        else runner.takeContext(command.posted, command.context);
        return {};
      },
    };
  });
}

if (import.meta.main) serve();
