/**
 * ConcurrentMixIn: many requests at a time on the event loop, on every family.
 *
 * @module
 */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import {
  type AnyServer,
  BaseServer,
  type ConcurrencyOptions,
  ConcurrentMixIn,
  ConcurrentTCPServer,
  ConcurrentTLSServer,
  ConcurrentUDPServer,
  ConcurrentUnixDatagramServer,
  ConcurrentUnixStreamServer,
  DatagramRequestHandler,
  ServerExit,
  type ServerOptions,
  StreamRequestHandler,
  type StreamSocket,
  TCPServer,
  TLSServer,
  type UDPAddr,
  UDPServer,
  UnixDatagramServer,
  UnixStreamServer,
} from "@netkit/socketserver";
import { sourceOf } from "../../src/base/address.ts";
import {
  assertNoneOpened,
  connect,
  datagramClient,
  exchange,
  ListLogger,
  LOOPBACK,
  ODD_VALUES,
  openDescriptors,
  readAll,
  settle,
  start,
  tempSocketPath,
  text,
  TLS,
  until,
} from "../harness.ts";
import {
  echo,
  FAMILIES as PLAIN_FAMILIES,
  type Family,
  type Handler,
  handlerFor,
  numberedLines,
  queueUp,
  tell,
} from "../families.ts";
import { aborted } from "../handlers.ts";

interface ConcurrentFamily extends Omit<Family, "make"> {
  make: (handler: never, options?: ServerOptions & ConcurrencyOptions) => AnyServer;
}

const MAKERS: Record<string, ConcurrentFamily["make"]> = {
  TCPServer: (handler, options) => new ConcurrentTCPServer(LOOPBACK, handler, options),
  TLSServer: (handler, options) =>
    new ConcurrentTLSServer(LOOPBACK, handler, { cert: TLS.cert, key: TLS.key, ...options }),
  UnixStreamServer: (handler, options) =>
    new ConcurrentUnixStreamServer({ path: tempSocketPath() }, handler, options),
  UDPServer: (handler, options) => new ConcurrentUDPServer(LOOPBACK, handler, options),
  UnixDatagramServer: (handler, options) =>
    new ConcurrentUnixDatagramServer({ path: tempSocketPath() }, handler, options),
};

/** All families, as concurrent servers. */
const FAMILIES: ConcurrentFamily[] = PLAIN_FAMILIES.map(({ name, datagram, ask }) => ({
  name: `Concurrent${name}`,
  datagram,
  ask,
  make: MAKERS[name]!,
}));

/** Where handlers wait until a test lets them go on. */
class Gate {
  entered = 0;
  readonly #open = Promise.withResolvers<void>();

  async pass(): Promise<void> {
    this.entered++;
    await this.#open.promise;
  }

  open(): void {
    this.#open.resolve();
  }

  /** Resolves when so many handlers wait, or have waited. */
  async reached(count: number): Promise<void> {
    await until(() => this.entered >= count);
  }
}

/** Echoes once the gate is open. */
function echoAfter(gate: Gate): (handler: Handler) => Promise<void> {
  return async (handler) => {
    await gate.pass();
    await echo(handler);
  };
}

/** Fails instead of hanging, where a dead-lock is what a test looks for. */
async function soon<T>(promise: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error("still pending after 5 s")), 5000);
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

const never = (): Promise<never> => new Promise(() => {});

