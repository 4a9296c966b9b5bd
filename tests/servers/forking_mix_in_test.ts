/**
 * ForkingMixIn: each request in a subprocess. All subprocesses here are real.
 *
 * @module
 */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertLess,
  assertMatch,
  assertNotEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  type AnyServer,
  ForkingMixIn,
  type ForkingOptions,
  ForkingTCPServer,
  ForkingUDPServer,
  ForkingUnixDatagramServer,
  HandlerLoadError,
  type ServerOptions,
  type SocketAddress,
  StreamRequestHandler,
  TCPServer,
  UDPServer,
  WorkerDiedError,
} from "@netkit/socketserver";
import { executorTimes } from "../../src/workers/relay/executor.ts";
import { ProcessWorker } from "../../src/workers/process/process_worker.ts";
import { delay } from "../../src/base/time.ts";
import { reset, resettable } from "../conversation.ts";
import {
  BlockingFloodHandler,
  BlockingHandler,
  BlockingTimeoutHandler,
  CachesHandler,
  DeafHandler,
  EchoHandler,
  ExitHandler,
  FloodHandler,
  FloodLogHandler,
  ForwardHandler,
  HalfCloseHandler,
  HeapHandler,
  hidden,
  HoldHandler,
  HomelessHandler,
  InheritHandler,
  IntruderHandler,
  LateUpperHandler,
  LooseHandler,
  PermissionHandler,
  PidHandler,
  PrintHandler,
  SealedHandler,
  SlowReaderHandler,
  SpawnHandler,
  SpinHandler,
  StubbornHandler,
  TalkativeHandler,
  ThrowHandler,
  TidyHandler,
  UpperHandler,
  WAYS,
} from "./forking_handlers.ts";
import { UnitCommandHandler } from "../handlers.ts";
import { GatedHandler } from "./gated_handlers.ts";
import {
  assertNoneOpened,
  bytes,
  CONFIG,
  connect,
  datagramExchange,
  exchange,
  listeningSockets,
  ListLogger,
  LOOPBACK,
  openDescriptors,
  readAll,
  readExactly,
  runProgram,
  start,
  tempFolder,
  tempSocketPath,
  text,
  until,
  withTimes,
  writeAll,
} from "../harness.ts";
import { childrenOf, isAlive, kill, processStat } from "../processes.ts";

const MOD = new URL("../../mod.ts", import.meta.url).href;
const HANDLERS = new URL("./forking_handlers.ts", import.meta.url).href;

type StreamHandlerClass = ConstructorParameters<typeof ForkingTCPServer>[1];

/** Keeps what it is told. */
class RecordingServer extends ForkingTCPServer {
  readonly errors: unknown[] = [];
  override handleError(error: unknown): void {
    this.errors.push(error);
  }
}

interface Fixture extends AsyncDisposable {
  server: RecordingServer;
  serving: Promise<void>;
  address: Deno.NetAddr;
  /** What was logged, as "level: message". */
  lines: string[];
  errors: unknown[];
}

/** Starts a server that keeps its errors and its log. */
function serve(handler: StreamHandlerClass, options: ServerOptions & ForkingOptions = {}): Fixture {
  const logger = new ListLogger();
  const server = new RecordingServer(LOOPBACK, handler, { logger, ...options });
  const { serverAddress, errors } = server;
  return { ...start(server), address: serverAddress as Deno.NetAddr, lines: logger.lines, errors };
}

/** Reads one line, byte by byte. */
async function readLine(conn: Deno.Conn): Promise<string> {
  let line = "";
  for (let char = ""; char !== "\n"; line += char) char = text(await readExactly(conn, 1));
  return line.trimEnd();
}

/** Connects and reads the first line, which a handler writes when it has begun. */
async function begin(address: SocketAddress, data = ""): Promise<[Deno.Conn, string]> {
  const conn = await connect(address);
  await writeAll(conn, bytes(data));
  return [conn, await readLine(conn)];
}

/** How many threads a process has, also one that has ended and was not reaped. */
function threadsOf(pid: number): number {
  try {
    return [...Deno.readDirSync(`/proc/${pid}/task`)].length;
  } catch {
    return 0; // it has been reaped
  }
}

/** The resident memory of this process, in bytes. */
function residentMemory(): number {
  return Deno.memoryUsage().rss;
}

/** A handler that a module of that URL would export. */
function handlerAt(moduleUrl: string, name: string): StreamHandlerClass {
  const Handler = class extends StreamRequestHandler {
    static override readonly moduleUrl: string = moduleUrl;
  };
  Object.defineProperty(Handler, "name", { value: name });
  return Handler;
}

/** Writes a module, for which the package is found by `childPermissions: [CONFIG_FLAG]`. */
function writeModule(source: string): string {
  const path = `${tempFolder()}/module.ts`;
  Deno.writeTextFileSync(path, source);
  return `file://${path}`;
}

const CONFIG_FLAG = `--config=${CONFIG}`;

/** A server program that runs, to be killed at the end of the scope. */
interface Program extends AsyncDisposable {
  pid: number;
  address: Deno.NetAddr;
  child: Deno.ChildProcess;
}

/** Starts a program that serves with a handler and prints its address; then it runs `then`. */
async function startProgram(handler: string, options: string, then = ""): Promise<Program> {
  const path = `${tempFolder()}/program.ts`;
  await Deno.writeTextFile(
    path,
    `import { ForkingTCPServer } from ${JSON.stringify(MOD)};
    import { ${handler} } from ${JSON.stringify(HANDLERS)};
    const server = new ForkingTCPServer({ hostname: "127.0.0.1", port: 0 }, ${handler}, ${options});
    const serving = server.serveForever();
    console.log(JSON.stringify(server.serverAddress));
    ${then}`,
  );
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "--quiet", "--config", CONFIG, path],
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const reader = child.stdout.getReader();
  const first = text((await reader.read()).value ?? new Uint8Array());
  reader.releaseLock();
  return {
    pid: child.pid,
    address: JSON.parse(first),
    child,
    async [Symbol.asyncDispose]() {
      kill(child.pid);
      await child.stdin.abort().catch(() => {}); // the program has ended
      await child.stdout.cancel();
      await child.status;
    },
  };
}

/** Resolves to what a condition needed, in milliseconds. */
async function timeUntil(condition: () => boolean, limit?: number): Promise<number> {
  const before = performance.now();
  await until(condition, limit);
  return performance.now() - before;
}

Deno.test("ForkingTCPServer serves each request in a process of its own by default", async () => {
  await using fixture = serve(PidHandler);
  const pids = new Set<string>();
  for (let n = 0; n < 3; n++) pids.add((await exchange(fixture.address, "")).split(" ")[0]!);
  assertEquals(pids.size, 3);
  assert(!pids.has(String(Deno.pid)));
});

Deno.test("ForkingTCPServer uses a process again as 'maxRequestsPerChild' says", async () => {
  for (const [maxRequestsPerChild, expected] of [[0, 1], [2, 2]] as const) {
    const options = { maxRequestsPerChild, minSpareChildren: 0 };
    await using fixture = serve(PidHandler, options);
    const pids = new Set<string>();
    for (let n = 0; n < 4; n++) pids.add(await exchange(fixture.address, ""));
    assertEquals(pids.size, expected);
  }
});

Deno.test("ForkingTCPServer gives handlers what requestContext() returns", async () => {
  class ContextServer extends ForkingTCPServer {
    override requestContext(): unknown {
      return { since: new Map([["a", 1n]]) };
    }
  }
  await using running = start(new ContextServer(LOOPBACK, PidHandler));
  const answer = await exchange(running.server.serverAddress, "");
  assertStringIncludes(answer, `{ since: Map(1) { "a" => 1n } }`);
});

