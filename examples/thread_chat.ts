/**
 * A chat whose clients have a thread each: what one says goes to all others by a `BroadcastChannel`, which reaches every
 * Worker of the program. It keeps 256 messages for one that is busy and drops the others: where none may be
 * lost, have handlers call their server (`server.call()`) instead.
 *
 * Run `deno run --allow-net=127.0.0.1 --allow-read=. examples/thread_chat.ts`, then `nc 127.0.0.1 7073` in other terminals.
 */
import { parseArgs } from "@std/cli";
import { StreamRequestHandler, ThreadingTCPServer } from "@netkit/socketserver";

/** Serves one client of the chat, in a Worker. */
export class ChatHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;

  override async handle(): Promise<void> {
    const channel = new BroadcastChannel("chat"); // a Worker serves one client after the other, so one for each
    let writing = this.wfile.write("welcome\n");
    channel.onmessage = ({ data }) => {
      writing = writing.then(() => this.wfile.write(`${data}\n`));
      writing.catch(() => this.request.close()); // this one has gone, or never reads
    };
    try {
      for await (const line of this.rfile.lines()) {
        channel.postMessage(`${this.clientAddress.port}: ${line}`); // to all others, and not to this one
      }
    } finally {
      channel.close();
      await writing.catch(() => {}); // said above
    }
  }
}

if (import.meta.main) {
  const { port } = parseArgs(Deno.args, { string: ["port"], default: { port: "7073" } });
  const address = { hostname: "127.0.0.1", port: Number(port) };
  await using server = new ThreadingTCPServer(address, ChatHandler, { minSpareThreads: 2 });
  const leave = () => server.drain({ timeout: 1000 });
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);
  await server.serveForever({ onListen: (address) => console.log(`Listening on ${address}`) });
  console.log("Leaving.");
}
