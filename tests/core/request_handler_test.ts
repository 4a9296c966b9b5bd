/**
 * Request handlers: their three steps, their settings and their streams, in real servers.
 *
 * @module
 */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  type AnyServer,
  BaseRequestHandler,
  BufferedReader,
  BufferedWriter,
  type DatagramRequest,
  DatagramRequestHandler,
  LineTooLongError,
  type RequestHandlerLike,
  type SocketAddress,
  StreamRequestHandler,
  StreamSocket,
  TCPServer,
  UDPServer,
  UnixDatagramServer,
  UnixStreamServer,
} from "@netkit/socketserver";
import { RecordingServer, reset, resettable } from "../conversation.ts";
import {
  bytes,
  connect,
  exchange,
  ListLogger,
  LOOPBACK,
  readAll,
  readExactly,
  start,
  tempSocketPath,
  text,
  until,
  writeAll,
} from "../harness.ts";
import { FAMILIES } from "../families.ts";

const MIB = 1024 * 1024;

type StreamHandler = RequestHandlerLike<StreamSocket, SocketAddress>;

/** Serves one client with the handler; gives what the client got, and what the handler failed with. */
async function serveOne(
  handler: StreamHandler,
  data: string | Uint8Array = "",
): Promise<{ got: string; errors: unknown[] }> {
  await using server = new RecordingServer(LOOPBACK, handler);
  const handled = server.handleRequest();
  const got = await exchange(server.serverAddress, data);
  await handled;
  return { got, errors: server.errors };
}

Deno.test("BaseRequestHandler has the request, the client's address and the server", async () => {
  const seen = Promise.withResolvers<BaseRequestHandler>();
  class Handler extends BaseRequestHandler {
    override handle() {
      seen.resolve(this);
    }
  }
  await using server = new TCPServer(LOOPBACK, Handler);
  const handled = server.handleRequest();
  using conn = await Deno.connect(server.serverAddress);
  const handler = await seen.promise;
  await handled;
  assertInstanceOf(handler.request, StreamSocket);
  assertEquals<Deno.Addr>(handler.clientAddress, conn.localAddr);
  assertStrictEquals(handler.server as unknown, server);
});

Deno.test("BaseRequestHandler does nothing by itself, in every family", async () => {
  class Handler extends BaseRequestHandler<unknown> {}
  for (const family of FAMILIES.filter((family) => !family.datagram)) {
    await using started = start(family.make(Handler as never));
    // Nothing is sent: a connection that is closed with unread data is reset.
    assertEquals(await family.ask(started.server.serverAddress, ""), "", family.name);
  }
});

Deno.test("BaseRequestHandler steps are called in order, each awaited, on a new object each time", async () => {
  const calls: string[] = [];
  let objects = 0;
  const pause = () => new Promise((resolve) => setTimeout(resolve, 1));
  class Handler extends BaseRequestHandler {
    readonly name = `h${++objects}`;
    override async setup() {
      calls.push(`${this.name} setup`);
      await pause();
      calls.push(`${this.name} set up`);
    }
    override async handle() {
      calls.push(`${this.name} handle`);
      await pause();
      calls.push(`${this.name} handled`);
    }
    override async finish() {
      calls.push(`${this.name} finish`);
      await pause();
      calls.push(`${this.name} finished`);
    }
  }
  await using started = start(new TCPServer(LOOPBACK, Handler));
  for (const name of ["h1", "h2"]) {
    await exchange(started.server.serverAddress, "");
    assertEquals(
      calls.splice(0),
      ["setup", "set up", "handle", "handled", "finish", "finished"].map((call) =>
        `${name} ${call}`
      ),
    );
  }
});

