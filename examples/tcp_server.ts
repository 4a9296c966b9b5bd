/**
 * The TCP server of Python's documentation: it sends back what a client says, in upper case.
 *
 * Run `deno run --allow-net=localhost:9999 examples/tcp_server.ts`, then examples/tcp_client.ts in another terminal.
 */
import { parseArgs } from "@std/cli";
import {
  BaseRequestHandler,
  formatBytes,
  type StreamSocket,
  type TCPAddr,
  TCPServer,
} from "@netkit/socketserver";

/**
 * The request handler of our server: one object for each connection. It must override the handle() method to talk
 * to the client.
 */
class MyTCPHandler extends BaseRequestHandler<StreamSocket, TCPAddr> {
  override async handle(): Promise<void> {
    // this.request is the TCP socket connected to the client
    const decoder = new TextDecoder();
    let data = "";
    while (!data.includes("\n") && data.length < 10_000) {
      const piece = await this.request.recv(2000);
      if (piece.length === 0) break; // the client says no more
      data += decoder.decode(piece, { stream: true });
    }
    data = data.trimEnd();
    console.log(`${this.clientAddress.hostname} wrote:`);
    console.log(formatBytes(new TextEncoder().encode(data))); // as Python prints b'…'
    // just send back the same data, but upper-cased
    await this.request.sendAll(data.toUpperCase());
    // after we return, the socket will be closed
  }
}

if (import.meta.main) {
  const { port } = parseArgs(Deno.args, { string: ["port"], default: { port: "9999" } });

  // Create the server, binding to localhost on port 9999
  await using server = new TCPServer({ hostname: "localhost", port: Number(port) }, MyTCPHandler);
  const leave = () => server.drain({ timeout: 1000 });
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);
  console.log(`Listening on ${server.serverAddress}`);

  // Activate the server; this will keep running until you interrupt the program with Ctrl-C
  await server.serveForever();
  console.log("Leaving.");
}
