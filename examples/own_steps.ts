/**
 * A server with steps of its own: getRequest() prepares each connection, finishRequest() gives the handler an argument
 * more and measures it.
 *
 * Run `deno run --allow-net=localhost:9999 examples/own_steps.ts`, then examples/tcp_client.ts in another terminal. In
 * Python: `def finish_request(self, request, client_address): self.RequestHandlerClass(..., greeting)`.
 */
import { parseArgs } from "@std/cli";
import {
  type AnyServer,
  runHandler,
  StreamRequestHandler,
  type StreamSocket,
  type TCPAddr,
  TCPServer,
} from "@netkit/socketserver";

class GreetingHandler extends StreamRequestHandler<TCPAddr> {
  readonly greeting: string;

  constructor(request: StreamSocket, clientAddress: TCPAddr, server: AnyServer, greeting = "Hi") {
    super(request, clientAddress, server);
    this.greeting = greeting;
  }

  override async handle(): Promise<void> {
    const name = new TextDecoder().decode(await this.rfile.readline()).trim();
    await this.wfile.write(`${this.greeting}, ${name}!\n`);
  }
}

class GreetingServer extends TCPServer {
  greeting = "Hello";

  override async getRequest(): Promise<[StreamSocket, TCPAddr]> {
    const [request, clientAddress] = await super.getRequest();
    request.setKeepAlive();
    console.log(`Got connection from ${clientAddress}`);
    return [request, clientAddress];
  }

  override async finishRequest(request: StreamSocket, clientAddress: TCPAddr): Promise<void> {
    const start = performance.now();
    await runHandler(new GreetingHandler(request, clientAddress, this, this.greeting));
    const duration = Math.round(performance.now() - start);
    console.log(`Served ${clientAddress} in ${duration} ms`);
  }
}

if (import.meta.main) {
  const { port, greeting } = parseArgs(Deno.args, {
    string: ["port", "greeting"],
    default: { port: "9999", greeting: "Hello" },
  });
  const address = { hostname: "localhost", port: Number(port) };
  await using server = new GreetingServer(address, GreetingHandler);
  server.greeting = greeting;
  const leave = () => server.drain({ timeout: 1000 });
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);
  console.log(`Listening on ${server.serverAddress}`);
  await server.serveForever();
  console.log("Leaving.");
}