Deno.test("BaseRequestHandler steps that fail are followed by what Python calls after them", async () => {
  const cases: { fails: string[]; calls: string[]; error: string }[] = [
    { fails: ["setup"], calls: ["setup", "error", "close"], error: "setup" },
    { fails: ["handle"], calls: ["setup", "handle", "finish", "error", "close"], error: "handle" },
    { fails: ["finish"], calls: ["setup", "handle", "finish", "error", "close"], error: "finish" },
    {
      fails: ["handle", "finish"],
      calls: ["setup", "handle", "finish", "error", "close"],
      error: "finish",
    },
  ];
  for (const { fails, calls, error } of cases) {
    for (const how of ["throws", "rejects"]) {
      const seen: string[] = [];
      const step = (name: string): void | Promise<void> => {
        seen.push(name);
        if (!fails.includes(name)) return;
        if (how === "throws") throw new Error(name);
        return Promise.reject(new Error(name));
      };
      class Handler extends BaseRequestHandler {
        override setup = () => step("setup");
        override handle = () => step("handle");
        override finish = () => step("finish");
      }
      // As methods: fields are there too late to tell the class as a handler by its shape.
      class Server extends RecordingServer {
        override handleError(error: unknown): void {
          seen.push("error");
          super.handleError(error);
        }
        override closeRequest(request: StreamSocket): void | Promise<void> {
          seen.push("close");
          return super.closeRequest(request);
        }
      }
      const what = `${fails} ${how}`;
      await using server = new Server(LOOPBACK, Handler);
      const handled = server.handleRequest();
      assertEquals(await exchange(server.serverAddress, ""), "", what);
      await handled;
      assertEquals(seen, calls, what);
      assertEquals(server.errors.map((error) => (error as Error).message), [error], what);
      const { cause } = server.errors[0] as Error;
      assertEquals((cause as Error | undefined)?.message, fails.length > 1 ? "handle" : undefined);
    }
  }
});

Deno.test("BaseRequestHandler.finish() that fails keeps a cause of its own", async () => {
  class Handler extends BaseRequestHandler {
    override handle() {
      throw new Error("handle");
    }
    override finish() {
      throw new Error("finish", { cause: "its own" });
    }
  }
  const { errors } = await serveOne(Handler);
  assertEquals((errors[0] as Error).cause, "its own");
});

Deno.test("BaseRequestHandler.finish() that throws no Error is reported as it is", async () => {
  class Handler extends BaseRequestHandler {
    override handle() {
      throw new Error("handle");
    }
    override finish() {
      throw "just text";
    }
  }
  assertEquals((await serveOne(Handler)).errors, ["just text"]);
});

Deno.test("BaseRequestHandler never has an error that is its own cause", async () => {
  class Handler extends StreamRequestHandler {
    override timeout = 50;
    override async handle() {
      await this.wfile.write(new Uint8Array(64 * MIB)); // finish() meets the same error again
    }
  }
  await using server = new RecordingServer(LOOPBACK, Handler);
  const handled = server.handleRequest();
  using _client = await Deno.connect(server.serverAddress);
  await handled;
  const [error] = server.errors;
  assertInstanceOf(error, Deno.errors.TimedOut);
  assert(error.cause !== error, "the error is its own cause");
});

Deno.test("BaseRequestHandler.finish() that meets what handle() failed because of adds nothing to it", async () => {
  const met = new Error("met twice");
  class Handler extends BaseRequestHandler {
    override handle() {
      throw new Error("handle", { cause: new Error("between", { cause: met }) });
    }
    override finish() {
      throw met;
    }
  }
  const { errors } = await serveOne(Handler);
  assertEquals(errors.map((error) => (error as Error).message), ["handle"]);
  assertEquals(met.cause, undefined); // no circle
});

Deno.test("BaseRequestHandler may fail with an error whose causes go in a circle", async () => {
  class Handler extends BaseRequestHandler {
    override handle() {
      const error = new Error("handle");
      error.cause = new Error("other", { cause: error });
      throw error;
    }
    override finish() {
      throw new Error("finish");
    }
  }
  const { errors } = await serveOne(Handler);
  assertEquals(errors.map((error) => (error as Error).message), ["finish"]);
  assertEquals(((errors[0] as Error).cause as Error).message, "handle");
});

Deno.test("BaseRequestHandler.handle() may return what a write gives, and is awaited", async () => {
  class Handler extends StreamRequestHandler {
    override async handle() {
      if (await this.rfile.atEnd()) return this.wfile.write("nothing");
      for await (const line of this.rfile) await this.wfile.write(line);
    }
  }
  await using started = start(new RecordingServer(LOOPBACK, Handler));
  assertEquals(await exchange(started.server.serverAddress, ""), "nothing");
  assertEquals(await exchange(started.server.serverAddress, "line\n"), "line\n");
  assertEquals(started.server.errors, []);
});

