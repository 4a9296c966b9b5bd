/**
 * The recipes: each program under examples/ is started as its header says, and spoken to by a client.
 *
 * @module
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { formatAddress } from "@netkit/socketserver";
import {
  bytes,
  connectTLS,
  datagramExchange,
  exchangeOn,
  tempFolder,
  writeAll,
} from "../harness.ts";
import { commandOf, dial, freePort, Recipe, say, sourceOf } from "./recipe.ts";

/** What must be under examples/: what people know from Python's documentation and from its cookbooks. */
const RECIPES = [
  "tcp_server.ts",
  "tcp_server_stream.ts",
  "tcp_client.ts",
  "options_before_bind.ts",
  "options_before_bind_stream.ts",
  "threading_reuse_port.ts",
  "threading_mix_in.ts",
  "forking_mix_in.ts",
  "echo_base.ts",
  "echo_stream.ts",
  "echo_threading.ts",
  "echo_forking.ts",
  "echo_pool.ts",
  "echo_options.ts",
  "echo_reuse_address.ts",
  "echo_timeout.ts",
  "echo_deno_listen.ts",
  "udp_server.ts",
  "udp_client.ts",
  "unix_stream_server.ts",
  "unix_stream_client.ts",
  "unix_datagram_server.ts",
  "unix_datagram_client.ts",
  "user_mix_ins.ts",
  "access_control.ts",
  "split_work.ts",
  "chat.ts",
  "several_servers.ts",
  "handle_request.ts",
  "service_actions.ts",
  "own_steps.ts",
  "http_server.ts",
  "syslog.ts",
  "tls_echo.ts",
];
/** What people build besides, with its tests in examples_services_test.ts. */
const SERVICES = [
  "socks5_proxy.ts",
  "smtp_sink.ts",
  "log_receiver.ts",
  "tcp_proxy.ts",
  "rate_limit.ts",
  "metrics.ts",
  "quote_of_the_day.ts",
  "untrusted_code.ts",
  "typed_context.ts",
  "kv_store.ts",
  "device_gateway.ts",
  "pub_sub.ts",
  "job_queue.ts",
  "control_socket.ts",
  ...["shared_counter.ts", "bank_account.ts", "thread_chat.ts"], // in examples_shared_test.ts
];
/** What is no recipe, and has its tests in examples_test.ts. */
const OTHERS = ["echo.ts"];

/** What each has that serves until it is told to leave. */
const HEARS_SIGNALS =
  '  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);\n';

Deno.test("examples/ has every recipe, with its command in the header and nothing done on import", () => {
  for (const name of [...RECIPES, ...SERVICES]) {
    const source = sourceOf(name); // fails when it is missing
    const { flags } = commandOf(name);
    assert(!flags.includes("-A") && !flags.includes("--allow-all"), `${name} asks for everything`);
    assertStringIncludes(source, "if (import.meta.main) {", name);
    // Who reads the line may send the signal at once
    const listening = Math.max(
      source.lastIndexOf("Listening on"),
      source.lastIndexOf(" running on port"),
    );
    const isReady = source.indexOf("Deno.addSignalListener(") < listening;
    assert(listening < 0 || isReady, `${name} says that it listens before it hears signals`);
    if (listening > 0) assertStringIncludes(source, HEARS_SIGNALS, name);
    const limit = name === "http_server.ts" ? 190 : 100; // HTTP asks for more
    assert(source.trimEnd().split("\n").length < limit, `${name} is too long`);
  }
});

Deno.test("examples/ has nothing that is not tested as a recipe", () => {
  const files = [...Deno.readDirSync(new URL("../../examples/", import.meta.url))]
    .filter(({ isFile }) => isFile).map(({ name }) => name);
  assertEquals(files.toSorted(), [...RECIPES, ...SERVICES, ...OTHERS].toSorted());
});

Deno.test("tcp_server.ts answers tcp_client.ts in upper case", async () => {
  await using server = new Recipe("tcp_server.ts", { port: 0 });
  const address = await server.address();
  const { port } = address as Deno.NetAddr;
  await using client = new Recipe("tcp_client.ts", { port });
  const { code, stdout, stderr } = await client.result;
  assertEquals([code, stderr], [0, ""]);
  assertEquals(stdout, "Sent:     hello world\nReceived: b'HELLO WORLD'\n");
  assertEquals(
    (await server.leave()).stdout,
    `Listening on ${formatAddress(address)}\n127.0.0.1 wrote:\nb'hello world'\nLeaving.\n`,
  );
});

