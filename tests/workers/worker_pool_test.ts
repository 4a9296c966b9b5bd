/**
 * WorkerPool: who gets which worker when, and what becomes of workers that end, fail or are no longer wanted.
 *
 * @module
 */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertLess,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import {
  type PooledWorker,
  WorkerPool,
  type WorkerPoolOptions,
  workerPoolTimes,
} from "../../src/workers/worker_pool.ts";
import { settle, until, withTimes } from "../harness.ts";

/** A worker that ends when it is told to. */
class FakeWorker implements PooledWorker {
  readonly id: number;
  closed = false;
  killed = false;
  /** Ends the worker. */
  readonly end: (value?: unknown) => void;
  readonly ended: Promise<unknown>;
  isAlive = true;
  /** Whether it goes on when it has been killed. */
  goesOn = false;

  constructor(id: number) {
    this.id = id;
    const { promise, resolve } = Promise.withResolvers<unknown>();
    this.ended = promise;
    this.end = (value) => {
      this.isAlive = false;
      resolve(value);
    };
  }

  hasExited(): Promise<boolean> {
    return Promise.resolve(!this.goesOn);
  }

  close(): void {
    this.closed = true;
    this.end();
  }

  kill(): void {
    this.killed = true;
    this.end();
  }
}

/** A pool with its fakes. */
class Fixture implements AsyncDisposable {
  max = 4;
  minSpare = 0;
  idleTimeout: number | null = null;
  maxRequests = 0;
  /** All workers that have come up. */
  readonly workers: FakeWorker[] = [];
  readonly errors: unknown[] = [];
  /** When each start began, by the clock of `performance.now()`. */
  readonly startTimes: number[] = [];
  /** The most that were alive or coming up at once. */
  peak = 0;
  /** What `onFailure()` was told. */
  failures: unknown[] = [];
  /** What the pool counted each time that `onPoisoned()` was called. */
  readonly poisoned: number[] = [];
  #starting = 0;
  /** What becomes of a start: up at once, unless a test says otherwise. */
  onStart: (attempt: number) => void | Promise<void> = () => {};
  makeWorker: (id: number) => FakeWorker = (id) => new FakeWorker(id);
  readonly pool: WorkerPool<FakeWorker>;

  constructor(settings: Partial<Fixture> = {}) {
    Object.assign(this, settings);
    this.pool = new WorkerPool(this.#options());
  }

  #options(): WorkerPoolOptions<FakeWorker> {
    return {
      start: async () => {
        const attempt = this.startTimes.push(performance.now());
        this.#starting++;
        this.peak = Math.max(this.peak, this.alive);
        try {
          await this.onStart(attempt);
          const worker = this.makeWorker(attempt);
          this.workers.push(worker);
          return worker;
        } finally {
          this.#starting--;
        }
      },
      max: () => this.max,
      minSpare: () => this.minSpare,
      idleTimeout: () => this.idleTimeout,
      maxRequests: () => this.maxRequests,
      onStartError: (error) => void this.errors.push(error),
      onFailure: (error) => void this.failures.push(error),
      onPoisoned: () => void this.poisoned.push(this.pool.poisoned),
    };
  }

  /** Units that are alive or coming up, poisoned ones left out by the tests that make them. */
  get alive(): number {
    return this.#starting + this.workers.filter(({ isAlive }) => isAlive).length;
  }

  /** Resolves when so many are spare. */
  async spare(count: number): Promise<void> {
    await until(() => this.pool.stats().spare === count);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.pool.close();
  }
}

/** What has become of a promise by now. */
async function stateOf(promise: Promise<unknown>): Promise<"pending" | "settled"> {
  const settled = () => "settled" as const;
  await settle();
  return await Promise.race([promise.then(settled, settled), Promise.resolve("pending" as const)]);
}

