/**
 * The services under examples/: each is started as its header says, and asked by its clients, good and bad.
 *
 * @module
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import {
  bytes,
  datagramExchange,
  exchange,
  exchangeOn,
  LOOPBACK,
  readAll,
  readExactly,
  start,
  tempSocketPath,
  text,
  writeAll,
} from "../harness.ts";
import { reset, resettable } from "../conversation.ts";
import { onPath, Program } from "../program.ts";
import { ThreadingTCPServer } from "@netkit/socketserver";
import { JobHandler } from "../../examples/job_queue.ts";
import { dial, freePort, Recipe, say, sourceOf } from "./recipe.ts";

const curl = onPath("curl");
const python = onPath("python3");
const prlimit = onPath("prlimit");

/** The name of a test that needs a program which may be missing. */
function needing(program: string | undefined, what: string, name: string): string {
  return program === undefined ? `${name} (ignored: no ${what} in the PATH)` : name;
}

/** Runs a program in Python, with arguments. */
async function runPython(program: string, ...args: (string | number)[]): Promise<string> {
  await using run = new Program(["-c", program, ...args.map(String)], { command: python! });
  const { code, stdout, stderr } = await run.result;
  assertEquals([code, stderr], [0, ""]);
  return stdout;
}

/** Reads until the other side ends the connection or resets it. */
async function rest(conn: Deno.Conn): Promise<string> {
  try {
    return text(await readAll(conn));
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionReset) return "reset";
    throw error;
  }
}

/** Sends raw bytes, and reads what comes back until the server closes; the client's side stays open. */
async function untilCut(port: number, data: Uint8Array | string): Promise<string> {
  using conn = await dial(port);
  await writeAll(conn, typeof data === "string" ? bytes(data) : data);
  return await rest(conn);
}

// What a Deno developer would write first.

/** The ten services, where each is. */
const TEN = {
  "echo": "echo_stream.ts",
  "chat": "chat.ts",
  "daytime": "several_servers.ts",
  "key-value store": "kv_store.ts",
  "quote of the day over UDP": "quote_of_the_day.ts",
  "gateway with binary frames": "device_gateway.ts",
  "pub/sub broker": "pub_sub.ts",
  "job queue with threads": "job_queue.ts",
  "TLS echo": "tls_echo.ts",
  "Unix-socket control server": "control_socket.ts",
};

Deno.test("each of the ten services takes no more than 60 lines of code", () => {
  for (const name of Object.values(TEN)) {
    const code = sourceOf(name).replace(/^\/\*\*[^]*?\*\/\n/, "").split("\n");
    const lines = code.filter((line) => !/^\s*(\/\/.*|\/\*\*.*)?$/.test(line));
    assert(lines.length <= 60, `${name} has ${lines.length} lines`);
  }
});

// A TCP proxy.

/** Starts the proxy before an upstream. */
function proxyTo(upstream: number): Recipe {
  return new Recipe("tcp_proxy.ts", {
    replace: { "127.0.0.1:8080": "127.0.0.1:0", "127.0.0.1:9999": `127.0.0.1:${upstream}` },
    args: ["--port", "0", "--to", `127.0.0.1:${upstream}`],
  });
}

Deno.test("tcp_proxy.ts lets either side end first and still hear the other", async () => {
  using upstream = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await using proxy = proxyTo(upstream.addr.port);
  const port = await proxy.port();

  // The client ends first: the answer depends on all that it said
  const big = new Uint8Array(3_000_000).fill(7);
  const counted = dial(port).then(async (conn) => await exchangeOn(conn, big));
  using first = await upstream.accept();
  await writeAll(first, bytes(`${(await readAll(first)).length}`));
  first.close();
  assertEquals(await counted, "3000000");

  // The upstream ends first, and the client goes on
  using client = await dial(port);
  using second = await upstream.accept();
  await writeAll(second, bytes("bye"));
  await second.closeWrite();
  assertEquals(text(await readAll(client)), "bye");
  await say(client, "still here", "");
  assertEquals(text(await readExactly(second, 10)), "still here");
  await client.closeWrite();
  assertEquals(await second.read(new Uint8Array(1)), null);
  await proxy.leave();
});

