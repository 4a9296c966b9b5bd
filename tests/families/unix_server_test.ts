/**
 * UnixStreamServer and UnixDatagramServer: whose the socket file is, and what becomes of it.
 *
 * @module
 */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  ConcurrentUnixStreamServer,
  type DatagramRequest,
  DatagramRequestHandler,
  ForkingUnixDatagramServer,
  StreamRequestHandler,
  type StreamSocket,
  ThreadingUnixDatagramServer,
  type UnixAddress,
  UnixDatagramServer,
  UnixStreamServer,
} from "@netkit/socketserver";
import { UpperHandler } from "../servers/forking_handlers.ts";
import {
  bytes,
  CONFIG,
  connect,
  datagramExchange,
  exchange,
  exchangeOn,
  ListLogger,
  runProgram,
  start,
  tempFolder,
  tempSocketPath,
  text,
  until,
  withTimes,
} from "../harness.ts";
import { lockTimes } from "../../src/families/unix_path.ts";
import { FAMILIES } from "../families.ts";
import { moduleOf, Program } from "../program.ts";

/** Sends each line back. */
class StreamEcho extends StreamRequestHandler {
  override async handle() {
    for await (const line of this.rfile) await this.wfile.write(line);
  }
}

/** Sends each datagram back. */
class DatagramEcho extends DatagramRequestHandler {
  override async handle() {
    await this.wfile.write(this.packet);
  }
}

type UnixServer = UnixStreamServer | UnixDatagramServer;

/** Both kinds of server, each with an echo. */
const KINDS: {
  name: string;
  make: (address: UnixAddress) => UnixServer;
  ask: (address: UnixAddress, word: string) => Promise<string>;
  /** A program that binds `path`, says so, and waits. */
  program: string;
}[] = [
  {
    name: "UnixStreamServer",
    make: (address) => new UnixStreamServer(address, StreamEcho),
    ask: ({ path }, word) => exchange({ transport: "unix", path }, word),
    program:
      "const socket = Deno.listen({ transport: 'unix', path }); say(); await socket.accept();",
  },
  {
    name: "UnixDatagramServer",
    make: (address) => new UnixDatagramServer(address, DatagramEcho),
    ask: ({ path }, word) => datagramExchange({ transport: "unixpacket", path }, word),
    program:
      "const socket = Deno.listenDatagram({ transport: 'unixpacket', path }); say(); await socket.receive();",
  },
];

/** Runs a program that binds `path` and kills it, so that its socket file is left over. */
async function leaveStaleSocket(path: string, program: string): Promise<void> {
  const code = `const path = ${
    JSON.stringify(path)
  }; const say = () => console.log("bound"); ${program}`;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["eval", "--no-config", "--unstable-net", code],
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const reader = child.stdout.getReader();
  const { value } = await reader.read();
  assertEquals(text(value!), "bound\n");
  child.kill("SIGKILL");
  while (!(await reader.read()).done);
  await child.status;
}

/** What a path leads to, so that a change shows. */
function fingerprint(path: string): { dev: number; ino: number | null; mtime: Date | null } {
  const { dev, ino, mtime } = Deno.lstatSync(path);
  return { dev, ino, mtime };
}

function folderOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/"));
}

function filesIn(folder: string): string[] {
  return Array.from(Deno.readDirSync(folder), ({ name }) => name);
}

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

