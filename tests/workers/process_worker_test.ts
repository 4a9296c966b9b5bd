/**
 * ProcessWorker: what the main isolate does with a subprocess, real ones and one that is played here.
 *
 * @module
 */
import { assertEquals, assertNotEquals } from "@std/assert";
import { ProcessWorker } from "../../src/workers/process/process_worker.ts";
import type { Init, Start } from "../../src/channel/messages.ts";
import { FrameReader } from "../../src/channel/frame_reader.ts";
import { FrameWriter } from "../../src/channel/frame_writer.ts";
import { FRAME, TO_WORKER } from "../../src/channel/frames.ts";
import { pack, unpack } from "../../src/channel/payload.ts";
import { TidyHandler } from "../servers/forking_handlers.ts";
import { bytes, listeningSockets, until } from "../harness.ts";

const ADDRESS = { transport: "tcp", hostname: "127.0.0.1", port: 1 } as const;
const CONNECTION = { localAddr: ADDRESS, remoteAddr: ADDRESS, alpnProtocol: null };
const START: Start = { clientAddress: ADDRESS, serverAddress: ADDRESS, connection: CONNECTION };

/** A process that does what the test does. */
class PlayedProcess {
  readonly pid = 0;
  readonly #input = new TransformStream<Uint8Array, Uint8Array>();
  readonly #streams: ReadableByteStreamController[] = [];
  readonly stdin = this.#input.writable;
  readonly stdout = this.#output();
  readonly stderr = this.#output();
  readonly #ended = Promise.withResolvers<Deno.CommandStatus>();
  readonly status = this.#ended.promise;
  /** Whether it is between its end and its status. */
  dead = false;
  readonly calls: string[] = [];

  ref = () => this.#call("ref");
  unref = () => this.#call("unref");
  kill = (signal = "SIGTERM") => this.#call(signal);

  #call(name: string): void {
    this.calls.push(name);
    if (this.dead) throw new TypeError("Child process has already terminated");
  }

  #output(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return new ReadableStream({
      type: "bytes",
      start: (stream) => void this.#streams.push(stream),
    });
  }

  write(to: "stdout" | "stderr", data: string | Uint8Array): void {
    const chunk = typeof data === "string" ? bytes(data) : new Uint8Array(data);
    if (chunk.length > 0) this.#streams[to === "stdout" ? 0 : 1]!.enqueue(chunk);
  }

  end(): void {
    for (const stream of this.#streams) {
      try {
        stream.close();
      } catch {
        // nobody reads it any more
      }
    }
    this.#ended.resolve({ success: true, code: 0, signal: null });
  }

  /** Its end of the channel. */
  channel() {
    const reader = this.#input.readable.getReader();
    let rest = new Uint8Array(0);
    return {
      read: async (p: Uint8Array) => {
        if (rest.length === 0) rest = new Uint8Array((await reader.read()).value ?? []);
        const count = Math.min(p.length, rest.length);
        p.set(rest.subarray(0, count));
        rest = rest.subarray(count);
        return count === 0 ? null : count;
      },
      write: (p: Uint8Array) => Promise.resolve(this.write("stdout", p)),
      close() {},
    };
  }
}

/** A worker of a process that is played, with the handler loaded, and the key it was told. */
async function play(onLine: (line: string) => void) {
  const child = new PlayedProcess();
  const worker = new ProcessWorker(child as unknown as Deno.ChildProcess, onLine);
  const channel = child.channel();
  const reader = new FrameReader(channel, TO_WORKER);
  const ready = worker.init({ moduleUrl: "file:///h.ts", className: "Handler" });
  assertEquals(await reader.next(), FRAME.INIT);
  const { key = "" } = unpack<Init>(await reader.payload()).value;
  const writer = new FrameWriter(channel);
  writer.useKey(key);
  await writer.write(FRAME.READY);
  await ready;
  return { child, worker, key, writer };
}

Deno.test("fault 7: ProcessWorker hears of a closed connection only by the key of this child and the number of the request", async () => {
  const { child, worker, key } = await play(() => {});
  const other = await play(() => {});
  assertNotEquals(other.key, key);
  other.child.end();
  await other.worker.ended;
  let closed = 0;
  worker.onClosed = () => closed++;
  worker.count = 7;
  const others = [
    "\0@netkit/socketserver:closed 7\n",
    `\0${key} 6\n`,
    `${key} 7\n`,
    "\0 7\n",
    `\0x${key} 7\n`,
  ];
  for (const mark of others) child.write("stderr", mark);
  child.write("stderr", `\0${key} 7\n`);
  await until(() => closed > 0);
  assertEquals(closed, 1);
  child.end();
  await worker.ended;
});

Deno.test("fault 7: ProcessWorker logs all that a child prints, wherever a mark stands in that, however it is cut", async () => {
  const long = "x".repeat(20_000);
  for (let size = 1; size < 60; size += 7) {
    const lines: string[] = [];
    let closed = 0;
    const { child, worker, key } = await play((line) => lines.push(line));
    worker.onClosed = () => closed++;
    worker.count = 1;
    const mark = `\0${key} 1\n`;
    const printed = `be${mark}fore\n${mark}${mark}\0\n\0${key}\n${mark}last`;
    for (let at = 0; at < printed.length; at += size) {
      child.write("stderr", printed.slice(at, at + size));
      await null;
    }
    for (const part of [long + mark.slice(0, size), mark.slice(size), "\n"]) {
      child.write("stderr", part);
    }
    child.end();
    await worker.ended;
    const cut = lines.splice(3).join("");
    assertEquals([lines, closed, cut], [["before", "\0", `\0${key}`], 5, `last${long}`]);
  }
});

Deno.test("fault 13: ProcessWorker may be told anything between the end of its process and its status", async () => {
  const { child, worker } = await play(() => {});
  child.dead = true;
  worker.ref();
  worker.unref();
  worker.abort();
  worker.close();
  worker.kill();
  assertEquals(child.calls, ["ref", "unref", "SIGURG", "ref", "ref", "SIGTERM"]);
  child.end();
  await worker.ended;
});

Deno.test("fault 38: ProcessWorker.abort() is heard in the child, and opens no debugger", async () => {
  const { moduleUrl, name: className } = TidyHandler;
  const worker = await ProcessWorker.start({ moduleUrl, className }, {
    flags: [],
    env: Deno.env.toObject(),
    onLine: () => {},
  });
  worker.ref();
  assertEquals(listeningSockets(worker.pid), 0);
  worker.abort();
  await worker.writer.write(FRAME.START, pack(START, new Uint8Array(), new Uint8Array()));
  let type = await worker.reader.next();
  if (type === FRAME.DATA) type = await worker.reader.next(); // the request was faster than the signal
  assertEquals(type, FRAME.DONE);
  // Deno itself listens for signals from half a second after its start on.
  for (let time = 0; time < 1000; time += 50) {
    worker.abort();
    await new Promise((resolve) => setTimeout(resolve, 50));
    assertEquals(listeningSockets(worker.pid), 0);
  }
  worker.close();
  await worker.ended;
});
