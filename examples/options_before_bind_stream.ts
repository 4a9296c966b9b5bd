/**
 * A TCP server whose options are set before it binds, and that logs what happens, with streams: it answers in upper case.
 *
 * Run `deno run --allow-net=localhost:9999 examples/options_before_bind_stream.ts`, then examples/tcp_client.ts in another
 * terminal. In Python: `TCPServer(address, Handler, bind_and_activate=False)`, then `server.socket.setsockopt(...)`.
 */
import { parseArgs } from "@std/cli";
import { ConsoleHandler, getLogger, setup } from "@std/log";
import { formatBytes, StreamRequestHandler, TCPServer } from "@netkit/socketserver";

const handler = new ConsoleHandler("DEBUG", {
  formatter: ({ msg }) => `[MainProcess (${Deno.pid})] ${msg}`,
  useColors: false,
});
setup({
  handlers: { console: handler },
  loggers: {
    upper: { level: "DEBUG", handlers: ["console"] }, // of this program
    socketserver: { level: "DEBUG", handlers: ["console"] }, // of the package
  },
});
const log = getLogger("upper");

class MyTCPHandler extends StreamRequestHandler {
  override disableNagleAlgorithm = true; // TCP_NODELAY

  override async handle(): Promise<void> {
    log.debug(`connected from ${this.clientAddress}`);

    // this.rfile is a file-like object created by the handler;
    // we can now use e.g. readline() instead of raw recv() calls
    const data = await this.rfile.readline();
    log.debug(`recv: ${formatBytes(data)}`);

    // Likewise, this.wfile is a file-like object used to write back to the client
    const answer = new TextEncoder().encode(new TextDecoder().decode(data).toUpperCase());
    await this.wfile.write(answer);
    log.debug(`sent: ${formatBytes(answer)}`);
  }
}

if (import.meta.main) {
  const { port } = parseArgs(Deno.args, { string: ["port"], default: { port: "9999" } });
  const address = { hostname: "localhost", port: Number(port) };
  await using server = new TCPServer(address, MyTCPHandler, { bindAndActivate: false });

  server.allowReuseAddress = true; // SO_REUSEADDR
  server.requestQueueSize = 100; // what listen() gets as its backlog
  log.debug("enable TCP_NODELAY"); // of each connection, as Deno's listeners have no options; and no TCP_QUICKACK

  server.serverBind();
  server.serverActivate();
  const leave = () => server.drain({ timeout: 1000 });
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);
  console.log(`Listening on ${server.serverAddress}`);

  // Activate the server; this will keep running until you interrupt the program with Ctrl-C
  await server.serveForever();
  console.log("Leaving.");
}
