/**
 * Accepting: the back-off after errors, waiting and waking, and servers that live through every error.
 *
 * @module
 */
import { assert, assertEquals, assertGreater, assertLess, assertStringIncludes } from "@std/assert";
import { ConcurrentTCPServer, type StreamSocket, TCPServer, UDPServer } from "@netkit/socketserver";
import type { DatagramRequest, SocketAddress } from "@netkit/socketserver";
import { listenerError } from "../../../src/core/loop/accept_errors.ts";
import { Acceptor } from "../../../src/core/loop/acceptor.ts";
import { connect as nodeConnect } from "node:net";
import {
  connect,
  connectAndReset,
  datagramExchange,
  exchange,
  exchangeOn,
  ListLogger,
  LOOPBACK,
  openDescriptors,
  readAll,
  start,
  text,
  until,
} from "../../harness.ts";

function systemError(code: string): Error {
  return Object.assign(new Error(code), { code });
}

const emfile = () => systemError("EMFILE");
const notConnected = () => new Deno.errors.NotConnected("not connected");

/** An acceptor of clients that are mere names, with what it tells of. */
function acceptorOf(
  accept: () => string | Promise<string>,
  hasRoom: () => boolean = () => true,
) {
  const errors: unknown[] = [];
  const delays: number[] = [];
  const late: string[] = [];
  const withAddress = (client: string): [string, object] => [client, LOOPBACK];
  const acceptor = new Acceptor<string, object>({
    socket: {},
    maxConnections: 1,
    getRequest: () => {
      const client = accept();
      return typeof client === "string" ? withAddress(client) : client.then(withAddress);
    },
  }, {
    requests: {
      get size() {
        return hasRoom() ? 0 : 1;
      },
    },
    serve: () => Promise.resolve(),
  }, {
    onError: (error, delay) => {
      errors.push(error);
      delays.push(delay);
    },
    onLate: (client) => late.push(client),
    onExit: () => {},
  });
  /** Waits, and resolves with the client's name or with why there is none. */
  const next = async (limit: number | null): Promise<string> => {
    const arrived = await acceptor.next(limit);
    return typeof arrived === "string" ? arrived : arrived[0];
  };
  return { acceptor, next, errors, delays, late };
}

/** An acceptor whose accepts are settled by hand. */
function byHand() {
  const calls: PromiseWithResolvers<string>[] = [];
  const made = acceptorOf(() => {
    const call = Promise.withResolvers<string>();
    calls.push(call);
    return call.promise;
  });
  return { ...made, calls };
}

/** Lets promise reactions run, and nothing else. */
async function settle(): Promise<void> {
  for (let n = 0; n < 20; n++) await Promise.resolve();
}

/** Timers that fire when `tick()` is called, for as long as it is in scope. */
class FakeTimers implements Disposable {
  readonly delays: number[] = [];
  readonly #set = globalThis.setTimeout;
  readonly #clear = globalThis.clearTimeout;
  readonly #pending = new Map<number, () => void>();
  #id = 0;

