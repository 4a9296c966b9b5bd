/**
 * One handler class, unchanged, gives the same answers to the same client on every family in every mode.
 *
 * @module
 */
import { assert, assertEquals, assertInstanceOf, assertStringIncludes } from "@std/assert";
import {
  type AnyServer,
  ConcurrentTCPServer,
  ConcurrentTLSServer,
  ConcurrentUDPServer,
  ConcurrentUnixDatagramServer,
  ConcurrentUnixStreamServer,
  ForkingTCPServer,
  ForkingTLSServer,
  ForkingUDPServer,
  ForkingUnixDatagramServer,
  ForkingUnixStreamServer,
  type SocketAddress,
  type StreamSocket,
  TCPServer,
  ThreadingTCPServer,
  ThreadingTLSServer,
  ThreadingUDPServer,
  ThreadingUnixDatagramServer,
  ThreadingUnixStreamServer,
  TLSServer,
  UDPServer,
  UnixDatagramServer,
  UnixStreamServer,
} from "@netkit/socketserver";
import { isPeerGone } from "../src/base/errors.ts";
import { assertSame } from "./conversation.ts";
import { DatagramCommandHandler, StreamCommandHandler } from "./handlers.ts";
import { RelayingTCPServer } from "./servers/relaying_server.ts";
import {
  bytes,
  connect,
  connectTLS,
  datagramClient,
  datagramExchange,
  exchange,
  LOOPBACK,
  pattern,
  readAll,
  readExactly,
  start,
  tempSocketPath,
  text,
  TLS,
  until,
  writeAll,
} from "./harness.ts";

/** What the servers have for their handlers. */
const CONTEXT = { name: "matrix", table: new Map([["one", 1n]]), bytes: Uint8Array.of(1, 2) };

/** The modes of a family of streams. */
interface StreamFamily {
  name: string;
  modes: Record<string, () => AnyServer>;
  dial: (address: SocketAddress) => Promise<Deno.Conn>;
}

const { cert, key } = TLS;
const unix = () => ({ path: tempSocketPath() });
/** For children that serve one request after the other, where over TCP and UDP each has a child of its own. */
const again = { maxRequestsPerChild: 0 };

const STREAMS: StreamFamily[] = [
  {
    name: "TCP",
    modes: {
      sync: () => new TCPServer(LOOPBACK, StreamCommandHandler),
      concurrent: () => new ConcurrentTCPServer(LOOPBACK, StreamCommandHandler),
      threading: () => new ThreadingTCPServer(LOOPBACK, StreamCommandHandler),
      "threading by relay": () => new RelayingTCPServer(LOOPBACK, StreamCommandHandler),
      forking: () => new ForkingTCPServer(LOOPBACK, StreamCommandHandler),
    },
    dial: connect,
  },
  {
    name: "TLS",
    modes: {
      sync: () => new TLSServer(LOOPBACK, StreamCommandHandler, { cert, key }),
      concurrent: () => new ConcurrentTLSServer(LOOPBACK, StreamCommandHandler, { cert, key }),
      threading: () => new ThreadingTLSServer(LOOPBACK, StreamCommandHandler, { cert, key }),
      forking: () => new ForkingTLSServer(LOOPBACK, StreamCommandHandler, { cert, key, ...again }),
    },
    dial: connectTLS,
  },
  {
    name: "Unix stream",
    modes: {
      sync: () => new UnixStreamServer(unix(), StreamCommandHandler),
      concurrent: () => new ConcurrentUnixStreamServer(unix(), StreamCommandHandler),
      threading: () => new ThreadingUnixStreamServer(unix(), StreamCommandHandler),
      forking: () => new ForkingUnixStreamServer(unix(), StreamCommandHandler, again),
    },
    dial: connect,
  },
];

