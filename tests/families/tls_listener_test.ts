/**
 * TLSListener: handshakes that never end, before and after Deno's TLS is given up.
 *
 * @module
 */
import { assertEquals, assertInstanceOf, assertMatch, assertRejects } from "@std/assert";
import { connect as connectNode } from "node:net";
import { connect as connectNodeTLS } from "node:tls";
import {
  ConcurrentTLSServer,
  StreamRequestHandler,
  StreamSocket,
  type TLSServerOptions,
} from "@netkit/socketserver";
import { TLSListener, type TLSListenerOptions } from "../../src/families/tls_listener.ts";
import {
  bytes,
  connect,
  connectTLS,
  exchangeOn,
  ListLogger,
  LOOPBACK,
  openDescriptors,
  readAll,
  readExactly,
  start,
  type Started,
  text,
  TLS,
  until,
  writeAll,
} from "../harness.ts";
import { moduleOf, Program, runArgs } from "../program.ts";

/** How many descriptors may come and go for other reasons; less than there are clients in any test here. */
const SLACK = 5;

const PEM = { cert: TLS.cert, key: TLS.key };

/** Sends each line back. */
class EchoHandler extends StreamRequestHandler {
  override async handle() {
    for await (const line of this.rfile) await this.wfile.write(line);
  }
}

function listen(options: Partial<TLSListenerOptions> = {}): TLSListener {
  return new TLSListener({
    ...LOOPBACK,
    ...PEM,
    tcpBacklog: 511,
    reusePort: false,
    onReplace: () => {},
    ...options,
  });
}

/** A server that has given up Deno's TLS from the beginning. */
class NodeTLSServer extends ConcurrentTLSServer {
  readonly #alpn: string[] | undefined;
  readonly #replaced = Promise.withResolvers<void>();

  constructor(
    handler: typeof EchoHandler | ((request: StreamSocket) => Promise<void>),
    options: Partial<TLSServerOptions> = {},
  ) {
    super(LOOPBACK, handler, { ...PEM, ...options, bindAndActivate: false });
    this.#alpn = options.alpnProtocols;
    this.serverBind();
  }

  override openListener(): Deno.TlsListener {
    const alpn = this.#alpn === undefined ? {} : { alpnProtocols: this.#alpn };
    const onReplace = () => this.#replaced.resolve();
    return listen({ maxHandshakes: 0, patience: 0, onReplace, ...alpn });
  }

  /** Starts one, and resolves when it has got rid of its first listener, which would reset who waits. */
  static async start(
    handler: typeof EchoHandler | ((request: StreamSocket) => Promise<void>),
    options: Partial<TLSServerOptions> = {},
  ): Promise<Started<NodeTLSServer>> {
    const started = start(new NodeTLSServer(handler, options));
    await started.server.#replaced.promise;
    return started;
  }
}

Deno.test("TLSListener.accept() waits at the limit for a handshake to end, and goes on with Deno's TLS", async () => {
  const replaced: string[] = [];
  const listener = listen({
    maxHandshakes: 2,
    patience: 60_000,
    onReplace: (message) => replaced.push(message),
  });
  using _ = await connect(listener.addr as never);
  const leaving = await connect(listener.addr as never);
  const first = await listener.accept();
  const second = await listener.accept();
  first.close(); // to no effect as long as its client stays
  const next = listener.accept();
  const connecting = connectTLS(listener.addr as never);
  leaving.close();
  using conn = await next;
  using client = await connecting;
  await Promise.all([conn.handshake(), client.handshake()]);
  assertEquals(replaced, []);
  second.close();
  listener.close();
});

Deno.test("TLSListener.close() ends an accept that waits for a handshake to end", async () => {
  const listener = listen({ maxHandshakes: 1, patience: 60_000 });
  using _ = await connect(listener.addr as never);
  const conn = await listener.accept();
  const next = listener.accept();
  listener.close();
  await assertRejects(() => next, Deno.errors.BadResource);
  conn.close();
});