for (const { name, make, ask, program } of KINDS) {
  const kind = name === "UnixStreamServer" ? "Unix server" : "Unix datagram server";

  Deno.test(`${name}.serveForever() echoes three times`, async () => {
    await using started = start(make({ path: tempSocketPath() }));
    for (const word of ["one\n", "two\n", "three\n"]) {
      assertEquals(await ask(started.server.serverAddress, word), word);
    }
    assertEquals(started.server.addressFamily, "AF_UNIX");
  });

  Deno.test(`${name}() replaces the socket file that a killed server has left`, async () => {
    const path = tempSocketPath();
    await leaveStaleSocket(path, program);
    assert((await Deno.lstat(path)).isSocket);
    await using started = start(make({ path }));
    assertEquals(await ask(started.server.serverAddress, "new\n"), "new\n");
  });

  Deno.test(`${name}() replaces the file of a closed datagram socket`, async () => {
    const path = tempSocketPath();
    Deno.listenDatagram({ transport: "unixpacket", path }).close();
    assert((await Deno.lstat(path)).isSocket);
    await using started = start(make({ path }));
    assertEquals(await ask(started.server.serverAddress, "new\n"), "new\n");
  });

  for (const live of KINDS) {
    Deno.test(`${name}() refuses the path of a live ${live.name}, which goes on`, async () => {
      const path = tempSocketPath();
      await using started = start(live.make({ path }));
      const before = fingerprint(path);
      const error = assertThrows(() => make({ path }), Deno.errors.AddrInUse);
      assertEquals(
        error.message,
        `Cannot bind ${kind} to "${path}": a live server has the path; stop it, or choose another path`,
      );
      assertEquals(fingerprint(path), before);
      assertEquals(await live.ask(started.server.serverAddress, "alive\n"), "alive\n");
    });
  }

  Deno.test(`${name}() refuses a regular file and leaves it untouched`, () => {
    const path = tempSocketPath();
    Deno.writeTextFileSync(path, "precious");
    const before = fingerprint(path);
    const error = assertThrows(() => make({ path }), Deno.errors.AddrInUse);
    assertStringIncludes(error.message, `Cannot bind ${kind} to "${path}": the path is a file`);
    assertEquals(Deno.readTextFileSync(path), "precious");
    assertEquals(fingerprint(path), before);
  });

  Deno.test(`${name}() refuses a folder and leaves it untouched`, () => {
    const path = tempSocketPath();
    Deno.mkdirSync(path);
    const before = fingerprint(path);
    const error = assertThrows(() => make({ path }), Deno.errors.AddrInUse);
    assertStringIncludes(error.message, "the path is a folder");
    assertEquals(fingerprint(path), before);
  });

  Deno.test(`${name}() refuses a symbolic link, wherever it leads, and leaves it untouched`, () => {
    const stale = tempSocketPath();
    Deno.listenDatagram({ transport: "unixpacket", path: stale }).close();
    const file = tempSocketPath();
    Deno.writeTextFileSync(file, "precious");
    for (const target of [stale, file, "/nowhere/at/all"]) {
      const path = tempSocketPath();
      Deno.symlinkSync(target, path);
      const before = fingerprint(path);
      const error = assertThrows(() => make({ path }), Deno.errors.AddrInUse);
      assertStringIncludes(error.message, "the path is a symbolic link");
      assertEquals(Deno.readLinkSync(path), target);
      assertEquals(fingerprint(path), before);
    }
    assert(Deno.lstatSync(stale).isSocket);
    assertEquals(Deno.readTextFileSync(file), "precious");
  });

  for (const suffix of kind === "Unix server" ? ["lock", "new"] : ["lock"]) {
    Deno.test(`${name}() refuses at once, and leaves, what others have at PATH.netkit-${suffix}`, () => {
      const target = tempSocketPath();
      const things: Record<string, (name: string) => void> = {
        "a file": (name) => Deno.writeTextFileSync(name, "precious"),
        "a folder": (name) => Deno.mkdirSync(name),
        "a symbolic link": (name) => Deno.symlinkSync(target, name),
      };
      for (const [what, put] of Object.entries(things)) {
        const path = tempSocketPath();
        const theirs = `${path}.netkit-${suffix}`;
        put(theirs);
        const before = fingerprint(theirs);
        const error = assertThrows(() => make({ path }), Deno.errors.AddrInUse);
        assertStringIncludes(error.message, `"${theirs}" is ${what} and `);
        assertMatch(error.message, /choose another path$/);
        assertEquals(fingerprint(theirs), before);
        assertEquals(filesIn(folderOf(path)), [theirs.slice(folderOf(path).length + 1)]);
      }
      assert(!exists(target));
    });
  }

  Deno.test(`${name}() leaves a live server's socket at PATH.netkit-new, and any file at PATH.lock and PATH.new`, async () => {
    const path = tempSocketPath();
    const live = { path: `${path}.netkit-new` };
    const names = [`${path}.lock`, `${path}.new`];
    for (const name of names) await Deno.writeTextFile(name, "precious");
    await using other = start(KINDS[0]!.make(live));
    const before = fingerprint(live.path);
    if (kind === "Unix server") {
      const error = assertThrows(() => make({ path }), Deno.errors.AddrInUse);
      assertStringIncludes(error.message, `a live server has "${live.path}"; stop it, or `);
      assertEquals(fingerprint(live.path), before);
      await other.server.serverClose();
    }
    {
      await using started = start(make({ path }));
      assertEquals(await ask(started.server.serverAddress, "served\n"), "served\n");
    }
    assertEquals(exists(live.path), kind !== "Unix server");
    for (const name of names) assertEquals(await Deno.readTextFile(name), "precious");
  });

  Deno.test(`${name}() uses the lock and the socket that a killed server has left`, async () => {
    const path = tempSocketPath();
    await Deno.writeTextFile(`${path}.netkit-lock`, "");
    Deno.listenDatagram({ transport: "unixpacket", path: `${path}.netkit-new` }).close();
    await using started = start(make({ path }));
    assertEquals(await ask(started.server.serverAddress, "served\n"), "served\n");
    const left = kind === "Unix server" ? [] : ["s.sock.netkit-new"];
    assertEquals(filesIn(folderOf(path)).toSorted(), ["s.sock", ...left]);
  });

  Deno.test(`${name}() says that somebody else keeps the lock, and leaves it`, () => {
    using _times = withTimes(lockTimes, { pause: 0 });
    const path = tempSocketPath();
    const lock = `${path}.netkit-lock`;
    using theirs = Deno.openSync(lock, { write: true, createNew: true });
    theirs.lockSync(true);
    const error = assertThrows(() => make({ path }), Deno.errors.AddrInUse);
    assertEquals(
      error.message,
      `Cannot bind ${kind} to "${path}": somebody else keeps "${lock}" locked; ` +
        "end that, or choose another path",
    );
    assertEquals(filesIn(folderOf(path)), ["s.sock.netkit-lock"]);
  });

  Deno.test(`${name}() takes a path of 107 bytes and refuses one of 108`, async () => {
    const folder = tempFolder();
    const longest = `${folder}/`.padEnd(107, "x");
    await using started = start(make({ path: longest }));
    assertEquals(await ask(started.server.serverAddress, "fits\n"), "fits\n");
    for (const path of [`${longest}x`, `${longest.slice(0, -1)}é`]) {
      const error = assertThrows(() => make({ path }), TypeError);
      assertEquals(
        error.message,
        `Cannot use path "${path}": 108 bytes, a socket path has at most 107`,
      );
      assert(!exists(path));
    }
  });

  Deno.test(`${name}() throws NotFound when the folder is missing`, () => {
    const path = `${tempFolder()}/missing/s.sock`;
    const error = assertThrows(() => make({ path }), Deno.errors.NotFound);
    assertEquals(
      error.message,
      `Cannot bind ${kind} to "${path}": its folder does not exist; create it first`,
    );
  });

  Deno.test({
    name: `${name}() throws PermissionDenied when the folder is not writable`,
    ignore: Deno.uid() === 0, // root may write everywhere
    fn() {
      const path = tempSocketPath();
      Deno.chmodSync(folderOf(path), 0o500);
      const error = assertThrows(() => make({ path }), Deno.errors.PermissionDenied);
      assertStringIncludes(error.message, `Cannot bind ${kind} to "${path}": permission denied`);
    },
  });

  Deno.test({
    name: `${name}.serverClose() closes when the folder has become read-only`,
    ignore: Deno.uid() === 0,
    async fn() {
      const path = tempSocketPath();
      await using started = start(make({ path }));
      await Deno.chmod(folderOf(path), 0o500);
      await started.server.serverClose();
      await started.serving;
      await Deno.chmod(folderOf(path), 0o700);
      await using again = start(make({ path })); // replaces the file that could not be removed
      assertEquals(await ask(again.server.serverAddress, "free\n"), "free\n");
    },
  });

  Deno.test({
    name: `${name}.serverClose() closes when a successor's file cannot be moved out of the way`,
    ignore: Deno.uid() === 0,
    async fn() {
      const path = tempSocketPath();
      await using old = start(make({ path }));
      await Deno.remove(path);
      await using successor = start(make({ path }));
      await Deno.chmod(folderOf(path), 0o500);
      await old.server.serverClose();
      await old.serving;
      assertEquals(await ask({ path }, "mine\n"), "mine\n");
      await Deno.chmod(folderOf(path), 0o700);
      await successor.server.serverClose();
    },
  });

  for (const way of ["serverClose", "drain"] as const) {
    Deno.test(`${name}.${way}() removes the socket file`, async () => {
      const path = tempSocketPath();
      await using started = start(make({ path }));
      assert(exists(path));
      await started.server[way]();
      assert(!exists(path));
    });

    Deno.test(`${name}.${way}() leaves the file of a successor that removed ours, and it still serves`, async () => {
      const path = tempSocketPath();
      await using old = start(make({ path }));
      await Deno.remove(path);
      await using successor = start(make({ path }));
      await old.server[way]();
      assertEquals(await ask(successor.server.serverAddress, "mine\n"), "mine\n");
      await successor.server[way]();
      assert(!exists(path));
    });

    Deno.test(`${name}.${way}() leaves the file of a successor that was renamed over ours, and it still serves`, async () => {
      const path = tempSocketPath();
      await using old = start(make({ path }));
      const own = tempSocketPath();
      await using successor = start(make({ path: own }));
      await Deno.rename(own, path);
      await old.server[way]();
      assert(exists(path));
      assertEquals(await ask({ path }, "mine\n"), "mine\n");
      assertEquals(filesIn(folderOf(path)), ["s.sock"]);
      await successor.server[way]();
    });
  }

  Deno.test(`${name}.serverClose() leaves a regular file that took the path`, async () => {
    const path = tempSocketPath();
    await using started = start(make({ path }));
    await Deno.remove(path);
    await Deno.writeTextFile(path, "precious");
    await started.server.serverClose();
    assertEquals(await Deno.readTextFile(path), "precious");
  });

  Deno.test(`${name}.serverClose() succeeds when the file is gone, and when its folder is`, async () => {
    for (const doomed of [(path: string) => path, folderOf]) {
      const path = tempSocketPath();
      await using started = start(make({ path }));
      await Deno.remove(doomed(path), { recursive: true });
      await started.server.serverClose();
      await started.serving;
    }
  });

  Deno.test(`${name}.serverClose() frees the path a hundred times in a row`, async () => {
    const path = tempSocketPath();
    for (let turn = 0; turn < 100; turn++) {
      await using _ = start(make({ path }));
    }
    assert(!exists(path));
  });

  Deno.test(`${name}() that fails in serverActivate() leaves no file`, () => {
    const path = tempSocketPath();
    const fault = new Error("not now");
    class FaultyStreamServer extends UnixStreamServer {
      override serverActivate(): void {
        throw fault;
      }
    }
    class FaultyDatagramServer extends UnixDatagramServer {
      override serverActivate(): void {
        throw fault;
      }
    }
    const error = assertThrows(() =>
      name === "UnixStreamServer"
        ? new FaultyStreamServer({ path }, StreamEcho)
        : new FaultyDatagramServer({ path }, DatagramEcho)
    );
    assertEquals(error, fault);
    assert(!exists(path));
  });

  Deno.test(`${name}.serverBind() binds what the constructor left unbound`, async () => {
    const path = tempSocketPath();
    const server = name === "UnixStreamServer"
      ? new UnixStreamServer({ path }, StreamEcho, { bindAndActivate: false })
      : new UnixDatagramServer({ path }, DatagramEcho, { bindAndActivate: false });
    assert(!exists(path));
    await assertRejects(() => server.serveForever(), Deno.errors.BadResource, "serverBind()");
    server.serverBind();
    server.serverActivate();
    await using started = start<UnixServer>(server);
    assertEquals(await ask(started.server.serverAddress, "bound\n"), "bound\n");
  });
}