Deno.test("tcp_proxy.ts ends both connections when one is reset, and others do not notice", async () => {
  using upstream = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await using proxy = proxyTo(upstream.addr.port);
  const address = await proxy.address() as Deno.NetAddr;
  const { port } = address;
  using other = await dial(port);
  await say(other, "a", "");
  using otherUpstream = await upstream.accept();

  const impolite = await resettable(address);
  using cut = await upstream.accept();
  await reset(impolite);
  await rest(cut);

  using client = await dial(port);
  await say(client, "x", "");
  const second = await upstream.accept();
  second.close(); // with a byte unread, which is a reset
  await rest(client);
  client.close();

  assertEquals(text(await readExactly(otherUpstream, 1)), "a");
  await say(otherUpstream, "b", "");
  assertEquals(text(await readExactly(other, 1)), "b");
  for (const conn of [other, otherUpstream]) await conn.closeWrite();
  await proxy.line(/^127\.0\.0\.1:\d+ was cut off: .*reset/i);
  await proxy.leave();
});

Deno.test("tcp_proxy.ts closes the connections of clients when its upstream is away", async () => {
  await using proxy = proxyTo(freePort());
  assertEquals(await untilCut(await proxy.port(), ""), "");
  await proxy.line(/^Cannot reach 127\.0\.0\.1:\d+: ConnectionRefused: /);
  await proxy.leave();
});

// A SOCKS5 proxy.

/** Starts the proxy for clients that may reach some places. */
function socksTo(...hosts: string[]): Recipe {
  return new Recipe("socks5_proxy.ts", {
    replace: { "127.0.0.1:1080": "127.0.0.1:0", "example.com:80": hosts.join(",") },
    args: ["--port", "0"],
  });
}

Deno.test({
  name: needing(curl, "curl", "socks5_proxy.ts serves curl --socks5-hostname"),
  ignore: curl === undefined,
  async fn() {
    const { promise: listening, resolve } = Promise.withResolvers<number>();
    const options = {
      hostname: "127.0.0.1",
      port: 0,
      onListen: ({ port }: Deno.NetAddr) => resolve(port),
    };
    const page = "hello ".repeat(100_000);
    await using _web = Deno.serve(options, () => new Response(page));
    const port = await listening;
    await using proxy = socksTo(`localhost:${port}`);
    const socks = ["--socks5-hostname", `127.0.0.1:${await proxy.port()}`];
    const ask = async (url: string) => {
      const args = ["--silent", "--noproxy", "", "--max-time", "20", ...socks, url];
      await using run = new Program(args, { command: curl! });
      return await run.result;
    };
    const answers = await Promise.all([1, 2, 3].map(() => ask(`http://localhost:${port}/`)));
    for (const { code, stdout } of answers) assertEquals([code, stdout], [0, page]);
    const refused = await ask("http://elsewhere.invalid/");
    assertEquals(refused.code, 97); // the proxy has refused
    await proxy.line(/cannot reach "elsewhere\.invalid"$/);
    await proxy.leave();
  },
});