Deno.test("WorkerPool.lease() starts a worker when there is none, and gives it again once it is released", async () => {
  await using fixture = new Fixture();
  const { pool } = fixture;
  const worker = await pool.lease();
  assertEquals(pool.stats(), { spare: 0, busy: 1, starting: 0, poisoned: 0, started: 1 });
  pool.release(worker, true);
  assertEquals(pool.stats(), { spare: 1, busy: 0, starting: 0, poisoned: 0, started: 1 });
  assertStrictEquals(await pool.lease(), worker);
  pool.release(worker, true);
});

Deno.test("WorkerPool.lease() gives a worker to those first that do not yield, and else in order", async () => {
  await using fixture = new Fixture({ max: 1 });
  const { pool } = fixture;
  const worker = await pool.lease();
  const order: number[] = [];
  const leases = [true, true, false, false].map(async (yields, index) => {
    const given = await pool.lease(undefined, () => yields);
    order.push(index);
    pool.release(given, true);
  });
  pool.release(worker, true);
  await Promise.all(leases);
  assertEquals(order, [2, 3, 0, 1]);
});

Deno.test("WorkerPool.lease() gives the spare that was used last", async () => {
  await using fixture = new Fixture();
  const { pool } = fixture;
  const workers = await Promise.all([pool.lease(), pool.lease(), pool.lease()]);
  for (const index of [1, 2, 0]) pool.release(workers[index]!, true);
  const again = [await pool.lease(), await pool.lease(), await pool.lease()];
  assertEquals(again, [workers[0]!, workers[2]!, workers[1]!]);
  for (const worker of again) pool.release(worker, true);
});

Deno.test("WorkerPool.lease() prefers a spare that has worked to a new one", async () => {
  await using fixture = new Fixture({ minSpare: 1 });
  const { pool } = fixture;
  pool.warm();
  await fixture.spare(1);
  const worked = await pool.lease();
  await fixture.spare(1);
  pool.release(worked, true);
  assertStrictEquals(await pool.lease(), worked);
  pool.release(worked, true);
});

Deno.test("WorkerPool.lease() never has more than max alive, and serves first come, first served", async () => {
  await using fixture = new Fixture({ max: 3, minSpare: 2, maxRequests: 2 });
  const { pool } = fixture;
  fixture.onStart = () => settle();
  pool.warm();
  const order: number[] = [];
  await Promise.all(Array.from({ length: 100 }, async (_, n) => {
    const worker = await pool.lease();
    order.push(n);
    assert(worker.isAlive);
    if (n % 3 === 0) await settle();
    pool.release(worker, n % 10 !== 0);
  }));
  assertEquals(order, Array.from({ length: 100 }, (_, n) => n));
  assertEquals(fixture.peak, 3);
});

Deno.test("WorkerPool.lease() waits until a worker that was told to end has ended", async () => {
  await using fixture = new Fixture({ max: 1, maxRequests: 1 });
  const { pool } = fixture;
  const first = await pool.lease();
  first.close = () => void (first.closed = true);
  pool.release(first, true);
  assert(first.closed);
  const second = pool.lease();
  assertEquals(await stateOf(second), "pending");
  assertEquals(pool.stats(), { spare: 0, busy: 0, starting: 0, poisoned: 0, started: 1 });
  first.end();
  pool.release(await second, true);
  assertEquals(fixture.peak, 1);
});

Deno.test("WorkerPool.lease() rejects with the signal's reason and leaves its turn to the next", async () => {
  await using fixture = new Fixture({ max: 1 });
  const { pool } = fixture;
  const worker = await pool.lease();
  const controller = new AbortController();
  const impatient = pool.lease(controller.signal);
  const next = pool.lease();
  const reason = new Error("enough");
  controller.abort(reason);
  assertStrictEquals(await assertRejects(() => impatient), reason);
  assertStrictEquals(await assertRejects(() => pool.lease(controller.signal)), reason);
  pool.release(worker, true);
  assertStrictEquals(await next, worker);
  pool.release(worker, true);
});