Deno.test("test_forking_handled: handleError() gets the handler's error as it was thrown", async () => {
  await using fixture = serve(ThrowHandler);
  assertEquals(await exchange(fixture.address, "too much\n"), "");
  await until(() => fixture.errors.length > 0);
  const [error] = fixture.errors;
  assertInstanceOf(error, RangeError);
  assertEquals(error.message, "too much");
  assertStringIncludes(error.stack!, "ThrowHandler.handle");
  assertInstanceOf(error.cause, TypeError);
});

Deno.test("test_forking_not_handled: an error nobody handles is logged with the client, and the server goes on", async () => {
  const logger = new ListLogger();
  await using running = start(new ForkingTCPServer(LOOPBACK, ThrowHandler, { logger }));
  for (let n = 1; n <= 2; n++) {
    assertEquals(await exchange(running.server.serverAddress, `fault ${n}\n`), "");
    await until(() => logger.lines.length === n);
    assertMatch(
      logger.lines[n - 1]!,
      new RegExp(`^error: Cannot serve client "127.0.0.1:\\d+": RangeError: fault ${n}`),
    );
  }
});

Deno.test("test_forking_reaping: no child is left after serverClose(), and activeChildren is empty", async () => {
  await using fixture = serve(HoldHandler);
  const { server, address } = fixture;
  const [conn, pid] = await begin(address);
  using _ = conn;
  assertEquals([...server.activeChildren], [Number(pid)]);
  assert(childrenOf(Deno.pid).includes(Number(pid)));
  await writeAll(conn, bytes("now\n"));
  assertEquals(text(await readAll(conn)), "bye now\n");
  await server.serverClose();
  assertEquals(server.activeChildren.size, 0);
  assertEquals(childrenOf(Deno.pid), []);
});

Deno.test("ForkingTCPServer leaves other children of the program alone", async () => {
  const other = new Deno.Command("sleep", { args: ["60"], stdin: "null" }).spawn();
  try {
    {
      await using fixture = serve(PidHandler);
      await exchange(fixture.address, "");
      assert(!fixture.server.activeChildren.has(other.pid));
      await fixture.server.collectChildren({ blocking: true });
    }
    assert(isAlive(other.pid));
  } finally {
    other.kill("SIGKILL");
  }
  assertEquals((await other.status).signal, "SIGKILL"); // its status is still the program's to collect
});

Deno.test("ForkingTCPServer.serverClose() waits for running children when 'blockOnClose' says so", async () => {
  for (const blockOnClose of [true, false]) {
    await using fixture = serve(HoldHandler, { blockOnClose });
    const { server, address } = fixture;
    const [conn, pid] = await begin(address);
    using _ = conn;
    let isClosed = false;
    const closing = server.serverClose().then(() => isClosed = true);
    await until(() => server.state === "closed");
    if (!blockOnClose) await closing;
    assertEquals(isClosed, !blockOnClose);
    assert(isAlive(Number(pid)));
    await writeAll(conn, bytes("now\n"));
    assertEquals(text(await readAll(conn)), "bye now\n");
    await closing;
    await server.finished;
    assertEquals(childrenOf(Deno.pid), []);
  }
});

Deno.test("ForkingTCPServer.serverClose() waits for children that are coming up", async () => {
  {
    await using fixture = serve(PidHandler, { minSpareChildren: 3 });
    await until(() => childrenOf(Deno.pid).length > 0);
    assertEquals(fixture.server.stats().accepted, 0);
  }
  assertEquals(childrenOf(Deno.pid), []);
});

Deno.test("ForkingTCPServer.serverClose() does not wait for long for a module on which a client waits", async () => {
  using _times = withTimes(executorTimes, { closeGrace: 500 });
  const moduleUrl = writeModule(`console.log("loading"); while (true);`);
  const options = { childPermissions: [CONFIG_FLAG] };
  await using fixture = serve(handlerAt(moduleUrl, "AnyHandler"), options);
  const { server, address, errors } = fixture;
  const asked = exchange(address, "");
  await until(() => server.stats().active === 1);
  await server.serverClose();
  assertEquals(await asked, "");
  assertInstanceOf(errors[0], HandlerLoadError);
  assertStringIncludes(errors[0].message, "no end of that before the server closed");
  assertEquals(childrenOf(Deno.pid), []);
});

Deno.test("ForkingTCPServer retains nothing after many requests", async () => {
  await using fixture = serve(EchoHandler, { maxRequestsPerChild: 0 });
  const { server, address } = fixture;
  const run = async (count: number) => {
    for (let n = 0; n < count; n++) assertEquals(await exchange(address, "x\n"), "x\n");
  };
  await run(50);
  const before = openDescriptors();
  await run(300);
  assertLess(Math.abs(openDescriptors() - before), 8); // one child more or less has four
  assertEquals(server.activeChildren.size, 0);
  assertLess(childrenOf(Deno.pid).length, 4);
  const { active, completed } = server.stats();
  assertEquals([active, completed], [0, 350]);
});

Deno.test("ForkingTCPServer keeps 'minSpareChildren' ready, so that a request need not wait for a start", async () => {
  await using fixture = serve(PidHandler, { minSpareChildren: 2 });
  const { server, address } = fixture;
  const spares = () => server.stats().workers!.spare;
  await until(() => spares() === 2);
  const ready = childrenOf(Deno.pid).map(String);
  const [pid] = (await exchange(address, "")).split(" ");
  assert(ready.includes(pid!));
  await until(() => spares() === 2);
});

Deno.test("ForkingTCPServer replaces a spare child that is killed", async () => {
  await using fixture = serve(PidHandler);
  const { server, address } = fixture;
  await until(() => server.stats().workers!.spare === 1);
  const [pid] = childrenOf(Deno.pid);
  Deno.kill(pid!, "SIGKILL");
  await until(() => {
    const { spare, started } = server.stats().workers!;
    return spare === 1 && started === 2;
  });
  assertNotEquals((await exchange(address, "")).split(" ")[0], String(pid));
  await until(() => fixture.lines.length > 0);
  assertEquals(fixture.lines.filter((line) => !line.startsWith("debug: ")), [
    "error: Cannot keep child ready: Cannot keep worker ready: it ended before it was used " +
    '({ code: null, signal: "SIGKILL" })',
  ]);
});

Deno.test("ForkingTCPServer gives a request to another child when the one it was to have has ended before", async () => {
  await using fixture = serve(PidHandler, { maxRequestsPerChild: 0 });
  const { server, address } = fixture;
  await until(() => server.stats().workers!.spare === 1);
  const [pid] = childrenOf(Deno.pid);
  server.prepareRequest = () => {
    Deno.kill(pid!, "SIGKILL");
    // Nobody can hear of its end meanwhile; its pipes are closed when its last thread has ended.
    while (isAlive(pid!) || threadsOf(pid!) > 1);
  };
  assertNotEquals((await exchange(address, "")).split(" ")[0], String(pid));
  assertEquals(fixture.errors, []);
  assertEquals(server.activeChildren.size, 0);
});

Deno.test("ForkingTCPServer serves all clients of many, never more than 'maxChildren' at once", async () => {
  await using fixture = serve(EchoHandler, { maxChildren: 3, maxRequestsPerChild: 4 });
  const { server, address } = fixture;
  let most = 0;
  const watch = setInterval(() => most = Math.max(most, childrenOf(Deno.pid).length), 20);
  try {
    const lines = Array.from({ length: 24 }, (_, n) => `client ${n}\n`);
    assertEquals(await Promise.all(lines.map((line) => exchange(address, line))), lines);
  } finally {
    clearInterval(watch);
  }
  assertEquals(server.stats().peak, 3);
  assertLess(most, 4);
});

