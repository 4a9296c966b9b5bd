/**
 * Clients that misbehave: each ends its own request and nothing else.
 *
 * @module
 */
import { assert, assertEquals, assertLess, assertMatch } from "@std/assert";
import { connect as connectNode } from "node:net";
import { StreamRequestHandler, type TCPAddr, TCPServer } from "@netkit/socketserver";
import {
  bytes,
  CONFIG,
  connect,
  connectAndReset,
  exchange,
  exchangeOn,
  ListLogger,
  LOOPBACK,
  readAll,
  readExactly,
  start,
  tempFolder,
  text,
  until,
  writeAll,
} from "./harness.ts";

const BIG = new Uint8Array(64 * 1024 * 1024);

/** Echoes lines; "big" asks for more than the sockets hold. */
class EchoHandler extends StreamRequestHandler {
  override timeout = 100;
  override maxLineLength = 1000;
  override async handle() {
    for await (const line of this.rfile) {
      await this.wfile.write(text(line) === "big\n" ? BIG : line);
    }
  }
}

/** Connects, says something, waits until the server has answered, and resets. */
async function resetAfterEcho({ hostname, port }: TCPAddr): Promise<void> {
  const closed = Promise.withResolvers<void>();
  const socket = connectNode(port, hostname, () => socket.write("hello\n"));
  socket.on("data", () => socket.resetAndDestroy());
  socket.on("error", () => {});
  socket.on("close", () => closed.resolve());
  await closed.promise;
}

/** A client that misbehaves: what it does, and what the log says of it. */
const CLIENTS: Record<string, { act: (address: TCPAddr) => Promise<void>; log: RegExp[] }> = {
  "resets after an answer": {
    act: resetAfterEcho,
    log: [/^debug: Client ".+" went away: /],
  },
  "half-closes, and gets its whole answer": {
    async act(address) {
      assertEquals(await exchange(address, "one\ntwo\nthree"), "one\ntwo\nthree");
    },
    log: [],
  },
  "connects and leaves": {
    async act(address) {
      (await connect(address)).close();
    },
    log: [],
  },
  "is silent": {
    async act(address) {
      using conn = await connect(address);
      assertEquals(text(await readAll(conn)), "");
    },
    log: [/^warn: Cannot serve client ".+": Cannot read from client: no progress in 100 ms$/],
  },
  "falls silent within a line": {
    async act(address) {
      using conn = await connect(address);
      await writeAll(conn, bytes("whole\nhalf"));
      assertEquals(text(await readAll(conn)), "whole\n");
    },
    log: [/^warn: Cannot serve client ".+": Cannot read from client: no progress in 100 ms$/],
  },
  "sends every byte from 0 to 255": {
    async act(address) {
      const sent = Uint8Array.from({ length: 256 }, (_, index) => index);
      using conn = await connect(address);
      await writeAll(conn, sent);
      assertEquals(await readExactly(conn, 11), sent.subarray(0, 11)); // up to the line's end
      await conn.closeWrite();
      assertEquals(await readAll(conn), sent.subarray(11));
    },
    log: [],
  },
  "sends a line without end": {
    async act(address) {
      using conn = await connect(address);
      await writeAll(conn, new Uint8Array(1_000_000)).catch(() => {}); // the server does not wait
      assertEquals(await readAll(conn).catch(() => bytes("")), bytes(""));
    },
    log: [/^warn: Cannot serve client ".+": Cannot read line: no end within 1000 bytes$/],
  },
  "never reads its large answer": {
    async act(address) {
      using conn = await connect(address);
      await writeAll(conn, bytes("big\n"));
      assertEquals((await readExactly(conn, 1)).length, 1);
      assertEquals(await exchange(address, "the next one waits\n"), "the next one waits\n");
    },
    log: [
      /^warn: Cannot serve client ".+": Cannot write to client: the system took nothing more in 100 ms$/,
    ],
  },
};

/** Fails when a rejection is unhandled while `action` runs. */
async function withoutUnhandledRejections(action: () => Promise<void>): Promise<void> {
  const reasons: unknown[] = [];
  const keep = (event: PromiseRejectionEvent) => {
    event.preventDefault();
    reasons.push(event.reason);
  };
  globalThis.addEventListener("unhandledrejection", keep);
  try {
    await action();
    await new Promise((resolve) => setTimeout(resolve)); // rejections are told of in a later turn
  } finally {
    globalThis.removeEventListener("unhandledrejection", keep);
  }
  assertEquals(reasons, []);
}

for (const [what, { act, log }] of Object.entries(CLIENTS)) {
  Deno.test(`TCPServer.serveForever() serves the next client after one that ${what}`, async () => {
    await withoutUnhandledRejections(async () => {
      const logger = new ListLogger();
      await using started = start(new TCPServer(LOOPBACK, EchoHandler, { logger }));
      const { server } = started;
      await act(server.serverAddress);
      assertEquals(await exchange(server.serverAddress, "next\n"), "next\n");
      assertEquals(logger.lines.length, log.length, logger.lines.join("\n"));
      for (const [index, line] of logger.lines.entries()) assertMatch(line, log[index]!);
      assertEquals(server.stats().failed, log.length);
      assertEquals(server.stats().active, 0);
    });
  });
}

