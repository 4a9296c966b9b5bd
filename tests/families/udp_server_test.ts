/**
 * UDPServer, over real sockets.
 *
 * @module
 */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  type DatagramRequest,
  DatagramRequestHandler,
  DatagramTooLongError,
  type SocketAddress,
  UDPServer,
} from "@netkit/socketserver";
import { isOwnAddress } from "../../src/base/address.ts";
import {
  bytes,
  CONFIG,
  datagramExchange,
  ListLogger,
  LOOPBACK,
  runProgram,
  start,
  tempFolder,
  text,
  until,
} from "../harness.ts";

/** Sends each datagram back. */
class EchoHandler extends DatagramRequestHandler {
  override async handle() {
    await this.wfile.write(this.packet);
  }
}

/** Keeps what `handleError()` gets. */
class KeepingServer extends UDPServer {
  readonly errors: unknown[] = [];
  override handleError(error: unknown): void {
    this.errors.push(error);
  }
}

const hasIPv6 = Deno.networkInterfaces().some(({ address }) => address === "::1");

/** A client's socket that `using` closes. */
function openClient(hostname = "127.0.0.1"): Deno.DatagramConn & Disposable {
  const conn = Deno.listenDatagram({ transport: "udp", hostname, port: 0 });
  return Object.assign(conn, { [Symbol.dispose]: () => conn.close() });
}

async function receiveText(client: Deno.DatagramConn): Promise<string> {
  return text((await client.receive())[0]);
}

/** Runs a program whose `deno.json` switches nothing unstable on. */
async function runStable(program: string): Promise<{ code: number; stdout: string }> {
  const main = JSON.parse(await Deno.readTextFile(CONFIG));
  const imports = {
    ...main.imports,
    "@netkit/socketserver": new URL("../../mod.ts", import.meta.url).href,
  };
  const config = `${tempFolder()}/deno.json`;
  await Deno.writeTextFile(config, JSON.stringify({ lock: false, imports }));
  return await runProgram(program, { flags: ["-A", "--config", config] });
}

Deno.test("UDPServer.serveForever() echoes three datagrams, one after the other", async () => {
  await using started = start(new UDPServer(LOOPBACK, EchoHandler));
  for (const word of ["one", "two", "three"]) {
    assertEquals(await datagramExchange(started.server.serverAddress, word), word);
  }
  assertEquals(started.server.stats().completed, 3);
});

Deno.test("UDPServer.serveForever() serves datagrams that came before it was called", async () => {
  const server = new UDPServer(LOOPBACK, EchoHandler);
  using client = openClient();
  await client.send(bytes("early"), server.serverAddress);
  await using _ = start(server);
  assertEquals(await receiveText(client), "early");
});

Deno.test("UDPServer.getRequest() delivers an empty datagram as a request", async () => {
  const lengths: number[] = [];
  const answerLength = async ([data, socket]: DatagramRequest, address: Deno.Addr) => {
    lengths.push(data.length);
    await socket.sendTo(bytes(`${data.length}`), address);
  };
  await using started = start(new UDPServer(LOOPBACK, answerLength));
  assertEquals(await datagramExchange(started.server.serverAddress, ""), "0");
  assertEquals(await datagramExchange(started.server.serverAddress, "x"), "1");
  assertEquals(lengths, [0, 1]);
});

Deno.test("UDPServer.getRequest() delivers 65,507 bytes whole", async () => {
  const sent = new Uint8Array(65507).map((_, index) => index * 7);
  const received = Promise.withResolvers<Uint8Array>();
  await using started = start(
    new UDPServer(LOOPBACK, ([data]: DatagramRequest) => received.resolve(data)),
  );
  using client = openClient();
  await client.send(sent, started.server.serverAddress);
  assertEquals(await received.promise, sent);
});

Deno.test("UDPServer.handleError() gets a DatagramTooLongError when a datagram is longer than maxPacketSize", async () => {
  const handled: string[] = [];
  class RecordingHandler extends EchoHandler {
    override setup() {
      handled.push(text(this.packet));
    }
  }
  await using started = start(new KeepingServer(LOOPBACK, RecordingHandler, { maxPacketSize: 8 }));
  const { server } = started;
  using client = openClient();
  await client.send(bytes("123456789"), server.serverAddress);
  await client.send(new Uint8Array(65507), server.serverAddress);
  assertEquals(await datagramExchange(server.serverAddress, "12345678"), "12345678");
  assertEquals(handled, ["12345678"]);
  assertEquals(server.errors.length, 2);
  for (const error of server.errors) {
    assertInstanceOf(error, DatagramTooLongError);
    assertEquals(error.limit, 8);
  }
  const { completed, failed } = server.stats();
  assertEquals({ completed, failed }, { completed: 1, failed: 2 });
});

