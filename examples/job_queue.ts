/**
 * A queue of jobs: `submit N` asks for the number of primes below N and gets a ticket at once, `result TICKET` gets the
 * answer when there is one. The event loop keeps the queue, and Workers do the jobs, two at a time.
 *
 * Run `deno run --allow-net=127.0.0.1 --allow-read=. examples/job_queue.ts`, then `nc 127.0.0.1 7070` in another terminal.
 */
import { parseArgs } from "@std/cli";
import { ConcurrentTCPServer, StreamRequestHandler } from "@netkit/socketserver";
import { type TCPAddr, ThreadingTCPServer } from "@netkit/socketserver";

const MAX_TICKETS = 500; // no more jobs while that many wait; older results are forgotten

/** Does a job, in a Worker: a connection is a job, and those for which there is no Worker yet wait for one. */
export class JobHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  // Others on this machine can connect, too, and shall neither block a Worker nor give it larger jobs
  override timeout = 1000;

  override handle(): void {
    const line = new TextDecoder().decode(this.rfile.readlineSync()).trim();
    if (!/^\d{1,7}$/.test(line)) return;
    const limit = Number(line);
    const composite = new Uint8Array(limit);
    for (let number = 2; number < limit; number++) {
      for (let other = number ** 2; other < limit; other += number) composite[other] = 1;
    }
    this.wfile.writeSync(`done ${composite.subarray(2).filter((mark) => mark === 0).length}`);
  }
}

class JobServer extends ConcurrentTCPServer {
  workers: TCPAddr | null = null;
  readonly results = new Map<number, string>();
  last = 0;

  async run(ticket: number, limit: string): Promise<void> {
    this.results.set(ticket, "waiting");
    using conn = await Deno.connect(this.workers!);
    await conn.write(new TextEncoder().encode(`${limit}\n`));
    this.results.set(ticket, await new Response(conn.readable).text() || "failed"); // the log says why
  }
}

class QueueHandler extends StreamRequestHandler {
  declare readonly server: JobServer;
  override timeout = 60_000;

  override async handle(): Promise<void> {
    for await (const line of this.rfile.lines()) await this.wfile.write(`${this.obey(line)}\n`);
  }

  obey(line: string): string {
    const { server } = this;
    const [, command, number = ""] = /^(submit|result) (\d{1,7})$/.exec(line) ?? [];
    if (command === "result") return server.results.get(Number(number)) ?? "error: no such ticket";
    if (command !== "submit") return "error: expected submit N or result TICKET";
    const oldest = server.last + 1 - MAX_TICKETS;
    if (server.results.get(oldest) === "waiting") return "error: too many jobs, come again later";
    server.results.delete(oldest);
    const ticket = ++server.last;
    server.run(ticket, number).catch(() => server.results.set(ticket, "failed"));
    return `ticket ${ticket}`;
  }
}

if (import.meta.main) {
  const { port } = parseArgs(Deno.args, { string: ["port"], default: { port: "7070" } });
  const hostname = "127.0.0.1";
  await using jobs = new ThreadingTCPServer({ hostname, port: 0 }, JobHandler, { maxThreads: 2 });
  await using server = new JobServer({ hostname, port: Number(port) }, QueueHandler);
  server.workers = jobs.serverAddress;
  const leave = () => server.drain({ timeout: 1000 });
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);
  console.log(`Listening on ${server.serverAddress}`);
  await Promise.race([server.serveForever(), jobs.serveForever()]);
  console.log("Leaving.");
}
