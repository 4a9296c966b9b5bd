/**
 * Runner and Relay: a request on its way to a worker and back, both ends of which are in this isolate.
 *
 * @module
 */
import { assert, assertEquals, assertInstanceOf, assertStringIncludes } from "@std/assert";
import { HandlerLoadError } from "@netkit/socketserver";
import {
  fromErrorMessage,
  type Init,
  type Outcome,
  type Start,
} from "../../src/channel/messages.ts";
import { FrameReader } from "../../src/channel/frame_reader.ts";
import { FrameWriter } from "../../src/channel/frame_writer.ts";
import { FRAME, type FrameType, FROM_WORKER } from "../../src/channel/frames.ts";
import { pack, unpack } from "../../src/channel/payload.ts";
import { Runner } from "../../src/workers/inside/runner.ts";
import { RingChannel } from "../../src/workers/thread/shared_ring.ts";
import { serialize } from "node:v8";
import { StreamCommandHandler } from "../handlers.ts";
import { bytes, text } from "../harness.ts";

const ADDRESS = { transport: "tcp", hostname: "127.0.0.1", port: 1 } as const;
const START: Start = {
  clientAddress: ADDRESS,
  serverAddress: ADDRESS,
  connection: { localAddr: ADDRESS, remoteAddr: ADDRESS, alpnProtocol: null },
};
const EMPTY = new Uint8Array(0);
const INIT: Init = {
  moduleUrl: StreamCommandHandler.moduleUrl,
  className: StreamCommandHandler.name,
};

/** The main end of a channel, with a runner at the other. */
class Main implements AsyncDisposable {
  readonly runner: Runner;
  readonly channel: RingChannel;
  readonly reader: FrameReader;
  readonly writer: FrameWriter;
  readonly running: Promise<void>;
  /** What waits in a ring keeps nothing alive. */
  readonly #alive = setInterval(() => {}, 60_000);

  constructor(capacity?: number) {
    const memory = RingChannel.allocate(capacity);
    this.channel = new RingChannel(memory, "main");
    this.reader = new FrameReader(this.channel, FROM_WORKER);
    this.writer = new FrameWriter(this.channel);
    this.runner = new Runner(new RingChannel(memory, "worker"), {
      closed() {},
      abortFault() {},
      call: () => Promise.reject(new Error("nothing is called here")),
    });
    this.running = this.runner.run();
    this.running.catch(() => {}); // whoever expects it awaits it
  }

  /** Starts a runner that has its handler. */
  static async ready(capacity?: number): Promise<Main> {
    const main = new Main(capacity);
    await main.writer.write(FRAME.INIT, pack(INIT));
    assertEquals(await main.reader.next(), FRAME.READY);
    return main;
  }

  start(): Promise<void> {
    return this.writer.write(FRAME.START, pack(START, EMPTY));
  }

  data(line: string): Promise<void> {
    return this.writer.write(FRAME.DATA, bytes(line));
  }

  /** Goes to the end of the request, collecting what the handler writes. */
  async done(): Promise<{ written: string; outcome: Outcome; others: FrameType[] }> {
    let written = "";
    const others: FrameType[] = [];
    while (true) {
      const type = await this.reader.next();
      assert(type !== null);
      const payload = await this.reader.payload();
      if (type === FRAME.DONE) return { written, outcome: unpack<Outcome>(payload).value, others };
      if (type === FRAME.DATA) written += text(payload);
      else others.push(type);
    }
  }