Deno.test("UDPServer.handleError() warns in one line when a datagram is too long", async () => {
  const logger = new ListLogger();
  await using started = start(new UDPServer(LOOPBACK, EchoHandler, { maxPacketSize: 1, logger }));
  using client = openClient();
  await client.send(bytes("long"), started.server.serverAddress);
  await until(() => logger.lines.length > 0);
  const { port } = client.addr as Deno.NetAddr;
  assertEquals(logger.lines, [
    `warn: Cannot serve client "127.0.0.1:${port}": ` +
    "Cannot receive datagram: longer than 1 bytes ('maxPacketSize')",
  ]);
});

Deno.test("UDPServer.getRequest() leaves the data of a handler unchanged when more datagrams arrive", async () => {
  const kept: Uint8Array[] = [];
  const keep = async ([data, socket]: DatagramRequest, address: Deno.Addr) => {
    kept.push(data);
    await socket.sendTo(data, address);
  };
  await using started = start(new UDPServer(LOOPBACK, keep));
  const words = ["first", "SECOND", "x", ""];
  for (const word of words) await datagramExchange(started.server.serverAddress, word);
  assertEquals(kept.map(text), words);
});

Deno.test("UDPServer.getRequest() gives each handler data that it may change", async () => {
  const scribble = async ([data, socket]: DatagramRequest, address: Deno.Addr) => {
    await socket.sendTo(data, address);
    new Uint8Array(data.buffer).fill(0);
  };
  await using started = start(new UDPServer(LOOPBACK, scribble));
  assertEquals(await datagramExchange(started.server.serverAddress, "one"), "one");
  assertEquals(await datagramExchange(started.server.serverAddress, "two"), "two");
});

/** Keeps the expected warnings out of the test's output. */
const logger = new ListLogger();

class SmallServer extends UDPServer {
  static override maxPacketSize = 4;
}

for (
  const [way, make] of Object.entries({
    "by its class": () => new SmallServer(LOOPBACK, EchoHandler, { logger }),
    "by an option that goes before its class": () => {
      class LargeServer extends UDPServer {
        static override maxPacketSize = 1000;
      }
      return new LargeServer(LOOPBACK, EchoHandler, { maxPacketSize: 4, logger });
    },
    "on the instance before serverBind()": () => {
      const server = new UDPServer(LOOPBACK, EchoHandler, { bindAndActivate: false, logger });
      server.maxPacketSize = 4;
      server.serverBind();
      server.serverActivate();
      return server;
    },
  })
) {
  Deno.test(`UDPServer.maxPacketSize holds when it is set ${way}`, async () => {
    await using started = start(make());
    const { server } = started;
    assertEquals(server.maxPacketSize, 4);
    using client = openClient();
    await client.send(bytes("12345"), server.serverAddress);
    await client.send(bytes("1234"), server.serverAddress);
    assertEquals(await receiveText(client), "1234");
    assertEquals(server.stats().failed, 1);
  });
}

Deno.test({
  name: "UDPServer.serveForever() answers over IPv6 when it is bound to ::1",
  ignore: !hasIPv6,
  async fn() {
    const addresses: Deno.Addr[] = [];
    class KeepingHandler extends EchoHandler {
      override setup() {
        addresses.push(this.clientAddress);
      }
    }
    await using started = start(new UDPServer({ hostname: "::1", port: 0 }, KeepingHandler));
    const { server } = started;
    assertEquals(server.addressFamily, "AF_INET6");
    using client = openClient("::1");
    await client.send(bytes("six"), server.serverAddress);
    assertEquals(await receiveText(client), "six");
    assertEquals(addresses, [client.addr]);
  },
});

Deno.test("UDPServer() has the family, the type and the real address after the bind", async () => {
  await using server = new UDPServer(LOOPBACK, EchoHandler);
  assertEquals(server.addressFamily, "AF_INET");
  assertEquals(server.socketType, "SOCK_DGRAM");
  assertEquals(server.serverAddress, server.socket.addr as typeof server.serverAddress);
  assertEquals(server.serverAddress.hostname, "127.0.0.1");
  assertMatch(`${server.serverAddress.port}`, /^[1-9]\d*$/);
});

Deno.test("UDPServer.allowReuseAddress lets two servers have one port when both set it", async () => {
  await using first = new UDPServer(LOOPBACK, EchoHandler, { allowReuseAddress: true });
  await using second = new UDPServer(first.serverAddress, EchoHandler, { allowReuseAddress: true });
  assertEquals(second.serverAddress, first.serverAddress);
});