Deno.test("tcp_server.ts puts a line together that comes in pieces, and letters that are cut", async () => {
  await using server = new Recipe("tcp_server.ts", { port: 0 });
  const port = await server.port();
  using conn = await dial(port);
  conn.setNoDelay(true);
  for (const byte of bytes("grüße")) await conn.write(Uint8Array.of(byte));
  assertEquals(await exchangeOn(conn, "\n"), "GRÜSSE");
  await server.leave();
});

for (const name of ["echo_base.ts", "echo_timeout.ts", "echo_deno_listen.ts"]) {
  Deno.test(`${name} echoes one client after the other`, async () => {
    await using server = new Recipe(name, { port: 0 });
    const port = await server.port();
    for (const round of [1, 2]) {
      using conn = await dial(port);
      const peer = conn.localAddr as Deno.NetAddr;
      await say(conn, `hello ${round}\n`);
      await server.line(new RegExp(`^Got connection from 127\\.0\\.0\\.1:${peer.port}$`));
      assertEquals(await exchangeOn(conn, "and\nbye\n"), "and\nbye\n");
    }
    await server.leave();
  });
}

for (const name of ["echo_threading.ts", "echo_forking.ts"]) {
  Deno.test(`${name} echoes several clients at once`, async () => {
    await using server = new Recipe(name, { port: 0 });
    const port = await server.port();
    using first = await dial(port);
    await say(first, "first\n");
    using second = await dial(port);
    await say(second, "second\n");
    await say(first, "first again\n");
    for (const conn of [first, second]) assertEquals(await exchangeOn(conn, "bye\n"), "bye\n");
    // What a subprocess prints goes to the log
    const { stdout, stderr } = await server.leave(name === "echo_forking.ts" ? /^INFO Got/ : /^$/);
    const callers = `${stdout}${stderr}`.match(/Got connection from 127\.0\.0\.1:\d+\n/g);
    assertEquals(callers?.length, 2);
  });
}

Deno.test("echo_pool.ts serves 16 clients at once, and the next when one of them leaves", async () => {
  await using server = new Recipe("echo_pool.ts", { port: freePort() });
  const port = await server.port();
  using clients = new DisposableStack();
  const conns: Deno.TcpConn[] = [];
  for (let count = 1; count <= 16; count++) {
    conns.push(clients.use(await dial(port)));
    await say(conns.at(-1)!, `hello ${count}\n`);
    await server.line(/^Got connection/);
  }
  using next = await dial(port);
  const said = say(next, "hello 17\n");
  for (const conn of conns) await say(conn, "again\n"); // each still has its Worker
  assertEquals((server.stdout.match(/Got connection/g) ?? []).length, 16);
  assertEquals(await exchangeOn(conns[7]!, "bye\n"), "bye\n");
  await said;
  await server.leave();
});

Deno.test("echo_base.ts leaves at Ctrl-C while a client is connected", async () => {
  await using server = new Recipe("echo_base.ts", { port: 0 });
  using conn = await dial(await server.port());
  await say(conn, "hello\n");
  await server.leave(/^$/, "SIGINT");
});

Deno.test("echo_timeout.ts hangs up on a silent client and serves the next", async () => {
  await using server = new Recipe("echo_timeout.ts", { port: 0, args: ["--timeout", "300"] });
  const port = await server.port();
  using silent = await dial(port);
  await say(silent, "hello\n");
  assertEquals(await silent.read(new Uint8Array(1)), null);
  await server.line(/^Timed out!$/);
  assertEquals(await exchangeOn(await dial(port), "next\n"), "next\n");
  await server.leave();
});

Deno.test("udp_server.ts answers udp_client.ts in upper case", async () => {
  await using server = new Recipe("udp_server.ts", { port: 0 });
  const port = await server.port();
  await using client = new Recipe("udp_client.ts", { port });
  const { code, stdout, stderr } = await client.result;
  assertEquals([code, stderr], [0, ""]);
  assertEquals(stdout, "Sent:     hello world\nReceived: b'HELLO WORLD'\n");
  assertEquals(
    (await server.leave()).stdout,
    `Listening on 127.0.0.1:${port}\n127.0.0.1 wrote:\nb'hello world'\nLeaving.\n`,
  );
});

