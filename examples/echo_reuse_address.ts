/**
 * An echo server that may bind its port again right after it was closed, which an attribute of its class says.
 *
 * Run `deno run --allow-net=0.0.0.0:20000 examples/echo_reuse_address.ts`, then `nc localhost 20000` in another
 * terminal. In Python: `TCPServer.allow_reuse_address = True`. Deno always allows it, so here it says what is so.
 */
import { parseArgs } from "@std/cli";
import { StreamRequestHandler, TCPServer } from "@netkit/socketserver";

class EchoHandler extends StreamRequestHandler {
  override async handle(): Promise<void> {
    console.log(`Got connection from ${this.clientAddress}`);
    for await (const line of this.rfile) await this.wfile.write(line);
  }
}

class EchoServer extends TCPServer {
  static override allowReuseAddress = true;
}

if (import.meta.main) {
  const { port } = parseArgs(Deno.args, { string: ["port"], default: { port: "20000" } });
  await using server = new EchoServer({ hostname: "", port: Number(port) }, EchoHandler);
  const leave = () => server.drain({ timeout: 1000 });
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);
  console.log(`Echo server running on port ${server.serverAddress.port}`);
  await server.serveForever();
  console.log("\n\nLeaving.");
}
