/**
 * The examples of what threads have in common, each asked by many clients at once: nothing may be lost.
 *
 * @module
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { bytes, exchangeOn, readAll, text, writeAll } from "../harness.ts";
import { dial, Recipe, say } from "./recipe.ts";

Deno.test("shared_counter.ts counts each line of 8 clients at once", async () => {
  await using server = new Recipe("shared_counter.ts", { port: 0 });
  const port = await server.port();
  const clients = Array.from(
    { length: 8 },
    async () => await exchangeOn(await dial(port), "line\n".repeat(500)),
  );
  const counts = (await Promise.all(clients)).flatMap((said) =>
    said.trim().split("\n").map(Number)
  );
  assertEquals(counts.sort((a, b) => a - b), Array.from({ length: 4000 }, (_, n) => n + 1));
  await server.leave();
});

Deno.test("bank_account.ts loses no money that 8 clients move at once", async () => {
  await using server = new Recipe("bank_account.ts", { port: 0 });
  const port = await server.port();
  const transfers = (n: number) =>
    Array.from(
      { length: 50 },
      (_, k) => `${(n + k) % 4} ${(n + k + 1 + n % 3) % 4} ${1 + k % 7}\n`,
    );
  const clients = Array.from(
    { length: 8 },
    async (_, n) => await exchangeOn(await dial(port), transfers(n).join("")),
  );
  for (const said of await Promise.all(clients)) {
    const lines = said.trim().split("\n");
    assertEquals(lines.length, 50);
    for (const line of lines) {
      assertMatch(line, /^(ok: account \d has \d+|error: account \d has \d+)$/);
    }
  }
  // An amount that nobody has is answered by what there is.
  const asked = await exchangeOn(
    await dial(port),
    [0, 1, 2, 3].map((n) => `${n} ${(n + 1) % 4} 1e9\n`).join(""),
  );
  const balances = asked.trim().split("\n").map((line) => Number(line.split("has ")[1]));
  assertEquals(balances.reduce((sum, balance) => sum + balance, 0), 400);
  assert(balances.every((balance) => balance >= 0));
  assertEquals(
    await exchangeOn(await dial(port), "0 9 1\n\n"),
    "error: no such accounts\n".repeat(2),
  );
  await server.leave();
});

Deno.test("thread_chat.ts tells all others what one says, and each once", async () => {
  await using server = new Recipe("thread_chat.ts", { port: 0 });
  const port = await server.port();
  const clients = await Promise.all(Array.from({ length: 4 }, () => dial(port)));
  const heard = clients.map(() => "");
  const hearing = clients.map(async (conn, n) => {
    const buffer = new Uint8Array(4096);
    for (let count = await conn.read(buffer); count !== null; count = await conn.read(buffer)) {
      heard[n] += text(buffer.subarray(0, count));
    }
  });
  const until = async (condition: () => boolean) => {
    while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
  };
  await until(() => heard.every((said) => said.startsWith("welcome\n")));
  const says = async (conn: Deno.Conn) => {
    for (let n = 0; n < 60; n++) await conn.write(bytes(`${n}\n`));
  };
  await Promise.all(clients.map(says));
  const lines = (n: number) => heard[n]!.split("\n").slice(1, -1);
  await until(() => clients.every((_, n) => lines(n).length >= 180));
  clients.forEach((conn, n) => {
    const others = clients.filter((other) => other !== conn);
    for (const other of others) {
      const { port } = other.localAddr as Deno.NetAddr;
      const said = lines(n).filter((line) => line.startsWith(`${port}: `));
      assertEquals(said, Array.from({ length: 60 }, (_, k) => `${port}: ${k}`));
    }
    assertEquals(lines(n).length, 180);
  });
  for (const conn of clients) await conn.closeWrite();
  await Promise.all(hearing);
  for (const conn of clients) conn.close();
  await server.leave();
});

Deno.test("thread_chat.ts keeps little for who does not read, and nothing that steers a terminal", async () => {
  await using server = new Recipe("thread_chat.ts", { port: 0 });
  const port = await server.port();
  using slow = await dial(port);
  await say(slow, "", "welcome\n");
  using ann = await dial(port);
  const { port: from } = ann.localAddr as Deno.NetAddr;
  await say(ann, "", "welcome\n");
  await writeAll(ann, bytes("hello\x1b[2J\nnext line\n"));
  await say(slow, "", `${from}: hello\\x1b[2J\n`);
  const lines = bytes(`${"x".repeat(900)}\n`.repeat(10_000));
  for (let megabytes = 0; megabytes < 45; megabytes += 9) await writeAll(ann, lines);
  await exchangeOn(ann, "");
  await slow.closeWrite();
  const kept = (await readAll(slow)).length;
  assert(kept < 13_000_000, `${kept} bytes were kept`); // of which Linux keeps 10 MB at the most
  await server.leave();
});