Deno.test("unix_stream_server.ts answers unix_stream_client.ts and removes its file", async () => {
  const folder = tempFolder();
  const path = `${folder}/upper.sock`;
  const options = { replace: { "/tmp/upper.sock": path } };
  await using server = new Recipe("unix_stream_server.ts", { ...options, args: ["--path", path] });
  assertEquals(formatAddress(await server.address()), path);
  const args = ["--path", path, "hello", "007"];
  await using client = new Recipe("unix_stream_client.ts", { ...options, args });
  const { code, stdout, stderr } = await client.result;
  assertEquals([code, stderr], [0, ""]);
  assertEquals(stdout, "Sent:     hello 007\nReceived: HELLO 007\n");
  await server.leave();
  assertEquals(await Array.fromAsync(Deno.readDir(folder)), []);
});

Deno.test("unix_datagram_server.ts answers unix_datagram_client.ts, and both remove their files", async () => {
  const folder = tempFolder();
  const [path, from] = [`${folder}/upper.sock`, `${folder}/client.sock`];
  const options = { replace: { "/tmp/upper.sock": path, "/tmp/client.sock": from } };
  await using server = new Recipe("unix_datagram_server.ts", {
    ...options,
    args: ["--path", path],
  });
  assertEquals(formatAddress(await server.address()), path);
  const args = ["--path", path, "--from", from, "hello", "world"];
  await using client = new Recipe("unix_datagram_client.ts", { ...options, args });
  const { code, stdout, stderr } = await client.result;
  assertEquals([code, stderr], [0, ""]);
  assertEquals(stdout, "Sent:     hello world\nReceived: HELLO WORLD\n");
  await server.line(new RegExp(`^${from} wrote:$`));
  await server.leave();
  assertEquals(await Array.fromAsync(Deno.readDir(folder)), []);
});

Deno.test("user_mix_ins.ts asks a server with each mix-in, and ends", async () => {
  await using run = new Recipe("user_mix_ins.ts");
  const { code, stdout, stderr } = await run.result;
  assertEquals([code, stderr], [0, ""]);
  assertEquals(stdout, "Received: HELLO THREAD\nReceived: HELLO PROCESS\n");
});

Deno.test("access_control.ts serves who is allowed and closes the others' connections", async () => {
  for (const [host, answer] of [["127.0.0.1", "hello\n"], ["192.0.2.7", ""]] as const) {
    await using server = new Recipe("access_control.ts", { port: 0, args: [host] });
    using conn = await dial(await server.port());
    const peer = `127.0.0.1:${(conn.localAddr as Deno.NetAddr).port}`;
    if (answer === "") assertEquals(await conn.read(new Uint8Array(1)), null);
    else assertEquals(await exchangeOn(conn, answer), answer);
    await server.line(new RegExp(`^${answer === "" ? "Refused" : "Serving"} ${peer}$`));
    await server.leave();
  }
});

Deno.test("split_work.ts answers at once or has a subprocess do it, as the first line says", async () => {
  await using server = new Recipe("split_work.ts", { port: 0 });
  const port = await server.port();
  using long = await dial(port);
  await writeAll(long, bytes("sort\npear\n")); // its subprocess waits for the rest
  assertEquals(await exchangeOn(await dial(port), "count\na\nb\n"), "2\n");
  assertEquals(await exchangeOn(await dial(port), "sort\nb\na\nb\n"), "a\nb\n");
  assertEquals(await exchangeOn(long, "apple\n"), "apple\npear\n");
  const many = Array.from({ length: 50_000 }, (_, index) => `line ${index}\n`);
  const sorted = await exchangeOn(await dial(port), `sort\n${many.toReversed().join("")}`);
  assertEquals(sorted, many.toSorted().join(""));
  const refusal = "Cannot do that: expected count or sort\n";
  assertEquals(await exchangeOn(await dial(port), "fly\n"), refusal);
  await server.line(/^127\.0\.0\.1:\d+ asked for "fly"$/);
  await server.leave();
});

Deno.test("chat.ts tells all what one says, and who comes and goes", async () => {
  await using server = new Recipe("chat.ts", { port: 0 });
  const port = await server.port();
  using ann = await dial(port);
  await say(ann, "ann\n", "* ann has come, we are 1\n");
  using bob = await dial(port);
  await say(bob, "bob\n", "* bob has come, we are 2\n");
  await say(ann, "", "* bob has come, we are 2\n");
  await writeAll(ann, bytes("hello\x1b[2J\n"));
  await say(bob, "", "ann: hello\\x1b[2J\n");
  await say(bob, "h".repeat(2000) + "\n", "* That is too long\n");
  await say(ann, "", "* bob has gone, we are 1\n");
  for (const name of ["ann", "", "no spaces", "x".repeat(21)]) {
    const refusal = "Please come again with another name\n";
    assertEquals(await exchangeOn(await dial(port), `${name}\n`), refusal);
  }
  assertEquals(await exchangeOn(await dial(port), ""), "Please come again with another name\n");
  await server.leave();
});

