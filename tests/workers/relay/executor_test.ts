/**
 * The executor, which serves requests in the workers of a pool: what a close does to starts that are under way.
 *
 * @module
 */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { Executor, executorTimes } from "../../../src/workers/relay/executor.ts";
import { HandlerModule } from "../../../src/workers/handler_module.ts";
import type { HandlerWorker } from "../../../src/workers/worker.ts";
import { HandlerLoadError } from "../../../mod.ts";
import { delay } from "../../../src/base/time.ts";
import { until, withTimes } from "../../harness.ts";

Deno.test("Executor.close() ends starts that wait for descriptors, and says what they were", async () => {
  using _ = withTimes(executorTimes, { closeGrace: 1 });
  const lines: string[] = [];
  const ended = Promise.withResolvers<void>();
  const executor = new Executor<HandlerWorker>({
    kind: "child",
    sharesMemory: false,
    maxWaiting: 1,
    handler: new HandlerModule(class Handler {}, {
      moduleUrl: "file:///h.ts",
      className: "Handler",
    }),
    // As those that wait do: they see that they are not wanted any more.
    start: async (_init, { signal }) => {
      await delay(60_000, signal);
      throw signal.reason;
    },
    max: () => 1,
    minSpare: () => 1,
    idleTimeout: () => null,
    maxRequests: () => 0,
    onExtra: () => {},
    log: (_level, line) => lines.push(line),
  });
  const leased = executor.pool.lease(new AbortController().signal).then(
    () => null,
    (error) => error,
  );
  await executor.close(() => Promise.resolve(), ended.promise);
  const error = await leased;
  assertEquals(error instanceof HandlerLoadError, true, String(error));
  assertStringIncludes(error.message, "no end of that before the server closed");
  ended.resolve();
  await executor.noneLeft;
  await until(() => executor.pool.stats().starting === 0);
});
