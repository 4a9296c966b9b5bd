/**
 * A broker of messages: `sub TOPIC` asks for them, `pub TOPIC TEXT` sends one to all who asked.
 *
 * Run `deno run --allow-net=127.0.0.1:7777 examples/pub_sub.ts`, then `nc 127.0.0.1 7777` in several other terminals.
 */
import { parseArgs } from "@std/cli";
import { ConcurrentTCPServer, StreamRequestHandler } from "@netkit/socketserver";

const MAX_TOPICS = 100; // of one client
const MAX_UNREAD = 1_000_000; // characters; who has so many to read yet is cut off

class Broker extends ConcurrentTCPServer {
  readonly topics = new Map<string, Set<ClientHandler>>();
}

class ClientHandler extends StreamRequestHandler {
  declare readonly server: Broker;
  override maxLineLength = 10_000; // a longer line ends the connection
  readonly #topics = new Set<string>();
  #unread = "";
  #sending: Promise<void> | null = null;

  override async handle(): Promise<void> {
    for await (const line of this.rfile.lines()) {
      const [, command, topic = "", text] = /^(\w+) (\S{1,100})(?: (.*))?$/.exec(line) ?? [];
      const subscribers = this.server.topics.get(topic);
      if (command === "pub" && text !== undefined) {
        subscribers?.forEach((subscriber) => subscriber.tell(`msg ${topic} ${text}`));
        this.tell(`ok ${subscribers?.size ?? 0}`);
      } else if (command === "sub" && text === undefined && this.#topics.size < MAX_TOPICS) {
        this.server.topics.set(topic, (subscribers ?? new Set()).add(this));
        this.#topics.add(topic);
        this.tell("ok");
      } else this.tell("error expected sub TOPIC or pub TOPIC TEXT");
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

  override async finish(): Promise<void> {
    for (const topic of this.#topics) {
      const subscribers = this.server.topics.get(topic)!;
      subscribers.delete(this);
      if (subscribers.size === 0) this.server.topics.delete(topic); // nothing is left of who has gone
    }
    await this.#sending;
    await super.finish();
  }
}

if (import.meta.main) {
  const { port } = parseArgs(Deno.args, { string: ["port"], default: { port: "7777" } });
  await using server = new Broker({ hostname: "127.0.0.1", port: Number(port) }, ClientHandler);
  const leave = () => server.drain({ timeout: 1000 });
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);
  console.log(`Listening on ${server.serverAddress}`);
  await server.serveForever();
  console.log("Leaving.");
}