const DATAGRAMS: { name: string; modes: Record<string, () => AnyServer> }[] = [
  {
    name: "UDP",
    modes: {
      sync: () => new UDPServer(LOOPBACK, DatagramCommandHandler),
      concurrent: () => new ConcurrentUDPServer(LOOPBACK, DatagramCommandHandler),
      threading: () => new ThreadingUDPServer(LOOPBACK, DatagramCommandHandler),
      forking: () => new ForkingUDPServer(LOOPBACK, DatagramCommandHandler),
    },
  },
  {
    name: "Unix datagram",
    modes: {
      sync: () => new UnixDatagramServer(unix(), DatagramCommandHandler),
      concurrent: () => new ConcurrentUnixDatagramServer(unix(), DatagramCommandHandler),
      threading: () => new ThreadingUnixDatagramServer(unix(), DatagramCommandHandler),
      forking: () => new ForkingUnixDatagramServer(unix(), DatagramCommandHandler, again),
    },
  },
];

/** A server that serves, and what its handlers failed with. */
interface Running extends AsyncDisposable {
  server: AnyServer;
  address: SocketAddress;
  errors: [error: unknown, clientAddress: SocketAddress][];
  serving: Promise<void>;
}

function run(server: AnyServer): Running {
  const errors: Running["errors"] = [];
  server.handleError = (error, _request, clientAddress) => void errors.push([error, clientAddress]);
  server.requestContext = () => CONTEXT;
  const serving = server.serveForever();
  return {
    server,
    address: server.serverAddress,
    errors,
    serving,
    async [Symbol.asyncDispose]() {
      await server.serverClose();
      await serving;
      await server.finished;
    },
  };
}

/** Checks the one error that a handler failed with on command. */
function assertFailed({ errors }: Running, clientAddress: SocketAddress): void {
  assertEquals(errors.length, 1);
  const [[error, address]] = errors.splice(0) as [Running["errors"][number]];
  assertInstanceOf(error, Deno.errors.NotFound);
  assertEquals([error.name, error.message], ["NotFound", "no such thing"]);
  assertStringIncludes(error.stack!, "handlers.ts");
  assertEquals((error as { code?: unknown }).code, "ENOENT");
  assertInstanceOf(error.cause, RangeError);
  assertEquals(error.cause.message, "the reason");
  assertEquals(address, clientAddress);
}

/** What a handler that describes itself says. */
function description(running: Running, clientAddress: SocketAddress): string {
  const seen = { clientAddress, serverAddress: running.address, aborted: false };
  return `${JSON.stringify(seen)} ${Deno.inspect(CONTEXT)}`;
}

