/**
 * An echo server that hangs up on a client that is silent for 5 seconds.
 *
 * Run `deno run --allow-net=0.0.0.0:20000 examples/echo_timeout.ts`, then `nc localhost 20000` in another terminal, and
 * wait. In Python: `timeout = 5` in the class of the handler, and `except socket.timeout`.
 */
import { parseArgs } from "@std/cli";
import { StreamRequestHandler, TCPServer } from "@netkit/socketserver";

const flags = parseArgs(Deno.args, {
  string: ["port", "timeout"],
  default: { port: "20000", timeout: "5000" },
});

class EchoHandler extends StreamRequestHandler {
  // Optional settings (defaults shown, but for the first)
  override timeout = Number(flags.timeout); // Timeout on all socket operations, in milliseconds
  override rbufsize = -1; // Read buffer size
  override wbufsize = 0; // Write buffer size
  override disableNagleAlgorithm = false; // Sets TCP_NODELAY socket option

  override async handle(): Promise<void> {
    console.log(`Got connection from ${this.clientAddress}`);
    try {
      for await (const line of this.rfile) {
        // this.wfile is a file-like object for writing
        await this.wfile.write(line);
      }
    } catch (error) {
      if (!(error instanceof Deno.errors.TimedOut)) throw error;
      console.log("Timed out!");
    }
  }
}

if (import.meta.main) {
  await using server = new TCPServer({ hostname: "", port: Number(flags.port) }, EchoHandler);
  const leave = () => server.drain({ timeout: 1000 });
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);
  console.log(`Echo server running on port ${server.serverAddress.port}`);
  await server.serveForever();
  console.log("\n\nLeaving.");
}
