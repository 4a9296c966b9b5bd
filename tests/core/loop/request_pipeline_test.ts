/**
 * RequestTracker: the counters always add up, and the signals follow the requests.
 *
 * @module
 */
import { assert, assertEquals, assertFalse, assertStrictEquals } from "@std/assert";
import { type Outcome, RequestTracker } from "../../../src/core/loop/request_pipeline.ts";

/** Checks what must hold at any time, and gives the snapshot. */
function checked(table: RequestTracker<unknown>) {
  const stats = table.stats("serving");
  const { accepted, active, completed, failed, rejected, aborted, peak } = stats;
  assertEquals(accepted, active + completed + failed + rejected + aborted);
  assertEquals(active, table.size);
  assert(peak >= active);
  return stats;
}

Deno.test("RequestTracker.stats() starts with nothing", () => {
  assertEquals(new RequestTracker().stats("idle"), {
    state: "idle",
    accepted: 0,
    active: 0,
    peak: 0,
    completed: 0,
    failed: 0,
    rejected: 0,
    aborted: 0,
    acceptErrors: {},
  });
});

Deno.test("RequestTracker.stats() adds up after each step of many requests", () => {
  const table = new RequestTracker<object>();
  const outcomes: Outcome[] = ["completed", "failed", "rejected", "aborted"];
  const open: object[] = [];
  const ended = { completed: 0, failed: 0, rejected: 0, aborted: 0 };
  let peak = 0;
  for (let step = 0; step < 1000; step++) {
    if (open.length === 0 || (step * 7) % 5 < 3) {
      const request = {};
      open.push(request);
      table.begin(request);
    } else {
      const outcome = outcomes[step % outcomes.length]!;
      const [request] = open.splice((step * 13) % open.length, 1);
      table.end(request!, outcome);
      ended[outcome]++;
    }
    peak = Math.max(peak, open.length);
    const stats = checked(table);
    assertEquals(stats.active, open.length);
    assertEquals(stats.peak, peak);
  }
  for (const outcome of outcomes) assertEquals(table.ended(outcome), ended[outcome]);
});

Deno.test("RequestTracker.end() counts a request once", () => {
  const table = new RequestTracker<string>();
  table.begin("a");
  table.end("a", "completed");
  table.end("a", "failed");
  table.end("unknown", "failed");
  const { accepted, completed, failed } = checked(table);
  assertEquals({ accepted, completed, failed }, { accepted: 1, completed: 1, failed: 0 });
});

Deno.test("RequestTracker.stats() gives a snapshot that does not change", () => {
  const table = new RequestTracker<string>();
  const before = table.stats("serving");
  table.begin("a");
  table.countAcceptError("EMFILE");
  assertEquals(before.accepted, 0);
  assertEquals(before.acceptErrors, {});
});

Deno.test("RequestTracker.countAcceptError() counts by code", () => {
  const table = new RequestTracker();
  for (const code of ["EMFILE", "NotConnected", "EMFILE"]) table.countAcceptError(code);
  assertEquals(checked(table).acceptErrors, { EMFILE: 2, NotConnected: 1 });
});

Deno.test("RequestTracker.signal() is one for each request and aborts with it", () => {
  const table = new RequestTracker<string>();
  table.begin("a");
  table.begin("b");
  const signal = table.signal("a");
  assertStrictEquals(table.signal("a"), signal);
  assert(table.signal("b") !== signal);
  assertFalse(signal.aborted);
  const cut: string[] = [];
  assertEquals(table.abortAll((request) => cut.push(request)), 2);
  assertEquals(cut, ["a", "b"]);
  assert(signal.aborted);
  assertEquals((signal.reason as DOMException).name, "AbortError");
  assert(table.isAborted("a"));
  assertEquals(checked(table).active, 2); // they have not ended yet
});

Deno.test("RequestTracker.signal() is aborted already when it is first asked for after abortAll()", () => {
  const table = new RequestTracker<string>();
  table.begin("a");
  table.abortAll(() => {});
  assert(table.signal("a").aborted);
});

Deno.test("RequestTracker.signal() is aborted already when the request has ended or never was", () => {
  const table = new RequestTracker<string>();
  table.begin("a");
  const signal = table.signal("a");
  table.end("a", "completed");
  assertFalse(signal.aborted); // an end in good order is no cut-off
  assert(table.signal("a").aborted);
  assert(table.signal("never").aborted);
});

Deno.test("RequestTracker.isAborted() tells who was cut off or is not known", () => {
  const table = new RequestTracker<string>();
  table.begin("a");
  assertFalse(table.isAborted("a"));
  table.abortAll(() => {});
  assert(table.isAborted("a"));
  table.begin("b");
  assertFalse(table.isAborted("b"));
  assert(table.isAborted("never"));
});

Deno.test("RequestTracker.abortAll() counts those that end while they are cut off", () => {
  const table = new RequestTracker<string>();
  for (const request of ["a", "b", "c"]) table.begin(request);
  assertEquals(table.abortAll((request) => table.end(request, "aborted")), 3);
  assertEquals(checked(table).aborted, 3);
});

Deno.test("RequestTracker.giveUp() counts what still runs as aborted, once", () => {
  const table = new RequestTracker<string>();
  for (const request of ["a", "b"]) table.begin(request);
  table.abortAll(() => {});
  table.end("a", "aborted");
  table.giveUp();
  table.end("b", "completed"); // the handler ends at last
  const { aborted, completed, active } = checked(table);
  assertEquals({ aborted, completed, active }, { aborted: 2, completed: 0, active: 0 });
});

Deno.test("RequestTracker.idle() resolves when the last request has ended, for all who wait", async () => {
  const table = new RequestTracker<string>();
  await table.idle();
  table.begin("a");
  table.begin("b");
  let idle = 0;
  const waiting = [table.idle(), table.idle()].map((promise) => promise.then(() => idle++));
  table.end("a", "completed");
  await Promise.resolve();
  assertEquals(idle, 0);
  table.end("b", "failed");
  await Promise.all(waiting);
  assertEquals(idle, 2);
});

Deno.test("RequestTracker.idle() resolves when giveUp() ends the last", async () => {
  const table = new RequestTracker<string>();
  table.begin("a");
  const idle = table.idle();
  table.giveUp();
  await idle;
  checked(table);
});

Deno.test("RequestTracker.stats() adds up when equal requests are under way at once", () => {
  const table = new RequestTracker<string>();
  table.begin("same");
  table.begin("same");
  checked(table);
  table.end("same", "completed");
  checked(table);
  table.end("same", "completed");
  assertEquals(checked(table).completed, 2);
});