for (const { name, modes, dial } of STREAMS) {
  for (const [mode, make] of Object.entries(modes)) {
    Deno.test(`${name}, ${mode}: a stream handler does all that it does elsewhere`, async (t) => {
      await using running = run(make());
      const { server, address, errors } = running;

      /** Says a command and more, ends that side, and hears the answer. */
      const ask = async (command: string, more: string | Uint8Array = "") => {
        using conn = await dial(address);
        await writeAll(conn, bytes(`${command}\n`));
        await writeAll(conn, typeof more === "string" ? bytes(more) : more);
        await conn.closeWrite();
        return await readAll(conn);
      };
      const askText = async (command: string, more = "") => text(await ask(command, more));

      await t.step("echoes lines", async () => {
        assertEquals(await askText("echo", "one\ntwo\nthree"), "one\ntwo\nthree");
      });

      await t.step("echoes 1 MB to a client that reads meanwhile, and ends after it", async () => {
        const data = pattern(1 << 20);
        using conn = await dial(address);
        const sent = writeAll(conn, bytes("echo\n"))
          .then(() => writeAll(conn, data))
          .then(() => conn.closeWrite());
        const [heard] = await Promise.all([readAll(conn), sent]);
        assertSame(heard, data);
      });

      await t.step("hears 1 MB to its end before it answers", async () => {
        assertEquals(text(await ask("count", pattern(1 << 20))), String(1 << 20));
      });

      await t.step("closes though the client does not take what was sent before", async () => {
        using conn = await dial(address);
        await writeAll(conn, bytes("close-full\n"));
        await until(() => server.stats().active === 1);
        await until(() => server.stats().active === 0);
        assertEquals(errors, []);
        const heard = await readAll(conn).catch(() => new Uint8Array());
        assert(heard.length < 1 << 26, `${heard.length} bytes`);
      });

      await t.step("gives reads at once what comes, in the order of the calls", async () => {
        using conn = await dial(address);
        await writeAll(conn, bytes("reads\n"));
        assertEquals(text(await readExactly(conn, 7)), "reading");
        for (const [n, letter] of [..."abc"].entries()) {
          await writeAll(conn, bytes(letter));
          assertEquals(text(await readExactly(conn, 2)), `${n + 1}${letter}`);
        }
        await conn.closeWrite();
        assertEquals(text(await readAll(conn)), "4");
        using another = await dial(address);
        await writeAll(another, bytes("reads\n"));
        assertEquals(text(await readExactly(another, 7)), "reading");
        await writeAll(another, bytes("abcd"));
        assertEquals(text(await readAll(another)), "1a2b3c4d");
      });

      await t.step(
        "fails with an error that handleError() gets; the next client is served",
        async () => {
          using conn = await dial(address);
          await writeAll(conn, bytes("fail\n"));
          assertEquals(await readAll(conn), new Uint8Array());
          await until(() => errors.length > 0);
          assertFailed(running, clientAddressOf(conn));
          assertEquals(await askText("echo", "still here"), "still here");
        },
      );

      await t.step("sees the addresses and the context", async () => {
        using conn = await dial(address);
        await writeAll(conn, bytes("describe\n"));
        assertEquals(text(await readAll(conn)), description(running, clientAddressOf(conn)));
      });

      await t.step("sees both ends of its connection", async () => {
        using conn = await dial(address);
        await writeAll(conn, bytes("addresses\n"));
        const expected = JSON.stringify([address, clientAddressOf(conn)]);
        assertEquals(text(await readAll(conn)), expected);
      });

      await t.step("ends its side and goes on hearing", async () => {
        using conn = await dial(address);
        await writeAll(conn, bytes("close-write\n"));
        assertEquals(text(await readAll(conn)), "all I say");
        await writeAll(conn, bytes("much later"));
        await conn.closeWrite();
        await until(() => errors.length > 0);
        assertEquals((errors.splice(0)[0]![0] as Error).message, "heard much later");
      });

      await t.step("closes the connection", async () => {
        using conn = await dial(address);
        await writeAll(conn, bytes("close\n"));
        assertEquals(text(await readAll(conn)), "gone");
      });

      await t.step("writes without awaiting, and all arrives", async () => {
        assertEquals(await askText("not-awaited"), "one two three");
      });

      await t.step("sets socket options", async () => {
        assertEquals(await askText("options"), "set");
      });

      await t.step("ends when the client vanishes; the next client is served", async () => {
        const conn = await dial(address);
        await writeAll(conn, bytes("listen\n"));
        // What is left unread makes the close a reset.
        await readExactly(conn, 1);
        conn.close();
        assertEquals(await askText("echo", "and on"), "and on");
        await until(() => server.stats().active === 0);
        assertGone(errors);
      });

      await t.step("serves the next client when one leaves at once", async () => {
        (await dial(address)).close();
        assertEquals(await askText("echo", "and on"), "and on");
        await until(() => server.stats().active === 0);
        assertGone(errors);
      });

      await t.step("is told by its signal when the server cuts it off", async () => {
        using conn = await dial(address);
        await writeAll(conn, bytes("hold\n"));
        assertEquals(text(await readExactly(conn, 7)), "holding");
        const { aborted } = await server.drain({ timeout: 0 });
        assertEquals(aborted, 1);
        assertEquals(await readAll(conn).catch(() => new Uint8Array()), new Uint8Array());
        assertEquals(server.stats().workers?.poisoned ?? 0, 0);
        assertEquals(errors, []);
      });
    });
  }
}

