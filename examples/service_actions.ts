/**
 * A server with a task that comes back: serviceActions() says now and then how it goes, and leaves when nobody comes.
 *
 * Run `deno run --allow-net=localhost:9999 examples/service_actions.ts`, then examples/tcp_client.ts in another
 * terminal. In Python: `service_actions()`, which serve_forever() calls after each request and each poll interval.
 */
import { parseArgs } from "@std/cli";
import { ConcurrentTCPServer, StreamRequestHandler } from "@netkit/socketserver";

class UpperHandler extends StreamRequestHandler {
  override async handle(): Promise<void> {
    const data = await this.rfile.readline();
    await this.wfile.write(new TextDecoder().decode(data).toUpperCase());
  }
}

class WatchedServer extends ConcurrentTCPServer {
  maxIdleActions = 10;
  #served = 0;
  #idleActions = 0;

  override async serviceActions(): Promise<void> {
    const { active, completed } = this.stats();
    if (active > 0 || completed > this.#served) {
      console.log(`${active} active, ${completed} served`);
      this.#served = completed;
      this.#idleActions = 0;
    } else if (++this.#idleActions >= this.maxIdleActions) {
      console.log(`Nothing to do for ${this.#idleActions} turns`);
      await this.shutdown(); // from here it does not wait for the loop, which waits for us
    }
  }
}

if (import.meta.main) {
  const { port, interval } = parseArgs(Deno.args, {
    string: ["port", "interval"],
    default: { port: "9999", interval: "1000" },
  });
  await using server = new WatchedServer(
    { hostname: "localhost", port: Number(port) },
    UpperHandler,
  );
  const leave = () => server.drain({ timeout: 1000 });
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);
  console.log(`Listening on ${server.serverAddress}`);
  await server.serveForever({ pollInterval: Number(interval) });
  console.log("Leaving.");
}
