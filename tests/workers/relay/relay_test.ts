/**
 * Relay: the main side of a request, with a worker in this isolate.
 *
 * @module
 */
import { assert, assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import { LineTooLongError, StreamSocket, WorkerDiedError } from "@netkit/socketserver";
import { formatAddress } from "../../../src/base/address.ts";
import { isOfClient } from "../../../src/base/errors.ts";
import { DatagramSocket } from "../../../src/sockets/datagram_socket.ts";
import { Relay, type RemoteRequest } from "../../../src/workers/relay/relay.ts";
import { type Outcome, toErrorMessage, type Wait } from "../../../src/channel/messages.ts";
import { FrameReader } from "../../../src/channel/frame_reader.ts";
import { FrameWriter } from "../../../src/channel/frame_writer.ts";
import { FRAME, HEADER_BYTES, TO_WORKER } from "../../../src/channel/frames.ts";
import { pack } from "../../../src/channel/payload.ts";
import { PipeChannel } from "../../../src/workers/process/pipe.ts";
import { Runner } from "../../../src/workers/inside/runner.ts";
import { RingChannel } from "../../../src/workers/thread/shared_ring.ts";
import { HandlerWorker, type WorkerEnd } from "../../../src/workers/worker.ts";
import { DatagramCommandHandler } from "../../handlers.ts";
import { bytes, LOOPBACK, text, until, writeAll } from "../../harness.ts";

const ADDRESS = { transport: "udp", hostname: "127.0.0.1", port: 1 } as const;

/** A worker that is no more than the other end of a channel. */
class LocalWorker extends HandlerWorker implements AsyncDisposable {
  readonly name = "local worker";
  readonly reusableAfterAbort = true;
  canKill = true;
  readonly ended: Promise<WorkerEnd>;
  killed = false;
  readonly #end: (end: WorkerEnd) => void;
  readonly #main: RingChannel;
  readonly #runner: Runner;
  readonly #running: Promise<void>;
  /** What waits in a ring keeps nothing alive. */
  readonly #alive = setInterval(() => {}, 60_000);

  /** The other end. */
  readonly unitEnd: RingChannel;

  /** @param runs Whether a handler runs at the other end. */
  constructor(runs = true) {
    const memory = RingChannel.allocate();
    const main = new RingChannel(memory, "main");
    super(main);
    this.#main = main;
    this.unitEnd = new RingChannel(memory, "worker");
    const { promise, resolve } = Promise.withResolvers<WorkerEnd>();
    this.ended = promise;
    this.#end = resolve;
    this.#runner = new Runner(this.unitEnd, {
      closed: (number) => this.closed(number),
      abortFault() {},
      call: () => Promise.reject(new Error("nothing is called here")),
    });
    this.#running = runs ? this.#runner.run().catch(() => {}) : Promise.resolve();
  }

  static async ready(): Promise<LocalWorker> {
    const worker = new LocalWorker();
    const { moduleUrl, name: className } = DatagramCommandHandler;
    await worker.init({ moduleUrl, className });
    return worker;
  }

  abort(): void {
    this.#main.interruptPeer();
    this.#runner.abort(this.count);
  }

  clearAbort(): void {
    this.#main.clearInterrupt();
  }

  close(): void {
    this.kill();
  }

  kill(): void {
    this.killed = true;
    this.#main.close();
    this.#end({ code: null, signal: null });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.kill();
    await this.#running;
    clearInterval(this.#alive);
  }
}

/** A request for a datagram handler, whose answers go where `send` says. */
function request(
  command: string,
  send: (data: Uint8Array) => Promise<number>,
  signal: AbortSignal = new AbortController().signal,
): RemoteRequest {
  return {
    start: { clientAddress: ADDRESS, serverAddress: ADDRESS, connection: null },
    call: () => Promise.reject(new Error("nothing is called here")),
    context: { version: 0, packed: new Uint8Array(), value: undefined },
    signal,
    client: { packet: bytes(command), socket: new DatagramSocket({ addr: ADDRESS, send }) },
  };
}

Deno.test("Relay.run() sends one datagram at a time, and is over when all have been sent", async () => {
  await using worker = await LocalWorker.ready();
  const sent: string[] = [];
  const pending: (() => void)[] = [];
  const send = async (data: Uint8Array) => {
    sent.push(text(data));
    await new Promise<void>((resolve) => pending.push(resolve));
    return data.length;
  };
  let isOver = false;
  const relay = new Relay(worker, request("not-awaited", send));
  const running = relay.run().then(() => isOver = true);
  for (const expected of [["one"], ["one", "two"], ["one", "two", "three"]]) {
    await until(() => pending.length > 0);
    await new Promise((resolve) => setTimeout(resolve, 0));
    assertEquals([sent, isOver], [expected, false]);
    pending.shift()!();
  }
  await running;
  assert(relay.reusable);
});

