/**
 * The ready-made servers, and what the type system says of the classes that mix-ins make.
 *
 * @module
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import * as mod from "@netkit/socketserver";
import {
  type AnyServer,
  BaseServer,
  ConcurrentMixIn,
  ConcurrentTCPServer,
  ConcurrentUDPServer,
  ConcurrentUnixStreamServer,
  DatagramRequestHandler,
  type DatagramSocket,
  ForkingMixIn,
  ForkingUnixDatagramServer,
  ForkingUnixStreamServer,
  PoolTCPServer,
  PoolTLSServer,
  StreamRequestHandler,
  type StreamSocket,
  type TCPAddr,
  TCPServer,
  type TCPServerOptions,
  ThreadingMixIn,
  ThreadingTCPServer,
  ThreadingTLSServer,
  ThreadingUDPServer,
  TLSServer,
  type UDPAddr,
  UDPServer,
  UnixDatagramServer,
  type UnixStreamAddr,
  UnixStreamServer,
} from "@netkit/socketserver";
import { LOOPBACK, TLS } from "../harness.ts";

class StreamHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;
}
class DatagramHandler extends DatagramRequestHandler {
  static override readonly moduleUrl = import.meta.url;
}

const UNBOUND = { bindAndActivate: false };
const PEM = { cert: TLS.cert, key: TLS.key };
const FAMILIES = { TCPServer, TLSServer, UDPServer, UnixStreamServer, UnixDatagramServer };

for (const [family, Plain] of Object.entries(FAMILIES)) {
  for (const mode of ["Concurrent", "Threading", "Forking", "Pool"]) {
    const name = `${mode}${family}`;
    const Server = (mod as unknown as Record<string, typeof TCPServer>)[name];
    if (Server === undefined) {
      assertEquals(mode, "Pool");
      continue;
    }
    Deno.test(`${name} has its own name, extends ${family} and can be extended`, () => {
      assertEquals(Server.name, name);
      const Handler = family.includes("UDP") || family.includes("Datagram")
        ? DatagramHandler
        : StreamHandler;
      const address = family.startsWith("Unix") ? { path: "/tmp/none.sock" } : LOOPBACK;
      class Mine extends Server {
        static override timeout = 7;
      }
      const server = new Mine(address as never, Handler as never, { ...PEM, ...UNBOUND } as never);
      assert(server instanceof Plain);
      assert(server instanceof Server);
      assertEquals([Mine.name, server.timeout, server.socket], ["Mine", 7, undefined]);
    });
  }
}

Deno.test("A class that a mix-in makes is named after its base", () => {
  class Mine extends TCPServer {}
  assertEquals(ConcurrentMixIn(Mine).name, "ConcurrentMine");
  assertEquals(ThreadingMixIn(Mine).name, "ThreadingMine");
  assertEquals(ForkingMixIn(Mine).name, "ForkingMine");
});

Deno.test("The options that a class does not have are refused by type and when it is made", () => {
  const refused = (make: () => AnyServer) => void assertThrows(make, TypeError, "no such setting");
  // @ts-expect-error: no such option
  refused(() => new TCPServer(LOOPBACK, StreamHandler, { maxConnections: 8 }));
  // @ts-expect-error: no such option
  refused(() => new TCPServer(LOOPBACK, StreamHandler, { maxPacketSize: 8 }));
  // @ts-expect-error: no such option
  refused(() => new UDPServer(LOOPBACK, DatagramHandler, { requestQueueSize: 8 }));
  // @ts-expect-error: no such option
  refused(() => new UDPServer(LOOPBACK, DatagramHandler, { maxThreads: 8 }));
  // @ts-expect-error: no such option
  refused(() => new TCPServer(LOOPBACK, StreamHandler, { handshakeTimeout: 8 }));
  // @ts-expect-error: no such option
  refused(() => new TLSServer(LOOPBACK, StreamHandler, { ...PEM, socketMode: 8 }));
  // @ts-expect-error: no such option
  refused(() => new ConcurrentTCPServer(LOOPBACK, StreamHandler, { maxThreads: 8 }));
  // @ts-expect-error: no such option
  refused(() => new ConcurrentUDPServer(LOOPBACK, DatagramHandler, { workers: 8 }));
  // @ts-expect-error: the number of threads is the number of connections
  refused(() => new ThreadingTCPServer(LOOPBACK, StreamHandler, { maxConnections: 8 }));
  // @ts-expect-error: no such option
  refused(() => new ThreadingUDPServer(LOOPBACK, DatagramHandler, { childEnv: {} }));
  // @ts-expect-error: no such option
  refused(() => new ForkingUnixStreamServer({ path: "a" }, StreamHandler, { daemonThreads: true }));
  // @ts-expect-error: no such option
  refused(() => new PoolTCPServer(LOOPBACK, StreamHandler, { maxConnectionsPerSource: 8 }));
  // @ts-expect-error: no such option
  refused(() => new PoolTLSServer(LOOPBACK, StreamHandler, { ...PEM, maxThreads: 8 }));
});

Deno.test("The options of a class are those of its base and of its mix-in", () => {
  const concurrent = new ConcurrentTCPServer(LOOPBACK, StreamHandler, {
    ...UNBOUND,
    requestQueueSize: 8,
    maxConnections: 9,
    timeout: 10,
  });
  assertEquals(
    [concurrent.requestQueueSize, concurrent.maxConnections, concurrent.timeout],
    [8, 9, 10],
  );
  const options = { ...PEM, ...UNBOUND, handshakeTimeout: 8, maxThreads: 9, requestTimeout: 10 };
  const threading = new ThreadingTLSServer(LOOPBACK, StreamHandler, options);
  assertEquals(
    [threading.handshakeTimeout, threading.maxThreads, threading.requestTimeout],
    [8, 9, 10],
  );
  const forking = new ForkingUnixDatagramServer({ path: "a" }, DatagramHandler, {
    ...UNBOUND,
    socketMode: 0o600,
    maxPacketSize: 8,
    maxChildren: 9,
  });
  assertEquals(
    [forking.socketMode, forking.maxPacketSize, forking.maxConnections],
    [0o600, 8, 9],
  );
  const pool = new PoolTCPServer(LOOPBACK, StreamHandler, {
    ...UNBOUND,
    requestQueueSize: 8,
    workers: 2,
    blockOnClose: false,
  });
  assertEquals([pool.requestQueueSize, pool.workers, pool.blockOnClose], [8, 2, false]);
});

// What follows is for the type checker; nothing of it is run.

function _handlersFitTheFamily(path: { path: string }): AnyServer[] {
  return [
    new ConcurrentTCPServer(LOOPBACK, (_socket: StreamSocket, { port }: TCPAddr) => port),
    new ConcurrentUDPServer(LOOPBACK, ([_data, _socket], { port }: UDPAddr) => port),
    new ConcurrentUnixStreamServer(path, (_: StreamSocket, { path }: UnixStreamAddr) => path),
    // @ts-expect-error: a function, which no Worker could load
    new ThreadingUDPServer(LOOPBACK, () => {}),
    // @ts-expect-error: a function, which no subprocess could load
    new ForkingUnixStreamServer(path, () => {}),
    // @ts-expect-error: a handler of datagrams
    new ConcurrentTCPServer(LOOPBACK, DatagramHandler),
    // @ts-expect-error: a handler of datagrams
    new ThreadingTLSServer(LOOPBACK, DatagramHandler, PEM),
    // @ts-expect-error: a handler of streams
    new ThreadingUDPServer(LOOPBACK, StreamHandler),
    // @ts-expect-error: a handler of streams
    new ForkingUnixDatagramServer(path, StreamHandler),
    // @ts-expect-error: a handler of datagrams
    new PoolTCPServer(LOOPBACK, DatagramHandler),
    // @ts-expect-error: a function for datagrams
    new ConcurrentTCPServer(LOOPBACK, (_: [Uint8Array, DatagramSocket]) => {}),
    // @ts-expect-error: a path where there is a host and a port
    new ConcurrentTCPServer(path, StreamHandler),
    // @ts-expect-error: a certificate and a key are missing
    new ThreadingTLSServer(LOOPBACK, StreamHandler),
    // @ts-expect-error: no handler
    new ConcurrentUDPServer(LOOPBACK),
    // @ts-expect-error: a number
    new ThreadingTCPServer(LOOPBACK, StreamHandler, { maxThreads: "8" }),
  ];
}

class EightThreads extends ThreadingTCPServer {
  static override maxThreads = 8;
  override requestTimeout = 5000;

  override async finishRequest(request: StreamSocket, clientAddress: TCPAddr): Promise<void> {
    await super.finishRequest(request, clientAddress);
  }
}

class EightChildren extends ForkingMixIn(UDPServer) {
  static override maxChildren = 8;

  override async collectChildren(): Promise<void> {
    await super.collectChildren({ blocking: this.activeChildren.size > 0 });
  }
}

/** Has a constructor of its own, in which a mix-in changes nothing. */
class AtPort extends TCPServer {
  constructor(port: number) {
    super({ hostname: "127.0.0.1", port }, StreamHandler);
  }
}

