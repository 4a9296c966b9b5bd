/**
 * A handler for tests in which each client checks every byte that it gets, and the server every byte of a client.
 *
 * Subprocesses may read nothing but modules, so this one imports no more than the package.
 *
 * @module
 */
import { DatagramRequestHandler, StreamRequestHandler } from "@netkit/socketserver";

const decoder = new TextDecoder();
/** How many bytes are written at once. */
const CHUNK = 200_000;

/** Bytes of one client: they tell whose they are and which place they have. */
export function ownPattern(id: number, size: number, from = 0): Uint8Array<ArrayBuffer> {
  const data = new Uint8Array(size);
  for (let at = from, index = 0; index < size; at++, index++) {
    data[index] = id * 37 + at * 31 + (at >> 8) * 7 + (at >> 16);
  }
  return data;
}

/** Where the first byte stands that is not the client's own, or -1. */
export function firstForeign(data: Uint8Array, id: number, from = 0): number {
  for (let at = from, index = 0; index < data.length; at++, index++) {
    if (data[index] !== ((id * 37 + at * 31 + (at >> 8) * 7 + (at >> 16)) & 0xff)) return at;
  }
  return -1;
}

/** Does what the first line says: a command, the client's number, how many bytes, a time limit in milliseconds. */
export class OwnBytesHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  #fault: Error | null = null;

  override async finish(): Promise<void> {
    try {
      await super.finish();
    } catch (error) {
      throw this.#fault ?? error; // the log is to tell of the fault
    }
  }

  override async handle(): Promise<void> {
    const line = decoder.decode(await this.rfile.readline());
    const [command, id = 0, size = 0, timeout = 0] = line.split(" ").map((word, index) =>
      index === 0 ? word : Number(word)
    ) as [string, number, number, number];
    if (timeout > 0) this.request.timeout = timeout;
    if (command === "send") {
      await this.#send(id, size);
    } else if (command === "send-on") {
      const errors: unknown[] = [];
      const note = (error: unknown) => void errors.push(error);
      await this.#send(id, size).catch(note);
      await this.request.sendAll("and more").catch(note);
      await this.wfile.write("and more").catch(note);
      await this.request.closeWrite().catch(note);
      // In a Worker or subprocess the server's own time may be up first, which cuts the handler off.
      const [first, ...later] = errors;
      // A write that takes time again was begun again.
      const isBegun = later.some((error) =>
        error !== first && error instanceof Deno.errors.TimedOut
      );
      if (later.length < 3 || isBegun) {
        throw this.#fault = new Error(`wrote on after ${Deno.inspect(errors)}`);
      }
    } else if (command === "echo") {
      await this.#echo(id);
    }
  }

  async #send(id: number, size: number): Promise<void> {
    const { request } = this;
    for (let sent = 0; sent < size; sent += CHUNK) {
      const chunk = ownPattern(id, Math.min(CHUNK, size - sent), sent);
      try {
        await request.sendAll(chunk);
      } finally {
        chunk.fill(0); // ours again, whatever became of it
      }
    }
  }

  async #echo(id: number): Promise<void> {
    const { rfile, request } = this;
    for (let at = 0;;) {
      const data = await rfile.read1(65536);
      if (data.length === 0) return;
      const foreign = firstForeign(data, id, at);
      if (foreign >= 0) throw new TypeError(`byte ${foreign} of client ${id} is foreign`);
      at += data.length;
      await request.sendAll(data);
      data.fill(0);
    }
  }
}

/** Writes what is none, and does not await it. */
export class WrongWriteHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override async handle(): Promise<void> {
    const how = decoder.decode(await this.rfile.readline()).trimEnd();
    if (how === "wfile") void this.wfile.write(5 as never);
    else void this.request.sendAll({} as never);
  }
}

async function write(stream: WritableStream<Uint8Array>): Promise<void> {
  const writer = stream.getWriter();
  await writer.write(Uint8Array.of(120));
  writer.releaseLock();
}

