/**
 * What a handler leaves behind un-awaited, and what then becomes of the program: nothing.
 *
 * @module
 */
import { assert, assertEquals, assertLess, assertMatch } from "@std/assert";
import {
  BufferedWriter,
  ConcurrentTCPServer,
  ConcurrentTLSServer,
  type ForkingOptions,
  ForkingTCPServer,
  PoolTCPServer,
  type StreamSocket,
  TCPServer,
  type TCPServerOptions,
  ThreadingTCPServer,
  ThreadingUnixStreamServer,
} from "@netkit/socketserver";
import type { AnyServer, SocketAddress } from "@netkit/socketserver";
import { delay } from "../../src/base/time.ts";
import { outlive } from "../../src/base/unawaited.ts";
import { goingOn, LeaveBehindHandler } from "../bytes_handlers.ts";
import { reset, resettable } from "../conversation.ts";
import {
  bytes,
  connect,
  connectTLS,
  ListLogger,
  LOOPBACK,
  readAll,
  start,
  tempSocketPath,
  text,
  TLS,
  until,
} from "../harness.ts";

/** What may be left behind. */
const READS = [
  ...["recv", "read", "timed", "readline", "exactly", "lines", "iterator"],
  ...["pipeTo", "rfile", "reader", "loop", "several", "response", "rf-text", "any"],
];
/** What goes on writing when the request has ended, and fails then. */
const WRITES = ["sendAll", "write", "wfile", "timer", "then", "flush", "writable", "wstream"];
/** What listeners for the end of a request's time do. */
const LISTENERS = ["throws", "rejects", "reason"];
const tls = { cert: TLS.cert, key: TLS.key };
const Handler = LeaveBehindHandler;
type Make = (options: TCPServerOptions & ForkingOptions) => AnyServer;
/** Has a handler leave something behind, and resolves to what it has written. */
type Talk = (what: string) => Promise<string>;
const MODES: [string, Make][] = [
  ["TCPServer", (options) => new TCPServer(LOOPBACK, Handler, options)],
  ["ConcurrentTCPServer", (options) => new ConcurrentTCPServer(LOOPBACK, Handler, options)],
  [
    "ConcurrentTLSServer",
    (options) => new ConcurrentTLSServer(LOOPBACK, Handler, { ...options, ...tls }),
  ],
  [
    "ThreadingTCPServer",
    (options) => new ThreadingTCPServer(LOOPBACK, Handler, { maxThreads: 1, ...options }), // one that counts
  ],
  [
    "ThreadingUnixStreamServer",
    (options) => new ThreadingUnixStreamServer({ path: tempSocketPath() }, Handler, options),
  ],
  [
    "ForkingTCPServer",
    (options) => new ForkingTCPServer(LOOPBACK, Handler, { ...options, maxRequestsPerChild: 0 }),
  ],
];

/** Says what the handler is to leave behind, then no more, and waits until the server closes. */
async function ask(address: SocketAddress, what: string, isTLS = false): Promise<string> {
  using conn = isTLS ? await connectTLS(address) : await connect(address);
  await conn.write(bytes(what.padEnd(8)));
  return text(await readAll(conn));
}

/** Resolves when there may be another line of a kind. */
const nextLine = () => delay(1010);

/** How many warnings there were, those included that lines only count. */
function counted(what: "read" | "write", { lines }: ListLogger): number {
  const pattern = new RegExp(
    `^warn: Handler of client "[^"]*" left a ${what} behind, which failed: await it, or catch its error` +
      String.raw`(?: \(and (\d+) like it since the last line\))?$`,
  );
  let count = 0;
  for (const line of lines) {
    assertMatch(line, pattern);
    count += 1 + Number(pattern.exec(line)![1] ?? 0);
  }
  return count;
}

/** Leaves reads behind, a second apart, until lines have told of them and of all before. */
async function untilAllAreTold(logger: ListLogger, talk: Talk, before: number): Promise<void> {
  // The line of a Worker may come a moment too early for the main isolate, which counts it with the next.
  for (let [all, tries] = [before + 1, 5];; all++, tries--) {
    await nextLine();
    assertEquals(await talk(READS[0]!), "done");
    const areTold = () => counted("read", logger) === all;
    try {
      return await until(areTold, tries > 1 ? 500 : undefined);
    } catch (error) {
      if (tries === 1 || counted("read", logger) > all) throw error;
    }
  }
}

/** A test of each mode, all side by side: they wait for the next line of a kind, or for the end of a request's time. */
function inEachMode(
  name: string,
  modes: [string, Make][],
  test: (server: AnyServer, logger: ListLogger, talk: Talk) => Promise<void>,
  options: Parameters<Make>[0] = {},
): void {
  const inMode = async ([mode, make]: [string, Make]) => {
    const logger = new ListLogger();
    await using started = start(make({ logger, ...options }));
    const { server } = started;
    const talk = (what: string) => ask(server.serverAddress, what, mode.includes("TLS"));
    await test(server, logger, talk);
  };
  Deno.test(name, async () => {
    const results = await Promise.allSettled(modes.map(inMode));
    results.forEach((result, index) => {
      if (result.status === "rejected") {
        throw new Error(`not so in ${modes[index]![0]}`, { cause: result.reason });
      }
    });
  });
}

