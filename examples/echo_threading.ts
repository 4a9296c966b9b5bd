/**
 * An echo server for several clients at once: each has a Web Worker, which is the thread of JavaScript.
 *
 * Run `deno run --allow-net=0.0.0.0:20000 --allow-read=. examples/echo_threading.ts`, then `nc localhost 20000` in two
 * other terminals. In Python: `ThreadingTCPServer(('', 20000), EchoHandler)`.
 */
import { parseArgs } from "@std/cli";
import { StreamRequestHandler, ThreadingTCPServer } from "@netkit/socketserver";

export class EchoHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url; // where a Worker finds it

  override async handle(): Promise<void> {
    console.log(`Got connection from ${this.clientAddress}`);
    // this.rfile is a file-like object for reading
    for await (const line of this.rfile) {
      // this.wfile is a file-like object for writing
      await this.wfile.write(line);
    }
  }
}

if (import.meta.main) {
  const { port } = parseArgs(Deno.args, { string: ["port"], default: { port: "20000" } });
  await using server = new ThreadingTCPServer({ hostname: "", port: Number(port) }, EchoHandler);
  const leave = () => server.drain({ timeout: 1000 });
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);
  console.log(`Echo server running on port ${server.serverAddress.port}`);
  await server.serveForever();
  console.log("\n\nLeaving.");
}