for (const family of FAMILIES) {
  const { name } = family;

  Deno.test(`test_${name}: the server echoes a line to three clients and stops cleanly`, async () => {
    const server = family.make(handlerFor(family, { handle: echo }));
    const serving = server.serveForever({ pollInterval: 10 });
    for (let client = 0; client < 3; client++) {
      assertEquals(await family.ask(server.serverAddress, "hello world\n"), "hello world\n");
    }
    await server.shutdown();
    await serving;
    await server.serverClose();
    await server.finished;
    assertEquals(server.stats().completed, 3);
  });

  Deno.test(`${name}.serveForever() serves 50 clients at once`, async () => {
    const gate = new Gate();
    const server = family.make(handlerFor(family, { handle: echoAfter(gate) }));
    await using _ = start(server);
    const lines = numberedLines(50);
    const answers = lines.map((line) => family.ask(server.serverAddress, line));
    await gate.reached(50);
    assertEquals(server.stats().active, 50);
    gate.open();
    assertEquals(await Promise.all(answers), lines);
    await until(() => server.stats().active === 0);
    assertEquals(server.stats().peak, 50);
    assertEquals(server.stats().completed, 50);
  });

  Deno.test(`${name}.serveForever() lets no client that says nothing delay the others`, async () => {
    const handle = async (handler: Handler) => {
      const line = await handler.rfile.readline();
      if (line.length === 0 && family.datagram) await aborted(handler.signal);
      await handler.wfile.write(line);
    };
    const server = family.make(handlerFor(family, { handle }));
    const serving = server.serveForever();
    const silent = family.datagram
      ? datagramClient(server.serverAddress)
      : await connect(server.serverAddress);
    if ("send" in silent) await silent.send(new Uint8Array(), server.serverAddress);
    for (const line of numberedLines(20)) {
      assertEquals(await family.ask(server.serverAddress, line), line);
    }
    assertEquals(server.stats().active, 1);
    assertEquals((await server.drain({ timeout: 0 })).aborted, 1);
    silent.close();
    await serving;
  });

  Deno.test(`${name}.maxConnections is never exceeded when 100 clients come to 4 places, and all are served`, async () => {
    let running = 0;
    let peak = 0;
    const handle = async (handler: Handler) => {
      peak = Math.max(peak, ++running);
      await settle(10);
      await echo(handler);
      running--;
    };
    const server = family.make(handlerFor(family, { handle }), { maxConnections: 4 });
    const getRequest = server.getRequest.bind(server);
    const activeAtAccept: number[] = [];
    server.getRequest = () => {
      activeAtAccept.push(server.stats().active);
      return getRequest();
    };
    await using _ = start(server);
    const lines = numberedLines(100);
    const answers = await Promise.all(lines.map((line) => family.ask(server.serverAddress, line)));
    assertEquals(answers, lines);
    assertEquals(peak, 4);
    assertEquals(server.stats().peak, 4);
    assertEquals(Math.max(...activeAtAccept), 3);
  });

  Deno.test(`${name}.maxConnections leaves the others in the system's queue, not accepted`, async () => {
    const gate = new Gate();
    const server = family.make(handlerFor(family, { handle: echoAfter(gate) }), {
      maxConnections: 2,
    });
    await using _ = start(server);
    const { answers } = await queueUp(family, server.serverAddress, 6);
    await gate.reached(2);
    await settle(10);
    assertEquals(server.stats().accepted, 2);
    gate.open();
    assertEquals(await answers, numberedLines(6));
    assertEquals(server.stats().accepted, 6);
    assertEquals(server.stats().peak, 2);
  });

  Deno.test(`${name}.requestTimeout frees the place of a handler that never ends`, async () => {
    const errors: unknown[] = [];
    const signals: AbortSignal[] = [];
    const handle = async (handler: Handler) => {
      const line = await handler.rfile.readline();
      if (text(line) === "hang\n") {
        signals.push(handler.signal);
        await never();
      }
      await handler.wfile.write(line);
    };
    const server = family.make(handlerFor(family, { handle }), {
      maxConnections: 1,
      requestTimeout: 200,
    });
    server.handleError = (error: unknown) => void errors.push(error);
    const serving = server.serveForever();
    await tell(family, server.serverAddress, "hang\n"); // a stream client sees its end
    assertEquals(await family.ask(server.serverAddress, "next\n"), "next\n");
    const [error] = errors;
    assertInstanceOf(error, Deno.errors.TimedOut);
    assertEquals(error.message, "no end within 200 ms ('requestTimeout')");
    assertEquals(errors.length, 1);
    assert(signals[0]!.aborted);
    assertStrictEquals(signals[0]!.reason, error);
    await soon(server.serverClose());
    await serving;
    await soon(server.finished);
    const { accepted, active, completed, failed, aborted: cutOff } = server.stats();
    assertEquals([accepted, active, completed, failed, cutOff], [2, 0, 1, 0, 1]);
  });

  Deno.test(`${name}.requestTimeout frees the place of a handler that reads on at the end for ever`, async () => {
    let isOver = false;
    const handle = async (handler: Handler) => {
      const line = await handler.rfile.readline();
      if (text(line) === "read on\n") { while (!isOver) await handler.rfile.readline(); }
      else await handler.wfile.write(line);
    };
    const server = family.make(handlerFor(family, { handle }), {
      maxConnections: 1,
      requestTimeout: 200,
      logger: new ListLogger(),
    });
    const serving = server.serveForever();
    await tell(family, server.serverAddress, "read on\n"); // and ends what it sends
    assertEquals(await family.ask(server.serverAddress, "next\n"), "next\n");
    isOver = true;
    await server.drain();
    await serving;
    const { completed, aborted } = server.stats();
    assertEquals([completed, aborted], [1, 1]);
  });

  Deno.test(`${name}.requestTimeout is told once, and leaves nothing, when the handler heeds the signal`, async () => {
    const errors: unknown[] = [];
    const handle = async ({ signal }: Handler) => {
      await aborted(signal);
      signal.throwIfAborted();
    };
    const server = family.make(handlerFor(family, { handle }), { requestTimeout: 20 });
    server.handleError = (error: unknown) => void errors.push(error);
    const serving = server.serveForever();
    await tell(family, server.serverAddress, "hello\n");
    await until(() => server.stats().aborted === 1);
    await server.serverClose();
    await server.finished;
    await serving;
    assertEquals(errors.length, 1);
    assertInstanceOf(errors[0], Deno.errors.TimedOut);
    const { accepted, active, failed } = server.stats();
    assertEquals([accepted, active, failed], [1, 0, 0]);
  });

  Deno.test(`${name}.requestTimeout has no effect on requests that end in time`, async () => {
    const server = family.make(handlerFor(family, { handle: echo }), { requestTimeout: 60_000 });
    await using _ = start(server);
    for (const line of numberedLines(10)) {
      assertEquals(await family.ask(server.serverAddress, line), line);
    }
    await until(() => server.stats().active === 0);
    assertEquals(server.stats().completed, 10);
  });

  Deno.test(`${name}.serverClose() waits for the requests under way, whose answers arrive`, async () => {
    const gate = new Gate();
    const server = family.make(handlerFor(family, { handle: echoAfter(gate) }));
    const serving = server.serveForever();
    const { answers } = await queueUp(family, server.serverAddress, 5);
    await gate.reached(5);
    let closed = false;
    const closing = server.serverClose().then(() => void (closed = true));
    await serving; // the loop does not wait
    await settle(10);
    assert(!closed);
    gate.open();
    await closing;
    assertEquals(server.stats().active, 0);
    assertEquals(await answers, numberedLines(5));
    await server.finished;
    assertEquals(server.stats().completed, 5);
  });

  Deno.test(`${name}.serverClose() waits for nobody when blockOnClose is false`, async () => {
    const gate = new Gate();
    const errors: unknown[] = [];
    const server = family.make(handlerFor(family, { handle: echoAfter(gate) }), {
      blockOnClose: false,
    });
    server.handleError = (error: unknown) => void errors.push(error);
    const serving = server.serveForever();
    const told = family.datagram
      ? tell(family, server.serverAddress, "0\n")
      : queueUp(family, server.serverAddress, 1).then(({ answers }) => answers);
    await gate.reached(1);
    await server.serverClose();
    await serving;
    assertEquals(server.stats().active, 1);
    gate.open();
    await server.finished;
    const answers = await told;
    // A datagram's answer has no socket to go out by.
    if (family.datagram) assertInstanceOf(errors[0], Deno.errors.BadResource);
    else assertEquals(answers, ["0\n"]);
  });

  for (const method of ["shutdown", "serverClose", "drain"] as const) {
    Deno.test(`${name}.${method}() does not dead-lock when two handlers await it`, async () => {
      const gate = new Gate();
      const returned: unknown[] = [];
      const handle = async (handler: Handler) => {
        await gate.pass();
        returned.push(await handler.server[method]());
      };
      const server = family.make(handlerFor(family, { handle }));
      const serving = server.serveForever();
      const told = [0, 1].map(() => tell(family, server.serverAddress, "hello\n"));
      await gate.reached(2);
      gate.open();
      await soon(serving);
      await until(() => returned.length === 2);
      await Promise.all(told);
      await soon(server.serverClose());
      await soon(server.finished);
      assertEquals(server.stats().completed, 2);
    });

    Deno.test(`${name}.${method}() does not dead-lock when a handler awaits it while serverClose() waits`, async () => {
      const gate = new Gate();
      const handle = async (handler: Handler) => {
        await gate.pass();
        await handler.server[method]();
        await echo(handler);
      };
      const server = family.make(handlerFor(family, { handle }));
      const serving = server.serveForever();
      const { answers } = await queueUp(family, server.serverAddress, 1);
      await gate.reached(1);
      const closing = server.serverClose();
      await settle(10);
      gate.open();
      await soon(closing);
      await serving;
      await soon(server.finished);
      assertEquals(await answers, ["0\n"]);
      assertEquals(server.stats().completed, 1);
    });

    Deno.test(`${name}.${method}() does not dead-lock when a handler awaits it at the cap while drain() waits`, async () => {
      const gate = new Gate();
      const handle = async (handler: Handler) => {
        await gate.pass();
        await handler.server[method]();
        await echo(handler);
      };
      const server = family.make(handlerFor(family, { handle }), { maxConnections: 1 });
      const serving = server.serveForever();
      const { answers } = await queueUp(family, server.serverAddress, 1);
      await gate.reached(1);
      const drained = server.drain({ timeout: 60_000 });
      await settle(10);
      gate.open();
      assertEquals(await soon(drained), { completed: 1, aborted: 0 });
      await serving;
      await server.finished;
      assertEquals(await answers, ["0\n"]);
    });
  }

  Deno.test(`${name}.drain() serves what waits in the queue, also at the cap, and waits for what runs`, async () => {
    const gate = new Gate();
    const server = family.make(handlerFor(family, { handle: echoAfter(gate) }), {
      maxConnections: 2,
    });
    const serving = server.serveForever();
    const { answers } = await queueUp(family, server.serverAddress, 7);
    await gate.reached(2);
    const drained = server.drain();
    await settle(10);
    assertEquals(server.state, "draining");
    assertEquals(server.stats().accepted, 2);
    gate.open();
    assertEquals(await drained, { completed: 7, aborted: 0 });
    assertEquals(await answers, numberedLines(7));
    await serving;
    assertEquals(server.state, "closed");
    assertEquals(server.stats().peak, 2);
  });

  Deno.test(`${name}.drain() aborts all that runs at the time limit`, async () => {
    const signals: AbortSignal[] = [];
    const handle = async ({ signal }: Handler) => {
      signals.push(signal);
      // One of them does not heed the signal.
      await (signals.length === 1 ? never() : aborted(signal));
    };
    const logger = new ListLogger();
    const server = family.make(handlerFor(family, { handle }), { logger });
    const serving = server.serveForever();
    const told = [0, 1, 2].map(() => tell(family, server.serverAddress, "hello\n"));
    await until(() => signals.length === 3);
    assertEquals(await soon(server.drain({ timeout: 10 })), { completed: 0, aborted: 3 });
    for (const { reason } of signals) assertEquals(reason.name, "AbortError");
    await Promise.all([...told, serving, server.finished]);
    const { active, aborted: cutOff } = server.stats();
    assertEquals([active, cutOff], [0, 3]);
    assertEquals(logger.lines, []);
  });

  Deno.test(`${name}.drain() cuts off at its time limit what serverClose() waits for`, async () => {
    const gate = new Gate();
    const handle = async () => {
      void gate.pass();
      await never();
    };
    const server = family.make(handlerFor(family, { handle }));
    const serving = server.serveForever();
    const told = tell(family, server.serverAddress, "hello\n");
    await gate.reached(1);
    const closing = server.serverClose();
    assertEquals(await soon(server.drain({ timeout: 10 })), { completed: 0, aborted: 1 });
    await soon(closing);
    await Promise.all([told, serving, server.finished]);
    assertEquals(server.state, "closed");
  });

  Deno.test(`${name}.serveForever() rejects with a handler's ServerExit; the others end in peace`, async () => {
    const gate = new Gate();
    const errors: unknown[] = [];
    const handle = async (handler: Handler) => {
      const line = await handler.rfile.readline();
      if (text(line) === "exit\n") throw new ServerExit(7);
      await gate.pass();
      await handler.wfile.write(line);
    };
    const server = family.make(handlerFor(family, { handle }));
    server.handleError = (error: unknown) => void errors.push(error);
    const serving = server.serveForever();
    const { answers } = await queueUp(family, server.serverAddress, 3);
    await gate.reached(3);
    const told = tell(family, server.serverAddress, "exit\n");
    const exit = await assertRejects(() => serving, ServerExit);
    assertEquals(exit.code, 7);
    await told;
    assertEquals(server.state, "idle");
    await using _ = start(server); // the listener is still open
    assertEquals(server.stats().active, 3);
    gate.open();
    assertEquals(await answers, numberedLines(3));
    assertEquals(await family.ask(server.serverAddress, "again\n"), "again\n");
    assertEquals(errors, []);
  });

  for (const step of ["setup", "handle", "finish"] as const) {
    Deno.test(`${name}.serveForever() serves the others when every second handler throws in ${step}()`, async () => {
      const failing = new WeakSet<Handler>();
      let count = 0;
      const failIf = (at: string) => (handler: Handler) => {
        if (at === step && failing.has(handler)) throw new Error(`${at} on demand`);
      };
      const server = family.make(handlerFor(family, {
        setup: (handler) => {
          if (count++ % 2 === 0) failing.add(handler);
          failIf("setup")(handler);
        },
        handle: async (handler) => {
          if (step !== "setup") await echo(handler);
          failIf("handle")(handler);
        },
        finish: failIf("finish"),
      }));
      const errors: unknown[] = [];
      server.handleError = (error: unknown) => void errors.push(error);
      await using _ = start(server);
      const clients = Array.from({ length: 20 }, async () => {
        if (family.datagram && step === "setup") {
          await tell(family, server.serverAddress, "hello\n");
        } else {
          await family.ask(server.serverAddress, "hello\n").catch(() => "");
        }
      });
      await Promise.all(clients);
      await until(() => server.stats().active === 0 && server.stats().accepted === 20);
      assertEquals(errors.map(String), Array(10).fill(`Error: ${step} on demand`));
      const { completed, failed } = server.stats();
      assertEquals([completed, failed], [10, 10]);
    });
  }

  for (const hook of ["verifyRequest", "handleError", "shutdownRequest"] as const) {
    Deno.test(`${name}.serveForever() goes on when ${hook}() throws for one of many`, async () => {
      const logger = new ListLogger();
      const handle = async (handler: Handler) => {
        await echo(handler);
        throw new Error("for handleError()");
      };
      const server = family.make(handlerFor(family, { handle }), { logger });
      const original = Reflect.get(server, hook as string).bind(server);
      let calls = 0;
      Reflect.set(server, hook, (...args: unknown[]) => {
        if (calls++ === 0) throw new Error("hook on demand");
        return original(...args);
      });
      await using _ = start(server);
      const told = Array.from({ length: 8 }, () => tell(family, server.serverAddress, "hello\n"));
      await soon(Promise.all(told)); // the connection of the one is closed, too
      await until(() => server.stats().accepted === 8 && server.stats().active === 0);
      assertEquals(server.state, "serving");
      assertEquals(logger.lines.filter((line) => line.includes("hook on demand")).length, 1);
    });
  }

  for (
    const hook of ["verifyRequest", "processRequest", "shutdownRequest", "closeRequest"] as const
  ) {
    Deno.test(`fault 14: ${name} logs whatever ${hook}() throws and serves the next`, async () => {
      const logger = new ListLogger();
      const server = family.make(handlerFor(family, { handle: echo }), { logger });
      const original = Reflect.get(server, hook as string).bind(server);
      const odd = Object.values(ODD_VALUES).map((make) => make());
      Reflect.set(server, hook, (...args: unknown[]) => {
        if (odd.length === 0) return original(...args);
        const stream = args[0] as { close?: () => void };
        stream.close?.();
        throw odd.pop();
      });
      await using started = start(server);
      const told = odd.map(() => tell(family, server.serverAddress, "hello\n"));
      await soon(Promise.all(told));
      await until(() => server.stats().accepted === told.length && server.stats().active === 0);
      assertEquals(await soon(family.ask(server.serverAddress, "next\n")), "next\n");
      assertEquals(server.state, "serving");
      const lines = logger.lines.filter((line) => line.startsWith("error: "));
      assertEquals(lines.length, told.length); // beside those of clients that have gone without the answer
      await server.shutdown();
      await started.serving;
    });
  }

  Deno.test(`test_threading_handled: an error in a handler of ${name} goes to handleError() once and no further`, async () => {
    const errors: unknown[] = [];
    const fail = () => {
      throw new Error("on demand");
    };
    const server = family.make(handlerFor(family, { handle: fail }));
    server.handleError = (error: unknown) => void errors.push(error);
    const told = tell(family, server.serverAddress, "hello\n");
    await server.handleRequest();
    await told;
    await server.serverClose();
    assertEquals(errors.map(String), ["Error: on demand"]);
  });

  Deno.test(`test_threading_not_handled: ServerExit passes by handleError() of ${name}`, async () => {
    const errors: unknown[] = [];
    const exit = () => {
      throw new ServerExit(1);
    };
    const server = family.make(handlerFor(family, { handle: exit }));
    server.handleError = (error: unknown) => void errors.push(error);
    const serving = server.serveForever();
    const told = tell(family, server.serverAddress, "hello\n");
    await assertRejects(() => serving, ServerExit);
    await told;
    await server.serverClose();
    assertEquals(errors, []);
  });

  Deno.test(`${name}.handleRequest() returns once the request is under way`, async () => {
    const gate = new Gate();
    const server = family.make(handlerFor(family, { handle: echoAfter(gate) }));
    const { answers } = await queueUp(family, server.serverAddress, 2);
    await server.handleRequest();
    await server.handleRequest();
    await gate.reached(2);
    assertEquals(server.stats().active, 2);
    assertEquals(server.state, "idle");
    gate.open();
    assertEquals(await answers, numberedLines(2));
    await server.serverClose();
    assertEquals(server.stats().completed, 2);
  });

  Deno.test(`${name}.handleRequest() waits for a place when there is none, no longer than timeout`, async () => {
    const gate = new Gate();
    const server = family.make(handlerFor(family, { handle: echoAfter(gate) }), {
      maxConnections: 1,
      timeout: 5,
    });
    let timeouts = 0;
    server.handleTimeout = () => void timeouts++;
    const { answers } = await queueUp(family, server.serverAddress, 2);
    await server.handleRequest();
    await gate.reached(1);
    await server.handleRequest();
    assertEquals(timeouts, 1);
    assertEquals(server.stats().accepted, 1);
    server.timeout = null;
    const handled = server.handleRequest();
    gate.open();
    await handled;
    assertEquals(await answers, numberedLines(2));
    await server.serverClose();
  });

  Deno.test(`${name}.handleRequest() is not ended by the ServerExit of an earlier one, which the log tells`, async () => {
    const gate = new Gate();
    const handle = async (handler: Handler) => {
      const line = await handler.rfile.readline();
      if (text(line) === "exit\n") {
        await gate.pass();
        throw new ServerExit();
      }
      await handler.wfile.write(line);
    };
    const logger = new ListLogger();
    const server = family.make(handlerFor(family, { handle }), { logger });
    const told = tell(family, server.serverAddress, "exit\n");
    await server.handleRequest();
    await gate.reached(1);
    const handled = server.handleRequest();
    gate.open();
    await until(() => server.stats().active === 0);
    await settle(10);
    const answer = family.ask(server.serverAddress, "hello\n");
    await handled;
    assertEquals(server.stats().accepted, 2);
    assertEquals(await answer, "hello\n");
    assertEquals(logger.lines, [
      "warn: Server exit with code 0 ends nothing: the loop has ended before",
    ]);
    await told;
    await server.serverClose();
  });
}

