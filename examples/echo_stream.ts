/**
 * An echo server with a stream handler, which has files to read from and to write to.
 *
 * Run `deno run --allow-net=0.0.0.0:20000 examples/echo_stream.ts`, then `nc localhost 20000` in another terminal. In
 * Python: `for line in self.rfile: self.wfile.write(line)`.
 */
import { parseArgs } from "@std/cli";
import { StreamRequestHandler, TCPServer } from "@netkit/socketserver";

class EchoHandler extends StreamRequestHandler {
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
  await using server = new TCPServer({ hostname: "", port: Number(port) }, EchoHandler);
  const leave = () => server.drain({ timeout: 1000 });
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);
  console.log(`Echo server running on port ${server.serverAddress.port}`);
  await server.serveForever();
  console.log("\n\nLeaving.");
}
