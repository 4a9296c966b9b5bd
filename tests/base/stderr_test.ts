/**
 * What is written in the background, whoever reads it.
 *
 * @module
 */
import { assertEquals, assertLess } from "@std/assert";
import { BackgroundWriter, writerTimes } from "../../src/base/default_logger.ts";
import { delay } from "../../src/base/time.ts";
import { text, withTimes } from "../harness.ts";

/** Takes a write when it is told to. */
class Sink {
  taken = "";
  #take: (() => void) | null = null;
  write(data: Uint8Array): Promise<number> {
    const { promise, resolve } = Promise.withResolvers<number>();
    this.#take = () => {
      this.taken += text(data);
      resolve(data.length);
    };
    return promise;
  }
  /** Takes what is being written, and lets the writer go on. */
  async take(): Promise<string> {
    this.taken = "";
    this.#take?.();
    this.#take = null;
    await new Promise((resolve) => setTimeout(resolve, 0));
    return this.taken;
  }
}

Deno.test("fault 19: BackgroundWriter.write() keeps the order, and writes at once what has come meanwhile", async () => {
  const sink = new Sink();
  const writer = new BackgroundWriter(sink);
  for (const line of ["one\n", "two\n", "three\n"]) writer.write(line);
  assertEquals([await sink.take(), await sink.take(), await sink.take()], [
    "one\n",
    "two\nthree\n",
    "",
  ]);
  await writer.flush();
});

Deno.test("fault 19: BackgroundWriter loses what nobody reads, and counts it", async () => {
  using _ = withTimes(writerTimes, { flushLimit: 200 });
  const sink = new Sink();
  const writer = new BackgroundWriter(sink);
  const line = `${"x".repeat(1023)}\n`;
  for (let n = 0; n < 300; n++) writer.write(line);
  await writer.flush(); // does not wait for ever
  assertEquals(writer.rest(), ""); // nobody reads, and it has been so for longer than a write takes
  const [first, rest] = [await sink.take(), await sink.take()];
  assertEquals(first === line, true);
  assertEquals(rest.startsWith(line.repeat(256)), true);
  assertEquals(
    rest.slice(256 * line.length),
    `WARN Log lines lost, as nobody read them: ${300 - 1 - 256}\n`,
  );
});

Deno.test("BackgroundWriter.flush() waits for a machine that is slow to write", async () => {
  let taken = "";
  const writer = new BackgroundWriter({
    async write(data) {
      await delay(300);
      taken += text(data);
      return data.length;
    },
  });
  writer.write("the reason\n");
  await writer.flush();
  assertEquals(taken, "the reason\n");
});

Deno.test("fault 19: BackgroundWriter goes on when its sink is closed", async () => {
  let isClosed = true;
  let taken = "";
  const writer = new BackgroundWriter({
    write(data) {
      if (isClosed) return Promise.reject(new Deno.errors.BrokenPipe("Broken pipe"));
      taken += text(data);
      return Promise.resolve(data.length);
    },
  });
  const began = performance.now();
  writer.write("lost\n");
  await writer.flush();
  isClosed = false;
  writer.write("kept\n");
  await writer.flush();
  assertEquals(taken, "kept\nWARN Log lines lost, as nobody read them: 1\n");
  assertLess(performance.now() - began, 5000);
});

Deno.test("fault 19: BackgroundWriter.rest() is what an exit would lose, of a write that has just begun", () => {
  const writer = new BackgroundWriter(new Sink());
  assertEquals(writer.rest(), "");
  for (const line of ["one\n", "two\n", "three\n"]) writer.write(line);
  assertEquals([writer.rest(), writer.rest()], ["two\nthree\n", ""]);
});
