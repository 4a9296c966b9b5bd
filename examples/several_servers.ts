/**
 * Several servers in one process: echo over TCP and UDP (RFC 862), and the time of day over TCP (RFC 867).
 *
 * Run `deno run --unstable-net --allow-net=127.0.0.1 examples/several_servers.ts`, then `nc 127.0.0.1 20000`,
 * `nc -u 127.0.0.1 20001` or `nc 127.0.0.1 20002` in another terminal. In Python, fileno() and select() watch them;
 * here each has a loop of its own, side by side.
 */
import { parseArgs } from "@std/cli";
import {
  BaseRequestHandler,
  type DatagramRequest,
  StreamRequestHandler,
  TCPServer,
  UDPServer,
} from "@netkit/socketserver";

class EchoHandler extends StreamRequestHandler {
  override async handle(): Promise<void> {
    for await (const line of this.rfile) await this.wfile.write(line);
  }
}

class DatagramEchoHandler extends BaseRequestHandler<DatagramRequest> {
  override async handle(): Promise<void> {
    const [data, socket] = this.request;
    await socket.sendTo(data, this.clientAddress);
  }
}

class DaytimeHandler extends StreamRequestHandler {
  override async handle(): Promise<void> {
    await this.wfile.write(`${new Date().toUTCString()}\r\n`);
  }
}

if (import.meta.main) {
  const flags = parseArgs(Deno.args, { string: ["port"], default: { port: "20000" } });
  const hostname = "127.0.0.1";
  const first = Number(flags.port);
  const port = (offset: number) => first === 0 ? 0 : first + offset; // 0 lets the system choose each

  await using echo = new TCPServer({ hostname, port: port(0) }, EchoHandler);
  await using datagramEcho = new UDPServer({ hostname, port: port(1) }, DatagramEchoHandler);
  await using daytime = new TCPServer({ hostname, port: port(2) }, DaytimeHandler);

  const servers = [echo, datagramEcho, daytime];
  const leave = () => servers.forEach((server) => server.drain({ timeout: 1000 }));
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);
  for (const server of servers) console.log(`Listening on ${server.serverAddress}`);
  await Promise.all(servers.map((server) => server.serveForever()));
  console.log("Leaving.");
}
