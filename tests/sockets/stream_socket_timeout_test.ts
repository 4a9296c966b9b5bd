/**
 * `StreamSocket.timeout`: a time limit that loses no data, over real connections.
 *
 * @module
 */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { StreamSocket, TCPServer } from "@netkit/socketserver";
import { assertSame, child, converse, RecordingServer } from "../conversation.ts";
import {
  bytes,
  exchange,
  LOOPBACK,
  pattern,
  readAll,
  readExactly,
  start,
  text,
  until,
  writeAll,
} from "../harness.ts";

const MIB = 1024 * 1024;

Deno.test("StreamSocket.timeout makes a read throw, and late data comes to the next", async () => {
  await converse(async (socket) => {
    socket.timeout = 30;
    assertEquals(socket.timeout, 30);
    const error = await assertRejects(
      () => socket.read(new Uint8Array(16)),
      Deno.errors.TimedOut,
    );
    assert(error.message.includes("30 ms"), error.message);
    await assertRejects(() => socket.read(new Uint8Array(16)), Deno.errors.TimedOut);
    socket.timeout = null;
    await socket.sendAll("now");
    const data = new Uint8Array(16);
    const count = await socket.read(data);
    assertEquals(text(data.subarray(0, count!)), "late");
  }, async (conn) => {
    await readExactly(conn, 3);
    await writeAll(conn, bytes("late"));
    await readAll(conn);
  });
});

Deno.test("StreamSocket.timeout loses no data when the next reads are smaller", async () => {
  await converse(async (socket) => {
    socket.timeout = 30;
    await assertRejects(() => socket.read(new Uint8Array(64)), Deno.errors.TimedOut);
    socket.timeout = 10_000;
    await socket.sendAll("now");
    const data = new Uint8Array(3);
    assertEquals(await socket.read(data), 3);
    assertEquals(text(data), "abc");
    assertEquals(await socket.read(new Uint8Array(0)), 0);
    assertEquals(text(await socket.recv(2)), "de");
    socket.timeout = null;
    assertEquals(text(await socket.recv(2)), "fg");
    assertEquals(text(await socket.recv()), "h");
    assertEquals((await socket.recv()).length, 0);
  }, async (conn) => {
    await readExactly(conn, 3);
    await writeAll(conn, bytes("abcdefgh"));
  });
});

Deno.test("StreamSocket.timeout loses no data when a small read timed out", async () => {
  await converse(async (socket) => {
    socket.timeout = 30;
    await assertRejects(() => socket.recv(2), Deno.errors.TimedOut);
    socket.timeout = 10_000;
    await socket.sendAll("now");
    const parts: string[] = [];
    for (let part = await socket.recv(); part.length > 0; part = await socket.recv()) {
      parts.push(text(part));
    }
    assertEquals(parts.join(""), "abcdefgh");
  }, async (conn) => {
    await readExactly(conn, 3);
    await writeAll(conn, bytes("abcdefgh"));
  });
});

Deno.test("StreamSocket.timeout does not let a read that timed out write into the caller's buffer", async () => {
  await converse(async (socket) => {
    socket.timeout = 30;
    const abandoned = new Uint8Array(4);
    await assertRejects(() => socket.read(abandoned), Deno.errors.TimedOut);
    socket.timeout = null;
    await socket.sendAll("now");
    assertEquals(text(await socket.recv()), "late");
    assertEquals(abandoned, new Uint8Array(4));
  }, async (conn) => {
    await readExactly(conn, 3);
    await writeAll(conn, bytes("late"));
    await readAll(conn);
  });
});

Deno.test("StreamSocket.timeout leaves streams and late data in one order", async () => {
  await converse(async (socket) => {
    socket.timeout = 30;
    await assertRejects(() => socket.recv(64), Deno.errors.TimedOut);
    socket.timeout = 10_000;
    await socket.sendAll("now");
    assertEquals(text(await socket.recv(1)), "a");
    assertEquals(await new Response(socket.readable).text(), "bcdefgh");
  }, async (conn) => {
    await readExactly(conn, 3);
    await writeAll(conn, bytes("abcdefgh"));
  });
});