Deno.test("ForkingTCPServer.collectChildren({ blocking }) waits until no child serves a request", async () => {
  await using fixture = serve(HoldHandler);
  const { server, address } = fixture;
  await server.collectChildren({ blocking: true });
  const [conn] = await begin(address);
  using _ = conn;
  await server.collectChildren();
  assertEquals(server.activeChildren.size, 1);
  const collected = server.collectChildren({ blocking: true });
  await writeAll(conn, bytes("now\n"));
  await collected;
  assertEquals(server.activeChildren.size, 0);
});

Deno.test("ForkingTCPServer: the client of a child that is killed sees the end at once, and handleError() why", async () => {
  await using fixture = serve(HoldHandler);
  const { server, address, errors } = fixture;
  let best = Infinity; // a busy machine may be slow at times
  for (let n = 0; n < 3 || best >= 100 && n < 20; n++) {
    const [conn, pid] = await begin(address);
    using _ = conn;
    const before = performance.now();
    Deno.kill(Number(pid), "SIGKILL");
    assertEquals(await conn.read(new Uint8Array(1)), null);
    best = Math.min(best, performance.now() - before);
    await until(() => errors.length === n + 1);
    assertEquals(server.activeChildren.size, 0);
  }
  assertLess(best, 100);
  const [error] = errors;
  assertInstanceOf(error, WorkerDiedError);
  assertEquals(error.status, { code: null, signal: "SIGKILL" });
  assertMatch(error.message, /^Cannot finish request: child \d+ killed by SIGKILL$/);
  const [conn] = await begin(address);
  conn.close();
});

Deno.test("ForkingTCPServer: handleError() gets the exit code of a child that ended mid-request", async () => {
  for (const code of [7, 0]) {
    await using fixture = serve(ExitHandler);
    assertEquals(await exchange(fixture.address, `${code}\n`), "");
    await until(() => fixture.errors.length > 0);
    const [error] = fixture.errors;
    assertInstanceOf(error, WorkerDiedError);
    assertEquals(error.status, { code, signal: null });
  }
});

Deno.test("ForkingTCPServer: the client gets what a child wrote before it ended", async () => {
  await using fixture = serve(UnitCommandHandler, { maxChildren: 4 });
  const asked = Array.from({ length: 10 }, () => exchange(fixture.address, "exit 3\n"));
  assertEquals(await Promise.all(asked), asked.map(() => "last words"));
});

Deno.test("ForkingTCPServer: an unhandled rejection in a child ends it and is in the log", async () => {
  await using fixture = serve(LooseHandler);
  assertEquals(await exchange(fixture.address, ""), "");
  await until(() => fixture.errors.length > 0);
  assertInstanceOf(fixture.errors[0], WorkerDiedError);
  assert(fixture.lines.some((line) => /^info: .*nobody caught this/.test(line)));
});

for (
  const [what, handler, data] of [
    ["idle", "HoldHandler", null],
    ["awaiting", "HoldHandler", ""],
    ["blocking in a read", "BlockingHandler", ""],
    ["computing", "ComputeHandler", "1000\n"],
    ["without timers and Deno.exit()", "EndlessHandler", ""],
  ] as const
) {
  Deno.test(`ForkingTCPServer that is killed leaves no child that is ${what}`, async () => {
    await using program = await startProgram(handler, "{ minSpareChildren: 2 }");
    const [conn] = data === null ? [null] : await begin(program.address, data);
    using _ = conn;
    await until(() => childrenOf(program.pid).length === (data === null ? 2 : 3));
    const pids = childrenOf(program.pid);
    try {
      Deno.kill(program.pid, "SIGKILL");
      assertLess(await timeUntil(() => !pids.some(isAlive)), 2000);
    } finally {
      pids.forEach(kill);
    }
  });
}

Deno.test("ForkingTCPServer whose program exits leaves no child, and one that is only shut down does not keep it", async () => {
  const ways = [
    ["Deno.exit(3)", 3],
    ["await server.shutdown(); await serving", 0],
    ["await server.drain({ timeout: 0 }); await serving", 0],
  ] as const;
  for (const [way, expected] of ways) {
    // The program waits for a byte, and then ends in one way or the other.
    const then = `await Deno.stdin.read(new Uint8Array(1)); ${way};`;
    await using program = await startProgram("EchoHandler", "{ minSpareChildren: 2 }", then);
    await until(() => childrenOf(program.pid).length === 2);
    const pids = childrenOf(program.pid);
    const writer = program.child.stdin.getWriter();
    await writer.write(bytes("x"));
    writer.releaseLock();
    assertEquals((await program.child.status).code, expected, way);
    await until(() => !pids.some(isAlive), 2500);
  }
});

Deno.test("ForkingTCPServer whose program exits leaves no child that never awaits", async () => {
  const then = "await Deno.stdin.read(new Uint8Array(1)); Deno.exit(3);";
  await using program = await startProgram("SpinHandler", "{}", then);
  const [conn] = await begin(program.address, "");
  using _ = conn;
  const pids = childrenOf(program.pid);
  try {
    const writer = program.child.stdin.getWriter();
    await writer.write(bytes("x"));
    writer.releaseLock();
    assertEquals((await program.child.status).code, 3);
    await until(() => !pids.some(isAlive));
  } finally {
    pids.forEach(kill);
  }
});

Deno.test("ForkingTCPServer: an interrupt from the terminal ends no request; the server decides", async () => {
  await using fixture = serve(HoldHandler);
  const [conn, pid] = await begin(fixture.address);
  using _ = conn;
  Deno.kill(Number(pid), "SIGINT");
  await writeAll(conn, bytes("now\n"));
  assertEquals(text(await readAll(conn)), "bye now\n");
});

Deno.test("ForkingTCPServer: what a child prints goes to the server's log and never to the client", async () => {
  await using fixture = serve(PrintHandler);
  assertEquals(await exchange(fixture.address, "a\nb\n"), "a\nb\n");
  await until(() => fixture.lines.length === 7);
  assertEquals(fixture.lines, [
    "info: by log { answer: 42 }",
    "info: by error",
    "info: by stdout",
    "info: by sync stdout",
    "info: by process",
    "info: by stream",
    "info: stdin null null",
  ]);
  assertEquals(fixture.errors, []);
});

Deno.test("ForkingTCPServer: what a handler's module prints while it is loaded goes to the log, too", async () => {
  const moduleUrl = writeModule(
    `import { StreamRequestHandler } from ${JSON.stringify(MOD)};
    export class AnyHandler extends StreamRequestHandler {
      static override readonly moduleUrl = import.meta.url;
    }
    console.log("loading");
    console.log("loaded");`,
  );
  const options = { childPermissions: [CONFIG_FLAG] };
  await using fixture = serve(handlerAt(moduleUrl, "AnyHandler"), options);
  assertEquals(await exchange(fixture.address, ""), "");
  await until(() => fixture.lines.includes("info: loaded"));
  assertEquals(fixture.lines.slice(0, 2), ["info: loading", "info: loaded"]);
});

Deno.test("ForkingTCPServer: a megabyte on a child's stderr does not block it", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  let count = 0;
  let size = 0;
  const info = (line: string) => {
    count++;
    size += line.length;
    if (line === "the last line") resolve();
  };
  const ignore = () => {};
  const logger = { debug: ignore, info, warn: ignore, error: ignore };
  await using fixture = serve(FloodLogHandler, { logger });
  assertEquals(await exchange(fixture.address, ""), "done");
  await promise;
  assertEquals(count, 5000 + 1024 + 1);
  assertLess(1024 * 1023, size);
});

