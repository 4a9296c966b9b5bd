/**
 * Settings: three ways to give them, and what is refused at the door.
 *
 * @module
 */
import {
  assertEquals,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  type AnyServer,
  BaseServer,
  ConcurrentTCPServer,
  ConcurrentUDPServer,
  ForkingTCPServer,
  PoolTCPServer,
  PoolTLSServer,
  StreamRequestHandler,
  TCPServer,
  ThreadingTCPServer,
  TLSServer,
  UDPServer,
  UnixDatagramServer,
  UnixStreamServer,
} from "@netkit/socketserver";
import { nameOf } from "../../src/base/errors.ts";
import { checkInteger, checkTime } from "../../src/base/options.ts";
import { StreamCommandHandler } from "../handlers.ts";
import {
  assertNoneOpened,
  ListLogger,
  LOOPBACK,
  openDescriptors,
  tempSocketPath,
  TLS,
  until,
} from "../harness.ts";

const serve = () => {};
const PEM = { cert: TLS.cert, key: TLS.key };

type Settings = Record<string, unknown>;

/** Makes servers of a class, with options as a program without types would give them. */
interface Kind {
  /** A server with the options; its class has the statics. */
  make(options: Settings, statics?: Settings): AnyServer;
  /** The settings of this kind, each with its default and with another good value. */
  settings: Record<string, { default: unknown; good: unknown }>;
  /** What must be refused: the class of the error and the values. */
  bad: Record<string, [typeof TypeError, unknown[]][]>;
}

const TIMES: [typeof TypeError, unknown[]][] = [
  [TypeError, ["5", true, {}, [], () => {}, 5n]],
  [RangeError, [-1, NaN, Infinity, -Infinity, 2 ** 31]],
];
const INTEGERS: [typeof TypeError, unknown[]][] = [
  [TypeError, ["5", true, {}, [], () => {}, 5n]],
  [RangeError, [0, -1, 1.5, NaN, Infinity, 2 ** 25]],
];
const BOOLEANS: [typeof TypeError, unknown[]][] = [[TypeError, ["yes", "", 0, 1, {}, []]]];
const LOGGERS: [typeof TypeError, unknown[]][] = [
  [TypeError, [3, "console", {}, { debug() {}, info() {}, warn() {} }]],
];
const COMMON = { timeout: TIMES, bindAndActivate: BOOLEANS, logger: LOGGERS };

/** A subclass whose statics are those given. */
function withStatics<Class extends abstract new (...args: never[]) => unknown>(
  make: () => Class,
  statics: Settings,
): Class {
  return Object.assign(make(), statics);
}

const KINDS: Record<string, Kind> = {
  TCPServer: {
    make(options, statics = {}) {
      const Server = withStatics(() => class extends TCPServer {}, statics);
      return new Server(LOOPBACK, serve, options);
    },
    settings: {
      timeout: { default: null, good: 250 },
      requestQueueSize: { default: 511, good: 16 },
      allowReuseAddress: { default: true, good: true },
      allowReusePort: { default: false, good: true },
    },
    bad: {
      ...COMMON,
      requestQueueSize: INTEGERS,
      allowReuseAddress: [...BOOLEANS, [TypeError, [false]]],
      allowReusePort: BOOLEANS,
    },
  },
  TLSServer: {
    make(options, statics = {}) {
      const Server = withStatics(() => class extends TLSServer {}, statics);
      return new Server(LOOPBACK, serve, { ...PEM, ...options });
    },
    settings: {
      timeout: { default: null, good: 250 },
      requestQueueSize: { default: 511, good: 16 },
      handshakeTimeout: { default: 10_000, good: null },
      allowReusePort: { default: false, good: true },
    },
    bad: {
      ...COMMON,
      requestQueueSize: INTEGERS,
      allowReuseAddress: [...BOOLEANS, [TypeError, [false]]],
      allowReusePort: BOOLEANS,
      handshakeTimeout: [...TIMES, [RangeError, [0]]],
      alpnProtocols: [[TypeError, ["h2", 7, [7], [""], [null]]]],
    },
  },
  UDPServer: {
    make(options, statics = {}) {
      const Server = withStatics(() => class extends UDPServer {}, statics);
      return new Server(LOOPBACK, serve, options);
    },
    settings: {
      timeout: { default: null, good: 0 },
      maxPacketSize: { default: 65507, good: 512 },
      allowReuseAddress: { default: false, good: true },
      allowReusePort: { default: false, good: false },
    },
    bad: {
      ...COMMON,
      maxPacketSize: INTEGERS,
      allowReuseAddress: BOOLEANS,
      allowReusePort: [...BOOLEANS, [TypeError, [true]]],
    },
  },
  UnixStreamServer: {
    make(options, statics = {}) {
      const Server = withStatics(() => class extends UnixStreamServer {}, statics);
      return new Server({ path: tempSocketPath() }, serve, options);
    },
    settings: { timeout: { default: null, good: 250 } },
    bad: COMMON,
  },
  UnixDatagramServer: {
    make(options, statics = {}) {
      const Server = withStatics(() => class extends UnixDatagramServer {}, statics);
      return new Server({ path: tempSocketPath() }, serve, options);
    },
    settings: {
      timeout: { default: null, good: 250 },
      maxPacketSize: { default: 65507, good: 200_000 },
    },
    bad: { ...COMMON, maxPacketSize: INTEGERS },
  },
};