Deno.test("StreamSocket.timeout gives each of two reads at once its own bytes", async () => {
  await converse(async (socket) => {
    socket.timeout = 10_000;
    const reads = Promise.all([socket.recv(1), socket.recv(1)]);
    await socket.sendAll("now");
    const [first, second] = await reads;
    assertEquals([text(first), text(second)].sort(), ["a", "b"]);
    assertEquals(text(await socket.recv(1)), "c");
  }, async (conn) => {
    await readExactly(conn, 3);
    await writeAll(conn, bytes("abc"));
    await readAll(conn);
  });
});

Deno.test("StreamSocket.timeout holds for each of two reads at once", async () => {
  await converse(async (socket) => {
    socket.timeout = 30;
    const outcomes = Promise.allSettled([socket.recv(1), socket.recv(1)]);
    const timer = Promise.withResolvers<null>();
    const id = setTimeout(() => timer.resolve(null), 2000);
    const settled = await Promise.race([outcomes, timer.promise]);
    clearTimeout(id);
    assertEquals(settled?.map((outcome) => outcome.status), ["rejected", "rejected"]);
  }, async (conn) => assertEquals(await conn.read(new Uint8Array(1)), null));
});

Deno.test("StreamSocket.timeout does not lose the order of a read without one that comes after", async () => {
  await converse(async (socket) => {
    socket.timeout = 60_000;
    const first = socket.recv(1);
    const second = socket.recv(1);
    socket.timeout = null;
    const third = socket.recv(1);
    await socket.sendAll("now");
    assertEquals((await Promise.all([first, second, third])).map(text), ["a", "b", "c"]);
    assertEquals(text(await socket.recv()), "d");
  }, async (conn) => {
    await readExactly(conn, 3);
    await writeAll(conn, bytes("abcd"));
    await readAll(conn);
  });
});

Deno.test("StreamSocket.timeout takes nothing for late that arrived while the program was busy", async () => {
  const busy = Promise.withResolvers<void>();
  await converse(async (socket) => {
    socket.timeout = 50;
    const received = socket.recv();
    busy.resolve();
    assertEquals(text(await received), "in time");
  }, async (conn) => {
    await busy.promise;
    const written = conn.write(bytes("in time")); // the system has it before the busy time begins
    const began = performance.now();
    while (performance.now() - began < 150);
    await written;
    await readAll(conn);
  });
});

Deno.test("StreamSocket.timeout is for each operation and not for the connection", async () => {
  await converse(async (socket) => {
    socket.timeout = 400;
    const began = performance.now();
    while (performance.now() - began < 800) {
      assertEquals((await socket.recv(1)).length, 1);
      await socket.sendAll("k");
    }
    await socket.closeWrite();
  }, async (conn) => {
    const answer = new Uint8Array(1);
    do {
      await new Promise((resolve) => setTimeout(resolve, 20));
      await conn.write(bytes("x"));
    } while (await conn.read(answer) !== null);
  });
});

Deno.test("StreamSocket.timeout makes a write to a client that never reads throw", async () => {
  for (const how of ["sendAll", "send"] as const) {
    const done = Promise.withResolvers<void>();
    await converse(async (socket) => {
      socket.timeout = 50;
      const data = new Uint8Array(64 * MIB);
      await assertRejects(async () => {
        if (how === "sendAll") await socket.sendAll(data);
        else while (true) await socket.send(data);
      }, Deno.errors.TimedOut);
      socket.close();
      done.resolve();
    }, () => done.promise);
  }
});

