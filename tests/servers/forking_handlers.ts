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
import { spawn, spawnSync } from "node:child_process";
import nodeConsole from "node:console";
import { once } from "node:events";
import { createWriteStream, readSync, writeFileSync, writeSync } from "node:fs";
import { Socket } from "node:net";
import process from "node:process";
import tty from "node:tty";
import { aborted } from "../handlers.ts";

const CHUNK = new Uint8Array(64 * 1024).fill(120);

const decoder = new TextDecoder();
const encoder = new TextEncoder();

/** Waits so many milliseconds. */
function delay(time: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, time));
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

/** Answers with the descriptors of a process that it starts. */
export class InheritHandler extends LineHandler {
  static override readonly moduleUrl = import.meta.url;
  override async handle(): Promise<void> {
    const { stdout } = await new Deno.Command("ls", { args: ["/proc/self/fd"] }).output();
    await this.wfile.write(stdout);
  }
}

/** The ways in which {@linkcode IntruderHandler} writes to descriptor 1. */
export const WAYS = ["writeSync", "writeFileSync", "stream", "console", "tty", "socket"].map((
  way,
) => `by ${way}`);

/** Writes what the client says to descriptor 1 in all ways there are, and tells what 0 has to read. */
export class IntruderHandler extends LineHandler {
  static override readonly moduleUrl = import.meta.url;
  override async handle(): Promise<void> {
    const line = decoder.decode(await this.rfile.readline());
    writeSync(1, `by writeSync ${line}`);
    writeFileSync(1, `by writeFileSync ${line}`);
    const stream = createWriteStream("", { fd: 1, autoClose: false });
    await new Promise<void>((resolve) => stream.end(`by stream ${line}`, () => resolve()));
    nodeConsole.log(`by console ${line.trimEnd()}`);
    if (Deno.permissions.querySync({ name: "run", command: "sh" }).state === "granted") {
      const script = (
        way: string,
      ) => ["-c", 'cat 2>/dev/null; printf %s "$0"', `by ${way} ${line}`];
      const stdio = "inherit";
      spawnSync("sh", script("spawnSync"), { stdio });
      await once(spawn("sh", script("spawn"), { stdio }), "exit");
      const args = script("Deno.Command");
      const command = new Deno.Command("sh", { args, stdin: stdio, stdout: stdio });
      await command.spawn().status;
    }
    const nothing = new Uint8Array(100);
    const read = [readSync(0, nothing), await Deno.stdin.read(nothing), readSync(0, nothing)];
    for (const out of [new tty.WriteStream(1), new Socket({ fd: 1 })]) {
      const way = out instanceof tty.WriteStream ? "tty" : "socket";
      await new Promise<void>((resolve) => out.write(`by ${way} ${line}`, () => resolve()));
    }
    await this.wfile.write(line);
    for await (const more of this.rfile) await this.wfile.write(more);
    await this.wfile.write(`${read.map(String).join(" ")}\n`);
  }
}

/** Sends and prints much at once. */
export class TalkativeHandler extends BaseRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override async handle(): Promise<void> {
    for (let n = 0; n < 64; n++) {
      const sent = this.request.sendAll(CHUNK);
      for (let m = 0; m < 4; m++) writeSync(1, `${"y".repeat(4095)}\n`);
      await sent;
    }
  }
}

/** Tries to tell others a secret, and to keep something for the next request; says which of that was refused. */
export class SealedHandler extends LineHandler {
  static override readonly moduleUrl = import.meta.url;
  override async handle(): Promise<void> {
    const host = await this.line();
    const secret = crypto.randomUUID();
    const ways: Record<string, () => unknown> = {
      npm: () => import(`npm:x-${secret}`),
      jsr: () => import(`jsr:@x/x-${secret}`),
      http: () => import(`http://${host}/${secret}.ts`),
      localStorage: () => localStorage.setItem("secret", secret),
      caches: async () => {
        const cache = await caches.open("secret");
        await cache.put("http://secret/", new Response(secret));
      },
      openKv: () => (Deno as unknown as { openKv(): Promise<Disposable> }).openKv(),
    };
    for (const [name, attempt] of Object.entries(ways)) {
      try {
        await attempt();
      } catch {
        continue;
      }
      await this.wfile.write(`${name} `);
    }
    await this.wfile.write("sealed");
  }
}

/** Gives what the request before has left in a Worker's `caches`, and leaves what the client says. */
export class CachesHandler extends LineHandler {
  static override readonly moduleUrl = import.meta.url;
  override async handle(): Promise<void> {
    const program = `onmessage = async ({ data }) => {
      const cache = await caches.open("kept");
      const before = await (await cache.match("https://x/"))?.text();
      await cache.put("https://x/", new Response(data));
      postMessage(String(before));
    };`;
    const worker = new Worker(`data:text/javascript,${encodeURIComponent(program)}`, {
      type: "module",
    });
    const { promise, resolve } = Promise.withResolvers<MessageEvent<string>>();
    worker.onmessage = resolve;
    worker.postMessage(await this.line());
    const { data } = await promise;
    worker.terminate();
    await this.wfile.write(data);
  }
}

/** Takes away what could end its process, and waits. */
export class EndlessHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override async handle(): Promise<void> {
    for (let id = 0; id < 1000; id++) clearInterval(id);
    Object.defineProperty(Deno, "exit", { value: () => {} });
    await this.wfile.write(`${Deno.pid}\n`);
    await new Promise((resolve) => setTimeout(resolve, 60_000));
  }
}

/** Fills its heap. */
export class HeapHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override handle(): void {
    for (const kept: unknown[] = [];;) kept.push(Array.from({ length: 1000 }, () => ({})));
  }
}

/** Sends a datagram to the port that the client says, then tells the client. */
export class ForwardHandler extends DatagramRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override async handle(): Promise<void> {
    const port = Number(decoder.decode(this.packet));
    try {
      const address = { transport: "udp", hostname: "127.0.0.1", port } as const;
      await this.socket.sendTo(encoder.encode("forwarded"), address);
      await this.wfile.write("done");
    } catch (error) {
      await this.wfile.write((error as Error).message);
    }
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

/** Adds one to the number in the shared memory of its context as often as it is told, and waits before for all to be there. */
export class CounterHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;

  override async handle(): Promise<void> {
    const { counter } = this.server.context as { counter: Int32Array };
    const times = Number(new TextDecoder().decode(await this.rfile.readline()));
    for (let left = times; left > 0; left--) Atomics.add(counter, 0, 1);
    await this.wfile.write("done\n");
  }
}

/** Tells what its context is, and leaves its mark there. */
export class MarkHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;

  override async handle(): Promise<void> {
    const { context } = this.server;
    await this.wfile.write(`${Deno.inspect(context)}\n`);
    if (typeof context === "object" && context !== null) Object.assign(context, { marked: true });
  }
}
