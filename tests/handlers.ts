/**
 * Handlers that run anywhere: on the event loop, in Workers and in subprocesses.
 *
 * Subprocesses may read nothing but modules, so this one imports no more than the package.
 *
 * @module
 */
import {
  DatagramRequestHandler,
  LineTooLongError,
  ServerExit,
  StreamRequestHandler,
} from "@netkit/socketserver";

const decoder = new TextDecoder();

/** Waits until a request is cut off. */
export function aborted(signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  if (signal.aborted) resolve();
  signal.addEventListener("abort", () => resolve(), { once: true });
  return promise;
}

/** What a handler knows of itself, as text. */
function described(handler: StreamRequestHandler | DatagramRequestHandler): string {
  const { clientAddress, server, signal } = handler;
  const { serverAddress, context } = server;
  const seen = { clientAddress, serverAddress, aborted: signal.aborted };
  return `${JSON.stringify(seen)} ${Deno.inspect(context)}`;
}

/** Fails in a way that has all that an error can have. */
function fail(): never {
  const cause = new RangeError("the reason");
  throw Object.assign(new Deno.errors.NotFound("no such thing", { cause }), { code: "ENOENT" });
}

/** Does what the first line says. */
export class StreamCommandHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;

  override async handle(): Promise<void> {
    const command = decoder.decode(await this.rfile.readline()).trimEnd();
    const { request, rfile, wfile } = this;
    if (command === "echo") {
      for await (const line of rfile) await wfile.write(line);
    } else if (command === "fail") {
      fail();
    } else if (command === "describe") {
      await wfile.write(described(this));
    } else if (command === "addresses") {
      await wfile.write(JSON.stringify([request.localAddr, request.remoteAddr]));
    } else if (command === "count") {
      await wfile.write(String((await rfile.read()).length));
    } else if (command === "until-error") {
      await wfile.write("listening");
      let line = "";
      try {
        for await (const next of rfile) line = decoder.decode(next).trimEnd();
      } catch (error) {
        await wfile.write(`${line}, then ${(error as Error).name}`);
        throw error;
      }
    } else if (command === "close-write") {
      await wfile.write("all I say");
      await request.closeWrite();
      throw new Error(`heard ${decoder.decode(await rfile.read())}`);
    } else if (command === "close") {
      await wfile.write("gone");
      await request.closeWrite();
      request.close();
    } else if (command === "close-full") {
      const sending = request.sendAll(new Uint8Array(1 << 26));
      await wfile.flush();
      await new Promise((resolve) => setTimeout(resolve, 100));
      request.close();
      const error = await sending.catch((error) => error);
      if (!(error instanceof Error)) throw new Error("all was sent");
    } else if (command === "not-awaited") {
      for (const word of ["one ", "two ", "three"]) void wfile.write(word);
    } else if (command === "reads") {
      await wfile.write("reading");
      await Promise.all([1, 2, 3, 4].map(async (n) => {
        await wfile.write(`${n}${decoder.decode(await request.recv(1))}`);
      }));
    } else if (command === "options") {
      request.setNoDelay(true);
      request.setNoDelay(false);
      request.setKeepAlive(true);
      await wfile.write("set");
    } else if (command === "listen") {
      await wfile.write("listening");
      while ((await request.recv()).length > 0);
    } else if (command === "hold") {
      await wfile.write("holding");
      await aborted(this.signal);
    }
  }
}

/** Does what the datagram says. */
export class DatagramCommandHandler extends DatagramRequestHandler {
  static override readonly moduleUrl = import.meta.url;

  override async handle(): Promise<void> {
    const [command, ...rest] = decoder.decode(this.packet).split(" ");
    const { wfile, socket, clientAddress } = this;
    if (command === "") {
      await wfile.write("nothing came");
    } else if (command === "echo") {
      await wfile.write(rest.join(" "));
    } else if (command === "fail") {
      fail();
    } else if (command === "describe") {
      await wfile.write(described(this));
    } else if (command === "addresses") {
      await wfile.write(JSON.stringify([socket.localAddr]));
    } else if (command === "count") {
      await wfile.write(String(this.packet.length));
    } else if (command === "not-awaited") {
      for (const word of ["one", "two", "three"]) {
        void socket.sendTo(new TextEncoder().encode(word), clientAddress);
      }
    } else if (command === "blocking") {
      socket.sendToSync("one", clientAddress);
      try {
        socket.sendToSync(new Uint8Array(1 << 20), clientAddress);
      } catch (error) {
        socket.sendToSync((error as { code: string }).code, clientAddress);
      }
      await wfile.write("three");
    } else if (command === "too-long") {
      const sent = await socket.sendTo(new Uint8Array(1 << 20), clientAddress).catch((error) =>
        `${error.code}: ${error.message}`
      );
      await wfile.write(String(sent));
    } else if (command === "too-long-not-awaited") {
      void socket.sendTo(new Uint8Array(1 << 20), clientAddress);
      await wfile.write("sent");
    } else if (command === "too-long-not-caught") {
      await socket.sendTo(new Uint8Array(1 << 20), clientAddress);
    } else if (command === "answer-nothing") {
      await wfile.write("");
    } else if (command === "bye") {
      await socket.sendTo("holding", clientAddress);
      await aborted(this.signal);
      await socket.sendTo("bye", clientAddress);
    } else if (command === "hold") {
      await socket.sendTo(new TextEncoder().encode("holding"), clientAddress);
      await aborted(this.signal);
    }
  }
}

