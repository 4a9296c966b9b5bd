import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { compileAll, type Tools } from "./contenders.ts";
import { type Figures, median, processorTimeOf, ratioOf } from "./figures.ts";
import { Generator } from "./generator.ts";
import { reachedUnder } from "./goals.ts";
import { LOADS } from "./loads.ts";
import { type LoadResult, ratiosOf } from "./measure.ts";
import { Program } from "./process.ts";
import { draw } from "./picture.ts";
import { type Report, tableOf } from "./report.ts";

const ECHO = { kind: "echo", sockets: 3, size: 64 } as const;

/** What a server does with the messages it has read from a connection so far. */
type Answer = (conn: Deno.TcpConn, message: Uint8Array, count: number) => Promise<unknown> | void;

const echo: Answer = (conn, message) => conn.write(message);

/** A server of one message at a time on each connection. */
function serve(answer: Answer): AsyncDisposable & { port: number } {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const conns = new Set<Deno.TcpConn>();
  const talk = async (conn: Deno.TcpConn) => {
    const buffer = new Uint8Array(65536);
    try {
      for (let count = 1;; count++) {
        const length = await conn.read(buffer);
        if (length === null) break;
        await answer(conn, buffer.slice(0, length), count);
      }
    } catch {
      // The load generator has ended, or the answer has closed the connection.
    }
    conns.delete(conn);
    try {
      conn.close();
    } catch {
      // It is closed.
    }
  };
  const accept = async () => {
    const talks: Promise<void>[] = [];
    try {
      for await (const conn of listener) {
        conns.add(conn);
        talks.push(talk(conn));
      }
    } finally {
      await Promise.all(talks);
    }
  };
  const accepting = accept();
  return {
    port: (listener.addr as Deno.NetAddr).port,
    async [Symbol.asyncDispose]() {
      listener.close();
      for (const conn of conns) conn.close();
      await accepting;
    },
  };
}

const deno: Tools = { deno: Deno.execPath() };
let folder: string;
let compiled: Partial<Tools>;
Deno.test.beforeAll(async () => {
  folder = await Deno.makeTempDir();
  compiled = await compileAll(folder);
});
Deno.test.afterAll(() => Deno.remove(folder, { recursive: true }));

/** Runs something with both load generators, or with the one that runs here. */
async function withEach(act: (tools: Tools, name: string) => Promise<void>): Promise<void> {
  await act(deno, "Deno");
  if (compiled.load !== undefined) await act({ ...deno, ...compiled }, "C");
}

/** Why the load generator ends itself with a server, in its words. */
async function reasonToEnd(
  tools: Tools,
  answer: Answer,
  load: Parameters<typeof Generator.connect>[1] = ECHO,
  silence?: number,
): Promise<string> {
  await using server = serve(answer);
  const error = await assertRejects(async () => {
    await using generator = await Generator.connect(tools, load, server.port, silence);
    await generator.run(0);
    await generator.run(0);
  }, Error);
  return error.message;
}

Deno.test("load generator counts the answers of a server that echoes", async () => {
  await withEach(async (tools, name) => {
    await using server = serve(echo);
    for (const kind of ["echo", "visit"] as const) {
      await using generator = await Generator.connect(tools, { ...ECHO, kind }, server.port);
      const round = await generator.run(0);
      assertEquals([round.answers, round.lost], [3, 0], `${name}, ${kind}`);
    }
  });
});

Deno.test("load generator notices an answer of which one byte is wrong", async () => {
  await withEach(async (tools) => {
    const spoil: Answer = (conn, message, count) => {
      if (count === 2) message[40]! ^= 1;
      return conn.write(message);
    };
    assertStringIncludes(await reasonToEnd(tools, spoil), "Cannot use answer");
  });
});

Deno.test("load generator notices the answer to the message before", async () => {
  await withEach(async (tools) => {
    const before = new Map<Deno.TcpConn, Uint8Array>();
    const repeat: Answer = (conn, message) => {
      const answer = before.get(conn) ?? message;
      before.set(conn, message);
      return conn.write(answer);
    };
    assertStringIncludes(await reasonToEnd(tools, repeat), "Cannot use answer");
  });
});

Deno.test("load generator notices a server that closes a connection", async () => {
  await withEach(async (tools) => {
    const leave: Answer = (conn, message, count) => {
      if (count === 2) conn.close();
      else return conn.write(message);
    };
    const reason = await reasonToEnd(tools, leave);
    assert(/the server closed|reset by peer/.test(reason), reason);
  });
});

Deno.test("load generator notices a server that leaves one client without an answer", async () => {
  await withEach(async (tools) => {
    let silent: Deno.TcpConn | undefined;
    const forget: Answer = (conn, message, count) => {
      if (count === 2) silent ??= conn;
      if (conn !== silent) return conn.write(message);
    };
    assertStringIncludes(await reasonToEnd(tools, forget, ECHO, 0.5), "the server is silent");
  });
});

Deno.test("load generator notices a transfer of which one byte is missing", async () => {
  await withEach(async (tools) => {
    let first = true;
    const drop: Answer = (conn, message) => {
      const rest = first ? message.subarray(1) : message;
      first = false;
      return writeAll(conn, rest);
    };
    const load = { kind: "transfer", sockets: 1, size: 300_000 } as const;
    assertStringIncludes(await reasonToEnd(tools, drop, load), "Cannot use answer");
    await using server = serve(writeAll);
    await using generator = await Generator.connect(tools, load, server.port);
    assertEquals((await generator.run(0)).answers, 1);
  });
});

