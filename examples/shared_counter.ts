/**
 * A counter that all threads have in common: a `SharedArrayBuffer` in the server's context, and `Atomics` to add to it.
 *
 * Run `deno run --allow-net=127.0.0.1 --allow-read=. examples/shared_counter.ts`, then `nc 127.0.0.1 7071` in other terminals: each
 * line that you send is counted.
 */
import { parseArgs } from "@std/cli";
import { type ServerView, StreamRequestHandler, ThreadingTCPServer } from "@netkit/socketserver";

/** Counts the lines of its client, in a Worker. */
export class CountHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override timeout = 600_000; // milliseconds of silence, during which a client has a thread to itself
  declare readonly server: ServerView<CountServer>;

  override async handle(): Promise<void> {
    const { counter } = this.server.context;
    for await (const _line of this.rfile) {
      const count = Atomics.add(counter, 0, 1) + 1; // `counter[0]++` would lose what another thread adds meanwhile
      await this.wfile.write(`${count}\n`);
    }
  }
}

class CountServer extends ThreadingTCPServer {
  readonly #context = { counter: new Int32Array(new SharedArrayBuffer(4)) };

  override requestContext(): { counter: Int32Array } {
    return this.#context;
  }
}

if (import.meta.main) {
  const { port } = parseArgs(Deno.args, { string: ["port"], default: { port: "7071" } });
  const address = { hostname: "127.0.0.1", port: Number(port) };
  await using server = new CountServer(address, CountHandler);
  const leave = () => server.drain({ timeout: 1000 });
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);
  await server.serveForever({ onListen: (address) => console.log(`Listening on ${address}`) });
  console.log("Leaving.");
}
