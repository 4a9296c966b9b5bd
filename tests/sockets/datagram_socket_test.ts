/**
 * `DatagramSocket`: what a datagram handler answers with.
 *
 * @module
 */
import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  type DatagramRequest,
  DatagramSocket,
  type SocketAddress,
  UDPServer,
  UnixDatagramServer,
} from "@netkit/socketserver";
import { unhandledRejections } from "../conversation.ts";
import {
  bytes,
  datagramClient,
  LOOPBACK,
  settle,
  start,
  tempSocketPath,
  text,
} from "../harness.ts";

/** A Unix client, closed at the end of its scope; without a path nobody can answer it. */
function unixClient(path?: string): Deno.DatagramConn & Disposable {
  const conn = path === undefined
    ? Deno.listenDatagram({ transport: "unixpacket" })
    : Deno.listenDatagram({ transport: "unixpacket", path });
  return Object.assign(conn, { [Symbol.dispose]: () => conn.close() });
}

/** Runs `use` with the socket of a UDP server that has got one datagram. */
async function withSocket(
  use: (socket: DatagramSocket, clientAddress: SocketAddress) => Promise<void>,
): Promise<void> {
  const failed: unknown[] = [];
  class Server extends UDPServer {
    override handleError(error: unknown): void {
      failed.push(error);
    }
  }
  using client = datagramClient({ transport: "udp" });
  await using server = new Server(
    LOOPBACK,
    ([, socket]: DatagramRequest, clientAddress) => use(socket, clientAddress),
  );
  const handled = server.handleRequest();
  await client.send(bytes("x"), server.serverAddress);
  await handled;
  if (failed.length > 0) throw failed[0];
}

Deno.test("DatagramSocket.sendTo() sends one datagram and says how long it was", async () => {
  using client = datagramClient({ transport: "udp" });
  await withSocket(async (socket) => {
    assert(socket instanceof DatagramSocket);
    assertEquals(await socket.sendTo(bytes("hello"), client.addr), 5);
    assertEquals(await socket.sendTo(new Uint8Array(0), client.addr), 0);
    assertEquals(await socket.sendTo(new Uint8Array(65507), client.addr), 65507);
  });
  assertEquals(text((await client.receive())[0]), "hello");
  assertEquals((await client.receive())[0].length, 0);
  assertEquals((await client.receive())[0].length, 65507);
});

Deno.test("DatagramSocket.sendTo() sends text as UTF-8", async () => {
  using client = datagramClient({ transport: "udp" });
  await withSocket(async (socket) => {
    assertEquals(await socket.sendTo("grün", client.addr), 5);
  });
  assertEquals(text((await client.receive())[0]), "grün");
});

Deno.test("DatagramSocket.sendTo() sends from the server's address, to anybody", async () => {
  using client = datagramClient({ transport: "udp" });
  using third = datagramClient({ transport: "udp" });
  const answer = async ([data, socket]: DatagramRequest, clientAddress: SocketAddress) => {
    await socket.sendTo(data, clientAddress);
    await socket.sendTo(data, third.addr);
  };
  await using started = start(new UDPServer(LOOPBACK, answer));
  const { serverAddress } = started.server;
  await client.send(bytes("both"), serverAddress);
  for (const conn of [client, third]) {
    const [data, sender] = await conn.receive();
    assertEquals([text(data), sender], ["both", serverAddress]);
  }
});

Deno.test("DatagramSocket.localAddr is the server's address", async () => {
  let localAddr: unknown;
  await using started = start(
    new UDPServer(LOOPBACK, async ([data, socket]: DatagramRequest, clientAddress) => {
      localAddr = socket.localAddr;
      await socket.sendTo(data, clientAddress);
    }),
  );
  using client = datagramClient({ transport: "udp" });
  await client.send(bytes("x"), started.server.serverAddress);
  await client.receive();
  assertEquals(localAddr, started.server.serverAddress);
});

Deno.test("DatagramSocket.sendTo() throws an error of code EMSGSIZE when the data is too long", async () => {
  await withSocket(async (socket, clientAddress) => {
    const error = await assertRejects(
      () => socket.sendTo(new Uint8Array(65508), clientAddress),
      Error,
    );
    assertEquals((error as { code?: string }).code, "EMSGSIZE");
    assertStringIncludes(error.message, "65508 bytes");
    assertEquals(await socket.sendTo(bytes("still works"), clientAddress), 11);
  });
});