Deno.test("WorkerPool.lease() keeps the worker as a spare when the signal is aborted while it comes up", async () => {
  await using fixture = new Fixture();
  const { pool } = fixture;
  const gate = Promise.withResolvers<void>();
  fixture.onStart = () => gate.promise;
  const controller = new AbortController();
  const leased = pool.lease(controller.signal);
  controller.abort();
  await assertRejects(() => leased, DOMException);
  gate.resolve();
  await fixture.spare(1);
  const worker = await pool.lease(new AbortController().signal);
  assertEquals(worker.id, 1);
  pool.release(worker, true);
});

Deno.test("WorkerPool.warm() keeps minSpare workers ready, also while others run", async () => {
  await using fixture = new Fixture({ minSpare: 2 });
  const { pool } = fixture;
  assertEquals(pool.stats().starting, 0);
  pool.warm();
  assertEquals(pool.stats().starting, 2);
  await fixture.spare(2);
  const worker = await pool.lease();
  assertEquals(pool.stats().starting, 1);
  await fixture.spare(2);
  assertEquals(pool.stats(), { spare: 2, busy: 1, starting: 0, poisoned: 0, started: 3 });
  const others = [await pool.lease(), await pool.lease()];
  await fixture.spare(1); // max is 4
  for (const busy of [worker, ...others]) pool.release(busy, true);
  assertEquals(fixture.peak, 4);
});

/** How many young starts there are side by side. */
const MAX_YOUNG = Math.max(4, navigator.hardwareConcurrency);

Deno.test("WorkerPool begins no more starts side by side than there are processors for", async () => {
  const gate = Promise.withResolvers<void>();
  await using fixture = new Fixture({ max: 1000, onStart: () => gate.promise });
  const { pool } = fixture;
  const leases = Array.from({ length: MAX_YOUNG + 10 }, () => pool.lease());
  assertEquals(pool.stats().starting, MAX_YOUNG);
  gate.resolve();
  const workers = await Promise.all(leases);
  assertEquals(pool.stats().busy, MAX_YOUNG + 10);
  for (const worker of workers) pool.release(worker, true);
});

Deno.test("WorkerPool.lease() waits for no start that hangs, however many do, while max allows more", async () => {
  const gate = Promise.withResolvers<void>();
  const hanging = 3 * MAX_YOUNG;
  const onStart = (attempt: number) => attempt <= hanging ? gate.promise : undefined;
  await using fixture = new Fixture({ max: hanging + 1, onStart });
  const { pool } = fixture;
  const worker = await Promise.race(Array.from({ length: hanging + 1 }, () => pool.lease()));
  assertEquals(worker.id, hanging + 1);
  assertEquals(pool.stats().starting, hanging);
  pool.release(worker, true);
  gate.resolve();
  await until(() => pool.stats().starting === 0);
  for (const other of fixture.workers) pool.release(other, true);
});

Deno.test("WorkerPool.lease() waits for no start that hangs when another has failed", async () => {
  const gate = Promise.withResolvers<void>();
  const onStart = (attempt: number) => {
    if (attempt === 2) throw new Error("no room");
    return attempt === 1 ? gate.promise : undefined;
  };
  await using fixture = new Fixture({ max: 2, onStart });
  const { pool } = fixture;
  const leases = [pool.lease(), pool.lease()];
  const worker = await Promise.race(leases);
  assertEquals(worker.id, 3);
  gate.resolve();
  for (const other of await Promise.all(leases)) pool.release(other, true);
});

Deno.test("WorkerPool.during() keeps spares ready while the loop runs, and nothing idle afterwards", async () => {
  await using fixture = new Fixture({ minSpare: 2 });
  const { pool, workers } = fixture;
  for (const expected of [2, 4]) {
    const loop = Promise.withResolvers<void>();
    const running = pool.during(true, () => loop.promise);
    await pool.during(true, () => Promise.reject(new Error("busy"))).catch(() => {});
    await fixture.spare(2);
    assertEquals(workers.length, expected);
    loop.resolve();
    await running;
    await until(() => fixture.alive === 0);
  }
  const worker = await pool.lease();
  pool.release(worker, true);
  await pool.during(false, async () => pool.release(await pool.lease(), true));
  assertEquals([workers.length, worker.isAlive], [5, true]);
  await until(() => fixture.alive === 0);
});