Deno.test("socks5_proxy.ts answers with the code that tells why not", async () => {
  using echo = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const closed = freePort();
  await using proxy = socksTo(`127.0.0.1:${echo.addr.port}`, `127.0.0.1:${closed}`);
  const port = await proxy.port();
  const greet = "\x05\x01\0";
  const ipv4 = (command: number, port: number, first = 127) =>
    Uint8Array.of(5, command, 0, 1, first, 0, 0, 1, port >> 8, port & 255);
  const ask = async (...parts: (string | Uint8Array)[]) => {
    const data = await new Blob(parts as BlobPart[]).bytes();
    return [...bytesOf(await exchangeRaw(port, data))];
  };
  assertEquals(await ask("GET / HTTP/1.1\r\n\r\n"), []);
  assertEquals(await ask("\x04\x01"), []);
  assertEquals(await ask("\x05\x01\x02"), [5, 0xff]); // passwords only
  assertEquals(await ask("\x05"), []);
  const reply = (code: number) => [5, 0, 5, code, 0, 1, 0, 0, 0, 0, 0, 0];
  assertEquals(await ask(greet, ipv4(1, closed)), reply(5));
  assertEquals(await ask(greet, ipv4(1, 1)), reply(2));
  assertEquals(await ask(greet, ipv4(2, echo.addr.port)), reply(7));
  assertEquals(await ask(greet, "\x05\x01\0\x09"), reply(8));
  assertEquals(await ask(greet, "\x05\x01\0\x03\0"), reply(8)); // a name without letters
  assertEquals(await ask(greet, "\x05\x01\0\x04", new Uint8Array(15), "\x01\0\x01"), reply(2));
  await proxy.line(/cannot reach "0:0:0:0:0:0:0:1"$/);

  using conn = await dial(port); // all in one go, with what is for the upstream
  await writeAll(conn, bytes(greet));
  await writeAll(conn, ipv4(1, echo.addr.port));
  await writeAll(conn, bytes("hello"));
  using upstream = await echo.accept();
  assertEquals(text(await readExactly(upstream, 5)), "hello");
  assertEquals([...await readExactly(conn, 12)], reply(0));
  await conn.closeWrite();
  assertEquals(await upstream.read(new Uint8Array(1)), null);
  await say(upstream, "bye", "");
  upstream.close();
  assertEquals(text(await readAll(conn)), "bye");
  await proxy.leave();
});

function bytesOf(latin1: string): Uint8Array {
  return Uint8Array.from(latin1, (char) => char.charCodeAt(0));
}

/** Sends, ends its side, and reads to the end, as a string of a character for each byte. */
async function exchangeRaw(port: number, data: Uint8Array): Promise<string> {
  using conn = await dial(port);
  await writeAll(conn, data);
  await conn.closeWrite();
  try {
    return new TextDecoder("latin1").decode(await readAll(conn));
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionReset) return "";
    throw error;
  }
}

// A mail server.

Deno.test({
  name: needing(python, "python3", "smtp_sink.ts takes the messages of Python's smtplib"),
  ignore: python === undefined,
  async fn() {
    await using server = new Recipe("smtp_sink.ts", { port: 0 });
    await runPython(
      `
import smtplib, sys
from email.message import EmailMessage
message = EmailMessage()
message["From"], message["To"], message["Subject"] = "ann@example.com", "bob@example.com", "Grüße"
message.set_content("Hello\\n.\\n..dots\\n")
with smtplib.SMTP("127.0.0.1", int(sys.argv[1])) as smtp:
    smtp.send_message(message)
    smtp.sendmail("", ["bob@example.com", "eve@example.com"], "second")
    assert smtp.vrfy("bob")[0] == 502 and smtp.rset()[0] == 250
    try:
        smtp.sendmail("ann@example.com", ["bob@example.com"], "x" * 76 + "\\r\\n" + ("y" * 76 + "\\r\\n") * 20000)
        assert False
    except smtplib.SMTPResponseException as error:
        assert error.smtp_code == 552, error
    smtp.sendmail("ann@example.com", ["bob@example.com"], "last")
`,
      await server.port(),
    );
    await server.line(/"last\\n"/);
    const messages = server.stdout.split("\n").filter((line) => line.startsWith("{"))
      .map((line) => JSON.parse(line));
    const [first, ...others] = messages;
    assertEquals([first.from, first.to], ["ann@example.com", ["bob@example.com"]]);
    assertStringIncludes(first.data, "\nSubject: =?utf-8?");
    assertMatch(first.data, /\n\nHello\n\.\n\.\.dots\n$/);
    assertEquals(others, [
      { from: "", to: ["bob@example.com", "eve@example.com"], data: "second\n" },
      { from: "ann@example.com", to: ["bob@example.com"], data: "last\n" },
    ]);
    await server.leave();
  },
});

