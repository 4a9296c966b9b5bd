/**
 * UnixDatagramConn: sending and receiving at once, which Deno's own socket does not do.
 *
 * @module
 */
import { assert, assertEquals, assertLess, assertRejects } from "@std/assert";
import {
  type DatagramRequest,
  DatagramRequestHandler,
  UnixDatagramServer,
} from "@netkit/socketserver";
import { UnixDatagramConn } from "../../src/families/unix_datagram_conn.ts";
import {
  bytes,
  datagramExchange,
  ListLogger,
  start,
  tempSocketPath,
  text,
  until,
} from "../harness.ts";

/** A socket that `using` closes, unless the test has. */
function disposable<Conn extends Deno.DatagramConn>(conn: Conn): Conn & Disposable {
  return Object.assign(conn, {
    [Symbol.dispose]: () => {
      try {
        conn.close();
      } catch (error) {
        if (!(error instanceof Deno.errors.BadResource)) throw error;
      }
    },
  });
}

/** A socket of Deno's on a path. */
function openClient(path = tempSocketPath()): Deno.DatagramConn & Disposable {
  return disposable(Deno.listenDatagram({ transport: "unixpacket", path }));
}

/** The socket that is tested. */
function openConn(path = tempSocketPath()): UnixDatagramConn & Disposable {
  return disposable(new UnixDatagramConn(path));
}

async function receiveTexts(client: Deno.DatagramConn, count: number): Promise<string[]> {
  const texts: string[] = [];
  while (texts.length < count) texts.push(text((await client.receive())[0]));
  return texts;
}

const NUMBERS = Array.from({ length: 100 }, (_, index) => `${index}`);

Deno.test("UnixDatagramConn gives each datagram to a loop, which ends with it, and joins no group", async () => {
  using conn = openConn();
  using client = openClient();
  for (const word of ["one", "two"]) await client.send(bytes(word), conn.addr);
  const words: string[] = [];
  for await (const [data, { transport }] of conn) {
    words.push(`${text(data)} ${transport}`);
    if (words.length === 2) conn.close();
  }
  assertEquals(words, ["one unixpacket", "two unixpacket"]);
  await assertRejects(() => conn.joinMulticastV4(), Deno.errors.NotSupported);
  await assertRejects(() => conn.joinMulticastV6(), Deno.errors.NotSupported);
});

Deno.test("UnixDatagramConn.send() sends while a receive waits, which goes on", async () => {
  using conn = openConn();
  using client = openClient();
  const receiving = conn.receive();
  assertEquals(await conn.send(bytes("hello"), client.addr), 5);
  assertEquals(await receiveTexts(client, 1), ["hello"]);
  await client.send(bytes("back"), conn.addr);
  const [data, address] = await receiving;
  assertEquals(text(data), "back");
  assertEquals(address, client.addr);
});

Deno.test("UnixDatagramConn.send() sends while a receive waits, though there is no descriptor left", async () => {
  using conn = openConn();
  using client = openClient();
  const receiving = assertRejects(() => conn.receive());
  const { listenDatagram } = Deno;
  Deno.listenDatagram = () => {
    throw Object.assign(new Error("Too many open files"), { code: "EMFILE" });
  };
  try {
    let sent: number | undefined;
    conn.send(bytes("hello"), client.addr).then((count) => sent = count, () => {});
    await until(() => sent === 5);
    assertEquals(await receiveTexts(client, 1), ["hello"]);
  } finally {
    Deno.listenDatagram = listenDatagram;
    conn.close();
    await receiving;
  }
});

Deno.test("UnixDatagramConn.send() keeps the order of many sends when nothing is received", async () => {
  using conn = openConn();
  using client = openClient();
  const sending = NUMBERS.map((word) => conn.send(bytes(word), client.addr));
  assertEquals(await receiveTexts(client, NUMBERS.length), NUMBERS);
  assertEquals(await Promise.all(sending), NUMBERS.map((word) => word.length));
});

