/**
 * The methods that block: over transports in memory, in a Worker that truly blocks, and where nothing may.
 *
 * The Workers of these tests run this very file: `JOBS` is what they can do.
 *
 * @module
 */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  BufferedReader,
  BufferedWriter,
  ConcurrentTCPServer,
  IncompleteReadError,
  LineTooLongError,
  StreamRequestHandler,
  StreamSocket,
  type StreamTransport,
} from "@netkit/socketserver";
import { RingChannel, type RingMemory } from "../../src/workers/thread/shared_ring.ts";
import { converse } from "../conversation.ts";
import { bytes, exchange, LOOPBACK, settle, start, text } from "../harness.ts";

const ADDRESS: Deno.Addr = { transport: "tcp", hostname: "127.0.0.1", port: 1 };

/** A transport in memory on which one may block. */
class BlockingTransport implements StreamTransport {
  readonly localAddr = ADDRESS;
  readonly remoteAddr = ADDRESS;
  /** What blocking reads find: text, the end, or an error. */
  readonly incoming: (string | null | Error)[];
  /** The time limits that blocking reads were given. */
  readonly limits: (number | null)[] = [];
  /** The time limits that were set. */
  readonly timeouts: (number | null)[] = [];
  readonly sent: string[] = [];
  /** What blocking writes throw, if anything. */
  fault: Error | null = null;
  /** How many bytes a write takes at the most. */
  appetite = Infinity;
  #reading: { p: Uint8Array; settle: PromiseWithResolvers<number | null> } | null = null;
  readonly #writing: PromiseWithResolvers<void>[] = [];

  constructor(...incoming: (string | null | Error)[]) {
    this.incoming = incoming;
  }