Deno.test("WorkerPool.during() ends with what its loop throws, and a worker that is busy then soon after its release", async () => {
  await using fixture = new Fixture();
  const { pool } = fixture;
  const worker = await pool.lease();
  await assertRejects(() => pool.during(true, () => Promise.reject(new Error("no"))), Error, "no");
  await settle();
  assert(worker.isAlive);
  pool.release(worker, true);
  await until(() => !worker.isAlive);
});

Deno.test("WorkerPool.release() ends a worker after maxRequests, whose spare has come up meanwhile", async () => {
  await using fixture = new Fixture({ maxRequests: 1, minSpare: 1 });
  const { pool } = fixture;
  pool.warm();
  for (let id = 1; id <= 20; id++) {
    await fixture.spare(1);
    const worker = await pool.lease();
    assertEquals(worker.id, id);
    pool.release(worker, true);
    assert(worker.closed && !worker.killed);
  }
  assertLess(fixture.peak, 4);
});

Deno.test("WorkerPool.release() kills a worker that is not reusable", async () => {
  await using fixture = new Fixture();
  const { pool } = fixture;
  const worker = await pool.lease();
  pool.release(worker, false);
  assert(worker.killed && !worker.closed);
  await settle();
  assertEquals(pool.stats().busy, 0);
  assertEquals(fixture.errors, []);
});

Deno.test("WorkerPool.release() ends what max no longer allows", async () => {
  await using fixture = new Fixture();
  const { pool } = fixture;
  const workers = await Promise.all([pool.lease(), pool.lease(), pool.lease()]);
  fixture.max = 1;
  for (const worker of workers.slice(0, 2)) {
    pool.release(worker, true);
    assert(worker.closed);
    await settle();
  }
  pool.release(workers[2]!, true);
  assertEquals(pool.stats().spare, 1);
});

Deno.test("WorkerPool.release() does nothing for a worker that is not leased", async () => {
  await using fixture = new Fixture();
  const { pool } = fixture;
  const worker = await pool.lease();
  pool.release(new FakeWorker(0), true);
  pool.release(worker, true);
  pool.release(worker, true);
  pool.release(worker, false);
  pool.poison(worker);
  assertEquals(pool.stats(), { spare: 1, busy: 0, starting: 0, poisoned: 0, started: 1 });
  assert(worker.isAlive);
});

Deno.test("WorkerPool.release() removes a worker that died while it was busy, which held its place until then", async () => {
  await using fixture = new Fixture({ max: 1 });
  const { pool } = fixture;
  for (const reusable of [false, true]) {
    const worker = await pool.lease();
    worker.end("killed");
    const next = pool.lease();
    assertEquals(await stateOf(next), "pending");
    assertEquals(pool.stats().busy, 1);
    pool.release(worker, reusable);
    const another = await next;
    assert(another !== worker);
    pool.release(another, true);
  }
  assertEquals(fixture.errors, []);
});

Deno.test("WorkerPool ends idle workers beyond minSpare after idleTimeout", async () => {
  await using fixture = new Fixture({ minSpare: 1, idleTimeout: 20 });
  const { pool } = fixture;
  const workers = await Promise.all([pool.lease(), pool.lease(), pool.lease()]);
  const began = performance.now();
  for (const worker of workers) pool.release(worker, true);
  await fixture.spare(1);
  assert(performance.now() - began >= 19);
  assertEquals(workers.map(({ closed }) => closed), [true, true, false]);
  assertEquals(pool.stats().started, 3);
});