Deno.test("UnixDatagramConn.send() keeps the order of many sends while a receive waits", async () => {
  using conn = openConn();
  using client = openClient();
  const receiving = conn.receive();
  const sending = NUMBERS.map((word) => conn.send(bytes(word), client.addr));
  assertEquals(await receiveTexts(client, NUMBERS.length), NUMBERS);
  await Promise.all(sending);
  await client.send(bytes("done"), conn.addr);
  assertEquals(text((await receiving)[0]), "done");
});

Deno.test("UnixDatagramConn.receive() loses nothing while many sends go out", async () => {
  using conn = openConn();
  using client = openClient();
  const asking = (async () => {
    for (const word of NUMBERS) await client.send(bytes(word), conn.addr);
  })();
  using other = openClient();
  const hearing = receiveTexts(other, NUMBERS.length);
  const answers: Promise<number>[] = [];
  const received: string[] = [];
  for (const _ of NUMBERS) {
    const [data] = await conn.receive();
    received.push(text(data));
    answers.push(conn.send(data, other.addr));
  }
  await asking;
  await Promise.all(answers);
  assertEquals(received, NUMBERS);
  assertEquals(await hearing, NUMBERS);
});

Deno.test("UnixDatagramConn.send() rejects when nobody has the address, and the other sends go out", async () => {
  using conn = openConn();
  using client = openClient();
  const receiving = conn.receive();
  const nobody = { transport: "unixpacket", path: tempSocketPath() } as const;
  const sending = [
    conn.send(bytes("one"), client.addr),
    conn.send(bytes("lost"), nobody),
    conn.send(bytes("two"), client.addr),
  ];
  await assertRejects(() => sending[1]!);
  assertEquals(await receiveTexts(client, 2), ["one", "two"]);
  await client.send(bytes("done"), conn.addr);
  await receiving;
});

for (const length of [0, 1, 16, 17]) {
  Deno.test(`UnixDatagramConn.receive() delivers ${length} random bytes of an unnamed socket`, async () => {
    using conn = openConn();
    using client = openClient();
    using unnamed = disposable(Deno.listenDatagram({ transport: "unixpacket" }));
    const receiving = conn.receive();
    await conn.send(bytes("wakes the receive"), client.addr);
    const sent = crypto.getRandomValues(new Uint8Array(length));
    await unnamed.send(sent, conn.addr);
    const [data, address] = await receiving;
    assertEquals(data, sent);
    assert("path" in address && !address.path);
    await client.receive();
  });
}

Deno.test("UnixDatagramConn.receive() fills the caller's buffer, however small", async () => {
  using conn = openConn();
  using client = openClient();
  for (const size of [1, 15, 16, 100]) {
    const buffer = new Uint8Array(size);
    await client.send(new Uint8Array(50).fill(7), conn.addr);
    const [data] = await conn.receive(buffer);
    assertEquals(data, new Uint8Array(Math.min(size, 50)).fill(7));
    assert(data.buffer === buffer.buffer);
  }
});

Deno.test("UnixDatagramConn.close() ends a receive that waits", async () => {
  using conn = openConn();
  const receiving = conn.receive();
  conn.close();
  const error = await receiving.then(() => null, (error) => error);
  assert(error instanceof Deno.errors.Interrupted || error instanceof Deno.errors.BadResource);
});

Deno.test("UnixDatagramConn.close() rejects the sends that wait for their turn", async () => {
  using conn = openConn();
  using unresponsive = openClient();
  const receiving = conn.receive();
  const sending = Array.from({ length: 1000 }, () => conn.send(bytes("x"), unresponsive.addr));
  const settled = Promise.allSettled(sending);
  await sending[0]!;
  conn.close();
  await receiving.catch(() => {});
  const fulfilled = (await settled).filter(({ status }) => status === "fulfilled");
  assertLess(fulfilled.length, 1000);
  await assertRejects(() => sending.at(-1)!, Deno.errors.BadResource);
});