Deno.test("DatagramSocket.sendTo() throws EMSGSIZE on a Unix socket, too", async () => {
  const outcome = Promise.withResolvers<unknown>();
  await using started = start(
    new UnixDatagramServer({ path: tempSocketPath() }, async ([, socket], clientAddress) => {
      const failed = socket.sendTo(new Uint8Array(16 * 1024 * 1024), clientAddress);
      outcome.resolve(await failed.catch((error) => (error as { code?: string }).code));
    }),
  );
  using client = unixClient(tempSocketPath());
  await client.send(bytes("x"), started.server.serverAddress);
  assertEquals(await outcome.promise, "EMSGSIZE");
});

Deno.test("DatagramSocket.sendTo() throws TypeError for a Unix client that bound no path", async () => {
  const outcome = Promise.withResolvers<void>();
  await using started = start(
    new UnixDatagramServer({ path: tempSocketPath() }, ([, socket], clientAddress) => {
      const sent = assertRejects(
        () => socket.sendTo(bytes("answer"), clientAddress),
        TypeError,
        "unnamed",
      );
      sent.then(() => outcome.resolve(), outcome.reject);
    }),
  );
  using client = unixClient();
  await client.send(bytes("x"), started.server.serverAddress);
  await outcome.promise;
});

Deno.test("DatagramSocket.sendTo() rejects when a Unix client has gone", async () => {
  const gone = Promise.withResolvers<void>();
  const outcome = Promise.withResolvers<unknown>();
  await using started = start(
    new UnixDatagramServer({ path: tempSocketPath() }, async ([, socket], clientAddress) => {
      await gone.promise;
      outcome.resolve(await socket.sendTo(bytes("answer"), clientAddress).catch((error) => error));
    }),
  );
  {
    using client = unixClient(tempSocketPath());
    await client.send(bytes("x"), started.server.serverAddress);
  }
  gone.resolve();
  assert(await outcome.promise instanceof Error);
});

Deno.test("DatagramSocket.sendTo() that fails and is not awaited is no unhandled rejection", async () => {
  using unhandled = unhandledRejections();
  await withSocket((socket, clientAddress) => {
    socket.sendTo(new Uint8Array(70_000), clientAddress);
    socket.sendTo(bytes("x"), { transport: "unixpacket", path: "" });
    socket.sendTo(bytes("x"), { transport: "unixpacket", path: "/nowhere" });
    return Promise.resolve();
  });
  await settle();
  assertEquals(unhandled.reasons, []);
});

Deno.test("DatagramSocket.sendToSync() sends where one may block", async () => {
  const sent: [string, Deno.Addr][] = [];
  const turn = Promise.withResolvers<void>();
  const addr: SocketAddress = { transport: "udp", hostname: "127.0.0.1", port: 1 };
  const sendSync = (data: Uint8Array, address: Deno.Addr) => {
    if (data.length > 9) throw Object.assign(new Error("too long"), { code: "EMSGSIZE" });
    sent.push([text(data), address]);
    return data.length;
  };
  const send = async (data: Uint8Array, address: Deno.Addr) => {
    await turn.promise;
    return sendSync(data, address);
  };
  const socket = new DatagramSocket({ addr, send, sendSync });
  assertEquals(socket.sendToSync(bytes("one"), addr), 3);
  const unnamed: Deno.Addr = { transport: "unixpacket", path: "" };
  assertThrows(() => socket.sendToSync(bytes("x"), unnamed), TypeError, "unnamed");
  const error = assertThrows(() => socket.sendToSync(new Uint8Array(10), addr), Error, "10 bytes");
  assertEquals((error as { code?: string }).code, "EMSGSIZE");

  const second = socket.sendTo(bytes("two"), addr);
  assertThrows(() => socket.sendToSync(bytes("x"), addr), Deno.errors.Busy, "sendToSync()");
  turn.resolve();
  await second;
  socket.sendToSync(bytes("three"), addr);
  assertEquals(sent, [["one", addr], ["two", addr], ["three", addr]]);
});

Deno.test("DatagramSocket.sendToSync() throws in the server's own isolate, and says where it does not", async () => {
  await withSocket((socket, clientAddress) => {
    const error = assertThrows(
      () => socket.sendToSync(bytes("x"), clientAddress),
      Deno.errors.NotSupported,
    );
    assertStringIncludes(error.message, "ThreadingMixIn or ForkingMixIn server, or await sendTo()");
    return Promise.resolve();
  });
});
