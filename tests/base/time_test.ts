import { assert, assertEquals, assertRejects } from "@std/assert";
import { Backoff, delay, settlesWithin } from "../../src/base/time.ts";

Deno.test("delay() resolves after its time", async () => {
  const began = performance.now();
  await delay(5);
  assert(performance.now() - began >= 4);
});

Deno.test("delay() ends early, without an error, when its signal is aborted before or meanwhile", async () => {
  const stop = new AbortController();
  const pause = delay(60_000, stop.signal);
  stop.abort();
  await pause;
  await delay(60_000, stop.signal);
});

Deno.test("settlesWithin() says whether a promise was fulfilled in time, and leaves no timer", async () => {
  assertEquals(await settlesWithin(Promise.resolve(), 60_000), true);
  const never = new Promise(() => {});
  assertEquals(await settlesWithin(never, 1), false);
});

Deno.test("settlesWithin() rejects with what the promise does in time, and ignores what comes later", async () => {
  await assertRejects(() => settlesWithin(Promise.reject(new Error("no")), 60_000), Error, "no");
  const late = Promise.withResolvers<void>();
  assertEquals(await settlesWithin(late.promise, 1), false);
  late.reject(new Error("late"));
  await delay(0);
});

Deno.test("Backoff gives pauses that double up to a limit, and starts over after a reset", () => {
  const backoff = new Backoff(5, 30);
  assertEquals([1, 2, 3, 4, 5].map(() => backoff.next()), [5, 10, 20, 30, 30]);
  backoff.reset();
  assertEquals(backoff.next(), 5);
});
