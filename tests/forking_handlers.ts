/**
 * Handlers for the tests of forking servers. They run in subprocesses, where most of them misbehave.
 *
 * Subprocesses may read nothing but modules, so this one imports no more than the package.
 *
 * @module
 */
import {
  BaseRequestHandler,
  DatagramRequestHandler,
  StreamRequestHandler,
} from "@netkit/socketserver";
import { writeSync } from "node:fs";
import process from "node:process";

const CHUNK = new Uint8Array(64 * 1024).fill(120);

const decoder = new TextDecoder();
const encoder = new TextEncoder();

/** Waits so many milliseconds. */
function delay(time: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, time));
}

/** Resolves when the request is cut off. */
function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve()));
}

/** A handler that does what the first line says. */
abstract class LineHandler extends StreamRequestHandler {
  protected async line(): Promise<string> {
    return decoder.decode(await this.rfile.readline()).trimEnd();
  }
}

/** Sends lines back. */
export class EchoHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override async handle(): Promise<void> {
    for await (const line of this.rfile) await this.wfile.write(line);
  }
}

/** Tells its process, then what its server told it. */
export class PidHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override async handle(): Promise<void> {
    await this.wfile.write(`${Deno.pid} ${Deno.inspect(this.server.context)}`);
  }
}

/** Says how long the text is that its server gave it. */
export class ContextHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;

  override async handle(): Promise<void> {
    await this.wfile.write(String(String(this.server.context).length));
  }
}

/** Tells its process and goes on when the client says so. */
export class HoldHandler extends LineHandler {
  static override readonly moduleUrl = import.meta.url;
  override async handle(): Promise<void> {
    await this.wfile.write(`${Deno.pid}\n`);
    await this.wfile.write(`bye ${await this.line()}\n`);
  }
}

/** Fails with what the client says. */
export class ThrowHandler extends LineHandler {
  static override readonly moduleUrl = import.meta.url;
  override async handle(): Promise<void> {
    throw new RangeError(await this.line(), { cause: new TypeError("the reason") });
  }
}

/** Ends its process. */
export class ExitHandler extends LineHandler {
  static override readonly moduleUrl = import.meta.url;
  override async handle(): Promise<void> {
    Deno.exit(Number(await this.line()));
  }
}

/** Leaves a rejection behind. */
export class LooseHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override async handle(): Promise<void> {
    void Promise.reject(new Error("nobody caught this"));
    await delay(10_000);
  }
}

/** Prints in all ways there are, and tries to read what is not meant for it. */
export class PrintHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override async handle(): Promise<void> {
    console.log("by log", { answer: 42 });
    console.error("by error");
    await Deno.stdout.write(encoder.encode("by stdout\n"));
    Deno.stdout.writeSync(encoder.encode("by sync stdout\n"));
    process.stdout.write("by process\n");
    const writer = Deno.stdout.writable.getWriter();
    await writer.write(encoder.encode("by stream\n"));
    console.log("stdin", await Deno.stdin.read(new Uint8Array(100)), process.stdin.read());
    for await (const line of this.rfile) await this.wfile.write(line);
  }
}

/** Prints more than a pipe holds. */
export class FloodLogHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override async handle(): Promise<void> {
    for (let n = 0; n < 5000; n++) console.log(`line ${n}`);
    const line = CHUNK.slice(0, 1024);
    line[1023] = 10;
    for (let n = 0; n < 1024; n++) Deno.stderr.writeSync(line);
    console.log("the last line");
    await this.wfile.write("done");
  }
}

/** Starts a process that prints, in the ways in which it would inherit its output. */
export class SpawnHandler extends LineHandler {
  static override readonly moduleUrl = import.meta.url;
  override async handle(): Promise<void> {
    await new Deno.Command("echo", { args: ["by spawn"] }).spawn().status;
    await new Deno.Command("echo", { args: ["lost"], stdout: "inherit" }).output();
    const { stdout } = await new Deno.Command("cat", { stdin: "inherit" }).output();
    await this.wfile.write(`${stdout.length} ${await this.line()}`);
  }
}

/** Writes to the real standard output, which is the protocol's. */
export class IntruderHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override async handle(): Promise<void> {
    writeSync(1, "not for the client\n");
    await this.wfile.write("never read");
  }
}

/** Does what may be forbidden. */
export class PermissionHandler extends LineHandler {
  static override readonly moduleUrl = import.meta.url;
  override async handle(): Promise<void> {
    const [what, value = ""] = (await this.line()).split(" ");
    if (what === "net") {
      (await Deno.connect({ hostname: "127.0.0.1", port: Number(value) })).close();
    } else if (what === "read") await Deno.readTextFile(value);
    else if (what === "env") await this.wfile.write(Deno.env.get(value) ?? "not set");
    else if (what === "run") await new Deno.Command(value).output();
    await this.wfile.write(" done");
  }
}

