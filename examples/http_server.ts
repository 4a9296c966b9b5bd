/**
 * A small HTTP/1.1 server: GET and HEAD of the files under a folder, over connections that stay open.
 *
 * Run `deno run --allow-net=localhost:8000 --allow-read=. examples/http_server.ts .`, then open
 * http://localhost:8000/README.md in a browser. In Python: `python -m http.server`, a StreamRequestHandler, too.
 */
import { parseArgs } from "@std/cli";
import { ConcurrentTCPServer, LineTooLongError, StreamRequestHandler } from "@netkit/socketserver";

/** A method, then a path or a whole URL, of which the path may be left out. */
const REQUEST = /^([A-Z]{1,20}) (?:(\/\S*|\*)|http:\/\/[^/?# ]+(\S*)) HTTP\/1\.([01])$/;
const MAX_HEAD = 16_384; // bytes
const MAX_BODY = 65_536; // bytes, which nobody looks at
const TEXT = "text/plain; charset=utf-8";
const TYPES = new Map([["html", "text/html"], ["css", "text/css"], ["js", "text/javascript"]]);
for (const textual of ["md", "txt"]) TYPES.set(textual, TEXT);

class FileServer extends ConcurrentTCPServer {
  root = "";
  patience = 10_000; // milliseconds for a whole request, and for an idle connection
}

/** Why a request is not served; the message is the status of the answer. */
class Refusal extends Error {}

class HTTPHandler extends StreamRequestHandler {
  declare readonly server: FileServer;
  override wbufsize = -1; // the head of an answer goes out together with its body
  keepsAlive = false;
  method = "?";

  override setup(): void | Promise<void> {
    this.timeout = this.server.patience;
    return super.setup();
  }

  override async handle(): Promise<void> {
    try {
      do {
        if (await this.rfile.atEnd()) return; // the client has ended the connection
        await this.handleOne();
        await this.wfile.flush();
      } while (this.keepsAlive);
    } catch (error) {
      if (!(error instanceof Deno.errors.TimedOut)) throw error; // it is idle, or does not read
    }
  }

  async handleOne(): Promise<void> {
    [this.keepsAlive, this.method] = [false, "?"]; // until the request is understood
    let isLate = false;
    // A time limit for all of it, which a byte now and then does not prolong: reads see the end, and writes go on
    const timer = setTimeout(() => {
      isLate = true;
      this.request.shutdown("read");
    }, this.server.patience);
    let file: string;
    try {
      file = await this.find(await this.receive().finally(() => clearTimeout(timer)));
    } catch (error) {
      const status = isLate ? "408 Request Timeout" : statusOf(error);
      return status === null ? undefined : await this.refuse(status);
    }
    await this.sendFile(file);
  }

  /** Reads a request, and gives the path that it asks for. */
  async receive(): Promise<string> {
    const data = await this.rfile.readUntil("\r\n\r\n", MAX_HEAD);
    const head = new TextDecoder("latin1").decode(data);
    if (!head.endsWith("\r\n\r\n")) throw new Deno.errors.UnexpectedEof("No whole request");
    const { method, path, length, keepsAlive, expects } = parse(head.slice(0, -4));
    this.method = method;
    const refusal = method === "GET" || method === "HEAD" ? null : "405 Method Not Allowed";
    if (length > MAX_BODY) throw new Refusal(refusal ?? "413 Content Too Large");
    if (expects && length > 0) {
      if (refusal !== null) throw new Refusal(refusal); // and it need not send its body
      await this.request.sendAll("HTTP/1.1 100 Continue\r\n\r\n");
    }
    await this.rfile.readExactly(length); // behind it comes the next request
    this.keepsAlive = keepsAlive;
    if (refusal !== null) throw new Refusal(refusal);
    return path;
  }

  /** The file that a path leads to, all links followed. */
  async find(path: string): Promise<string> {
    const { root } = this.server;
    try {
      const file = await Deno.realPath(`${root}${path}${path.endsWith("/") ? "index.html" : ""}`);
      if (file.startsWith(`${root}/`) && (await Deno.stat(file)).isFile) return file;
    } catch {
      // It does not exist, or may not be read: the client need not know which
    }
    throw new Refusal("404 Not Found");
  }

  async sendFile(path: string): Promise<void> {
    using file = await Deno.open(path);
    const type = TYPES.get(path.split(".").at(-1)!) ?? "application/octet-stream";
    let left = (await file.stat()).size; // no more is sent, even if the file grows meanwhile
    await this.sendHead("200 OK", type, left);
    if (this.method === "HEAD") return;
    for await (const chunk of file.readable) {
      left -= await this.wfile.write(chunk.subarray(0, left));
    }
    if (left > 0) this.keepsAlive = false; // it has shrunk, which only the end of the connection can say
  }

  async refuse(status: string): Promise<void> {
    await this.sendHead(status, TEXT, status.length);
    if (this.method !== "HEAD") await this.wfile.write(status);
    if (!this.keepsAlive) await this.linger();
  }

  /** Takes what the client still sends, for a second: to close on that would reset the connection and lose the answer. */
  async linger(): Promise<void> {
    await this.wfile.flush();
    await this.request.closeWrite();
    const timer = setTimeout(() => this.request.shutdown("read"), 1000);
    try {
      while ((await this.rfile.read1()).length > 0);
    } finally {
      clearTimeout(timer);
    }
  }

  async sendHead(status: string, type: string, length: number): Promise<void> {
    console.log(`${this.clientAddress} ${this.method} ${status}`);
    const connection = this.keepsAlive ? "keep-alive" : "close";
    await this.wfile.write(
      `HTTP/1.1 ${status}\r\nDate: ${new Date().toUTCString()}\r\nAllow: GET, HEAD\r\n` +
        `Content-Type: ${type}\r\nContent-Length: ${length}\r\nConnection: ${connection}\r\n\r\n`,
    );
  }
}

/** What a request is answered that was not received as a whole, or is refused; null where the client has gone. */
function statusOf(error: unknown): string | null {
  if (error instanceof Refusal) return error.message;
  if (error instanceof LineTooLongError) return "431 Request Header Fields Too Large";
  if (error instanceof Deno.errors.TimedOut) return "408 Request Timeout";
  if (error instanceof Deno.errors.UnexpectedEof) return null;
  throw error;
}

/** What the head of a request says. */
function parse(head: string) {
  try {
    const [first, ...lines] = head.split("\r\n");
    const [, method, target, rest, minor] = REQUEST.exec(first!)!;
    const headers = new Headers(lines.map((line) => line.split(/:(.*)/s, 2) as [string, string]));
    const size = headers.get("content-length") ?? "0";
    const host = headers.get("host") ?? (minor === "0" ? "any" : "");
    if (!/^\d+$/.test(size) || !/^[^\s,/]+$/.test(host)) throw new Error("not HTTP");
    const length = headers.has("transfer-encoding") ? Infinity : Number(size);
    const words = headers.get("connection")?.toLowerCase().split(/[ ,]+/) ?? [];
    const keepsAlive = minor === "0" ? words.includes("keep-alive") : !words.includes("close");
    const expects = minor === "1" && headers.get("expect")?.toLowerCase() === "100-continue";
    const path = (target ?? `/${rest!.replace(/^\//, "")}`).replace(/[?#].*$/, "");
    return { method: method!, path: decodeURIComponent(path), length, keepsAlive, expects };
  } catch {
    throw new Refusal("400 Bad Request"); // no request, no header, or an escape such as "%zz"
  }
}

if (import.meta.main) {
  const { port, patience, _ } = parseArgs(Deno.args, {
    string: ["port", "patience", "_"],
    default: { port: "8000", patience: "10000" },
  });
  await using server = new FileServer({ hostname: "localhost", port: Number(port) }, HTTPHandler);
  server.patience = Number(patience);
  server.root = (await Deno.realPath(`${_[0] ?? "."}`)).replace(/\/$/, "");
  const leave = () => server.drain({ timeout: 1000 });
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);
  console.log(`Listening on ${server.serverAddress}`);
  await server.serveForever();
  console.log("Leaving.");
}
