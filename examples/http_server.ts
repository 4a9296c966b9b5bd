/**
 * A small HTTP/1.1 server: GET and HEAD of the files under a folder, over connections that stay open.
 *
 * Run `deno run --allow-net=localhost:8000 --allow-read=. examples/http_server.ts .`, then open
 * http://localhost:8000/README.md in a browser. In Python: `python -m http.server`, a StreamRequestHandler, too.
 */
import { parseArgs } from "@std/cli";
import { ConcurrentTCPServer, formatAddress, StreamRequestHandler } from "@netkit/socketserver";
import { LineTooLongError } from "@netkit/socketserver";

const REQUEST = /^([A-Z]+) (?:http:\/\/[^/ ]+)?(\/\S*|\*) HTTP\/1\.([01])$/;
const TEXT = "text/plain; charset=utf-8";
const TYPES = new Map([["html", "text/html"], ["css", "text/css"], ["js", "text/javascript"]]);
for (const textual of ["md", "txt"]) TYPES.set(textual, TEXT);

class FileServer extends ConcurrentTCPServer {
  root = "";
}

class HTTPHandler extends StreamRequestHandler {
  declare readonly server: FileServer;
  override timeout = 10_000; // also of a connection that stays open
  override wbufsize = -1; // the head of an answer goes out together with its body
  keepsAlive = false;
  method = "GET";

  override async handle(): Promise<void> {
    try {
      do {
        await this.handleOne();
        await this.wfile.flush();
      } while (this.keepsAlive);
    } catch (error) {
      if (error instanceof LineTooLongError) return await this.refuse("400 Bad Request");
      if (!(error instanceof Deno.errors.TimedOut)) throw error; // else the client is idle
    }
  }

  async handleOne(): Promise<void> {
    this.keepsAlive = false; // until the request is understood
    const head = new TextDecoder("latin1").decode(await this.rfile.readUntil("\r\n\r\n"));
    if (!head.endsWith("\r\n\r\n")) return; // the client has gone
    const request = parse(head);
    if (request === null) return await this.refuse("400 Bad Request");
    this.method = request.method;
    if (request.length <= 65536) {
      await this.rfile.readExactly(request.length); // behind it comes the next request
      this.keepsAlive = request.keepsAlive;
    }
    if (!/^(GET|HEAD)$/.test(this.method)) return await this.refuse("405 Method Not Allowed");
    const file = await this.find(request.path);
    await (file === null ? this.refuse("404 Not Found") : this.sendFile(file));
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
  }

  async sendHead(status: string, type: string, length: number): Promise<void> {
    console.log(`${formatAddress(this.clientAddress)} ${this.method} ${status}`);
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
    const [, method, target, minor] = REQUEST.exec(first!)!;
    const headers = new Headers(lines.map((line) => line.split(/:(.*)/s, 2) as [string, string]));
    const size = headers.has("transfer-encoding") ? "" : headers.get("content-length") ?? "0";
    const host = headers.get("host") ?? (minor === "0" ? "any" : "");
    if (!/^\d*$/.test(size) || !/^[^\s,/]+$/.test(host)) return null;
    const words = headers.get("connection")?.toLowerCase().split(/[ ,]+/) ?? [];
    const keepsAlive = minor === "0" ? words.includes("keep-alive") : !words.includes("close");
    const path = decodeURIComponent(target!.replace(/[?#].*$/, ""));
    return { method: method!, path, length: size === "" ? Infinity : Number(size), keepsAlive };
  } catch {
    return null; // no request, no header, or an escape such as "%zz"
  }
}

if (import.meta.main) {
  const { port, _ } = parseArgs(Deno.args, { string: ["port", "_"], default: { port: "8000" } });
  await using server = new FileServer({ hostname: "localhost", port: Number(port) }, HTTPHandler);
  server.root = (await Deno.realPath(`${_[0] ?? "."}`)).replace(/\/$/, "");
  console.log(`Listening on ${formatAddress(server.serverAddress)}`);
  Deno.addSignalListener("SIGINT", () => server.drain({ timeout: 1000 }));
  await server.serveForever();
  console.log("Leaving.");
}
