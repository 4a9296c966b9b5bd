/**
 * The examples, as a user runs them: in a process of their own, spoken to by a client.
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
import { fileURLToPath } from "node:url";
import {
  bytes,
  CONFIG,
  connect,
  connectAndReset,
  connectTLS,
  datagramClient,
  datagramExchange,
  exchangeOn,
  pattern,
  readAll,
  readExactly,
  tempFolder,
  tempSocketPath,
  text,
  until,
  writeAll,
} from "../harness.ts";
import { Program, runArgs } from "../program.ts";

const ECHO = fileURLToPath(new URL("../../examples/echo.ts", import.meta.url));
const TLS_FOLDER = fileURLToPath(new URL("../../examples/tls/", import.meta.url));
const MEBIBYTE = 1024 * 1024;
/** The most that a UDP datagram holds, in bytes. */
const LARGEST_DATAGRAM = 65507;

/** A running echo server. */
class Echo extends Program {
  /** Starts one, with no more permissions than `flags` and those to read itself. */
  constructor(args: string[], flags = ["-A"]) {
    super(runArgs(ECHO, flags, args));
  }

  /** Asks it to end, and checks that it does well and has said where it listens and nothing more. */
  async stopInPeace(): Promise<void> {
    const { code, signal, stdout, stderr } = await this.stop();
    assertEquals([code, signal, stderr], [0, null, ""]);
    assertMatch(stdout, /^Listening on \S+ \(\S+, \w+\)\n$/);
  }
}

/** A transport of the echo server: its flags, and the permissions that its header says it needs. */
interface Transport {
  name: string;
  args: string[];
  permissions: string[];
}

const LOCAL_NET = "--allow-net=127.0.0.1";

const PATH = tempSocketPath();

const STREAMS: Transport[] = [
  { name: "tcp", args: ["--port", "0"], permissions: [LOCAL_NET] },
  {
    name: "tls",
    args: ["--transport", "tls", "--port", "0"],
    permissions: [LOCAL_NET, `--allow-read=${TLS_FOLDER}`],
  },
  {
    name: "unix",
    args: ["--transport", "unix", "--path", PATH],
    permissions: [`--allow-net=unix:${PATH}`, `--allow-read=${PATH}`, `--allow-write=${PATH}`],
  },
];

const DATAGRAMS: Transport[] = [
  { name: "udp", args: ["--transport", "udp", "--port", "0"], permissions: [LOCAL_NET] },
  // An answer needs the permissions for the client's path, too.
  { name: "unix-datagram", args: ["--transport", "unix-datagram"], permissions: ["-A"] },
];

/** One exchange on a connection that stays open. */
async function ask(conn: Deno.Conn, message: string): Promise<string> {
  await writeAll(conn, bytes(message));
  return text(await readExactly(conn, message.length));
}

for (const { name, args, permissions } of STREAMS) {
  Deno.test(`echo.ts sends back 1 MiB over ${name} when the client ends its side`, async () => {
    await using echo = new Echo(args, permissions);
    const address = await echo.address();
    using conn = name === "tls" ? await connectTLS(address) : await connect(address);
    const sent = pattern(MEBIBYTE);
    const received = readAll(conn);
    await writeAll(conn, sent);
    await conn.closeWrite();
    assertEquals(await received, sent);
    await echo.stopInPeace();
  });
}

for (const { name, args, permissions } of DATAGRAMS) {
  Deno.test(`echo.ts sends back the largest and the smallest datagram over ${name}`, async () => {
    await using echo = new Echo(args, permissions);
    const address = await echo.address();
    using client = datagramClient(address);
    for (const length of [LARGEST_DATAGRAM, 1, 0]) {
      const sent = pattern(length);
      await client.send(sent, address);
      const [received] = await client.receive(new Uint8Array(LARGEST_DATAGRAM + 1));
      assertEquals(received, sent);
    }
    await echo.stopInPeace();
  });
}

for (const mode of ["concurrent", "threading", "forking"]) {
  Deno.test(`echo.ts --mode ${mode} sends back what it gets over every transport`, async () => {
    await Promise.all([...STREAMS, ...DATAGRAMS].map(async ({ name, args }) => {
      await using echo = new Echo(["--mode", mode, ...args]);
      const address = await echo.address();
      const answer = address.transport === "udp" || address.transport === "unixpacket"
        ? await datagramExchange(address, `over ${name}`)
        : await exchangeOn(
          await (name === "tls" ? connectTLS(address) : connect(address)),
          `over ${name}`,
        );
      assertEquals(answer, `over ${name}`);
      await echo.stopInPeace();
    }));
  });
}

