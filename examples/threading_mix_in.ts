/**
 * The threaded server of Python's documentation: each client is served in a Web Worker of its own.
 *
 * Run `deno run --allow-net=127.0.0.1 --allow-read=. examples/threading_mix_in.ts`. It starts a server on a free port, is
 * three clients of it, prints what they receive, and ends.
 */
import { BaseRequestHandler, TCPServer, ThreadingMixIn } from "@netkit/socketserver";

export class ThreadedTCPRequestHandler extends BaseRequestHandler {
  static override readonly moduleUrl = import.meta.url;

  override async handle(): Promise<void> {
    const data = new TextDecoder().decode(await this.request.recv(1024));
    const thread = (globalThis as { name?: string }).name; // of the Worker
    await this.request.sendAll(`${thread}: ${data}`);
  }
}

class ThreadedTCPServer extends ThreadingMixIn(TCPServer) {
  static override maxRequestsPerThread = 1; // as in Python; without it, a Worker is used again
}

async function client(port: number, message: string): Promise<void> {
  using conn = await Deno.connect({ hostname: "127.0.0.1", port });
  await conn.write(new TextEncoder().encode(message));
  console.log(`Received: ${await new Response(conn.readable).text()}`);
}

if (import.meta.main) {
  const address = { hostname: "127.0.0.1", port: 0 };
  await using server = new ThreadedTCPServer(address, ThreadedTCPRequestHandler);
  const { port } = server.serverAddress;

  // The loop needs no thread of its own: it runs in this one, beside what follows.
  const serving = server.serveForever();
  console.log("Server loop running in thread: MainThread");

  await client(port, "Hello World 1");
  await client(port, "Hello World 2");
  await client(port, "Hello World 3");

  await server.shutdown();
  await serving;
}