function read(server: AnyServer, name: string): unknown {
  return (server as unknown as Settings)[name];
}

/** How a message may write a value: as it is, or as one writes it in a program. */
function assertNamesValue(message: string, value: unknown): void {
  const forms = [Deno.inspect(value), String(value), JSON.stringify(value)];
  if (!forms.some((form) => form && message.includes(form))) {
    throw new Error(`"${message}" does not name the value ${Deno.inspect(value)}`);
  }
}

for (const [kind, { make, settings, bad }] of Object.entries(KINDS)) {
  for (const [name, { default: usual, good }] of Object.entries(settings)) {
    Deno.test(`${kind}.${name} is ${usual} unless set, and is set by class, option or instance`, async () => {
      await using byDefault = make({});
      assertStrictEquals(read(byDefault, name), usual);

      await using byClass = make({}, { [name]: good });
      assertStrictEquals(read(byClass, name), good);

      await using byOption = make({ [name]: good }, { [name]: usual });
      assertStrictEquals(read(byOption, name), good);

      await using byInstance = make({ bindAndActivate: false });
      (byInstance as unknown as Settings)[name] = good;
      byInstance.serverBind();
      byInstance.serverActivate();
      assertStrictEquals(read(byInstance, name), good);
    });
  }

  for (const [name, cases] of Object.entries(bad)) {
    for (const [ErrorClass, values] of cases) {
      const listed = values.map((value) =>
        Deno.inspect(value, { compact: true, breakLength: Infinity })
      ).join(", ");
      Deno.test(`${kind}() throws a ${ErrorClass.name} when '${name}' is ${listed}`, () => {
        const before = openDescriptors();
        for (const value of values) {
          const { message } = assertThrows(
            () => void make({ [name]: value }).serverClose(),
            ErrorClass,
            undefined,
            `'${name}' may not be ${Deno.inspect(value)}`,
          );
          assertStringIncludes(message, `'${name}'`);
          assertNoneOpened(before);
        }
      });
    }
  }

  Deno.test(`${kind}() names the value that it refuses`, () => {
    const { message } = assertThrows(() => make({ timeout: -77 }), RangeError);
    assertNamesValue(message, -77);
    assertNamesValue(assertThrows(() => make({ timeout: "soon" }), TypeError).message, "soon");
  });

  Deno.test(`${kind}() refuses a bad static as it does a bad option`, () => {
    const error = assertThrows(() => make({}, { timeout: -1 }), RangeError);
    assertStringIncludes(error.message, "'timeout'");
  });

  Deno.test(`${kind}() takes an option that is undefined for one that is not given`, async () => {
    const options = Object.fromEntries(Object.keys(bad).map((name) => [name, undefined]));
    await using server = make(options);
    for (const [name, { default: usual }] of Object.entries(settings)) {
      assertStrictEquals(read(server, name), usual);
    }
  });

  Deno.test(`${kind}() opens nothing when bindAndActivate is false`, () => {
    const before = openDescriptors();
    const server = make({ bindAndActivate: false });
    assertNoneOpened(before);
    assertEquals(server.socket, undefined);
    assertEquals(server.state, "idle");
  });
}

for (
  const [kind, name, value, ErrorClass] of [
    ["TCPServer", "requestQueueSize", 0, RangeError],
    ["TCPServer", "allowReuseAddress", false, TypeError],
    ["TLSServer", "requestQueueSize", "many", TypeError],
    ["TLSServer", "handshakeTimeout", -5, RangeError],
    ["UDPServer", "maxPacketSize", 0, RangeError],
    ["UDPServer", "allowReusePort", true, TypeError],
    ["UnixDatagramServer", "maxPacketSize", 0, RangeError],
  ] as const
) {
  Deno.test(`${kind}.serverBind() refuses ${name} = ${value} on the instance`, () => {
    const before = openDescriptors();
    const server = KINDS[kind]!.make({ bindAndActivate: false });
    (server as unknown as Settings)[name] = value;
    const error = assertThrows(() => server.serverBind(), ErrorClass);
    assertStringIncludes(error.message, `'${name}'`);
    assertNoneOpened(before);
  });
}