  constructor() {
    const fake = (callback: () => void, delay = 0): number => {
      this.delays.push(delay);
      this.#pending.set(++this.#id, callback);
      return this.#id;
    };
    Reflect.set(globalThis, "setTimeout", fake);
    Reflect.set(globalThis, "clearTimeout", (id?: number) => this.#pending.delete(id ?? 0));
  }

  get pending(): number {
    return this.#pending.size;
  }

  /** Fires the oldest timer. */
  async tick(): Promise<void> {
    for (const [id, callback] of this.#pending) {
      this.#pending.delete(id);
      callback();
      break;
    }
    await settle();
  }

  [Symbol.dispose](): void {
    globalThis.setTimeout = this.#set;
    globalThis.clearTimeout = this.#clear;
  }
}

/** An acceptor that takes what `script` says, an error or a value at a time, then waits for ever. */
function scripted(script: (Error | string)[]) {
  return acceptorOf(() => {
    const next = script.shift();
    if (next === undefined) return new Promise<string>(() => {});
    return next instanceof Error ? Promise.reject(next) : Promise.resolve(next);
  });
}

Deno.test("Acceptor.next() pauses 5 ms after an error, doubling to 1 s", async () => {
  using timers = new FakeTimers();
  const { next, delays } = scripted([...Array.from({ length: 11 }, emfile), "client"]);
  const waiting = next(null);
  await settle();
  while (timers.pending > 0) await timers.tick();
  assertEquals(await waiting, "client");
  const expected = [5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000];
  assertEquals(timers.delays, expected);
  assertEquals(delays, expected);
});

Deno.test("Acceptor.next() starts anew with 5 ms after a success", async () => {
  using timers = new FakeTimers();
  const { next } = scripted([emfile(), emfile(), "one", emfile(), "two"]);
  for (const client of ["one", "two"]) {
    const waiting = next(null);
    await settle();
    while (timers.pending > 0) await timers.tick();
    assertEquals(await waiting, client);
  }
  assertEquals(timers.delays, [5, 10, 5]);
});

Deno.test("Acceptor.next() tries nothing before the pause is over", async () => {
  using timers = new FakeTimers();
  const { acceptor, next, calls } = byHand();
  void next(null);
  calls[0]!.reject(emfile());
  await settle();
  assertEquals(calls.length, 1);
  await timers.tick();
  assertEquals(calls.length, 2);
  void acceptor.close();
  calls[1]!.reject(emfile());
});

Deno.test("Acceptor.next() keeps to the pause when its time limit is shorter", async () => {
  using timers = new FakeTimers();
  const { next, calls } = byHand();
  const first = next(1);
  calls[0]!.reject(emfile());
  await settle();
  await timers.tick(); // the limit
  assertEquals(await first, "timeout");
  const second = next(1);
  assertEquals(calls.length, 1, "the next try came before the pause was over");
  while (calls.length === 1 && timers.pending > 0) await timers.tick();
  await second;
});

for (
  const [name, makeError] of [
    ["NotConnected", notConnected],
    ["ConnectionAborted", () => new Deno.errors.ConnectionAborted("aborted")],
    ["ConnectionReset", () => new Deno.errors.ConnectionReset("reset")],
    ["ConnectionRefused", () => new Deno.errors.ConnectionRefused("refused")],
    ["InvalidData", () => new Deno.errors.InvalidData("not UTF-8")],
    ["EINVAL", () => systemError("EINVAL")],
  ] as const
) {
  Deno.test(`Acceptor.next() tries again at once after ${name}`, async () => {
    using timers = new FakeTimers();
    const { next, delays } = scripted([...Array.from({ length: 99 }, makeError), "client"]);
    assertEquals(await next(null), "client");
    assertEquals(delays, Array(99).fill(0));
    assertEquals(timers.delays, []);
  });
}

Deno.test("Acceptor.next() pauses 5 ms after each hundred dead connections in a row", async () => {
  using timers = new FakeTimers();
  const { next, delays } = scripted([...Array.from({ length: 250 }, notConnected), "client"]);
  const waiting = next(null);
  while (delays.length < 250) {
    await settle();
    if (timers.pending > 0) await timers.tick();
  }
  assertEquals(await waiting, "client");
  assertEquals(timers.delays, [5, 5]);
  assertEquals([delays[98], delays[99], delays[100], delays[199]], [0, 5, 0, 5]);
});

Deno.test("Acceptor.next() counts dead connections anew after a success", async () => {
  using timers = new FakeTimers();
  const dead = () => Array.from({ length: 60 }, notConnected);
  const { next } = scripted([...dead(), "one", ...dead(), "two"]);
  for (const client of ["one", "two"]) {
    assertEquals(await next(null), client);
  }
  assertEquals(timers.delays, []);
});

Deno.test("Acceptor.next() survives accepts that throw or return at once", async () => {
  using timers = new FakeTimers();
  const script: (() => string)[] = [
    () => {
      throw new TypeError("sync");
    },
    () => "client",
  ];
  const { next } = acceptorOf(() => script.shift()!());
  const waiting = next(null);
  await timers.tick();
  assertEquals(await waiting, "client");
  assertEquals(timers.delays, [5]);
});

Deno.test("Acceptor.next() never has two accepts under way", async () => {
  let active = 0;
  let most = 0;
  const { acceptor, next } = acceptorOf(async () => {
    most = Math.max(most, ++active);
    await new Promise((resolve) => setTimeout(resolve, 1));
    active--;
    if (Math.random() < 0.3) throw notConnected();
    return "client";
  });
  for (let round = 0; round < 100; round++) {
    await next(0);
    if (round % 10 === 0) acceptor.wake();
  }
  await acceptor.close();
  assertEquals(most, 1);
});

Deno.test("Acceptor.next() ends at its limit and keeps what comes later", async () => {
  const { next, calls } = byHand();
  assertEquals(await next(1), "timeout");
  assertEquals(await next(0), "timeout");
  assertEquals(calls.length, 1);
  calls[0]!.resolve("late");
  await settle();
  assertEquals(await next(1), "late");
});

Deno.test("Acceptor.next() retries after an error that came while nobody waited", async () => {
  using timers = new FakeTimers();
  const { next, calls, errors } = byHand();
  const first = next(1);
  await timers.tick();
  assertEquals(await first, "timeout");
  calls[0]!.reject(emfile());
  await settle();
  assertEquals(errors.length, 1);
  const second = next(null);
  while (calls.length === 1 && timers.pending > 0) await timers.tick();
  calls[1]!.resolve("client");
  assertEquals(await second, "client");
});

Deno.test("Acceptor.wake() ends the wait, and only that one", async () => {
  const { acceptor, next, calls } = byHand();
  acceptor.wake(); // nobody waits
  const waiting = next(null);
  acceptor.wake();
  assertEquals(await waiting, "woken");
  const again = next(null);
  calls[0]!.resolve("client");
  assertEquals(await again, "client");
});

Deno.test("Acceptor.close() ends the wait, waits for the accept under way and gives back what it brought", async () => {
  const { acceptor, next, calls } = byHand();
  const waiting = next(null);
  let settled = false;
  const closed = acceptor.close().finally(() => settled = true);
  assertEquals(await waiting, "closed");
  await settle();
  assert(!settled, "close() did not wait for the accept");
  calls[0]!.resolve("untaken");
  assertEquals(await closed, ["untaken"]);
  assertEquals(await next(null), "closed");
  assertEquals(calls.length, 1);
});

Deno.test("Acceptor.close() gives back what nobody took, once", async () => {
  const { acceptor, next, calls } = byHand();
  assertEquals(await next(0), "timeout");
  calls[0]!.resolve("");
  await settle();
  assertEquals(await acceptor.close(), [""]);
  assertEquals(await acceptor.close(), []);
});

Deno.test("Acceptor.close() tells nobody of the error that the close itself causes", async () => {
  const { acceptor, next, calls, errors } = byHand();
  void next(null);
  const closed = acceptor.close();
  calls[0]!.reject(new Error("operation canceled"));
  assertEquals(await closed, []);
  assertEquals(errors, []);
});

Deno.test("Acceptor.close() leaves no timer of a pause behind", async () => {
  using timers = new FakeTimers();
  const { acceptor, next, calls } = byHand();
  const waiting = next(60_000);
  calls[0]!.reject(emfile());
  await settle();
  assertEquals(timers.pending, 2);
  await acceptor.close();
  assertEquals(await waiting, "closed");
  assertEquals(timers.pending, 0);
});

for (
  const error of [new Deno.errors.BadResource("closed"), new Deno.errors.Interrupted("closed")]
) {
  Deno.test(`fault 15: Acceptor.next() tries again for as long as getRequest() itself fails with ${error.name}`, async () => {
    using timers = new FakeTimers();
    const { next, delays } = scripted([...Array.from({ length: 5 }, () => error), "client"]);
    const waiting = next(null);
    await settle();
    while (timers.pending > 0) await timers.tick();
    assertEquals(await waiting, "client");
    assertEquals(delays, [5, 10, 20, 40, 80]);
  });

  Deno.test(`Acceptor.next() says that no more will come when the listener goes on failing with ${error.name}`, async () => {
    listenerError(error);
    const { next, delays } = scripted([error, error, error, "never"]);
    assertEquals(await next(null), "closed");
    assertEquals(await next(null), "closed");
    assertEquals(delays, []);
  });

  Deno.test(`Acceptor.next() goes on after a single ${error.name}, which may be one client's`, async () => {
    listenerError(error);
    const { next, delays } = scripted([error, error, "next", error, error, "last"]);
    assertEquals(await next(null), "next");
    assertEquals(delays, [0, 0]); // counted once it is known that the listener is open
    assertEquals(await next(null), "last");
    assertEquals(delays, [0, 0, 0, 0]);
  });
}

/** Connects or sends twelve times from paths that are not UTF-8, which Deno itself cannot name. */
const ODD_PATHS = `
import os, socket, sys
server, kind = os.fsencode(sys.argv[1]), getattr(socket, sys.argv[2])
for n in range(12):
    client = socket.socket(socket.AF_UNIX, kind)
    client.bind(os.path.dirname(server) + b"/\\xff%d" % n)
    client.connect(server)
    if kind == socket.SOCK_DGRAM: client.send(b"x")
    client.close()
`;
import { FAMILIES } from "../../families.ts";

function hasPython(): boolean {
  try {
    return new Deno.Command("python3", { args: ["--version"] }).outputSync().success;
  } catch {
    return false; // it is not on this machine
  }
}

for (const family of FAMILIES.filter(({ name }) => name.startsWith("Unix"))) {
  Deno.test({
    name: `fault 16: ${family.name} is not slowed down by clients whose paths are not UTF-8`,
    ignore: !hasPython(),
    async fn() {
      const logger = new ListLogger();
      const handle = family.datagram
        ? async ([data, socket]: DatagramRequest, address: SocketAddress) =>
          void await socket.sendTo(data, address)
        : async (request: StreamSocket) => await request.sendAll(await request.recv(100));
      const server = family.make(handle as never, { logger });
      await using _ = start(server);
      const { path } = server.serverAddress as { path: string };
      const kind = family.datagram ? "SOCK_DGRAM" : "SOCK_STREAM";
      const sending = new Deno.Command("python3", { args: ["-c", ODD_PATHS, path, kind] });
      const { success, stderr } = await sending.output();
      assert(success, text(stderr));
      assertEquals(await family.ask(server.serverAddress, "hello"), "hello");
      assertEquals(server.stats().acceptErrors, { InvalidData: 12 });
      assert(!logger.lines.some((line) => line.includes("trying again")), logger.lines.join("\n"));
    },
  });
}

for (const Failure of [Deno.errors.BadResource, Deno.errors.Interrupted]) {
  Deno.test(`fault 15: TCPServer.serveForever() outlives six ${Failure.name} in a row of an own getRequest()`, async () => {
    const logger = new ListLogger();
    const server = new FlakyServer(LOOPBACK, (request) => request.sendAll("served"), { logger });
    server.errors.push(...Array.from({ length: 6 }, () => new Failure("of its own")));
    await using _ = start(server);
    assertEquals(await exchange(server.serverAddress, ""), "served");
    assertEquals(server.state, "serving");
    assertEquals(server.stats().acceptErrors, { [Failure.name]: 6 });
    assertStringIncludes(logger.lines[0]!, "warn: Cannot get request on");
  });
}

Deno.test("TCPServer.serveForever() ends and says why when somebody else has closed the listener", async () => {
  const logger = new ListLogger();
  const server = new TCPServer(LOOPBACK, () => {}, { logger });
  const serving = server.serveForever();
  server.socket.close();
  await serving;
  await server.finished;
  assertEquals(server.state, "closed");
  assertEquals(logger.lines.length, 1);
  assertStringIncludes(logger.lines[0]!, "its listener was closed by others");
});

const ACCEPT_ERRORS: Record<string, () => Error> = {
  EMFILE: emfile,
  ENFILE: () => systemError("ENFILE"),
  ENOMEM: () => systemError("ENOMEM"),
  ENOBUFS: () => systemError("ENOBUFS"),
  EPERM: () => Object.assign(new Deno.errors.PermissionDenied("EPERM"), { code: "EPERM" }),
  EPROTO: () => systemError("EPROTO"),
  ENETDOWN: () => systemError("ENETDOWN"),
  EHOSTUNREACH: () => systemError("EHOSTUNREACH"),
  ECONNABORTED: () => Object.assign(new Deno.errors.ConnectionAborted(), { code: "ECONNABORTED" }),
  ENOTCONN: () => Object.assign(new Deno.errors.NotConnected(), { code: "ENOTCONN" }),
  ECONNRESET: () => Object.assign(new Deno.errors.ConnectionReset(), { code: "ECONNRESET" }),
  TypeError: () => new TypeError("a fault of getRequest() itself"),
};

/** A server whose accept fails as often as `errors` has any. */
class FlakyServer extends TCPServer {
  readonly errors: Error[] = [];
  tries = 0;
  override getRequest(): ReturnType<TCPServer["getRequest"]> {
    this.tries++;
    const error = this.errors.shift();
    return error === undefined ? super.getRequest() : Promise.reject(error);
  }
}

for (const [code, makeError] of Object.entries(ACCEPT_ERRORS)) {
  Deno.test(`TCPServer.serveForever() serves the next client after five accept errors of ${code}`, async () => {
    const logger = new ListLogger();
    const server = new FlakyServer(LOOPBACK, (request) => request.sendAll("served"), { logger });
    server.errors.push(...Array.from({ length: 5 }, makeError));
    await using _ = start(server);
    assertEquals(await exchange(server.serverAddress, ""), "served");
    assertEquals(server.stats().acceptErrors, { [code]: 5 });
    assertEquals(logger.lines.length, 1);
    assertStringIncludes(logger.lines[0]!, "Cannot get request on");
    const level = ["ECONNABORTED", "ENOTCONN", "ECONNRESET"].includes(code) ? "debug" : "warn";
    assert(logger.lines[0]!.startsWith(level), logger.lines[0]);
  });
}

Deno.test("TCPServer.serveForever() lives through all accept errors one after the other", async () => {
  const server = new FlakyServer(LOOPBACK, (request) => request.sendAll("served"), {
    logger: new ListLogger(),
  });
  server.errors.push(...Object.values(ACCEPT_ERRORS).map((makeError) => makeError()));
  await using _ = start(server);
  assertEquals(await exchange(server.serverAddress, ""), "served");
  const expected = Object.fromEntries(Object.keys(ACCEPT_ERRORS).map((code) => [code, 1]));
  assertEquals(server.stats().acceptErrors, expected);
});

Deno.test("TCPServer.serveForever() lives through errors of the listener itself", async () => {
  let failures = 3;
  const server = new TCPServer(LOOPBACK, (request) => request.sendAll("served"), {
    logger: new ListLogger(),
  });
  const listener = server.socket;
  const accept = listener.accept.bind(listener);
  listener.accept = () => failures-- > 0 ? Promise.reject(emfile()) : accept();
  await using _ = start(server);
  assertEquals(await exchange(server.serverAddress, ""), "served");
  assertEquals(server.stats().acceptErrors, { EMFILE: 3 });
});

Deno.test("UDPServer.serveForever() answers the next datagram after five receive errors", async () => {
  let failures = 5;
  const server = new UDPServer(
    LOOPBACK,
    async ([data, socket], clientAddress) => void await socket.sendTo(data, clientAddress),
    { logger: new ListLogger() },
  );
  const getRequest = server.getRequest.bind(server);
  server.getRequest = () => failures-- > 0 ? Promise.reject(systemError("ENOBUFS")) : getRequest();
  await using _ = start(server);
  assertEquals(await datagramExchange(server.serverAddress, "hello"), "hello");
  assertEquals(server.stats().acceptErrors, { ENOBUFS: 5 });
});

Deno.test("TCPServer.handleRequest() serves the next client when accept errors come first", async () => {
  const server = new FlakyServer(LOOPBACK, (request) => request.sendAll("served"), {
    logger: new ListLogger(),
  });
  server.errors.push(emfile(), notConnected(), emfile());
  await using _ = server;
  const handled = server.handleRequest();
  assertEquals(await exchange(server.serverAddress, ""), "served");
  await handled;
});

Deno.test("TCPServer.serveForever() logs accept errors once a second at the most", async () => {
  const logger = new ListLogger();
  const server = new FlakyServer(LOOPBACK, (request) => request.sendAll("served"), { logger });
  server.errors.push(...Array.from({ length: 50_000 }, notConnected));
  const began = performance.now();
  await using _ = start(server);
  await until(() => server.errors.length < 49_000 || performance.now() > began + 1000, 10_000);
  server.errors.length = 0;
  assertEquals(await exchange(server.serverAddress, ""), "served");
  const seconds = (performance.now() - began) / 1000;
  assertGreater(server.stats().acceptErrors["NotConnected"]!, 100);
  assertLess(logger.lines.length, seconds + 2);
});

Deno.test("TCPServer.serveForever() does not spin on EMFILE however short pollInterval is", async () => {
  const server = new FlakyServer(LOOPBACK, () => {}, { logger: new ListLogger() });
  server.errors.push(...Array.from({ length: 50_000 }, emfile));
  let polls = 0;
  server.serviceActions = () => void polls++;
  const serving = server.serveForever({ pollInterval: 1 });
  await until(() => polls >= 100); // at least 100 ms, in which 5 + 10 + 20 + 40 + 80 ms make five tries
  const { tries } = server;
  const began = performance.now();
  await server.serverClose();
  await serving;
  assertLess(performance.now() - began, 1000);
  assertLess(tries, 20);
});

Deno.test("TCPServer.shutdown() ends a pause after an accept error at once", async () => {
  let best = Infinity; // a busy machine may be slow at times
  for (let round = 0; round < 10 && best >= 50; round++) {
    const server = new FlakyServer(LOOPBACK, () => {}, { logger: new ListLogger() });
    server.errors.push(...Array.from({ length: 100 }, emfile));
    await using _ = server;
    const serving = server.serveForever();
    await until(() => server.tries >= 6); // the next pause takes 160 ms or more
    const began = performance.now();
    await server.shutdown();
    await serving;
    best = Math.min(best, performance.now() - began);
    server.errors.length = 0; // so that draining need not wait for them
  }
  assertLess(best, 50);
});

Deno.test("TCPServer.serveForever() leaves a served client alone when accepts fail meanwhile", async () => {
  const entered = Promise.withResolvers<StreamSocket>();
  const server = new FlakyServer(LOOPBACK, async (request) => {
    entered.resolve(request);
    await request.recv();
    await request.sendAll("served");
  }, { logger: new ListLogger() });
  await using _ = start(server);
  using client = await connect(server.serverAddress);
  await entered.promise;
  server.errors.push(emfile(), emfile());
  await client.closeWrite();
  assertEquals((await readAll(client)).length, "served".length);
  assertEquals(await exchange(server.serverAddress, ""), "served");
});

/** Connects and resets, `count` times, many at once. */
async function resetStorm(port: number, count: number): Promise<void> {
  const one = () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const socket = nodeConnect(port, "127.0.0.1", () => socket.resetAndDestroy());
    socket.on("error", () => {});
    socket.on("close", () => resolve());
    return promise;
  };
  for (let done = 0; done < count; done += 100) {
    await Promise.all(Array.from({ length: Math.min(100, count - done) }, one));
  }
}