Deno.test("WorkerPool keeps a worker that is new for idleTimeout, however long others have been idle", async () => {
  await using fixture = new Fixture({ minSpare: 2, max: 3, idleTimeout: 300 });
  const { pool } = fixture;
  pool.warm();
  await fixture.spare(2);
  /** One more is started while one is busy, and is one too many afterwards. */
  const serve = async () => {
    const worker = await pool.lease();
    await fixture.spare(2);
    pool.release(worker, true);
    await settle();
  };
  await serve();
  assertEquals(fixture.workers.length, 3);
  await fixture.spare(2); // the one that was idle for longest has ended
  for (let request = 0; request < 10; request++) await serve();
  // The other that had been idle for as long has ended, too; on a slow machine, so may one that was new then.
  assertLess(fixture.workers.length, 8);
});

Deno.test("WorkerPool reads minSpare and idleTimeout each time", async () => {
  await using fixture = new Fixture({ minSpare: 3, idleTimeout: 1_000_000 });
  const { pool } = fixture;
  pool.warm();
  await fixture.spare(3);
  fixture.minSpare = 0;
  pool.release(await pool.lease(), true);
  assertEquals(pool.stats().spare, 3);
  fixture.idleTimeout = 1;
  pool.release(await pool.lease(), true);
  await fixture.spare(0);
});

Deno.test("WorkerPool replaces a spare that dies after it has served, at once and without a word", async () => {
  await using fixture = new Fixture({ minSpare: 1 });
  const { pool } = fixture;
  const worker = await pool.lease();
  pool.release(worker, true);
  pool.warm();
  worker.end();
  await until(() => fixture.workers.length === 2);
  await fixture.spare(1);
  assertEquals(fixture.errors, []);
});

Deno.test("WorkerPool replaces a spare that dies unused after a pause, and tells what it ended with", async () => {
  await using fixture = new Fixture({ minSpare: 1 });
  const { pool } = fixture;
  pool.warm();
  await fixture.spare(1);
  fixture.workers[0]!.end({ code: 3 });
  await until(() => fixture.workers.length === 2);
  await fixture.spare(1);
  assert(fixture.startTimes[1]! - fixture.startTimes[0]! >= 4);
  const [error] = fixture.errors;
  assertInstanceOf(error, Error);
  assertEquals(error.message, "Cannot keep worker ready: it ended before it was used");
  assertEquals(error.cause, { code: 3 });
});

Deno.test("WorkerPool counts spares that die together as one failure", async () => {
  await using fixture = new Fixture({ minSpare: 4 });
  const { pool } = fixture;
  pool.warm();
  await fixture.spare(4);
  for (const worker of fixture.workers.slice()) worker.end();
  await fixture.spare(0);
  await fixture.spare(4);
  assertEquals(fixture.errors.length, 4);
  assertEquals(pool.stats().started, 8);
});

Deno.test("WorkerPool.lease() tries a start that fails again, and gives a worker when that succeeds", async () => {
  await using fixture = new Fixture();
  const { pool } = fixture;
  fixture.onStart = (attempt) => {
    if (attempt < 3) throw new Error(`start ${attempt}`);
  };
  const worker = await pool.lease();
  assertEquals(worker.id, 3);
  const [first, second, third] = fixture.startTimes as [number, number, number];
  assert(second - first >= 4);
  assert(third - second >= 9);
  assertEquals(fixture.errors, []);
  pool.release(worker, true);
});