Deno.test("ForkingTCPServer: a process that a handler starts gets neither the client's data nor to the client", async () => {
  await using fixture = serve(SpawnHandler, { childPermissions: ["--allow-run=echo,cat"] });
  assertEquals(await exchange(fixture.address, "said\n"), "0 said");
  await until(() => fixture.lines.includes("info: by spawn"));
  assertEquals(fixture.errors, []);
});

Deno.test({
  name: "ForkingTCPServer: a process that a handler starts inherits no descriptor of ours",
  ignore: Deno.build.os !== "linux",
  async fn() {
    const { stdout } = await new Deno.Command("ls", { args: ["/proc/self/fd"] }).output();
    await using fixture = serve(InheritHandler, { childPermissions: ["--allow-run=ls"] });
    using _waiting = await connect(fixture.address);
    // What whoever runs the tests has open for all goes through to everybody.
    assertEquals(await exchange(fixture.address, ""), text(stdout));
  },
});

Deno.test("fault 6: ForkingTCPServer: what is written to descriptor 1 forges no frame and is in the log, and 0 has nothing to read", async () => {
  const childPermissions = ["--allow-run=sh", "--allow-env"];
  for (const options of [{}, { childPermissions }, { childPermissions: ["-A"] }]) {
    await using fixture = serve(IntruderHandler, options);
    // What a client says is no frame, whatever it looks like.
    const forged = "\f\x02{}";
    const said = `${forged}\n`.repeat(3);
    assertEquals(await exchange(fixture.address, said), `${said}0 null 0\n`);
    const maySpawn = options.childPermissions !== undefined;
    const ways = [...WAYS, ...maySpawn ? ["by spawn", "by spawnSync", "by Deno.Command"] : []];
    const isLogged = (way: string) =>
      fixture.lines.some((line) => line.startsWith(`info: ${way} `) && line.endsWith("{}"));
    await until(() => ways.every(isLogged));
    assertEquals(fixture.errors, []);
  }
});

Deno.test("fault 6: ForkingTCPServer: a handler that writes much to descriptor 1 while it sends disturbs neither", async () => {
  await using fixture = serve(TalkativeHandler);
  const conn = await connect(fixture.address);
  using _ = conn;
  assertEquals(await readAll(conn), new Uint8Array(4 * 1024 * 1024).fill(120));
  const count = () => fixture.lines.filter((line) => line === `info: ${"y".repeat(4095)}`).length;
  await until(() => count() === 256);
  assertEquals(fixture.errors, []);
});

Deno.test("ForkingTCPServer: a child may do nothing by default, and the error says what would let it", async () => {
  await using fixture = serve(PermissionHandler);
  const tasks = [["net 1", "net"], ["read /etc/hostname", "read"], ["env HOME", "env"], [
    "run true",
    "run",
  ]];
  for (const [n, [task, name]] of tasks.entries()) {
    assertEquals(await exchange(fixture.address, `${task}\n`), "");
    await until(() => fixture.errors.length === n + 1);
    const error = fixture.errors[n];
    assertInstanceOf(error, Deno.errors.NotCapable);
    assertStringIncludes(error.message, `Requires ${name} access`);
    assertStringIncludes(error.message, `add "--allow-${name}" to 'childPermissions'`);
    assertStringIncludes(Deno.inspect(error), "childPermissions");
  }
});

Deno.test("ForkingTCPServer: 'childPermissions' let a child do what they name", async () => {
  using other = Deno.listen(LOOPBACK);
  const { port } = other.addr;
  const file = `${tempFolder()}/file`;
  await Deno.writeTextFile(file, "");
  const childPermissions = [`--allow-net=127.0.0.1:${port}`, `--allow-read=${file}`];
  await using fixture = serve(PermissionHandler, { childPermissions });
  const accepted = other.accept();
  assertEquals(await exchange(fixture.address, `net ${port}\n`), " done");
  (await accepted).close();
  assertEquals(await exchange(fixture.address, `read ${file}\n`), " done");
  assertEquals(await exchange(fixture.address, `read ${CONFIG}\n`), "");
});

Deno.test("ForkingTCPServer: 'childPermissions' may name what the set-up of a child uses", async () => {
  for (const flag of ["--allow-read=/dev/null", "-R=/tmp,/dev/null"]) {
    await using fixture = serve(PermissionHandler, { childPermissions: [flag] });
    assertEquals(await exchange(fixture.address, "read /dev/null\n"), " done");
    assertEquals(await exchange(fixture.address, "read /proc/self/fd/1\n"), "");
  }
});

/** The names of the environment of a process. */
function environment(pid: number): string[] {
  const variables = Deno.readTextFileSync(`/proc/${pid}/environ`).split("\0");
  return variables.map((variable) => variable.split("=")[0]!).filter((name) => name !== "");
}

Deno.test("fault 8: ForkingTCPServer: a child without permissions imports nothing that is not cached, and keeps nothing", async () => {
  const asked: string[] = [];
  const listener = { hostname: "127.0.0.1", port: 0, onListen: () => {} };
  await using web = Deno.serve(listener, ({ url }) => {
    asked.push(url);
    return new Response(null, { status: 404 });
  });
  const host = `127.0.0.1:${web.addr.port}`;
  const env = { NPM_CONFIG_REGISTRY: `http://${host}/`, JSR_URL: `http://${host}/` };
  const kv = ["--unstable-kv"];
  await using fixture = serve(SealedHandler, { childEnv: env, childPermissions: kv });
  assertEquals(await exchange(fixture.address, `${host}\n`), "sealed");
  assertEquals(asked, []);
  assertEquals(await exchange(fixture.address, "[::1]:1\n"), "sealed");
  // With all permissions a child asks, and would take what it is given.
  const childEnv = { ...env, DENO_DIR: tempFolder() };
  await using open = serve(SealedHandler, { childEnv, childPermissions: ["-A", ...kv] });
  const kept = "localStorage caches openKv sealed";
  assertEquals(await exchange(open.address, `${host}\n`), kept);
  assertEquals(asked.length, 3);
});

Deno.test("ForkingTCPServer: a child without permissions finds nothing that another has left in the 'caches' of a Worker", async () => {
  await using fixture = serve(CachesHandler);
  for (let client = 0; client < 3; client++) {
    assertEquals(await exchange(fixture.address, "secret\n"), "undefined");
  }
});

Deno.test("fault 8: ForkingTCPServer: 'childMemoryLimit' ends a child whose heap grows beyond, and no other", async () => {
  await using fixture = serve(HeapHandler, { childMemoryLimit: 32 });
  const { server, errors } = fixture;
  const memory = residentMemory();
  for (let count = 1; count <= 2; count++) {
    assertEquals(await exchange(fixture.address, ""), "");
    await until(() => errors.length === count);
    assertInstanceOf(errors.at(-1), WorkerDiedError);
  }
  assertLess(residentMemory() - memory, 100 * 1024 * 1024);
  assertEquals(server.childMemoryLimit, 32);
});

Deno.test("fault 8: ForkingUDPServer: a child sends datagrams to its client only, but for what 'childPermissions' name", async () => {
  const other = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  using _ = { [Symbol.dispose]: () => other.close() };
  const { port } = other.addr as Deno.NetAddr;
  const refused = `Cannot send datagram to 127.0.0.1:${port}: ` +
    "add '--allow-net' of it to 'childPermissions' of the server";
  for (const flags of [[], ["--allow-net=127.0.0.1:1"]]) {
    await using fixture = start(
      new ForkingUDPServer(LOOPBACK, ForwardHandler, { childPermissions: flags }),
    );
    assertEquals(await datagramExchange(fixture.server.serverAddress, String(port)), refused);
  }
  for (
    const flag of [`--allow-net=example.com,127.0.0.1:${port}`, "-N=127.0.0.1", "--allow-net", "-A"]
  ) {
    await using fixture = start(
      new ForkingUDPServer(LOOPBACK, ForwardHandler, { childPermissions: [flag] }),
    );
    assertEquals(await datagramExchange(fixture.server.serverAddress, String(port)), "done");
    assertEquals(text((await other.receive())[0]), "forwarded");
  }
});

