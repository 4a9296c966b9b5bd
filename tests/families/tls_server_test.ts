/**
 * TLSServer: good clients, bad handshakes, bad certificates.
 *
 * @module
 */
import {
  assert,
  assertEquals,
  assertGreaterOrEqual,
  assertInstanceOf,
  assertMatch,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { connect as connectNode, type Socket } from "node:net";
import {
  ConcurrentTLSServer,
  ForkingTLSServer,
  type SocketAddress,
  StreamRequestHandler,
  type StreamSocket,
  TCPServer,
  ThreadingTLSServer,
  TLSHandshakeError,
  TLSServer,
  type TLSServerOptions,
} from "@netkit/socketserver";
import {
  assertNoneOpened,
  bytes,
  connect,
  connectAndReset,
  connectTLS,
  exchangeOn,
  ListLogger,
  LOOPBACK,
  openDescriptors,
  readAll,
  readExactly,
  start,
  text,
  TLS,
  until,
  writeAll,
} from "../harness.ts";
import { StreamCommandHandler } from "../handlers.ts";

/** Sends each line back. */
class EchoHandler extends StreamRequestHandler {
  override async handle() {
    for await (const line of this.rfile) await this.wfile.write(line);
  }
}

const PEM = { cert: TLS.cert, key: TLS.key };

/** Keeps what `handleError()` gets. */
class KeepingServer extends TLSServer {
  readonly errors: unknown[] = [];
  override handleError(error: unknown): void {
    this.errors.push(error);
  }
}

/** Waits until the server has the client in hand, then resets the connection. */
async function resetOnceAccepted(server: TLSServer): Promise<void> {
  const { hostname, port } = server.serverAddress;
  const closed = Promise.withResolvers<void>();
  const socket: Socket = connectNode(port, hostname);
  socket.on("error", () => {});
  socket.on("close", () => closed.resolve());
  await until(() => server.stats().active === 1);
  socket.resetAndDestroy();
  await closed.promise;
}

/** Whether the server closes a connection; a second is long where 20 ms are asked for. */
async function isEnded(conn: Deno.Conn): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => resolve(false), 1000);
  readAll(conn).then(() => resolve(true), () => resolve(true));
  const ended = await promise;
  clearTimeout(timer);
  return ended;
}

/** A private key that fits no certificate here. */
async function otherKey(): Promise<string> {
  const pair = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, true, [
    "sign",
  ]);
  const der = new Uint8Array(await crypto.subtle.exportKey("pkcs8", pair.privateKey));
  const base64 = btoa(String.fromCharCode(...der));
  return `-----BEGIN PRIVATE KEY-----\n${base64}\n-----END PRIVATE KEY-----\n`;
}

function inArmour(label: string, body: string): string {
  return `-----BEGIN ${label}-----\n${body}\n-----END ${label}-----\n`;
}

/** The first client, which spoils its handshake, and a second one, which is served. */
async function spoilThenServe(
  spoil: (server: TLSServer) => Promise<void>,
  options: Partial<TLSServerOptions> = {},
): Promise<string[]> {
  const logger = new ListLogger();
  await using started = start(new TLSServer(LOOPBACK, EchoHandler, { ...PEM, logger, ...options }));
  const { server } = started;
  await spoil(server);
  assertEquals(await exchangeOn(await connectTLS(server.serverAddress), "next\n"), "next\n");
  assertEquals(server.stats().completed, 1);
  return logger.lines;
}

Deno.test("TLSServer.serveForever() echoes to three TLS clients, one after the other", async () => {
  await using started = start(new TLSServer(LOOPBACK, EchoHandler, PEM));
  for (const line of ["one\n", "two\n", "three\n"]) {
    assertEquals(await exchangeOn(await connectTLS(started.server.serverAddress), line), line);
  }
  assertEquals(started.server.stats().completed, 3);
});

/** Passes bytes between a client and a server, and ends the client's way, once it was asked to, after what comes next. */
class CuttingProxy implements Disposable {
  readonly #listener = Deno.listen(LOOPBACK);
  /** Whether the next bytes of the client are the last. */
  cuts = false;