/** As on a machine that has run no Deno yet, and from which no registry can be reached. */
function freshMachine(): Record<string, string> {
  return {
    DENO_DIR: tempFolder(),
    JSR_URL: "http://127.0.0.1:1/",
    NPM_CONFIG_REGISTRY: "http://127.0.0.1:1/",
  };
}

const { workspace } = JSON.parse(Deno.readTextFileSync(CONFIG)) as { workspace?: string[] };
/** Without the workspace the tests run with the packages of JSR, which have to be reached. */
const ignore = workspace === undefined;

for (const mode of ["sync", "concurrent", "threading", "forking", "pool"]) {
  Deno.test(
    `fault 0: deno run -A examples/echo.ts --mode ${mode} needs no registry`,
    { ignore },
    async () => {
      const args = ["run", "-A", "examples/echo.ts", "--port", "0", "--mode", mode];
      await using echo = new Program(args, { env: freshMachine() });
      assertEquals(await exchangeOn(await connect(await echo.address()), "hello"), "hello");
      const { code, stderr } = await echo.stop();
      assertEquals([code, stderr], [0, ""]);
    },
  );
}

Deno.test("fault 0: deno test -A needs no registry", { ignore }, async () => {
  const args = ["test", "-A", "tests/base/address_test.ts"];
  await using tests = new Program(args, { env: freshMachine() });
  const { code, stdout, stderr } = await tests.result;
  assertEquals(code, 0, stdout + stderr);
  assertMatch(stdout, /\b\d+ passed . 0 failed/);
});

Deno.test("echo.ts --mode pool sends back what it gets over TCP", async () => {
  await using echo = new Echo(["--mode", "pool", "--port", "0"]);
  const address = await echo.address();
  const clients = await Promise.all([connect(address), connect(address), connect(address)]);
  const answers = await Promise.all(clients.map((client) => exchangeOn(client, "over a pool")));
  assertEquals(answers, Array(3).fill("over a pool"));
  await echo.stopInPeace();
});

Deno.test("echo.ts removes its socket file when it ends", async () => {
  for (const name of ["unix", "unix-datagram"]) {
    await using echo = new Echo(["--transport", name]);
    const { path } = await echo.address() as Deno.UnixAddr;
    assert((await Deno.lstat(path)).isSocket);
    assertEquals((await echo.stop()).code, 0);
    await assertRejects(() => Deno.lstat(path), Deno.errors.NotFound);
  }
});

Deno.test("echo.ts serves who is connected and who waits when it is told to end", async () => {
  await using echo = new Echo(["--port", "0"]);
  const address = await echo.address();
  using first = await connect(address);
  assertEquals(await ask(first, "before"), "before");
  using second = await connect(address); // waits: one client is served at a time
  echo.kill("SIGTERM");
  for (let turn = 0; turn < 100; turn++) assertEquals(await ask(first, "after"), "after");
  first.close();
  assertEquals(await exchangeOn(second, "waited"), "waited");
  const { code, stderr } = await echo.result;
  assertEquals([code, stderr], [0, ""]);
});

Deno.test("echo.ts takes signals in quick succession for one", async () => {
  await using echo = new Echo(["--port", "0"]);
  using conn = await connect(await echo.address());
  assertEquals(await ask(conn, "before"), "before");
  for (const signal of ["SIGINT", "SIGTERM", "SIGINT"] as const) echo.kill(signal);
  for (let turn = 0; turn < 100; turn++) assertEquals(await ask(conn, "after"), "after");
  conn.close();
  assertEquals((await echo.result).code, 0);
});

Deno.test("echo.ts ends well when copies of the signal come up to its very end", async () => {
  await using echo = new Echo(["--port", "0"]);
  await echo.address();
  const start = performance.now();
  while (performance.now() - start < 200) echo.kill("SIGINT");
  assertEquals((await echo.result).code, 0);
});

Deno.test("echo.ts ends at once when somebody goes on to signal", async () => {
  for (const [signal, exitCode] of [["SIGINT", 130], ["SIGTERM", 143]] as const) {
    await using echo = new Echo(["--port", "0"]);
    using conn = await connect(await echo.address());
    assertEquals(await ask(conn, "hello"), "hello");
    const signalAgain = () => {
      echo.kill(signal);
      return echo.hasEnded;
    };
    await until(signalAgain);
    assertEquals((await echo.result).code, exitCode);
  }
});

Deno.test("deno task echo drains when Ctrl-C reaches its whole process group", async () => {
  await using task = new Program(["task", "--quiet", "echo", "--port", "0"], { detached: true });
  using conn = await connect(await task.address());
  assertEquals(await ask(conn, "before"), "before");
  task.kill("SIGINT"); // the server gets more than one: `deno task` passes its own on
  for (let turn = 0; turn < 100; turn++) assertEquals(await ask(conn, "after"), "after");
  conn.close();
  assertEquals((await task.result).code, 0);
});

