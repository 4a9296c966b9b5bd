/**
 * The UDP server of Python's documentation: it answers each datagram in upper case.
 *
 * Run `deno run --unstable-net --allow-net=127.0.0.1 examples/udp_server.ts`, then examples/udp_client.ts in another
 * terminal. Without a port in the permission, because it answers to any port of a client.
 */
import { parseArgs } from "@std/cli";
import {
  BaseRequestHandler,
  type DatagramRequest,
  formatBytes,
  type UDPAddr,
  UDPServer,
} from "@netkit/socketserver";

/** This works similar to the TCP handler, except that this.request consists of the data and the socket. */
class MyUDPHandler extends BaseRequestHandler<DatagramRequest, UDPAddr> {
  override async handle(): Promise<void> {
    const [packet, socket] = this.request;
    const data = new TextDecoder().decode(packet).trim();
    console.log(`${this.clientAddress.hostname} wrote:`);
    console.log(formatBytes(new TextEncoder().encode(data))); // as Python prints b'…'
    // The client's address must be given explicitly, for there is no connection
    await socket.sendTo(new TextEncoder().encode(data.toUpperCase()), this.clientAddress);
  }
}

if (import.meta.main) {
  const { port } = parseArgs(Deno.args, { string: ["port"], default: { port: "9999" } });
  await using server = new UDPServer({ hostname: "127.0.0.1", port: Number(port) }, MyUDPHandler);
  const leave = () => server.drain({ timeout: 1000 });
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);
  console.log(`Listening on ${server.serverAddress}`);
  await server.serveForever();
  console.log("Leaving.");
}
