/**
 * A key-value store with a protocol of lines, like a small memcached: `set KEY VALUE`, `get KEY`, `delete KEY`, `quit`.
 *
 * Run `deno run --allow-net=127.0.0.1:11311 examples/kv_store.ts`, then `nc 127.0.0.1 11311` in another terminal.
 */
import { parseArgs } from "@std/cli";
import { ConcurrentTCPServer, LineTooLongError, StreamRequestHandler } from "@netkit/socketserver";

const USAGE = "expected set KEY VALUE, get KEY, delete KEY or quit";
const MAX_KEYS = 10_000; // with lines of 1000 bytes no more than 10 MB

class StoreServer extends ConcurrentTCPServer {
  readonly values = new Map<string, string>();
}

class StoreHandler extends StreamRequestHandler {
  declare readonly server: StoreServer;
  override timeout = 60_000;
  override maxLineLength = 1000;

  override async handle(): Promise<void> {
    try {
      for await (const line of this.rfile.lines()) {
        const [, command = "", key = "", value] = /^(\S*) ?(\S*)(?: (.*))?$/.exec(line) ?? [];
        if (command === "quit") return;
        await this.wfile.write(`${this.obey(command, key, value)}\n`);
      }
    } catch (error) {
      if (!(error instanceof LineTooLongError)) throw error;
      await this.wfile.write("error: the line is too long\n"); // and the connection ends
    }
  }

  obey(command: string, key: string, value: string | undefined): string {
    const { values } = this.server;
    if (command === "get" && key !== "") {
      return values.has(key) ? `value ${values.get(key)}` : "none";
    }
    if (command === "delete") return values.delete(key) ? "deleted" : "none";
    if (command !== "set" || key === "" || value === undefined) return `error: ${USAGE}`;
    if (!values.has(key) && values.size >= MAX_KEYS) return "error: the store is full";
    values.set(key, value);
    return "stored";
  }
}

if (import.meta.main) {
  const { port } = parseArgs(Deno.args, { string: ["port"], default: { port: "11311" } });
  const address = { hostname: "127.0.0.1", port: Number(port) };
  await using server = new StoreServer(address, StoreHandler);
  const leave = () => server.drain({ timeout: 1000 });
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);
  console.log(`Listening on ${server.serverAddress}`);
  await server.serveForever();
  console.log("Leaving.");
}