for (const { name, modes } of DATAGRAMS) {
  for (const [mode, make] of Object.entries(modes)) {
    Deno.test(`${name}, ${mode}: a datagram handler does all that it does elsewhere`, async (t) => {
      await using running = run(make());
      const { server, address, errors } = running;
      using client = datagramClient(address);

      const ask = async (data: string) => {
        await client.send(bytes(data), address);
        return text((await client.receive(new Uint8Array(65536)))[0]);
      };

      await t.step("echoes", async () => {
        assertEquals(await ask("echo one two"), "one two");
      });

      await t.step("takes a long datagram and sends one", async () => {
        const long = "x".repeat(60_000);
        assertEquals(await ask(`echo ${long}`), long);
      });

      await t.step("takes an empty datagram and sends one", async () => {
        assertEquals(await ask(""), "nothing came");
        assertEquals(await ask("answer-nothing"), "");
      });

      await t.step("fails with an error that handleError() gets; the next is served", async () => {
        await client.send(bytes("fail"), address);
        await until(() => errors.length > 0);
        assertFailed(running, client.addr as SocketAddress);
        assertEquals(await ask("echo on"), "on");
      });

      await t.step("sees the addresses and the context", async () => {
        assertEquals(await ask("describe"), description(running, client.addr as SocketAddress));
        assertEquals(await ask("addresses"), JSON.stringify([address]));
      });

      await t.step("sends without awaiting, and all arrives", async () => {
        await client.send(bytes("not-awaited"), address);
        const answers = [];
        for (let count = 0; count < 3; count++) answers.push(text((await client.receive())[0]));
        assertEquals(answers.sort(), ["one", "three", "two"]);
      });

      await t.step("may block while it sends, and hears what could not be sent", async () => {
        if (mode !== "threading" && mode !== "forking") return;
        assertEquals(await ask("blocking"), "one");
        assertEquals(text((await client.receive())[0]), "EMSGSIZE");
        assertEquals(text((await client.receive())[0]), "three");
      });

      await t.step("hears in the handler what could not be sent, and only there", async () => {
        const name = address.transport === "udp"
          ? `127.0.0.1:${(client.addr as Deno.NetAddr).port}`
          : (client.addr as Deno.UnixAddr).path;
        const message =
          `Cannot send datagram to "${name}": 1048576 bytes are more than the system sends`;
        assertEquals(await ask("too-long"), `EMSGSIZE: ${message}`);
        assertEquals(await ask("too-long-not-awaited"), "sent");
        await until(() => server.stats().active === 0);
        assertEquals(errors, []);
        await client.send(bytes("too-long-not-caught"), address);
        await until(() => errors.length > 0);
        const [[error]] = errors.splice(0) as [Running["errors"][number]];
        assertEquals((error as Error).message, message);
        assertEquals((error as { code?: unknown }).code, "EMSGSIZE");
      });

      await t.step("goes on when the client vanishes", async () => {
        {
          using vanishing = datagramClient(address);
          await vanishing.send(bytes("echo nobody"), address);
        }
        assertEquals(await ask("echo on"), "on");
        await until(() => server.stats().active === 0);
        assertGone(errors);
      });

      await t.step("is told by its signal when the server cuts it off", async () => {
        assertEquals(await ask("hold"), "holding");
        assertEquals((await server.drain({ timeout: 0 })).aborted, 1);
        assertEquals(server.stats().workers?.poisoned ?? 0, 0);
        assertEquals(errors, []);
      });
    });
  }
}

/** Takes the errors away, which may say that a client has gone, as far as that was seen, and nothing else. */
function assertGone(errors: Running["errors"]): void {
  for (const [error] of errors.splice(0)) assert(isPeerGone(error), Deno.inspect(error));
}

/** Has the options written down that are set on a connection in the server's own isolate. */
function spyOn(request: StreamSocket, calls: [string, boolean | undefined][]): void {
  request.setNoDelay = (on?: boolean) => void calls.push(["setNoDelay", on]);
  request.setKeepAlive = (on?: boolean) => void calls.push(["setKeepAlive", on]);
}

for (const Server of [ThreadingTCPServer, ForkingTCPServer]) {
  Deno.test(`fault 37: ${Server.name} sets the socket options that a handler sets elsewhere`, async () => {
    const calls: [string, boolean | undefined][] = [];
    const server = new Server(LOOPBACK, StreamCommandHandler);
    const { getRequest } = server;
    server.getRequest = async () => {
      const [request, clientAddress] = await getRequest.call(server);
      spyOn(request, calls);
      return [request, clientAddress];
    };
    await using _ = start(server);
    assertEquals(await exchange(server.serverAddress, "options\n"), "set");
    assertEquals(calls, [["setNoDelay", true], ["setNoDelay", false], ["setKeepAlive", true]]);
  });
}

