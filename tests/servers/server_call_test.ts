/**
 * What handlers call of their server, in every mode.
 *
 * @module
 */
import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import {
  ConcurrentTCPServer,
  type Constructor,
  ForkingTCPServer,
  ForkingUDPServer,
  PoolTCPServer,
  type SocketAddress,
  TCPServer,
  ThreadingTCPServer,
  ThreadingUDPServer,
  UDPServer,
} from "@netkit/socketserver";
import {
  BlockingCaller,
  BusyCaller,
  CallHandler,
  DeafCaller,
  EchoCaller,
  LateReader,
  LeavingHandler,
  OddCaller,
  SumHandler,
  TalkHandler,
} from "./call_handlers.ts";
import { ServerStub } from "../../src/workers/inside/server_stub.ts";
import {
  bytes,
  datagramClient,
  exchange,
  ListLogger,
  LOOPBACK,
  settle,
  start,
  text,
  until,
  writeAll,
} from "../harness.ts";

/** What the server may be asked, and what it may not. */
function callable<Base extends Constructor<TCPServer>>(Base: Base) {
  abstract class CallableServer extends Base {
    override readonly calls = [
      "map",
      "add",
      "fail",
      "count",
      "later",
      "missing",
      "big",
      "slow",
      "next",
      "say",
      "leave",
    ] as const;
    #count = 0;
    readonly #messages: unknown[] = [];
    #wake = () => {};

    add(...terms: number[]): number {
      return terms.reduce((sum, term) => sum + term, 0);
    }

    fail(): never {
      throw new RangeError("as told");
    }

    async count(): Promise<number> {
      const count = this.#count;
      if (count < 0) await Promise.resolve();
      this.#count = count + 1;
      return this.#count;
    }

    async later(value: unknown): Promise<unknown> {
      await new Promise((resolve) => setTimeout(resolve, 1));
      return value;
    }

    map(): unknown {
      return new Map([[1, 2]]);
    }

    big(length: number): string {
      return "x".repeat(length);
    }

    async slow(length: number): Promise<string> {
      await new Promise((resolve) => setTimeout(resolve, length % 5));
      return "x".repeat(length);
    }

    say(message: unknown): void {
      this.#messages.push(message);
      this.#wake();
    }

    leave(): void {
      this.say(null);
    }

    async next(): Promise<unknown> {
      while (this.#messages.length === 0) {
        await new Promise<void>((resolve) => this.#wake = resolve);
      }
      return this.#messages.shift();
    }

    secret(): string {
      return "nobody may call this";
    }
  }
  return CallableServer;
}

class PlainServer extends callable(TCPServer) {}
class ConcurrentServer extends callable(ConcurrentTCPServer) {}
class ThreadingServer extends callable(ThreadingTCPServer) {}
class ForkingServer extends callable(ForkingTCPServer) {
  static override maxRequestsPerChild = 100;
}
class PoolServer extends callable(PoolTCPServer) {
  static override workers = 2;
}
const SERVERS = [PlainServer, ConcurrentServer, ThreadingServer, ForkingServer, PoolServer];

for (const Server of SERVERS) {
  Deno.test(`BaseServer.call(): a handler of ${Server.name} gets what the methods give and throw`, async () => {
    await using started = start<TCPServer>(new Server(LOOPBACK, CallHandler));
    const lines = [
      ...["add [1,2,3]", 'later [{"a":[1,null,"x"]}]', "later [null]", "later []", "fail []"],
      ...["secret", "constructor", "__proto__", "serverClose", "missing"],
    ];
    const answers = (await exchange(started.server.serverAddress, lines.join("\n") + "\n")).split(
      "\n",
    );
    assertEquals(answers.slice(0, 5), [
      "6",
      '{ a: [ 1, null, "x" ] }',
      "null",
      "undefined",
      "RangeError: as told",
    ]);
    for (const name of ["secret", "constructor", "__proto__", "serverClose"]) {
      const answer = answers[lines.indexOf(name)]!;
      assertMatch(
        answer,
        /^NotCapable: Cannot call ".*" of .*: handlers may call what the server names/,
      );
      assertStringIncludes(answer, `"${name}"`);
    }
    assertMatch(
      answers[lines.indexOf("missing")]!,
      /^TypeError: Cannot call "missing" of .*: it is no method/,
    );
  });

  Deno.test(`BaseServer.call(): ${Server.name} counts what 8 clients ask at once, and loses none`, async () => {
    await using started = start<TCPServer>(new Server(LOOPBACK, CallHandler));
    const clients = Array.from(
      { length: 8 },
      () => exchange(started.server.serverAddress, "count\n".repeat(100)),
    );
    const counts = (await Promise.all(clients)).flatMap((text) =>
      text.trim().split("\n").map(Number)
    );
    assertEquals(counts.sort((a, b) => a - b), Array.from({ length: 800 }, (_, n) => n + 1));
  });

  Deno.test(`BaseServer.call(): a handler of ${Server.name} hears its client while a call is under way`, async () => {
    await using started = start<TCPServer>(new Server(LOOPBACK, TalkHandler));
    const said = Array.from({ length: 2000 }, (_, n) => `message ${n} ${"x".repeat(n % 500)}\n`)
      .join("");
    assertEquals(await exchange(started.server.serverAddress, said), said);
  });

  Deno.test(`BaseServer.call(): a handler of ${Server.name} gets its answer though a client sends and it does not read`, async () => {
    await using started = start<TCPServer>(new Server(LOOPBACK, LateReader));
    const said = "x".repeat(4_000_000);
    assertEquals(await exchange(started.server.serverAddress, said), `ready\n${said.length}\n`);
  });

  Deno.test(`BaseServer.call(): a handler of ${Server.name} echoes while long answers come, and mixes nothing`, async () => {
    await using started = start<TCPServer>(new Server(LOOPBACK, EchoCaller));
    const asked = Array.from({ length: Server === PlainServer ? 1 : 6 }, async () => {
      using conn = await Deno.connect(started.server.serverAddress);
      const part = bytes("a".repeat(15_000));
      for (let round = 0; round < 30; round++) {
        await writeAll(conn, part);
        let left = part.length;
        for (const buffer = new Uint8Array(part.length); left > 0;) {
          const count = await conn.read(buffer) ?? 0;
          assert(count > 0, "the stream has ended");
          assertEquals(text(buffer.subarray(0, count)).replaceAll("a", ""), "");
          left -= count;
        }
      }
      await conn.closeWrite();
      assertEquals(await new Response(conn.readable).text(), "whole");
    });
    await Promise.all(asked);
  });

  Deno.test(`BaseServer.call(): a handler of ${Server.name} calls when its client has gone, and leaves calls behind`, async () => {
    const server = new Server(LOOPBACK, LeavingHandler);
    await using _ = start<TCPServer>(server);
    for (let round = 0; round < 3; round++) {
      const conn = await Deno.connect(server.serverAddress);
      await conn.read(new Uint8Array(1)); // the other bytes are unread, so that it is a reset
      conn.close();
      assertEquals(await server.next(), "left");
    }
    await until(() => server.stats().active === 0);
    assertEquals(server.stats().failed, 0);
  });
}

for (const Server of [UDPServer, ThreadingUDPServer, ForkingUDPServer] as (typeof UDPServer)[]) {
  Deno.test(`BaseServer.call(): a handler of ${Server.name} calls while it sends`, async () => {
    const server = new Server(LOOPBACK, SumHandler);
    const add = (...terms: number[]) => terms.reduce((sum, term) => sum + term, 0);
    Object.assign(server, { calls: ["add"], add });
    await using _ = start<UDPServer>(server);
    const { serverAddress } = server;
    using client = datagramClient(serverAddress);
    await client.send(bytes("[1,2]"), serverAddress);
    const answers = [];
    while (answers.length < 2) answers.push(text((await client.receive())[0]));
    assertEquals(answers, ["first", "[4,5,6]"]);
  });
}

Deno.test("BaseServer.call(): a handler in a subprocess hears what cannot go along, and of how much", async () => {
  await using started = start<TCPServer>(new ForkingServer(LOOPBACK, OddCaller));
  const lines = (await exchange(started.server.serverAddress, "")).split("\n");
  const odd = ["Map", "function", "bigint", "NaN", "undefined", "an array in too many", "Date"];
  odd.forEach((what, n) =>
    assertStringIncludes(lines[n]!, `TypeError: Cannot send arguments of "later": ${what}`)
  );
  assertStringIncludes(lines[7]!, 'RangeError: Cannot send arguments of "later": they have 70');
  assertStringIncludes(lines[8]!, 'RangeError: Cannot send what "big" gave: it has 70');
  assertStringIncludes(lines[9]!, 'TypeError: Cannot send what "map" gave: Map is in it');
  assertEquals(lines[10], "100");
});

for (const Server of [ThreadingServer, ForkingServer]) {
  Deno.test(`BaseServer.call(): a handler of ${Server.name} blocks in reads after calls, and loses nothing`, async () => {
    await using started = start<TCPServer>(new Server(LOOPBACK, BlockingCaller));
    for (let round = 0; round < 5; round++) {
      const answer = await exchange(started.server.serverAddress, "hello\nagain\n");
      assertEquals(answer, "first hello\nsecond again\n");
    }
  });
}

Deno.test("BaseServer.call(): a handler in a subprocess cannot block in a read before it has its answer, and is told so", async () => {
  await using started = start(new ForkingServer(LOOPBACK, BusyCaller));
  assertMatch(
    await exchange(started.server.serverAddress, "hello\n"),
    /^Busy: Cannot block in a read: .* is under way .* await it first, then answer and hello\n$/,
  );
});

Deno.test("ServerStub.call() is refused once the request has ended, and harms nobody who does not await it", async () => {
  const address: SocketAddress = { transport: "tcp", hostname: "127.0.0.1", port: 1 };
  const stub = new ServerStub(address, "SOCK_STREAM", null, () => Promise.resolve("answer"));
  assertEquals(await stub.call("count"), "answer");
  stub.end();
  void stub.call("count");
  await assertRejects(() => stub.call("count"), Deno.errors.BadResource, "the request has ended");
  await settle();
});

Deno.test("BaseServer.call() has the types of the server's methods", async () => {
  const server: PlainServer = new PlainServer(LOOPBACK, CallHandler, { bindAndActivate: false });
  const sum: number = await server.call("add", 1, 2);
  assertEquals(sum, 3);
  const count: number = await server.call("count");
  assertEquals(count, 1);
  // @ts-expect-error A name that is not in 'calls'.
  await assertRejects(() => server.call("secret"), Deno.errors.NotCapable);
  // @ts-expect-error An argument of another type.
  assertEquals(await server.call("add", "1"), "01");
  await server.serverClose();
});

Deno.test("BaseServer.call(): a child that takes no answers after its handler has ended is killed at requestTimeout, and its place is free", async () => {
  const options = { ...{ maxChildren: 1, requestTimeout: 1000 }, logger: new ListLogger() };
  const server = new ForkingServer(LOOPBACK, DeafCaller, options);
  await using _ = start(server);
  const pids = new Set<string>();
  while (pids.size < 2) {
    pids.add(await exchange(server.serverAddress, ""));
    pids.delete(""); // where the machine was too busy for an answer in that time
  }
  await server.drain({ timeout: 0 });
  await server.finished;
  assertEquals(server.stats().workers!.busy, 0);
});
