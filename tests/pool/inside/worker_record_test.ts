/**
 * The counters that a pool's Workers share with the main isolate.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { type Counts, SharedCounters } from "../../../src/pool/inside/worker_record.ts";

/** Counters that are all the same number. */
function all(count: number): Counts {
  return {
    ...{ accepted: count, active: count, peak: count, completed: count },
    ...{ failed: count, rejected: count, aborted: count },
  };
}

/** Reads counters, with something done before the load of that number, counted from 1. */
function readWith(memory: SharedArrayBuffer, number: number, act: () => void): Counts {
  let loads = 0;
  const load = ((cells: BigInt64Array, index: number) => {
    if (++loads === number) act();
    return Atomics.load(cells, index);
  }) as typeof Atomics.load;
  return new SharedCounters(memory, load).read();
}

Deno.test("fault 37: SharedCounters.read() gives counts of one moment when they are written meanwhile", () => {
  const memory = new SharedArrayBuffer(SharedCounters.size);
  const counters = new SharedCounters(memory);
  // A read looks at the version, the seven counts, and the version again.
  for (let number = 1; number <= 9; number++) {
    counters.write(all(0));
    const counts = readWith(memory, number, () => counters.write(all(number)));
    assertEquals(counts, all(number));
  }
});

Deno.test("fault 37: SharedCounters.read() waits for a write that is half done, and not for ever", () => {
  const memory = new SharedArrayBuffer(SharedCounters.size);
  const counters = new SharedCounters(memory);
  counters.write(all(1));
  const cells = new BigInt64Array(memory);
  Atomics.add(cells, 0, 1n); // a write has begun
  cells.fill(2n, 1, 4);
  const finish = () => {
    cells.fill(2n, 4);
    Atomics.add(cells, 0, 1n);
  };
  assertEquals(readWith(memory, 50, finish), all(2));
  Atomics.add(cells, 0, 1n); // a writer has died
  assertEquals(counters.read(), all(2));
});
