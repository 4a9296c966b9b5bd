/**
 * A mail server for tests: it takes any message for anybody, prints it as a line of JSON, and delivers nothing.
 *
 * Run `deno run --allow-net=127.0.0.1:2525 examples/smtp_sink.ts`, then let a program send its mail to 127.0.0.1:2525.
 * In Python, a client is `smtplib.SMTP("127.0.0.1", 2525)`.
 */
import { parseArgs } from "@std/cli";
import {
  ConcurrentTCPServer,
  formatAddress,
  LineTooLongError,
  StreamRequestHandler,
} from "@netkit/socketserver";

const MAX_MESSAGE = 1024 * 1024; // bytes
const MAX_RECIPIENTS = 100;

class SMTPHandler extends StreamRequestHandler {
  override timeout = 60_000;
  override maxLineLength = 10_000;
  from: string | null = null;
  to: string[] = [];

  override async handle(): Promise<void> {
    await this.answer("220 This is a sink for tests");
    try {
      for (let line = await this.line(); line !== null; line = await this.line()) {
        const [, verb = "", rest = ""] = /^(\w*) ?(.*)$/s.exec(line) ?? [];
        await this.answer(await this.obey(verb.toUpperCase(), rest));
        if (verb.toUpperCase() === "QUIT") return;
      }
    } catch (error) {
      if (!(error instanceof LineTooLongError)) throw error;
      await this.answer("500 That line is too long"); // and the connection ends
    }
  }

  async obey(verb: string, rest: string): Promise<string> {
    const address = /^(?:FROM|TO):\s*<([^<>]*)>/i.exec(rest)?.[1];
    if (verb === "EHLO" || verb === "HELO" || verb === "RSET") this.reset();
    if (verb === "EHLO") return `250-Hello\r\n250-8BITMIME\r\n250 SIZE ${MAX_MESSAGE}`;
    if (["HELO", "RSET", "NOOP"].includes(verb)) return "250 OK";
    if (verb === "QUIT") return "221 Bye";
    if (!["MAIL", "RCPT", "DATA"].includes(verb)) return "502 There is no such command here";
    if (verb !== "DATA" && address === undefined) return "501 Expected an address in <>";
    if ((this.from === null) !== (verb === "MAIL")) return "503 That is not the next step";
    if (verb === "MAIL") this.from = address!;
    else if (verb === "DATA") return await this.receive();
    else if (this.to.length >= MAX_RECIPIENTS) return "452 That are too many";
    else this.to.push(address!);
    return "250 OK";
  }

  async receive(): Promise<string> {
    if (this.to.length === 0) return "503 Nobody is to get it";
    await this.answer("354 Go on, and end with a dot in a line of its own");
    let data = "";
    for (let line = await this.line(); line !== "."; line = await this.line()) {
      if (line === null) return "451 It has no end";
      if (data.length <= MAX_MESSAGE) data += `${line.replace(/^\./, "")}\n`; // the rest is passed over
    }
    const { from, to } = this;
    this.reset();
    if (data.length > MAX_MESSAGE) return "552 That is too much";
    console.log(JSON.stringify({ from, to, data }).replace(/[\x7f-\x9f]/g, "?")); // nothing for a terminal
    return "250 OK";
  }

  /** The next line; only CR LF ends one, so that no message hides another. Null when the client has gone. */
  async line(): Promise<string | null> {
    const line = new TextDecoder().decode(await this.rfile.readUntil("\r\n"));
    return line.endsWith("\r\n") ? line.slice(0, -2) : null;
  }

  reset(): void {
    this.from = null;
    this.to = [];
  }

  async answer(line: string): Promise<void> {
    await this.wfile.write(`${line}\r\n`);
  }
}

if (import.meta.main) {
  const { port } = parseArgs(Deno.args, { string: ["port"], default: { port: "2525" } });
  const address = { hostname: "127.0.0.1", port: Number(port) };
  await using server = new ConcurrentTCPServer(address, SMTPHandler, { maxConnections: 50 });
  Deno.addSignalListener("SIGINT", () => server.drain({ timeout: 1000 }));
  console.log(`Listening on ${formatAddress(server.serverAddress)}`);
  await server.serveForever();
  console.log("Leaving.");
}