Deno.test("WorkerPool.lease() rejects with the first error after three failed starts in a row, and lives on", async () => {
  await using fixture = new Fixture({ minSpare: 1 });
  const { pool } = fixture;
  let broken = true;
  fixture.onStart = (attempt) => {
    if (broken) throw new Error(`start ${attempt}`);
  };
  const waiting = [pool.lease(), pool.lease()];
  for (const lease of waiting) await assertRejects(() => lease, Error, "start 1");
  pool.warm();
  // The first two leases have begun a start each, and these count as one.
  assertEquals(fixture.startTimes.length, 4);
  await assertRejects(() => pool.lease(), Error, "start 1");
  assertEquals(fixture.startTimes.length, 4);

  // The pause over, one lease makes one try, whose error is told then.
  const nextTry = async (): Promise<unknown> => {
    const { length } = fixture.startTimes;
    let error: unknown;
    await until(() => {
      pool.lease().then((worker) => pool.release(worker, true), (reason) => error = reason);
      return fixture.startTimes.length > length;
    });
    await settle();
    return error;
  };
  assertEquals(String(await nextTry()), "Error: start 5");
  await assertRejects(() => pool.lease(), Error, "start 5");
  assertEquals(fixture.startTimes.length, 5);
  broken = false;
  await nextTry();
  await fixture.spare(2); // the one of that lease, and the one that is kept again
  assertEquals(fixture.errors, []);
});

Deno.test("WorkerPool tells of failed starts nobody waits for, stops after three, and starts anew with a lease", async () => {
  await using fixture = new Fixture({ minSpare: 1 });
  const { pool } = fixture;
  fixture.onStart = (attempt) => {
    if (attempt <= 3) throw new Error(`start ${attempt}`);
  };
  pool.warm();
  await until(() => fixture.errors.length === 3);
  assertEquals(fixture.errors.map(String), [1, 2, 3].map((n) => `Error: start ${n}`));
  await assertRejects(() => pool.lease(), Error, "start 1");
  await new Promise((resolve) => setTimeout(resolve, 50)); // in which nothing may start
  assertEquals(fixture.startTimes.length, 3);
  const worker = await pool.lease();
  await fixture.spare(1);
  pool.release(worker, true);
});

Deno.test("fault 25: WorkerPool.onFailure() is told of three failed first starts, and of none after a lease", async () => {
  await using fixture = new Fixture({ minSpare: 1 });
  const { pool, failures } = fixture;
  let isBroken = true;
  fixture.onStart = (attempt) => {
    if (isBroken) throw new Error(`start ${attempt}`);
  };
  for (const [round, first] of [[1, "Error: start 1"], [2, "Error: start 4"]] as const) {
    await pool.during(true, () => until(() => failures.length === round));
    assertEquals([String(failures.at(-1)), fixture.startTimes.length], [first, 3 * round]);
  }
  isBroken = false;
  await pool.during(true, async () => {
    await fixture.spare(1);
    isBroken = true;
    pool.release(await pool.lease(), false);
    await until(() => fixture.errors.length === 9);
  });
  assertEquals(failures.length, 2);
});

Deno.test("WorkerPool stops starting spares that come up and die three times in a row", async () => {
  await using fixture = new Fixture({ minSpare: 1 });
  const { pool } = fixture;
  fixture.makeWorker = (id) => {
    const worker = new FakeWorker(id);
    worker.end(id);
    return worker;
  };
  pool.warm();
  await until(() => fixture.errors.length === 3);
  assertEquals(fixture.failures.length, 1);
  const error = await assertRejects(() => pool.lease(), Error, "ended before it was used");
  assertEquals(error.cause, 1);
  await new Promise((resolve) => setTimeout(resolve, 50)); // in which nothing may start
  assertEquals(fixture.startTimes.length, 3);
});

Deno.test("WorkerPool.poison() kills a worker and frees its place, and counts it until it has ended", async () => {
  await using fixture = new Fixture({ max: 1 });
  const { pool } = fixture;
  const worker = await pool.lease();
  worker.goesOn = true;
  worker.kill = () => void (worker.killed = true);
  const next = pool.lease();
  pool.poison(worker);
  assert(worker.killed);
  const another = await next;
  assert(another !== worker);
  assertEquals(pool.stats(), { spare: 0, busy: 1, starting: 0, poisoned: 1, started: 2 });
  pool.release(worker, true); // its place is another's
  assertEquals(pool.stats().busy, 1);
  pool.release(another, true);
  assertEquals(fixture.poisoned, [1]);
  worker.goesOn = false;
  await until(() => pool.stats().poisoned === 0);
  assertEquals(fixture.poisoned, [1, 0]);
});

