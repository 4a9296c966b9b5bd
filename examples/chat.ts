/**
 * A chat: what one client says, all others read. The server keeps a table of its clients, who share its memory.
 *
 * Run `deno run --allow-net=0.0.0.0:20000 examples/chat.ts`, then `nc localhost 20000` in several other terminals; the
 * first line is your name. Python's documentation describes it as a table of partly finished requests.
 */
import { parseArgs } from "@std/cli";
import { ConcurrentTCPServer, StreamRequestHandler } from "@netkit/socketserver";
import { formatText, LineTooLongError } from "@netkit/socketserver";

const MAX_UNREAD = 1_000_000; // characters; who has so many to read yet is cut off

class ChatServer extends ConcurrentTCPServer {
  /** The table: who is in the chat, by name. */
  readonly members = new Map<string, ChatHandler>();

  /** Tells all members but one. */
  broadcast(line: string, except?: ChatHandler): void {
    for (const member of this.members.values()) if (member !== except) member.tell(line);
  }
}

class ChatHandler extends StreamRequestHandler {
  declare readonly server: ChatServer;
  override maxLineLength = 1000;
  #unread = "";
  #sending: Promise<void> | null = null;

  override async handle(): Promise<void> {
    const { members } = this.server;
    const lines = this.rfile.lines();
    const { value: name } = await lines.next();
    if (!name || !/^\w{1,20}$/.test(name) || members.has(name)) {
      return this.tell("Please come again with another name");
    }
    members.set(name, this);
    try {
      this.server.broadcast(`* ${name} has come, we are ${members.size}`);
      // In one line, and with nothing in it that steers a terminal
      for await (const line of lines) this.server.broadcast(formatText(`${name}: ${line}`), this);
    } catch (error) {
      if (!(error instanceof LineTooLongError)) throw error;
      this.tell("* That is too long");
    } finally {
      members.delete(name);
      this.server.broadcast(`* ${name} has gone, we are ${members.size}`);
      await this.#sending;
    }
  }

  /** Sends a line and does not wait: who is slow to read delays nobody, and is cut off in the end. */
  tell(line: string): void {
    this.#unread += `${line}\n`;
    if (this.#unread.length > MAX_UNREAD) this.request.close();
    this.#sending ??= this.#send().catch(() => {}); // one that has gone is seen by its own handle()
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
  const { port } = parseArgs(Deno.args, { string: ["port"], default: { port: "20000" } });
  await using server = new ChatServer({ hostname: "", port: Number(port) }, ChatHandler);
  const leave = () => server.drain({ timeout: 1000 });
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);
  console.log(`Listening on ${server.serverAddress}`);
  await server.serveForever();
  console.log("Leaving.");
}
