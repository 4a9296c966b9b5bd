/**
 * What a subprocess of a forking server runs, after its guard and the handler's module have been loaded.
 *
 * The handler's module is the main module of the process, so that its own `deno.json` is found; this one is preloaded
 * and ends the process, so that the handler's module never runs as a program.
 *
 * @module
 */
import { ABORT_SIGNAL, closedMark } from "./process_contract.ts";
import { descriptors, exit, isChild, stderr } from "./process_setup.ts";
import { describeThrown } from "../../base/errors.ts";
import { ABORT_FAULT } from "../../base/unawaited.ts";
import { StdioChannel } from "./stdio.ts";
import { Runner } from "../inside/runner.ts";

const encoder = new TextEncoder();

async function serve(): Promise<never> {
  const channel = new StdioChannel(descriptors.input, descriptors.output);
  const runner = new Runner(channel, {
    closed: (number, key) => void stderr.writeSync(encoder.encode(closedMark(key, number))),
    abortFault: (error) => console.error(ABORT_FAULT, describeThrown(error)), // for the server's log
  });
  // Not on Windows, where a handler that reads is told by a frame.
  if (Deno.build.os !== "windows") {
    Deno.addSignalListener(ABORT_SIGNAL, () => {
      channel.interrupt();
      runner.abort();
    });
  }
  try {
    await runner.run();
  } catch (error) {
    // The server has gone while something was written to it.
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  }
  return exit();
}

if (isChild) await serve();