Deno.test("fault 35: ForkingTCPServer: a child has of the environment what Deno needs, and 'childEnv' over that", async () => {
  const cache = Deno.env.get("DENO_DIR");
  Deno.env.set("SOCKETSERVER_SECRET", "x");
  Deno.env.set("TZ", "UTC");
  Deno.env.set("DENO_DIR", cache ?? tempFolder());
  try {
    await using fixture = serve(HoldHandler, { childEnv: { OWN: "mine" } });
    const [conn, pid] = await begin(fixture.address);
    using _ = conn;
    const names = environment(Number(pid));
    assert(!names.includes("SOCKETSERVER_SECRET"));
    for (const name of ["PATH", "HOME", "DENO_DIR", "OWN"]) assert(names.includes(name), name);
  } finally {
    Deno.env.delete("SOCKETSERVER_SECRET");
    if (cache === undefined) Deno.env.delete("DENO_DIR");
  }
  const childPermissions = ["--allow-env=OWN,TZ,LANG"];
  const childEnv = { OWN: "mine", LANG: "eo" };
  await using fixture = serve(PermissionHandler, { childEnv, childPermissions });
  assertEquals(await exchange(fixture.address, "env LANG\n"), "eo done");
  assertEquals(await exchange(fixture.address, "env OWN\n"), "mine done");
  assertEquals(await exchange(fixture.address, "env TZ\n"), "UTC done");
});

/** Serves one client, whose answer it prints. */
const SERVES_ONE = `
  import { ForkingTCPServer } from ${JSON.stringify(MOD)};
  import { PidHandler } from ${JSON.stringify(HANDLERS)};
  await using server = new ForkingTCPServer({ hostname: "127.0.0.1", port: 0 }, PidHandler);
  const serving = server.serveForever();
  const conn = await Deno.connect(server.serverAddress);
  console.log(await new Response(conn.readable).text());
  await server.drain();
  await serving;`;

Deno.test("ForkingTCPServer: what handlers do in subprocesses counts for the coverage of tests", async () => {
  const folder = tempFolder();
  const { stdout, stderr } = await runProgram(SERVES_ONE, { env: { DENO_COVERAGE_DIR: folder } });
  assertMatch(stdout, /^\d+ undefined\n$/, stderr);
  let calls = 0;
  for await (const { name } of Deno.readDir(folder)) {
    const { url, functions } = JSON.parse(await Deno.readTextFile(`${folder}/${name}`));
    if (url !== HANDLERS) continue;
    for (const { functionName, ranges } of functions) {
      if (functionName === "handle") calls += ranges[0].count;
    }
  }
  assertEquals(calls, 1);
});

/** What a child of these tests needs to find Deno's cache and the registry. */
function serverEnv(): Record<string, string> {
  const names = ["HOME", "DENO_DIR", "JSR_URL"];
  const variables = names.map((name) => [name, Deno.env.get(name)]);
  return Object.fromEntries(variables.filter(([, value]) => value !== undefined));
}

Deno.test("ForkingTCPServer: after 'requestTimeout' a handler that awaits can finish in good order", async () => {
  await using fixture = serve(TidyHandler, { requestTimeout: 200 });
  const { server, address, errors, lines } = fixture;
  let tries = 0;
  // A child that the system does not run for 100 ms has had its time, so one such child proves nothing.
  while (!lines.includes("info: tidied up")) {
    await until(() => server.stats().workers!.spare === 1); // its start is no part of the time
    const [conn] = await begin(address);
    using _ = conn;
    tries++;
    assert(tries < 50);
    assertEquals(await conn.read(new Uint8Array(1)), null);
    await until(() => server.activeChildren.size === 0 && errors.length === tries);
  }
  for (const error of errors) assertInstanceOf(error, Deno.errors.TimedOut);
  assertEquals(server.stats().aborted, tries);
});

for (const Handler of [DeafHandler, StubbornHandler, SpinHandler]) {
  Deno.test(`ForkingTCPServer: after 'requestTimeout' a child that does not heed it is killed, as with ${Handler.name}`, async () => {
    await using fixture = serve(Handler, { requestTimeout: 200 });
    const { server, address, errors } = fixture;
    await until(() => server.stats().workers!.spare === 1);
    const [conn] = await begin(address);
    using _ = conn;
    const [pid] = server.activeChildren;
    assertEquals(await conn.read(new Uint8Array(1)), null);
    await until(() => !isAlive(pid!));
    assertInstanceOf(errors[0], Deno.errors.TimedOut);
    await server.serverClose();
    assertEquals(childrenOf(Deno.pid), []);
  });
}

Deno.test("ForkingTCPServer.drain() cuts off what runs at its time limit, and leaves no child", async () => {
  for (const Handler of [TidyHandler, SpinHandler]) {
    await using fixture = serve(Handler);
    const { server, address, lines } = fixture;
    const [conn] = await begin(address);
    using _ = conn;
    assertEquals(await server.drain({ timeout: 50 }), { completed: 0, aborted: 1 });
    assertEquals(await conn.read(new Uint8Array(1)), null);
    await server.finished;
    assertEquals(childrenOf(Deno.pid), []);
    assertEquals(lines.includes("info: tidied up"), Handler === TidyHandler);
  }
});

Deno.test("ForkingTCPServer: a handler's signal is aborted when the client resets the connection", async () => {
  await using fixture = serve(TidyHandler);
  const { server, address, lines } = fixture;
  const socket = await resettable(address);
  await new Promise((resolve) => socket.once("data", resolve));
  await reset(socket);
  await until(() => lines.includes("info: tidied up"));
  await until(() => server.activeChildren.size === 0);
});

Deno.test("fault 22: ForkingTCPServer: clients that end their streams without a word are told what they came for", async () => {
  await using fixture = serve(PidHandler, { minSpareChildren: 0 });
  const waiting = Array.from({ length: 8 }, () => exchange(fixture.address, ""));
  for (const told of await Promise.all(waiting)) assertMatch(told, /^\d+ undefined$/);
  assertEquals(fixture.errors, []);
});

Deno.test("fault 22: ForkingTCPServer starts few children side by side for clients that have gone, and others go before them", async () => {
  const most = Math.max(4, navigator.hardwareConcurrency);
  const tooMany: string[] = [];
  let asked = 0;
  await using fixture = serve(PidHandler, { minSpareChildren: 0 });
  const { server, address } = fixture;
  const begin = performance.now();
  server.verifyRequest = () => {
    asked++;
    const { starting } = server.stats().workers!;
    // A busy machine may take long for a start, and more begin each 250 ms.
    const time = performance.now() - begin;
    if (starting > most * Math.ceil(time / 250)) tooMany.push(`${starting} after ${time} ms`);
    return true;
  };
  for (let count = 0; count < 12; count++) (await connect(address)).close();
  assertMatch(await exchange(address, "hello\n"), /^\d+ /);
  assertEquals([asked, tooMany], [13, []]);
});

/** A gate that holds back the children of a server, and the settings for one child that waits at it until it is removed. */
async function gated() {
  const folder = tempFolder();
  const gate = `${folder}/gate`;
  await Deno.writeTextFile(gate, "");
  const options = {
    ...{ minSpareChildren: 0, maxChildren: 1, childEnv: { GATE: gate } },
    childPermissions: [`--allow-read=${folder}`, "--allow-env=GATE"],
  };
  return { gate, options };
}