Deno.test("TLSListener gives connections without Deno's TLS that are whole, until it is closed", async () => {
  const { promise: replaced, resolve: onReplace } = Promise.withResolvers<unknown>();
  using listener = listen({ maxHandshakes: 0, patience: 0, onReplace });
  const conns = listener[Symbol.asyncIterator]();
  const accepting = conns.next();
  await replaced;
  const connecting = connectTLS(listener.addr as never);
  using conn = (await accepting).value as Deno.TlsConn;
  const [client] = await Promise.all([connecting, conn.handshake()]);
  using _ = client;
  assertEquals([conn.localAddr, conn.remoteAddr], [client.remoteAddr, client.localAddr]);
  assertEquals(await conn.read(new Uint8Array(0)), 0);
  conn.unref();
  conn.ref();
  const echoing = conn.readable.pipeTo(conn.writable);
  await writeAll(client, bytes("hello"));
  await client.closeWrite();
  assertEquals(text(await readAll(client)), "hello");
  await echoing;
  conn.close();
  await assertRejects(() => conn.write(new Uint8Array(1)), Deno.errors.Interrupted);
  listener.close();
  assertEquals((await conns.next()).done, true);
});

Deno.test("TLSListener.accept() listens without Deno's TLS when no handshake ends, and what it has holds no more", async () => {
  const replaced: string[] = [];
  const onReplace = (message: string) => replaced.push(message);
  const listener = listen({ maxHandshakes: 2, patience: 10, onReplace });
  const conns: Deno.Conn[] = [];
  const clients = new DisposableStack();
  const accept = async () => {
    clients.use(await connect(listener.addr as never));
    conns.push(await listener.accept());
  };
  await accept();
  await accept();
  for (const conn of conns.splice(0)) conn.close();
  const { port } = listener.addr;
  const next = listener.accept();
  await until(() => replaced.length > 0);
  clients.use(await connect(listener.addr as never));
  (await next).close();
  const before = openDescriptors();
  for (let index = 0; index < 20; index++) await accept();
  for (const conn of conns) conn.close();
  await until(() => openDescriptors() <= before + 20 + SLACK);
  assertEquals(listener.addr.port, port);
  assertMatch(replaced.join(), /^2 clients do not end their TLS handshakes/);
  clients.dispose();
  listener.close();
});

/** More than the buffers of a connection take. */
const MUCH = new Uint8Array(20_000_000);

/** Accepts a client and does the handshake with it. */
async function acceptSecure(
  listener: TLSListener,
  clients: DisposableStack,
): Promise<{ conn: Deno.TlsConn; client: Deno.TlsConn }> {
  const [conn, client] = await Promise.all([
    listener.accept(),
    connectTLS(listener.addr as never),
  ]);
  clients.use(client);
  await Promise.all([conn.handshake(), client.handshake()]);
  return { conn, client };
}

Deno.test("TLSListener.accept() listens without Deno's TLS when clients who read nothing have been cut off", async () => {
  const replaced: string[] = [];
  const onReplace = (message: string) => replaced.push(message);
  const listener = listen({ maxHandshakes: 2, patience: 10, onReplace });
  using clients = new DisposableStack();
  for (let index = 0; index < 2; index++) {
    const { conn } = await acceptSecure(listener, clients);
    const socket = new StreamSocket(conn);
    socket.timeout = 50;
    await assertRejects(() => socket.sendAll(MUCH), Deno.errors.TimedOut);
  }
  const next = listener.accept();
  await until(() => replaced.length > 0);
  using client = clients.use(await connectTLS(listener.addr as never));
  using conn = await next;
  await Promise.all([conn.handshake(), client.handshake()]);
  assertMatch(replaced.join(), /^2 clients do not end their TLS handshakes, or read nothing/);
  listener.close();
});

