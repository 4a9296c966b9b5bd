/**
 * Servers in tests, whose handlers' errors are the tests' failures.
 *
 * @module
 */
import type { AnyServer } from "../core/base_server.ts";
import { observeFaults } from "../core/faults.ts";

/**
 * A server that serves until the end of a scope.
 *
 * @typeParam Server The server.
 */
export interface TestRun<Server extends AnyServer> extends AsyncDisposable {
  /** The server. */
  readonly server: Server;
  /**
   * Drains the server and closes it.
   *
   * @throws {unknown} What a handler, a hook or a Worker has failed with, or the loop itself; an `AggregateError` for
   * several.
   */
  [Symbol.asyncDispose](): Promise<void>;
}

/** How long requests may go on at the end of a test, in milliseconds. */
const DRAIN_TIMEOUT = 1000;

/**
 * Has a server serve until the end of a scope, and throws there what its handlers and hooks have failed with, and what has
 * ended its Workers, which it only logs otherwise: so a test fails whose handler does. What a client has caused, such as a
 * reset, is no such failure. The server's own `handleError()` is called as ever.
 *
 * @typeParam Server The server.
 * @param server A server of any class and mode, which does not serve yet.
 * @returns The server, to be disposed of with `await using`, which drains it for a second at the most.
 *
 * @example An error of a handler fails the test
 * ```ts
 * import { ConcurrentTCPServer, type StreamSocket } from "@netkit/socketserver";
 * import { MemoryMixIn, serveInTest } from "@netkit/socketserver/testing";
 * import { assertRejects } from "@std/assert";
 *
 * const faulty = (_: StreamSocket) => {
 *   throw new Error("not written yet");
 * };
 * const Server = MemoryMixIn(ConcurrentTCPServer);
 * await assertRejects(
 *   async () => {
 *     const logger = { debug() {}, info() {}, warn() {}, error() {} };
 *     await using run = serveInTest(new Server({ hostname: "::1", port: 0 }, faulty, { logger }));
 *     await run.server.exchange("hello");
 *   },
 *   Error,
 *   "not written yet",
 * );
 * ```
 * @category Testing
 */
export function serveInTest<Server extends AnyServer>(server: Server): TestRun<Server> {
  const faults: unknown[] = [];
  observeFaults(server, (error, isOfClient) => {
    if (!isOfClient) faults.push(error);
  });
  const serving = server.serveForever().catch((error) => void faults.push(error));
  return {
    server,
    async [Symbol.asyncDispose](): Promise<void> {
      try {
        await server.drain({ timeout: DRAIN_TIMEOUT });
        await serving;
        await server.finished;
      } catch (error) {
        faults.push(error); // with it those of the handlers, which may be why
      }
      if (faults.length === 1) throw faults[0];
      if (faults.length > 1) {
        throw new AggregateError(faults, `${faults.length} errors of the server`);
      }
    },
  };
}
