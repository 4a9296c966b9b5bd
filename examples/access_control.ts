/**
 * A server that serves some clients only: verifyRequest() decides before a handler is made.
 *
 * Run `deno run --allow-net=0.0.0.0:20000 examples/access_control.ts 127.0.0.1 192.0.2.7`, then `nc localhost 20000` in
 * another terminal. The arguments are the hosts that may ask. In Python: `verify_request()`.
 */
import { parseArgs } from "@std/cli";
import {
  StreamRequestHandler,
  type StreamSocket,
  type TCPAddr,
  TCPServer,
} from "@netkit/socketserver";

class EchoHandler extends StreamRequestHandler {
  override async handle(): Promise<void> {
    for await (const line of this.rfile) await this.wfile.write(line);
  }
}

class GuardedServer extends TCPServer {
  allowedHosts = new Set<string>();

  override verifyRequest(_request: StreamSocket, clientAddress: TCPAddr): boolean {
    const allowed = this.allowedHosts.has(clientAddress.hostname);
    console.log(`${allowed ? "Serving" : "Refused"} ${clientAddress}`);
    return allowed; // false closes the connection
  }
}

if (import.meta.main) {
  const { port, _: hosts } = parseArgs(Deno.args, {
    string: ["port", "_"],
    default: { port: "20000" },
  });
  await using server = new GuardedServer({ hostname: "", port: Number(port) }, EchoHandler);
  server.allowedHosts = new Set(hosts.map(String));
  const leave = () => server.drain({ timeout: 1000 });
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);
  console.log(`Listening on ${server.serverAddress}`);
  await server.serveForever();
  console.log("Leaving.");
}
