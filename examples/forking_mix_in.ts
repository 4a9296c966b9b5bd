/**
 * The threaded server of Python's documentation with processes: each client is served in a subprocess of its own.
 *
 * Run `deno run --allow-net=127.0.0.1 --allow-run examples/forking_mix_in.ts`. It starts a server on a free
 * port, is three clients of it, prints what they receive, and ends.
 */
import { BaseRequestHandler, ForkingMixIn, TCPServer } from "@netkit/socketserver";

export class ForkedTCPRequestHandler extends BaseRequestHandler {
  static override readonly moduleUrl = import.meta.url;

  override async handle(): Promise<void> {
    const data = new TextDecoder().decode(await this.request.recv(1024));
    await this.request.sendAll(`Process-${Deno.pid}: ${data}`);
  }
}

class ForkedTCPServer extends ForkingMixIn(TCPServer) {}

async function client(port: number, message: string): Promise<void> {
  using conn = await Deno.connect({ hostname: "127.0.0.1", port });
  await conn.write(new TextEncoder().encode(message));
  console.log(`Received: ${await new Response(conn.readable).text()}`);
}

if (import.meta.main) {
  const address = { hostname: "127.0.0.1", port: 0 };
  await using server = new ForkedTCPServer(address, ForkedTCPRequestHandler);
  const { port } = server.serverAddress;

  // The loop runs in this process, beside what follows.
  const serving = server.serveForever();
  console.log(`Server loop running in process ${Deno.pid}`);

  await client(port, "Hello World 1");
  await client(port, "Hello World 2");
  await client(port, "Hello World 3");

  await server.shutdown();
  await serving;
}