Deno.test("TCPServer() says why allowReuseAddress cannot be false", () => {
  const error = assertThrows(
    () => new TCPServer(LOOPBACK, serve, { allowReuseAddress: false }),
    TypeError,
  );
  assertEquals(
    error.message,
    "Cannot set option 'allowReuseAddress' to false: Deno always sets SO_REUSEADDR on TCP",
  );
});

Deno.test("TCPServer.allowReusePort lets two servers share a port", async () => {
  await using first = new TCPServer(LOOPBACK, serve, { allowReusePort: true });
  await using second = new TCPServer(first.serverAddress, serve, { allowReusePort: true });
  assertEquals(second.serverAddress, first.serverAddress);
});

Deno.test("TCPServer.handleRequest() refuses a timeout that is out of range", async () => {
  await using server = new TCPServer(LOOPBACK, serve);
  server.timeout = -1;
  const error = await assertRejects(() => server.handleRequest(), RangeError);
  assertStringIncludes(error.message, "'timeout'");
});

for (const pollInterval of [0, -1, NaN, "soon" as unknown as number]) {
  Deno.test(`TCPServer.serveForever() refuses a pollInterval of ${pollInterval}`, async () => {
    await using server = new TCPServer(LOOPBACK, serve);
    const error = await assertRejects(() => server.serveForever({ pollInterval }));
    assertEquals([RangeError, TypeError].includes(error!.constructor as typeof TypeError), true);
    assertStringIncludes((error as Error).message, "'pollInterval'");
    assertEquals(server.state, "idle");
  });
}

for (const timeout of [-1, NaN, "soon" as unknown as number]) {
  Deno.test(`TCPServer.drain() refuses a timeout of ${timeout} and the server goes on`, async () => {
    await using server = new TCPServer(LOOPBACK, serve);
    const error = await assertRejects(() => server.drain({ timeout }));
    assertStringIncludes((error as Error).message, "'timeout'");
    assertEquals(server.state, "idle");
  });
}

for (const handler of [undefined, null, 7, "handler", {}, class Other {}]) {
  Deno.test(`TCPServer() throws a TypeError when the handler is ${Deno.inspect(handler)}`, () => {
    const before = openDescriptors();
    const error = assertThrows(() => new TCPServer(LOOPBACK, handler as never), TypeError);
    assertStringIncludes(error.message, "as request handler: ");
    assertNoneOpened(before);
  });
}

Deno.test("BaseServer.timeout is the default of every server", async () => {
  assertEquals(BaseServer.timeout, null);
  for (const { make } of Object.values(KINDS)) {
    await using server = make({});
    assertEquals(server.timeout, null);
  }
});

Deno.test("TCPServer.logger is the one of the options", async () => {
  const logger = new ListLogger();
  await using server = new TCPServer(LOOPBACK, serve, { logger });
  assertStrictEquals(server.logger, logger);
});

Deno.test("checkInteger() gives the value back at both ends of its range", () => {
  assertEquals([1, 8].map((value) => checkInteger("size", value, 1, 8)), [1, 8]);
  for (const value of [0, 9]) {
    const error = assertThrows(() => checkInteger("size", value, 1, 8), RangeError);
    assertEquals(
      error.message,
      `Cannot use option 'size': expected an integer from 1 to 8, got ${value}`,
    );
  }
});

Deno.test("checkTime() gives the value back, or null, at both ends of its range", () => {
  assertEquals([null, 0, 0.5, 2147483647].map((value) => checkTime("time", value)), [
    null,
    0,
    0.5,
    2147483647,
  ]);
  assertThrows(() => checkTime("time", 0, 1), RangeError);
  assertThrows(() => checkTime("time", 2147483648), RangeError);
});

/** How a test makes a server of any class: with the options, and with fields that its own class declares. */
type MakeWith = (options: Settings, fields?: Settings) => AnyServer;

/** Makes servers with fields, which come when the constructors of the base have run. */
function withFields(Base: new (...args: never[]) => AnyServer, ...args: unknown[]): MakeWith {
  const [address = LOOPBACK, more = {}] = args;
  return (options, fields = {}) => {
    const all = [address, Base === UDPServer ? serve : StreamCommandHandler, {
      ...more as Settings,
      ...options,
    }];
    const server = new Base(...all as never[]);
    for (const [name, value] of Object.entries(fields)) {
      const field = { value, writable: true, configurable: true, enumerable: true };
      Object.defineProperty(server, name, field);
    }
    return server;
  };
}