Deno.test("BaseRequestHandler whose constructor throws fails only its own request", async () => {
  let made = 0;
  class Handler extends StreamRequestHandler {
    constructor(...args: ConstructorParameters<typeof StreamRequestHandler>) {
      super(...args);
      if (++made === 1) throw new Error("not this time");
    }
    override async handle() {
      await this.wfile.write("served");
    }
  }
  await using started = start(new RecordingServer(LOOPBACK, Handler));
  const { server } = started;
  assertEquals(await exchange(server.serverAddress, ""), "");
  assertEquals(await exchange(server.serverAddress, ""), "served");
  assertEquals(server.errors.map((error) => (error as Error).message), ["not this time"]);
});

Deno.test("BaseRequestHandler.signal is aborted when the server cuts the request off", async () => {
  const running = Promise.withResolvers<AbortSignal>();
  const reason = Promise.withResolvers<unknown>();
  class Handler extends BaseRequestHandler {
    override async handle() {
      const { signal } = this;
      assertStrictEquals(signal, this.signal);
      running.resolve(signal);
      await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
      reason.resolve(signal.reason);
    }
  }
  const server = new TCPServer(LOOPBACK, Handler);
  const serving = server.serveForever();
  using conn = await Deno.connect(server.serverAddress);
  const signal = await running.promise;
  assertEquals(signal.aborted, false);
  assertEquals(await server.drain({ timeout: 20 }), { completed: 0, aborted: 1 });
  assertEquals((await reason.promise as Error).name, "AbortError");
  await serving;
  assertEquals(await conn.read(new Uint8Array(1)), null);
});

Deno.test("BaseRequestHandler.signal is not aborted by the end of a request", async () => {
  const signals: AbortSignal[] = [];
  let later: BaseRequestHandler | undefined;
  class Handler extends BaseRequestHandler {
    override handle() {
      signals.push(this.signal);
      later = this;
    }
  }
  await serveOne(Handler);
  assertEquals(signals[0]!.aborted, false);
  assertEquals(later!.signal.aborted, true); // asked for when there is nothing left to do
});

Deno.test("BaseRequestHandler may declare the type of its server", async () => {
  class GreetingServer extends TCPServer {
    readonly greeting = "hello from the server";
  }
  class Handler extends StreamRequestHandler {
    declare readonly server: GreetingServer;
    override async handle() {
      await this.wfile.write(this.server.greeting);
    }
  }
  await using started = start(new GreetingServer(LOOPBACK, Handler));
  assertEquals(await exchange(started.server.serverAddress, ""), "hello from the server");
});

Deno.test("A function as a handler gets the request, the address and the server", async () => {
  const seen: unknown[] = [];
  const handler = async (
    request: StreamSocket,
    clientAddress: SocketAddress,
    server: AnyServer,
  ) => {
    seen.push(clientAddress, server);
    await request.sendAll(await request.recv());
  };
  await using server = new RecordingServer(LOOPBACK, handler);
  const handled = server.handleRequest();
  using conn = await Deno.connect(server.serverAddress);
  await writeAll(conn, bytes("by function"));
  assertEquals(text(await readAll(conn)), "by function");
  await handled;
  assertEquals(seen, [conn.localAddr as unknown, server]);
});

Deno.test("A function as a handler may be synchronous, and any kind of function", async () => {
  const answers: Record<string, StreamHandler> = {
    arrow: (request: StreamSocket) => void request.sendAll("arrow"),
    value: (request: StreamSocket) => {
      request.sendAll("value");
      return { ignored: true };
    },
    method: {
      method(request: StreamSocket) {
        request.sendAll("method");
      },
    }.method,
    bound: function (this: string, request: StreamSocket) {
      request.sendAll(this);
    }.bind("bound"),
    classy: function classy(request: StreamSocket) {
      request.sendAll("classy");
    },
  };
  for (const [name, handler] of Object.entries(answers)) {
    assertEquals(await serveOne(handler), { got: name, errors: [] });
  }
});

Deno.test("A function as a handler that fails ends its request and no other", async () => {
  const failing: StreamHandler[] = [
    () => {
      throw new Error("at once");
    },
    () => Promise.reject(new Error("later")),
    () => {
      throw undefined;
    },
  ];
  let turn = 0;
  const handler = (request: StreamSocket, address: SocketAddress, server: AnyServer) => {
    const fail = failing[turn++] as ((...args: unknown[]) => unknown) | undefined;
    return fail === undefined ? request.sendAll("fine") : fail(request, address, server);
  };
  await using started = start(new RecordingServer(LOOPBACK, handler));
  const { server } = started;
  for (const _ of failing) assertEquals(await exchange(server.serverAddress, ""), "");
  assertEquals(await exchange(server.serverAddress, ""), "fine");
  assertEquals(server.errors.map((error) => (error as Error)?.message), [
    "at once",
    "later",
    undefined,
  ]);
});