for (const Server of [ConcurrentTCPServer, ConcurrentTLSServer]) {
  Deno.test(`${Server.name}.serverClose() does not wait for handlers for ever when requestTimeout cuts them off`, async () => {
    const server = Server === ConcurrentTLSServer
      ? new ConcurrentTLSServer(LOOPBACK, never, { ...TLS, requestTimeout: 30 })
      : new ConcurrentTCPServer(LOOPBACK, never, { requestTimeout: 30 });
    server.handleError = () => {};
    const serving = server.serveForever();
    using client = await connect(server.serverAddress); // says nothing, not even a handshake
    await until(() => server.stats().active === 1);
    await soon(server.serverClose());
    await serving;
    if (Server === ConcurrentTCPServer) await readAll(client);
    assertEquals(server.stats().aborted, 1);
  });
}

Deno.test("ConcurrentTCPServer.maxConnectionsPerSource closes the connection that is one too many", async () => {
  const gate = new Gate();
  const server = new ConcurrentTCPServer(LOOPBACK, async (socket: StreamSocket) => {
    await gate.pass();
    await socket.sendAll("hello");
  }, { maxConnectionsPerSource: 2 });
  await using _ = start(server);
  const served = [0, 1].map(() => exchange(server.serverAddress, ""));
  await gate.reached(2);
  assertEquals(await exchange(server.serverAddress, "").catch(() => ""), "");
  assertEquals(server.stats().rejected, 1);
  gate.open();
  assertEquals(await Promise.all(served), ["hello", "hello"]);
  await until(() => server.stats().active === 0);
  assertEquals(await exchange(server.serverAddress, ""), "hello");
});

