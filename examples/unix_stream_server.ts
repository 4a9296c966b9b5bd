/**
 * A server on a Unix stream socket: it answers a line in upper case.
 *
 * Run `deno run --allow-net=unix:/tmp/upper.sock --allow-read=/tmp/upper.sock --allow-write=/tmp/upper.sock
 * examples/unix_stream_server.ts`, then examples/unix_stream_client.ts in another terminal. In Python:
 * `UnixStreamServer('/tmp/upper.sock', UpperHandler)`. Here the file is removed at the end, and one that a dead server
 * left is replaced.
 */
import { parseArgs } from "@std/cli";
import { formatText, StreamRequestHandler, UnixStreamServer } from "@netkit/socketserver";

class UpperHandler extends StreamRequestHandler {
  override async handle(): Promise<void> {
    const data = new TextDecoder().decode(await this.rfile.readline(10_000)).trimEnd();
    console.log("A client wrote:"); // its socket has no name
    console.log(formatText(data));
    await this.wfile.write(data.toUpperCase());
  }
}

if (import.meta.main) {
  const { path } = parseArgs(Deno.args, { string: ["path"], default: { path: "/tmp/upper.sock" } });
  await using server = new UnixStreamServer({ path }, UpperHandler);
  const leave = () => server.drain({ timeout: 1000 });
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);
  console.log(`Listening on ${server.serverAddress}`);
  await server.serveForever();
  console.log("Leaving.");
}
