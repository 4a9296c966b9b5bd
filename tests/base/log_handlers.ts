/**
 * Handlers whose errors a server logs, for the tests of the log. They run in Workers and subprocesses, too.
 *
 * @module
 */
import { StreamRequestHandler, StreamSocket } from "@netkit/socketserver";

const decoder = new TextDecoder();

/** Fails in the way that the first line says. */
export class FailingHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override async handle(): Promise<void> {
    const line = decoder.decode(await this.rfile.readline()).trimEnd();
    const [command = "", ...words] = line.split(" ");
    switch (command) {
      case "upstream":
        return await this.#writeTo(Number(words[0]));
      case "forge":
        throw new Deno.errors.ConnectionReset("Connection reset by peer");
      case "parse":
        return JSON.parse(line.slice("parse ".length));
      case "print":
        return console.log(line);
      case "begun":
        await this.wfile.write("begun\n");
        return void await this.rfile.readline();
      case "short":
        return void await this.rfile.readExactly(100);
      case "long":
        return void await this.rfile.readline(4);
      case "close": {
        const reading = this.rfile.readline();
        this.request.close();
        return void await reading;
      }
      case "silent":
        this.request.timeout = 20;
        return void await this.rfile.readline();
    }
  }

  /** Writes to a server of its own that does not want it, as to a database that restarts. */
  async #writeTo(port: number): Promise<void> {
    using upstream = new StreamSocket(await Deno.connect({ hostname: "127.0.0.1", port }));
    while (true) await upstream.sendAll("a query\n");
  }
}