Deno.test("A server's requestSignal() is for handlers that are functions", async () => {
  const aborted = Promise.withResolvers<void>();
  const running = Promise.withResolvers<void>();
  const handler = (request: StreamSocket, _address: SocketAddress, server: AnyServer) => {
    server.requestSignal(request).addEventListener("abort", () => aborted.resolve());
    running.resolve();
    return aborted.promise;
  };
  const server = new TCPServer(LOOPBACK, handler);
  const serving = server.serveForever();
  using _conn = await Deno.connect(server.serverAddress);
  await running.promise;
  assertEquals((await server.drain({ timeout: 20 })).aborted, 1);
  await aborted.promise;
  await serving;
});

Deno.test("A server rejects what is no handler when it is made", () => {
  class Orphan {
    handle() {}
  }
  for (const wrong of [Orphan, new Orphan(), {}, undefined, null, "handler", 5]) {
    const handler = wrong as never;
    const path = tempSocketPath();
    assertThrows(() => new TCPServer(LOOPBACK, handler), TypeError, "request handler");
    assertThrows(() => new UDPServer(LOOPBACK, handler), TypeError, "request handler");
    assertThrows(() => new UnixStreamServer({ path }, handler), TypeError, "request handler");
    assertThrows(() => new UnixDatagramServer({ path }, handler), TypeError, "request handler");
  }
  const error = assertThrows(() => new TCPServer(LOOPBACK, Orphan as never), TypeError);
  assertStringIncludes(error.message, "Orphan");
});

Deno.test("A server takes a handler class that is no subclass but has the three steps", async () => {
  class Shaped {
    constructor(readonly request: StreamSocket) {}
    setup() {}
    handle() {
      return this.request.sendAll("shaped");
    }
    finish() {}
  }
  assertEquals(await serveOne(Shaped), { got: "shaped", errors: [] });
});

Deno.test("StreamRequestHandler echoes with rfile and wfile over TCP and Unix", async () => {
  class Echo extends StreamRequestHandler {
    override disableNagleAlgorithm = true;
    override async handle() {
      assertStrictEquals(this.connection, this.request);
      assertInstanceOf(this.rfile, BufferedReader);
      assertInstanceOf(this.wfile, BufferedWriter);
      assertStrictEquals(this.rfile, this.rfile);
      assertStrictEquals(this.wfile, this.wfile);
      for await (const line of this.rfile) await this.wfile.write(line);
    }
  }
  for (const family of FAMILIES.filter((family) => !family.datagram)) {
    const logger = new ListLogger();
    await using started = start(family.make(Echo as never, { logger }));
    for (let client = 0; client < 3; client++) {
      assertEquals(await family.ask(started.server.serverAddress, "a\nb\nc"), "a\nb\nc");
    }
    assertEquals(logger.lines, [], family.name);
  }
});

Deno.test("StreamRequestHandler has Python's settings by default", async () => {
  let settings: unknown;
  class Handler extends StreamRequestHandler {
    override handle() {
      const { timeout, rbufsize, wbufsize, disableNagleAlgorithm, maxLineLength } = this;
      settings = { timeout, rbufsize, wbufsize, disableNagleAlgorithm, maxLineLength };
    }
  }
  await serveOne(Handler);
  assertEquals(settings, {
    timeout: null,
    rbufsize: -1,
    wbufsize: 0,
    disableNagleAlgorithm: false,
    maxLineLength: 65536,
  });
});

Deno.test("StreamRequestHandler.timeout ends a request whose client is silent", async () => {
  class Handler extends StreamRequestHandler {
    override timeout = 50;
    override async handle() {
      await this.wfile.write(await this.rfile.readline());
    }
  }
  const logger = new ListLogger();
  const tcp = new TCPServer(LOOPBACK, Handler, { logger });
  const unix = new UnixStreamServer({ path: tempSocketPath() }, Handler, { logger });
  for (const server of [tcp, unix]) {
    await using started = start<TCPServer | UnixStreamServer>(server);
    const { serverAddress } = started.server;
    using conn = await connect(serverAddress);
    await writeAll(conn, bytes("no end of line"));
    assertEquals(text(await readAll(conn)), "");
    assertEquals(await exchange(serverAddress, "in time\n"), "in time\n");
  }
  assertEquals(logger.lines.length, 2, logger.lines.join("\n"));
  for (const line of logger.lines) assertStringIncludes(line, "50 ms");
});

