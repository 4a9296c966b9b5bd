/**
 * Questions and answers between isolates, over two ends that are tied together.
 *
 * @module
 */
import { assertEquals, assertRejects } from "@std/assert";
import { Exchange } from "../../../src/workers/thread/isolate.ts";

/** Two sides that hear each other; each answers with what it is given. */
function pair(
  answerLeft: (question: unknown) => unknown,
  answerRight: (question: unknown) => unknown,
): [left: Exchange, right: Exchange] {
  const left: Exchange = new Exchange((message) => right.take(message), answerLeft);
  const right: Exchange = new Exchange((message) => left.take(message), answerRight);
  return [left, right];
}

Deno.test("Exchange.ask() resolves to the answer of the other side, whichever side asks and in any order", async () => {
  const slow = Promise.withResolvers<string>();
  const [left, right] = pair(() => "left", (question) => question === "slow" ? slow.promise : 1);
  const asked = left.ask("slow");
  assertEquals(await left.ask("fast"), 1);
  assertEquals(await right.ask(null), "left");
  slow.resolve("at last");
  assertEquals(await asked, "at last");
});

Deno.test("Exchange.ask() rejects with what answering it failed with", async () => {
  const [left] = pair(() => {}, () => {
    throw new RangeError("too far");
  });
  await assertRejects(() => left.ask("?"), RangeError, "too far");
});

Deno.test("Exchange.ask() resolves to null when the exchange is closed before the answer", async () => {
  const [left] = pair(() => {}, () => new Promise(() => {}));
  const asked = left.ask("before");
  left.close();
  assertEquals([await asked, await left.ask("after")], [null, null]);
});

Deno.test("Exchange.settled() resolves when everything that was asked is answered", async () => {
  const answer = Promise.withResolvers<void>();
  const [left, right] = pair(() => {}, () => answer.promise);
  const order: string[] = [];
  const asked = left.ask("?").then(() => order.push("answered"));
  const settled = right.settled().then(() => order.push("settled"));
  answer.resolve();
  await Promise.all([asked, settled]);
  assertEquals(order, ["answered", "settled"]);
});