Deno.test("WorkerPool.close() ends spares at once and busy workers when they are released", async () => {
  const { pool } = new Fixture();
  const [spare, busy, dead] = await Promise.all([pool.lease(), pool.lease(), pool.lease()]);
  pool.release(spare, true);
  const closed = pool.close();
  assert(spare.closed);
  assert(busy.isAlive);
  await assertRejects(
    () => pool.lease(),
    Deno.errors.BadResource,
    "Cannot lease worker: the pool is closed",
  );
  dead.end();
  pool.release(dead, false);
  assertEquals(await stateOf(closed), "pending");
  pool.release(busy, true);
  assert(busy.closed);
  await closed;
  await pool.close();
  assertEquals(pool.stats(), { spare: 0, busy: 0, starting: 0, poisoned: 0, started: 3 });
});

Deno.test("WorkerPool.close() rejects leases that wait, and ends what comes up later", async () => {
  const fixture = new Fixture({ max: 2, minSpare: 2 });
  const { pool } = fixture;
  const gate = Promise.withResolvers<void>();
  fixture.onStart = (attempt) => gate.promise.then(() => assert(attempt === 1, "failed"));
  pool.warm();
  const waiting = [pool.lease(), pool.lease(), pool.lease()];
  const closed = pool.close();
  for (const lease of waiting) await assertRejects(() => lease, Deno.errors.BadResource);
  assertEquals(await stateOf(closed), "pending");
  gate.resolve();
  await closed;
  assertEquals(fixture.workers.map(({ closed }) => closed), [true]);
  assertEquals(fixture.errors, []);
  assertEquals(fixture.startTimes.length, 2);
});

Deno.test("WorkerPool.close() does not wait for poisoned workers, nor for a pause", async () => {
  const fixture = new Fixture();
  const { pool } = fixture;
  const worker = await pool.lease();
  worker.kill = () => {};
  pool.poison(worker);
  fixture.onStart = () => Promise.reject(new Error("no"));
  const waiting = pool.lease();
  await until(() => fixture.startTimes.length === 3);
  await pool.close();
  await assertRejects(() => waiting, Deno.errors.BadResource);
});

Deno.test("WorkerPool.close() kills a worker that was let end and does not", async () => {
  using _ = withTimes(workerPoolTimes, { endGrace: 100 });
  const { pool } = new Fixture();
  const worker = await pool.lease();
  worker.close = () => {};
  pool.release(worker, true);
  const closed = pool.close();
  assert(!worker.killed);
  // Only the pending close() keeps this program alive, as a server's listener would.
  const alive = setInterval(() => {}, 1000);
  await closed;
  clearInterval(alive);
  assert(worker.killed);
});

Deno.test("WorkerPool holds to max and settles every lease when workers die, fail and are poisoned at random", async () => {
  await using fixture = new Fixture({ max: 5, minSpare: 2, maxRequests: 7, idleTimeout: 1 });
  const { pool } = fixture;
  let seed = 42;
  const chance = (share: number): boolean => {
    seed = (seed * 1103515245 + 12345) % 2 ** 31;
    return seed / 2 ** 31 < share;
  };
  fixture.onStart = async () => {
    await settle();
    if (chance(0.2)) throw new Error("start");
  };
  pool.warm();
  const outcomes = { served: 0, failed: 0, aborted: 0 };
  await Promise.all(Array.from({ length: 300 }, async () => {
    const controller = new AbortController();
    if (chance(0.1)) setTimeout(() => controller.abort(), 1);
    let worker: FakeWorker;
    try {
      worker = await pool.lease(controller.signal);
    } catch {
      outcomes[controller.signal.aborted ? "aborted" : "failed"]++;
      return;
    }
    outcomes.served++;
    if (chance(0.5)) await settle();
    const spare = fixture.workers.find(({ isAlive }) => isAlive && chance(0.05));
    if (spare !== undefined) spare.end();
    if (chance(0.1)) pool.poison(worker);
    else pool.release(worker, worker.isAlive && chance(0.9));
  }));
  assertEquals(outcomes.served + outcomes.failed + outcomes.aborted, 300);
  assert(outcomes.served > 0);
  assertLess(fixture.peak, 6);
  fixture.onStart = () => {};
  await until(() => {
    const { spare, busy, starting } = pool.stats();
    if (spare >= 2) return busy === 0 && starting === 0;
    pool.lease().then((worker) => pool.release(worker, true), () => {});
    return false;
  });
});

