/**
 * `DatagramRequestHandler`, and functions as datagram handlers, in real servers.
 *
 * @module
 */
import { assertEquals, assertInstanceOf, assertStrictEquals } from "@std/assert";
import {
  type DatagramRequest,
  DatagramRequestHandler,
  type SocketAddress,
  UDPServer,
  UnixDatagramServer,
} from "@netkit/socketserver";
import {
  bytes,
  datagramClient,
  datagramExchange,
  ListLogger,
  LOOPBACK,
  start,
  tempSocketPath,
  text,
  until,
} from "../harness.ts";
import { FAMILIES } from "../families.ts";

/** Keeps what its handlers failed with. */
class RecordingUDPServer extends UDPServer {
  readonly errors: unknown[] = [];
  override handleError(error: unknown): void {
    this.errors.push(error);
  }
}

Deno.test("DatagramRequestHandler has the packet, the socket, rfile and wfile, in every family", async () => {
  class Handler extends DatagramRequestHandler {
    override async handle() {
      assertStrictEquals(this.packet, this.request[0]);
      assertStrictEquals(this.socket, this.request[1]);
      const line = text(await this.rfile.readline());
      const rest = text(await this.rfile.read());
      await this.wfile.write(`${line}${rest};${text(this.packet)};`);
      await this.wfile.write(`${this.socket.localAddr.transport === this.clientAddress.transport}`);
    }
  }
  for (const family of FAMILIES.filter((family) => family.datagram)) {
    const logger = new ListLogger();
    await using started = start(family.make(Handler as never, { logger }));
    for (let client = 0; client < 3; client++) {
      assertEquals(
        await family.ask(started.server.serverAddress, "one\ntwo"),
        "one\ntwo;one\ntwo;true",
      );
    }
    assertEquals(logger.lines, [], family.name);
  }
});

/** Answers as the packet says. */
class ObedientHandler extends DatagramRequestHandler {
  override handle() {
    switch (text(this.packet)) {
      case "nothing":
        return;
      case "empty":
        return void this.wfile.write("");
      case "several":
        this.wfile.write("one, ");
        this.wfile.write(bytes("two, "));
        return void this.wfile.write("three");
      case "too long":
        return void this.wfile.write(new Uint8Array(70_000));
      case "fail":
        this.wfile.write("partly");
        throw new Error("failed");
      default:
        return void this.wfile.write(this.packet);
    }
  }
}

Deno.test("DatagramRequestHandler sends nothing when nothing was written", async () => {
  await using started = start(new RecordingUDPServer(LOOPBACK, ObedientHandler));
  const { server } = started;
  using client = datagramClient({ transport: "udp" });
  await client.send(bytes("nothing"), server.serverAddress);
  await client.send(bytes("something"), server.serverAddress);
  assertEquals(text((await client.receive())[0]), "something"); // the first answer there is
  assertEquals([server.stats().completed >= 1, server.errors], [true, []]);
});

Deno.test("DatagramRequestHandler sends an empty datagram when an empty string was written", async () => {
  await using started = start(new RecordingUDPServer(LOOPBACK, ObedientHandler));
  using client = datagramClient({ transport: "udp" });
  await client.send(bytes("empty"), started.server.serverAddress);
  assertEquals((await client.receive())[0].length, 0);
});

Deno.test("DatagramRequestHandler sends several writes as one datagram", async () => {
  await using started = start(new RecordingUDPServer(LOOPBACK, ObedientHandler));
  using client = datagramClient({ transport: "udp" });
  await client.send(bytes("several"), started.server.serverAddress);
  assertEquals(text((await client.receive())[0]), "one, two, three");
});

Deno.test("DatagramRequestHandler serves an empty datagram", async () => {
  await using started = start(new RecordingUDPServer(LOOPBACK, ObedientHandler));
  using client = datagramClient({ transport: "udp" });
  await client.send(new Uint8Array(0), started.server.serverAddress);
  assertEquals((await client.receive())[0].length, 0);
});

Deno.test("DatagramRequestHandler whose answer is too long fails, and the server goes on", async () => {
  await using started = start(new RecordingUDPServer(LOOPBACK, ObedientHandler));
  const { server } = started;
  using client = datagramClient({ transport: "udp" });
  await client.send(bytes("too long"), server.serverAddress);
  await client.send(bytes("next"), server.serverAddress);
  assertEquals(text((await client.receive())[0]), "next");
  assertEquals(server.errors.length, 1);
  assertEquals((server.errors[0] as { code?: string }).code, "EMSGSIZE");
});

Deno.test("DatagramRequestHandler.finish() sends what was written also when handle() failed", async () => {
  await using started = start(new RecordingUDPServer(LOOPBACK, ObedientHandler));
  const { server } = started;
  using client = datagramClient({ transport: "udp" });
  await client.send(bytes("fail"), server.serverAddress);
  assertEquals(text((await client.receive())[0]), "partly");
  await until(() => server.errors.length === 1);
  assertEquals((server.errors[0] as Error).message, "failed");
});

Deno.test("DatagramRequestHandler may read and write blocking in every mode: all is in memory", async () => {
  class Handler extends DatagramRequestHandler {
    override handle() {
      for (const line of this.rfile.linesSync()) this.wfile.writeSync(`${line.toUpperCase()}\n`);
    }
  }
  await using started = start(new UDPServer(LOOPBACK, Handler));
  assertEquals(await datagramExchange(started.server.serverAddress, "one\ntwo\n"), "ONE\nTWO\n");
});

Deno.test("DatagramRequestHandler collects a copy of what is written", async () => {
  class Handler extends DatagramRequestHandler {
    override async handle() {
      const data = bytes("first");
      await this.wfile.write(data);
      data.fill(0x2e);
      await this.wfile.write(data);
    }
  }
  await using started = start(new UDPServer(LOOPBACK, Handler));
  using client = datagramClient({ transport: "udp" });
  await client.send(bytes("x"), started.server.serverAddress);
  assertEquals(text((await client.receive())[0]), "first.....");
});

Deno.test("DatagramRequestHandler that answers a Unix client without a path fails with TypeError", async () => {
  class Server extends UnixDatagramServer {
    readonly errors: unknown[] = [];
    override handleError(error: unknown): void {
      this.errors.push(error);
    }
  }
  await using started = start(new Server({ path: tempSocketPath() }, ObedientHandler));
  const { server } = started;
  const client = Deno.listenDatagram({ transport: "unixpacket" });
  await client.send(bytes("nothing"), server.serverAddress); // no answer, no error
  await client.send(bytes("something"), server.serverAddress);
  await until(() => server.stats().failed === 1);
  client.close();
  assertEquals(server.stats().completed, 1);
  assertInstanceOf(server.errors[0], TypeError);
});

Deno.test("A function as a datagram handler gets the data and the socket", async () => {
  const handler = async ([data, socket]: DatagramRequest, clientAddress: SocketAddress) => {
    await socket.sendTo(bytes(text(data).toUpperCase()), clientAddress);
  };
  for (const family of FAMILIES.filter((family) => family.datagram)) {
    await using started = start(family.make(handler as never));
    assertEquals(await family.ask(started.server.serverAddress, "hello"), "HELLO");
  }
});
