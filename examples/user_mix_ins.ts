/**
 * Servers that the package does not have ready-made: a mix-in over a server, written by the user.
 *
 * Run `deno run --unstable-net --allow-net=127.0.0.1 --allow-read=. --allow-run examples/user_mix_ins.ts`. It starts
 * both servers on free ports, asks each, prints the answers, and ends. In Python:
 * `class ThreadedUDPServer(ThreadingMixIn, UDPServer): pass`.
 */
import {
  BaseRequestHandler,
  type DatagramRequest,
  ForkingMixIn,
  ThreadingMixIn,
  UDPServer,
} from "@netkit/socketserver";

export class UpperHandler extends BaseRequestHandler<DatagramRequest> {
  static override readonly moduleUrl = import.meta.url; // where a Worker or a subprocess finds it

  override async handle(): Promise<void> {
    const [data, socket] = this.request;
    const answer = new TextDecoder().decode(data).toUpperCase();
    await socket.sendTo(new TextEncoder().encode(answer), this.clientAddress);
  }
}

class ThreadedUDPServer extends ThreadingMixIn(UDPServer) {}

class ForkedUDPServer extends ForkingMixIn(UDPServer) {}

async function client(server: Deno.Addr, message: string): Promise<void> {
  const socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  await socket.send(new TextEncoder().encode(message), server);
  const [received] = await socket.receive();
  console.log(`Received: ${new TextDecoder().decode(received)}`);
  socket.close();
}

if (import.meta.main) {
  const address = { hostname: "127.0.0.1", port: 0 };
  await using threaded = new ThreadedUDPServer(address, UpperHandler);
  await using forked = new ForkedUDPServer(address, UpperHandler);
  const serving = Promise.all([threaded.serveForever(), forked.serveForever()]);

  await client(threaded.serverAddress, "hello thread");
  await client(forked.serverAddress, "hello process");

  await threaded.shutdown();
  await forked.shutdown();
  await serving;
}