/** A client's address as the server sees it: that of a Unix client that bound no path has none. */
function clientAddressOf(conn: Deno.Conn): SocketAddress {
  return conn.localAddr as SocketAddress;
}

/** What a client has got from a server that is gone by now; nothing when nothing has come. */
async function arrived(client: Deno.DatagramConn): Promise<string> {
  const { promise: late, resolve } = Promise.withResolvers<string>();
  const timer = setTimeout(resolve, 500, "");
  const answer = await Promise.race([
    client.receive().then(([data]) => text(data), () => ""),
    late,
  ]);
  clearTimeout(timer);
  return answer;
}

/** Resolves when nobody listens at an address any more; clients that got in before are gone at once. */
async function refused(address: SocketAddress): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    try {
      (await connect(address)).close();
    } catch (error) {
      if (error instanceof Deno.errors.ConnectionRefused) return;
      if (error instanceof Deno.errors.NotFound) return;
      if (!(error instanceof Deno.errors.ConnectionReset)) throw error; // in this very moment
    }
    await new Promise((resolve) => setTimeout(resolve, 50)); // for the queue to be empty meanwhile
  }
  throw new Error("clients are still accepted");
}

/** Says a command to a server and hears that its handler runs. */
async function holding(conn: Deno.Conn, command: string, answer: string): Promise<void> {
  await writeAll(conn, bytes(command));
  assertEquals(text(await readExactly(conn, answer.length)), answer);
}

for (const { name, modes, dial } of STREAMS) {
  for (const [mode, make] of Object.entries(modes)) {
    Deno.test(`fault 26: ${name}, ${mode}: drain() frees the address at once, and what runs has its time`, async () => {
      const server = make();
      const address = server.serverAddress;
      const serving = server.serveForever();
      using conn = await dial(address);
      await holding(conn, "echo\none\n", "one\n");
      using queued = await connect(address); // waits, where requests come one at a time
      const drained = server.drain({ timeout: null });
      await refused(address);
      assertEquals(server.state, "draining");
      {
        const successor = name === "Unix stream"
          ? new UnixStreamServer(address as Deno.UnixAddr, () => {})
          : new TCPServer(address as Deno.NetAddr, () => {});
        await using _ = successor;
        const served = successor.handleRequest();
        using other = await connect(address);
        assertEquals(await readAll(other), new Uint8Array());
        await served;
      }
      await holding(conn, "two\n", "two\n");
      await conn.closeWrite();
      assertEquals(await readAll(conn), new Uint8Array());
      queued.close();
      const { aborted } = await drained;
      assertEquals(aborted, 0);
      await serving;
      await server.finished;
      assertEquals(server.state, "closed");
    });

    for (const blocks of mode === "sync" ? [false] : [true, false]) {
      const how = blocks ? "waits for what runs" : "waits for nobody";
      Deno.test(`fault 27: ${name}, ${mode}: drain() cuts off what runs after a serverClose() that ${how}`, async () => {
        const server = make();
        if (mode !== "sync") Reflect.set(server, "blockOnClose", blocks);
        const serving = server.serveForever();
        using conn = await dial(server.serverAddress);
        await holding(conn, "hold\n", "holding");
        const closing = server.serverClose();
        if (!blocks) await closing;
        assertEquals(server.stats().active, 1);
        assertEquals(await server.drain({ timeout: 30 }), { completed: 0, aborted: 1 });
        await readAll(conn).catch(() => {}); // the connection is closed
        await closing;
        await serving;
        await server.finished;
        if (mode !== "sync") Reflect.set(server, "blockOnClose", true);
        await server.serverClose(); // now it waits, for Workers and subprocesses that still end
      });
    }
  }
}

