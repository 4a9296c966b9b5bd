/**
 * An echo server for several clients at once: each has a Web Worker, which is the thread of JavaScript.
 *
 * Run `deno run --allow-net=0.0.0.0:20000 --allow-read examples/echo_threading.ts`, then `nc localhost 20000` in two
 * other terminals. In Python: `ThreadingTCPServer(('', 20000), EchoHandler)`.
 */
import { parseArgs } from "@std/cli";
import { BaseRequestHandler, formatAddress, ThreadingTCPServer } from "@netkit/socketserver";

export class EchoHandler extends BaseRequestHandler {
  static override readonly moduleUrl = import.meta.url; // where a Worker finds it

  override async handle(): Promise<void> {
    console.log(`Got connection from ${formatAddress(this.clientAddress)}`);
    while (true) {
      const message = await this.request.recv(8192);
      if (message.length === 0) break;
      await this.request.sendAll(message);
    }
  }
}

if (import.meta.main) {
  const { port } = parseArgs(Deno.args, { string: ["port"], default: { port: "20000" } });
  await using server = new ThreadingTCPServer({ hostname: "", port: Number(port) }, EchoHandler);
  console.log(`Listening on ${formatAddress(server.serverAddress)}`);
  Deno.addSignalListener("SIGINT", () => server.drain({ timeout: 1000 }));
  await server.serveForever();
  console.log("Leaving.");
}
