/**
 * A service for code of strangers: each client sends JavaScript, which runs in a subprocess without any permission, for
 * 2 seconds and with a heap of 64 MiB at the most. What typed arrays and WebAssembly hold is not in the heap and has no
 * limit, unless the system sets one: on Linux, put `prlimit --data=800000000` before the command. Each process may take
 * 800 MB then, of which Deno reserves 570 and does not use them.
 *
 * Run `deno run --allow-net=127.0.0.1:9999 --allow-run examples/untrusted_code.ts`, then
 * `echo '[3, 1, 2].sort()' | nc -N 127.0.0.1 9999` in another terminal. In Python, a `ForkingTCPServer` has no such
 * limits.
 */
import { parseArgs } from "@std/cli";
import {
  ForkingTCPServer,
  formatText,
  StreamRequestHandler,
  type StreamSocket,
  type TCPAddr,
} from "@netkit/socketserver";

const MAX_CODE = 65536; // bytes

export class CodeHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url; // where a subprocess finds it
  override timeout = 1000;

  override async handle(): Promise<void> {
    const code = new TextDecoder().decode(await this.rfile.read(MAX_CODE));
    let answer: string;
    try {
      answer = Deno.inspect(await (0, eval)(code));
    } catch (error) {
      answer = `${error}`;
    }
    await this.wfile.write(`${answer.slice(0, MAX_CODE)}\n`);
  }
}

class CodeServer extends ForkingTCPServer {
  static override childMemoryLimit = 64; // MiB of heap; and no permission, as childPermissions says nothing
  static override maxChildren = 8;
  static override maxConnectionsPerSource = 4;

  override handleError(error: unknown, _request: StreamSocket, clientAddress: TCPAddr): void {
    const name = error instanceof Error ? error.name : "?"; // what its code throws and names
    console.log(formatText(`${clientAddress} got no answer: ${name}`));
  }
}

if (import.meta.main) {
  const { port, limit } = parseArgs(Deno.args, {
    string: ["port", "limit"],
    default: { port: "9999", limit: "2000" },
  });
  await using server = new CodeServer({ hostname: "127.0.0.1", port: Number(port) }, CodeHandler);
  server.requestTimeout = Number(limit); // milliseconds; a loop without an end is killed then
  const leave = () => server.drain({ timeout: 1000 });
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);
  console.log(`Listening on ${server.serverAddress}`);
  await server.serveForever();
  console.log("Leaving.");
}
