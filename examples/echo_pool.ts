/**
 * An echo server with a pre-allocated pool: 16 Web Workers, each of which serves one client at a time.
 *
 * Run `deno run --allow-net=0.0.0.0:20000 --allow-read=. examples/echo_pool.ts`, then `nc localhost 20000` in several
 * other terminals. In Python: 16 threads that all call `serve_forever()` of one server.
 */
import { parseArgs } from "@std/cli";
import { PoolTCPServer, StreamRequestHandler } from "@netkit/socketserver";

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
  const NWORKERS = 16;
  await using server = new PoolTCPServer({ hostname: "", port: Number(port) }, EchoHandler, {
    workers: NWORKERS,
    maxConnectionsPerWorker: 1,
  });
  const leave = () => server.drain({ timeout: 1000 });
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);
  console.log(`Multithreaded server running on port ${server.serverAddress.port}`);
  await server.serveForever();
  console.log("\n\nLeaving.");
}