/** Finishes in good order when it is cut off. */
export class TidyHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override async handle(): Promise<void> {
    await this.wfile.write("ready\n");
    await aborted(this.signal);
    console.log("tidied up");
  }
}

/** Goes on when it is cut off. */
export class DeafHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override async handle(): Promise<void> {
    await this.wfile.write("ready\n");
    await delay(60_000);
  }
}

/** Goes on after SIGTERM, too. */
export class StubbornHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override async handle(): Promise<void> {
    Deno.addSignalListener("SIGTERM", () => console.log("ignored SIGTERM"));
    await this.wfile.write("ready\n");
    await delay(60_000);
  }
}

/** Never awaits, and so never sees that it is cut off, nor SIGTERM. */
export class SpinHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override async handle(): Promise<void> {
    Deno.addSignalListener("SIGTERM", () => {});
    await this.wfile.write("ready\n");
    while (true);
  }
}

/** Computes for as many milliseconds as the client says, after telling its process. */
export class ComputeHandler extends LineHandler {
  static override readonly moduleUrl = import.meta.url;
  override async handle(): Promise<void> {
    const time = Number(await this.line());
    await this.wfile.write(`${Deno.pid}\n`);
    const end = performance.now() + time;
    while (performance.now() < end);
    await this.wfile.write("computed\n");
  }
}

/** Tells its process and blocks until the client says something. */
export class BlockingHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override handle(): void {
    this.wfile.writeSync(`${Deno.pid}\n`);
    try {
      for (
        let line = this.rfile.readlineSync();
        line.length > 0;
        line = this.rfile.readlineSync()
      ) {
        this.wfile.writeSync(line);
      }
      this.wfile.writeSync("end\n");
    } catch (error) {
      console.log(`blocked: ${(error as Error).name}`);
      throw error;
    }
  }
}

/** Blocks for a while, twice in vain, then receives. */
export class BlockingTimeoutHandler extends BaseRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override handle(): void {
    const { request } = this;
    request.timeout = 50;
    for (let round = 0; round < 2; round++) {
      try {
        request.recvSync(10);
        request.sendAllSync("not in time\n");
      } catch (error) {
        request.sendAllSync(`${(error as Error).name}\n`);
      }
    }
    request.timeout = 10_000;
    request.sendAllSync(`got ${decoder.decode(request.recvSync(10))}\n`);
  }
}

/** Tells its process, and reads nothing until that gets a signal. */
export class SlowReaderHandler extends BaseRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override async handle(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    Deno.addSignalListener("SIGUSR2", resolve);
    await this.request.sendAll(`${Deno.pid}\n`);
    await promise;
    let count = 0;
    for (let data = await this.request.recv(); data.length > 0; data = await this.request.recv()) {
      count += data.length;
    }
    await this.request.sendAll(`${count}\n`);
  }
}

/** Writes without end, telling its server's log how much went out when it fails. */
export class FloodHandler extends BaseRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override async handle(): Promise<void> {
    let sent = 0;
    await this.request.sendAll(`${Deno.pid}\n`);
    try {
      while (true) {
        await this.request.sendAll(CHUNK);
        sent += CHUNK.length;
      }
    } finally {
      console.log(`sent ${sent}`);
    }
  }
}

/** Writes without end and without awaiting. */
export class BlockingFloodHandler extends BaseRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override handle(): void {
    while (true) this.request.sendAllSync(CHUNK);
  }
}

/** Answers when the client has said all, in pieces. */
export class HalfCloseHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override async handle(): Promise<void> {
    const all = await this.rfile.read();
    for (let n = 0; n < 4; n++) await this.wfile.write(all);
    await this.request.closeWrite();
    console.log("closed its side");
  }
}

/** Answers in upper case. */
export class UpperHandler extends DatagramRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override async handle(): Promise<void> {
    await this.wfile.write(decoder.decode(this.packet).toUpperCase());
  }
}

/** Answers later. */
export class LateUpperHandler extends DatagramRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override async handle(): Promise<void> {
    await delay(100);
    await this.socket.sendTo(
      encoder.encode(decoder.decode(this.packet).toUpperCase()),
      this.clientAddress,
    );
  }
}

class HiddenHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;
}

/** A class that no module exports. */
export const hidden = { HiddenHandler };

/** Says not where it is. */
export class HomelessHandler extends StreamRequestHandler {}
