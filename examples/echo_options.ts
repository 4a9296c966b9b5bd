/**
 * An echo server that is made unbound, so that its options can be set before it binds.
 *
 * Run `deno run --allow-net=0.0.0.0:20000 examples/echo_options.ts`, then `nc localhost 20000` in another terminal. In
 * Python: `TCPServer(('', 20000), EchoHandler, bind_and_activate=False)`.
 */
import { parseArgs } from "@std/cli";
import { StreamRequestHandler, TCPServer } from "@netkit/socketserver";

class EchoHandler extends StreamRequestHandler {
  override async handle(): Promise<void> {
    console.log(`Got connection from ${this.clientAddress}`);
    for await (const line of this.rfile) await this.wfile.write(line);
  }
}

if (import.meta.main) {
  const { port } = parseArgs(Deno.args, { string: ["port"], default: { port: "20000" } });
  await using server = new TCPServer({ hostname: "", port: Number(port) }, EchoHandler, {
    bindAndActivate: false,
  });
  // Set up various options
  server.allowReuseAddress = true;
  server.requestQueueSize = 100;
  // Bind and activate
  server.serverBind();
  server.serverActivate();
  const leave = () => server.drain({ timeout: 1000 });
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);
  console.log(`Echo server running on port ${server.serverAddress.port}`);
  await server.serveForever();
  console.log("\n\nLeaving.");
}