Deno.test("ConcurrentUDPServer.maxConnectionsPerSource drops the datagram that is one too many", async () => {
  const gate = new Gate();
  const family = FAMILIES.find(({ name }) => name === "ConcurrentUDPServer")!;
  const server = family.make(handlerFor(family, { handle: echoAfter(gate) }), {
    maxConnectionsPerSource: 1,
  });
  await using _ = start(server);
  const answer = family.ask(server.serverAddress, "first\n");
  await gate.reached(1);
  await tell(family, server.serverAddress, "second\n");
  await until(() => server.stats().rejected === 1);
  gate.open();
  assertEquals(await answer, "first\n");
  assertEquals(gate.entered, 1);
});

/** A server of the user's own, without a socket: each request is the address that it comes from. */
class ListServer extends BaseServer<{ hostname: string }, UDPAddr> {
  hostnames: string[] = [];
  #wake = Promise.withResolvers<void>();

  push(...hostnames: string[]): void {
    this.hostnames.push(...hostnames);
    this.#wake.resolve();
    this.#wake = Promise.withResolvers();
  }

  override async getRequest(): Promise<[{ hostname: string }, UDPAddr]> {
    while (this.hostnames.length === 0) await this.#wake.promise;
    const hostname = this.hostnames.shift()!;
    return [{ hostname }, { transport: "udp", hostname, port: 1 }];
  }