/** A real Worker, as far as the pool is concerned. */
class EchoWorker implements PooledWorker {
  readonly #worker: Worker;
  readonly #ended = Promise.withResolvers<void>();
  readonly ended: Promise<void> = this.#ended.promise;
  answer = Promise.withResolvers<unknown>();

  constructor(code: string) {
    this.#worker = new Worker(`data:text/javascript,${encodeURIComponent(code)}`, {
      type: "module",
    });
    this.#worker.onmessage = ({ data }) => {
      if (data !== "bye") this.answer.resolve(data);
      else this.kill();
    };
  }

  static async start(code: string): Promise<EchoWorker> {
    const worker = new EchoWorker(code);
    await worker.answer.promise;
    return worker;
  }

  hasExited(): Promise<boolean> {
    return Promise.resolve(true);
  }

  async ask(data: unknown): Promise<unknown> {
    this.answer = Promise.withResolvers();
    this.#worker.postMessage(data);
    return await this.answer.promise;
  }

  close(): void {
    this.#worker.postMessage("bye");
  }

  kill(): void {
    this.#worker.terminate();
    this.#ended.resolve();
    this.answer.reject(new Error("the Worker has ended"));
  }
}

/** A pool of Workers; what it is told of failed starts is in `errors`. */
function workerPool(code: string, maxRequests = 0) {
  const errors: unknown[] = [];
  const pool = new WorkerPool<EchoWorker>({
    start: () => EchoWorker.start(code),
    max: () => 2,
    minSpare: () => 1,
    idleTimeout: () => null,
    maxRequests: () => maxRequests,
    onStartError: (error) => void errors.push(error),
    onFailure: () => {},
    onPoisoned: () => {},
  });
  return { pool, errors };
}

const ECHO = `
  let count = 0;
  onmessage = ({ data }) => {
    postMessage(data === "bye" ? data : \`\${data} \${++count}\`);
  };
  postMessage("ready");
`;

for (const [maxRequests, answers] of [[0, ["a 1", "b 2"]], [1, ["a 1", "b 1"]]] as const) {
  Deno.test(`WorkerPool serves from real Workers with maxRequests ${maxRequests}`, async () => {
    const { pool, errors } = workerPool(ECHO, maxRequests);
    pool.warm();
    const got: unknown[] = [];
    for (const data of ["a", "b"]) {
      const worker = await pool.lease();
      got.push(await worker.ask(data));
      pool.release(worker, true);
    }
    assertEquals(got, [...answers]);
    await pool.close();
    assertEquals(errors, []);
  });
}

Deno.test("WorkerPool replaces a real Worker that ends while it is busy", async () => {
  const { pool } = workerPool(ECHO);
  const worker = await pool.lease();
  await assertRejects(() => worker.ask("bye"), Error, "the Worker has ended");
  pool.release(worker, false);
  const another = await pool.lease();
  assertEquals(await another.ask("a"), "a 1");
  pool.release(another, true);
  await pool.close();
});

Deno.test("WorkerPool.lease() rejects when real Workers do not come up", async () => {
  const { pool, errors } = workerPool(`postMessage("bye");`);
  await assertRejects(() => pool.lease(), Error, "the Worker has ended");
  assertEquals(errors, []);
  await pool.close();
});