Deno.test("TLSListener counts no connection that is closed when its writes have ended, however they did", async () => {
  const replaced: string[] = [];
  const onReplace = (message: string) => replaced.push(message);
  const listener = listen({ maxHandshakes: 1, patience: 60_000, onReplace });
  using clients = new DisposableStack();
  {
    const { conn } = await acceptSecure(listener, clients);
    await writeAll(conn, bytes("hello"));
    conn.close();
  }
  {
    const { conn, client } = await acceptSecure(listener, clients);
    const writing = writeAll(conn, MUCH);
    client.close();
    await assertRejects(() => writing);
    conn.close();
  }
  const { conn } = await acceptSecure(listener, clients);
  await conn.closeWrite();
  conn.close();
  assertEquals(replaced, []);
  listener.close();
});

/** Listens by a permission with which a listener cannot be replaced, cuts off a client who reads nothing, and takes one more. */
const PERMITTED = `
import { StreamSocket } from "@netkit/socketserver";
import { TLSListener } from ${
  JSON.stringify(new URL("../../src/families/tls_listener.ts", import.meta.url).href)
};
const listener = new TLSListener({
  hostname: "127.0.0.1",
  port: 0,
  cert: Deno.args[0],
  key: Deno.args[1],
  tcpBacklog: 511,
  reusePort: false,
  onReplace: console.log,
  maxHandshakes: 1,
  patience: 10,
});
console.log("at", listener.addr.port);
const first = await listener.accept();
await first.handshake();
const socket = new StreamSocket(first);
socket.timeout = 50;
await socket.sendAll(new Uint8Array(20_000_000)).catch(({ name }) => console.log(name));
const second = await listener.accept();
await second.handshake();
console.log("served");
Deno.exit();
`;

Deno.test("TLSListener.accept() goes on with Deno's TLS where it may not listen on the port again", async () => {
  const module = await moduleOf(PERMITTED);
  const args = runArgs(module, ["--allow-net=127.0.0.1:0", "--no-check"], [TLS.cert, TLS.key]);
  await using program = new Program(args);
  const [, port] = await program.line(/^at (\d+)$/);
  const address = { transport: "tcp", hostname: "127.0.0.1", port: Number(port) } as const;
  using first = await connectTLS(address);
  await first.handshake();
  await program.line(/^TimedOut$/);
  using second = await connectTLS(address);
  await second.handshake();
  await program.line(/^served$/);
});

Deno.test("NodeTLSConn echoes to three clients, one after the other, and a megabyte whole", async () => {
  await using started = await NodeTLSServer.start(EchoHandler);
  const { serverAddress } = started.server;
  for (const line of ["one\n", "two\n", "three\n", `${"x".repeat(1023)}\n`.repeat(1024)]) {
    using conn = await connectTLS(serverAddress);
    const hearing = readExactly(conn, line.length);
    await writeAll(conn, bytes(line));
    assertEquals(text(await hearing), line);
    await conn.closeWrite();
    assertEquals(await readAll(conn), new Uint8Array());
  }
  await until(() => started.server.stats().completed === 4);
});

Deno.test("NodeTLSConn.closeWrite() ends its side of TLS in good order and leaves the client's open", async () => {
  const heard = Promise.withResolvers<string>();
  const sayGoodbye = async (request: StreamSocket) => {
    await request.sendAll("goodbye");
    await request.closeWrite();
    heard.resolve(text(await readAll(request)));
  };
  await using started = await NodeTLSServer.start(sayGoodbye);
  using conn = await connectTLS(started.server.serverAddress);
  assertEquals(text(await readAll(conn)), "goodbye");
  await writeAll(conn, bytes("one more thing"));
  await conn.closeWrite();
  assertEquals(await heard.promise, "one more thing");
});

Deno.test("NodeTLSConn.handshake() tells the protocol that ALPN chose", async () => {
  const tell = async (request: StreamSocket) => {
    await request.sendAll(`${(await request.handshake())?.alpnProtocol}`);
  };
  await using started = await NodeTLSServer.start(tell, { alpnProtocols: ["echo/2", "echo/1"] });
  const { port } = started.server.serverAddress;
  for (const [offered, chosen] of [[["echo/1", "echo/2"], "echo/2"], [[], "null"]] as const) {
    using conn = await Deno.connectTls({
      hostname: "localhost",
      port,
      caCerts: [TLS.ca],
      alpnProtocols: [...offered],
    });
    assertEquals(text(await readAll(conn)), chosen);
  }
});