for (const { name, make, ask } of FAMILIES.filter(({ name }) => name.startsWith("Unix"))) {
  Deno.test(`${name}.handleError() names an unnamed client as "unnamed"`, async () => {
    const logger = new ListLogger();
    const fail = () => {
      throw new Error("no such luck");
    };
    await using started = start(make(fail as never, { logger }));
    const address = started.server.serverAddress;
    if (address.transport === "unixpacket") {
      const client = Deno.listenDatagram({ transport: "unixpacket" });
      await client.send(bytes("x"), address);
      client.close();
    } else {
      await ask(address, "");
    }
    await until(() => logger.lines.length > 0);
    assertStringIncludes(
      logger.lines[0]!,
      'error: Cannot serve client "unnamed": Error: no such luck',
    );
  });
}

Deno.test("UnixStreamServer() serves on an abstract name, and no file appears", async () => {
  const path = `\0ss-${crypto.randomUUID()}`;
  await using started = start(new UnixStreamServer({ path }, StreamEcho));
  assertEquals(started.server.serverAddress, { transport: "unix", path });
  assertEquals(await exchange({ transport: "unix", path }, "abstract\n"), "abstract\n");
  await started.server.serverClose();
  await using again = start(new UnixStreamServer({ path }, StreamEcho));
  assertEquals(await exchange(again.server.serverAddress, "again\n"), "again\n");
});

