/**
 * An echo server with a base handler, which receives and sends on the socket itself.
 *
 * Run `deno run --allow-net=0.0.0.0:20000 examples/echo_base.ts`, then `nc localhost 20000` in another terminal. It
 * serves one client at a time, on all interfaces. In Python: `TCPServer(('', 20000), EchoHandler)`.
 */
import { parseArgs } from "@std/cli";
import { BaseRequestHandler, TCPServer } from "@netkit/socketserver";

class EchoHandler extends BaseRequestHandler {
  override async handle(): Promise<void> {
    console.log(`Got connection from ${this.clientAddress}`);
    while (true) {
      const message = await this.request.recv(8192);
      if (message.length === 0) break;
      await this.request.sendAll(message);
    }
  }
}

if (import.meta.main) {
  const { port } = parseArgs(Deno.args, { string: ["port"], default: { port: "20000" } });
  await using server = new TCPServer({ hostname: "", port: Number(port) }, EchoHandler);
  const leave = () => server.drain({ timeout: 1000 });
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);
  console.log(`Echo server running on port ${server.serverAddress.port}`);
  await server.serveForever();
  console.log("\n\nLeaving.");
}