Deno.test("StreamRequestHandler.timeout loses nothing of a line or a frame that was on its way", async () => {
  class Handler extends StreamRequestHandler {
    override timeout = 30;
    override async handle() {
      for (const read of [() => this.rfile.readline(), () => this.rfile.readExactly(4)]) {
        await assertRejects(read, Deno.errors.TimedOut);
        this.request.timeout = 60_000;
        await this.wfile.write("k"); // the rest is sent only now
        await this.wfile.write(await read());
        this.request.timeout = 30;
      }
    }
  }
  await using server = new RecordingServer(LOOPBACK, Handler);
  const handled = server.handleRequest();
  using conn = await connect(server.serverAddress);
  for (const [first, rest] of [["li", "ne\n"], ["f", "our"]] as const) {
    await writeAll(conn, bytes(first));
    assertEquals(text(await readExactly(conn, 1)), "k");
    await writeAll(conn, bytes(rest));
    assertEquals(text(await readExactly(conn, first.length + rest.length)), first + rest);
  }
  await handled;
  assertEquals(server.errors, []);
});

Deno.test("StreamRequestHandler.timeout out of range fails the request, in setup()", async () => {
  class Handler extends StreamRequestHandler {
    override timeout = -5;
    override handle() {
      throw new Error("must not run");
    }
  }
  const { errors } = await serveOne(Handler);
  assertInstanceOf(errors[0], RangeError);
});

Deno.test("StreamRequestHandler.rbufsize 0 leaves what was not asked for in the socket", async () => {
  const make = (size: number) =>
    class extends StreamRequestHandler {
      override rbufsize = size;
      override async handle() {
        const head = await this.rfile.readline();
        const rest = size === 0 ? await this.request.recv() : await this.rfile.read1();
        await this.wfile.write(`${text(head)}${text(rest)}`);
      }
    };
  for (const size of [0, 10, -1]) {
    assertEquals(await serveOne(make(size), "head\nrest"), { got: "head\nrest", errors: [] });
  }
});

Deno.test("StreamRequestHandler.wbufsize keeps writes until it is full or flushed", async () => {
  const make = (size: number) =>
    class extends StreamRequestHandler {
      override wbufsize = size;
      override async handle() {
        await this.wfile.write("written;");
        await this.request.sendAll("sent;");
        await this.wfile.flush();
        await this.request.sendAll("sent again;");
        await this.wfile.write("last;"); // left to finish()
      }
    };
  const order = async (size: number) => (await serveOne(make(size))).got;
  assertEquals(await order(0), "written;sent;sent again;last;");
  assertEquals(await order(1), "written;sent;sent again;last;");
  assertEquals(await order(-1), "sent;written;sent again;last;");
  assertEquals(await order(100), "sent;written;sent again;last;");
});

Deno.test("StreamRequestHandler sends writes that nobody awaited, in order and in full", async () => {
  const big = "x".repeat(4 * MIB);
  const make = (size: number) =>
    class extends StreamRequestHandler {
      override wbufsize = size;
      override handle() {
        this.wfile.write("first;");
        this.wfile.write(big);
        this.wfile.write("last;");
      }
    };
  for (const size of [0, 10, -1]) {
    const { got, errors } = await serveOne(make(size));
    assertEquals([got.length, got.slice(0, 6), got.slice(-5)], [
      11 + big.length,
      "first;",
      "last;",
    ]);
    assertEquals(errors, []);
  }
});

Deno.test("StreamRequestHandler.disableNagleAlgorithm is applied in setup()", async () => {
  const calls: (boolean | undefined)[] = [];
  class RecordingSocket extends StreamSocket {
    override setNoDelay(noDelay?: boolean): void {
      calls.push(noDelay);
      super.setNoDelay(noDelay);
    }
  }
  class Server extends TCPServer {
    override async getRequest(): Promise<[StreamSocket, Deno.NetAddr & { transport: "tcp" }]> {
      const conn = await this.socket.accept();
      return [new RecordingSocket(conn), conn.remoteAddr as Deno.NetAddr & { transport: "tcp" }];
    }
  }
  const serve = async (disable: boolean) => {
    class Handler extends StreamRequestHandler {
      override disableNagleAlgorithm = disable;
      override async handle() {
        await this.wfile.write("served");
      }
    }
    await using started = start(new Server(LOOPBACK, Handler));
    assertEquals(await exchange(started.server.serverAddress, ""), "served");
    return calls.splice(0);
  };
  assertEquals(await serve(true), [true]);
  assertEquals(await serve(false), []);
});

