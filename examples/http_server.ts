/**
 * A small HTTP/1.1 server: GET and HEAD of the files under a folder, over connections that stay open.
 *
 * Run `deno run --allow-net=localhost:8000 --allow-read=. examples/http_server.ts .`, then open
 * http://localhost:8000/README.md in a browser. In Python: `python -m http.server`, a StreamRequestHandler, too.
 */
import { parseArgs } from "@std/cli";
import {
  ConcurrentTCPServer,
  IncompleteReadError,
  LineTooLongError,
  StreamRequestHandler,
} from "@netkit/socketserver";

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

class HTTPHandler extends StreamRequestHandler {
  declare readonly server: FileServer;
  override wbufsize = -1; // the head of an answer goes out together with its body
  keepsAlive = false;
  method = "?";
  path = "";
  isLate = false;

  override setup(): void | Promise<void> {
    this.timeout = this.server.patience;
    return super.setup();
  }

  override async handle(): Promise<void> {
    try {
      do {
        if ((await this.rfile.peek(1)).length === 0) return; // the client has ended the connection
        await this.handleOne();
        await this.wfile.flush();
      } while (this.keepsAlive);
    } catch (error) {
      if (!(error instanceof Deno.errors.TimedOut)) throw error; // it is idle, or does not read
    }
  }

  async handleOne(): Promise<void> {
    [this.keepsAlive, this.method] = [false, "?"]; // until the request is understood
    // A time limit for all of it, which a byte now and then does not prolong: reads see the end, and writes go on
    const timer = setTimeout(() => {
      this.isLate = true;
      this.request.shutdown("read");
    }, this.server.patience);
    const refusal = await this.receive().finally(() => clearTimeout(timer));
    if (this.isLate) return await this.refuse("408 Request Timeout");
    if (refusal === null) return; // the client has gone
    if (refusal !== "") return await this.refuse(refusal);
    const file = await this.find(this.path);
    await (file === null ? this.refuse("404 Not Found") : this.sendFile(file));
  }

  /** Reads a request; gives why it is refused, "" when it is not, null when it has no end. */
  async receive(): Promise<string | null> {
    try {
      const data = await this.rfile.readUntil("\r\n\r\n", MAX_HEAD);
      const head = new TextDecoder("latin1").decode(data);
      if (!head.endsWith("\r\n\r\n")) return null;
      const request = parse(head);
      if (request === null) return "400 Bad Request";
      this.method = request.method;
      this.path = request.path;
      const isAllowed = /^(GET|HEAD)$/.test(this.method);
      if (request.length > MAX_BODY) {
        return isAllowed ? "413 Content Too Large" : "405 Method Not Allowed";
      }
      if (request.length > 0 && request.expects) {
        if (!isAllowed) return "405 Method Not Allowed"; // and it need not send its body
        await this.request.sendAll("HTTP/1.1 100 Continue\r\n\r\n");
      }
      await this.rfile.readExactly(request.length); // behind it comes the next request
      this.keepsAlive = request.keepsAlive;
      return isAllowed ? "" : "405 Method Not Allowed";
    } catch (error) {
      if (error instanceof LineTooLongError) return "431 Request Header Fields Too Large";
      if (error instanceof Deno.errors.TimedOut) this.isLate = true;
      else if (!(error instanceof IncompleteReadError)) throw error;
      return null;
    }
  }

  /** The file that a path leads to, all links followed; null where there is none in the folder. */
  async find(path: string): Promise<string | null> {
    const { root } = this.server;
    try {
      const file = await Deno.realPath(`${root}${path}${path.endsWith("/") ? "index.html" : ""}`);
      return file.startsWith(`${root}/`) && (await Deno.stat(file)).isFile ? file : null;
    } catch {
      return null; // it does not exist, or may not be read: the client need not know which
    }
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

/** What the head of a request says; null when it is none. */
function parse(head: string) {
  try {
    const [first, ...lines] = head.slice(0, -4).split("\r\n");
    const [, method, target, rest, minor] = REQUEST.exec(first!)!;
    const headers = new Headers(lines.map((line) => line.split(/:(.*)/s, 2) as [string, string]));
    const size = headers.has("transfer-encoding") ? "" : headers.get("content-length") ?? "0";
    const host = headers.get("host") ?? (minor === "0" ? "any" : "");
    if (!/^\d*$/.test(size) || !/^[^\s,/]+$/.test(host)) return null;
    const words = headers.get("connection")?.toLowerCase().split(/[ ,]+/) ?? [];
    const keepsAlive = minor === "0" ? words.includes("keep-alive") : !words.includes("close");
    const path = decodeURIComponent(
      (target ?? `/${rest!.replace(/^\//, "")}`).replace(/[?#].*$/, ""),
    );
    const expects = minor === "1" && headers.get("expect")?.toLowerCase() === "100-continue";
    return {
      method: method!,
      path,
      length: size === "" ? Infinity : Number(size),
      keepsAlive,
      expects,
    };
  } catch {
    return null; // no request, no header, or an escape such as "%zz"
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