Deno.test("Relay.run() ends when its request is cut off though a datagram does not go out", async () => {
  await using worker = await LocalWorker.ready();
  const controller = new AbortController();
  const send = () => {
    controller.abort();
    return new Promise<never>(() => {});
  };
  const relay = new Relay(worker, request("echo x", send, controller.signal));
  assertInstanceOf(await assertRejects(() => relay.run()), WorkerDiedError);
  assertEquals([worker.killed, relay.reusable, relay.poisoned], [true, false, false]);
  worker.canKill = false;
  assert(relay.poisoned);
});

Deno.test("Relay.run() lets a handler send on that was cut off", async () => {
  await using worker = await LocalWorker.ready();
  const controller = new AbortController();
  const sent: string[] = [];
  const send = (data: Uint8Array) => {
    sent.push(text(data));
    if (sent.length === 1) controller.abort();
    return Promise.resolve(data.length);
  };
  const relay = new Relay(worker, request("bye", send, controller.signal));
  await relay.run();
  assertEquals(sent, ["holding", "bye"]);
  assert(relay.reusable);
});

Deno.test("Relay.run() leaves a worker alone when its request was cut off before", async () => {
  await using worker = await LocalWorker.ready();
  const sent: string[] = [];
  const send = (data: Uint8Array) => Promise.resolve(sent.push(text(data)));
  const late = new Relay(worker, request("echo late", send, AbortSignal.abort()));
  await late.run();
  assert(late.reusable);
  await new Relay(worker, request("echo next", send)).run();
  assertEquals([sent, worker.count, worker.killed], [["next"], 1, false]);
});

/** A worker whose other end is the test's. */
class RawUnit extends LocalWorker {
  readonly frames: { reader: FrameReader; writer: FrameWriter };
  readonly others: boolean;

  constructor(others = true) {
    super(false);
    this.others = others;
    const { unitEnd } = this;
    this.frames = { reader: new FrameReader(unitEnd, TO_WORKER), writer: new FrameWriter(unitEnd) };
  }

  override maySendTo(): boolean {
    return this.others;
  }
}

/** A worker whose pipe takes the request, and keeps the first that comes of the client. */
class KeepingWorker extends HandlerWorker {
  readonly name = "keeping worker";
  readonly reusableAfterAbort = false;
  readonly canKill = true;
  readonly ended: Promise<WorkerEnd>;
  readonly kept: Promise<Uint8Array>;
  readonly kill: () => void;

  constructor() {
    const ended = Promise.withResolvers<WorkerEnd>();
    const kept = Promise.withResolvers<Uint8Array>();
    const stdin = new WritableStream<Uint8Array>({
      write(frame) {
        if (frame[0] !== FRAME.DATA) return;
        kept.resolve(frame);
        return new Promise(() => {});
      },
    });
    const channel = new PipeChannel({ stdin, stdout: new ReadableStream({ type: "bytes" }) });
    super(channel);
    this.ended = ended.promise;
    this.kept = kept.promise;
    this.kill = () => {
      channel.close();
      ended.resolve({ code: null, signal: "SIGKILL" });
    };
  }

  abort(): void {}
  clearAbort(): void {}
  close(): void {}
}

Deno.test("fault 3: Relay.run() leaves bytes alone that a worker's pipe may still hold", async () => {
  using listener = Deno.listen(LOOPBACK);
  const kept: Uint8Array[] = [];
  for (const said of ["of the first client", "of the second one"]) {
    using conn = await Deno.connect({ ...LOOPBACK, port: listener.addr.port });
    using client = new StreamSocket(await listener.accept());
    await conn.write(bytes(said));
    const { localAddr, remoteAddr } = client;
    const worker = new KeepingWorker();
    const cut = new AbortController();
    const asked = request("", () => Promise.resolve(0), cut.signal);
    const connection = { localAddr, remoteAddr, alpnProtocol: null };
    const start = { ...asked.start, connection };
    const running = new Relay(worker, { ...asked, start, client }).run();
    kept.push(await worker.kept);
    cut.abort();
    await assertRejects(() => running, WorkerDiedError);
    assertEquals(text(kept[0]!.subarray(HEADER_BYTES)), "of the first client");
  }
});

