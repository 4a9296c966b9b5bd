/**
 * `Watchdog`: time limits at the price of one timer.
 *
 * @module
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { Watchdog } from "../../src/base/time.ts";

const late = () => new Deno.errors.TimedOut("late");
const never = () => new Promise<never>(() => {});

/** Time that passes when it is told, in place of the real timers until the end of the scope. */
class FakeClock implements Disposable {
  /** How many timers have been set. */
  timersSet = 0;
  #now = 1000;
  readonly #timers = new Map<number, { due: number; callback: () => void }>();
  readonly #real = { setTimeout, clearTimeout };
  readonly #unrefTimer = Deno.unrefTimer;

  constructor() {
    Object.assign(globalThis, {
      setTimeout: (callback: () => void, delay: number) => {
        this.#timers.set(++this.timersSet, { due: this.#now + delay, callback });
        return this.timersSet;
      },
      clearTimeout: (id: number) => void this.#timers.delete(id),
    });
    Deno.unrefTimer = () => {};
    performance.now = () => this.#now;
  }

  /** How many timers wait. */
  get timersLeft(): number {
    return this.#timers.size;
  }

  /** Lets time pass, and what waits for promises run. */
  async pass(milliseconds: number): Promise<void> {
    this.#now += milliseconds;
    // As after a long computation: the timers that are due run, then those that they have set.
    for (let ran = true; ran;) {
      const due = [...this.#timers].filter(([, timer]) => timer.due <= this.#now);
      ran = due.length > 0;
      for (const [id, { callback }] of due) {
        this.#timers.delete(id);
        callback();
      }
      await Promise.resolve();
    }
  }

  [Symbol.dispose](): void {
    Object.assign(globalThis, this.#real);
    Deno.unrefTimer = this.#unrefTimer;
    Reflect.deleteProperty(performance, "now"); // the one of its class is there again
  }
}

/** Keeps the program alive for its scope, which a watchdog does not. */
function keepAlive(): Disposable {
  const timer = setInterval(() => {}, 1000);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

/** Says how a promise ended, or that it has not. */
function track(promise: Promise<unknown>): { state: string } {
  const tracked = { state: "waits" };
  promise.then((value) => tracked.state = `${value}`, (error) => tracked.state = error.name);
  return tracked;
}

Deno.test("Watchdog.watch() gives what the operation gives", async () => {
  const watchdog = new Watchdog();
  assertEquals(await watchdog.watch(Promise.resolve(5), 1000, late), 5);
  await assertRejects(
    () => watchdog.watch(Promise.reject(new TypeError("wrong")), 1000, late),
    TypeError,
    "wrong",
  );
  watchdog.stop();
});

Deno.test("Watchdog.watch() rejects when time is up, and not before", async () => {
  using _ = keepAlive();
  const watchdog = new Watchdog();
  const began = performance.now();
  await assertRejects(() => watchdog.watch(never(), 50, late), Deno.errors.TimedOut, "late");
  const took = performance.now() - began;
  assert(took >= 49, `${took} ms`);
  watchdog.stop();
});

Deno.test("Watchdog.watch() sets one timer for many operations", async () => {
  using clock = new FakeClock();
  const watchdog = new Watchdog();
  for (let index = 0; index < 1000; index++) {
    assertEquals(await watchdog.watch(Promise.resolve(index), 60_000, late), index);
    await clock.pass(1);
  }
  assertEquals([clock.timersSet, clock.timersLeft], [1, 1]);
  await clock.pass(60_000);
  assertEquals([clock.timersSet, clock.timersLeft], [1, 0]); // nothing to watch, no timer
});

Deno.test("Watchdog.watch() gives each operation its whole time, though the timer is older", async () => {
  using clock = new FakeClock();
  const watchdog = new Watchdog();
  for (let turn = 0; turn < 10; turn++) {
    const { promise, resolve } = Promise.withResolvers<string>();
    const watched = track(watchdog.watch(promise, 200, late));
    await clock.pass(190);
    assertEquals(watched.state, "waits");
    resolve("on time");
    await clock.pass(0);
    assertEquals(watched.state, "on time");
  }
  const watched = track(watchdog.watch(never(), 200, late));
  await clock.pass(199);
  assertEquals(watched.state, "waits");
  await clock.pass(1);
  assertEquals(watched.state, "TimedOut");
});

Deno.test("Watchdog.watch() keeps a shorter limit after a longer one, and a longer after a shorter", async () => {
  for (const [before, limit] of [[60_000, 30], [20, 100]] as const) {
    using clock = new FakeClock();
    const watchdog = new Watchdog();
    await watchdog.watch(Promise.resolve(), before, late);
    const watched = track(watchdog.watch(never(), limit, late));
    await clock.pass(limit - 1);
    assertEquals(watched.state, "waits");
    await clock.pass(1);
    assertEquals(watched.state, "TimedOut");
    assertEquals(clock.timersLeft, 0);
  }
});

Deno.test("Watchdog.watch() watches again after a time-out", async () => {
  using clock = new FakeClock();
  const watchdog = new Watchdog();
  for (let turn = 0; turn < 3; turn++) {
    const watched = track(watchdog.watch(never(), 10, late));
    await clock.pass(10);
    assertEquals(watched.state, "TimedOut");
  }
  assertEquals(await watchdog.watch(Promise.resolve("on time"), 1000, late), "on time");
});

Deno.test("Watchdog.watch() lets an operation end that was ready while the program was busy", async () => {
  using _ = keepAlive();
  const watchdog = new Watchdog();
  const operation = Promise.withResolvers<string>();
  const watched = watchdog.watch(operation.promise, 20, late);
  const { port1, port2 } = new MessageChannel();
  port2.onmessage = () => operation.resolve("was there");
  port1.postMessage(null); // is seen by the event loop, and not before
  const began = performance.now();
  while (performance.now() - began < 60);
  assertEquals(await watched, "was there");
  port1.close();
  port2.close();
  watchdog.stop();
});

Deno.test("Watchdog.watch() leaves the rejection of an operation that was too late to nobody", async () => {
  using _ = keepAlive();
  const watchdog = new Watchdog();
  const operation = Promise.withResolvers<void>();
  await assertRejects(() => watchdog.watch(operation.promise, 10, late), Deno.errors.TimedOut);
  operation.reject(new Error("too late to matter")); // unhandled, it would fail the test
  await new Promise((resolve) => setTimeout(resolve, 0));
  watchdog.stop();
});

Deno.test("Watchdog.watchToEnd() waits until an operation that is too late has settled", async () => {
  using clock = new FakeClock();
  const watchdog = new Watchdog();
  const { promise, reject } = Promise.withResolvers<void>();
  let told = false;
  let settled = false;
  const watched = watchdog.watchToEnd(promise, 100, () => {
    told = true;
    return late();
  });
  watched.catch(() => settled = true);
  await clock.pass(100);
  for (let turns = 0; turns < 5; turns++) await clock.pass(0);
  assertEquals([told, settled], [true, false]);
  reject(new Error("closed"));
  await assertRejects(() => watched, Deno.errors.TimedOut, "late");
});

Deno.test("Watchdog.watchToEnd() gives at once what the operation fails with in time", async () => {
  using _clock = new FakeClock();
  const failed = Promise.reject(new Error("closed"));
  await assertRejects(() => new Watchdog().watchToEnd(failed, 100, late), Error, "closed");
});

Deno.test("Watchdog.stop() lets go of the timer and of the operation", async () => {
  using clock = new FakeClock();
  const watchdog = new Watchdog();
  const operation = Promise.withResolvers<string>();
  const watched = track(watchdog.watch(operation.promise, 20, late));
  watchdog.stop();
  assertEquals(clock.timersLeft, 0);
  await clock.pass(40);
  operation.resolve("at last");
  await clock.pass(0);
  assertEquals(watched.state, "at last");
  watchdog.stop();
});

Deno.test("Watchdog.stop() lets it watch again", async () => {
  using _ = keepAlive();
  const watchdog = new Watchdog();
  await watchdog.watch(Promise.resolve(), 60_000, late);
  watchdog.stop();
  await assertRejects(() => watchdog.watch(never(), 10, late), Deno.errors.TimedOut);
  watchdog.stop();
});