async function writeAll(conn: Deno.TcpConn, data: Uint8Array): Promise<void> {
  for (let sent = 0; sent < data.length;) sent += await conn.write(data.subarray(sent));
}

Deno.test("load generator counts datagrams, and notices one that is wrong", async () => {
  await withEach(async (tools, name) => {
    for (const spoils of [false, true]) {
      const socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
      const answering = (async () => {
        for await (const [data, address] of socket) {
          if (spoils) data[50]! ^= 1;
          await socket.send(data, address);
        }
      })();
      const { port } = socket.addr as Deno.NetAddr;
      const ask = async () => {
        await using generator = await Generator.connect(tools, { ...ECHO, kind: "udp" }, port);
        return await generator.run(0);
      };
      try {
        if (spoils) await assertRejects(ask, Error, "Cannot use answer");
        else assertEquals((await ask()).answers, 3, name);
      } finally {
        socket.close();
        await answering;
      }
    }
  });
});

Deno.test("Program knows the processor time of its children, and ends them", async () => {
  const child = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo done; exec sleep 60";
  const parent = new Program(["sh", "-c", `sh -c '${child}' & wait`]);
  assertEquals(await parent.readLine(), "done");
  if (Deno.build.os === "linux") {
    assert(parent.processorTime() > 0);
    assert(parent.memory() > 0);
  }
  const late = Promise.withResolvers<void>();
  const timer = setTimeout(() => late.reject(new Error("The child goes on")), 30_000);
  await Promise.race([parent[Symbol.asyncDispose](), late.promise]); // waits for the child
  clearTimeout(timer);
  assertEquals(parent.memory(), 0);
});

function figures(contender: string, rounds: number[], processor: number | null): Figures {
  return { contender, rounds, median: median(rounds), processor };
}

Deno.test("median() takes the middle, or the mean of the two in the middle", () => {
  assertEquals(median([10, 2, 9]), 9);
  assertEquals(median([10, 2, 9, 1]), 5.5);
  assertThrows(() => median([]), RangeError);
});

Deno.test("ratioOf() compares rounds with each other, and is above 1 for the better", () => {
  // One slow moment of the machine met both in the last round, and must not count.
  const one = figures("one", [100, 110, 30], 20);
  const other = figures("other", [50, 50, 15], 30);
  assertEquals(ratioOf(one, other, false), { figure: 2, processor: 1.5 });
  assertEquals(ratioOf(one, other, true), { figure: 0.5, processor: 1.5 });
  assertEquals(ratioOf(one, figures("other", [50], null), false), { figure: 2, processor: null });
});

Deno.test("processorTimeOf() is the time of all rounds over the answers of all", () => {
  assertEquals(processorTimeOf([0.5, 0.25], [250, 500]), 1000);
  assertEquals(processorTimeOf([0, 0], [1000, 5000]), null);
  assertEquals(processorTimeOf([0.02, 0.01], [250, 500]), null, "too little to tell");
});

Deno.test("reachedUnder() judges figures, processor time and plain values", () => {
  const find = (name: string) => LOADS.find((load) => load.name === name)!;
  const bare = figures("deno-bare", [1000, 1000], 10);
  const reached = reachedUnder(find("echo-32"), [figures("concurrent", [800, 900], 8), bare]);
  assertEquals(reached.map(({ by, ratio }) => [by, ratio]), [["processor", 1.25]]);
  const idle = reachedUnder(find("idle"), [figures("concurrent", [24, 24], null)]);
  assertEquals(idle.map(({ by, ratio }) => [by, ratio]), [["value", 0.5]]);
});

const RESULTS = [
  figures("threading", [2000, 2100, 2200], 20),
  figures("deno-bare", [4000, 4200, 4400], 10),
];
const RESULT: LoadResult = {
  name: "echo-1",
  title: "64-byte round trips",
  detail: "1 connection",
  unit: "answers/s",
  results: RESULTS,
  ratios: ratiosOf({ unit: "answers/s" }, RESULTS),
  missing: [{ contender: "plain", reason: "one client at a time" }],
  failed: [],
  ceiling: 100000,
  reached: [{
    load: "echo-1",
    contender: "threading",
    against: "python-threading",
    by: "figure",
    atLeast: 0.9,
    ratio: 0.5,
  }],
};

Deno.test("tableOf() shows medians, ratios and who is missing", () => {
  const table = tableOf(RESULT);
  assertStringIncludes(table, "2,100");
  assertStringIncludes(table, "0.50 (0.50) of Deno.listen loop");
  assertStringIncludes(table, "one client at a time");
});

Deno.test("draw() shows each contender, and a goal that was not reached", () => {
  const report: Report = {
    date: "2026-01-01",
    machine: { processor: "A & B <C>", cores: 2, memory: "4 GiB", system: "linux" },
    versions: { Deno: "2" },
    generator: "C",
    rounds: 3,
    seconds: 1,
    loadAverage: [0, 1],
    loads: [RESULT],
  };
  const picture = draw(report);
  for (
    const text of [
      "A &amp; B &lt;C&gt;",
      "4,200",
      "ours, threading",
      "0.50",
      "one client at a time",
    ]
  ) {
    assertStringIncludes(picture, text);
  }
  assert(!picture.includes("NaN") && !picture.includes("undefined"));
});