Deno.test("StreamRequestHandler.maxLineLength bounds the lines of rfile", async () => {
  class Handler extends StreamRequestHandler {
    override maxLineLength = 16;
    override async handle() {
      for await (const line of this.rfile) await this.wfile.write(line);
    }
  }
  const logger = new ListLogger();
  await using started = start(new TCPServer(LOOPBACK, Handler, { logger }));
  const { serverAddress } = started.server;
  const fits = `${"x".repeat(15)}\n`;
  assertEquals(await exchange(serverAddress, fits + fits), fits + fits);
  assertEquals(await exchange(serverAddress, `${fits}${"y".repeat(17)}\n`), fits);
  assertEquals(await exchange(serverAddress, "next\n"), "next\n");
  assertEquals(logger.lines.length, 1);
  assertStringIncludes(logger.lines[0]!, "16 bytes");
});

Deno.test("StreamRequestHandler may answer a line that is too long before it closes", async () => {
  class Handler extends StreamRequestHandler {
    override maxLineLength = 8;
    override async handle() {
      const error = await assertRejects(() => this.rfile.readline(), LineTooLongError);
      await this.wfile.write(`too long: ${text(await this.rfile.read(4))}, limit ${error.limit}`);
      await this.rfile.read();
    }
  }
  const { got, errors } = await serveOne(Handler, "0123456789\n");
  assertEquals([got, errors], ["too long: 0123, limit 8", []]);
});

Deno.test("StreamRequestHandler whose setup() does not call super still has rfile and wfile", async () => {
  class Handler extends StreamRequestHandler {
    override setup() {}
    override async handle() {
      await this.wfile.write(await this.rfile.readline());
    }
  }
  assertEquals(await serveOne(Handler, "hello\n"), { got: "hello\n", errors: [] });
});

Deno.test("StreamRequestHandler.finish() flushes also when handle() failed", async () => {
  class Handler extends StreamRequestHandler {
    override wbufsize = -1;
    override async handle() {
      await this.wfile.write("500 sorry");
      throw new Error("broken");
    }
  }
  const { got, errors } = await serveOne(Handler);
  assertEquals(got, "500 sorry");
  assertEquals(errors.map((error) => (error as Error).message), ["broken"]);
});

Deno.test("StreamRequestHandler.finish() may find wfile closed", async () => {
  class Handler extends StreamRequestHandler {
    override wbufsize = -1;
    override async handle() {
      await this.wfile.write("all");
      await this.wfile.close();
    }
  }
  assertEquals(await serveOne(Handler), { got: "all", errors: [] });
});

Deno.test("StreamRequestHandler.finish() ignores a client that has gone, and only that", async () => {
  class Handler extends StreamRequestHandler {
    override wbufsize = -1;
    override async handle() {
      await this.rfile.read().catch(() => {}); // until the client is gone
      await this.wfile.write("nobody hears this");
    }
  }
  await using started = start(new RecordingServer(LOOPBACK, Handler));
  const { server } = started;
  const client = await resettable(server.serverAddress);
  await until(() => server.stats().active === 1);
  await reset(client);
  await until(() => server.stats().active === 0);
  assertEquals(server.errors, []);
  assertEquals(server.stats().completed, 1);
});

Deno.test("StreamRequestHandler.finish() reports a client that does not read", async () => {
  class Handler extends StreamRequestHandler {
    override timeout = 50;
    override wbufsize = -1;
    override handle() {
      this.wfile.write(new Uint8Array(64 * MIB));
      this.wfile.write("more");
    }
  }
  await using server = new RecordingServer(LOOPBACK, Handler);
  const handled = server.handleRequest();
  using _client = await Deno.connect(server.serverAddress);
  await handled;
  assertEquals(server.errors.length, 1);
  assertInstanceOf(server.errors[0], Deno.errors.TimedOut);
});

Deno.test("StreamRequestHandler does not fail when handle() closed the connection", async () => {
  class Handler extends StreamRequestHandler {
    override timeout = 60_000;
    override async handle() {
      await this.wfile.write("bye");
      this.request.close();
    }
  }
  assertEquals(await serveOne(Handler), { got: "bye", errors: [] });
});

