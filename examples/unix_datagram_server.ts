/**
 * A server on a Unix datagram socket: it answers each datagram in upper case.
 *
 * Run `deno run --unstable-net --allow-net=unix:/tmp/upper.sock,unix:/tmp/client.sock
 * --allow-read=/tmp/upper.sock,/tmp/client.sock --allow-write=/tmp/upper.sock,/tmp/client.sock
 * examples/unix_datagram_server.ts`, then examples/unix_datagram_client.ts in another terminal. It needs the
 * permissions of the client's path, too, to answer. In Python: `UnixDatagramServer('/tmp/upper.sock', UpperHandler)`.
 */
import { parseArgs } from "@std/cli";
import {
  BaseRequestHandler,
  type DatagramRequest,
  formatText,
  UnixDatagramServer,
} from "@netkit/socketserver";

class UpperHandler extends BaseRequestHandler<DatagramRequest> {
  override async handle(): Promise<void> {
    const [packet, socket] = this.request;
    const data = new TextDecoder().decode(packet).trim();
    console.log(formatText(`${this.clientAddress} wrote:`)); // clients choose their paths, too
    console.log(formatText(data));
    await socket.sendTo(new TextEncoder().encode(data.toUpperCase()), this.clientAddress);
  }
}

if (import.meta.main) {
  const { path } = parseArgs(Deno.args, { string: ["path"], default: { path: "/tmp/upper.sock" } });
  await using server = new UnixDatagramServer({ path }, UpperHandler);
  const leave = () => server.drain({ timeout: 1000 });
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);
  console.log(`Listening on ${server.serverAddress}`);
  await server.serveForever();
  console.log("Leaving.");
}
