/**
 * What a subprocess of a forking server runs, after its guard and the handler's module have been loaded.
 *
 * The handler's module is the main module of the process, so that its own `deno.json` is found; this one is preloaded
 * and ends the process, so that the handler's module never runs as a program.
 *
 * @module
 */
import { CHILD_MARK, CLOSED_MARK, stdin, stdout } from "./child_guard.ts";
import { StdioChannel } from "./pipe.ts";
import { Runner } from "./runner.ts";

const encoder = new TextEncoder();

async function serve(): Promise<never> {
  const channel = new StdioChannel(stdin, stdout);
  const runner = new Runner(channel, (number) => {
    Deno.stderr.writeSync(encoder.encode(`${CLOSED_MARK}${number}\n`));
  });
  Deno.addSignalListener("SIGUSR1", () => {
    channel.interrupt();
    runner.abort();
  });
  try {
    await runner.run();
  } catch (error) {
    // The server has gone while something was written to it.
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  }
  Deno.exit();
}

if (Deno.args[0] === CHILD_MARK) await serve();
