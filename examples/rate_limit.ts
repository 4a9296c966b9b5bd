/**
 * A server with a rate limit: each host may connect so many times a second, and save up for so many at once.
 *
 * Run `deno run --allow-net=127.0.0.1:9999 examples/rate_limit.ts --rate 2 --burst 5`, then
 * `for n in 1 2 3 4 5 6; do nc -z -v 127.0.0.1 9999; done` in another terminal. In Python: `verify_request()`.
 */
import { parseArgs } from "@std/cli";
import {
  ConcurrentTCPServer,
  StreamRequestHandler,
  type StreamSocket,
  type TCPAddr,
} from "@netkit/socketserver";

class TimeHandler extends StreamRequestHandler {
  override async handle(): Promise<void> {
    await this.wfile.write(`${new Date().toISOString()}\n`);
  }
}

class LimitedServer extends ConcurrentTCPServer {
  static override maxConnectionsPerSource = 10; // a limit of another kind: how many at the same time
  rate = 2; // connections a second
  burst = 5; // connections at once
  /** When each host would have nothing to its account, in milliseconds; who has it full is not here. */
  readonly #accounts = new Map<string, number>();

  override verifyRequest(_request: StreamSocket, { hostname }: TCPAddr): boolean {
    const now = performance.now();
    const full = now - this.burst * 1000 / this.rate;
    const account = Math.max(this.#accounts.get(hostname) ?? full, full) + 1000 / this.rate;
    if (account > now) return false; // closes the connection, before a handler is made
    this.#accounts.set(hostname, account);
    return true;
  }

  /** Forgets who has not come for long, so that the table does not grow with every host that ever came. */
  override serviceActions(): void {
    const full = performance.now() - this.burst * 1000 / this.rate;
    for (const [hostname, account] of this.#accounts) {
      if (account <= full) this.#accounts.delete(hostname);
    }
  }
}

if (import.meta.main) {
  const { port, rate, burst } = parseArgs(Deno.args, {
    string: ["port", "rate", "burst"],
    default: { port: "9999", rate: "2", burst: "5" },
  });
  const address = { hostname: "127.0.0.1", port: Number(port) };
  await using server = new LimitedServer(address, TimeHandler);
  server.rate = Number(rate);
  server.burst = Number(burst);
  const leave = () => server.drain({ timeout: 1000 });
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);
  console.log(`Listening on ${server.serverAddress}`);
  await server.serveForever();
  console.log("Leaving.");
}
