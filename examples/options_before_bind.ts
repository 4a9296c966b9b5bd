/**
 * A TCP server whose options are set before it binds, and that logs what happens: it answers lines in upper case.
 *
 * Run `deno run --allow-net=localhost:9999 examples/options_before_bind.ts`, then examples/tcp_client.ts in another
 * terminal. In Python: `TCPServer(address, Handler, bind_and_activate=False)`, then `server.socket.setsockopt(...)`.
 */
import { parseArgs } from "@std/cli";
import { ConsoleHandler, getLogger, setup } from "@std/log";
import { formatAddress, StreamRequestHandler, TCPServer } from "@netkit/socketserver";

setup({
  handlers: { console: new ConsoleHandler("DEBUG") },
  loggers: {
    upper: { level: "DEBUG", handlers: ["console"] }, // of this program
    socketserver: { level: "DEBUG", handlers: ["console"] }, // of the package
  },
});

class UpperHandler extends StreamRequestHandler {
  override disableNagleAlgorithm = true; // Deno sets TCP_NODELAY on connections, and not on the listener

  override async handle(): Promise<void> {
    const log = getLogger("upper");
    const peer = formatAddress(this.clientAddress);
    const data = new TextDecoder().decode(await this.rfile.readline());
    log.debug(`Process ${Deno.pid} received from ${peer}: ${JSON.stringify(data)}`);
    const count = await this.wfile.write(data.toUpperCase());
    log.debug(`Process ${Deno.pid} sent to ${peer}: ${count} bytes`);
  }
}

if (import.meta.main) {
  const { port } = parseArgs(Deno.args, { string: ["port"], default: { port: "9999" } });
  const address = { hostname: "localhost", port: Number(port) };
  await using server = new TCPServer(address, UpperHandler, { bindAndActivate: false });

  // Set up various options
  server.allowReuseAddress = true;
  server.requestQueueSize = 100;

  // Bind and activate
  server.serverBind();
  server.serverActivate();
  console.log(`Listening on ${formatAddress(server.serverAddress)}`);

  Deno.addSignalListener("SIGINT", () => server.drain({ timeout: 1000 }));
  await server.serveForever({ pollInterval: 5500 });
  console.log("Leaving.");
}