Deno.test("fault 22: ForkingTCPServer: of too many clients that have ended their streams the first make way, and others go before all", async () => {
  const { gate, options } = await gated();
  await using fixture = serve(GatedHandler, { ...options, maxRequestsPerChild: 0 });
  const { server, address, errors } = fixture;
  const ends: string[] = [];
  const ask = async (data: string, name: string): Promise<void> => {
    const answer = await exchange(address, data).catch(() => ""); // a reset is an end, too
    ends.push(answer === "" ? "closed" : name);
  };
  const mute: Promise<void>[] = [];
  for (let n = 0; n < 43; n++) {
    mute.push(ask("", "served"));
    await until(() => server.stats().accepted === n + 1);
  }
  await until(() => errors.length === 3);
  await Promise.all(mute.slice(0, 3));
  assertInstanceOf(errors[0], Deno.errors.Busy);
  assertStringIncludes(errors[0].message, "no child was free, and more than 40 clients waited");
  const other = ask("x\n", "other");
  await until(() => server.stats().active === 41);
  await Deno.remove(gate);
  await Promise.all([other, ...mute]);
  const served = Array.from({ length: 40 }, () => "served");
  assertEquals(ends, ["closed", "closed", "closed", "other", ...served]);
  assertEquals(errors.length, 3);
});

Deno.test("fault 22: ForkingTCPServer: a client that resets waits for no child any more", async () => {
  const { gate, options } = await gated();
  await using fixture = serve(GatedHandler, options);
  const { server, address } = fixture;
  const socket = await resettable(address);
  await until(() => server.stats().active === 1);
  await reset(socket);
  await until(() => server.stats().active === 0);
  assertEquals(server.stats().workers!.started, 0);
  await Deno.remove(gate);
});

Deno.test("fault 28: ForkingTCPServer: raising maxChildren starts children for clients that wait for one", async () => {
  const { gate, options } = await gated();
  await using fixture = serve(GatedHandler, options);
  const { server, address } = fixture;
  const asked: Promise<string>[] = [];
  for (let n = 1; n <= 3; n++) {
    asked.push(exchange(address, "")); // they may be more than children, as they say no more
    await until(() => server.stats().accepted === n);
  }
  assertEquals(server.stats().workers!.starting, 1);
  server.maxChildren = 3;
  assertEquals(server.stats().workers!.starting, 3);
  await Deno.remove(gate);
  await Promise.all(asked);
});

Deno.test("fault 22: ForkingTCPServer: what a client sends while it waits for a child comes whole and in order", async () => {
  await using fixture = serve(EchoHandler, { minSpareChildren: 0 });
  const lines = Array.from({ length: 4000 }, (_, n) => `${n}`.padEnd(60, ".") + "\n").join("");
  const all = Array.from({ length: 4 }, async () => {
    using conn = await connect(fixture.address);
    const reading = readAll(conn);
    await writeAll(conn, bytes(lines));
    await conn.closeWrite();
    assertEquals(text(await reading), lines);
  });
  await Promise.all(all);
});

Deno.test("ForkingTCPServer: clients that reset at once leave no child behind that waits for them", async () => {
  await using fixture = serve(EchoHandler, { maxRequestsPerChild: 0, maxChildren: 4 });
  const { server, address } = fixture;
  for (let n = 0; n < 30; n++) {
    const socket = await resettable(address);
    await until(() => server.activeChildren.size > 0);
    await reset(socket);
  }
  await until(() => server.activeChildren.size === 0);
  assertEquals(await exchange(address, "x\n"), "x\n");
});

Deno.test("ForkingTCPServer: handlers may block in a child", async () => {
  await using fixture = serve(BlockingHandler);
  const [conn] = await begin(fixture.address);
  using _ = conn;
  for (const line of ["one", "two"]) {
    await writeAll(conn, bytes(`${line}\n`));
    assertEquals(await readLine(conn), line);
  }
  await conn.closeWrite();
  assertEquals(text(await readAll(conn)), "end\n");
  assertEquals(fixture.errors, []);
});

Deno.test("ForkingTCPServer: a read that blocks in a child heeds 'timeout', and loses nothing", async () => {
  await using fixture = serve(BlockingTimeoutHandler);
  const [conn, first] = await begin(fixture.address);
  using _ = conn;
  assertEquals([first, await readLine(conn)], ["TimedOut", "TimedOut"]);
  await writeAll(conn, bytes("late"));
  assertEquals(text(await readAll(conn)), "got late\n");
});

Deno.test("ForkingTCPServer: a handler that blocks in a read is told when it is cut off or the client is reset", async () => {
  await using fixture = serve(BlockingHandler, { requestTimeout: 200 });
  const { server, address, lines } = fixture;
  await until(() => server.stats().workers!.spare === 1);
  const told = () => lines.filter((line) => line === "info: blocked: ConnectionReset").length;
  const [conn] = await begin(address);
  using _ = conn;
  await until(() => told() === 1);
  server.requestTimeout = null;
  const socket = await resettable(address);
  await new Promise((resolve) => socket.once("data", resolve));
  await reset(socket);
  await until(() => told() === 2);
  await until(() => server.activeChildren.size === 0);
});

Deno.test("ForkingTCPServer: a handler that only blocks does not go on writing for ever when the client has gone", async () => {
  await using fixture = serve(BlockingFloodHandler);
  const { server, address, errors } = fixture;
  const conn = await connect(address);
  await readExactly(conn, 1000);
  conn.close();
  await until(() => server.activeChildren.size === 0);
  const [error] = errors;
  assert(error instanceof Deno.errors.BrokenPipe || error instanceof Deno.errors.ConnectionReset);
});

/** Resolves to a counter when it has stood still for a while; that is what is tested. */
async function standstill(counter: () => number): Promise<number> {
  for (let count = counter(), since = performance.now(); performance.now() - since < 300;) {
    await new Promise((resolve) => setTimeout(resolve, 10));
    if (counter() !== count) [count, since] = [counter(), performance.now()];
  }
  return counter();
}

Deno.test("ForkingTCPServer: a child that does not read holds the client back", async () => {
  await using fixture = serve(SlowReaderHandler);
  const [conn, pid] = await begin(fixture.address);
  using _ = conn;
  const chunk = new Uint8Array(64 * 1024);
  let sent = 0;
  const sending = (async () => {
    for (let n = 0; n < 512; n++) {
      await writeAll(conn, chunk);
      sent += chunk.length;
    }
    await conn.closeWrite();
  })();
  const held = await standstill(() => sent);
  assertLess(held, 16 * 1024 * 1024);
  Deno.kill(Number(pid), "SIGUSR2");
  assertEquals(text(await readAll(conn)), `${512 * chunk.length}\n`);
  await sending;
});

Deno.test("ForkingTCPServer: a client that does not read holds the child back", async () => {
  await using fixture = serve(FloodHandler);
  const [conn, pid] = await begin(fixture.address);
  const written = () => Number(/wchar: (\d+)/.exec(Deno.readTextFileSync(`/proc/${pid}/io`))![1]);
  assertLess(await standstill(written), 16 * 1024 * 1024);
  conn.close();
  await until(() => fixture.lines.some((line) => line.startsWith("info: sent ")));
  await until(() => fixture.server.activeChildren.size === 0);
});

Deno.test("ForkingTCPServer: a client that has ended its side gets its whole answer, and sees the child's end", async () => {
  await using fixture = serve(HalfCloseHandler);
  const data = "0123456789abcdef".repeat(16 * 1024);
  assertEquals((await exchange(fixture.address, data)).length, 4 * data.length);
  await until(() => fixture.lines.includes("info: closed its side"));
});

