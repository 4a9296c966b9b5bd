/**
 * A server that does a part of each request at once, and leaves the rest to a subprocess where the data ask for it.
 *
 * Run `deno run --allow-net=localhost:9999 --allow-run=sort examples/split_work.ts`, then
 * `printf 'sort\npear\napple\n' | nc -N localhost 9999` in another terminal. Python's documentation describes it as an
 * explicit fork in the handler's handle().
 */
import { parseArgs } from "@std/cli";
import { ConcurrentTCPServer, formatText, StreamRequestHandler } from "@netkit/socketserver";

class SplitHandler extends StreamRequestHandler {
  override timeout = 10_000;

  override async handle(): Promise<void> {
    // The first line says what is to be done, and is handled at once
    const command = new TextDecoder().decode(await this.rfile.readline()).trim();
    console.log(formatText(`${this.clientAddress} asked for "${command}"`));
    if (command === "count") await this.count();
    else if (command === "sort") await this.sort();
    else await this.wfile.write("Cannot do that: expected count or sort\n");
  }

  /** Little to do: this process does it. */
  async count(): Promise<void> {
    let lines = 0;
    for await (const _ of this.rfile) lines++;
    await this.wfile.write(`${lines}\n`);
  }

  /** Much to do: a subprocess gets the rest of the request, and its output is the answer. */
  async sort(): Promise<void> {
    await using child = new Deno.Command("sort", {
      args: ["--unique"],
      clearEnv: true,
      env: { LC_ALL: "C" },
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    await Promise.all([
      this.rfile.readable.pipeTo(child.stdin),
      child.stdout.pipeTo(this.wfile.writable),
    ]);
  }
}

if (import.meta.main) {
  const { port } = parseArgs(Deno.args, { string: ["port"], default: { port: "9999" } });
  const address = { hostname: "localhost", port: Number(port) };
  await using server = new ConcurrentTCPServer(address, SplitHandler); // a long sort delays nobody else
  const leave = () => server.drain({ timeout: 1000 });
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);
  console.log(`Listening on ${server.serverAddress}`);
  await server.serveForever();
  console.log("Leaving.");
}