Deno.test("fault 3: Relay.run() has not ended while its worker has not taken what was on its way", async () => {
  using listener = Deno.listen(LOOPBACK);
  using conn = await Deno.connect({ ...LOOPBACK, port: listener.addr.port });
  using client = new StreamSocket(await listener.accept());
  await using worker = new RawUnit();
  const { localAddr, remoteAddr } = client;
  const asked = request("", () => Promise.resolve(0));
  const start = { ...asked.start, connection: { localAddr, remoteAddr, alpnProtocol: null } };
  const relay = new Relay(worker, { ...asked, start, client });
  let isOver = false;
  const running = relay.run().then(() => isOver = true);
  const { reader, writer } = worker.frames;
  assertEquals(await reader.next(), FRAME.START);
  const sent = writeAll(conn, new Uint8Array(1024 * 1024)); // more than fits into the channel
  await until(() => worker.writer.writing);
  await writer.write(FRAME.DONE, pack({}));
  await until(() => relay.reusable);
  await new Promise((resolve) => setTimeout(resolve, 0));
  assertEquals(isOver, false);
  const taken = (async () => {
    while (await reader.next() === FRAME.DATA) await reader.payload();
  })();
  await running;
  worker.kill();
  await taken;
  client.close();
  await sent.catch(() => {}); // all of it, or the connection is closed
});

Deno.test("fault 5: Relay.run() keeps the time of the last WAIT only", async () => {
  await using worker = new RawUnit();
  const relay = new Relay(worker, request("", () => Promise.resolve(0)));
  const running = relay.run();
  const { reader, writer } = worker.frames;
  assertEquals(await reader.next(), FRAME.START);
  for (let n = 0; n < 1000; n++) {
    await writer.write(FRAME.WAIT, pack({ timeout: 20, seen: 0 } satisfies Wait));
  }
  assertEquals(await reader.next(), FRAME.EXPIRED);
  let isMore = false;
  const more = reader.next().then((type) => isMore = type !== null);
  await new Promise((resolve) => setTimeout(resolve, 50));
  assertEquals(isMore, false);
  await writer.write(FRAME.DONE, pack({}));
  await running;
  worker.kill();
  await more;
});

Deno.test("fault 5: Relay.run() ends a worker that sends what is no message, at once", async () => {
  for (const type of [FRAME.WAIT, FRAME.SET_OPTION, FRAME.DONE] as const) {
    await using worker = new RawUnit();
    const relay = new Relay(worker, request("", () => Promise.resolve(0)));
    const running = relay.run();
    await worker.frames.writer.write(type, new Uint8Array(60_000));
    const error = await assertRejects(() => running, WorkerDiedError);
    assertInstanceOf(error.cause, Deno.errors.InvalidData);
    assert(worker.killed);
  }
});

Deno.test("fault 8: Relay.run() sends a datagram of a worker that is shut in to its client only", async () => {
  const other = { ...ADDRESS, port: 2 };
  for (const mayReach of [true, false]) {
    await using worker = new RawUnit(mayReach);
    let sent = 0;
    const relay = new Relay(worker, request("", () => Promise.resolve(++sent)));
    const running = relay.run();
    const { reader, writer } = worker.frames;
    assertEquals(await reader.next(), FRAME.START);
    const outcomes: boolean[] = [];
    // Deno sends to the port of what has a port, which its text may hide.
    const disguised = { path: formatAddress(ADDRESS), port: 2 };
    for (const address of [ADDRESS, other, disguised, null]) {
      await writer.write(FRAME.SEND_TO, pack(address, bytes("data")));
      assertEquals(await reader.next(), FRAME.SENT);
      outcomes.push(reader.left === 0);
    }
    await writer.write(FRAME.DONE, pack({}));
    await running;
    assertEquals([outcomes, sent], [
      [true, mayReach, mayReach, false],
      mayReach ? 3 : 1,
    ]);
  }
});

Deno.test("fault 9: Relay.run() believes no worker that says of its client that it has gone", async () => {
  for (
    const [error, isBelieved] of [
      [new Deno.errors.ConnectionReset("so it says"), false],
      [new Deno.errors.UnexpectedEof("so it says"), false],
      [new LineTooLongError(4), true],
    ] as const
  ) {
    await using worker = new RawUnit();
    const asked = request("", () => Promise.resolve(0));
    const running = new Relay(worker, asked).run();
    const { reader, writer } = worker.frames;
    assertEquals(await reader.next(), FRAME.START);
    const outcome: Outcome = { error: toErrorMessage(error), ofClient: true };
    await writer.write(FRAME.DONE, pack(outcome));
    const thrown = await assertRejects(() => running, error.constructor as typeof Error);
    const { packet } = asked.client as { packet: Uint8Array };
    assertEquals(isOfClient(thrown, [packet], ADDRESS), isBelieved);
  }
});