for (const family of ["UDP", "UnixDatagram"] as const) {
  const make = (Handler: typeof UpperHandler): AnyServer =>
    family === "UDP"
      ? new ForkingUDPServer(LOOPBACK, Handler)
      : new ForkingUnixDatagramServer({ path: tempSocketPath() }, Handler);

  Deno.test(`Forking${family}Server answers datagrams from children`, async () => {
    await using running = start(make(UpperHandler));
    const { serverAddress } = running.server;
    const answers = ["a", "b", "c"].map((data) => datagramExchange(serverAddress, data));
    assertEquals(await Promise.all(answers), ["A", "B", "C"]);
  });

  Deno.test(`Forking${family}Server answers while it closes`, async () => {
    await using running = start(make(LateUpperHandler));
    const { server } = running;
    await until(() => server.stats().workers!.spare === 1); // a close waits 5 s for the start of a child
    const answered = datagramExchange(server.serverAddress, "late");
    await until(() => server.stats().active === 1);
    await server.serverClose();
    assertEquals(await answered, "LATE");
    assertEquals(childrenOf(Deno.pid), []);
  });
}

Deno.test("ForkingMixIn works on a class of the user's own", async () => {
  class OwnServer extends ForkingMixIn(UDPServer) {
    static override maxChildren = 2;
    static override timeout = 5;
  }
  await using running = start(new OwnServer(LOOPBACK, UpperHandler));
  const { server } = running;
  assertEquals(await datagramExchange(server.serverAddress, "hello"), "HELLO");
  assertEquals([server.maxChildren, server.maxConnections, server.timeout], [2, 2, 5]);
});

Deno.test("fault 25: ForkingTCPServer.serveForever() rejects without --allow-run, and says so", async () => {
  const { stdout, stderr } = await runProgram(
    `import { ForkingTCPServer } from ${JSON.stringify(MOD)};
    import { EchoHandler } from ${JSON.stringify(HANDLERS)};
    const server = new ForkingTCPServer({ hostname: "127.0.0.1", port: 0 }, EchoHandler);
    await server.serveForever().catch((error) => console.log(String(error)));
    await server.drain();
    console.log("end");`,
    { flags: ["--no-check", "--allow-net", "--allow-read"] },
  );
  const line = `NotCapable: Cannot start child: needs run access to "${Deno.execPath()}"; ` +
    `run the server with --allow-run=${Deno.execPath()}`;
  assertEquals(stdout.trim().split("\n"), [line, "end"], stderr);
});

Deno.test("ForkingTCPServer refuses a handler that no child could load", () => {
  const before = openDescriptors();
  const missing = assertThrows(() => new ForkingTCPServer(LOOPBACK, HomelessHandler), TypeError);
  assertMatch(
    missing.message,
    /"HomelessHandler".*ForkingTCPServer.*moduleUrl = import\.meta\.url/,
  );
  const Inherited = class Inherited extends EchoHandler {};
  assertThrows(() => new ForkingTCPServer(LOOPBACK, Inherited), TypeError, "moduleUrl");
  // @ts-expect-error: the types refuse it, too
  assertThrows(() => new ForkingTCPServer(LOOPBACK, () => {}), TypeError, "function");
  assertNoneOpened(before);
});

Deno.test("fault 25: ForkingTCPServer.serveForever() rejects when its module does not export the class", async () => {
  await using fixture = serve(hidden.HiddenHandler);
  const error = await assertRejects(() => fixture.serving, HandlerLoadError);
  assertEquals(error.moduleUrl, HANDLERS);
  assertStringIncludes(error.message, 'write "export class HiddenHandler"');
});

Deno.test("fault 25: ForkingTCPServer.serveForever() rejects with what a handler's module throws, and three failed starts stop the spawning", async () => {
  const moduleUrl = writeModule(`throw new Error("no database");`);
  const Handler = handlerAt(moduleUrl, "AnyHandler");
  const options = { childPermissions: [CONFIG_FLAG], childEnv: serverEnv() };
  await using fixture = serve(Handler, options);
  const { server, address } = fixture;
  using conn = await connect(address);
  const error = await assertRejects(() => fixture.serving, HandlerLoadError);
  assertStringIncludes(error.message, "no database");
  assertStringIncludes(error.message, moduleUrl);
  assert(!error.message.includes("\x1b"), "it has colors");
  for (const line of fixture.lines.filter((line) => line.startsWith("error: "))) {
    assertMatch(line, /^error: Cannot keep child ready: Cannot load handler .* no database$/);
  }
  assertEquals(server.state, "idle");
  const { started, starting, spare } = server.stats().workers!;
  assertEquals([started, starting, spare], [0, 0, 0]);
  assertEquals(childrenOf(Deno.pid), []);
  await server.serverClose();
  assertEquals(await readAll(conn).catch(() => new Uint8Array()), new Uint8Array());
});

Deno.test("ForkingTCPServer: a module that is not there, or that does not end to load, is an error", async () => {
  const init = { moduleUrl: "file:///nowhere/module.ts", className: "AnyHandler" };
  const options = { flags: [CONFIG_FLAG], env: serverEnv(), onLine: () => {} };
  const missing = await ProcessWorker.start(init, options).catch((error) => error);
  assertInstanceOf(missing, HandlerLoadError);
  assertStringIncludes(missing.message, "Module not found");
  const moduleUrl = writeModule(`console.log("loading"); while (true);`);
  const endless = await ProcessWorker.start({ moduleUrl, className: "AnyHandler" }, {
    ...options,
    startTimeout: 300,
  }).catch((error) => error);
  assertInstanceOf(endless, HandlerLoadError);
  assertStringIncludes(endless.message, "no end of that within 300 ms");
  assertEquals(childrenOf(Deno.pid), []);
});

Deno.test("ForkingTCPServer: a handler's module that starts a server is refused in the child, without a storm", async () => {
  const moduleUrl = writeModule(
    `import { ForkingTCPServer, StreamRequestHandler } from ${JSON.stringify(MOD)};
    export class AnyHandler extends StreamRequestHandler {
      static override readonly moduleUrl = import.meta.url;
    }
    const server = new ForkingTCPServer({ hostname: "127.0.0.1", port: 0 }, AnyHandler);
    await server.serveForever();`,
  );
  const childPermissions = [CONFIG_FLAG, "--allow-all"];
  await using fixture = serve(handlerAt(moduleUrl, "AnyHandler"), { childPermissions });
  let most = 0;
  const count = () => {
    const children = childrenOf(Deno.pid);
    most = Math.max(most, children.length + children.flatMap(childrenOf).length);
  };
  const watch = setInterval(count, 10);
  try {
    assertEquals(await exchange(fixture.address, "").catch(() => ""), "");
    await until(() => fixture.errors.length > 0);
  } finally {
    clearInterval(watch);
  }
  const [error] = fixture.errors;
  assertInstanceOf(error, HandlerLoadError);
  assertStringIncludes(error.message, "put what starts it under if (import.meta.main)");
  assertLess(most, 3);
});