/** Runs an echo server that ends by itself, and checks that it has one line to say why. */
async function failEcho(args: string[], flags?: string[]): Promise<[code: number, line: string]> {
  await using echo = new Echo(args, flags);
  const { code, stdout, stderr } = await echo.result;
  assertEquals(stdout, "");
  assertMatch(stderr, /^[^\n]+\n$/);
  return [code, stderr.trimEnd()];
}

for (const mode of ["threading", "pool"]) {
  Deno.test(`echo.ts --mode ${mode} ends with the reason where no Worker may load its handler`, async () => {
    await using echo = new Echo(["--port=0", "--mode", mode], ["--allow-net"]);
    const { code, stderr } = await echo.result;
    assertEquals(code, 1);
    assertMatch(stderr, /\nRequires read access to "[^\n]+\n$/);
    assert(!stderr.includes("\n    at "), stderr);
  });
}

Deno.test("echo.ts says in one line what is wrong with its arguments", async () => {
  const levels = "DEBUG, INFO, WARN, ERROR";
  const modes = "sync, concurrent, threading, forking, pool";
  const cases: [args: string[], line: string][] = [
    [["--bogus"], 'Cannot use argument "--bogus": see --help'],
    [["--port=1", "extra"], 'Cannot use argument "extra": see --help'],
    [["--", "extra"], 'Cannot use argument "extra": see --help'],
    [["--host", "--port", "0"], 'Cannot use --host "": expected a name or an IP address'],
    [["--port", "http"], 'Cannot use --port "http": expected a number'],
    [["--port", "65536"], "Cannot use port 65536: expected an integer from 0 to 65535"],
    [["--mode", "bogus"], `Cannot use --mode "bogus": expected ${modes}`],
    [
      ["--mode", "pool", "--transport", "udp"],
      'Cannot use --transport "udp" with --mode "pool": expected tcp, tls',
    ],
    [["--log-level", "loud"], `Cannot use --log-level "loud": expected ${levels}`],
    [
      ["--transport", "sctp"],
      'Cannot use --transport "sctp": expected tcp, udp, unix, unix-datagram, tls',
    ],
  ];
  const outcomes = await Promise.all(cases.map(([args]) => failEcho(args)));
  assertEquals(outcomes, cases.map(([, line]) => [2, line]));
});

Deno.test("echo.ts says in one line why it cannot listen", async () => {
  using owner = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = owner.addr;
  const cases: [args: string[], reason: string][] = [
    [
      ["--port", `${port}`],
      `Cannot bind TCP server to "127.0.0.1:${port}": address already in use`,
    ],
    [["--transport", "tls", "--port", `${port}`], "Cannot bind TLS server"],
    [["--transport", "unix", "--path", ECHO], "Cannot bind Unix server"],
    [["--transport", "unix-datagram", "--path", ECHO], "Cannot bind Unix datagram server"],
    [
      ["--host", "nobody.invalid"],
      'Cannot bind TCP server to "nobody.invalid:20000": host not found',
    ],
    [["--transport", "tls", "--cert", `${ECHO}/nothing`], `${ECHO}/nothing`],
  ];
  const outcomes = await Promise.all(cases.map(([args]) => failEcho(args)));
  for (const [index, [code, line]] of outcomes.entries()) {
    assertEquals(code, 1);
    assertStringIncludes(line, cases[index]![1]);
  }
  const [code, line] = await failEcho(["--port", "0"], []);
  assertEquals(code, 1);
  assertStringIncludes(line, "--allow-net");
});

Deno.test("echo.ts prints its options with --help", async () => {
  await using echo = new Echo(["--help"], []);
  const { code, stdout, stderr } = await echo.result;
  assertEquals([code, stderr], [0, ""]);
  for (const name of ["host", "port", "transport", "path", "mode", "cert", "key", "log-level"]) {
    assertStringIncludes(stdout, `--${name} `);
  }
});

Deno.test("echo.ts logs what --log-level asks for", async () => {
  const logged = async (level: string): Promise<string> => {
    await using echo = new Echo(["--port", "0", "--log-level", level]);
    const address = await echo.address();
    await connectAndReset(address);
    assertEquals(await exchangeOn(await connect(address), "hello"), "hello");
    return (await echo.stop()).stderr;
  };
  assertMatch(await logged("DEBUG"), /^DEBUG /);
  assertEquals(await logged("INFO"), "");
});
