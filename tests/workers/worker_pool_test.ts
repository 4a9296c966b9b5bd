/**
 * UnitPool: who gets which unit when, and what becomes of units that end, fail or are no longer wanted.
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
import { type PooledUnit, UnitPool, type UnitPoolOptions } from "../../src/workers/worker_pool.ts";
import { until } from "../harness.ts";

/** A unit that ends when it is told to. */
class FakeUnit implements PooledUnit {
  readonly id: number;
  closed = false;
  killed = false;
  /** Ends the unit. */
  readonly end: (value?: unknown) => void;
  readonly ended: Promise<unknown>;
  isAlive = true;

  constructor(id: number) {
    this.id = id;
    const { promise, resolve } = Promise.withResolvers<unknown>();
    this.ended = promise;
    this.end = (value) => {
      this.isAlive = false;
      resolve(value);
    };
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
  /** All units that have come up. */
  readonly units: FakeUnit[] = [];
  readonly errors: unknown[] = [];
  /** When each start began, by the clock of `performance.now()`. */
  readonly startTimes: number[] = [];
  /** The most that were alive or coming up at once. */
  peak = 0;
  /** What `onFailure()` was told. */
  failures: unknown[] = [];
  #starting = 0;
  /** What becomes of a start: up at once, unless a test says otherwise. */
  onStart: (attempt: number) => void | Promise<void> = () => {};
  makeUnit: (id: number) => FakeUnit = (id) => new FakeUnit(id);
  readonly pool: UnitPool<FakeUnit>;

  constructor(settings: Partial<Fixture> = {}) {
    Object.assign(this, settings);
    this.pool = new UnitPool(this.#options());
  }

  #options(): UnitPoolOptions<FakeUnit> {
    return {
      start: async () => {
        const attempt = this.startTimes.push(performance.now());
        this.#starting++;
        this.peak = Math.max(this.peak, this.alive);
        try {
          await this.onStart(attempt);
          const unit = this.makeUnit(attempt);
          this.units.push(unit);
          return unit;
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
    };
  }

  /** Units that are alive or coming up, poisoned ones left out by the tests that make them. */
  get alive(): number {
    return this.#starting + this.units.filter(({ isAlive }) => isAlive).length;
  }

  /** Resolves when so many are spare. */
  async spare(count: number): Promise<void> {
    await until(() => this.pool.stats().spare === count);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.pool.close();
  }
}

/** Turns of the event loop in which nothing more may happen. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setTimeout(resolve, 0));
}

/** What has become of a promise by now. */
async function stateOf(promise: Promise<unknown>): Promise<"pending" | "settled"> {
  const settled = () => "settled" as const;
  await turns();
  return await Promise.race([promise.then(settled, settled), Promise.resolve("pending" as const)]);
}

Deno.test("UnitPool.lease() starts a unit when there is none, and gives it again once it is released", async () => {
  await using fixture = new Fixture();
  const { pool } = fixture;
  const unit = await pool.lease();
  assertEquals(pool.stats(), { spare: 0, busy: 1, starting: 0, poisoned: 0, started: 1 });
  pool.release(unit, true);
  assertEquals(pool.stats(), { spare: 1, busy: 0, starting: 0, poisoned: 0, started: 1 });
  assertStrictEquals(await pool.lease(), unit);
  pool.release(unit, true);
});

Deno.test("UnitPool.lease() gives the spare that was used last", async () => {
  await using fixture = new Fixture();
  const { pool } = fixture;
  const units = await Promise.all([pool.lease(), pool.lease(), pool.lease()]);
  for (const index of [1, 2, 0]) pool.release(units[index]!, true);
  const again = [await pool.lease(), await pool.lease(), await pool.lease()];
  assertEquals(again, [units[0]!, units[2]!, units[1]!]);
  for (const unit of again) pool.release(unit, true);
});

Deno.test("UnitPool.lease() prefers a spare that has worked to a new one", async () => {
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

Deno.test("UnitPool.lease() never has more than max alive, and serves first come, first served", async () => {
  await using fixture = new Fixture({ max: 3, minSpare: 2, maxRequests: 2 });
  const { pool } = fixture;
  fixture.onStart = () => turns();
  pool.warm();
  const order: number[] = [];
  await Promise.all(Array.from({ length: 100 }, async (_, n) => {
    const unit = await pool.lease();
    order.push(n);
    assert(unit.isAlive);
    if (n % 3 === 0) await turns();
    pool.release(unit, n % 10 !== 0);
  }));
  assertEquals(order, Array.from({ length: 100 }, (_, n) => n));
  assertEquals(fixture.peak, 3);
});

Deno.test("UnitPool.lease() waits until a unit that was told to end has ended", async () => {
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

Deno.test("UnitPool.lease() rejects with the signal's reason and leaves its turn to the next", async () => {
  await using fixture = new Fixture({ max: 1 });
  const { pool } = fixture;
  const unit = await pool.lease();
  const controller = new AbortController();
  const impatient = pool.lease(controller.signal);
  const next = pool.lease();
  const reason = new Error("enough");
  controller.abort(reason);
  assertStrictEquals(await assertRejects(() => impatient), reason);
  assertStrictEquals(await assertRejects(() => pool.lease(controller.signal)), reason);
  pool.release(unit, true);
  assertStrictEquals(await next, unit);
  pool.release(unit, true);
});

Deno.test("UnitPool.lease() keeps the unit as a spare when the signal is aborted while it comes up", async () => {
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
  const unit = await pool.lease(new AbortController().signal);
  assertEquals(unit.id, 1);
  pool.release(unit, true);
});

Deno.test("UnitPool.warm() keeps minSpare units ready, also while others run", async () => {
  await using fixture = new Fixture({ minSpare: 2 });
  const { pool } = fixture;
  assertEquals(pool.stats().starting, 0);
  pool.warm();
  assertEquals(pool.stats().starting, 2);
  await fixture.spare(2);
  const unit = await pool.lease();
  assertEquals(pool.stats().starting, 1);
  await fixture.spare(2);
  assertEquals(pool.stats(), { spare: 2, busy: 1, starting: 0, poisoned: 0, started: 3 });
  const others = [await pool.lease(), await pool.lease()];
  await fixture.spare(1); // max is 4
  for (const busy of [unit, ...others]) pool.release(busy, true);
  assertEquals(fixture.peak, 4);
});

Deno.test("UnitPool.during() keeps spares ready while the loop runs, and nothing idle afterwards", async () => {
  await using fixture = new Fixture({ minSpare: 2 });
  const { pool, units } = fixture;
  for (const expected of [2, 4]) {
    const loop = Promise.withResolvers<void>();
    const running = pool.during(true, () => loop.promise);
    await pool.during(true, () => Promise.reject(new Error("busy"))).catch(() => {});
    await fixture.spare(2);
    assertEquals(units.length, expected);
    loop.resolve();
    await running;
    await until(() => fixture.alive === 0);
  }
  const unit = await pool.lease();
  pool.release(unit, true);
  await pool.during(false, async () => pool.release(await pool.lease(), true));
  assertEquals([units.length, unit.isAlive], [5, true]);
  await until(() => fixture.alive === 0);
});

Deno.test("UnitPool.during() ends with what its loop throws, and a unit that is busy then soon after its release", async () => {
  await using fixture = new Fixture();
  const { pool } = fixture;
  const unit = await pool.lease();
  await assertRejects(() => pool.during(true, () => Promise.reject(new Error("no"))), Error, "no");
  await turns();
  assert(unit.isAlive);
  pool.release(unit, true);
  await until(() => !unit.isAlive);
});

Deno.test("UnitPool.release() ends a unit after maxRequests, whose spare has come up meanwhile", async () => {
  await using fixture = new Fixture({ maxRequests: 1, minSpare: 1 });
  const { pool } = fixture;
  pool.warm();
  for (let id = 1; id <= 20; id++) {
    await fixture.spare(1);
    const unit = await pool.lease();
    assertEquals(unit.id, id);
    pool.release(unit, true);
    assert(unit.closed && !unit.killed);
  }
  assertLess(fixture.peak, 4);
});

Deno.test("UnitPool.release() kills a unit that is not reusable", async () => {
  await using fixture = new Fixture();
  const { pool } = fixture;
  const unit = await pool.lease();
  pool.release(unit, false);
  assert(unit.killed && !unit.closed);
  await turns();
  assertEquals(pool.stats().busy, 0);
  assertEquals(fixture.errors, []);
});

Deno.test("UnitPool.release() ends what max no longer allows", async () => {
  await using fixture = new Fixture();
  const { pool } = fixture;
  const units = await Promise.all([pool.lease(), pool.lease(), pool.lease()]);
  fixture.max = 1;
  for (const unit of units.slice(0, 2)) {
    pool.release(unit, true);
    assert(unit.closed);
    await turns();
  }
  pool.release(units[2]!, true);
  assertEquals(pool.stats().spare, 1);
});

Deno.test("UnitPool.release() does nothing for a unit that is not leased", async () => {
  await using fixture = new Fixture();
  const { pool } = fixture;
  const unit = await pool.lease();
  pool.release(new FakeUnit(0), true);
  pool.release(unit, true);
  pool.release(unit, true);
  pool.release(unit, false);
  pool.poison(unit);
  assertEquals(pool.stats(), { spare: 1, busy: 0, starting: 0, poisoned: 0, started: 1 });
  assert(unit.isAlive);
});

Deno.test("UnitPool.release() removes a unit that died while it was busy, which held its place until then", async () => {
  await using fixture = new Fixture({ max: 1 });
  const { pool } = fixture;
  for (const reusable of [false, true]) {
    const unit = await pool.lease();
    unit.end("killed");
    const next = pool.lease();
    assertEquals(await stateOf(next), "pending");
    assertEquals(pool.stats().busy, 1);
    pool.release(unit, reusable);
    const another = await next;
    assert(another !== unit);
    pool.release(another, true);
  }
  assertEquals(fixture.errors, []);
});

Deno.test("UnitPool ends idle units beyond minSpare after idleTimeout", async () => {
  await using fixture = new Fixture({ minSpare: 1, idleTimeout: 20 });
  const { pool } = fixture;
  const units = await Promise.all([pool.lease(), pool.lease(), pool.lease()]);
  const began = performance.now();
  for (const unit of units) pool.release(unit, true);
  await fixture.spare(1);
  assert(performance.now() - began >= 19);
  assertEquals(units.map(({ closed }) => closed), [true, true, false]);
  assertEquals(pool.stats().started, 3);
});

Deno.test("UnitPool keeps a unit that is new for idleTimeout, however long others have been idle", async () => {
  await using fixture = new Fixture({ minSpare: 2, max: 3, idleTimeout: 300 });
  const { pool } = fixture;
  pool.warm();
  await fixture.spare(2);
  /** One more is started while one is busy, and is one too many afterwards. */
  const serve = async () => {
    const unit = await pool.lease();
    await fixture.spare(2);
    pool.release(unit, true);
    await turns();
  };
  await serve();
  assertEquals(fixture.units.length, 3);
  await fixture.spare(2); // the one that was idle for longest has ended
  for (let request = 0; request < 10; request++) await serve();
  // The other that had been idle for as long has ended, too; on a slow machine, so may one that was new then.
  assertLess(fixture.units.length, 8);
});

Deno.test("UnitPool reads minSpare and idleTimeout each time", async () => {
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

Deno.test("UnitPool replaces a spare that dies after it has served, at once and without a word", async () => {
  await using fixture = new Fixture({ minSpare: 1 });
  const { pool } = fixture;
  const unit = await pool.lease();
  pool.release(unit, true);
  pool.warm();
  unit.end();
  await until(() => fixture.units.length === 2);
  await fixture.spare(1);
  assertEquals(fixture.errors, []);
});

Deno.test("UnitPool replaces a spare that dies unused after a pause, and tells what it ended with", async () => {
  await using fixture = new Fixture({ minSpare: 1 });
  const { pool } = fixture;
  pool.warm();
  await fixture.spare(1);
  fixture.units[0]!.end({ code: 3 });
  await until(() => fixture.units.length === 2);
  await fixture.spare(1);
  assert(fixture.startTimes[1]! - fixture.startTimes[0]! >= 4);
  const [error] = fixture.errors;
  assertInstanceOf(error, Error);
  assertEquals(error.message, "Cannot keep unit ready: it ended before it was used");
  assertEquals(error.cause, { code: 3 });
});

Deno.test("UnitPool counts spares that die together as one failure", async () => {
  await using fixture = new Fixture({ minSpare: 4 });
  const { pool } = fixture;
  pool.warm();
  await fixture.spare(4);
  for (const unit of fixture.units.slice()) unit.end();
  await fixture.spare(0);
  await fixture.spare(4);
  assertEquals(fixture.errors.length, 4);
  assertEquals(pool.stats().started, 8);
});

Deno.test("UnitPool.lease() tries a start that fails again, and gives a unit when that succeeds", async () => {
  await using fixture = new Fixture();
  const { pool } = fixture;
  fixture.onStart = (attempt) => {
    if (attempt < 3) throw new Error(`start ${attempt}`);
  };
  const unit = await pool.lease();
  assertEquals(unit.id, 3);
  const [first, second, third] = fixture.startTimes as [number, number, number];
  assert(second - first >= 4);
  assert(third - second >= 9);
  assertEquals(fixture.errors, []);
  pool.release(unit, true);
});

Deno.test("UnitPool.lease() rejects with the first error after three failed starts in a row, and lives on", async () => {
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
      pool.lease().then((unit) => pool.release(unit, true), (reason) => error = reason);
      return fixture.startTimes.length > length;
    });
    await turns();
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

Deno.test("UnitPool tells of failed starts nobody waits for, stops after three, and starts anew with a lease", async () => {
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
  const unit = await pool.lease();
  await fixture.spare(1);
  pool.release(unit, true);
});

Deno.test("fault 25: UnitPool.onFailure() is told of three failed first starts, and of none after a lease", async () => {
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

Deno.test("UnitPool stops starting spares that come up and die three times in a row", async () => {
  await using fixture = new Fixture({ minSpare: 1 });
  const { pool } = fixture;
  fixture.makeUnit = (id) => {
    const unit = new FakeUnit(id);
    unit.end(id);
    return unit;
  };
  pool.warm();
  await until(() => fixture.errors.length === 3);
  assertEquals(fixture.failures.length, 1);
  const error = await assertRejects(() => pool.lease(), Error, "ended before it was used");
  assertEquals(error.cause, 1);
  await new Promise((resolve) => setTimeout(resolve, 50)); // in which nothing may start
  assertEquals(fixture.startTimes.length, 3);
});

Deno.test("UnitPool.poison() kills a unit and frees its place, whether or not it ends", async () => {
  await using fixture = new Fixture({ max: 1 });
  const { pool } = fixture;
  const unit = await pool.lease();
  unit.kill = () => void (unit.killed = true);
  const next = pool.lease();
  pool.poison(unit);
  assert(unit.killed);
  const another = await next;
  assert(another !== unit);
  assertEquals(pool.stats(), { spare: 0, busy: 1, starting: 0, poisoned: 1, started: 2 });
  pool.release(unit, true); // its place is another's
  assertEquals(pool.stats().busy, 1);
  pool.release(another, true);
});

Deno.test("UnitPool.close() ends spares at once and busy units when they are released", async () => {
  const { pool } = new Fixture();
  const [spare, busy, dead] = await Promise.all([pool.lease(), pool.lease(), pool.lease()]);
  pool.release(spare, true);
  const closed = pool.close();
  assert(spare.closed);
  assert(busy.isAlive);
  await assertRejects(
    () => pool.lease(),
    Deno.errors.BadResource,
    "Cannot lease unit: the pool is closed",
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

Deno.test("UnitPool.close() rejects leases that wait, and ends what comes up later", async () => {
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
  assertEquals(fixture.units.map(({ closed }) => closed), [true]);
  assertEquals(fixture.errors, []);
  assertEquals(fixture.startTimes.length, 2);
});

Deno.test("UnitPool.close() does not wait for poisoned units, nor for a pause", async () => {
  const fixture = new Fixture();
  const { pool } = fixture;
  const unit = await pool.lease();
  unit.kill = () => {};
  pool.poison(unit);
  fixture.onStart = () => Promise.reject(new Error("no"));
  const waiting = pool.lease();
  await until(() => fixture.startTimes.length === 3);
  await pool.close();
  await assertRejects(() => waiting, Deno.errors.BadResource);
});

Deno.test("UnitPool.close() kills a unit that was let end and does not", async () => {
  const { pool } = new Fixture();
  const unit = await pool.lease();
  unit.close = () => {};
  pool.release(unit, true);
  const closed = pool.close();
  assert(!unit.killed);
  // Only the pending close() keeps this program alive, as a server's listener would.
  const alive = setInterval(() => {}, 1000);
  await closed;
  clearInterval(alive);
  assert(unit.killed);
});

Deno.test("UnitPool holds to max and settles every lease when units die, fail and are poisoned at random", async () => {
  await using fixture = new Fixture({ max: 5, minSpare: 2, maxRequests: 7, idleTimeout: 1 });
  const { pool } = fixture;
  let seed = 42;
  const chance = (share: number): boolean => {
    seed = (seed * 1103515245 + 12345) % 2 ** 31;
    return seed / 2 ** 31 < share;
  };
  fixture.onStart = async () => {
    await turns();
    if (chance(0.2)) throw new Error("start");
  };
  pool.warm();
  const outcomes = { served: 0, failed: 0, aborted: 0 };
  await Promise.all(Array.from({ length: 300 }, async () => {
    const controller = new AbortController();
    if (chance(0.1)) setTimeout(() => controller.abort(), 1);
    let unit: FakeUnit;
    try {
      unit = await pool.lease(controller.signal);
    } catch {
      outcomes[controller.signal.aborted ? "aborted" : "failed"]++;
      return;
    }
    outcomes.served++;
    if (chance(0.5)) await turns();
    const spare = fixture.units.find(({ isAlive }) => isAlive && chance(0.05));
    if (spare !== undefined) spare.end();
    if (chance(0.1)) pool.poison(unit);
    else pool.release(unit, unit.isAlive && chance(0.9));
  }));
  assertEquals(outcomes.served + outcomes.failed + outcomes.aborted, 300);
  assert(outcomes.served > 0);
  assertLess(fixture.peak, 6);
  fixture.onStart = () => {};
  await until(() => {
    const { spare, busy, starting } = pool.stats();
    if (spare >= 2) return busy === 0 && starting === 0;
    pool.lease().then((unit) => pool.release(unit, true), () => {});
    return false;
  });
});

/** A real Worker, as far as the pool is concerned. */
class EchoWorker implements PooledUnit {
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
  const pool = new UnitPool<EchoWorker>({
    start: () => EchoWorker.start(code),
    max: () => 2,
    minSpare: () => 1,
    idleTimeout: () => null,
    maxRequests: () => maxRequests,
    onStartError: (error) => void errors.push(error),
    onFailure: () => {},
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
  Deno.test(`UnitPool serves from real Workers with maxRequests ${maxRequests}`, async () => {
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

Deno.test("UnitPool replaces a real Worker that ends while it is busy", async () => {
  const { pool } = workerPool(ECHO);
  const worker = await pool.lease();
  await assertRejects(() => worker.ask("bye"), Error, "the Worker has ended");
  pool.release(worker, false);
  const another = await pool.lease();
  assertEquals(await another.ask("a"), "a 1");
  pool.release(another, true);
  await pool.close();
});

Deno.test("UnitPool.lease() rejects when real Workers do not come up", async () => {
  const { pool, errors } = workerPool(`postMessage("bye");`);
  await assertRejects(() => pool.lease(), Error, "the Worker has ended");
  assertEquals(errors, []);
  await pool.close();
});