Deno.test("ForkingTCPServer: a handler's bare imports are resolved by its own project, from any folder", async () => {
  const folder = tempFolder();
  const config = {
    imports: {
      "@netkit/socketserver": MOD,
      "@std/log": "jsr:@std/log@^0.224",
      greet: "./greet.ts",
    },
    unstable: ["net"],
  };
  await Deno.writeTextFile(`${folder}/deno.json`, JSON.stringify(config));
  await Deno.writeTextFile(`${folder}/greet.ts`, `export const greeting: string = "hello ";`);
  await Deno.writeTextFile(
    `${folder}/main.ts`,
    `import { ForkingTCPServer, StreamRequestHandler } from "@netkit/socketserver";
    import { greeting } from "greet";
    export class GreetHandler extends StreamRequestHandler {
      static override readonly moduleUrl = import.meta.url;
      override async handle() {
        await this.wfile.write(greeting);
        await this.wfile.write(await this.rfile.readline());
      }
    }
    if (import.meta.main) {
      const server = new ForkingTCPServer({ hostname: "127.0.0.1", port: 0 }, GreetHandler);
      const serving = server.serveForever();
      using conn = await Deno.connect(server.serverAddress);
      await conn.write(new TextEncoder().encode("world"));
      await conn.closeWrite();
      console.log(await new Response(conn.readable).text());
      await server.drain();
      await serving;
    }`,
  );
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-check", "--quiet", "--allow-net", "--allow-run", `${folder}/main.ts`],
    cwd: "/",
  }).output();
  assertEquals([code, text(stdout)], [0, "hello world\n"], text(stderr));
});

Deno.test("ForkingTCPServer takes its settings from statics, options and properties, and checks each", () => {
  const before = openDescriptors();
  const names = [
    "maxChildren",
    "minSpareChildren",
    "maxRequestsPerChild",
    "childIdleTimeout",
    "childPermissions",
    "childEnv",
  ] as const;
  const defaults = new ForkingTCPServer(LOOPBACK, EchoHandler, { bindAndActivate: false });
  assertEquals(names.slice(0, 5).map((name) => defaults[name]), [40, 1, 1, 30_000, []]);
  assertEquals(defaults.timeout, 300_000);
  class StaticServer extends ForkingMixIn(TCPServer) {
    static override maxChildren = 2;
    static override minSpareChildren = 3;
    static override maxRequestsPerChild = 4;
    static override childIdleTimeout = 5;
    static override childPermissions = ["--allow-net"];
    static override childEnv = { A: "a" };
    static override timeout = null;
  }
  const byStatic = new StaticServer(LOOPBACK, EchoHandler, { bindAndActivate: false });
  assertEquals(names.map((name) => byStatic[name]), [2, 3, 4, 5, ["--allow-net"], { A: "a" }]);
  assertEquals(byStatic.timeout, null);
  const given = {
    maxChildren: 6,
    minSpareChildren: 0,
    maxRequestsPerChild: 0,
    childIdleTimeout: null,
    childPermissions: ["-R"],
    childEnv: {},
  };
  const byOption = new StaticServer(LOOPBACK, EchoHandler, { bindAndActivate: false, ...given });
  assertEquals(names.map((name) => byOption[name]), Object.values(given));
  Object.assign(byStatic, given);
  assertEquals(names.map((name) => byStatic[name]), Object.values(given));
  const wrong: [ForkingOptions, typeof TypeError | typeof RangeError][] = [
    [{ maxChildren: 0 }, RangeError],
    [{ minSpareChildren: -1 }, RangeError],
    [{ maxRequestsPerChild: 1.5 }, RangeError],
    [{ childIdleTimeout: -1 }, RangeError],
    [{ childPermissions: ["net"] }, TypeError],
    [{ childPermissions: "--allow-net" as unknown as string[] }, TypeError],
    [{ childEnv: { A: 1 } as unknown as Record<string, string> }, TypeError],
  ];
  for (const [options, ErrorClass] of wrong) {
    const [name] = Object.keys(options);
    assertThrows(() => new ForkingTCPServer(LOOPBACK, EchoHandler, options), ErrorClass, name);
    assertThrows(() => Object.assign(byOption, options), ErrorClass, name);
  }
  assertThrows(
    // @ts-expect-error: the types refuse it, too
    () => new ForkingTCPServer(LOOPBACK, EchoHandler, { maxThreads: 1 }),
    TypeError,
    "maxThreads",
  );
  // @ts-expect-error: the types refuse it, too
  assertThrows(() => new TCPServer(LOOPBACK, () => {}, { maxChildren: 1 }), TypeError);
  assertNoneOpened(before);
});

Deno.test("ForkingTCPServer in a compiled program refuses to start itself over and over", async () => {
  const { stdout, stderr } = await runProgram(
    `import { ForkingTCPServer } from ${JSON.stringify(MOD)};
    import { EchoHandler } from ${JSON.stringify(HANDLERS)};
    Object.defineProperty(Deno, "build", { value: { ...Deno.build, standalone: true } });
    try {
      new ForkingTCPServer({ hostname: "127.0.0.1", port: 0 }, EchoHandler);
    } catch (error) {
      console.log(String(error));
    }`,
  );
  assertMatch(stdout, /^NotSupported: Cannot use ForkingTCPServer .*deno compile/, stderr);
});

Deno.test("ForkingTCPServer: an idle child costs no CPU", async () => {
  await using fixture = serve(EchoHandler);
  await until(() => fixture.server.stats().workers!.spare === 1);
  const [pid] = childrenOf(Deno.pid);
  const ticks = () => {
    const stat = processStat(pid!)!;
    return Number(stat[10]) + Number(stat[11]); // utime and stime, in hundredths of a second
  };
  await standstill(ticks); // V8 tidies up after the start
  const before = ticks();
  await new Promise((resolve) => setTimeout(resolve, 1000));
  assertLess(ticks() - before, 4);
});

Deno.test("fault 35: ForkingTCPServer.handleError() gets an error whose message is read-only as it is", async () => {
  class RefusingServer extends RecordingServer {
    override requestContext(): unknown {
      throw new DOMException("run again with the --allow-net flag", "DataCloneError");
    }
  }
  const server = new RefusingServer(LOOPBACK, UnitCommandHandler);
  await using _ = start(server);
  assertEquals(await exchange(server.serverAddress, "pid\n"), "");
  await until(() => server.errors.length > 0);
  const [error] = server.errors;
  assertInstanceOf(error, DOMException);
  assertEquals(error.message, `add "--allow-net" to 'childPermissions' of the server`);
});

Deno.test("fault 35: ForkingTCPServer: the log tells of a ServerExit, which ends only its request", async () => {
  await using fixture = serve(UnitCommandHandler);
  assertEquals(await exchange(fixture.address, "exit-server\n"), "");
  await until(() => fixture.lines.length > 0);
  assertEquals(fixture.lines, [
    "warn: Server exit with code 0 ends only its request: it was thrown in a child",
  ]);
  assertEquals([fixture.errors, fixture.server.state], [[], "serving"]);
});

Deno.test("fault 38: no child of ForkingTCPServer listens after resets, time-outs and drains", async () => {
  const options = { maxRequestsPerChild: 0, minSpareChildren: 2 };
  const server = new ForkingTCPServer(LOOPBACK, UnitCommandHandler, {
    ...options,
    logger: new ListLogger(),
  });
  const serving = server.serveForever();
  const seen = new Set<number>();
  let listening = 0;
  const look = setInterval(() => {
    for (const child of childrenOf(Deno.pid)) {
      try {
        listening = Math.max(listening, listeningSockets(child));
        seen.add(child);
      } catch {
        // it has ended
      }
    }
  }, 20);
  /** Has a child serve a client that says no more, until Deno listens for signals in there. */
  const begin = async () => {
    await until(() => server.stats().workers!.spare > 0); // its start is no part of the time
    const client = await resettable(server.serverAddress as Deno.NetAddr);
    client.write("read\n");
    await until(() => server.activeChildren.size > 0);
    await delay(600);
    return client;
  };
  await reset(await begin());
  await until(() => server.stats().active === 0);
  server.requestTimeout = 1000;
  const timedOut = await begin();
  await until(() => server.stats().aborted === 1);
  timedOut.destroy();
  server.requestTimeout = null;
  const drained = await begin();
  await server.drain({ timeout: 50 });
  drained.destroy();
  await serving;
  clearInterval(look);
  assert(seen.size > 0);
  assertEquals(listening, 0);
});