Deno.test("smtp_sink.ts answers what is out of order, and hides no message in another", async () => {
  await using server = new Recipe("smtp_sink.ts", { port: 0 });
  const port = await server.port();
  using other = await dial(port);
  await say(other, "", "220 This is a sink for tests\r\n");
  const codes = async (...lines: string[]) => {
    const answers = await exchangeOn(await dial(port), lines.map((line) => `${line}\r\n`).join(""));
    return answers.split("\r\n").flatMap((line) => /^(\d{3}) /.exec(line)?.[1] ?? []);
  };
  const mail = ["MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA"];
  assertEquals(await codes("DATA", "RCPT TO:<a>", "MAIL FROM:<a>", "MAIL FROM:<a>", "DATA"), [
    ...["220", "503", "503", "250", "503", "503"],
  ]);
  assertEquals(await codes("", "MAIL", "RCPT TO:a", "STARTTLS", "\x16\x03", "NOOP", "QUIT", "X"), [
    ...["220", "502", "501", "501", "502", "502", "250", "221"],
  ]);
  assertEquals(await codes(...mail, "one\n.\nMAIL FROM:<x@y>", "."), [
    "220",
    "250",
    "250",
    "354",
    "250",
  ]);
  assertEquals((await server.line(/^{/)).input.includes("x@y"), true);
  assertEquals(await codes(...mail, "cut off"), ["220", "250", "250", "354", "451"]);
  const many = Array.from({ length: 101 }, (_, index) => `RCPT TO:<${index}>`);
  assertEquals((await codes("MAIL FROM:<a>", ...many)).slice(-2), ["250", "452"]);
  const cut = await untilCut(port, "x".repeat(20_000));
  assertMatch(cut, /500 That line is too long\r\n$|reset/);
  await say(other, "NOOP\r\n", "250 OK\r\n");
  other.close();
  await server.leave();
});

// A receiver of log records.

/** A pickle with its length before it. */
function framed(pickle: string, length = pickle.length): Uint8Array {
  const frame = bytesOf(`\0\0\0\0${pickle}`);
  new DataView(frame.buffer as ArrayBuffer).setUint32(0, length);
  return frame;
}

Deno.test({
  name: needing(python, "python3", "log_receiver.ts prints the records of Python's SocketHandler"),
  ignore: python === undefined,
  async fn() {
    await using server = new Recipe("log_receiver.ts", { port: 0 });
    await runPython(
      `
import logging, logging.handlers, sys
logging.raiseExceptions = False
handler = logging.handlers.SocketHandler("127.0.0.1", int(sys.argv[1]))
log = logging.getLogger("app.db")
log.setLevel("DEBUG")
log.addHandler(handler)
log.warning("hello %s", "wörld", extra={"a": [1, (2.5, None)], "b": {"c": 2**70, "d": True}, "e": [], "f": ()})
log.debug("two\\nlines\\x1b[2J\\x9b")
try: 1 / 0
except ZeroDivisionError: log.exception("failed")
log.info("x", extra={"when": __import__("datetime").datetime.now()})
handler.close()
`,
      await server.port(),
    );
    const time = String.raw`20\d\d-\d\d-\d\dT[\d:.]+Z`;
    const line = async (rest: string) => await server.line(new RegExp(`^${time} ${rest}$`));
    await line("WARNING app\\.db: hello wörld");
    await line(String.raw`DEBUG app\.db: two\\nlines\\x1b\[2J\\x9b`);
    await line("ERROR app\\.db: failed");
    await server.line(
      /^127\.0\.0\.1:\d+ was cut off: it sent something else than records of plain/,
    );
    await server.leave();
  },
});

Deno.test("log_receiver.ts refuses pickles that would run something, and garbage", async () => {
  await using server = new Recipe("log_receiver.ts", { port: 0 });
  const port = await server.port();
  using other = await dial(port);
  const cases: Uint8Array[] = [
    framed("cos\nsystem\n(S'id'\ntR."), // what pickle.loads() would run
    framed("\x80\x04\x95"),
    framed(""),
    framed("N."),
    framed("}"), // without its end
    framed("}I12"), // a number without its end
    framed("}(u."),
    framed("u."),
    framed("}s."),
    framed("}X\xff\xff\xff\xffa"),
    framed("x", 0xffffffff),
    bytes("GET / HTTP/1.1\r\n\r\n"),
  ];
  for (const [index, data] of cases.entries()) {
    if (index === 6) assertEquals(await exchangeRaw(port, data), ""); // an empty record, which is one
    else {assertEquals(
        await untilCut(port, data).then((answer) => answer.replace("reset", "")),
        "",
      );}
  }
  const nested = "}(X\x03\0\0\0msg" + "(".repeat(5000) + "]q\0" + "h\0".repeat(1000) +
    "e".repeat(0);
  await untilCut(port, framed(`${nested}.`));
  const twice = "](" + "]q\0(" + "h\0h\0".repeat(50) + "tu.";
  await untilCut(port, framed(twice));
  await writeAll(
    other,
    framed("}(X\x03\0\0\0msgX\x02\0\0\0hiX\x07\0\0\0createdG\x7f\xf0\0\0\0\0\0\0u."),
  );
  await server.line(/^\? \? \?: hi$/);
  other.close();
  await server.leave();
});

// Limits and figures.

Deno.test("rate_limit.ts serves a burst, then as many as the rate allows", async () => {
  const args = ["--rate", "0.001", "--burst", "3"];
  await using strict = new Recipe("rate_limit.ts", { port: 0, args });
  const port = await strict.port();
  const answers: string[] = [];
  for (let count = 0; count < 5; count++) answers.push(await untilCut(port, ""));
  assertEquals(answers.map((answer) => /^20\d\d-/.test(answer)), [true, true, true, false, false]);
  await strict.leave();

  await using server = new Recipe("rate_limit.ts", {
    port: 0,
    args: ["--rate", "20", "--burst", "1"],
  });
  const again = await server.port();
  const start = performance.now();
  for (let served = 0; served < 5;) if (await untilCut(again, "") !== "") served++;
  assert(performance.now() - start >= 4 * 50 - 20, "It let more through than the rate allows");
  await server.leave();
});

Deno.test("metrics.ts shows what its server counts to who asks for /metrics", async () => {
  await using server = new Recipe("metrics.ts", { port: 0, args: ["--metrics-port", "0"] });
  const [web, echo] = [await server.port(), await server.port()];
  using client = Deno.createHttpClient({});
  const metrics = async (path = "/metrics") =>
    await (await fetch(`http://127.0.0.1:${web}${path}`, { client })).text();
  assertStringIncludes(await metrics(), "echo_accepted_total 0\n");
  using held = await dial(echo);
  await say(held, "hello\n");
  assertEquals(
    await exchange({ transport: "tcp", hostname: "127.0.0.1", port: echo }, "a\n"),
    "a\n",
  );
  let figures = "";
  while (!figures.includes('{outcome="completed"} 1\n')) figures = await metrics();
  assertStringIncludes(figures, "echo_up 1\necho_accepted_total 2\necho_active 1\n");
  assertEquals(await metrics("/"), "");
  client.close();
  held.close();
  await server.leave();
});

Deno.test("quote_of_the_day.ts gives the same over TCP and UDP on one port", async () => {
  await using server = new Recipe("quote_of_the_day.ts", { port: 0 });
  const port = await server.port();
  const quote = await untilCut(port, "");
  assertMatch(quote, /^[\w ,:]+\.\r\n$/);
  const address = { transport: "udp", hostname: "127.0.0.1", port } as const;
  assertEquals(await datagramExchange(address, ""), quote);
  assertEquals(await datagramExchange(address, "x".repeat(60_000)), quote);
  await server.leave();
});

/** Has a program run code, which its client sends. */
async function runCode(port: number, code: string): Promise<string> {
  using conn = await dial(port);
  await writeAll(conn, bytes(code));
  await conn.closeWrite();
  return await rest(conn);
}

Deno.test("untrusted_code.ts answers what code gives, and limits its rights and memory", async () => {
  const args = ["--limit", "30000"];
  await using server = new Recipe("untrusted_code.ts", { port: 0, args });
  const port = await server.port();
  assertEquals(await runCode(port, "[3, 1, 2].sort()"), "[ 1, 2, 3 ]\n");
  assertEquals(await runCode(port, "const = 1"), "SyntaxError: Unexpected token '='\n");
  for (
    const code of [
      "Deno.readTextFileSync('/etc/passwd')",
      "Deno.connect({ port: 1 })",
      "Deno.env.get('HOME')",
      "new Deno.Command('id').outputSync()",
    ]
  ) assertMatch(await runCode(port, code), /^NotCapable: /);
  const hoard = "const all = []; for (let n = 0; n < 40; n++) all.push(new Array(1e6).fill(n)); 1";
  const memory = runCode(port, hoard); // 320 MB
  assertEquals(await runCode(port, "1 + 1"), "2\n"); // meanwhile
  assertEquals(await memory, "");
  await server.line(/got no answer: WorkerDiedError$/);
  assertEquals(await runCode(port, "Deno.exit(3)"), "");
  await server.line(/got no answer: WorkerDiedError$/);
  const odd = "throw { [Symbol.toPrimitive]() { throw null; } }";
  assertEquals(await runCode(port, odd), "");
  await server.line(/got no answer: \?$/);
  await server.leave(/^/); // what V8 says about the memory goes to the log
});

Deno.test({
  name: needing(prlimit, "prlimit", "untrusted_code.ts limits all memory as its header says"),
  // A subprocess that has used up its memory has none left to write down its coverage.
  ignore: prlimit === undefined || Deno.env.has("DENO_COVERAGE_DIR"),
  async fn() {
    const [, command] = /`(prlimit [^`]+)`/.exec(sourceOf("untrusted_code.ts")) ?? [];
    const runner = command!.split(" ");
    const args = ["--limit", "30000"];
    await using server = new Recipe("untrusted_code.ts", { port: 0, runner, args });
    const port = await server.port();
    const buffers = "const all = []; for (;;) all.push(new Uint8Array(1e8).fill(1))";
    assertEquals(await runCode(port, buffers), "RangeError: Array buffer allocation failed\n");
    const wasm = "const all = []; for (;;) all.push(new WebAssembly.Memory({ initial: 1600 }))";
    assertMatch(await runCode(port, wasm), /^RangeError: .* could not allocate memory\n$/);
    assertEquals(await runCode(port, "1 + 1"), "2\n");
    await server.leave();
  },
});

Deno.test("untrusted_code.ts ends code that has no end, and the next is served", async () => {
  await using server = new Recipe("untrusted_code.ts", { port: 0, args: ["--limit", "1000"] });
  const port = await server.port();
  for (const code of ["for (;;);", "new Promise(() => {})"]) {
    assertEquals(await runCode(port, code), "");
    await server.line(/got no answer: TimedOut$/);
  }
  let answer = "";
  while (answer !== "2\n") answer = await runCode(port, "1 + 1"); // on a busy machine that may take too long, too
  await server.leave(/^/);
});

Deno.test("typed_context.ts gives each handler in a Worker what is its own", async () => {
  const args = ["--greeting", "Ahoy"];
  await using server = new Recipe("typed_context.ts", { port: 0, args });
  const port = await server.port();
  assertEquals(await untilCut(port, "Ann\n"), "Ahoy, Ann, you are number 1!\n");
  assertEquals(await untilCut(port, "Bob\n"), "Ahoy, Bob, you are number 2!\n");
  await server.leave();
});

// The services of a Deno developer.

Deno.test("kv_store.ts keeps what clients set, and refuses what it does not understand", async () => {
  await using server = new Recipe("kv_store.ts", { port: 0 });
  const port = await server.port();
  using ann = await dial(port);
  await say(ann, "set colour dark blue\n", "stored\n");
  using bob = await dial(port);
  await say(bob, "get colour\n", "value dark blue\n");
  await say(bob, "delete colour\r\n", "deleted\n");
  await say(ann, "get colour\n", "none\n");
  const usage = "error: expected set KEY VALUE, get KEY, delete KEY or quit\n";
  for (const line of ["", "get", "set a", "fly away", "\x16\x03\x01", "set  b"]) {
    await say(ann, `${line}\n`, usage);
  }
  assertMatch(await untilCut(port, "x".repeat(5000)), /^error: the line is too long\n$|reset/);
  await say(ann, "set __proto__ 1\n", "stored\n");
  assertEquals(await exchangeOn(bob, "get __proto__\nquit\nget x\n"), "value 1\n");
  ann.close();
  await server.leave();
});

Deno.test("device_gateway.ts takes frames in pieces, and refuses those that are none", async () => {
  await using server = new Recipe("device_gateway.ts", { port: 0 });
  const port = await server.port();
  using device = await dial(port);
  const reading = Uint8Array.of(0, 5, 2, 7, 0x41, 0xac, 0, 0); // sensor 7: 21.5
  for (const byte of reading) await writeAll(device, Uint8Array.of(byte));
  assertEquals([...await readExactly(device, 3)], [0, 0, 0x82]);
  await server.line(/^127\.0\.0\.1:\d+ sensor 7: 21\.5$/);
  const refusals: [frame: number[], text: string][] = [
    [[255, 255, 2], "Cannot take more than 64 bytes"],
    [[0, 0, 9], "Cannot take type 9"],
    [[0, 1, 2, 0], "Cannot take type 2"],
    [[0, 5, 2, 7], "Cannot take a frame without its end"],
  ];
  for (const [frame, why] of refusals) {
    assertEquals(
      await exchangeRaw(port, Uint8Array.from(frame)),
      `\0${String.fromCharCode(why.length)}\xff${why}`,
    );
  }
  await writeAll(device, Uint8Array.of(0, 0, 1, 0, 0, 1));
  assertEquals([...await readExactly(device, 6)], [0, 0, 0x81, 0, 0, 0x81]);
  device.close();
  await server.leave();
});

Deno.test("pub_sub.ts tells subscribers and nobody else", async () => {
  await using server = new Recipe("pub_sub.ts", { port: 0 });
  const port = await server.port();
  using ann = await dial(port);
  using bob = await dial(port);
  await say(ann, "sub news\nsub news\n", "ok\nok\n");
  await say(bob, "sub sport\n", "ok\n");
  await say(bob, "pub news it rains today\n", "ok 1\n");
  await say(ann, "", "msg news it rains today\n");
  for (
    const line of ["", "sub", "pub news", "sub two words", "unsub news", `sub ${"x".repeat(101)}`]
  ) {
    await say(bob, `${line}\n`, "error expected sub TOPIC or pub TOPIC TEXT\n");
  }
  ann.close();
  let answer = "";
  while (answer !== "ok 0\n") { // until the server has seen that she has gone
    await writeAll(bob, bytes("pub news x\n"));
    answer = text(await readExactly(bob, 5));
  }
  bob.close();
  await server.leave();
});

Deno.test("pub_sub.ts cuts off who never reads, and the others go on", async () => {
  await using server = new Recipe("pub_sub.ts", { port: 0 });
  const port = await server.port();
  using unresponsive = await dial(port);
  await say(unresponsive, "sub news\n", "ok\n");
  using ann = await dial(port);
  const line = bytes(`pub news ${"x".repeat(9000)}\n`);
  let answer = "";
  for (let lines = 0; lines < 10_000 && answer !== "ok 0\n"; lines++) {
    await writeAll(ann, line);
    answer = text(await readExactly(ann, 5));
  }
  assertEquals(answer, "ok 0\n");
  ann.close();
  unresponsive.close();
  await server.leave();
});

Deno.test("pub_sub.ts keeps who reads, however fast another publishes", async () => {
  await using server = new Recipe("pub_sub.ts", { port: 0 });
  const port = await server.port();
  using reader = await dial(port);
  await say(reader, "sub news\n", "ok\n");
  const lines = 30_000;
  const [published] = await Promise.all([
    exchangeOn(await dial(port), "pub news x\n".repeat(lines)),
    say(reader, "", "msg news x\n".repeat(lines)),
  ]);
  assertEquals(published, "ok 1\n".repeat(lines));
  reader.close();
  await server.leave();
});

Deno.test("job_queue.ts gives tickets at once, and answers when they are there", async () => {
  await using server = new Recipe("job_queue.ts", { port: 0 });
  const port = await server.port();
  using client = await dial(port);
  await say(client, "submit 5000000\n", "ticket 1\n");
  for (let ticket = 2; ticket <= 6; ticket++) {
    await say(client, "submit 100\n", `ticket ${ticket}\n`);
  }
  const result = async (ticket: number) => {
    while (true) {
      const answer = (await exchangeOn(await dial(port), `result ${ticket}\n`)).trim();
      if (answer !== "waiting") return answer;
    }
  };
  assertEquals(await result(6), "done 25");
  assertEquals(await result(1), "done 348513");
  for (const line of ["", "submit", "submit 12345678", "submit -1", "result x", "submit 1e3"]) {
    await say(client, `${line}\n`, "error: expected submit N or result TICKET\n");
  }
  client.close();
  await server.leave();
});

Deno.test("job_queue.ts has its Workers do no larger job for who finds their port", async () => {
  await using run = start(new ThreadingTCPServer(LOOPBACK, JobHandler));
  const { serverAddress } = run.server;
  for (const line of ["1500000000", "10000000", "-1", "1e3", "x", ""]) {
    assertEquals(await exchange(serverAddress, `${line}\n`), "");
  }
  assertEquals(await exchange(serverAddress, "100\n"), "done 25");
});

Deno.test("control_socket.ts shows and steers the server, and ends it", async () => {
  const path = tempSocketPath();
  await using server = new Recipe("control_socket.ts", {
    replace: { "/tmp/control.sock": path, ":9999": ":0" },
    args: ["--port", "0", "--path", path],
  });
  const port = await server.port();
  const control = async (line: string) => await exchange({ transport: "unix", path }, `${line}\n`);
  assertEquals((await Deno.stat(path)).mode! & 0o777, 0o600);
  using client = await dial(port);
  await say(client, "hello\n");
  assertEquals(JSON.parse(await control("status")).active, 1);
  assertEquals(await control("limit 1"), "ok\n");
  using second = await dial(port); // an accept that was under way may take it still
  using third = await dial(port);
  const said = say(third, "third\n");
  assertEquals(await control("limit 0"), "error: expected status, limit N or stop\n");
  using silent = await Deno.connect({ transport: "unix", path });
  assertEquals(await silent.read(new Uint8Array(1)), null); // for a second the others had to wait
  assert(JSON.parse(await control("status")).active <= 2);
  for (const conn of [client, second]) conn.close();
  await said;
  third.close();
  assertEquals(await control("stop"), "ok\n");
  const { code, stdout } = await server.result;
  assertEquals([code, stdout.endsWith("Leaving.\n")], [0, true]);
});