Deno.test("TCPServer.serveForever() serves the next client after 2,000 that reset at once", async () => {
  const logger = new ListLogger();
  const server = new TCPServer(LOOPBACK, async (request) => {
    await request.recv();
    await request.sendAll("served");
  }, { logger });
  await using _ = start(server);
  assertEquals(await exchange(server.serverAddress, "hello"), "served");
  const descriptors = openDescriptors();
  const began = performance.now();
  await resetStorm(server.serverAddress.port, 2000);
  assertEquals(await exchange(server.serverAddress, "hello"), "served");
  const seconds = (performance.now() - began) / 1000;
  await until(() => server.stats().active === 0);
  await until(() => openDescriptors() < descriptors + 20);
  const { accepted, acceptErrors } = server.stats();
  const dead = Object.values(acceptErrors).reduce((sum, count) => sum + count, 0);
  assertEquals(accepted + dead, 2002);
  const complaints = logger.lines.filter((line) => !line.startsWith("debug: Client"));
  assertLess(complaints.length, seconds + 2);
  assert(!complaints.some((line) => line.startsWith("error")), complaints[0]);
});

Deno.test("TCPServer.drain() serves the client that waits behind some that reset", async () => {
  const server = new TCPServer(LOOPBACK, (request) => request.sendAll("served"), {
    logger: new ListLogger(),
  });
  for (let n = 0; n < 20; n++) await connectAndReset(server.serverAddress);
  const answer = exchangeOn(await connect(server.serverAddress), "");
  await server.drain();
  assertEquals(await answer, "served");
});

