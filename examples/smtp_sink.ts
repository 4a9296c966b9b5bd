/**
 * A mail server for tests: it takes any message for anybody, prints it as a line of JSON, and delivers nothing.
 *
 * Run `deno run --allow-net=127.0.0.1:2525 examples/smtp_sink.ts`, then let a program send its mail to 127.0.0.1:2525.
 * In Python, a client is `smtplib.SMTP("127.0.0.1", 2525)`.
 */
import { parseArgs } from "@std/cli";
import { ConcurrentTCPServer, LineTooLongError, StreamRequestHandler } from "@netkit/socketserver";

const MAX_MESSAGE = 1024 * 1024; // bytes
const MAX_RECIPIENTS = 100;

class SMTPHandler extends StreamRequestHandler {
  override timeout = 60_000;
  override maxLineLength = 10_000;
  mail: { from: string; to: string[] } | null = null; // what MAIL has begun

  override async handle(): Promise<void> {
    await this.wfile.write("220 This is a sink for tests\r\n");
    try {
      for (let line = await this.line(); line !== null; line = await this.line()) {
        const [, verb = "", rest = ""] = /^(\w*) ?(.*)$/s.exec(line) ?? [];
        await this.wfile.write(`${await this.obey(verb.toUpperCase(), rest)}\r\n`);
        if (verb.toUpperCase() === "QUIT") return;
      }
    } catch (error) {
      if (!(error instanceof LineTooLongError)) throw error;
      await this.wfile.write("500 That line is too long\r\n"); // and the connection ends
    }
  }

  async obey(verb: string, rest: string): Promise<string> {
    const address = /^(?:FROM|TO):\s*<([^<>]*)>/i.exec(rest)?.[1];
    if (verb === "EHLO" || verb === "HELO" || verb === "RSET") this.mail = null;
    if (verb === "EHLO") return `250-Hello\r\n250-8BITMIME\r\n250 SIZE ${MAX_MESSAGE}`;
    if (["HELO", "RSET", "NOOP"].includes(verb)) return "250 OK";
    if (verb === "QUIT") return "221 Bye";
    if (!["MAIL", "RCPT", "DATA"].includes(verb)) return "502 There is no such command here";
    if (verb !== "DATA" && address === undefined) return "501 Expected an address in <>";
    if (verb === "MAIL" && this.mail === null) this.mail = { from: address!, to: [] };
    else if (verb === "MAIL" || this.mail === null) return "503 That is not the next step";
    else if (verb === "DATA") return await this.receive(this.mail);
    else if (this.mail.to.length >= MAX_RECIPIENTS) return "452 That are too many";
    else this.mail.to.push(address!);
    return "250 OK";
  }

  async receive(mail: { to: string[] }): Promise<string> {
    if (mail.to.length === 0) return "503 Nobody is to get it";
    await this.wfile.write("354 Go on, and end with a dot in a line of its own\r\n");
    let data = "";
    for (let line = await this.line(); line !== "."; line = await this.line()) {
      if (line === null) return "451 It has no end";
      if (data.length <= MAX_MESSAGE) data += `${line.replace(/^\./, "")}\n`; // the rest is passed over
    }
    this.mail = null;
    if (data.length > MAX_MESSAGE) return "552 That is too much";
    const json = JSON.stringify({ ...mail, data });
    const escaped = (char: string) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`;
    console.log(json.replace(/[^ -~]/g, escaped)); // ASCII alone steers no terminal, and stays JSON
    return "250 OK";
  }

  /** The next line; only CR LF ends one, so that no message hides another. Null when the client has gone. */
  async line(): Promise<string | null> {
    const line = new TextDecoder().decode(await this.rfile.readUntil("\r\n"));
    return line.endsWith("\r\n") ? line.slice(0, -2) : null;
  }
}

if (import.meta.main) {
  const { port } = parseArgs(Deno.args, { string: ["port"], default: { port: "2525" } });
  const address = { hostname: "127.0.0.1", port: Number(port) };
  await using server = new ConcurrentTCPServer(address, SMTPHandler, { maxConnections: 50 });
  const leave = () => server.drain({ timeout: 1000 });
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);
  console.log(`Listening on ${server.serverAddress}`);
  await server.serveForever();
  console.log("Leaving.");
}