/** Has one more parameter than its base. */
class Greeting extends TCPServer {
  constructor(
    address: typeof LOOPBACK,
    Handler: typeof StreamHandler,
    options: TCPServerOptions = {},
    readonly greeting = "hello",
  ) {
    super(address, Handler, options);
  }
}

abstract class Words extends BaseServer<string, TCPAddr> {
  abstract word(): string;
  override closeSocket(): void {}
  override getRequest(): [string, TCPAddr] {
    return [this.word(), this.serverAddress];
  }
}

// @ts-expect-error: word() is still to be written
class _NoWords extends ConcurrentMixIn(Words) {}

class OneWord extends ConcurrentMixIn(Words) {
  override word(): string {
    return "one";
  }
}

// @ts-expect-error: a number
class _ManyThreads extends ThreadingMixIn(UDPServer) {
  static override maxThreads = "many";
}

function _classesAreTypes(server: EightThreads, forking: EightChildren): unknown[] {
  const named: ThreadingTCPServer = server;
  const plain: TCPServer = named;
  const { port }: TCPAddr = new EightThreads(LOOPBACK, StreamHandler, { maxThreads: 4 })
    .serverAddress;
  // @ts-expect-error: the number of threads is the number of connections
  server.maxConnections = 8;
  // @ts-expect-error: another family
  const other: UDPServer = server;
  // @ts-expect-error: another mode
  const mode: ThreadingUDPServer = forking;
  const greeting = new (ConcurrentMixIn(Greeting))(
    LOOPBACK,
    StreamHandler,
    { maxConnections: 8, timeout: 8 },
    "hello",
  ).greeting.length;
  // @ts-expect-error: the constructor takes a port
  new (ThreadingMixIn(AtPort))(LOOPBACK, StreamHandler);
  const words = new OneWord(plain.serverAddress, (word: string) => word, { maxConnections: 8 });
  // @ts-expect-error: no such option
  new OneWord(plain.serverAddress, (word: string) => word, { maxThreads: 8 });
  // @ts-expect-error: the requests are words
  new OneWord(plain.serverAddress, (request: StreamSocket) => request);
  new EightChildren(LOOPBACK, DatagramHandler, { childMemoryLimit: 64 });
  return [port, other, mode, greeting, words, new (ThreadingMixIn(AtPort))(port)];
}
