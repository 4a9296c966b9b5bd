/**
 * A server without a loop of its own: the program asks for one request at a time, and leaves when none comes for 5 s.
 *
 * Run `deno run --allow-net=localhost:9999 examples/handle_request.ts`, then examples/tcp_client.ts in another
 * terminal. In Python: `while not server.timed_out: server.handle_request()`.
 */
import { parseArgs } from "@std/cli";
import { StreamRequestHandler, TCPServer } from "@netkit/socketserver";

class UpperHandler extends StreamRequestHandler {
  override timeout = 1000; // handleRequest() waits for the handler, however long that takes

  override async handle(): Promise<void> {
    const data = await this.rfile.readline();
    await this.wfile.write(new TextDecoder().decode(data).toUpperCase());
  }
}

class PatientServer extends TCPServer {
  static override timeout = 5000; // milliseconds that handleRequest() waits for a client
  timedOut = false;

  override handleTimeout(): void {
    console.log(`Nobody came for ${this.timeout} ms`);
    this.timedOut = true;
  }
}

if (import.meta.main) {
  const { port, timeout } = parseArgs(Deno.args, {
    string: ["port", "timeout"],
    default: { port: "9999", timeout: "5000" },
  });
  await using server = new PatientServer(
    { hostname: "localhost", port: Number(port) },
    UpperHandler,
  );
  server.timeout = Number(timeout);
  const leave = () => server.drain({ timeout: 1000 });
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);
  console.log(`Listening on ${server.serverAddress}`);
  let turn = 0;
  while (!server.timedOut && server.state === "idle") {
    console.log(`Turn ${++turn}`);
    await server.handleRequest();
  }
  console.log("Leaving.");
}