  /** Serves a request of one command, which ends at once. */
  async ask(command: string): Promise<string> {
    await this.start();
    await this.data(`${command}\n`);
    await this.writer.write(FRAME.END);
    const { written, outcome } = await this.done();
    assertEquals(outcome, {});
    return written;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.channel.close();
    await this.running.catch(() => {});
    clearInterval(this.#alive);
  }
}

Deno.test("Runner.run() serves one request after the other", async () => {
  await using main = await Main.ready();
  assertEquals(await main.ask("options"), "set");
  assertEquals(await main.ask("not-awaited"), "one two three");
});

Deno.test("Runner.run() ends when the channel is closed", async () => {
  await using main = await Main.ready();
  main.channel.close();
  await main.running;
});

Deno.test("Runner.run() serves a request that is cut off before it has read of it", async () => {
  await using main = await Main.ready();
  // All of it before the runner has a turn.
  void main.start();
  void main.data("hold\n");
  main.channel.interruptPeer();
  main.runner.abort(1);
  const { outcome } = await main.done();
  assertInstanceOf(fromErrorMessage(outcome.error!), Deno.errors.ConnectionReset);
  main.channel.clearInterrupt();
  assertEquals(await main.ask("options"), "set");
});

Deno.test("Runner.run() reads a request to its end that is cut off in the middle", async () => {
  await using main = await Main.ready(64); // the frame does not fit
  const started = main.start();
  main.channel.interruptPeer();
  main.runner.abort(1);
  await started;
  const { outcome } = await main.done();
  assertInstanceOf(fromErrorMessage(outcome.error!), Deno.errors.ConnectionReset);
  main.channel.clearInterrupt();
  assertEquals(await main.ask("not-awaited"), "one two three");
});

Deno.test("Runner.abort() means the request that comes when none is under way and no number is given", async () => {
  await using main = await Main.ready();
  main.runner.abort();
  await main.start();
  await main.data("hold\n");
  const { written, outcome } = await main.done();
  assertEquals([written, outcome], ["holding", {}]);
});

Deno.test("Runner.abort() of a request that has ended does nothing to the next", async () => {
  await using main = await Main.ready();
  assertEquals(await main.ask("options"), "set");
  main.runner.abort(1);
  await main.start();
  main.runner.abort(1);
  await main.data("describe\n");
  assertStringIncludes((await main.done()).written, '"aborted":false');
});

Deno.test("Runner.run() drops what came for the last request and was not read", async () => {
  await using main = await Main.ready();
  await main.start();
  await main.data("options\n");
  await main.data("x".repeat(60_000));
  await main.data("y".repeat(20_000));
  await main.writer.write(FRAME.END);
  assertEquals((await main.done()).written, "set");
  assertEquals(await main.ask("options"), "set");
});

Deno.test("Runner.run() tells what the handler threw", async () => {
  await using main = await Main.ready();
  await main.start();
  await main.data("fail\n");
  const error = fromErrorMessage((await main.done()).outcome.error!);
  assertInstanceOf(error, Deno.errors.NotFound);
  assertEquals(error.message, "no such thing");
});

Deno.test("Runner.run() fails the request whose context cannot be read, and serves the next", async () => {
  await using main = await Main.ready();
  await main.writer.write(FRAME.CONTEXT, bytes("no serialized value"));
  await main.start();
  const { outcome } = await main.done();
  assert(outcome.error !== undefined);
  await main.writer.write(FRAME.CONTEXT, new Uint8Array(serialize("a value")));
  assertEquals(await main.ask("options"), "set");
});

Deno.test("Runner.run() tells of socket options and closes in order", async () => {
  await using main = await Main.ready();
  await main.start();
  await main.data("options\n");
  const { others } = await main.done();
  assertEquals(others, [FRAME.SET_OPTION, FRAME.SET_OPTION, FRAME.SET_OPTION]);
  await main.start();
  await main.data("close\n");
  assertEquals((await main.done()).others, [FRAME.END, FRAME.CLOSE]);
});

Deno.test("Runner.run() tells that it cannot load the handler, then ends", async () => {
  await using main = new Main();
  await main.writer.write(FRAME.INIT, pack({ ...INIT, className: "NoSuchHandler" }));
  assertEquals(await main.reader.next(), FRAME.ERROR);
  const error = fromErrorMessage(unpack<never>(await main.reader.payload()).value);
  assertInstanceOf(error, HandlerLoadError);
  assertEquals(error.moduleUrl, INIT.moduleUrl);
  assertStringIncludes(error.message, 'write "export class NoSuchHandler"');
  await main.running;
});

Deno.test("Runner.run() fails when something else is written to its channel", async () => {
  await using main = await Main.ready();
  await main.channel.write(bytes("GET / HTTP/1.1\r\n"));
  const failure = await main.running.then(() => null, (error) => error);
  assertInstanceOf(failure, Deno.errors.InvalidData);
});
