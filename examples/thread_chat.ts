/**
 * A chat whose clients have a thread each: what one says goes to all others by a `BroadcastChannel`, which reaches every
 * Worker of the program. It keeps 256 messages for one that is busy and drops the others, as this does where a client is
 * slow to read: where none may be lost, have handlers call their server (`server.call()`) instead.
 *
 * Run `deno run --allow-net=127.0.0.1 --allow-read=. examples/thread_chat.ts`, then `nc 127.0.0.1 7073` in other terminals.
 */
import { parseArgs } from "@std/cli";
import { formatText, StreamRequestHandler, ThreadingTCPServer } from "@netkit/socketserver";

const MAX_UNREAD = 1_000_000; // characters; who has so many to read yet loses what comes

/** Serves one client of the chat, in a Worker. */
export class ChatHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override timeout = 600_000; // who says or reads nothing for so long keeps a thread from others
  override maxLineLength = 1000;
  #unread = "";
  #sending: Promise<void> | null = null;

  override async handle(): Promise<void> {
    const channel = new BroadcastChannel("chat"); // a Worker serves one client after the other, so one for each
    channel.onmessage = ({ data }) => this.tell(data);
    this.tell("welcome");
    try {
      for await (const line of this.rfile.lines()) { // to all others, with nothing in it that steers a terminal
        channel.postMessage(formatText(`${this.clientAddress.port}: ${line}`));
      }
    } finally {
      channel.close();
      await this.#sending;
    }
  }

  /** Sends a line and does not wait: who is slow to read delays nobody. */
  tell(line: string): void {
    if (this.#unread.length < MAX_UNREAD) this.#unread += `${line}\n`;
    this.#sending ??= this.#send().catch(() => this.request.close()); // this one has gone, or never reads
  }

  /** Sends all there is in one write, so that who reads keeps up with any number of lines. */
  async #send(): Promise<void> {
    while (this.#unread !== "") {
      const lines = this.#unread;
      this.#unread = "";
      await this.wfile.write(lines);
    }
    this.#sending = null;
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