Deno.test("UnixStreamServer() refuses an abstract name that has an owner", async () => {
  const path = `\0ss-${crypto.randomUUID()}`;
  await using _ = new UnixStreamServer({ path }, StreamEcho);
  const error = assertThrows(
    () => new UnixStreamServer({ path }, StreamEcho),
    Deno.errors.AddrInUse,
  );
  assertStringIncludes(error.message, `Cannot bind Unix server to "@${path.slice(1)}": `);
});

Deno.test("UnixStreamServer.serveForever() serves who connected before somebody deleted the file", async () => {
  const path = tempSocketPath();
  const server = new UnixStreamServer({ path }, StreamEcho);
  const conn = await connect(server.serverAddress);
  await Deno.remove(path);
  await using _ = start(server);
  assertEquals(await exchangeOn(conn, "still here\n"), "still here\n");
});

Deno.test("UnixDatagramServer.serveForever() answers who asked before somebody deleted the file", async () => {
  const path = tempSocketPath();
  const server = new UnixDatagramServer({ path }, DatagramEcho);
  const client = Deno.listenDatagram({ transport: "unixpacket", path: tempSocketPath() });
  await client.send(bytes("still here"), server.serverAddress);
  await Deno.remove(path);
  await using _ = start(server);
  assertEquals(text((await client.receive())[0]), "still here");
  client.close();
});