  get addr(): Deno.NetAddr {
    return this.#listener.addr as Deno.NetAddr;
  }

  async serve(server: SocketAddress): Promise<void> {
    const [client, upstream] = await Promise.all([this.#listener.accept(), connect(server)]);
    await Promise.all([upstream.readable.pipeTo(client.writable), this.#pass(client, upstream)]);
  }

  async #pass(client: Deno.Conn, upstream: Deno.Conn): Promise<void> {
    const buffer = new Uint8Array(65536);
    for (let isLast = false; !isLast;) {
      const count = await client.read(buffer);
      isLast = this.cuts || count === null;
      await writeAll(upstream, buffer.subarray(0, count ?? 0));
    }
    await upstream.closeWrite();
  }

  [Symbol.dispose](): void {
    this.#listener.close();
  }
}

for (const Server of [TLSServer, ConcurrentTLSServer, ThreadingTLSServer, ForkingTLSServer]) {
  Deno.test(`${Server.name} answers a client that ends its stream without close_notify`, async () => {
    const errors: unknown[] = [];
    const options = { ...PEM, onError: (error: unknown) => void errors.push(error) };
    const server: TLSServer = new Server(LOOPBACK, StreamCommandHandler, options);
    await using _ = start(server);
    using proxy = new CuttingProxy();
    const passed = proxy.serve(server.serverAddress);
    using conn = await connectTLS(proxy.addr);
    await writeAll(conn, bytes("until-error\n"));
    await readExactly(conn, "listening".length);
    proxy.cuts = true;
    await writeAll(conn, bytes("the last\n"));
    assertEquals(text(await readAll(conn)), "the last, then UnexpectedEof");
    await passed;
    await until(() => errors.length === 1);
    assertInstanceOf(errors[0], Deno.errors.UnexpectedEof);
    assertStringIncludes(errors[0].message, "close_notify");
  });
}

Deno.test("TLSServer.serveForever() echoes a megabyte whole", async () => {
  const line = `${"x".repeat(1023)}\n`.repeat(1024);
  await using started = start(new TLSServer(LOOPBACK, EchoHandler, PEM));
  using conn = await connectTLS(started.server.serverAddress);
  const hearing = readExactly(conn, line.length);
  await writeAll(conn, bytes(line));
  assertEquals(text(await hearing), line);
});

Deno.test("TLSServer() is a TCPServer with the address that the system gave", async () => {
  await using server = new TLSServer(LOOPBACK, EchoHandler, PEM);
  assertInstanceOf(server, TCPServer);
  assertEquals([server.addressFamily, server.socketType], ["AF_INET", "SOCK_STREAM"]);
  assert(server.serverAddress.port > 0);
});

Deno.test("StreamSocket.handshake() tells a handler the protocol that ALPN chose", async () => {
  const tell = async (request: StreamSocket) => {
    await request.sendAll(`${(await request.handshake())?.alpnProtocol}`);
  };
  const options = { ...PEM, alpnProtocols: ["echo/2", "echo/1"] };
  await using started = start(new TLSServer(LOOPBACK, tell, options));
  const { port } = started.server.serverAddress;
  for (
    const [offered, chosen] of [
      [["echo/1", "echo/2"], "echo/2"],
      [["echo/1"], "echo/1"],
      [undefined, "null"],
    ] as const
  ) {
    using conn = await Deno.connectTls({
      hostname: "localhost",
      port,
      caCerts: [TLS.ca],
      ...(offered === undefined ? {} : { alpnProtocols: [...offered] }),
    });
    assertEquals(text(await readAll(conn)), chosen);
  }
});

Deno.test("TLSServer.serveForever() goes on after a client that speaks no TLS, for one debug line", async () => {
  const lines = await spoilThenServe(async ({ serverAddress }) => {
    using conn = await connect(serverAddress);
    await writeAll(conn, bytes("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    await readAll(conn).catch(() => {}); // a TLS alert, then the end or a reset
  });
  assertEquals(lines.length, 1);
  assertMatch(
    lines[0]!,
    /^debug: Client "127\.0\.0\.1:\d+" went away: Cannot finish TLS handshake: .+$/,
  );
});

Deno.test("TLSServer.serveForever() goes on after random bytes instead of a handshake", async () => {
  const lines = await spoilThenServe(async ({ serverAddress }) => {
    using conn = await connect(serverAddress);
    await writeAll(conn, Uint8Array.from({ length: 256 }, (_, index) => index));
    await readAll(conn).catch(() => {});
  });
  assertEquals(lines.length, 1);
  assertMatch(lines[0]!, /^debug: /);
});

for (
  const [what, sent] of [
    ["is silent", new Uint8Array()],
    ["stops within its handshake", Uint8Array.of(22, 3, 1, 2, 0, 1, 0, 1)], // a ClientHello's head
  ] as const
) {
  Deno.test(`TLSServer.handshakeTimeout lets the next client in when one ${what}, for one debug line`, async () => {
    using conns = new DisposableStack();
    const lines = await spoilThenServe(async ({ serverAddress }) => {
      await writeAll(conns.use(await connect(serverAddress)), sent);
    }, { handshakeTimeout: 50 });
    assertEquals(lines.length, 1);
    assertMatch(
      lines[0]!,
      /^debug: .* went away: Cannot finish TLS handshake: no end within 50 ms$/,
    );
  });
}

Deno.test("TLSServer.serveForever() goes on after a client that connects and leaves", async () => {
  const lines = await spoilThenServe(async ({ serverAddress }) => {
    (await connect(serverAddress)).close();
  });
  assertEquals(lines.length, 1);
  assertMatch(lines[0]!, /^debug: .* went away: Cannot finish TLS handshake: /);
});

Deno.test("TLSServer.serveForever() goes on after a client that resets, for one debug line", async () => {
  const lines = await spoilThenServe(resetOnceAccepted);
  assertEquals(lines.length, 1);
  assertMatch(lines[0]!, /^debug: .* went away: Cannot finish TLS handshake: /);
});

Deno.test("TLSServer.serveForever() goes on after a client that connects and resets at once", async () => {
  const lines = await spoilThenServe(({ serverAddress }) => connectAndReset(serverAddress));
  assertEquals(lines.length, 1); // from the handshake, or from accept() when the reset was faster
  assertMatch(lines[0]!, /^debug: /);
});

Deno.test("TLSServer.serveForever() goes on after a client that does not trust the certificate", async () => {
  const lines = await spoilThenServe(async ({ serverAddress: { port } }) => {
    const conn = await Deno.connectTls({ hostname: "localhost", port });
    await conn.handshake().then(() => {
      throw new Error("the client trusted the certificate");
    }, () => {});
    conn.close();
  });
  assertEquals(lines.length, 1);
  assertMatch(lines[0]!, /^debug: .* went away: /);
});

Deno.test("TLSServer.handleError() gets a TLSHandshakeError with the cause of a refused handshake", async () => {
  await using started = start(new KeepingServer(LOOPBACK, EchoHandler, PEM));
  using conn = await connect(started.server.serverAddress);
  await writeAll(conn, bytes("no TLS at all\n"));
  await until(() => started.server.errors.length > 0);
  const [error] = started.server.errors;
  assertInstanceOf(error, TLSHandshakeError);
  assertInstanceOf(error.cause, Error);
  assertStringIncludes(error.message, error.cause.message);
  assertGreaterOrEqual(error.elapsed, 0);
});

Deno.test("TLSServer.handleError() gets a TLSHandshakeError caused by TimedOut when a client is silent", async () => {
  const options = { ...PEM, handshakeTimeout: 50 };
  await using started = start(new KeepingServer(LOOPBACK, EchoHandler, options));
  using _ = await connect(started.server.serverAddress);
  await until(() => started.server.errors.length > 0);
  const [error] = started.server.errors;
  assertInstanceOf(error, TLSHandshakeError);
  assertInstanceOf(error.cause, Deno.errors.TimedOut);
  assertGreaterOrEqual(error.elapsed, 45); // timers may fire a little early
  await until(() => started.server.stats().failed === 1);
});

for (
  const [way, make] of Object.entries({
    "by its class": (logger: ListLogger) => {
      class HastyServer extends TLSServer {
        static override handshakeTimeout = 20;
      }
      return new HastyServer(LOOPBACK, EchoHandler, { ...PEM, logger });
    },
    "by an option that goes before its class": (logger: ListLogger) => {
      class PatientServer extends TLSServer {
        static override handshakeTimeout = null;
      }
      return new PatientServer(LOOPBACK, EchoHandler, { ...PEM, logger, handshakeTimeout: 20 });
    },
    "on the instance": (logger: ListLogger) => {
      const options = { ...PEM, logger, bindAndActivate: false };
      const server = new TLSServer(LOOPBACK, EchoHandler, options);
      server.handshakeTimeout = 20;
      server.serverBind();
      server.serverActivate();
      return server;
    },
  })
) {
  Deno.test(`TLSServer.handshakeTimeout holds when it is set ${way}`, async () => {
    const logger = new ListLogger();
    await using started = start(make(logger));
    using _ = await connect(started.server.serverAddress);
    await until(() => logger.lines.length > 0);
    assertStringIncludes(logger.lines[0]!, "no end within 20 ms");
  });
}

Deno.test("TLSServer.drain() cuts off a client whose handshake has no time limit", async () => {
  const options = { ...PEM, handshakeTimeout: null };
  await using started = start(new TLSServer(LOOPBACK, EchoHandler, options));
  const { server } = started;
  using _ = await connect(server.serverAddress);
  await until(() => server.stats().active === 1);
  assertEquals(await server.drain({ timeout: 20 }), { completed: 0, aborted: 1 });
  await server.finished;
});

Deno.test("TLSServer.verifyRequest() refuses a client before its handler is made", async () => {
  class ClosedServer extends TLSServer {
    override verifyRequest(): boolean {
      return false;
    }
  }
  const logger = new ListLogger();
  await using started = start(new ClosedServer(LOOPBACK, EchoHandler, { ...PEM, logger }));
  using conn = await connectTLS(started.server.serverAddress);
  assert(await isEnded(conn));
  assertEquals(started.server.stats().rejected, 1);
  assertEquals(logger.lines, []);
});

Deno.test("TLSServer.serveForever() answers a client that has ended its side", async () => {
  const count = async (request: StreamSocket) => {
    const said = await readAll(request);
    await request.sendAll(`${said.length} bytes`);
  };
  await using started = start(new TLSServer(LOOPBACK, count, PEM));
  const conn = await connectTLS(started.server.serverAddress);
  assertEquals(await exchangeOn(conn, new Uint8Array(100_000)), "100000 bytes");
});

Deno.test("StreamSocket.closeWrite() ends the server's side of TLS and leaves the client's open", async () => {
  const heard = Promise.withResolvers<string>();
  const sayGoodbye = async (request: StreamSocket) => {
    await request.sendAll("goodbye");
    await request.closeWrite();
    heard.resolve(text(await readAll(request)));
  };
  await using started = start(new TLSServer(LOOPBACK, sayGoodbye, PEM));
  using conn = await connectTLS(started.server.serverAddress);
  assertEquals(text(await readAll(conn)), "goodbye");
  await writeAll(conn, bytes("one more thing"));
  await conn.closeWrite();
  assertEquals(await heard.promise, "one more thing");
});

for (const name of ["cert", "key"] as const) {
  for (
    const [what, value] of Object.entries({
      "is missing": undefined,
      "is empty": "",
      "is no PEM text": "cert.pem",
      "is bytes": bytes(TLS[name]),
    })
  ) {
    Deno.test(`TLSServer() throws a TypeError when '${name}' ${what}`, () => {
      const before = openDescriptors();
      const options = { ...PEM, [name]: value } as TLSServerOptions;
      const error = assertThrows(() => new TLSServer(LOOPBACK, EchoHandler, options), TypeError);
      assertEquals(
        error.message,
        `Cannot use option '${name}': expected PEM text ("-----BEGIN ...")`,
      );
      assertNoneOpened(before);
    });
  }
}

for (
  const [what, option, pem] of [
    ["the certificate is garbage in armour", "cert", {
      ...PEM,
      cert: inArmour("CERTIFICATE", "bm8gY2VydGlmaWNhdGU="),
    }],
    ["the key is garbage in armour", "key", {
      ...PEM,
      key: inArmour("PRIVATE KEY", "bm8ga2V5"),
    }],
    ["the certificate is a key", "cert", { cert: TLS.key, key: TLS.key }],
    ["the key is a certificate", "key", { cert: TLS.cert, key: TLS.cert }],
  ] as const
) {
  Deno.test(`TLSServer() throws a TypeError that names the option when ${what}`, () => {
    const before = openDescriptors();
    const error = assertThrows(() => new TLSServer(LOOPBACK, EchoHandler, pem), TypeError);
    assertStringIncludes(error.message, `'${option}'`);
    assertNoneOpened(before);
  });
}

Deno.test("TLSServer() throws without options, and names what is missing", () => {
  const construct = () => new TLSServer(LOOPBACK, EchoHandler, undefined as never);
  assertStringIncludes(assertThrows(construct, TypeError).message, "'cert'");
});

Deno.test("TLSServer() throws a clear error and opens nothing when the key is not the certificate's", async () => {
  const key = await otherKey();
  const before = openDescriptors();
  const error = assertThrows(
    () => new TLSServer(LOOPBACK, EchoHandler, { cert: TLS.cert, key }),
    Error,
  );
  assertMatch(error.message, /^Cannot .*key.*$/i);
  assertNoneOpened(before);
});

Deno.test("TLSServer() throws AddrInUse with the address when the port has an owner", async () => {
  await using first = new TLSServer(LOOPBACK, EchoHandler, PEM);
  const { port } = first.serverAddress;
  const error = assertThrows(
    () => new TLSServer(first.serverAddress, EchoHandler, PEM),
    Deno.errors.AddrInUse,
  );
  assertStringIncludes(error.message, `Cannot bind TLS server to "127.0.0.1:${port}": `);
});

Deno.test("TLSServer.serverClose() frees the port a hundred times in a row", async () => {
  let address = new TLSServer(LOOPBACK, EchoHandler, { ...PEM, bindAndActivate: false })
    .serverAddress;
  for (let turn = 0; turn < 100; turn++) {
    await using started = start(new TLSServer(address, EchoHandler, PEM));
    address = started.server.serverAddress;
  }
});

const hasOpenSSL = await new Deno.Command("openssl", { args: ["version"], stdout: "null" }).output()
  .then(({ success }) => success, () => false);

Deno.test({
  name: "TLSServer.serveForever() serves openssl s_client, which checks the certificate",
  ignore: !hasOpenSSL,
  async fn() {
    class OneLineHandler extends StreamRequestHandler {
      override async handle() {
        await this.wfile.write(await this.rfile.readline());
      }
    }
    await using started = start(new TLSServer(LOOPBACK, OneLineHandler, PEM));
    const { port } = started.server.serverAddress;
    const ca = new URL("../../examples/tls/ca.pem", import.meta.url).pathname;
    for (const version of ["-tls1_2", "-tls1_3"]) {
      const child = new Deno.Command("openssl", {
        // deno-fmt-ignore
        args: ["s_client", "-quiet", version, "-connect", `127.0.0.1:${port}`,
          "-servername", "localhost", "-CAfile", ca, "-verify_return_error"],
        stdin: "piped",
        stdout: "piped",
        stderr: "null",
      }).spawn();
      const writer = child.stdin.getWriter();
      await writer.write(bytes("hello from openssl\n"));
      const { stdout, success } = await child.output();
      await writer.close().catch(() => {}); // the program has ended
      assertEquals(text(stdout), "hello from openssl\n");
      assert(success);
    }
  },
});
