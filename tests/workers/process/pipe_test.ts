/**
 * `PipeChannel` and `StdioChannel`: real subprocesses, and what only a fake input or output does.
 *
 * The subprocesses of these tests run this very file: `JOBS` is what they can do.
 *
 * @module
 */
import {
  assertEquals,
  assertInstanceOf,
  assertLessOrEqual,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { PipeChannel } from "../../../src/workers/process/pipe.ts";
import { StdioChannel, type StdioInput } from "../../../src/workers/process/stdio.ts";
import { bytes, CONFIG, pattern, text } from "../../harness.ts";
import { readText, receive, send } from "../talk.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const PIPE_BYTES = 64 * KIB;

/** The name of the error that `operation` fails with. */
async function failure(operation: () => unknown): Promise<string> {
  try {
    await operation();
  } catch (error) {
    return (error as Error).name;
  }
  return "none";
}

/** What a subprocess can do with its end; what it returns goes to its standard error. */
const JOBS = {
  async echo(channel: StdioChannel): Promise<string> {
    const buffer = new Uint8Array(5000);
    while (true) {
      const count = await channel.read(buffer);
      if (count === null) return "end";
      await channel.write(buffer.subarray(0, count));
    }
  },

  echoBlocking(channel: StdioChannel): string {
    const buffer = new Uint8Array(5000);
    while (true) {
      const count = channel.readSync(buffer, null);
      if (count === null) return "end";
      channel.writeSync(buffer.subarray(0, count));
    }
  },

  /** Reads 1 MiB, says so, and reads no more. */
  async readOneMiB(channel: StdioChannel): Promise<string> {
    await receive(channel, MIB);
    await channel.write(bytes("enough"));
    return await new Promise(() => setInterval(() => {}, 60_000));
  },

  /** Tells each SIGUSR1 that interrupts a read with an "I"; what it reads goes back. */
  async interruptible(channel: StdioChannel): Promise<string> {
    Deno.addSignalListener("SIGUSR1", () => channel.interrupt());
    const buffer = new Uint8Array(100);
    await channel.write(bytes("R"));
    while (true) {
      try {
        const count = await channel.read(buffer);
        if (count === null) return "end";
        await channel.write(buffer.subarray(0, count));
      } catch (error) {
        assertInstanceOf(error, Deno.errors.Interrupted);
        await assertRejects(() => channel.read(buffer), Deno.errors.Interrupted);
        assertThrows(() => channel.readSync(buffer, null), Deno.errors.Interrupted);
        channel.writeSync(bytes("I"));
        channel.clearInterrupt();
        channel.writeSync(bytes("R"));
      }
    }
  },

  async writeUntilFailure(channel: StdioChannel): Promise<string> {
    const chunk = new Uint8Array(1000);
    const first = await failure(async () => {
      while (true) await channel.write(chunk);
    });
    return `${first} ${await failure(() => channel.writeSync(chunk))}`;
  },

  async closeWhileReading(channel: StdioChannel): Promise<string> {
    await channel.write(bytes("bye"));
    const reading = failure(() => channel.read(new Uint8Array(1)));
    channel.close();
    channel.close();
    const writing = failure(() => channel.write(new Uint8Array(1)));
    return `${await reading} ${await writing}`;
  },

  exit: (): string => "gone",
};

if (import.meta.main) {
  const job = JOBS[Deno.args[0] as keyof typeof JOBS];
  console.error(await job(new StdioChannel(Deno.stdin, Deno.stdout)));
  Deno.exit();
}

/** A subprocess with the parent's end of its channel; killed at the end of the scope. */
class HandlerWorker implements AsyncDisposable {
  readonly child: Deno.ChildProcess;
  readonly channel: PipeChannel;
  /** What the job returned. */
  readonly result: Promise<string>;

  constructor(job: keyof typeof JOBS) {
    this.child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--quiet", "--no-check", "--config", CONFIG, import.meta.url, job],
      env: { NO_COLOR: "1" },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.channel = new PipeChannel(this.child);
    this.result = this.child.stderr.text().then((result) => result.trim());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.channel.close();
    try {
      this.child.kill("SIGKILL");
    } catch {
      // it has ended by itself
    }
    await this.child.status;
    await this.result;
  }
}

/** An input that gives what it is told, when it is told. */
class FakeInput implements StdioInput {
  reads = 0;
  #settle = Promise.withResolvers<string | null>();

  give(data: string | null): void {
    this.#settle.resolve(data);
  }

  fail(error: Error): void {
    this.#settle.reject(error);
  }

  async read(p: Uint8Array): Promise<number | null> {
    this.reads++;
    const data = await this.#settle.promise;
    this.#settle = Promise.withResolvers<string | null>();
    if (data === null) return null;
    p.set(bytes(data));
    return data.length;
  }

  readSync(): never {
    throw new Error("nothing to read");
  }

  close(): void {}
}

/** An output that takes three bytes at a time. */
class FakeOutput {
  written = "";
  error: Error | null = null;

  write(p: Uint8Array): Promise<number> {
    return new Promise((resolve) => resolve(this.writeSync(p)));
  }

  writeSync(p: Uint8Array): number {
    if (this.error !== null) throw this.error;
    this.written += text(p.subarray(0, 3));
    return Math.min(p.length, 3);
  }

  close(): void {}
}

for (const job of ["echo", "echoBlocking"] as const) {
  Deno.test(`PipeChannel carries both directions at once when the child runs ${job}`, async () => {
    await using worker = new HandlerWorker(job);
    const data = pattern(MIB);
    const [echo] = await Promise.all([
      receive(worker.channel, data.length, 90_000),
      send(worker.channel, data, 90_000),
    ]);
    assertEquals(echo, data);
    worker.channel.close();
    assertEquals(await worker.result, "end");
  });
}

Deno.test("PipeChannel carries 8 channels in parallel", async () => {
  await using workers = new AsyncDisposableStack();
  await Promise.all(Array.from({ length: 8 }, async (_, i) => {
    const { channel } = workers.use(new HandlerWorker(i % 2 === 0 ? "echo" : "echoBlocking"));
    const data = pattern(64 * KIB + i);
    const [echo] = await Promise.all([
      receive(channel, data.length, 9000),
      send(channel, data, 9000),
    ]);
    assertEquals(echo, data);
  }));
});

Deno.test("PipeChannel.write() waits for a slow reader and holds no more than the pipe", async () => {
  await using worker = new HandlerWorker("readOneMiB");
  const chunk = new Uint8Array(64 * KIB);
  let written = 0;
  const writing = assertRejects(async () => {
    for (; written < 16 * MIB; written += chunk.length) await worker.channel.write(chunk);
  }, Deno.errors.BrokenPipe);
  assertEquals(text(await receive(worker.channel, 6)), "enough");
  worker.child.kill("SIGKILL");
  await writing;
  // What the child had read of the pipe without being asked comes on top.
  assertLessOrEqual(written, MIB + 2 * PIPE_BYTES);
});

Deno.test("PipeChannel fails and ends when the child is gone", async () => {
  await using worker = new HandlerWorker("exit");
  assertStrictEquals(await worker.channel.read(new Uint8Array(1)), null);
  assertStrictEquals(await worker.channel.read(new Uint8Array(1)), null);
  await worker.child.status; // its input is the last to be closed
  for (let i = 0; i < 2; i++) {
    await assertRejects(() => worker.channel.write(new Uint8Array(1)), Deno.errors.BrokenPipe);
  }
});

Deno.test("PipeChannel.close() fails what waits on this end", async () => {
  await using worker = new HandlerWorker("readOneMiB");
  const { channel } = worker;
  const reading = assertRejects(() => channel.read(new Uint8Array(1)), Deno.errors.BadResource);
  const writing = assertRejects(() => channel.write(pattern(8 * MIB)), Deno.errors.BadResource);
  await assertRejects(() => channel.read(new Uint8Array(1)), Deno.errors.Busy);
  await assertRejects(() => channel.write(new Uint8Array(1)), Deno.errors.Busy);
  channel.close();
  channel.close();
  await Promise.all([reading, writing]);
  await assertRejects(() => channel.read(new Uint8Array(1)), Deno.errors.BadResource);
  await assertRejects(() => channel.write(new Uint8Array(1)), Deno.errors.BadResource);
});

Deno.test("PipeChannel.close() fails the writes of the child", async () => {
  await using worker = new HandlerWorker("writeUntilFailure");
  await receive(worker.channel, 200 * KIB);
  worker.channel.close();
  assertEquals(await worker.result, "BrokenPipe BrokenPipe");
});

Deno.test("StdioChannel.close() fails what waits on this end, and the parent reads the end", async () => {
  await using worker = new HandlerWorker("closeWhileReading");
  assertEquals(await readText(worker.channel), "bye");
  assertStrictEquals(await readText(worker.channel), null);
  assertEquals(await worker.result, "BadResource BadResource");
});

Deno.test("StdioChannel.interrupt() by a signal fails the read that waits, each time, and loses nothing", async () => {
  await using worker = new HandlerWorker("interruptible");
  const { channel } = worker;
  assertEquals(text(await receive(channel, 1)), "R");
  for (let round = 0; round < 50; round++) {
    worker.child.kill("SIGUSR1");
    assertEquals(text(await receive(channel, 2)), "IR");
    await channel.write(bytes("data"));
    assertEquals(text(await receive(channel, 4)), "data");
  }
  channel.close();
  assertEquals(await worker.result, "end");
});

Deno.test("StdioChannel.interrupt() keeps what the interrupted read brings for the next", async () => {
  const input = new FakeInput();
  const channel = new StdioChannel(input, new FakeOutput());
  const interrupted = channel.read(new Uint8Array(1));
  channel.interrupt();
  await assertRejects(() => interrupted, Deno.errors.Interrupted);
  channel.clearInterrupt();
  assertThrows(() => channel.readSync(new Uint8Array(1), null), Deno.errors.Busy);
  const reading = channel.read(new Uint8Array(1));
  await assertRejects(() => channel.read(new Uint8Array(1)), Deno.errors.Busy);
  input.give("kept");
  assertEquals(await reading, 1);
  channel.interrupt();
  await assertRejects(() => channel.read(new Uint8Array(1)), Deno.errors.Interrupted);
  assertStrictEquals(channel.interrupted, true);
  channel.clearInterrupt();
  assertEquals(await readText(channel), "ept");
  assertEquals(input.reads, 1);
});

Deno.test("StdioChannel.read() asks the system once for many small reads, then tells the end", async () => {
  const input = new FakeInput();
  const channel = new StdioChannel(input, new FakeOutput());
  input.give("0123456789");
  for (let i = 0; i < 5; i++) assertEquals(await channel.read(new Uint8Array(2)), 2);
  assertEquals(await channel.read(new Uint8Array(0)), 0);
  assertEquals(input.reads, 1);
  const reading = channel.read(new Uint8Array(1));
  input.give(null);
  assertStrictEquals(await reading, null);
  assertStrictEquals(channel.readSync(new Uint8Array(1), null), null);
});

Deno.test("StdioChannel.read() passes a failure of the input on, even one that comes after an interruption", async () => {
  const input = new FakeInput();
  const channel = new StdioChannel(input, new FakeOutput());
  const interrupted = channel.read(new Uint8Array(1));
  channel.interrupt();
  await assertRejects(() => interrupted, Deno.errors.Interrupted);
  input.fail(new RangeError("broken"));
  channel.clearInterrupt();
  await assertRejects(() => channel.read(new Uint8Array(1)), RangeError, "broken");
});

Deno.test("StdioChannel.write() writes all to an output that takes a part", async () => {
  const output = new FakeOutput();
  const channel = new StdioChannel(new FakeInput(), output);
  const writing = channel.write(bytes("01234567"));
  await assertRejects(() => channel.write(new Uint8Array(1)), Deno.errors.Busy);
  assertThrows(() => channel.writeSync(new Uint8Array(1)), Deno.errors.Busy);
  await writing;
  channel.writeSync(bytes("89abcdef"));
  assertEquals(output.written, "0123456789abcdef");
  output.error = new RangeError("broken");
  await assertRejects(() => channel.write(new Uint8Array(1)), RangeError);
});