Deno.test("StreamRequestHandler that closed the connection on unsent bytes is told so", async () => {
  class Handler extends StreamRequestHandler {
    override wbufsize = -1;
    override async handle() {
      await this.wfile.write("never sent");
      this.request.close();
    }
  }
  const { got, errors } = await serveOne(Handler);
  assertEquals([got, errors.length], ["", 1]);
  assertInstanceOf(errors[0], Deno.errors.BadResource);
  assertStringIncludes(errors[0].message, "the connection is closed");
});

Deno.test("StreamRequestHandler.rfile and wfile may be replaced", async () => {
  const sent: string[] = [];
  class Handler extends StreamRequestHandler {
    override async handle() {
      const first = text(await this.rfile.readline());
      this.rfile = BufferedReader.fromBytes(bytes("from elsewhere\n"));
      await this.wfile.write(first + text(await this.rfile.readline()));
      this.wfile = new BufferedWriter({
        sendAll: (data) => {
          sent.push(text(data));
          return Promise.resolve();
        },
      }, { bufferSize: -1 });
      await this.wfile.write("to elsewhere"); // left to finish()
    }
  }
  assertEquals(await serveOne(Handler, "from here\n"), {
    got: "from here\nfrom elsewhere\n",
    errors: [],
  });
  assertEquals(sent, ["to elsewhere"]);
});

Deno.test("StreamRequestHandler serves a dialogue, line by line", async () => {
  class Handler extends StreamRequestHandler {
    override timeout = 10_000;
    override async handle() {
      await this.wfile.write("220 hello\r\n");
      for await (const line of this.rfile.lines()) {
        if (line === "QUIT") break;
        await this.wfile.write(`250 ${line}\r\n`);
      }
      await this.wfile.write("221 bye\r\n");
    }
  }
  await using started = start(new TCPServer(LOOPBACK, Handler));
  using conn = await connect(started.server.serverAddress);
  assertEquals(text(await readExactly(conn, 11)), "220 hello\r\n");
  await writeAll(conn, bytes("HELO\r\n"));
  assertEquals(text(await readExactly(conn, 10)), "250 HELO\r\n");
  await writeAll(conn, bytes("QUIT\r\n"));
  assertEquals(text(await readAll(conn)), "221 bye\r\n");
});

/** Never called: the checker is the test, which fails on a line that it should refuse and does not. */
export function handlersOfTheWrongFamilyDoNotCompile(): void {
  class Stream extends StreamRequestHandler {}
  class Datagram extends DatagramRequestHandler {}
  class Base extends BaseRequestHandler {}
  class Packets extends BaseRequestHandler<DatagramRequest> {}
  class Anything extends BaseRequestHandler<unknown> {}
  const path = "/never";

  new TCPServer(LOOPBACK, Stream);
  new TCPServer(LOOPBACK, Base);
  new TCPServer(LOOPBACK, Anything);
  new UnixStreamServer({ path }, Stream);
  new UDPServer(LOOPBACK, Datagram);
  new UDPServer(LOOPBACK, Packets);
  new UDPServer(LOOPBACK, Anything);
  new UnixDatagramServer({ path }, Datagram);

  // @ts-expect-error a datagram handler on a stream server
  new TCPServer(LOOPBACK, Datagram);
  // @ts-expect-error a datagram handler on a stream server
  new TCPServer(LOOPBACK, Packets);
  // @ts-expect-error a datagram handler on a stream server
  new UnixStreamServer({ path }, Datagram);
  // @ts-expect-error a stream handler on a datagram server
  new UDPServer(LOOPBACK, Stream);
  // @ts-expect-error a stream handler on a datagram server
  new UDPServer(LOOPBACK, Base);
  // @ts-expect-error a stream handler on a datagram server
  new UnixDatagramServer({ path }, Stream);
  // @ts-expect-error a datagram function on a stream server
  new TCPServer(LOOPBACK, ([data]: DatagramRequest) => data);
  // @ts-expect-error a stream function on a datagram server
  new UDPServer(LOOPBACK, (request: StreamSocket) => request.close());
  // @ts-expect-error a class that is no handler
  new TCPServer(LOOPBACK, class {});
  // @ts-expect-error a path where there must be a host and a port
  new TCPServer({ path }, Stream);
  // @ts-expect-error a host and a port where there must be a path
  new UnixStreamServer(LOOPBACK, Stream);
}