Deno.test("UnixStreamServer.serverClose() leaves the successor reachable while a handler of ours still runs", async () => {
  const path = tempSocketPath();
  const release = Promise.withResolvers<void>();
  const entered = Promise.withResolvers<void>();
  const wait = async (socket: StreamSocket) => {
    entered.resolve();
    await release.promise;
    await socket.sendAll("done");
  };
  await using old = start(new UnixStreamServer({ path }, wait));
  const asking = exchange(old.server.serverAddress, "");
  await entered.promise;
  await Deno.remove(path);
  await using successor = start(new UnixStreamServer({ path }, StreamEcho));
  await old.server.serverClose();
  assertEquals(await exchange(successor.server.serverAddress, "mine\n"), "mine\n");
  release.resolve();
  assertEquals(await asking, "done");
});

Deno.test("UnixDatagramServer.handleError() gets a TypeError when the answer is for an unnamed client", async () => {
  const errors: unknown[] = [];
  class KeepingServer extends UnixDatagramServer {
    override handleError(error: unknown): void {
      errors.push(error);
    }
  }
  await using started = start(new KeepingServer({ path: tempSocketPath() }, DatagramEcho));
  const { server } = started;
  const unnamed = Deno.listenDatagram({ transport: "unixpacket" });
  await unnamed.send(bytes("answer me"), server.serverAddress);
  unnamed.close();
  assertEquals(await datagramExchange(server.serverAddress, "named"), "named");
  assertEquals(errors.length, 1);
  assertInstanceOf(errors[0], TypeError);
  assertEquals(
    errors[0].message,
    "Cannot send datagram to an unnamed socket: a Unix client that wants answers binds a path",
  );
});

/** Sends a datagram and is gone before anybody can answer it. */
async function sendAndGo(
  address: Deno.Addr,
  how: "unnamed" | "closed" | "removed",
): Promise<string> {
  const path = tempSocketPath();
  const client = Deno.listenDatagram(
    how === "unnamed" ? { transport: "unixpacket" } : { transport: "unixpacket", path },
  );
  await client.send(bytes("answer me"), address);
  client.close();
  if (how === "removed") await Deno.remove(path);
  return path;
}