Deno.test("Acceptor.next() accepts nothing while there is no room, and goes on when there is", async () => {
  let hasRoom = false;
  let accepted = 0;
  const { acceptor, next } = acceptorOf(() => Promise.resolve(`${++accepted}`), () => hasRoom);
  acceptor.resume(); // nobody waits: nothing happens
  assertEquals(await next(1), "timeout");
  const waiting = next(null);
  await settle();
  assertEquals(accepted, 0);
  hasRoom = true;
  acceptor.resume();
  acceptor.resume();
  assertEquals(await waiting, "1");
  assertEquals(accepted, 1);
});

Deno.test("Acceptor.close() does not wait for ever for an accept that goes on, whose late client it hands over", async () => {
  using timers = new FakeTimers();
  const { acceptor, next, calls, late } = byHand();
  const waiting = next(null);
  const closing = acceptor.close();
  assertEquals(await waiting, "closed");
  assertEquals(timers.delays, [1000]);
  await timers.tick();
  assertEquals(await closing, []);
  calls[0]!.resolve("late");
  await settle();
  assertEquals(late, ["late"]);
});

Deno.test("Acceptor.collect() takes what waits though there is no room, and gives it out as there is, to the last", async () => {
  let hasRoom = false;
  const queue = ["a", "b", "c"];
  const { acceptor, next } = acceptorOf(
    () => queue.length > 0 ? Promise.resolve(queue.shift()!) : new Promise(() => {}),
    () => hasRoom,
  );
  let arrived = false;
  const waiting = next(null).finally(() => arrived = true);
  await acceptor.collect(10, 1000, true);
  assertEquals(queue, []);
  assertEquals(arrived, false);
  hasRoom = true;
  acceptor.resume();
  assertEquals(await waiting, "a");
  assertEquals([await next(null), await next(null)], ["b", "c"]);
  assertEquals(await next(null), "closed");
});

