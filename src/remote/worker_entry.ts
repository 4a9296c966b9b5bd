/**
 * What a Worker of a threading server runs.
 *
 * @module
 */
import { Runner } from "./runner.ts";
import { RingChannel } from "./shared_ring.ts";

/** What the main isolate posts: the memory of the channel, then which request is cut off. */
export type ToWorker = { memory: SharedArrayBuffer } | { abort: number };

/** What a Worker posts: which request it has heard to be cut off, whose connection is closed, and how it ends. */
export type FromWorker = { heard: number } | { closed: number } | { exitCode: number };

/** The parts of a Worker's global object that are used; its library cannot be named in a published module. */
interface WorkerScope {
  onmessage: ((event: MessageEvent<ToWorker>) => void) | null;
  postMessage(message: FromWorker): void;
  close(): void;
}

/** Serves the requests that come by the channel, then ends the Worker. */
function serve(): void {
  const scope = globalThis as unknown as WorkerScope;
  let runner: Runner | undefined;
  const end = (exitCode: number) => {
    scope.postMessage({ exitCode });
    close();
  };
  const close = scope.close.bind(scope);
  const exit = Deno.exit;
  // Deno tells nobody when a Worker ends itself, and its client would wait for ever.
  scope.close = () => end(0);
  Deno.exit = (code = Deno.exitCode) => {
    scope.postMessage({ exitCode: code });
    return exit(code);
  };
  scope.onmessage = ({ data }) => {
    if ("abort" in data) {
      scope.postMessage({ heard: data.abort });
      runner?.abort(data.abort);
      return;
    }
    runner = new Runner(
      new RingChannel(data.memory, "unit"),
      (number) => scope.postMessage({ closed: number }),
    );
    runner.run().then(() => end(0), (error) => {
      // The main end of the channel has been closed while something was written to it.
      if (error instanceof Deno.errors.BrokenPipe) end(0);
      else throw error;
    });
  };
}

if (import.meta.main) serve();