for (
  const Server of [UnixDatagramServer, ThreadingUnixDatagramServer, ForkingUnixDatagramServer]
) {
  Deno.test(`${Server.name}.handleError() logs a line for each client that cannot be answered`, async () => {
    const logger = new ListLogger();
    const server = new Server({ path: tempSocketPath() }, UpperHandler, { logger });
    await sendAndGo(server.serverAddress, "unnamed");
    const closed = await sendAndGo(server.serverAddress, "closed");
    const removed = await sendAndGo(server.serverAddress, "removed");
    await using _ = start(server); // the clients have gone already
    assertEquals(await datagramExchange(server.serverAddress, "named"), "NAMED");
    await until(() => logger.lines.length >= 3);
    const cannotSend = "Cannot send datagram to";
    const expected = [
      'warn: Cannot serve client "unnamed": ' +
      `${cannotSend} an unnamed socket: a Unix client that wants answers binds a path`,
      ...[closed, removed].map((path) =>
        `debug: Client "${path}" went away: ${cannotSend} "${path}": nobody receives there`
      ),
    ];
    assertEquals(logger.lines.toSorted(), expected.toSorted());
  });
}

Deno.test("UnixDatagramServer.getRequest() hands out the path of the client", async () => {
  const clients: Deno.Addr[] = [];
  const keep = ([data, socket]: DatagramRequest, address: Deno.Addr) => {
    clients.push(address);
    return socket.sendTo(data, address);
  };
  await using started = start(new UnixDatagramServer({ path: tempSocketPath() }, keep));
  const path = tempSocketPath();
  const client = Deno.listenDatagram({ transport: "unixpacket", path });
  await client.send(bytes("who"), started.server.serverAddress);
  const [answer, from] = await client.receive();
  client.close();
  assertEquals(text(answer), "who");
  assertEquals(clients, [{ transport: "unixpacket", path }]);
  assertEquals(from, started.server.serverAddress);
});

Deno.test("UnixDatagramServer.getRequest() delivers empty, and 65,507 bytes whole", async () => {
  const lengths: number[] = [];
  const answerLength = ([data, socket]: DatagramRequest, address: Deno.Addr) => {
    lengths.push(data.length);
    return socket.sendTo(bytes(`${data.length}`), address);
  };
  await using started = start(new UnixDatagramServer({ path: tempSocketPath() }, answerLength));
  for (const length of [0, 1, 15, 16, 17, 65507]) {
    assertEquals(
      await datagramExchange(started.server.serverAddress, new Uint8Array(length)),
      `${length}`,
    );
  }
  assertEquals(lengths, [0, 1, 15, 16, 17, 65507]);
});

Deno.test("UnixDatagramServer.maxPacketSize refuses a longer datagram, also when it is tiny", async () => {
  for (const maxPacketSize of [1, 8, 15, 16, 100]) {
    const logger = new ListLogger();
    const address = { path: tempSocketPath() };
    await using started = start(
      new UnixDatagramServer(address, DatagramEcho, { maxPacketSize, logger }),
    );
    const { server } = started;
    const client = Deno.listenDatagram({ transport: "unixpacket", path: tempSocketPath() });
    await client.send(new Uint8Array(maxPacketSize + 1), server.serverAddress);
    await client.send(new Uint8Array(maxPacketSize), server.serverAddress);
    assertEquals((await client.receive())[0].length, maxPacketSize);
    client.close();
    assertEquals(logger.lines.length, 1);
    assertStringIncludes(logger.lines[0]!, `longer than ${maxPacketSize} bytes`);
  }
});

/** A program that makes a server on each path when it is told to, both kinds by turns, and says what became of it. */
const STARTER = `
import { UnixDatagramServer, UnixStreamServer } from "@netkit/socketserver";
console.log("ready");
const reader = Deno.stdin.readable.getReader();
await reader.read();
Deno.args.forEach((path, index) => {
  try {
    new (index % 2 === 0 ? UnixStreamServer : UnixDatagramServer)({ path }, () => {});
    console.log("listens");
  } catch (error) {
    console.log(error.name);
  }
});
console.log("done");
await reader.read();
`;