for (const { name, modes } of DATAGRAMS) {
  for (const [mode, make] of Object.entries(modes)) {
    Deno.test(`fault 26: ${name}, ${mode}: drain() receives no more and keeps the socket for the answers`, async () => {
      // A handler that is cut off has 100 ms for its last answer, which a busy machine may not give it.
      let answer = "";
      for (let round = 0; round < 20 && answer === ""; round++) {
        const server = make();
        const serving = server.serveForever();
        using client = datagramClient(server.serverAddress);
        await client.send(bytes("bye"), server.serverAddress);
        assertEquals(text((await client.receive())[0]), "holding");
        const first = server.drain({ timeout: null });
        if (mode !== "sync") {
          await serving; // ends when the queue is empty
          await client.send(bytes("echo late"), server.serverAddress);
        }
        const { aborted } = await server.drain({ timeout: 50 });
        assertEquals(aborted, 1);
        await first;
        await serving;
        await server.finished;
        assertEquals(server.stats().accepted, 1);
        answer = await arrived(client);
      }
      assertEquals(answer, "bye");
    });

    Deno.test(`fault 27: ${name}, ${mode}: drain() cuts off what runs after serverClose()`, async () => {
      const server = make();
      const serving = server.serveForever();
      const client = name === "UDP"
        ? Deno.listenDatagram({ transport: "udp", ...LOOPBACK })
        : Deno.listenDatagram({ transport: "unixpacket", ...unix() });
      await client.send(bytes("hold"), server.serverAddress);
      assertEquals(text((await client.receive())[0]), "holding");
      const closing = server.serverClose();
      assertEquals(await server.drain({ timeout: 30 }), { completed: 0, aborted: 1 });
      await closing;
      client.close();
      await serving;
      await server.finished;
    });
  }
}

/** What the limit of each mode is called. */
const LIMITS = { concurrent: "maxConnections", threading: "maxThreads", forking: "maxChildren" };

for (const [mode, limit] of Object.entries(LIMITS)) {
  for (const { name, modes, dial } of STREAMS) {
    Deno.test(`fault 28: ${name}, ${mode}: raising ${limit} admits at once who waits`, async () => {
      const server = modes[mode]!();
      Reflect.set(server, limit, 1);
      await using _ = run(server);
      using first = await dial(server.serverAddress);
      await holding(first, "echo\none\n", "one\n");
      // No handshake: over TLS that needs the server, for which these wait.
      using _second = await connect(server.serverAddress);
      using _third = await connect(server.serverAddress);
      assertEquals(server.stats().active, 1);
      Reflect.set(server, limit, 2);
      await until(() => server.stats().active === 2);
      Reflect.set(server, limit, 3);
      await until(() => server.stats().active === 3);
      assertEquals(server.stats().completed, 0);
    });
  }

  for (const { name, modes } of DATAGRAMS) {
    Deno.test(`fault 28: ${name}, ${mode}: raising ${limit} admits at once who waits`, async () => {
      const server = modes[mode]!();
      Reflect.set(server, limit, 1);
      const serving = server.serveForever();
      await using _ = {
        [Symbol.asyncDispose]: async () => void await server.drain({ timeout: 0 }),
      };
      const client = name === "UDP"
        ? Deno.listenDatagram({ transport: "udp", ...LOOPBACK })
        : Deno.listenDatagram({ transport: "unixpacket", ...unix() });
      for (let n = 0; n < 2; n++) await client.send(bytes("hold"), server.serverAddress);
      assertEquals(text((await client.receive())[0]), "holding");
      assertEquals(server.stats().active, 1);
      Reflect.set(server, limit, 2);
      await until(() => server.stats().active === 2).finally(() => client.close());
      assertEquals(await server.drain({ timeout: 0 }), { completed: 0, aborted: 2 });
      await serving;
    });
  }
}

for (const { name, modes } of DATAGRAMS) {
  for (const [mode, make] of Object.entries(modes)) {
    Deno.test(`fault 21: ${name}, ${mode}: a datagram from the server's own address is dropped and counted`, async () => {
      await using running = run(make());
      const { server, address } = running;
      const socket = server.socket as Deno.DatagramConn;
      for (let n = 0; n < 2; n++) {
        await socket.send(bytes("echo echo echo"), address as Deno.NetAddr);
      }
      await until(() => server.stats().acceptErrors["OWN_ADDRESS"] === 2);
      assertEquals(await datagramExchange(address, "echo hello"), "hello");
      assertEquals(server.stats().accepted, 1);
      assertEquals(running.errors, []);
    });
  }
}