function fail(): never {
  throw new Error("in the listener");
}

/** How much of what handlers have left behind still goes on in this isolate. */
export const goingOn = { count: 0 };

/** Leaves behind what the first line says, and ends. */
export class LeaveBehindHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;

  override async handle(): Promise<void> {
    const { request, rfile } = this;
    // To the byte, so that `request` has the rest.
    const what = decoder.decode(await request.recv(1)) + decoder.decode(await request.recv(7));
    const into = new WritableStream();
    if (what === "recv    ") void request.recv();
    else if (what === "read    ") void request.read(new Uint8Array(10));
    else if (what === "timed   ") this.#leaveTimed();
    else if (what === "readline") void rfile.readline();
    else if (what === "exactly ") void rfile.readExactly(10);
    else if (what === "lines   ") void rfile.lines().next();
    else if (what === "iterator") void rfile[Symbol.asyncIterator]().next();
    else if (what === "pipeTo  ") void request.readable.pipeTo(into);
    else if (what === "rfile   ") void rfile.readable.pipeTo(into);
    else if (what === "reader  ") void request.readable.getReader().read();
    else if (what === "loop    ") void this.#loop();
    else if (what === "response") void new Response(request.readable).text();
    else if (what === "rf-text ") void new Response(rfile.readable).text();
    else if (what === "any     ") void Promise.any([request.recv(), request.recv()]);
    else if (what === "several ") [1, 2, 3].forEach(() => void request.recv());
    else if (what === "caught  ") request.recv().catch(() => {});
    else if (what === "sendAll ") void this.#pump(() => request.sendAll("x"));
    else if (what === "write   ") void this.#pump(() => request.write(Uint8Array.of(120)));
    else if (what === "wfile   ") void this.#pump(() => this.wfile.write("x"));
    else if (what === "timer   ") this.#tick(() => void this.wfile.write("x"));
    else if (what === "then    ") this.#tick(() => void this.wfile.write("x").then(() => {}));
    else if (what === "flush   ") this.#tick(() => void request.sendAll("x").then(() => {}));
    else if (what === "writable") void this.#pump(() => write(request.writable));
    else if (what === "wstream ") void this.#pump(() => write(this.wfile.writable));
    else if (what === "throws  ") await this.#untilAborted(() => fail());
    else if (what === "rejects ") {
      await this.#untilAborted(() => void this.#pump(() => request.sendAll("x")));
    } else if (what === "reason  ") {
      await this.#untilAborted(() => void Promise.reject(this.signal.reason));
    }
    await request.sendAll("done");
  }

  /** Writes on in the background. */
  async #pump(send: () => Promise<unknown>): Promise<void> {
    goingOn.count++;
    try {
      while (true) {
        await send();
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    } finally {
      goingOn.count--;
    }
  }

  /** Writes on by a timer that is forgotten for a while. */
  #tick(send: () => void): void {
    let left = 20;
    goingOn.count++;
    const timer = setInterval(() => {
      if (left-- > 0) return send();
      clearInterval(timer);
      goingOn.count--;
    }, 1);
  }

  /** Waits for the end of its time, whatever the client does. */
  async #untilAborted(listener: () => void): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.signal.addEventListener("abort", listener);
    this.signal.addEventListener("abort", () => resolve());
    await promise;
  }

  #leaveTimed(): void {
    this.request.timeout = 60_000;
    void this.request.recv();
  }

  async #loop(): Promise<void> {
    for await (const line of this.rfile) void line;
  }
}

/** Sends each datagram back, in two halves, and makes its memory its own again. */
export class OwnDatagramHandler extends DatagramRequestHandler {
  static override readonly moduleUrl = import.meta.url;

  override async handle(): Promise<void> {
    const { packet, socket, clientAddress } = this;
    const half = packet.length >> 1;
    await Promise.all([packet.subarray(0, half), packet.subarray(half)].map(async (part) => {
      await socket.sendTo(part, clientAddress);
      part.fill(0);
    }));
  }
}
