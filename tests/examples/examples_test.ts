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
const TCP = ["--tcp", "127.0.0.1:0"];
const PEM = ["--cert", `${TLS_FOLDER}cert.pem`, "--key", `${TLS_FOLDER}key.pem`];
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
  { name: "tcp", args: TCP, permissions: [LOCAL_NET] },
  {
    name: "tls",
    args: ["--tls", "127.0.0.1:0", ...PEM],
    permissions: [LOCAL_NET, `--allow-read=${TLS_FOLDER}`],
  },
  {
    name: "unix",
    args: ["--unix", PATH],
    permissions: [`--allow-net=unix:${PATH}`, `--allow-read=${PATH}`, `--allow-write=${PATH}`],
  },
];

const DATAGRAMS: Transport[] = [
  { name: "udp", args: ["--udp", "127.0.0.1:0"], permissions: [LOCAL_NET] },
  // An answer needs the permissions for the client's path, too.
  { name: "unix-datagram", args: ["--unix-datagram", tempSocketPath()], permissions: ["-A"] },
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

for (const mode of ["sync", "concurrent", "threading", "forking"]) {
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
      const args = ["run", "-A", "examples/echo.ts", ...TCP, "--mode", mode];
      await using echo = new Program(args, { env: freshMachine() });
      assertEquals(await exchangeOn(await connect(await echo.address()), "hello"), "hello");
      const { code, stderr } = await echo.stop();
      assertEquals([code, stderr], [0, ""]);
    },
  );
}

Deno.test("fault 0: deno task test needs no registry", { ignore }, async () => {
  const args = ["task", "test", "tests/base/deadline_test.ts"];
  await using tests = new Program(args, { env: freshMachine() });
  const { code, stdout, stderr } = await tests.result;
  assertEquals(code, 0, stdout + stderr);
  assertMatch(stdout, /\b\d+ passed . 0 failed/);
});

Deno.test("echo.ts --mode pool sends back what it gets over TCP", async () => {
  await using echo = new Echo(["--mode", "pool", ...TCP]);
  const address = await echo.address();
  const clients = await Promise.all([connect(address), connect(address), connect(address)]);
  const answers = await Promise.all(clients.map((client) => exchangeOn(client, "over a pool")));
  assertEquals(answers, Array(3).fill("over a pool"));
  await echo.stopInPeace();
});

Deno.test("echo.ts removes its socket file when it ends", async () => {
  for (const name of ["unix", "unix-datagram"]) {
    await using echo = new Echo([`--${name}`, tempSocketPath()]);
    const { path } = await echo.address() as Deno.UnixAddr;
    assert((await Deno.lstat(path)).isSocket);
    assertEquals((await echo.stop()).code, 0);
    await assertRejects(() => Deno.lstat(path), Deno.errors.NotFound);
  }
});

Deno.test("echo.ts serves who is connected and who waits when it is told to end", async () => {
  await using echo = new Echo([...TCP, "--mode", "sync"]);
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
  await using echo = new Echo(TCP);
  using conn = await connect(await echo.address());
  assertEquals(await ask(conn, "before"), "before");
  for (const signal of ["SIGINT", "SIGTERM", "SIGINT"] as const) echo.kill(signal);
  for (let turn = 0; turn < 100; turn++) assertEquals(await ask(conn, "after"), "after");
  conn.close();
  assertEquals((await echo.result).code, 0);
});

Deno.test("echo.ts ends well when copies of the signal come up to its very end", async () => {
  await using echo = new Echo(TCP);
  await echo.address();
  const start = performance.now();
  while (performance.now() - start < 200) echo.kill("SIGINT");
  assertEquals((await echo.result).code, 0);
});

Deno.test("echo.ts ends at once when somebody goes on to signal", async () => {
  for (const [signal, exitCode] of [["SIGINT", 130], ["SIGTERM", 143]] as const) {
    await using echo = new Echo(TCP);
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
  await using task = new Program(["task", "--quiet", "echo", ...TCP], { detached: true });
  using conn = await connect(await task.address());
  assertEquals(await ask(conn, "before"), "before");
  task.kill("SIGINT"); // the server gets more than one: `deno task` passes its own on
  for (let turn = 0; turn < 100; turn++) assertEquals(await ask(conn, "after"), "after");
  conn.close();
  assertEquals((await task.result).code, 0);
});

for (const mode of ["threading", "pool"]) {
  Deno.test(`echo.ts --mode ${mode} ends with the reason where no Worker may load its handler`, async () => {
    await using echo = new Echo([...TCP, "--mode", mode], ["--allow-net"]);
    const { code, stderr } = await echo.result;
    assertEquals(code, 1);
    assertMatch(stderr, /\nRequires read access to "[^\n]+\n$/);
    assert(!stderr.includes("\n    at "), stderr);
  });
}

Deno.test("echo.ts has the options of the command line", async () => {
  const run = async (...args: string[]) => {
    await using echo = new Echo(args, []);
    return await echo.result;
  };
  const help = await run("--help");
  assertEquals([help.code, help.stderr], [0, ""]);
  assertStringIncludes(help.stdout, "--mode MODE ");
  const cases: [args: string[], line: string][] = [
    [["--bogus"], 'Cannot use argument "--bogus": see --help'],
    [
      ["--mode", "pool", "--udp", ":1"],
      'Cannot use --udp ":1" with --mode pool: it goes with sync, concurrent, threading, forking',
    ],
  ];
  for (const [args, line] of cases) {
    const { code, stdout, stderr } = await run(...args);
    assertEquals([code, stdout, stderr], [2, "", `${line}\n`]);
  }
});

Deno.test("echo.ts logs what --log-level asks for", async () => {
  const logged = async (level: string): Promise<string> => {
    await using echo = new Echo([...TCP, "--log-level", level]);
    const address = await echo.address();
    await connectAndReset(address);
    assertEquals(await exchangeOn(await connect(address), "hello"), "hello");
    return (await echo.stop()).stderr;
  };
  assertMatch(await logged("DEBUG"), /^DEBUG /);
  assertEquals(await logged("INFO"), "");
});
