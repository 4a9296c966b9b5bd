/**
 * `StreamSocket`: a full `Deno.Conn` with Python's manners, over real connections.
 *
 * @module
 */
import {
  assert,
  assertEquals,
  assertGreater,
  assertInstanceOf,
  assertLess,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import {
  StreamSocket,
  type StreamTransport,
  TCPServer,
  TLSServer,
  UnixStreamServer,
} from "@netkit/socketserver";
import {
  assertSame,
  child,
  converse,
  RecordingServer,
  reset,
  resettable,
  unhandledRejections,
} from "../conversation.ts";
import {
  bytes,
  connectTLS,
  exchange,
  letsTurn,
  LOOPBACK,
  pattern,
  readAll,
  readExactly,
  settle,
  start,
  tempSocketPath,
  text,
  TLS,
  until,
  writeAll,
} from "../harness.ts";

const MIB = 1024 * 1024;

/** A transport in memory that records the settings it is given. */
class RecordingTransport implements StreamTransport {
  readonly calls: string[] = [];
  readonly localAddr: Deno.Addr = { transport: "tcp", hostname: "127.0.0.1", port: 1 };
  readonly remoteAddr: Deno.Addr = { transport: "tcp", hostname: "127.0.0.1", port: 2 };
  /** The sizes of the buffers that reads were given. */
  readonly readSizes: number[] = [];
  read(p: Uint8Array): Promise<number | null> {
    this.readSizes.push(p.length);
    return Promise.resolve(null);
  }
  write(p: Uint8Array): Promise<number> {
    this.calls.push(`write ${p.length}`);
    return Promise.resolve(p.length);
  }
  close(): void {
    this.calls.push("close");
  }
  closeWrite(): Promise<void> {
    this.calls.push("closeWrite");
    return Promise.resolve();
  }
  ref(): void {
    this.calls.push("ref");
  }
  unref(): void {
    this.calls.push("unref");
  }
  setNoDelay(noDelay?: boolean): void {
    this.calls.push(`setNoDelay ${noDelay}`);
  }
  setKeepAlive(keepAlive?: boolean): void {
    this.calls.push(`setKeepAlive ${keepAlive}`);
  }
}

Deno.test("StreamSocket is a Deno.Conn for code that takes one", async () => {
  const echo = async (conn: Deno.Conn) => await writeAll(conn, await readAll(conn));
  await converse(async (socket) => {
    assertInstanceOf(socket, StreamSocket);
    await echo(socket);
  }, async (conn) => {
    await writeAll(conn, bytes("over a Deno.Conn"));
    await conn.closeWrite();
    assertEquals(text(await readAll(conn)), "over a Deno.Conn");
  });
});

Deno.test("StreamSocket.remoteAddr and localAddr are those of both ends", async () => {
  const addresses = Promise.withResolvers<[Deno.Addr, Deno.Addr]>();
  await converse(
    (socket) => addresses.resolve([socket.localAddr, socket.remoteAddr]),
    async (conn) => assertEquals(await addresses.promise, [conn.remoteAddr, conn.localAddr]),
  );
});

Deno.test("StreamSocket.recv() gives what has arrived, and nothing at the end of the stream", async () => {
  await converse(async (socket) => {
    assertEquals(text(await socket.recv(1024)), "first");
    await socket.sendAll("ok");
    assertEquals(text(await socket.recv()), "second");
    assertEquals((await socket.recv(1024)).length, 0);
    assertEquals((await socket.recv(1024)).length, 0);
  }, async (conn) => {
    await writeAll(conn, bytes("first"));
    await readExactly(conn, 2);
    await writeAll(conn, bytes("second"));
    await conn.closeWrite();
    await readAll(conn);
  });
});

Deno.test("StreamSocket.recv() gives no more than it was asked for and keeps the rest", async () => {
  await converse(async (socket) => {
    const parts: string[] = [];
    for (let part = await socket.recv(3); part.length > 0; part = await socket.recv(3)) {
      assert(part.length <= 3);
      parts.push(text(part));
    }
    assertEquals(parts.join(""), "abcdefgh");
  }, async (conn) => {
    await writeAll(conn, bytes("abcdefgh"));
  });
});

Deno.test("StreamSocket.recv() gives bytes that stay as they are when more is received", async () => {
  const parts = ["one", "two!", "x".repeat(40_000), "three", "y".repeat(70_000), "z"];
  await converse(async (socket) => {
    const received: Uint8Array[] = [];
    const copies: Uint8Array[] = [];
    for (let part = await socket.recv(); part.length > 0; part = await socket.recv()) {
      received.push(part);
      copies.push(part.slice());
      await socket.sendAll(".".repeat(part.length));
    }
    assertEquals(received, copies);
    assertEquals(received.map(text).join(""), parts.join(""));
  }, async (conn) => {
    for (const part of parts) {
      await writeAll(conn, bytes(part));
      await readExactly(conn, part.length); // a dot for each byte: nothing is on its way any more
    }
  });
});

Deno.test("StreamSocket.recv() gives memory that the caller may change", async () => {
  await converse(async (socket) => {
    (await socket.recv(4)).fill(0);
    await socket.sendAll("k");
    assertEquals(text(await socket.recv(4)), "next");
  }, async (conn) => {
    await writeAll(conn, bytes("mine"));
    await readExactly(conn, 1);
    await writeAll(conn, bytes("next"));
    await readAll(conn);
  });
});

Deno.test("StreamSocket.recv() does not allocate what it is asked for when that is huge", async () => {
  const transport = new RecordingTransport();
  using socket = new StreamSocket(transport);
  assertEquals((await socket.recv(Number.MAX_SAFE_INTEGER)).length, 0);
  assertLess(transport.readSizes[0]!, MIB);
});

Deno.test("StreamSocket.recv() does not pin a large buffer with a small message", async () => {
  await converse(async (socket) => {
    const message = await socket.recv(MIB);
    assertEquals(text(message), "small");
    assertLess(message.buffer.byteLength, 1024);
  }, async (conn) => {
    await writeAll(conn, bytes("small"));
    await readAll(conn);
  });
});

Deno.test("StreamSocket.recv() throws RangeError when the size is no positive integer", async () => {
  using socket = new StreamSocket(new RecordingTransport());
  for (const size of [0, -1, 1.5, NaN, Infinity]) {
    await assertRejects(() => socket.recv(size), RangeError, "maxBytes");
  }
});

Deno.test("StreamSocket.send() sends some and says how much", async () => {
  await converse(async (socket) => {
    const data = pattern(MIB);
    let sent = 0;
    while (sent < data.length) {
      const count = await socket.send(data.subarray(sent));
      assertGreater(count, 0);
      sent += count;
    }
    assertEquals(sent, data.length);
  }, async (conn) => assertSame(await readAll(conn), pattern(MIB)));
});

Deno.test("StreamSocket.sendAll() sends text as UTF-8 and bytes as they are", async () => {
  await converse(async (socket) => {
    await socket.sendAll("žluť ");
    await socket.sendAll(Uint8Array.of(0xe2, 0x82, 0xac));
    await socket.sendAll("");
    await socket.sendAll(new Uint8Array(0));
  }, async (conn) => assertEquals(text(await readAll(conn)), "žluť €"));
});

Deno.test("StreamSocket.closeWrite() ends the reply while the client's data still comes", async () => {
  const data = pattern(MIB);
  await converse(async (socket) => {
    await socket.sendAll("bye");
    await socket.closeWrite();
    assertSame(await readAll(socket), data);
  }, async (conn) => {
    assertEquals(text(await readAll(conn)), "bye");
    await writeAll(conn, data);
  });
});

Deno.test("StreamSocket.sendAll() reaches a client that has shut its write side", async () => {
  const data = pattern(MIB);
  await converse(async (socket) => {
    await socket.sendAll(await readAll(socket));
  }, async (conn) => {
    const sent = (async () => {
      await writeAll(conn, data);
      await conn.closeWrite();
    })();
    await sent;
    assertSame(await readAll(conn), data);
  });
});

Deno.test("StreamSocket.closeWrite() may be called twice", async () => {
  await converse(async (socket) => {
    await socket.closeWrite();
    await socket.closeWrite();
    await socket.shutdown("write");
  }, async (conn) => assertEquals(await readAll(conn), new Uint8Array(0)));
});

Deno.test("StreamSocket.closeWrite() comes after the writes before it", async () => {
  const data = pattern(4 * MIB);
  await converse(async (socket) => {
    socket.sendAll(data);
    socket.sendAll("end");
    await socket.closeWrite();
  }, async (conn) => {
    const reply = await readAll(conn);
    assertSame(reply.subarray(0, data.length), data);
    assertEquals(text(reply.subarray(data.length)), "end");
  });
});

Deno.test("StreamSocket.sendAll() rejects after closeWrite()", async () => {
  await converse(async (socket) => {
    await socket.closeWrite();
    await assertRejects(() => socket.sendAll("too late"), Deno.errors.BrokenPipe);
  }, async (conn) => assertEquals(await readAll(conn), new Uint8Array(0)));
});

Deno.test("StreamSocket.shutdown() ends the direction that it is told", async (t) => {
  await t.step("write", () =>
    converse(async (socket) => {
      await socket.shutdown("write");
      assertEquals(text(await readAll(socket)), "still heard");
    }, async (conn) => {
      assertEquals(await conn.read(new Uint8Array(1)), null);
      await writeAll(conn, bytes("still heard"));
    }));
  await t.step("read", () =>
    converse(async (socket) => {
      await socket.shutdown("read");
      assertEquals((await socket.recv()).length, 0);
      assertEquals(await socket.read(new Uint8Array(1)), null);
      await socket.sendAll("still said");
    }, async (conn) => {
      await writeAll(conn, bytes("unheard"));
      assertEquals(text(await readExactly(conn, 10)), "still said");
    }));
  await t.step("both", () =>
    converse(async (socket) => {
      await socket.shutdown("both");
      assertEquals((await socket.recv()).length, 0);
      await assertRejects(() => socket.sendAll("x"), Deno.errors.BrokenPipe);
      assertEquals(socket.closed, false);
    }, async (conn) => assertEquals(await conn.read(new Uint8Array(1)), null)));
});

Deno.test("StreamSocket.shutdown() of the read side wakes reads that wait with a time limit", async () => {
  await converse(async (socket) => {
    socket.timeout = 60_000;
    const waiting = [socket.recv(), socket.read(new Uint8Array(4)), socket.recv(1)] as const;
    await socket.shutdown("read");
    assertEquals(await Promise.all(waiting), [new Uint8Array(0), null, new Uint8Array(0)]);
    await socket.sendAll("still said");
  }, async (conn) => assertEquals(text(await readAll(conn)), "still said"));
});

Deno.test("StreamSocket.shutdown() of the read side leaves nothing of a late read", async () => {
  await converse(async (socket) => {
    socket.timeout = 20;
    await assertRejects(() => socket.recv(8), Deno.errors.TimedOut);
    await socket.sendAll("now");
    assertEquals(text(await socket.recv(1)), "a");
    await socket.shutdown("read");
    socket.timeout = null;
    assertEquals((await socket.recv()).length, 0);
  }, async (conn) => {
    await readExactly(conn, 3);
    await writeAll(conn, bytes("abc"));
    await readAll(conn);
  });
});

Deno.test("StreamSocket.close() may be called again, and by dispose", async () => {
  await converse((socket) => {
    assertEquals(socket.closed, false);
    socket.close();
    assertEquals(socket.closed, true);
    socket.close();
    socket[Symbol.dispose]();
    using _ = socket;
  }, async (conn) => assertEquals(await conn.read(new Uint8Array(1)), null));
});

Deno.test("StreamSocket[Symbol.dispose]() closes", async () => {
  await converse((socket) => {
    {
      using _ = socket;
    }
    assertEquals(socket.closed, true);
  }, async (conn) => assertEquals(await conn.read(new Uint8Array(1)), null));
});

Deno.test("StreamSocket.close() does nothing when somebody closed the connection beneath", async () => {
  using listener = Deno.listen(LOOPBACK);
  using client = await Deno.connect({ port: (listener.addr as Deno.NetAddr).port });
  const conn = await listener.accept();
  const socket = new StreamSocket(conn);
  conn.close();
  socket.close();
  assertEquals(await client.read(new Uint8Array(1)), null);
});

Deno.test("StreamSocket.close() rejects what waits", async () => {
  await converse(async (socket) => {
    const reading = socket.recv();
    const writing = socket.sendAll(new Uint8Array(64 * MIB));
    socket.close();
    await assertRejects(() => reading, Error);
    await assertRejects(() => writing, Error);
  }, async (conn) => {
    await readAll(conn).catch(() => {}); // a reset is as good as an end here
  });
});

Deno.test("StreamSocket.close() rejects a read that waits with a time limit", async () => {
  await converse(async (socket) => {
    socket.timeout = 60_000;
    const reading = socket.recv();
    socket.close();
    const error = await assertRejects(() => reading, Error);
    assert(!(error instanceof Deno.errors.TimedOut));
  }, async (conn) => assertEquals(await conn.read(new Uint8Array(1)), null));
});

Deno.test("StreamSocket refuses to write after close() and reads nothing", async () => {
  await converse(async (socket) => {
    socket.close();
    assertEquals((await socket.recv()).length, 0);
    assertEquals(await socket.read(new Uint8Array(1)), null);
    await assertRejects(() => socket.send(bytes("x")), Deno.errors.BadResource);
    await assertRejects(() => socket.write(bytes("x")), Deno.errors.BadResource);
    await assertRejects(() => socket.sendAll("x"), Deno.errors.BadResource, "is closed");
    await assertRejects(() => socket.closeWrite(), Deno.errors.BadResource);
  }, async (conn) => assertEquals(await conn.read(new Uint8Array(1)), null));
});

Deno.test("StreamSocket.readable ends with the client's data and leaves the write side open", async () => {
  await converse(async (socket) => {
    const data = await new Response(socket.readable).text();
    await socket.sendAll(`heard ${data}`);
    assertEquals(socket.closed, false);
  }, async (conn) => {
    await writeAll(conn, bytes("all"));
    await conn.closeWrite();
    assertEquals(text(await readAll(conn)), "heard all");
  });
});

Deno.test("StreamSocket.readable and writable are the same object each time", () => {
  using socket = new StreamSocket(new RecordingTransport());
  assertStrictEquals(socket.readable, socket.readable);
  assertStrictEquals(socket.writable, socket.writable);
});

Deno.test("StreamSocket.readable.pipeTo(writable) echoes, and the client sees the end", async () => {
  const data = pattern(2 * MIB);
  const heard = Promise.withResolvers<void>();
  await converse(async (socket) => {
    await socket.readable.pipeTo(socket.writable);
    await heard.promise; // so that it is the stream that ended the write side, not the server
  }, async (conn) => {
    const echoed = readAll(conn);
    await writeAll(conn, data);
    await conn.closeWrite();
    assertSame(await echoed, data);
    heard.resolve();
  });
});

Deno.test("StreamSocket.readable reads into the buffer of a BYOB reader", async () => {
  await converse(async (socket) => {
    const reader = socket.readable.getReader({ mode: "byob" });
    const first = await reader.read(new Uint8Array(4));
    assertEquals(text(first.value!), "abcd");
    const second = await reader.read(new Uint8Array(4));
    assertEquals(text(second.value!), "ef");
    const third = await reader.read(new Uint8Array(4));
    assertEquals([third.done, third.value?.length], [true, 0]);
    reader.releaseLock();
    await socket.sendAll("done");
  }, async (conn) => {
    await writeAll(conn, bytes("abcdef"));
    await conn.closeWrite();
    assertEquals(text(await readAll(conn)), "done");
  });
});

Deno.test("StreamSocket.readable reads no more than it is asked for", async () => {
  await converse(async (socket) => {
    const reader = socket.readable.getReader({ mode: "byob" });
    await reader.read(new Uint8Array(2));
    reader.releaseLock();
    assertEquals(text(await socket.recv()), "cd");
  }, async (conn) => {
    await writeAll(conn, bytes("abcd"));
    await readAll(conn);
  });
});

Deno.test("StreamSocket.readable ends the read side when it is cancelled, and only that", async () => {
  await converse(async (socket) => {
    const reader = socket.readable.getReader();
    assertEquals(text((await reader.read()).value!), "hello");
    await reader.cancel();
    assertEquals((await socket.recv()).length, 0);
    await socket.sendAll("still here");
  }, async (conn) => {
    await writeAll(conn, bytes("hello"));
    assertEquals(text(await readAll(conn)), "still here");
  });
});

Deno.test("StreamSocket.readable fails with the client's reset", async () => {
  await using started = start(
    new RecordingServer(LOOPBACK, async (socket: StreamSocket) => {
      const reader = socket.readable.getReader();
      await reader.read();
      await reader.read();
    }),
  );
  const client = await resettable(started.server.serverAddress);
  client.write("x");
  await until(() => started.server.stats().active === 1);
  await reset(client);
  await until(() => started.server.errors.length === 1);
  assertInstanceOf(started.server.errors[0], Deno.errors.ConnectionReset);
});

Deno.test("StreamSocket.writable ends the write side when it is closed, and only that", async () => {
  await converse(async (socket) => {
    const writer = socket.writable.getWriter();
    await writer.write(bytes("bye"));
    await writer.close();
    assertEquals(text(await readAll(socket)), "and you");
  }, async (conn) => {
    assertEquals(text(await readAll(conn)), "bye");
    await writeAll(conn, bytes("and you"));
  });
});

Deno.test("StreamSocket.writable closes the connection when it is aborted", async () => {
  await converse(async (socket) => {
    await socket.writable.abort("enough");
    assertEquals(socket.closed, true);
  }, async (conn) => assertEquals(await conn.read(new Uint8Array(1)), null));
});

Deno.test("StreamSocket.sendAll() keeps its order when it is not awaited", async () => {
  const numbers = Array.from({ length: 500 }, (_, index) => `${index}\n`);
  await converse((socket) => {
    for (const [index, number] of numbers.entries()) {
      if (index === 100) socket.sendAll(pattern(2 * MIB));
      if (index % 2 === 0) socket.sendAll(number);
      else socket.write(bytes(number));
    }
  }, async (conn) => {
    const reply = await readAll(conn);
    const head = numbers.slice(0, 100).join("");
    assertEquals(text(reply.subarray(0, head.length)), head);
    assertSame(reply.subarray(head.length, head.length + 2 * MIB), pattern(2 * MIB));
    assertEquals(text(reply.subarray(head.length + 2 * MIB)), numbers.slice(100).join(""));
  });
});

Deno.test("StreamSocket.sendAll() that is not awaited is sent in full before the server closes", async () => {
  const data = pattern(8 * MIB);
  await converse((socket) => {
    socket.sendAll(data);
    assertEquals(socket.writing, true);
  }, async (conn) => assertSame(await readAll(conn), data));
});

Deno.test("StreamSocket.send() that is not awaited goes before a later one", async () => {
  await converse(async (socket) => {
    socket.send(bytes("a"));
    socket.write(bytes("b"));
    socket.sendAll("c");
    await socket.send(bytes("d"));
    assertEquals(socket.writing, false);
  }, async (conn) => assertEquals(text(await readAll(conn)), "abcd"));
});

Deno.test("StreamSocket writes that nobody awaits are no unhandled rejections when the client resets", async () => {
  using unhandled = unhandledRejections();
  const gone = Promise.withResolvers<void>();
  await using started = start(
    new RecordingServer(LOOPBACK, async (socket: StreamSocket) => {
      socket.timeout = 5000;
      socket.sendAll(new Uint8Array(64 * MIB));
      socket.write(bytes("x"));
      socket.send(bytes("y"));
      await gone.promise;
      socket.sendAll("z");
      socket.closeWrite();
    }),
  );
  const { server } = started;
  const client = await resettable(server.serverAddress);
  await until(() => server.stats().active === 1);
  await reset(client);
  gone.resolve();
  await until(() => server.stats().active === 0);
  await settle();
  assertEquals(unhandled.reasons, []);
});

Deno.test("StreamSocket.shutdown() that nobody awaits is no unhandled rejection when the client resets", async () => {
  using unhandled = unhandledRejections();
  await using started = start(
    new RecordingServer(LOOPBACK, async (socket: StreamSocket) => {
      await socket.recv().catch(() => {});
      socket.shutdown("write");
      socket.shutdown("both");
    }),
  );
  const { server } = started;
  const client = await resettable(server.serverAddress);
  await until(() => server.stats().active === 1);
  await reset(client);
  await until(() => server.stats().accepted === 1 && server.stats().active === 0);
  await settle();
  assertEquals(unhandled.reasons, []);
});

Deno.test("StreamSocket writes after close() are no unhandled rejections", async () => {
  using unhandled = unhandledRejections();
  await converse((socket) => {
    socket.close();
    socket.sendAll("x");
    socket.write(bytes("y"));
    socket.closeWrite();
    socket.shutdown("both");
  }, async (conn) => assertEquals(await conn.read(new Uint8Array(1)), null));
  await settle();
  assertEquals(unhandled.reasons, []);
});

Deno.test("StreamSocket.recv() rejects when the client resets, and only that request ends", async () => {
  await using started = start(
    new RecordingServer(LOOPBACK, async (socket: StreamSocket) => {
      while (true) {
        const data = await socket.recv();
        if (data.length === 0) return;
        await socket.sendAll(data);
      }
    }),
  );
  const { server } = started;
  for (const timeout of [null, 5000]) {
    const before = server.errors.length;
    const client = await resettable(server.serverAddress);
    const echoed = Promise.withResolvers<void>();
    client.once("data", () => echoed.resolve());
    client.write(`timeout ${timeout}`);
    await echoed.promise; // the handler is in its second read
    await reset(client);
    await until(() => server.errors.length === before + 1);
    assertInstanceOf(server.errors[before], Deno.errors.ConnectionReset);
    assertEquals(await exchange(server.serverAddress, "next"), "next");
  }
});

Deno.test("StreamSocket.sendAll() rejects when the client resets, and only that request ends", async () => {
  await using started = start(
    new RecordingServer(LOOPBACK, async (socket: StreamSocket) => {
      if (text(await socket.recv()) === "flood") await socket.sendAll(new Uint8Array(64 * MIB));
      else await socket.sendAll("fine");
    }),
  );
  const { server } = started;
  const client = await resettable(server.serverAddress);
  const flooded = Promise.withResolvers<void>();
  client.once("data", () => flooded.resolve());
  client.write("flood");
  await flooded.promise;
  client.pause();
  await reset(client);
  await until(() => server.errors.length === 1);
  const [error] = server.errors;
  assert(
    error instanceof Deno.errors.ConnectionReset || error instanceof Deno.errors.BrokenPipe,
    String(error),
  );
  assertEquals(await exchange(server.serverAddress, "hello"), "fine");
});

Deno.test("StreamSocket.sendAll() to a slow reader holds little more than the data", async () => {
  const { code, stdout } = await child(import.meta.url, "slow-reader");
  const { grown } = JSON.parse(stdout) as { grown: number };
  assertEquals(code, 0);
  assertLess(grown, 16 * MIB);
});

Deno.test("StreamSocket.setNoDelay() and setKeepAlive() reach the connection", () => {
  const transport = new RecordingTransport();
  const socket = new StreamSocket(transport);
  socket.setNoDelay();
  socket.setNoDelay(false);
  socket.setKeepAlive();
  socket.setKeepAlive(false);
  socket.unref();
  socket.ref();
  socket.close();
  socket.close();
  assertEquals(transport.calls, [
    "setNoDelay true",
    "setNoDelay false",
    "setKeepAlive true",
    "setKeepAlive false",
    "unref",
    "ref",
    "close",
  ]);
});

Deno.test("StreamSocket.setNoDelay() and setKeepAlive() work on TCP and do nothing on Unix", async () => {
  const set = async (socket: StreamSocket) => {
    socket.setNoDelay();
    socket.setKeepAlive(true);
    socket.unref();
    socket.ref();
    await socket.sendAll("set");
  };
  await using tcp = start(new TCPServer(LOOPBACK, set));
  assertEquals(await exchange(tcp.server.serverAddress, ""), "set");
  await using unix = start(new UnixStreamServer({ path: tempSocketPath() }, set));
  assertEquals(await exchange(unix.server.serverAddress, ""), "set");
});

Deno.test("StreamSocket.handshake() tells of TLS, and null without", async () => {
  const tell = async (socket: StreamSocket) => {
    const info = await socket.handshake();
    await socket.sendAll(info === null ? "none" : `alpn ${info.alpnProtocol}`);
  };
  await using tcp = start(new TCPServer(LOOPBACK, tell));
  assertEquals(await exchange(tcp.server.serverAddress, ""), "none");
  await using tls = start(new TLSServer(LOOPBACK, tell, { cert: TLS.cert, key: TLS.key }));
  using conn = await connectTLS(tls.server.serverAddress);
  assertEquals(text(await readAll(conn)), "alpn null");
});

Deno.test("StreamSocket.read() goes straight into the caller's buffer", async () => {
  await converse(async (socket) => {
    const buffer = new Uint8Array(8).fill(0x2e);
    assertEquals(await socket.read(buffer.subarray(2, 6)), 4);
    assertEquals(text(buffer), "..abcd..");
    assertEquals(text(await socket.recv()), "ef");
    assertEquals(await socket.read(buffer), null);
  }, async (conn) => {
    await writeAll(conn, bytes("abcdef"));
  });
});

/** How much the program grows while it sends 16 MiB to a client that takes its time. */
async function slowReader(): Promise<void> {
  const data = pattern(16 * MIB);
  let grown = 0;
  const server = new TCPServer(LOOPBACK, async (socket: StreamSocket) => {
    const before = Deno.memoryUsage().rss;
    const measure = () => grown = Math.max(grown, Deno.memoryUsage().rss - before);
    const timer = setInterval(measure, 2);
    await socket.sendAll(data);
    measure();
    clearInterval(timer);
  });
  const handled = server.handleRequest();
  const conn = await Deno.connect(server.serverAddress);
  const buffer = new Uint8Array(64 * 1024);
  let got = 0;
  for (let count = await conn.read(buffer); count !== null; count = await conn.read(buffer)) {
    got += count;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  conn.close();
  await handled;
  await server.serverClose();
  if (got !== data.length) throw new Error(`the client got ${got} of ${data.length} bytes`);
  console.log(JSON.stringify({ grown }));
}

// `deno test` gives no arguments.
if (Deno.args[0] === "slow-reader") await slowReader();

Deno.test("fault 3: StreamSocket.writable closes the connection at once when it is aborted while a write waits", async () => {
  const aborted = Promise.withResolvers<void>();
  await converse(async (socket) => {
    const writer = socket.writable.getWriter();
    const written = writer.write(new Uint8Array(64 * MIB)).catch(() => {});
    await until(() => socket.writing);
    await writer.abort();
    await written;
    assertEquals(socket.closed, true);
    aborted.resolve();
  }, async (conn) => {
    await aborted.promise; // it reads nothing before
    assertLess((await readAll(conn)).length, 64 * MIB);
  });
});

Deno.test("StreamSocket's reads at the end let the event loop turn, however many there are", async () => {
  const ended = () => new StreamSocket(new RecordingTransport());
  const [open, timed, closed, shut] = [ended(), ended(), ended(), ended()];
  timed.timeout = 60_000;
  closed.close();
  await shut.shutdown("read");
  for (const socket of [open, timed, closed, shut]) {
    assert(await letsTurn(() => socket.read(new Uint8Array(1))));
    assert(await letsTurn(() => socket.recv()));
    socket.close();
  }
});