Deno.test("chat.ts cuts off who never reads, and the others go on", async () => {
  await using server = new Recipe("chat.ts", { port: 0 });
  const port = await server.port();
  using ann = await dial(port);
  await say(ann, "ann\n", "* ann has come, we are 1\n");
  using unresponsive = await dial(port);
  await writeAll(unresponsive, bytes("unresponsive\n"));
  await say(ann, "", "* unresponsive has come, we are 2\n");
  const line = bytes(`${"x".repeat(900)}\n`);
  let isGone = false;
  const gone = say(ann, "", "* unresponsive has gone, we are 1\n").then(() => isGone = true);
  for (let lines = 0; lines < 50_000 && !isGone; lines++) await writeAll(ann, line);
  await gone;
  await server.leave();
});

Deno.test("chat.ts keeps who reads, however fast another talks", async () => {
  await using server = new Recipe("chat.ts", { port: 0 });
  const port = await server.port();
  using bob = await dial(port);
  await say(bob, "bob\n", "* bob has come, we are 1\n");
  const [lines, come] = [30_000, "* ann has come, we are 2\n"];
  const [talked] = await Promise.all([
    exchangeOn(await dial(port), `ann\n${"x\n".repeat(lines)}`),
    say(bob, "", `${come}${"ann: x\n".repeat(lines)}* ann has gone, we are 1\n`),
  ]);
  assertEquals(talked, come);
  bob.close();
  await server.leave();
});

Deno.test("several_servers.ts serves on all of its sockets at once", async () => {
  await using server = new Recipe("several_servers.ts", { port: 0 });
  const [echo, datagramEcho, daytime] = [
    await server.port(),
    await server.port(),
    await server.port(),
  ];
  using held = await dial(echo);
  await say(held, "hello\n");
  const address = { transport: "udp", hostname: "127.0.0.1", port: datagramEcho } as const;
  assertEquals(await datagramExchange(address, "hello"), "hello");
  assert(Date.parse(await exchangeOn(await dial(daytime), "")) > 0);
  await say(held, "again\n");
  await server.leave();
});

Deno.test("handle_request.ts serves one request a turn and leaves when nobody comes", async () => {
  await using server = new Recipe("handle_request.ts", { port: 0, args: ["--timeout", "500"] });
  const port = await server.port();
  assertEquals(await exchangeOn(await dial(port), "hello\n"), "HELLO\n");
  const { code, stdout, stderr } = await server.result;
  assertEquals([code, stderr], [0, ""]);
  assertMatch(stdout, /\nTurn 1\nTurn 2\nNobody came for 500 ms\nLeaving\.\n$/);
});

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.test(`handle_request.ts leaves at ${signal} while it waits for a request`, async () => {
    await using server = new Recipe("handle_request.ts", { port: 0 });
    await server.line(/^Turn 1$/);
    assertMatch((await server.leave(/^$/, signal)).stdout, /\nTurn 1\nLeaving\.\n$/);
  });
}

Deno.test("service_actions.ts says how it goes between requests, and leaves when nobody comes", async () => {
  await using server = new Recipe("service_actions.ts", { port: 0, args: ["--interval", "50"] });
  const port = await server.port();
  using slow = await dial(port);
  await server.line(/^1 active, 0 served$/);
  assertEquals(await exchangeOn(slow, "hello\n"), "HELLO\n");
  await server.line(/^0 active, 1 served$/);
  const { code, stdout, stderr } = await server.result;
  assertEquals([code, stderr], [0, ""]);
  assertMatch(stdout, /\nNothing to do for 10 turns\nLeaving\.\n$/);
});

Deno.test("own_steps.ts gives its handlers an argument more, and measures them", async () => {
  const args = ["--greeting", "Good morning"];
  await using server = new Recipe("own_steps.ts", { port: 0, args });
  using conn = await dial(await server.port());
  const peer = `127.0.0.1:${(conn.localAddr as Deno.NetAddr).port}`;
  assertEquals(await exchangeOn(conn, "Ann\n"), "Good morning, Ann!\n");
  await server.line(new RegExp(`^Got connection from ${peer}$`));
  await server.line(new RegExp(`^Served ${peer} in \\d+ ms$`));
  await server.leave();
});