Deno.test("UnixDatagramConn.close() rejects the sends that wait for the receive to give way", async () => {
  using conn = openConn();
  using client = openClient();
  const receiving = conn.receive();
  const sending = [conn.send(bytes("one"), client.addr), conn.send(bytes("two"), client.addr)];
  conn.close();
  for (const sent of sending) await assertRejects(() => sent, Deno.errors.BadResource);
  await receiving.catch(() => {});
});

Deno.test("UnixDatagramConn.close() may be called twice, and a later send rejects", async () => {
  using conn = openConn();
  conn.close();
  conn.close();
  await assertRejects(() => conn.send(bytes("x"), conn.addr), Deno.errors.BadResource);
  await assertRejects(() => conn.receive(), Deno.errors.BadResource);
});

Deno.test("DatagramSocket.sendTo() answers later while a Unix server waits for the next datagram", async () => {
  const asked: [DatagramRequest, Deno.Addr][] = [];
  const keep = (request: DatagramRequest, address: Deno.Addr) =>
    void asked.push([request, address]);
  await using started = start(new UnixDatagramServer({ path: tempSocketPath() }, keep));
  using client = openClient();
  for (const [index, word] of ["one", "two", "three"].entries()) {
    await client.send(bytes(word), started.server.serverAddress);
    await until(() => started.server.stats().completed === index + 1);
    const [[data, socket], address] = asked.pop()!;
    assertEquals(await socket.sendTo(data, address), data.length);
    assertEquals(await receiveTexts(client, 1), [word]);
  }
});

Deno.test("UnixDatagramServer.serveForever() ends when somebody has closed the socket beneath it", async () => {
  const options = { logger: new ListLogger() };
  await using server = new UnixDatagramServer({ path: tempSocketPath() }, () => {}, options);
  server.socket.close();
  const serving = server.serveForever();
  await until(() => server.state === "closed");
  await serving;
  assertEquals(server.stats().acceptErrors, {});
});

Deno.test("UnixDatagramServer.serveForever() answers 200 clients that ask at once", async () => {
  class EchoHandler extends DatagramRequestHandler {
    override async handle() {
      await this.wfile.write(this.packet);
    }
  }
  await using started = start(new UnixDatagramServer({ path: tempSocketPath() }, EchoHandler));
  const words = Array.from({ length: 200 }, (_, index) => `client ${index}`);
  const address = started.server.serverAddress;
  assertEquals(await Promise.all(words.map((word) => datagramExchange(address, word))), words);
  assertEquals(started.server.stats().completed, 200);
});

Deno.test("UnixDatagramServer.serveForever() answers 200 clients whose handlers answer later", async () => {
  const answerLater = ([data, socket]: DatagramRequest, address: Deno.Addr) => {
    setTimeout(() => void socket.sendTo(data, address), 1);
  };
  await using started = start(new UnixDatagramServer({ path: tempSocketPath() }, answerLater));
  const words = Array.from({ length: 200 }, (_, index) => `client ${index}`);
  const address = started.server.serverAddress;
  assertEquals(await Promise.all(words.map((word) => datagramExchange(address, word))), words);
  assertEquals(started.server.stats().completed, 200);
});

for (const successor of [false, true]) {
  const state = successor ? "belongs to a successor" : "is gone";
  Deno.test(`UnixDatagramConn.send() gets through when the socket's file ${state}`, async () => {
    const path = tempSocketPath();
    using conn = openConn(path);
    using client = openClient();
    const receiving = conn.receive();
    await Deno.remove(path);
    using other = successor ? openClient(path) : openClient();
    const stray = other.receive().then(() => "a stray datagram", () => "nothing");
    let outcome = "waits for ever";
    conn.send(bytes("hello"), client.addr).then(() => outcome = "sent", () => outcome = "rejected");
    await until(() => outcome !== "waits for ever", 1000).catch(() => {});
    const outcomeInTime = outcome;
    conn.close();
    other.close();
    await receiving.catch(() => {});
    assertEquals([outcomeInTime, await stray], ["sent", "nothing"]);
    assertEquals(await receiveTexts(client, 1), ["hello"]);
  });
}