Deno.test("UDPServer() throws AddrInUse when the port has an owner", async () => {
  await using first = new UDPServer(LOOPBACK, EchoHandler);
  const { port } = first.serverAddress;
  const error = assertThrows(
    () => new UDPServer(first.serverAddress, EchoHandler),
    Deno.errors.AddrInUse,
  );
  assertStringIncludes(error.message, `Cannot bind UDP server to "127.0.0.1:${port}": `);
});

Deno.test("UDPServer() throws a TypeError when allowReusePort is true", () => {
  const error = assertThrows(
    () => new UDPServer(LOOPBACK, EchoHandler, { allowReusePort: true }),
    TypeError,
  );
  assertStringIncludes(error.message, "'allowReusePort'");
  assertStringIncludes(error.message, "true");
});

Deno.test("DatagramSocket.sendTo() answers when the handler has returned", async () => {
  const asked: [DatagramRequest, Deno.Addr][] = [];
  await using started = start(
    new UDPServer(
      LOOPBACK,
      (request: DatagramRequest, address) => void asked.push([request, address]),
    ),
  );
  const { server } = started;
  using client = openClient();
  await client.send(bytes("later"), server.serverAddress);
  await until(() => server.stats().completed === 1);
  const [[data, socket], address] = asked[0]!;
  assertEquals(await socket.sendTo(data, address), 5);
  const [answer, from] = await client.receive();
  assertEquals(text(answer), "later");
  assertEquals(from, server.serverAddress);
});

Deno.test("DatagramRequestHandler.clientAddress is the sender's when several clients send", async () => {
  const senders = new Map<string, Deno.Addr>();
  class KeepingHandler extends EchoHandler {
    override setup() {
      senders.set(text(this.packet), this.clientAddress);
    }
  }
  await using started = start(new UDPServer(LOOPBACK, KeepingHandler));
  using first = openClient();
  using second = openClient();
  await first.send(bytes("first"), started.server.serverAddress);
  await second.send(bytes("second"), started.server.serverAddress);
  assertEquals(await Promise.all([first, second].map(receiveText)), ["first", "second"]);
  assertEquals(senders.get("first"), first.addr);
  assertEquals(senders.get("second"), second.addr);
});

Deno.test("UDPServer.handleError() gets what a handler throws and the next datagram is served", async () => {
  const fault = new Error("no such luck");
  class FaultyHandler extends EchoHandler {
    override async handle() {
      if (text(this.packet) === "fail") throw fault;
      await super.handle();
    }
  }
  await using started = start(new KeepingServer(LOOPBACK, FaultyHandler));
  using client = openClient();
  await client.send(bytes("fail"), started.server.serverAddress);
  assertEquals(await datagramExchange(started.server.serverAddress, "work"), "work");
  assertEquals(started.server.errors.length, 1);
  assertStrictEquals(started.server.errors[0], fault);
});

Deno.test("UDPServer.serverClose() frees the port a hundred times in a row", async () => {
  let address = new UDPServer(LOOPBACK, EchoHandler, { bindAndActivate: false }).serverAddress;
  for (let turn = 0; turn < 100; turn++) {
    await using started = start(new UDPServer(address, EchoHandler));
    address = started.server.serverAddress;
  }
});

Deno.test("UDPServer.shutdown() leaves the socket bound so that a second serveForever() goes on", async () => {
  await using server = new UDPServer(LOOPBACK, EchoHandler);
  using client = openClient();
  for (const word of ["one", "two"]) {
    const serving = server.serveForever();
    await client.send(bytes(word), server.serverAddress);
    assertEquals(await receiveText(client), word);
    await server.shutdown();
    await serving;
  }
});

Deno.test("UDPServer() throws NotSupported with the remedy when Deno runs without --unstable-net", async () => {
  const { code, stdout } = await runStable(`
    import { UDPServer } from "@netkit/socketserver";
    try {
      new UDPServer({ hostname: "127.0.0.1", port: 5353 }, () => {});
    } catch (error) {
      if (!(error instanceof Deno.errors.NotSupported)) throw error;
      console.log(error.message);
    }
  `);
  assertEquals(
    stdout,
    'Cannot bind UDP server to "127.0.0.1:5353": ' +
      'run with --unstable-net, or put "unstable": ["net"] in deno.json\n',
  );
  assertEquals(code, 0);
});

Deno.test("UnixDatagramServer() throws NotSupported with the remedy when Deno runs without --unstable-net", async () => {
  const { code, stdout } = await runStable(`
    import { UnixDatagramServer } from "@netkit/socketserver";
    try {
      new UnixDatagramServer({ path: "./echo.sock" }, () => {});
    } catch (error) {
      if (!(error instanceof Deno.errors.NotSupported)) throw error;
      console.log(error.message);
    }
    console.log([...Deno.readDirSync(".")].some(({ isSocket }) => isSocket));
  `);
  assertEquals(
    stdout,
    'Cannot bind Unix datagram server to "./echo.sock": ' +
      'run with --unstable-net, or put "unstable": ["net"] in deno.json\nfalse\n',
  );
  assertEquals(code, 0);
});