Deno.test("fault 30: of six servers that start at once on a dead one's file exactly one listens", async () => {
  const folder = tempFolder();
  const paths = Array.from({ length: 6 }, (_, index) => `${folder}/${index}.sock`);
  await Promise.all(KINDS.map(({ program }, kind) => leaveStaleSocket(paths[kind]!, program)));
  paths.slice(2).forEach((path, index) => Deno.linkSync(paths[index % 2]!, path));
  const program = `${folder}/starter.ts`;
  await Deno.writeTextFile(program, STARTER);
  const args = ["run", "-A", "--quiet", "--no-check", "--config", CONFIG, program, ...paths];
  const starters = Array.from({ length: 6 }, () => {
    const child = new Deno.Command(Deno.execPath(), {
      args,
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    const lines = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    return { child, lines, stdin: child.stdin.getWriter(), said: "" };
  });
  const hear = (word: string) =>
    Promise.all(starters.map(async (starter) => {
      while (!starter.said.includes(word)) starter.said += (await starter.lines.read()).value!;
    }));
  await hear("ready");
  await Promise.all(starters.map(({ stdin }) => stdin.write(bytes("\n"))));
  await hear("done");
  const outcomes = starters.map(({ said }) => said.trim().split("\n").slice(1, -1));
  for (const { child, lines, stdin } of starters) {
    await stdin.close();
    while (!(await lines.read()).done);
    await child.status;
  }
  const expected = [...new Array(5).fill("AddrInUse"), "listens"];
  for (const [index] of paths.entries()) {
    assertEquals(outcomes.map((outcome) => outcome[index]).toSorted(), expected);
  }
  assertEquals(filesIn(folder).filter((name) => !/^\d+\.sock$/.test(name)), ["starter.ts"]);
});

Deno.test("fault 30: a server that closes while its requests run leaves its successors' files alone", async () => {
  const path = tempSocketPath();
  const release = Promise.withResolvers<void>();
  const entered = Promise.withResolvers<void>();
  const wait = async () => {
    entered.resolve();
    await release.promise;
  };
  await using old = start(new ConcurrentUnixStreamServer({ path }, wait));
  using _release = { [Symbol.dispose]: release.resolve };
  const asking = exchange(old.server.serverAddress, "");
  await entered.promise;
  await Deno.remove(path);
  const second = start(new UnixStreamServer({ path }, StreamEcho));
  const closing = old.server.serverClose();
  assertEquals(await exchange({ transport: "unix", path }, "second\n"), "second\n");
  assertEquals(filesIn(folderOf(path)), ["s.sock"]);
  await second.server.serverClose();
  assertEquals(filesIn(folderOf(path)), []);
  await using _ = start(new UnixStreamServer({ path }, StreamEcho));
  release.resolve();
  await Promise.all([closing, asking]);
  assertEquals(await exchange({ transport: "unix", path }, "third\n"), "third\n");
  assertEquals(filesIn(folderOf(path)), ["s.sock"]);
});

Deno.test("fault 30: a relative path is removed, and answered from, after Deno.chdir()", async () => {
  const [home, elsewhere] = [tempFolder(), tempFolder()];
  const { code, stdout, stderr } = await runProgram(
    `
import { ConcurrentUnixDatagramServer, UnixStreamServer } from "@netkit/socketserver";
const [home, elsewhere] = Deno.args;
const names = () => Array.from(Deno.readDirSync(home), ({ name }) => name).sort().join();
Deno.chdir(home);
const stream = new UnixStreamServer({ path: "stream" }, () => {});
const answer = async ([data, socket], address) => {
  await new Promise((resolve) => setTimeout(resolve)); // so that the server receives again
  await socket.sendTo(data, address);
};
const datagram = new ConcurrentUnixDatagramServer({ path: "datagram" }, answer);
const serving = datagram.serveForever();
Deno.chdir(elsewhere);
for (const name of ["stream", "datagram"]) Deno.writeTextFileSync(name, "precious");
const path = elsewhere + "/client";
const client = Deno.listenDatagram({ transport: "unixpacket", path });
await client.send(new Uint8Array(3), { transport: "unixpacket", path: home + "/datagram" });
console.log((await client.receive())[0].length, names());
await Promise.all([stream.serverClose(), datagram.serverClose()]);
await serving;
client.close();
console.log(names(), Deno.readTextFileSync("stream"), Deno.readTextFileSync("datagram"));
`,
    { args: [home, elsewhere] },
  );
  assertEquals([code, stdout, stderr], [0, "3 datagram,stream\n precious precious\n", ""]);
});

Deno.test("fault 30: the permissions for three names suffice to leave another's file alone", async () => {
  const path = tempSocketPath();
  const names = [path, `${path}.netkit-new`, `${path}.netkit-lock`].join();
  const { code, stderr } = await runProgram(
    `
import { UnixStreamServer } from "@netkit/socketserver";
const [path] = Deno.args;
const server = new UnixStreamServer({ path }, () => {});
Deno.removeSync(path);
Deno.writeTextFileSync(path, "precious");
await server.serverClose();
`,
    {
      flags: [
        "--no-check",
        `--allow-read=${names}`,
        `--allow-write=${names}`,
        `--allow-net=unix:${path},unix:${path}.netkit-new`,
      ],
      args: [path],
    },
  );
  assertEquals([code, stderr], [0, ""]);
  assertEquals(await Deno.readTextFile(path), "precious");
});

Deno.test("fault 30: with the permissions for the path alone a server serves and takes a dead one's path", async () => {
  const path = tempSocketPath();
  for (const names of [path, [path, `${path}.netkit-new`, `${path}.netkit-lock`].join()]) {
    await leaveStaleSocket(path, KINDS[0]!.program);
    const { code, stderr } = await runProgram(
      `
import { UnixStreamServer } from "@netkit/socketserver";
const [path] = Deno.args;
const server = new UnixStreamServer({ path }, (request) => request.sendAll("served"));
const handled = server.handleRequest();
using client = await Deno.connect({ transport: "unix", path });
if (await new Response(client.readable).text() !== "served") throw new Error("not served");
await handled;
await server.serverClose();
`,
      {
        flags: [
          "--no-check",
          `--allow-read=${names}`,
          `--allow-write=${names}`,
          `--allow-net=unix:${path}`,
        ],
        args: [path],
      },
    );
    assertEquals([code, stderr], [0, ""]);
    assert(!exists(path));
  }
});

Deno.test("fault 30: a server that has the permissions for the path alone asks nobody for others", async () => {
  const path = tempSocketPath();
  const module = await moduleOf(`
import { UnixStreamServer } from "@netkit/socketserver";
const [path] = Deno.args;
const server = new UnixStreamServer({ path }, () => {});
await server.serverClose();
console.log("closed");
setInterval(() => {}, 1000);
`);
  const flags = [`--allow-read=${path}`, `--allow-write=${path}`, `--allow-net=unix:${path}`];
  const args = ["run", "--quiet", "--no-check", "--config", CONFIG, ...flags, module, path];
  await using program = new Program(args, { terminal: true });
  await program.line(/^closed$/);
  assertMatch((await program.interrupt()).stdout, /^closed\r?\n(?:\^C)?\s*$/); // and no question before
});

Deno.test("UnixStreamServer.getRequest() gives connections the path that clients use", async () => {
  const path = tempSocketPath();
  const tell = (socket: StreamSocket) => socket.sendAll(JSON.stringify(socket.localAddr));
  await using started = start(new UnixStreamServer({ path }, tell));
  assertEquals(JSON.parse(await exchange(started.server.serverAddress, "")), {
    transport: "unix",
    path,
  });
  assertEquals(started.server.socket.addr, { transport: "unix", path });
});

class OpenStreamServer extends UnixStreamServer {
  static override socketMode = 0o666;
}

class OpenDatagramServer extends UnixDatagramServer {
  static override socketMode = 0o666;
}

for (
  const [Server, OpenServer] of [
    [UnixStreamServer, OpenStreamServer],
    [UnixDatagramServer, OpenDatagramServer],
  ] as const
) {
  const modeOf = (path: string) => Deno.lstatSync(path).mode! & 0o777;

  Deno.test(`${Server.name}.socketMode is the mode of the file, by class, option or instance`, async () => {
    const path = tempSocketPath();
    const handler = () => {};
    for (
      const [server, mode] of [
        [() => new Server({ path }, handler), 0o777 & ~Deno.umask()],
        [() => new Server({ path }, handler, { socketMode: 0o600 }), 0o600],
        [() => new OpenServer({ path }, handler), 0o666],
        [() => new OpenServer({ path }, handler, { socketMode: 0o660 }), 0o660],
        [() => {
          const server = new Server({ path }, handler, { bindAndActivate: false });
          server.socketMode = 0o640;
          server.serverBind();
          return server;
        }, 0o640],
      ] as const
    ) {
      await using _ = server();
      assertEquals(modeOf(path), mode);
    }
  });

  Deno.test(`${Server.name}.socketMode must be a mode`, () => {
    const path = tempSocketPath();
    const tell = (socketMode: unknown) =>
      new Server({ path }, () => {}, { socketMode: socketMode as number });
    assertThrows(() => tell(0o1000), RangeError, "'socketMode'");
    assertThrows(() => tell(-1), RangeError, "'socketMode'");
    assertThrows(() => tell("0660"), TypeError, "'socketMode'");
    assert(!exists(path));
  });
}