Deno.test("StreamSocket.timeout that a write ran into fails all later writes at once", async () => {
  const done = Promise.withResolvers<void>();
  await converse(async (socket) => {
    socket.timeout = 20;
    const first = await assertRejects(() => socket.sendAll(new Uint8Array(64 * MIB)), Error);
    assertInstanceOf(first, Deno.errors.TimedOut);
    socket.timeout = 60_000; // much longer than this test may take
    for (
      const later of [
        () => socket.sendAll("more"),
        () => socket.write(bytes("more")),
        () => socket.closeWrite(),
      ]
    ) {
      assertStrictEquals(await assertRejects(later, Error), first);
    }
    done.resolve();
  }, () => done.promise);
});

Deno.test("fault 1: StreamSocket.timeout gives the bytes of a write back when the system has let go of them", async () => {
  using listener = Deno.listen(LOOPBACK);
  using _client = await Deno.connect({ ...LOOPBACK, port: listener.addr.port });
  const conn = await listener.accept();
  const { write } = conn;
  let held = 0;
  conn.write = async (p) => {
    held++;
    try {
      return await write.call(conn, p);
    } finally {
      held--;
    }
  };
  using socket = new StreamSocket(conn);
  socket.timeout = 20;
  const failed = await socket.sendAll(new Uint8Array(64 * MIB)).catch((error) => [error, held]);
  assertInstanceOf(failed![0], Deno.errors.TimedOut);
  assertEquals(failed![1], 0);
});

Deno.test("StreamSocket.timeout that a write ran into lets the server close the connection", async () => {
  await using started = start(
    new RecordingServer(LOOPBACK, async (socket: StreamSocket) => {
      socket.timeout = 50;
      await socket.sendAll(new Uint8Array(64 * MIB));
    }),
  );
  const { server } = started;
  using _client = await Deno.connect(server.serverAddress);
  await until(() => server.stats().failed === 1);
  assertInstanceOf(server.errors[0], Deno.errors.TimedOut);
  assertEquals(server.stats().active, 0);
});

Deno.test("StreamSocket.timeout lets a slow write go on while the client takes something", async () => {
  const data = pattern(16 * MIB);
  await converse(async (socket) => {
    socket.timeout = 2000;
    await socket.sendAll(data);
  }, async (conn) => {
    const received = new Uint8Array(data.length);
    for (let got = 0; got < data.length;) {
      const count = await conn.read(received.subarray(got, got + MIB));
      if (count === null) break;
      got += count;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    assertSame(received, data);
  });
});

Deno.test("StreamSocket.timeout throws RangeError when it is no time", async () => {
  await converse((socket) => {
    for (const value of [0, -1, NaN, Infinity, 2 ** 31]) {
      assertThrows(() => socket.timeout = value, RangeError, "timeout");
    }
    assertEquals(socket.timeout, null);
    socket.timeout = 5;
    socket.timeout = null;
    assertEquals(socket.timeout, null);
  }, async (conn) => assertEquals(await conn.read(new Uint8Array(1)), null));
});

Deno.test("StreamSocket.timeout leaves no timer behind when the connection ends", async () => {
  // The sanitizers of this suite fail on a timer that is left.
  await converse(async (socket) => {
    socket.timeout = 60_000;
    assertEquals(text(await socket.recv()), "x");
    await socket.sendAll("y");
  }, async (conn) => {
    await writeAll(conn, bytes("x"));
    assertEquals(text(await readAll(conn)), "y");
  });
});

Deno.test("StreamSocket.timeout does not keep the program alive", async () => {
  const { code, stdout } = await child(import.meta.url, "idle-timeout");
  assertEquals([code, stdout], [0, "served\n"]);
});

/** A client whose server has a long time limit: the program ends with the last connection. */
async function idleTimeout(): Promise<void> {
  const server = new TCPServer(LOOPBACK, async (socket: StreamSocket) => {
    socket.timeout = 600_000;
    await socket.sendAll(await socket.recv());
  });
  const handled = server.handleRequest();
  await exchange(server.serverAddress, "x");
  await handled;
  await server.serverClose();
  console.log("served");
}

// `deno test` gives no arguments.
if (Deno.args[0] === "idle-timeout") await idleTimeout();