Deno.test("tls_echo.ts echoes several clients at once over TLS", async () => {
  await using server = new Recipe("tls_echo.ts", { port: 0 });
  const address = { transport: "tcp", hostname: "localhost", port: await server.port() } as const;
  using first = await connectTLS(address);
  await say(first, "first\n");
  using second = await connectTLS(address);
  await say(second, "second\n");
  assertEquals(await exchangeOn(first, "bye\n"), "bye\n");
  await server.leave();
});

Deno.test("syslog.ts prints the messages of RFC 5424 and 3164, and what else comes, in a line each", async () => {
  await using server = new Recipe("syslog.ts", { port: freePort() });
  const collector = { transport: "udp", hostname: "127.0.0.1", port: await server.port() } as const;
  const socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  const from = `127.0.0.1:${(socket.addr as Deno.NetAddr).port}`;
  const cases: [message: string, line: string][] = [
    [ // the examples of RFC 5424, 6.5
      "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \uFEFF'su root' failed on /dev/pts/8",
      "2003-10-11T22:14:15.003Z mymachine.example.com su[-] auth.crit: 'su root' failed on /dev/pts/8",
    ],
    [
      "<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time to make the do-nuts.",
      "2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc[8710] local4.notice: %% It's time to make the do-nuts.",
    ],
    [
      '<165>1 2003-10-11T22:14:15.003Z h evntslog - ID47 [a@1 iut="3" s="a \\"]"][b@1 c="h"]',
      '2003-10-11T22:14:15.003Z h evntslog[-] local4.notice: [a@1 iut="3" s="a \\"]"][b@1 c="h"]',
    ],
    ["<0>1 - - - - - - two\nlines\x1b", "- - -[-] kern.emerg: two\\nlines\\x1b"],
    ["<192>1 - - - - - - no such facility", `? ${from} <192>1 - - - - - - no such facility`],
    [ // the example of RFC 3164, 5.4
      "<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8",
      "Oct 11 22:14:15 mymachine auth.crit: su: 'su root' failed for lonvick on /dev/pts/8",
    ],
    ["<14>from Python's SysLogHandler\0", `- ${from} user.info: from Python's SysLogHandler`],
    ["<192>Oct 11 22:14:15 h x", `? ${from} <192>Oct 11 22:14:15 h x`],
    ["nothing\r\n<14>forged", `? ${from} nothing\\r\\n<14>forged`],
    ["", `? ${from}`],
  ];
  for (const [message, line] of cases) {
    await socket.send(bytes(message), collector);
    assertEquals((await server.line(/^/)).input, line);
  }
  socket.close();
  await server.leave();
});

Deno.test("syslog.ts takes messages over TCP, with their length before them or in lines", async () => {
  await using server = new Recipe("syslog.ts", { port: freePort() });
  const port = await server.port();
  using other = await dial(port);
  using conn = await dial(port);
  const from = `127.0.0.1:${(conn.localAddr as Deno.NetAddr).port}`;
  await writeAll(conn, bytes("9 <14>two\nl8 <14>next<14>line\n<14>half"));
  const lines = [
    `- ${from} user.info: two\\nl`,
    `- ${from} user.info: next`,
    `- ${from} user.info: line`,
  ];
  for (const line of lines) assertEquals((await server.line(/^/)).input, line);
  await conn.closeWrite();
  assertEquals((await server.line(/^/)).input, `- ${from} user.info: half`);
  for (
    const bad of ["99999 x", "GET / HTTP/1.1", "x".repeat(10_000), `<14>${"x".repeat(10_000)}`]
  ) {
    using sender = await dial(port);
    await writeAll(sender, bytes(bad));
    await sender.read(new Uint8Array(1)).catch(() => null); // the end, or a reset
  }
  for (const bad of ["-1 x", "1.5 x", "0 x", "0x10 x", "1e3 x", "+1 x"]) {
    using sender = await dial(port);
    const name = `127.0.0.1:${(sender.localAddr as Deno.NetAddr).port}`;
    await writeAll(sender, bytes(bad));
    await server.line(new RegExp(`^\\? ${name} was cut off: no length$`));
    await sender.read(new Uint8Array(1)).catch(() => null); // the end, or a reset
  }
  await writeAll(other, bytes(`${" ".repeat(2000)}\n6 <14>ok`));
  assertMatch((await server.line(/^/)).input, /user\.info: ok$/);
  other.close();
  await server.leave(/^(\w+ Cannot serve client "\S+": Cannot read line: .*\n)*$/);
});
