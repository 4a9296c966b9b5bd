/**
 * The TCP server of Python's documentation with streams: file-like objects that make the talk with a client simpler.
 *
 * Run `deno run --allow-net=localhost:9999 examples/tcp_server_stream.ts`, then examples/tcp_client.ts in another
 * terminal.
 */
import { parseArgs } from "@std/cli";
import { formatBytes, StreamRequestHandler, type TCPAddr, TCPServer } from "@netkit/socketserver";

class MyTCPHandler extends StreamRequestHandler<TCPAddr> {
  override async handle(): Promise<void> {
    // this.rfile is a file-like object created by the handler.
    // We can now use e.g. readline() instead of raw recv() calls.
    // We limit ourselves to 10000 bytes to avoid abuse by the sender.
    const data = new TextDecoder().decode(await this.rfile.readline(10_000)).trimEnd();
    console.log(`${this.clientAddress.hostname} wrote:`);
    console.log(formatBytes(new TextEncoder().encode(data))); // as Python prints b'…'
    // Likewise, this.wfile is a file-like object used to write back to the client
    await this.wfile.write(data.toUpperCase());
  }
}

if (import.meta.main) {
  const { port } = parseArgs(Deno.args, { string: ["port"], default: { port: "9999" } });
  await using server = new TCPServer({ hostname: "localhost", port: Number(port) }, MyTCPHandler);
  const leave = () => server.drain({ timeout: 1000 });
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);
  console.log(`Listening on ${server.serverAddress}`);
  await server.serveForever();
  console.log("Leaving.");
}