const COUNTS = { good: 3, bad: [0, -1, 1.5, "5", null] };
const NUMBERS = { good: 3, bad: [-1, 1.5, NaN, "5", null] };
const LIMITS = { good: 250, bad: [0, -1, NaN, "5", 2 ** 31] };
const IDLE_TIMES = { good: 250, bad: [-1, NaN, "5", 2 ** 31] };
const FLAGS = { good: false, bad: ["yes", 0, null] };
const PER_SOURCE = { good: 3, bad: [0, -1, 1.5, "5"] };
const CONCURRENT = {
  maxConnectionsPerSource: PER_SOURCE,
  requestTimeout: LIMITS,
  blockOnClose: FLAGS,
};

/** The settings that count when a server serves, of every kind of server that has some. */
const SERVING: Record<string, [MakeWith, Record<string, { good: unknown; bad: unknown[] }>]> = {
  TCPServer: [withFields(TCPServer), { timeout: IDLE_TIMES }],
  TLSServer: [withFields(TLSServer, LOOPBACK, PEM), {
    timeout: IDLE_TIMES,
    handshakeTimeout: LIMITS,
  }],
  UDPServer: [withFields(UDPServer), { timeout: IDLE_TIMES }],
  ConcurrentTCPServer: [withFields(ConcurrentTCPServer), { maxConnections: COUNTS, ...CONCURRENT }],
  ConcurrentUDPServer: [withFields(ConcurrentUDPServer), { maxConnections: COUNTS, ...CONCURRENT }],
  ThreadingTCPServer: [withFields(ThreadingTCPServer), {
    ...CONCURRENT,
    maxThreads: COUNTS,
    minSpareThreads: NUMBERS,
    threadIdleTimeout: IDLE_TIMES,
    maxRequestsPerThread: NUMBERS,
    daemonThreads: FLAGS,
  }],
  ForkingTCPServer: [withFields(ForkingTCPServer), {
    ...CONCURRENT,
    timeout: IDLE_TIMES,
    maxChildren: COUNTS,
    minSpareChildren: NUMBERS,
    maxRequestsPerChild: NUMBERS,
    childIdleTimeout: IDLE_TIMES,
    childPermissions: { good: ["--allow-env"], bad: ["--allow-env", [7], ["allow-env"]] },
    childEnv: { good: { HOME: "/" }, bad: ["HOME=/", { HOME: 7 }, null] },
  }],
  PoolTCPServer: [withFields(PoolTCPServer), {
    workers: COUNTS,
    maxConnectionsPerWorker: COUNTS,
    requestTimeout: LIMITS,
    blockOnClose: FLAGS,
  }],
  PoolTLSServer: [withFields(PoolTLSServer, LOOPBACK, PEM), {
    workers: COUNTS,
    requestTimeout: LIMITS,
    handshakeTimeout: LIMITS,
  }],
};

/** The settings that a server is bound with. */
const BINDING: Record<string, [MakeWith, Record<string, unknown>]> = {
  TCPServer: [withFields(TCPServer), { requestQueueSize: 7, allowReusePort: true }],
  TLSServer: [withFields(TLSServer, LOOPBACK, PEM), { requestQueueSize: 7, allowReusePort: true }],
  UDPServer: [withFields(UDPServer), { maxPacketSize: 512, allowReuseAddress: true }],
  ThreadingTCPServer: [withFields(ThreadingTCPServer), { requestQueueSize: 7 }],
  ForkingTCPServer: [withFields(ForkingTCPServer), { requestQueueSize: 7 }],
  PoolTCPServer: [withFields(PoolTCPServer), { requestQueueSize: 7 }],
};

for (const [kind, [make, settings]] of Object.entries(SERVING)) {
  for (const [name, { good, bad }] of Object.entries(settings)) {
    Deno.test(`fault 34: ${kind}.${name} as a field of a subclass counts when it serves`, async () => {
      const server = make({}, { [name]: good });
      server.checkSettings();
      assertStrictEquals(read(server, name), good);
      // The setter, if there is one, has got it: it checks what is set now.
      if (!(name in TCPServer) && name !== "timeout" && name !== "handshakeTimeout") {
        assertEquals(Object.hasOwn(server, name), false);
      }
      await server.serverClose();
    });

    Deno.test(`fault 34: ${kind}.serveForever() refuses each bad value of ${name} that is a field`, async () => {
      for (const value of bad) {
        const server = make({}, { [name]: value });
        for (const attempt of ["first", "second"]) {
          const error = await assertRejects(() =>
            server.serveForever({ signal: AbortSignal.abort() })
          );
          const { constructor, message } = error as Error;
          assertEquals([TypeError, RangeError].includes(constructor as typeof TypeError), true);
          assertStringIncludes(message, `'${name}'`, attempt);
        }
        assertEquals(server.state, "idle");
        await server.serverClose();
      }
    });
  }
}