inEachMode(
  "fault 12: a server of any mode outlives each kind of read that a handler leaves behind, and warns once",
  MODES,
  async (server, logger, talk) => {
    const kinds = [...READS, "caught", "nothing"];
    for (const what of kinds) assertEquals(await talk(what), "done", what);
    assertEquals(server.stats().completed, kinds.length);
    await untilAllAreTold(logger, talk, READS.length);
    assertLess(logger.lines.length, READS.length);
  },
);

inEachMode(
  "A server of any mode outlives each kind of write that goes on when its request has ended",
  MODES,
  async (server, logger, talk) => {
    for (const what of [...WRITES, ...WRITES, "nothing"]) {
      assertEquals((await talk(what)).replaceAll("x", ""), "done", what);
    }
    counted("write", logger); // there are no other lines
    const { completed, workers } = server.stats();
    assertEquals(completed, 2 * WRITES.length + 1);
    // One that dies is replaced.
    if (workers === undefined) {
      await nextLine();
      assertEquals((await talk(WRITES[0]!)).replaceAll("x", ""), "done");
      await until(() => counted("write", logger) > WRITES.length);
    } else {
      assertLess(workers.started, WRITES.length);
    }
    await until(() => goingOn.count === 0);
  },
);

inEachMode(
  "A server of any mode with 'requestTimeout' outlives what listeners of a handler's signal throw",
  MODES.slice(1), // a plain TCPServer has no 'requestTimeout'
  async (server, logger, talk) => {
    const cutOff = async (what: string) => void await talk(what).catch(() => {});
    for (const what of LISTENERS) await cutOff(what);
    await until(() => server.stats().active === 0);
    const { aborted, workers } = server.stats();
    assertEquals(aborted, LISTENERS.length);
    if (workers !== undefined) return;
    // On a busy machine the handler may be cut off before it has begun.
    const isLogged = () => logger.lines.join().includes("in the listener");
    for (let left = 10; left > 0 && !isLogged(); left--) await cutOff("throws");
    assert(isLogged(), logger.lines.join("\n"));
    await until(() => goingOn.count === 0);
  },
  { requestTimeout: 300 },
);

Deno.test("fault 12: PoolTCPServer outlives each kind of read that a handler leaves behind", async () => {
  const logger = new ListLogger();
  await using server = new PoolTCPServer(LOOPBACK, Handler, { workers: 1, logger });
  const serving = server.serveForever();
  for (const what of READS) assertEquals(await ask(server.serverAddress, what), "done");
  await until(() => server.stats().completed === READS.length);
  const { workers } = server.stats();
  assertEquals([workers!.started, workers!.poisoned], [1, 0]);
  await untilAllAreTold(logger, (what) => ask(server.serverAddress, what), READS.length);
  await server.shutdown();
  await serving;
});

Deno.test("fault 12: a client that resets ends no program whose handler awaits none of its streams", async () => {
  const logger = new ListLogger();
  const gone = Promise.withResolvers<void>();
  const handler = async (socket: StreamSocket) => {
    void socket.recv();
    const writers = [socket.writable, new BufferedWriter(socket).writable].map((stream) => {
      const writer = stream.getWriter();
      void writer.write(new Uint8Array(1 << 25));
      return writer;
    });
    await gone.promise;
    for (const writer of writers) void writer.write(new Uint8Array(1));
  };
  const server = new ConcurrentTCPServer(LOOPBACK, handler, { logger });
  await using _ = start(server);
  const client = await resettable(server.serverAddress);
  await reset(client);
  await until(() => logger.lines.length > 0);
  gone.resolve();
  await until(() => server.stats().active === 0);
  assertEquals(logger.lines.length, 1, logger.lines.join("\n"));
});

Deno.test("outlive() takes an AggregateError for its own when all of its errors are", async () => {
  const [own, foreign] = [new Error("own"), new Error("foreign")];
  let told = 0;
  outlive(own, () => told++);
  const prevented: boolean[] = [];
  const listener = (event: PromiseRejectionEvent) => {
    prevented.push(event.defaultPrevented);
    event.preventDefault();
  };
  globalThis.addEventListener("unhandledrejection", listener);
  for (const errors of [[], [own, own], [own, foreign]]) {
    void Promise.any(errors.map((error) => Promise.reject(error)));
  }
  await until(() => prevented.length === 3);
  globalThis.removeEventListener("unhandledrejection", listener);
  assertEquals([prevented, told], [[false, true, false], 2]);
});
