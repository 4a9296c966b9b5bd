/**
 * Calls of the server over a channel, seen from the main isolate.
 *
 * @module
 */
import { assertEquals, assertThrows } from "@std/assert";
import { RelayCalls } from "../../../src/workers/relay/relay_calls.ts";
import { RingChannel } from "../../../src/workers/thread/shared_ring.ts";
import { FrameReader } from "../../../src/channel/frame_reader.ts";
import { FrameWriter } from "../../../src/channel/frame_writer.ts";
import { FRAME, MAX_CALLS, TO_WORKER } from "../../../src/channel/frames.ts";
import type { ServerReturn } from "../../../src/channel/messages.ts";
import { pack, unpack } from "../../../src/channel/payload.ts";
import { bytes } from "../../harness.ts";

/** What waits in a ring keeps nothing alive. */
function keepAlive(): Disposable {
  const timer = setInterval(() => {}, 60_000);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

/** Calls whose method ends when the test says so. */
function make() {
  const memory = RingChannel.allocate();
  const [main, worker] = [new RingChannel(memory, "main"), new RingChannel(memory, "worker")];
  const ends: ((value: unknown) => void)[] = [];
  const call = () => new Promise<unknown>((resolve) => ends.push(resolve));
  const calls = new RelayCalls(new FrameWriter(main), call);
  return { calls, ends, reader: new FrameReader(worker, TO_WORKER) };
}

const CALL = pack({ id: 1, name: "wait", args: [] });

Deno.test("RelayCalls holds the stream back while calls are under way, but for each part that the worker wants", async () => {
  const { calls, ends, reader } = make();
  using _ = keepAlive();
  assertEquals(calls.holdsBack, false);
  calls.begin(CALL);
  calls.begin(CALL);
  assertEquals(calls.holdsBack, true);
  let parts = 0;
  const turn = () => calls.turn().then(() => parts++);
  const first = turn();
  assertEquals(parts, 0);
  calls.want();
  await first;
  assertEquals([parts, calls.holdsBack], [1, true]);
  const second = turn();
  ends[0]!("a");
  assertEquals(await reader.next(), FRAME.RETURN);
  assertEquals(unpack<ServerReturn>(await reader.payload()).value, { id: 1, value: "a" });
  assertEquals([parts, calls.holdsBack], [1, true]);
  ends[1]!(undefined);
  await second;
  assertEquals(calls.holdsBack, false);
  assertEquals(await reader.next(), FRAME.RETURN);
  assertEquals(unpack<ServerReturn>(await reader.payload()).value, { id: 1 });
});

Deno.test("RelayCalls takes no more than a number of calls at once, and nothing that is none", () => {
  const { calls } = make();
  for (let n = 0; n < 2 * MAX_CALLS; n++) calls.begin(CALL);
  assertThrows(() => calls.begin(CALL), Deno.errors.InvalidData, "32 are under way");
  const odd = [null, 1, "x", {}, { id: "1", name: "a", args: [] }, { id: 1, name: {}, args: [] }];
  for (const value of [...odd, { id: 1, name: "a", args: { length: 1e9 } }]) {
    assertThrows(() => make().calls.begin(pack(value)), Deno.errors.InvalidData, "it is none");
  }
  assertThrows(() => make().calls.begin(bytes("garbage")), Deno.errors.InvalidData);
});

Deno.test("RelayCalls takes no more calls of a worker that does not take its answers", async () => {
  const memory = RingChannel.allocate(1024); // which no answer fits into
  const writer = new FrameWriter(new RingChannel(memory, "main"));
  const calls = new RelayCalls(writer, () => Promise.resolve("x".repeat(50_000)));
  for (let n = 0; n < 2 * MAX_CALLS; n++) {
    calls.begin(CALL);
    await new Promise((resolve) => setTimeout(resolve, 0)); // its method has ended
  }
  assertEquals(calls.holdsBack, false);
  assertThrows(() => calls.begin(CALL), Deno.errors.InvalidData, "32 are under way");
  calls.end();
});

Deno.test("RelayCalls answers nothing when the request has ended, and holds nothing back", async () => {
  const { calls, ends, reader } = make();
  calls.begin(CALL);
  const turn = calls.turn();
  calls.end();
  await turn;
  assertEquals(calls.holdsBack, false);
  ends[0]!("late");
  await new Promise((resolve) => setTimeout(resolve, 0));
  assertEquals(reader.nextNow(), undefined);
});