Deno.test("TCPServer.serveForever() serves the next client after a hundred that reset at once", async () => {
  await withoutUnhandledRejections(async () => {
    const logger = new ListLogger();
    await using started = start(new TCPServer(LOOPBACK, EchoHandler, { logger }));
    const { server } = started;
    for (let client = 0; client < 100; client++) await connectAndReset(server.serverAddress);
    assertEquals(await exchange(server.serverAddress, "next\n"), "next\n");
    assert(logger.lines.every((line) => line.startsWith("debug: ")), logger.lines.join("\n"));
    const { accepted, completed, failed, acceptErrors } = server.stats();
    assertEquals(accepted, completed + failed);
    const dead = Object.values(acceptErrors).reduce((sum, count) => sum + count, 0);
    assertEquals(accepted + dead, 101);
  });
});

Deno.test("TCPServer.serveForever() serves a good client between all the bad ones at once", async () => {
  await withoutUnhandledRejections(async () => {
    const logger = new ListLogger();
    await using started = start(new TCPServer(LOOPBACK, EchoHandler, { logger }));
    const address = started.server.serverAddress;
    const bad = ["is silent", "sends a line without end", "resets after an answer"] as const;
    const spoiling = bad.map((what) => CLIENTS[what]!.act(address));
    const good = [1, 2, 3].map((number) => exchange(address, `${number}\n`));
    assertEquals(await Promise.all(good), ["1\n", "2\n", "3\n"]);
    await Promise.all(spoiling);
    await until(() => started.server.stats().active === 0);
    assertEquals(started.server.stats().failed, 3);
  });
});

/** Holds its clients all at once, answers each line, and tells its counters when it reads a line. */
const HOLDING_SERVER = `
  import { StreamRequestHandler, type StreamSocket, type TCPAddr, TCPServer } from "@netkit/socketserver";
  import { cpuUsage } from "node:process";
  class EchoHandler extends StreamRequestHandler {
    override async handle() {
      for await (const line of this.rfile) await this.wfile.write(line);
    }
  }
  class HoldingServer extends TCPServer {
    override processRequest(request: StreamSocket, address: TCPAddr): Promise<void> {
      super.processRequest(request, address).catch((error) => this.handleError(error, request, address));
      return Promise.resolve();
    }
  }
  const server = new HoldingServer({ hostname: "127.0.0.1", port: 0 }, EchoHandler);
  const serving = server.serveForever();
  console.log(server.serverAddress.port);
  for await (const _ of Deno.stdin.readable) {
    const { user, system } = cpuUsage();
    console.log(JSON.stringify({ ...server.stats(), cpu: (user + system) / 1000 }));
  }
  await server.serverClose();
  await serving;

`;

Deno.test("TCPServer.serveForever() waits calmly while the process has no file descriptors left", async () => {
  const folder = tempFolder();
  await Deno.writeTextFile(`${folder}/main.ts`, HOLDING_SERVER);
  await using child = new Deno.Command("sh", {
    // deno-fmt-ignore
    args: ["-c", 'ulimit -n 64; exec "$@"', "sh", Deno.execPath(), "run", "--quiet", "--no-check",
      "-A", "--config", CONFIG, `${folder}/main.ts`],
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const lines = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const writer = child.stdin.getWriter();
  const ask = async () => {
    await writer.write(bytes("?"));
    return JSON.parse((await lines.read()).value!);
  };
  const port = Number((await lines.read()).value);
  const address: TCPAddr = { transport: "tcp", hostname: "127.0.0.1", port };

  const clients = await Promise.all(Array.from({ length: 100 }, () => connect(address)));
  let stats = await ask();
  while (!(stats.acceptErrors.EMFILE >= 1)) stats = await ask();
  const full = { ...stats, at: performance.now() };
  await writeAll(clients[0]!, bytes("still there\n"));
  assertEquals(text(await readExactly(clients[0]!, 12)), "still there\n");
  await new Promise((resolve) => setTimeout(resolve, 500)); // the stretch of time that is measured
  stats = await ask();
  const elapsed = performance.now() - full.at;
  assertLess(stats.acceptErrors.EMFILE - full.acceptErrors.EMFILE, 50, "tries without a pause");
  assertLess(stats.cpu - full.cpu, elapsed / 2, "half a core for nothing");
  assertLess(stats.accepted, 64);

  for (const client of clients) client.close();
  assertEquals(await exchangeOn(await connect(address), "next\n"), "next\n");
  assertEquals((await ask()).state, "serving");

  await writer.close();
  while (!(await lines.read()).done);
  assertEquals((await child.status).code, 0);
});
