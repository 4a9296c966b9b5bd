/**
 * A server with its figures beside it: what `stats()` counts is on an HTTP port of its own, for Prometheus.
 *
 * Run `deno run --allow-net=127.0.0.1:9999,127.0.0.1:9100 examples/metrics.ts`, then `nc 127.0.0.1 9999` and
 * `curl http://127.0.0.1:9100/metrics` in other terminals.
 */
import { parseArgs } from "@std/cli";
import { type AnyServer, ConcurrentTCPServer, StreamRequestHandler } from "@netkit/socketserver";

class EchoHandler extends StreamRequestHandler {
  override timeout = 60_000;

  override async handle(): Promise<void> {
    for await (const line of this.rfile) await this.wfile.write(line);
  }
}

/** The figures in the text format of Prometheus. */
function metrics(server: AnyServer): string {
  const { accepted, active, completed, failed, rejected, aborted, acceptErrors } = server.stats();
  const up = ["serving", "degraded"].includes(server.state) ? 1 : 0;
  const lines = [`echo_up ${up}`, `echo_accepted_total ${accepted}`, `echo_active ${active}`];
  for (const [outcome, count] of Object.entries({ completed, failed, rejected, aborted })) {
    lines.push(`echo_requests_total{outcome="${outcome}"} ${count}`);
  }
  for (const [code, count] of Object.entries(acceptErrors)) {
    lines.push(`echo_accept_errors_total{code="${code}"} ${count}`);
  }
  return `${lines.join("\n")}\n`;
}

if (import.meta.main) {
  const flags = parseArgs(Deno.args, {
    string: ["port", "metrics-port"],
    default: { port: "9999", "metrics-port": "9100" },
  });
  const hostname = "127.0.0.1";
  const address = { hostname, port: Number(flags.port) };
  await using server = new ConcurrentTCPServer(address, EchoHandler);
  await using web = Deno.serve({
    hostname,
    port: Number(flags["metrics-port"]),
    onListen: ({ hostname, port }) => console.log(`Listening on ${hostname}:${port}`),
  }, (request) => {
    if (new URL(request.url).pathname !== "/metrics") return new Response(null, { status: 404 });
    return new Response(metrics(server), {
      headers: { "content-type": "text/plain; version=0.0.4" },
    });
  });
  const leave = () => server.drain({ timeout: 1000 });
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);
  console.log(`Listening on ${server.serverAddress}`);
  await server.serveForever();
  await web.shutdown();
  console.log("Leaving.");
}