Deno.test("TCPServer() throws NotSupported with the remedy when allowReusePort lacks --unstable-net", async () => {
  const { code, stdout } = await runStable(`
    import { TCPServer } from "@netkit/socketserver";
    try {
      new TCPServer({ hostname: "127.0.0.1", port: 0 }, () => {}, { allowReusePort: true });
    } catch (error) {
      if (!(error instanceof Deno.errors.NotSupported)) throw error;
      console.log(error.message);
    }
    await using server = new TCPServer({ hostname: "127.0.0.1", port: 0 }, () => {});
    console.log("serves without");
  `);
  const [message, ...rest] = stdout.split("\n");
  assertStringIncludes(message!, "'allowReusePort'");
  assertStringIncludes(message!, "--unstable-net");
  assertStringIncludes(message!, '"unstable": ["net"]');
  assertEquals(rest, ["serves without", ""]);
  assertEquals(code, 0);
});

/** An address of this machine other than the loopback's, where it has one. */
const outward = Deno.networkInterfaces().find(({ address, family }) =>
  family === "IPv4" && !address.startsWith("127.")
);

for (
  const [bound, target] of [
    ["127.0.0.1", "127.0.0.1"],
    ["0.0.0.0", "127.0.0.1"],
    ["0.0.0.0", outward?.address],
    ["::1", "::1"],
    ["::", "::1"],
    ["::", "127.0.0.1"],
    ["::", outward?.address],
  ] as const
) {
  Deno.test({
    name: `fault 21: UDPServer on "${bound}" does not answer itself when it sends to ${target}`,
    ignore: target === undefined,
    async fn() {
      const logger = new ListLogger();
      let answers = 0;
      const echo = async ([data, socket]: DatagramRequest, from: SocketAddress) => {
        answers++;
        if (answers < 3) await socket.sendTo(data, from); // one that answers itself would go on for ever
      };
      const server = new UDPServer({ hostname: bound, port: 0 }, echo, { logger });
      await using _ = start(server);
      const { port } = server.serverAddress;
      const isMapped = bound === "::" && !target!.includes(":");
      const hostname = isMapped ? `::ffff:${target}` : target!;
      await server.socket.send(bytes("round and round"), { transport: "udp", hostname, port });
      await until(() => server.stats().acceptErrors["OWN_ADDRESS"] === 1 || answers > 0);
      assertEquals(answers, 0);
      assertEquals(server.stats().accepted, 0);
      assertEquals(logger.lines.length, 1);
      assert(logger.lines[0]!.startsWith("debug: Cannot get request"), logger.lines[0]);
      const client = Deno.listenDatagram({ transport: "udp", hostname: target!, port: 0 });
      await client.send(bytes("hello"), { transport: "udp", hostname: target!, port });
      assertEquals(text((await client.receive())[0]), "hello");
      client.close();
    },
  });
}

Deno.test("UDPServer answers a client of another address that has the same port", async () => {
  const echo = async ([data, socket]: DatagramRequest, from: SocketAddress) =>
    void await socket.sendTo(data, from);
  const server = new UDPServer(LOOPBACK, echo);
  await using _ = start(server);
  const { port } = server.serverAddress;
  const client = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.2", port });
  await client.send(bytes("hello"), server.serverAddress);
  assertEquals(text((await client.receive())[0]), "hello");
  client.close();
});

Deno.test("isOwnAddress() takes addresses of others for theirs, also with the server's port", () => {
  const udp = (hostname: string, port = 7): SocketAddress => ({ transport: "udp", hostname, port });
  const others = ["198.51.100.1", "2001:db8::1", "::ffff:198.51.100.1"];
  for (const bound of ["0.0.0.0", "::", "127.0.0.1", "::1"]) {
    for (const other of others) assertEquals(isOwnAddress(udp(bound), udp(other)), false, other);
    assertEquals(isOwnAddress(udp(bound), udp("127.0.0.1", 8)), false);
  }
  assert(isOwnAddress(udp("127.0.0.1"), udp("::ffff:127.0.0.1")));
  assert(isOwnAddress(udp("fe80::1"), udp("fe80:0::1%2")));
});

Deno.test("fault 3: UDPServer.getRequest() gives each of two calls at once its own datagram", async () => {
  await using server = new UDPServer(LOOPBACK, () => {});
  const requests = [server.getRequest(), server.getRequest()];
  const client = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  for (const word of ["first", "other"]) await client.send(bytes(word), server.serverAddress);
  const words = (await Promise.all(requests)).map(([[data]]) => text(data));
  client.close();
  assertEquals(words.sort(), ["first", "other"]);
});
