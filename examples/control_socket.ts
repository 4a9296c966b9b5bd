/**
 * A server with a control socket: the user who runs it asks and steers a server on TCP while it runs.
 *
 * Run `deno run --allow-net=127.0.0.1:9999,unix:/tmp/control.sock --allow-read=/tmp/control.sock
 * --allow-write=/tmp/control.sock examples/control_socket.ts`, then `echo status | nc -U -N /tmp/control.sock` in another
 * terminal; `limit N` sets how many clients it serves at once, `stop` ends it.
 */
import { parseArgs } from "@std/cli";
import { ConcurrentTCPServer, StreamRequestHandler, UnixStreamServer } from "@netkit/socketserver";

class EchoHandler extends StreamRequestHandler {
  override async handle(): Promise<void> {
    for await (const line of this.rfile) await this.wfile.write(line);
  }
}

class ControlServer extends UnixStreamServer { // one at a time, so that no two commands mix
  controlled: ConcurrentTCPServer | null = null;
}

class ControlHandler extends StreamRequestHandler {
  declare readonly server: ControlServer;
  override timeout = 1000; // nobody keeps the others out
  override maxLineLength = 100;

  override async handle(): Promise<void> {
    const line = new TextDecoder().decode(await this.rfile.readline()).trim();
    await this.wfile.write(`${this.obey(line, this.server.controlled!)}\n`);
  }

  obey(line: string, controlled: ConcurrentTCPServer): string {
    const [, limit] = /^limit ([1-9]\d{0,4})$/.exec(line) ?? [];
    if (line === "status") return JSON.stringify(controlled.stats());
    if (line === "stop") void controlled.drain({ timeout: 1000 });
    else if (limit !== undefined) controlled.maxConnections = Number(limit);
    else return "error: expected status, limit N or stop";
    return "ok";
  }
}

if (import.meta.main) {
  const { port, path } = parseArgs(Deno.args, {
    string: ["port", "path"],
    default: { port: "9999", path: "/tmp/control.sock" },
  });
  const address = { hostname: "127.0.0.1", port: Number(port) };
  await using server = new ConcurrentTCPServer(address, EchoHandler);
  await using control = new ControlServer({ path }, ControlHandler, { socketMode: 0o600 });
  control.controlled = server;
  const leave = () => server.drain({ timeout: 1000 });
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);
  console.log(`Listening on ${server.serverAddress}`);
  const controlling = control.serveForever();
  await server.serveForever();
  await server.finished; // the clients have been served to their end
  await control.shutdown();
  await controlling;
  console.log("Leaving.");
}