  override closeSocket(): void {
    this.getRequest = () => Promise.reject(new Deno.errors.BadResource("closed"));
    this.#wake.reject(new Deno.errors.BadResource("closed"));
  }
}

class ConcurrentListServer extends ConcurrentMixIn(ListServer) {
  static override maxConnections = 5;
  /** A method of the user's own. */
  count(): number {
    return this.hostnames.length + this.maxConnections;
  }
}

const NO_ADDRESS: UDPAddr = { transport: "udp", hostname: "list", port: 0 };

Deno.test("ConcurrentMixIn() makes a server of the user's own concurrent", async () => {
  const gate = new Gate();
  const server = new ConcurrentListServer(NO_ADDRESS, () => gate.pass());
  const serving = server.serveForever();
  server.push(...Array(8).fill("10.0.0.1"));
  await gate.reached(5);
  await settle(10);
  assertEquals(server.stats().active, 5);
  assertEquals(server.count(), 8);
  gate.open();
  await until(() => server.stats().completed === 8);
  await server.serverClose();
  await serving;
});

Deno.test("ConcurrentMixIn.maxConnectionsPerSource counts by source, whatever the spelling", async () => {
  const gate = new Gate();
  const server = new ConcurrentListServer(NO_ADDRESS, () => gate.pass(), {
    maxConnections: 100,
    maxConnectionsPerSource: 1,
  });
  const serving = server.serveForever();
  server.push("10.0.0.1", "::ffff:10.0.0.1", "::FFFF:a00:1", "10.0.0.2");
  server.push("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "not an address", ":::");
  await until(() => server.stats().accepted === 9);
  await settle(10);
  const { active, rejected } = server.stats();
  assertEquals([active, rejected], [6, 3]);
  gate.open();
  await until(() => server.stats().active === 0);
  server.push("10.0.0.1");
  await until(() => server.stats().accepted === 10 && server.stats().active === 0);
  assertEquals(server.stats().rejected, 3);
  await server.serverClose();
  await serving;
});

for (
  const [source, hostnames] of Object.entries({
    "127.0.0.1": ["127.0.0.1", "::ffff:127.0.0.1", "::FFFF:7F00:1", "0:0:0:0:0:ffff:7f00:0001"],
    "255.1.0.254": ["255.1.0.254", "::ffff:255.1.0.254", "::ffff:ff01:fe"],
    "2001:db8:0:1::/64": [
      "2001:db8:0:1::",
      "2001:db8:0:1::7",
      "2001:DB8:0000:0001:ffff:ffff:ffff:ffff",
      "2001:0db8::1:0:0:0:1",
      "2001:db8:0:1:0:0:192.168.1.1",
    ],
    "0:0:0:0::/64": ["::", "::1", "0:0:0:0:0:0:0:1", "::1.2.3.4", "::ffff:0:1.2.3.4"],
    "fe80:0:0:0::/64": ["fe80::1", "fe80::1%eth0", "fe80::2%3", "fe80::%25eth0"],
    "1:2:3:4::/64": ["1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "1:2:3:4::5:6:7"],
  })
) {
  Deno.test(`sourceOf() counts ${hostnames.join(", ")} as ${source}`, () => {
    for (const hostname of hostnames) {
      assertEquals(sourceOf({ transport: "tcp", hostname, port: 1 }), source);
      assertEquals(sourceOf({ transport: "udp", hostname, port: 2 }), source);
    }
  });
}

Deno.test("sourceOf() counts all Unix clients as one", () => {
  for (const path of ["/a", "\0b", null as unknown as string]) {
    assertEquals(sourceOf({ transport: "unix", path }), "unix");
    assertEquals(sourceOf({ transport: "unixpacket", path }), "unix");
  }
});

Deno.test("sourceOf() takes what is no address as it comes", () => {
  for (
    const hostname of ["", ":", ":::", "1:2:3:4:5:6:7:8:9", "::1::2", "a b", "1.2:3", "%", ":%"]
  ) {
    assertEquals(typeof sourceOf({ transport: "tcp", hostname, port: 1 }), "string");
  }
});

interface SettingCase {
  option: "maxConnections" | "maxConnectionsPerSource" | "requestTimeout" | "blockOnClose";
  fallback: unknown;
  good: [unknown, unknown, unknown];
  /** What throws TypeError, and what throws RangeError. */
  noType: unknown[];
  noRange: unknown[];
}

const SETTINGS: SettingCase[] = [
  {
    option: "maxConnections",
    fallback: 1024,
    good: [1, 5, 2 ** 20],
    noType: [null, "5", true, {}],
    noRange: [0, -1, 1.5, NaN, Infinity, 2 ** 20 + 1],
  },
  {
    option: "maxConnectionsPerSource",
    fallback: null,
    good: [1, null, 2 ** 20],
    noType: ["5", true],
    noRange: [0, -1, 1.5, NaN],
  },
  {
    option: "requestTimeout",
    fallback: null,
    good: [1, null, 2 ** 31 - 1],
    noType: ["5", true],
    noRange: [0, -1, NaN, Infinity, 2 ** 31],
  },
  {
    option: "blockOnClose",
    fallback: true,
    good: [false, true, false],
    noType: [0, "yes", null],
    noRange: [],
  },
];

for (const { option, fallback, good, noType, noRange } of SETTINGS) {
  Deno.test(`ConcurrentMixIn.${option} comes from the class, the options and the instance, later ones winning`, async () => {
    const [first, second, third] = good;
    class Configured extends ConcurrentMixIn(TCPServer) {}
    assertEquals(Reflect.get(Configured, option), fallback);
    Reflect.set(Configured, option, first);
    await using byClass = new Configured(LOOPBACK, () => {});
    await using byOption = new Configured(LOOPBACK, () => {}, { [option]: second });
    await using byInstance = new Configured(LOOPBACK, () => {}, {
      [option]: second,
      bindAndActivate: false,
    });
    Reflect.set(byInstance, option, third);
    assertEquals([byClass[option], byOption[option], byInstance[option]], [first, second, third]);
    await using byDefault = new ConcurrentTCPServer(LOOPBACK, () => {}, { [option]: undefined });
    assertEquals(byDefault[option], fallback);
  });

  for (const family of FAMILIES) {
    Deno.test(`${family.name} refuses a wrong ${option} by class, option and instance, and leaves nothing open`, async () => {
      await using server = family.make((() => {}) as never, { bindAndActivate: false });
      const before = openDescriptors();
      for (const [ErrorClass, values] of [[TypeError, noType], [RangeError, noRange]] as const) {
        for (const value of values) {
          const { message } = assertThrows(
            () => family.make((() => {}) as never, { [option]: value }),
            ErrorClass,
          );
          assert(message.startsWith(`Cannot use option '${option}': expected `), message);
          assertThrows(() => Reflect.set(server, option, value), ErrorClass, `'${option}'`);
          class Wrong extends ConcurrentMixIn(TCPServer) {}
          Reflect.set(Wrong, option, value);
          assertThrows(() => new Wrong(LOOPBACK, () => {}), ErrorClass, `'${option}'`);
        }
      }
      assertNoneOpened(before);
      assertEquals(Reflect.get(server, option), fallback);
    });
  }
}

for (
  const Server of [TCPServer, TLSServer, UDPServer, UnixStreamServer, UnixDatagramServer] as const
) {
  Deno.test(`${Server.name} refuses the options of concurrent servers and leaves nothing open`, () => {
    const address = Server.name.startsWith("Unix") ? { path: tempSocketPath() } : LOOPBACK;
    const before = openDescriptors();
    for (
      const options of [
        { maxConnections: 5 },
        { maxConnectionsPerSource: null },
        { requestTimeout: 1000 },
        { blockOnClose: false },
      ]
    ) {
      const { message } = assertThrows(
        () => Reflect.construct(Server, [address, () => {}, { ...TLS, ...options }]),
        TypeError,
      );
      const option = Object.keys(options)[0];
      const start = `Cannot use option '${option}' with ${Server.name}: `;
      assert(message.startsWith(start), message);
    }
    assertNoneOpened(before);
  });
}

Deno.test("ConcurrentTCPServer.maxConnections is heeded from the next request on when it is changed while serving", async () => {
  const [first, others] = [new Gate(), new Gate()];
  const handle = async (handler: Handler) => {
    await (first.entered === 0 ? first : others).pass();
    await echo(handler);
  };
  const family = FAMILIES[0]!;
  const server = new ConcurrentTCPServer(LOOPBACK, handlerFor(family, { handle }), {
    maxConnections: 1,
  });
  await using _ = start(server);
  const { answers } = await queueUp(family, server.serverAddress, 4);
  await first.reached(1);
  server.maxConnections = 3;
  first.open();
  await others.reached(3);
  others.open();
  assertEquals(await answers, numberedLines(4));
  assertEquals(server.stats().peak, 3);
});

Deno.test("ConcurrentTCPServer.serverClose() inside serviceActions() does not wait for itself", async () => {
  const gate = new Gate();
  class Server extends ConcurrentTCPServer {
    override async serviceActions() {
      await this.serverClose();
    }
  }
  const server = new Server(LOOPBACK, () => gate.pass());
  const serving = server.serveForever();
  using client = await connect(server.serverAddress);
  await soon(serving);
  gate.open();
  await soon(server.finished);
  assertEquals(await readAll(client), new Uint8Array());
});

Deno.test("ConcurrentTCPServer.shutdown() leaves the requests under way alone, and stats() go on", async () => {
  const gate = new Gate();
  const family = FAMILIES[0]!;
  const server = family.make(handlerFor(family, { handle: echoAfter(gate) }));
  const serving = server.serveForever();
  const { answers } = await queueUp(family, server.serverAddress, 3);
  await gate.reached(3);
  await server.shutdown();
  await serving;
  assertEquals(server.state, "idle");
  assertEquals([server.stats().active, server.stats().peak], [3, 3]);
  gate.open();
  assertEquals(await answers, numberedLines(3));
  await server.serverClose();
  assertEquals([server.stats().active, server.stats().peak], [0, 3]);
});

Deno.test("ConcurrentTCPServer.handleError() may close the server when requestTimeout has passed", async () => {
  const server = new ConcurrentTCPServer(LOOPBACK, never, { requestTimeout: 20 });
  let told = 0;
  server.handleError = async () => {
    told++;
    await server.serverClose();
  };
  const serving = server.serveForever();
  using client = await connect(server.serverAddress);
  await soon(serving);
  await soon(server.finished);
  assertEquals(await readAll(client), new Uint8Array());
  assertEquals(told, 1);
});

Deno.test("ConcurrentMixIn() has the types of its base and of its own", async () => {
  class Server extends ConcurrentMixIn(TCPServer) {
    static override maxConnections = 5;
    static override requestQueueSize = 16;
    static override requestTimeout: number | null = 1000;
    override verifyRequest(request: StreamSocket): boolean {
      return request.remoteAddr.transport === "tcp";
    }
  }
  await using server = new Server(LOOPBACK, () => {}, { maxConnectionsPerSource: 2 });
  const maxConnections: number = server.maxConnections;
  const blockOnClose: boolean = server.blockOnClose;
  const port: number = server.serverAddress.port;
  assertEquals([maxConnections, blockOnClose, port > 0], [5, true, true]);
  assertEquals([server.requestQueueSize, server.requestTimeout], [16, 1000]);

  class Datagrams extends DatagramRequestHandler {}
  class Streams extends StreamRequestHandler {}
  const wrong = () => [
    // @ts-expect-error a datagram handler does not fit a stream server
    new ConcurrentTCPServer(LOOPBACK, Datagrams),
    // @ts-expect-error nor one that the user has mixed
    new Server(LOOPBACK, Datagrams),
    // @ts-expect-error a stream handler does not fit a datagram server
    new ConcurrentUDPServer(LOOPBACK, Streams),
    // @ts-expect-error a path is no address of TCP
    new ConcurrentTCPServer({ path: "/tmp/s" }, Streams),
    // @ts-expect-error a setting has a type
    new ConcurrentTCPServer(LOOPBACK, Streams, { maxConnections: "5" }),
    // @ts-expect-error there is no such setting
    new ConcurrentTCPServer(LOOPBACK, Streams, { maxConnection: 5 }),
    // @ts-expect-error what is no server cannot be mixed in
    ConcurrentMixIn(Date),
  ];
  assertEquals(typeof wrong, "function");
  // @ts-expect-error a static has a type, too
  class Wrong extends ConcurrentMixIn(TCPServer) {
    static override maxConnections = "5";
  }
  assertThrows(() => new Wrong(LOOPBACK, () => {}), TypeError);
});