  read(p: Uint8Array): Promise<number | null> {
    assertEquals(this.#reading, null, "two reads of the transport at once");
    this.#reading = { p, settle: Promise.withResolvers<number | null>() };
    return this.#reading.settle.promise;
  }

  /** Ends the asynchronous read under way. */
  give(data: string | Error): void {
    const { p, settle } = this.#reading!;
    this.#reading = null;
    if (data instanceof Error) return settle.reject(data);
    p.set(bytes(data));
    settle.resolve(data.length);
  }

  readSync(p: Uint8Array, timeout: number | null): number | null {
    assertEquals(this.#reading, null, "a blocking read while another is under way");
    this.limits.push(timeout);
    const next = this.incoming.shift() ?? null;
    if (next === null) return null;
    if (next instanceof Error) throw next;
    const data = bytes(next).subarray(0, p.length);
    p.set(data);
    if (data.length < next.length) this.incoming.unshift(next.slice(data.length));
    return data.length;
  }

  async write(p: Uint8Array): Promise<number> {
    const turn = Promise.withResolvers<void>();
    this.#writing.push(turn);
    await turn.promise;
    this.sent.push(text(p));
    return p.length;
  }

  /** Ends the asynchronous write under way. */
  take(error?: Error): void {
    const turn = this.#writing.shift()!;
    if (error === undefined) turn.resolve();
    else turn.reject(error);
  }

  writeSync(p: Uint8Array): number {
    assertEquals(this.#writing.length, 0, "a blocking write while another is under way");
    if (this.fault !== null) throw this.fault;
    const data = p.subarray(0, this.appetite);
    this.sent.push(text(data));
    return data.length;
  }

  setTimeout(timeout: number | null): void {
    this.timeouts.push(timeout);
  }

  close(): void {}
  closeWrite(): Promise<void> {
    return Promise.resolve();
  }
  ref(): void {}
  unref(): void {}
}

/** The bytes of a ring and nothing else, as a transport. */
class RingTransport implements StreamTransport {
  readonly localAddr = ADDRESS;
  readonly remoteAddr = ADDRESS;
  readonly #channel: RingChannel;

  constructor(channel: RingChannel) {
    this.#channel = channel;
  }

  read(p: Uint8Array): Promise<number | null> {
    return this.#channel.read(p);
  }

  readSync(p: Uint8Array, timeout: number | null): number | null {
    return this.#channel.readSync(p, timeout);
  }

  async write(p: Uint8Array): Promise<number> {
    await this.#channel.write(p);
    return p.length;
  }

  writeSync(p: Uint8Array): number {
    this.#channel.writeSync(p);
    return p.length;
  }

  close(): void {
    this.#channel.close();
  }

  closeWrite(): Promise<void> {
    return Promise.resolve();
  }

  ref(): void {}
  unref(): void {}
}

/** What a Worker can do with its socket; what it returns is posted back. */
const JOBS = {
  /** Answers each line until the client says nothing more; tells whether a timer ran meanwhile. */
  echoLines(socket: StreamSocket): { lines: number; timerRan: boolean } {
    let timerRan = false;
    const timer = setTimeout(() => timerRan = true, 0);
    const reader = new BufferedReader(socket);
    const writer = new BufferedWriter(socket, { bufferSize: 64 });
    let lines = 0;
    for (const line of reader) {
      lines++;
      writer.writeSync(line);
      writer.flushSync();
    }
    clearTimeout(timer);
    return { lines, timerRan };
  },
  /** Reads a number, then as many bytes, and answers with their sum. */
  frame(socket: StreamSocket): number {
    const reader = new BufferedReader(socket);
    const size = parseInt(text(reader.readUntilSync(";")));
    const frame = reader.readExactlySync(size);
    const sum = frame.reduce((sum, byte) => sum + byte, 0);
    socket.sendAllSync(`${sum}`);
    return frame.length;
  },
  /** Runs out of time, says so, and waits for what comes then. */
  timeOut(socket: StreamSocket): string[] {
    socket.timeout = 30;
    const story: string[] = [];
    try {
      socket.recvSync();
    } catch (error) {
      story.push(`${(error as Error).name}: ${(error as Error).message}`);
    }
    socket.timeout = null;
    socket.sendAllSync("late");
    story.push(text(socket.recvSync()));
    return story;
  },
  /** Runs out of time asynchronously, and reads what comes then blocking and not. */
  async mix(socket: StreamSocket): Promise<string[]> {
    socket.timeout = 30;
    const story: string[] = [];
    await socket.recv(2).catch((error) => story.push(error.name));
    try {
      socket.recvSync();
    } catch (error) {
      story.push((error as Error).name);
    }
    socket.timeout = null;
    socket.sendAllSync("late");
    story.push(text(await socket.recv(1)));
    story.push(text(socket.recvSync(1)));
    let rest = "";
    while (!rest.endsWith(".")) rest += text(socket.recvSync(2));
    story.push(rest);
    return story;
  },
};

/** What is posted to a Worker of these tests. */
interface Order {
  job: keyof typeof JOBS;
  memory: RingMemory;
}

const worker = globalThis as unknown as {
  onmessage: (event: MessageEvent<Order>) => void;
  postMessage: (result: unknown) => void;
};
if ("WorkerGlobalScope" in globalThis) {
  worker.onmessage = async ({ data: { job, memory } }) => {
    const socket = new StreamSocket(new RingTransport(new RingChannel(memory, "worker")));
    worker.postMessage(await JOBS[job](socket));
  };
}

/** A Worker with a client's end of its socket; terminated at the end of the scope. */
class HandlerWorker {
  readonly channel: RingChannel;
  /** What the job returned. */
  readonly result: Promise<unknown>;
  readonly #worker = new Worker(import.meta.url, { type: "module" });

  constructor(job: keyof typeof JOBS) {
    const memory = RingChannel.allocate(1024);
    this.channel = new RingChannel(memory, "main");
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.#worker.onmessage = ({ data }) => resolve(data);
    this.#worker.onerror = (event) => reject(new Error(event.message));
    promise.catch(() => {}); // a test that cares awaits it
    this.result = promise;
    this.#worker.postMessage({ job, memory } satisfies Order);
  }

  /** What the Worker has written, at least `size` bytes of it. */
  async receive(size: number): Promise<string> {
    let received = "";
    const p = new Uint8Array(1024);
    while (received.length < size) {
      const count = await this.channel.read(p);
      if (count === null) break;
      received += text(p.subarray(0, count));
    }
    return received;
  }

  [Symbol.dispose](): void {
    this.channel.close();
    this.#worker.terminate();
  }
}

/** A transport and the socket over it. */
function pair(...incoming: (string | null | Error)[]): [BlockingTransport, StreamSocket] {
  const transport = new BlockingTransport(...incoming);
  return [transport, new StreamSocket(transport)];
}

/** Keeps the program alive until the end of the scope; a transport in memory and a time limit do not. */
function keepAlive(): Disposable {
  const timer = setInterval(() => {}, 60_000);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

Deno.test("StreamSocket.recvSync() gives what has arrived, and nothing at the end of the stream", () => {
  const [, socket] = pair("hello", "x".repeat(100_000), null);
  assert(socket.canBlock);
  assertEquals(text(socket.recvSync(3)), "hel");
  assertEquals(text(socket.recvSync()), "lo");
  assertEquals(socket.recvSync(60_000).length, 60_000);
  assertEquals(socket.recvSync(60_000).length, 40_000);
  assertEquals(socket.recvSync().length, 0);
  assertThrows(() => socket.recvSync(0), RangeError, "maxBytes");
});

Deno.test("StreamSocket.recvSync() gives bytes that stay as they are when more is received", () => {
  const [, socket] = pair("one", "two", "x".repeat(65_536), "three", null);
  const parts = [1, 2, 3, 4].map(() => socket.recvSync());
  assertEquals(parts.map((part) => text(part).slice(0, 5)), ["one", "two", "xxxxx", "three"]);
});

Deno.test("StreamSocket.readSync() reads into a buffer, and gives null at the end", () => {
  const [transport, socket] = pair("hello", null);
  const p = new Uint8Array(3);
  assertEquals(socket.readSync(p), 3);
  assertEquals(text(p), "hel");
  assertEquals(socket.readSync(new Uint8Array(0)), 0);
  assertEquals(socket.readSync(p), 2);
  assertEquals(socket.readSync(p), null);
  assertEquals(transport.limits, [null, null, null]);
});

Deno.test("StreamSocket.readSync() gives the end when the read side or the connection is closed", async () => {
  const [, ended] = pair("unread");
  await ended.shutdown("read");
  assertEquals(ended.readSync(new Uint8Array(1)), null);
  const [, closed] = pair("unread");
  closed.close();
  assertEquals(closed.recvSync().length, 0);
});

Deno.test("StreamSocket.timeout holds for blocking reads, and the transport is told of it", () => {
  const [transport, socket] = pair(new Deno.errors.TimedOut("its own words"), "in time");
  socket.timeout = 250;
  const error = assertThrows(() => socket.recvSync(), Deno.errors.TimedOut);
  assertEquals(error.message, "Cannot read from client: no progress in 250 ms");
  assertEquals(text(socket.recvSync()), "in time");
  socket.timeout = null;
  assertThrows(() => socket.timeout = 0, RangeError);
  assertEquals(transport.timeouts, [250, null]);
  assertEquals(transport.limits, [250, 250]);
});

Deno.test("StreamSocket.recvSync() throws the error of the transport", () => {
  const reset = new Deno.errors.ConnectionReset("reset");
  const [, socket] = pair(reset, "more");
  assertStrictEquals(assertThrows(() => socket.recvSync()), reset);
});

Deno.test("StreamSocket.readSync() throws Busy while an asynchronous read is under way", async () => {
  for (const timeout of [null, 60_000]) {
    const [transport, socket] = pair("after");
    socket.timeout = timeout;
    const received = socket.recv();
    const error = assertThrows(() => socket.recvSync(), Deno.errors.Busy);
    assertStringIncludes(error.message, "recvSync()");
    assertThrows(() => socket.readSync(new Uint8Array(1)), Deno.errors.Busy, "readSync()");
    socket.sendAllSync("the other direction");
    transport.give("before");
    assertEquals(text(await received), "before");
    assertEquals(text(socket.recvSync()), "after");
    const failed = socket.recv();
    transport.give(new Error("failed"));
    await assertRejects(() => failed, Error, "failed");
    if (timeout === null) assertEquals(socket.recvSync().length, 0);
    socket.close();
  }
});

Deno.test("StreamSocket.recvSync() gives first what a read that timed out has left behind", async () => {
  using _ = keepAlive();
  const [transport, socket] = pair("last");
  socket.timeout = 10;
  await assertRejects(() => socket.recv(), Deno.errors.TimedOut);
  const error = assertThrows(() => socket.recvSync(), Deno.errors.Busy);
  assertStringIncludes(error.message, "timed out");
  transport.give("late data");
  await settle();
  assertEquals(text(socket.recvSync(4)), "late");
  assertEquals(text(await socket.recv(3)), " da");
  assertEquals(text(socket.recvSync()), "ta");
  assertEquals(text(socket.recvSync()), "last");
  socket.close();
});

Deno.test("StreamSocket.recvSync() throws what a read that timed out has failed with", async () => {
  using _ = keepAlive();
  const [transport, socket] = pair();
  socket.timeout = 10;
  await assertRejects(() => socket.recv(), Deno.errors.TimedOut);
  transport.give(new Deno.errors.ConnectionReset("reset"));
  await settle();
  assertThrows(() => socket.recvSync(), Deno.errors.ConnectionReset, "reset");
  await assertRejects(() => socket.recv(), Deno.errors.ConnectionReset, "reset");
  socket.close();
});

Deno.test("StreamSocket.sendAllSync() sends all, and writeSync() as much as goes", () => {
  const [transport, socket] = pair();
  transport.appetite = 4;
  socket.sendAllSync("0123456789");
  assertEquals(transport.sent, ["0123", "4567", "89"]);
  assertEquals(socket.writeSync(bytes("abcdef")), 4);
  socket.sendAllSync("");
  socket.sendAllSync(bytes("ž"));
  assertEquals(transport.sent.slice(3), ["abcd", "ž"]);
});

Deno.test("StreamSocket.writeSync() throws Busy while an asynchronous write is under way", async () => {
  const [transport, socket] = pair("data");
  const written = socket.sendAll("first");
  assertThrows(() => socket.writeSync(bytes("x")), Deno.errors.Busy, "writeSync()");
  assertThrows(() => socket.sendAllSync("x"), Deno.errors.Busy, "sendAllSync()");
  assertEquals(text(socket.recvSync()), "data");
  transport.take();
  await written;
  socket.sendAllSync("second");
  const failed = socket.sendAll("third");
  transport.take(new Deno.errors.BrokenPipe("gone"));
  await assertRejects(() => failed, Deno.errors.BrokenPipe);
  socket.sendAllSync("fourth");
  assertEquals(transport.sent, ["first", "second", "fourth"]);
});

Deno.test("StreamSocket.sendAllSync() throws when the connection is closed or the client has gone", () => {
  const [transport, socket] = pair();
  transport.fault = new Deno.errors.BrokenPipe("gone");
  assertThrows(() => socket.sendAllSync("x"), Deno.errors.BrokenPipe, "gone");
  socket.close();
  for (const write of [() => socket.writeSync(bytes("x")), () => socket.sendAllSync("x")]) {
    assertThrows(write, Deno.errors.BadResource, "closed");
  }
});

Deno.test("StreamSocket.settled() resolves when the writes have settled, however they did", async () => {
  const [transport, socket] = pair();
  await socket.settled();
  const outcomes: string[] = [];
  socket.sendAll("a").then(() => outcomes.push("a"));
  socket.sendAll("b").catch(() => outcomes.push("b failed"));
  const settled = socket.settled().then(() => outcomes.push("settled"));
  transport.take();
  await settle();
  assertEquals(outcomes, ["a"]);
  transport.take(new Deno.errors.BrokenPipe("gone"));
  await settled;
  assertEquals(outcomes, ["a", "b failed", "settled"]);
});

Deno.test("BufferedReader reads blocking from a socket", () => {
  const [, socket] = pair("one\ntw", "o\nkey;12345", "6789rest\r\nli", "ne\nend");
  const reader = new BufferedReader(socket, { maxLineLength: 10 });
  assertEquals(text(reader.readlineSync()), "one\n");
  assertEquals(text(reader.peekSync(3)), "two");
  assertEquals(text(reader.readlineSync()), "two\n");
  assertEquals(text(reader.readUntilSync(";")), "key;");
  assertEquals(text(reader.readExactlySync(7)), "1234567");
  assertEquals(text(reader.read1Sync(100)), "89rest\r\nli");
  assertThrows(() => reader.readlineSync(2), LineTooLongError);
  assertEquals([...reader.linesSync()], ["ne", "end"]);
  assertEquals([...reader].length, 0);
  assertEquals(reader.readSync().length, 0);
  assertThrows(() => reader.readExactlySync(1), IncompleteReadError);
  assertThrows(() => [...reader.linesSync("utf-16")], RangeError);
});

Deno.test("BufferedReader goes on blocking where an asynchronous read timed out, and back", async () => {
  using _ = keepAlive();
  const [transport, socket] = pair("-b\nc");
  socket.timeout = 10;
  const reader = new BufferedReader(socket);
  const first = reader.readline();
  transport.give("a");
  await assertRejects(() => first, Deno.errors.TimedOut);
  transport.give("-late");
  await settle();
  assertEquals(text(reader.readlineSync()), "a-late-b\n");
  assertEquals(text(await reader.read(1)), "c");
  socket.close();
});

Deno.test("BufferedReader refuses a blocking read while an asynchronous one waits", async () => {
  const [transport, socket] = pair();
  const reader = new BufferedReader(socket);
  const peeked = reader.peek(3);
  transport.give("abc");
  await peeked;
  const line = reader.readline();
  const reads: Record<string, () => unknown> = {
    read: () => reader.readSync(),
    "read of what is buffered": () => reader.readSync(2),
    read1: () => reader.read1Sync(),
    readExactly: () => reader.readExactlySync(1),
    readline: () => reader.readlineSync(),
    readUntil: () => reader.readUntilSync("a"),
    peek: () => reader.peekSync(1),
    atEnd: () => reader.atEndSync(),
    iteration: () => [...reader],
    lines: () => [...reader.linesSync()],
  };
  for (const [name, read] of Object.entries(reads)) {
    assertThrows(read, Deno.errors.Busy, undefined, name);
  }
  transport.give("def\nghi\n");
  assertEquals(text(await line), "abcdef\n");
  assertEquals(text(reader.readlineSync()), "ghi\n");
});

Deno.test("BufferedReader.fromBytes() can be read blocking everywhere", () => {
  const reader = BufferedReader.fromBytes(bytes("one\ntwo\nthree"));
  assertEquals(text(reader.readlineSync()), "one\n");
  assertEquals(text(reader.read1Sync(2)), "tw");
  assertEquals([...reader].map(text), ["o\n", "three"]);
  assertEquals(reader.readSync().length, 0);
});

Deno.test("The methods that block throw in the server's own isolate, and say where they do not", async () => {
  await converse((socket) => {
    assertEquals(socket.canBlock, false);
    const reader = new BufferedReader(socket);
    const writer = new BufferedWriter(socket, { bufferSize: -1 });
    const calls: Record<string, () => unknown> = {
      "recvSync(): await recv()": () => socket.recvSync(),
      "readSync(): await read()": () => socket.readSync(new Uint8Array(1)),
      "writeSync(): await write()": () => socket.writeSync(bytes("x")),
      "sendAllSync(): await sendAll()": () => socket.sendAllSync("x"),
      "readSync(): await read() ": () => reader.readSync(),
      "read1Sync(): await read1()": () => reader.read1Sync(),
      "readExactlySync(): await readExactly()": () => reader.readExactlySync(1),
      "readlineSync(): await readline()": () => reader.readlineSync(),
      "readlineSync(): await readline() ": () => [...reader],
      " readlineSync(): await readline()": () => [...reader.linesSync()],
      "readUntilSync(): await readUntil()": () => reader.readUntilSync(";"),
      "peekSync(): await peek()": () => reader.peekSync(0),
      "atEndSync(): await atEnd()": () => reader.atEndSync(),
      "writeSync(): await write() ": () => writer.writeSync("x"), // though the buffer has room
      "flushSync(): await flush()": () => writer.flushSync(),
    };
    for (const [name, call] of Object.entries(calls)) {
      const [method, instead] = name.trim().split(": ");
      const error = assertThrows(call, Deno.errors.NotSupported);
      assertEquals(
        error.message,
        `Cannot block in ${method}: the server's own isolate serves others meanwhile; ` +
          `use a ThreadingMixIn or ForkingMixIn server, or ${instead}`,
      );
    }
  }, async (conn) => assertEquals(await conn.read(new Uint8Array(1)), null));
});

Deno.test("A blocking read in the server's own isolate throws also when the line is there already", async () => {
  const outcome = Promise.withResolvers<unknown>();
  class Handler extends StreamRequestHandler {
    override async handle() {
      await this.rfile.readline();
      await this.rfile.peek(4);
      outcome.resolve(assertThrows(() => this.rfile.readlineSync()));
    }
  }
  await using started = start(new ConcurrentTCPServer(LOOPBACK, Handler));
  await exchange(started.server.serverAddress, "one\ntwo\n");
  assertInstanceOf(await outcome.promise, Deno.errors.NotSupported);
});

Deno.test("BufferedReader and BufferedWriter name what a source or a sink lacks for blocking", () => {
  const reader = new BufferedReader({ read: () => Promise.resolve(null) });
  assertThrows(() => reader.readSync(), Deno.errors.NotSupported, "the source has no readSync()");
  const writer = new BufferedWriter({ sendAll: () => Promise.resolve() });
  assertThrows(
    () => writer.writeSync("x"),
    Deno.errors.NotSupported,
    "the sink has no sendAllSync()",
  );
});

Deno.test("A Worker blocks in readline, while the main isolate goes on", async () => {
  using worker = new HandlerWorker("echoLines");
  for (let turn = 0; turn < 50; turn++) {
    await worker.channel.write(bytes(`line ${turn}\n`));
    assertEquals(await worker.receive(7), `line ${turn}\n`);
  }
  worker.channel.close();
  assertEquals(await worker.result, { lines: 50, timerRan: false });
});

Deno.test("A Worker blocks until a frame larger than the ring has come", async () => {
  using worker = new HandlerWorker("frame");
  await worker.channel.write(bytes("100000;"));
  for (let sent = 0; sent < 100_000; sent += 1000) {
    await worker.channel.write(new Uint8Array(1000).fill(1));
  }
  assertEquals(await worker.receive(6), "100000");
  assertEquals(await worker.result, 100_000);
});

Deno.test("A Worker that blocks runs out of time, and loses nothing", async () => {
  using worker = new HandlerWorker("timeOut");
  assertEquals(await worker.receive(4), "late");
  await worker.channel.write(bytes("now"));
  assertEquals(await worker.result, [
    "TimedOut: Cannot read from client: no progress in 30 ms",
    "now",
  ]);
});

Deno.test("A Worker may mix reads that block with reads that do not", async () => {
  using worker = new HandlerWorker("mix");
  assertEquals(await worker.receive(4), "late");
  await worker.channel.write(bytes("abcdefgh."));
  assertEquals(await worker.result, ["TimedOut", "Busy", "a", "b", "cdefgh."]);
});
