/**
 * A server whose handlers run in Workers and know what it tells them: a context with a type, made anew for each request.
 *
 * Run `deno run --allow-net=127.0.0.1:9999 --allow-read=. examples/typed_context.ts --greeting Ahoy`, then
 * `echo Ann | nc 127.0.0.1 9999` in another terminal. In Python, handlers read `self.server`, whose memory they share.
 */
import { parseArgs } from "@std/cli";
import { type ServerView, StreamRequestHandler, ThreadingTCPServer } from "@netkit/socketserver";

export class GreetingHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  declare readonly server: ServerView<GreetingServer>; // what there is of the server in a Worker
  override timeout = 10_000;
  override maxLineLength = 100;

  override handle(): void {
    const { greeting, number } = this.server.context; // a Worker may block, and need not await
    const name = new TextDecoder().decode(this.rfile.readlineSync()).trim();
    this.wfile.writeSync(`${greeting}, ${name}, you are number ${number}!\n`);
  }
}

class GreetingServer extends ThreadingTCPServer {
  greeting = "Hello";
  #guests = 0;

  /** What crosses to a Worker: a copy, so data only. */
  override requestContext(): { greeting: string; number: number } {
    return { greeting: this.greeting, number: ++this.#guests };
  }
}

if (import.meta.main) {
  const { port, greeting } = parseArgs(Deno.args, {
    string: ["port", "greeting"],
    default: { port: "9999", greeting: "Hello" },
  });
  const address = { hostname: "127.0.0.1", port: Number(port) };
  await using server = new GreetingServer(address, GreetingHandler);
  server.greeting = greeting;
  const leave = () => server.drain({ timeout: 1000 });
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);
  console.log(`Listening on ${server.serverAddress}`);
  await server.serveForever();
  console.log("Leaving.");
}