/** How many requests this isolate has served. */
let served = 0;

/** Does what only a Worker or a subprocess may do, or what nobody should, as the first line says. */
export class UnitCommandHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  static override readonly blocking: boolean = true;

  override async handle(): Promise<void> {
    served++;
    const line = decoder.decode(await this.rfile.readline()).trimEnd();
    const [command, argument = ""] = line.split(" ");
    const { request, wfile } = this;
    const number = Number(argument);
    if (command === "block") {
      if (request.canBlock) {
        wfile.writeSync("blocking");
        while (request.recvSync().length > 0);
      } else {
        await wfile.write("blocking");
        while ((await request.recv()).length > 0);
      }
    } else if (command === "echo-sync") {
      if (request.canBlock) {
        for (const text of this.rfile.linesSync()) wfile.writeSync(`${text}\n`);
      } else {
        for await (const text of this.rfile.lines()) await wfile.write(`${text}\n`);
      }
    } else if (command === "block-anyway") {
      wfile.writeSync("blocking");
    } else if (command === "spin") {
      await wfile.write("spinning");
      while (true);
    } else if (command === "read-on") {
      await wfile.write("reading");
      while (true) await this.rfile.readline(); // also at the end
    } else if (command === "spin-until") {
      await wfile.write("spinning");
      while (Atomics.load(this.server.context as Int32Array, 0) === 0);
    } else if (command === "spin-later") {
      await wfile.write("left a timer");
      setTimeout(() => {
        new BroadcastChannel("left").postMessage("running");
        while (true);
      }, 100); // when the request is over
    } else if (command === "stick") {
      await wfile.write("sticking");
      await new Promise(() => {});
    } else if (command === "read") {
      await wfile.write("reading");
      while ((await request.recv()).length > 0);
    } else if (command === "compute") {
      const end = performance.now() + number;
      while (performance.now() < end);
      await wfile.write("computed");
    } else if (command === "meet") { // never awaits until four are there
      Deno.writeTextFileSync(`${argument}/${crypto.randomUUID()}`, "");
      const end = performance.now() + 60_000;
      const isAlone = () => [...Deno.readDirSync(argument)].length < 4;
      while (isAlone() && performance.now() < end);
      await wfile.write(isAlone() ? "alone" : "met");
    } else if (command === "exit") {
      await wfile.write("last words");
      Deno.exit(number);
    } else if (command === "process-exit") {
      const process = await import("node:process");
      process.exit(number);
    } else if (command === "close-self") {
      (globalThis as unknown as { close(): void }).close();
      await new Promise(() => {});
    } else if (command === "throw-later") {
      setTimeout(() => {
        throw new RangeError("thrown by nobody");
      }, 0);
      await new Promise(() => {});
    } else if (command === "end-later") {
      setTimeout(() => (globalThis as unknown as { close(): void }).close(), 50);
    } else if (command === "served") {
      await wfile.write(String(served));
    } else if (command === "server") {
      await wfile.write(this.#lookAtServer());
    } else if (command === "exit-server") {
      throw new ServerExit();
    } else if (command === "throw") {
      throw this.#error(argument);
    } else if (command === "write") {
      let written = 0;
      try {
        const chunk = new Uint8Array(16 * 1024).fill(120);
        while (written < number) written += await wfile.write(chunk);
      } catch (error) {
        throw new Error(`wrote ${written}, then ${(error as Error).name}`);
      }
    } else if (command === "signal") {
      await wfile.write("waiting");
      await aborted(this.signal);
      const read = await request.recv().then(() => "nothing", (error) => error.name);
      throw new Error(`aborted, then ${read}`);
    } else if (command === "thread") {
      await wfile.write(`${(globalThis as { name?: string }).name}`);
    }
  }

  /** What of the server is there, and what says why it is not. */
  #lookAtServer(): string {
    const { server } = this;
    const view = server as unknown as Record<string, unknown>;
    return ["serverAddress", "context", "shutdown", "serverClose", "stats"].map((name) => {
      try {
        return `${name}: ${typeof view[name]}`;
      } catch (error) {
        return `${name}: ${(error as Error).name}: ${(error as Error).message}`;
      }
    }).join("\n");
  }

  #error(name: string): unknown {
    if (name === "string") return "just text";
    if (name === "object") return { some: "thing" };
    if (name === "type") return new TypeError("wrong type");
    if (name === "line") return new LineTooLongError(80);
    if (name === "timeout") return new Deno.errors.TimedOut("too late");
    if (name === "own") return new OwnError("mine");
    return new Error("plain");
  }
}

/** Does the same, and blocks nowhere, so that Workers may accept clients for it. */
export class AwaitingUnitCommandHandler extends UnitCommandHandler {
  static override readonly moduleUrl = import.meta.url;
  static override readonly blocking = false;
}

/** An error that only this module knows. */
export class OwnError extends Deno.errors.InvalidData {
  override name = "OwnError";
  readonly place = 7;
}

/** Has no name of its own. */
export default class extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override async handle(): Promise<void> {
    await this.wfile.write("by default");
  }
}

class HiddenNameHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override async handle(): Promise<void> {
    await this.wfile.write("by another name");
  }
}
export { HiddenNameHandler as OtherNameHandler };