for (const [kind, [make, settings]] of Object.entries(BINDING)) {
  for (const [name, value] of Object.entries(settings)) {
    Deno.test(`fault 34: ${kind}.serveForever() says what to write when ${name} is a field, which is too late`, async () => {
      const server = make({}, { [name]: value });
      const error = await assertRejects(
        () => server.serveForever({ signal: AbortSignal.abort() }),
        TypeError,
      );
      assertStringIncludes(error.message, `'static override ${name} = ${value}'`);
      assertEquals(server.state, "idle");
      await server.serverClose();
    });

    Deno.test(`fault 34: ${kind}.${name} as a field counts for a server that is bound later`, async () => {
      const server = make({ bindAndActivate: false }, { [name]: value });
      server.serverBind();
      server.serverActivate();
      server.checkSettings();
      assertStrictEquals(read(server, name), value);
      await server.serverClose();
    });
  }
}

Deno.test("fault 34: ConcurrentTCPServer.maxConnections as a field is the limit of a running server", async () => {
  class OneAtATime extends ConcurrentTCPServer {
    override maxConnections = 1;
  }
  const go = Promise.withResolvers<void>();
  await using server = new OneAtATime(LOOPBACK, () => go.promise);
  const serving = server.serveForever();
  using first = await Deno.connect(server.serverAddress);
  using second = await Deno.connect(server.serverAddress);
  await until(() => server.stats().active === 1);
  go.resolve();
  await first.read(new Uint8Array(1));
  await second.read(new Uint8Array(1));
  assertEquals(server.stats().peak, 1);
  await server.shutdown();
  await serving;
});

Deno.test("fault 34: TCPServer.serveForever() refuses a limit that only concurrent servers have", async () => {
  await using server = withFields(TCPServer)({}, { maxConnections: 8 });
  const error = await assertRejects(
    () => server.serveForever({ signal: AbortSignal.abort() }),
    TypeError,
  );
  assertEquals(
    error.message,
    "Cannot use field 'maxConnections' with TCPServer: it has no such setting",
  );
});

Deno.test("fault 34: TCPServer.serveForever() takes a subclass's own field for no setting", async () => {
  class OwnWorkers extends TCPServer {
    workers = ["Ada", "Grace"];
  }
  await using server = new OwnWorkers(LOOPBACK, serve);
  const serving = server.serveForever();
  await server.shutdown();
  await serving;
  assertEquals(server.workers, ["Ada", "Grace"]);
});

Deno.test("fault 34: TCPServer.drain() ends at once when the server refuses to serve", async () => {
  const server = withFields(ConcurrentTCPServer)({}, { maxConnections: 0 });
  using _waiting = await Deno.connect(server.serverAddress as Deno.NetAddr & { transport: "tcp" });
  assertEquals(await server.drain({ timeout: null }), { completed: 0, aborted: 0 });
  assertEquals(server.state, "closed");
});

Deno.test("fault 35: a class without a name is named by its base in messages", () => {
  const classes: [() => new (...args: never[]) => AnyServer, string][] = [
    [() => class extends TCPServer {}, "with a subclass of TCPServer: it has no such setting"],
    [() => class extends ThreadingTCPServer {}, "of a subclass of ThreadingTCPServer: it runs"],
    [() => class extends ForkingTCPServer {}, "of a subclass of ForkingTCPServer: it runs"],
    [() => class extends PoolTCPServer {}, "of a subclass of PoolTCPServer: it runs"],
  ];
  for (const [make, expected] of classes) {
    const Server = make();
    const error = assertThrows(() =>
      new Server(...[LOOPBACK, serve, { maxThreads: 3 }] as never[])
    );
    assertStringIncludes((error as Error).message, expected);
  }
  const Handler = (() => class extends StreamRequestHandler {})();
  const error = assertThrows(() => new ThreadingTCPServer(LOOPBACK, Handler), TypeError);
  assertStringIncludes(error.message, '"a subclass of StreamRequestHandler"');
  assertEquals(nameOf((() => class {})()), "a class without a name");
});