Deno.test("Acceptor.collect() leaves a wait under way for a client that comes while the listener closes", async () => {
  for (const outcome of ["late", null]) {
    const { acceptor, next, calls } = byHand();
    let result = "";
    const waiting = next(null).then((ended) => result = ended);
    await acceptor.collect(10, 1000);
    await settle();
    assertEquals(result, "");
    const stopped = acceptor.stop();
    if (outcome === null) calls[0]!.reject(new Deno.errors.BadResource("closed"));
    else calls[0]!.resolve(outcome);
    assertEquals(await waiting, outcome ?? "closed");
    assertEquals(await next(null), "closed");
    await stopped;
  }
});

Deno.test("Acceptor.collect() ends by number and by time when clients keep coming", async () => {
  let given = 0;
  const byNumber = acceptorOf(() => Promise.resolve(`${given++}`)).acceptor;
  await byNumber.collect(7, 60_000);
  assertEquals(given, 7);
  assertEquals(await byNumber.close(), ["0", "1", "2", "3", "4", "5", "6"]);
  const byTime = acceptorOf(() => new Promise((resolve) => setTimeout(resolve, 1, ""))).acceptor;
  await byTime.collect(1_000_000, 50);
  await byTime.close();
});

Deno.test("fault 26: Acceptor.collect() takes those who wait though a stall has used up its time", async () => {
  const queue = ["a", "b", "c", "d", "e", "f", "g", "h"];
  const all = [...queue];
  const { promise: never, reject: closeListener } = Promise.withResolvers<string>();
  const { acceptor } = acceptorOf(() =>
    queue.length === 0 ? never : new Promise((resolve) => setTimeout(() => resolve(queue.shift()!)))
  );
  const collected = acceptor.collect(100, 10);
  for (const end = performance.now() + 30; performance.now() < end;);
  await collected;
  assertEquals(queue, []);
  closeListener(new Deno.errors.BadResource("closed"));
  assertEquals(await acceptor.close(), all);
});