Deno.test("NodeTLSConn.read() rejects when the client is cut off within the stream", async () => {
  const outcome = Promise.withResolvers<unknown>();
  const readOn = async (request: StreamSocket) => {
    const heard = text(await request.recv());
    outcome.resolve(await request.recv().then(() => "the end", (error) => [heard, error]));
  };
  await using started = await NodeTLSServer.start(readOn);
  const { port } = started.server.serverAddress;
  const socket = connectNode(port, "127.0.0.1");
  const client = connectNodeTLS({ socket, ca: TLS.ca, servername: "localhost" });
  client.on("error", () => {});
  client.write("half a li", () => socket.destroySoon());
  const [heard, error] = await outcome.promise as [string, unknown];
  assertEquals(heard, "half a li");
  assertInstanceOf(error, Deno.errors.UnexpectedEof);
});

Deno.test("NodeTLSConn.handshake() fails for who speaks no TLS, for one debug line, and the next is served", async () => {
  const logger = new ListLogger();
  await using started = await NodeTLSServer.start(EchoHandler, { logger });
  const { serverAddress } = started.server;
  {
    using conn = await connect(serverAddress);
    await writeAll(conn, bytes("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    await readAll(conn).catch(() => {}); // the end or a reset
  }
  assertEquals(await exchangeOn(await connectTLS(serverAddress), "next\n"), "next\n");
  assertEquals(logger.lines.length, 1);
  assertMatch(logger.lines[0]!, /^debug: Client "127.+" went away: Cannot finish TLS handshake: /);
});

Deno.test("NodeTLSConn frees the descriptors of clients that are silent or refused", async () => {
  const options = { handshakeTimeout: 30, maxConnectionsPerSource: 2 };
  await using started = await NodeTLSServer.start(EchoHandler, options);
  const { server } = started;
  assertEquals(await exchangeOn(await connectTLS(server.serverAddress), "warm\n"), "warm\n");
  await until(() => server.stats().active === 0);
  const before = openDescriptors();
  using clients = new DisposableStack();
  for (let index = 0; index < 20; index++) clients.use(await connect(server.serverAddress));
  await until(() => server.stats().accepted === 21 && server.stats().active === 0);
  await until(() => openDescriptors() <= before + 20 + SLACK);
});

for (
  const [what, said] of [["nothing", []], ["half of a record", [0x16, 3, 1, 2, 0, 1]]] as const
) {
  Deno.test(`NodeTLSConn.handshake() fails at once for a client that has said ${what} and is gone`, async () => {
    const options = { handshakeTimeout: null, logger: new ListLogger() };
    await using started = await NodeTLSServer.start(EchoHandler, options);
    const { server } = started;
    for (let index = 0; index < 10; index++) {
      using conn = await connect(server.serverAddress);
      await writeAll(conn, new Uint8Array(said));
    }
    await until(() => server.stats().failed === 10);
    assertEquals(server.stats().active, 0);
  });
}

Deno.test("NodeTLSConn.close() frees the descriptor of a client that reads nothing", async () => {
  const flood = async (request: StreamSocket) => {
    request.timeout = 50;
    await request.sendAll("x".repeat(20_000_000));
  };
  const logger = new ListLogger(); // it gets the time-outs
  await using started = await NodeTLSServer.start(flood, { logger });
  const { server } = started;
  const before = openDescriptors();
  using clients = new DisposableStack();
  for (let index = 0; index < 10; index++) {
    await clients.use(await connectTLS(server.serverAddress)).handshake();
  }
  await until(() => server.stats().failed === 10);
  await until(() => openDescriptors() <= before + 10 + SLACK);
});
