/**
 * An echo server over TLS, for several clients at once.
 *
 * Run `deno run --allow-net=localhost:20000 --allow-read=examples/tls examples/tls_echo.ts`, then
 * `openssl s_client -quiet -connect localhost:20000 -CAfile examples/tls/ca.pem` in another terminal. In Python:
 * `get_request()` of a subclass wraps the socket with `ssl`.
 */
import { parseArgs } from "@std/cli";
import { ConcurrentTLSServer, StreamRequestHandler } from "@netkit/socketserver";

class EchoHandler extends StreamRequestHandler {
  override async handle(): Promise<void> {
    console.log(`Got connection from ${this.clientAddress}`);
    for await (const line of this.rfile) await this.wfile.write(line);
  }
}

if (import.meta.main) {
  const { port, cert, key } = parseArgs(Deno.args, {
    string: ["port", "cert", "key"],
    default: { port: "20000", cert: "examples/tls/cert.pem", key: "examples/tls/key.pem" },
  });
  const address = { hostname: "localhost", port: Number(port) };
  await using server = new ConcurrentTLSServer(address, EchoHandler, {
    cert: await Deno.readTextFile(cert),
    key: await Deno.readTextFile(key),
  });
  const leave = () => server.drain({ timeout: 1000 });
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);
  console.log(`Listening on ${server.serverAddress}`);
  await server.serveForever();
  console.log("Leaving.");
}