Deno.test("fault 26: Acceptor.collect() ends with the last that it may take", async () => {
  const { acceptor, calls } = byHand();
  let ended = false;
  const collected = acceptor.collect(1, 1000).then(() => ended = true);
  calls[0]!.resolve("first");
  await settle();
  assert(ended); // and not some time later, in which others join a queue that is closed with them in it
  await collected;
  assertEquals(await acceptor.close(), ["first"]);
});

Deno.test("Acceptor.close() ends a collect() under way and gives back what that has taken", async () => {
  const { acceptor, calls } = byHand();
  const collected = acceptor.collect(10, 60_000);
  calls[0]!.resolve("first");
  await settle();
  const closed = acceptor.close();
  calls[1]!.resolve("second");
  await collected;
  assertEquals(await closed, ["first", "second"]);
});

for (const Server of [TCPServer, ConcurrentTCPServer]) {
  Deno.test(`fault 26: ${Server.name}.drain() stops accepting though two clients come each 10 ms`, async () => {
    const handler = (request: StreamSocket) => request.sendAll("served");
    const server = new Server(LOOPBACK, handler, { logger: new ListLogger() });
    const serving = server.serveForever();
    const asked: Promise<unknown>[] = [];
    const ask = () => void asked.push(exchange(server.serverAddress, "").catch((error) => error));
    const traffic = setInterval(() => [ask(), ask()], 10);
    try {
      await until(() => server.stats().completed > 4);
      const before = server.stats().accepted;
      const began = performance.now();
      await server.drain({ timeout: null });
      const taken = server.stats().accepted - before;
      assertLess(taken, 300); // and not the 513 that could wait
      assertGreater(taken, 0);
      assertLess(performance.now() - began, 4000);
    } finally {
      clearInterval(traffic);
    }
    await serving;
    await Promise.all(asked);
  });
}
