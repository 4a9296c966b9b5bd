/**
 * The command line tool, as a user runs it: in a process of its own, spoken to by a client.
 *
 * @module
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { SocketAddress } from "@netkit/socketserver";
import { main } from "@netkit/socketserver/cli";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { Counters } from "../../src/cli/counters.ts";
import { reset, resettable } from "../conversation.ts";
import {
  bytes,
  CONFIG,
  connect,
  connectTLS,
  datagramExchange,
  exchange,
  exchangeOn,
  PATIENCE,
  readExactly,
  tempSocketPath,
  text,
  until,
  writeAll,
} from "../harness.ts";
import { moduleOf, Program, runArgs } from "../program.ts";

const FOLDER = fileURLToPath(new URL("./", import.meta.url));
const CLI = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));
const HANDLERS = "./cli_handlers.ts";
const PEM = ["--cert", "../../examples/tls/cert.pem", "--key", "../../examples/tls/key.pem"];
const TCP = ["--tcp", "127.0.0.1:0"];

/** How a {@linkcode Tool} is started. */
interface ToolOptions {
  /** The flags of Deno. */
  flags?: string[];
  /** Whether it runs on a pseudo terminal. */
  terminal?: boolean;
  /** How wide that terminal is. */
  columns?: number;
}

/** The tool in the folder of the tests. */
class Tool extends Program {
  constructor(args: string[], { flags = ["-A"], terminal = false, columns }: ToolOptions = {}) {
    const run = runArgs(CLI, flags, args);
    const sized = `stty cols ${columns}; exec ${[Deno.execPath(), ...run].join(" ")}`;
    const [words, shell] = columns === undefined ? [run, {}] : [["-c", sized], { command: "sh" }];
    super(words, { ...shell, cwd: FOLDER, terminal });
  }
}

/** Runs the tool to its end, and gives its exit code and the one line that it says. */
async function fail(args: string[], flags?: string[]): Promise<[code: number, line: string]> {
  await using tool = new Tool(args, flags === undefined ? {} : { flags });
  const { code, stdout, stderr } = await tool.result;
  assertEquals(stdout, "");
  assertMatch(stderr, /^[^\n]+\n$/);
  return [code, stderr.trimEnd()];
}

/** The same within this process, for what is refused before anything is opened. */
async function refuse(args: string[]): Promise<[code: number, line: string]> {
  const lines: string[] = [];
  const { write } = Deno.stderr;
  Deno.stderr.write = (data) => {
    lines.push(text(data).trimEnd());
    return Promise.resolve(data.length);
  };
  try {
    const code = await main(args);
    assertEquals(lines.length, 1);
    return [code, lines[0]!];
  } finally {
    Deno.stderr.write = write;
  }
}

/** Says something and gives the answer. */
async function ask(address: SocketAddress, message: string, transport: string): Promise<string> {
  if (address.transport === "udp" || address.transport === "unixpacket") {
    return await datagramExchange(address, message);
  }
  return await exchangeOn(
    await (transport === "tls" ? connectTLS(address) : connect(address)),
    message,
  );
}

/** The same, again and again while the server resets the connection. */
async function askAgain(
  address: SocketAddress,
  message: string,
  transport: string,
): Promise<string> {
  while (true) {
    try {
      return await ask(address, message, transport);
    } catch (error) {
      if (!(error instanceof Deno.errors.ConnectionReset)) throw error;
    }
  }
}

/** One exchange of a line on a connection that stays open. */
async function askOn(conn: Deno.Conn, line: string): Promise<string> {
  await writeAll(conn, bytes(`${line}\n`));
  return text(await readExactly(conn, line.length + 1)).trimEnd();
}

const TRANSPORTS: [name: string, args: () => string[]][] = [
  ["tcp", () => TCP],
  ["tls", () => ["--tls", "127.0.0.1:0", ...PEM]],
  ["unix", () => ["--unix", tempSocketPath()]],
  ["udp", () => ["--udp", "127.0.0.1:0"]],
  ["unix-datagram", () => ["--unix-datagram", tempSocketPath()]],
];

for (const mode of ["sync", "concurrent", "threading", "forking", "pool"]) {
  Deno.test(`cli --mode ${mode} serves a handler without moduleUrl over every transport that it has`, async () => {
    const transports = mode === "pool" ? TRANSPORTS.slice(0, 2) : TRANSPORTS;
    await Promise.all(transports.map(async ([name, args]) => {
      const handler = name.startsWith("u") && name !== "unix"
        ? "UpperDatagramHandler"
        : "UpperHandler";
      await using tool = new Tool([HANDLERS, "--class", handler, "--mode", mode, ...args()]);
      const address = await tool.address();
      // A pool for TLS resets who comes before its first Worker listens.
      const say = mode === "pool" && name === "tls" ? askAgain : ask;
      assertEquals(await say(address, `over ${name}\n`, name), `OVER ${name.toUpperCase()}\n`);
      const { code, stdout, stderr } = await tool.stop();
      assertEquals([code, stderr], [0, ""]);
      assertMatch(stdout, new RegExp(`^Listening on \\S+ \\(${name}, ${mode}\\)\n$`));
    }));
  });
}

Deno.test("cli serves all clients at once unless told otherwise, and --max of them", async () => {
  await using tool = new Tool([HANDLERS, "--class", "UpperHandler", ...TCP, "--max", "2"]);
  const address = await tool.address();
  using first = await connect(address);
  using second = await connect(address);
  using third = await connect(address);
  assertEquals(await askOn(second, "second"), "SECOND");
  assertEquals(await askOn(first, "first"), "FIRST");
  const waiting = askOn(third, "third");
  first.close();
  assertEquals(await waiting, "THIRD");
});

Deno.test("cli --max-per-source closes the connections of a client that are beyond", async () => {
  const limit = ["--max-per-source", "1", "--stats", "--drain", "0"];
  await using tool = new Tool([HANDLERS, "--class", "UpperHandler", ...TCP, ...limit]);
  const address = await tool.address();
  using first = await connect(address);
  assertEquals(await askOn(first, "first"), "FIRST");
  using second = await connect(address);
  assertEquals(await second.read(new Uint8Array(1)), null);
  const lines = (await tool.stop()).stderr.trimEnd().split("\n");
  assertEquals((JSON.parse(lines.at(-1)!) as StatsLine).rejected, 1);
});

Deno.test("cli --request-timeout cuts a request off", async () => {
  const limit = ["--request-timeout", "1"];
  await using tool = new Tool([HANDLERS, "--class", "UpperHandler", ...TCP, ...limit]);
  using conn = await connect(await tool.address());
  await conn.read(new Uint8Array(1)).catch(() => null); // the end, or a reset
  await until(() => tool.stderr !== "");
  assertStringIncludes((await tool.stop()).stderr, "'requestTimeout'");
});

Deno.test("cli takes the default export, the only class or the only function without --class", async () => {
  const all = import.meta.resolve("./cli_handlers.ts");
  const modules = [
    `export { upper } from "${all}"; export { UpperHandler as default } from "${all}";`,
    `export { nothing, upper, UpperHandler } from "${all}";`,
    `export { nothing, upper } from "${all}";`,
    `import { UpperHandler } from "${all}"; export default class extends UpperHandler {}`,
  ];
  for (const source of modules) {
    await using tool = new Tool([await moduleOf(source), ...TCP]);
    assertEquals(await exchange(await tool.address(), "hello\n"), "HELLO\n");
  }
});

Deno.test("cli takes a module by its URL, and a default class without a name to Workers and subprocesses", async () => {
  const path = await moduleOf(
    `import { StreamRequestHandler } from "@netkit/socketserver";
     export default class extends StreamRequestHandler {
       override async handle() {
         await this.wfile.write(await this.rfile.readline());
       }
     }`,
  );
  for (const mode of ["threading", "forking", "pool"]) {
    await using tool = new Tool([`file://${path}`, ...TCP, "--mode", mode]);
    assertEquals(await exchange(await tool.address(), "hello\n"), "hello\n");
  }
});

Deno.test("cli takes a module from the web, with a handler that shares no code with the package", async () => {
  const source = `export class Handler {
    constructor(request) {
      this.request = request;
    }
    setup() {}
    async handle() {
      await this.request.sendAll(await this.request.recv());
    }
    finish() {}
  }`;
  const headers = { "content-type": "text/javascript" };
  await using web = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    ({ url }) => new Response(source, { headers, status: url.endsWith("/handler.js") ? 200 : 404 }),
  );
  const site = `http://127.0.0.1:${web.addr.port}`;
  for (const mode of ["sync", "threading", "forking"]) {
    await using tool = new Tool([`${site}/handler.js`, ...TCP, "--mode", mode]);
    assertEquals(await exchange(await tool.address(), "hello"), "hello");
  }
  const missing = `${site}/none.js`;
  assertEquals(await fail([missing, ...TCP]), [2, `Cannot find module "${missing}"`]);
});

Deno.test("cli --child-permissions gives subprocesses a permission", async () => {
  const args = [HANDLERS, "--class", "HomeHandler", ...TCP, "--mode", "forking"];
  await using allowed = new Tool([...args, "--child-permissions", "--allow-env=HOME"]);
  assertEquals(await exchange(await allowed.address(), ""), Deno.env.get("HOME")!);
  await using refused = new Tool(args);
  assertEquals(await exchange(await refused.address(), ""), "");
  assertStringIncludes((await refused.stop()).stderr, "--allow-env");
});

Deno.test("cli listens on all interfaces and on IPv6", async () => {
  const args = [HANDLERS, "--class", "UpperHandler", "--tcp"];
  await using all = new Tool([...args, ":0"]);
  const { port, hostname } = await all.address() as Deno.NetAddr;
  assertEquals(hostname, "0.0.0.0");
  assertEquals(await exchange({ transport: "tcp", hostname: "127.0.0.1", port }, "a\n"), "A\n");
  await using six = new Tool([...args, "[::1]:0"]);
  assertEquals(await exchange(await six.address(), "a\n"), "A\n");
});

Deno.test("cli needs no more permissions than its documentation says", async () => {
  const handler = [HANDLERS, "--class", "UpperHandler"];
  const source = `${FOLDER}cli_handlers.ts`;
  const path = tempSocketPath();
  const deno = Deno.execPath();
  const local = "--allow-net=127.0.0.1";
  const cases: [args: string[], flags: string[]][] = [
    [TCP, [`--allow-read=${source}`, local]],
    [["--unix", path], [
      `--allow-read=${source},${path}`,
      `--allow-write=${path}`,
      `--allow-net=unix:${path}`,
    ]],
    [[...TCP, "--mode", "threading"], ["--allow-read", local]],
    [[...TCP, "--mode", "pool"], ["--allow-read", local]],
    [[...TCP, "--mode", "forking"], [`--allow-read=${source}`, local, `--allow-run=${deno}`]],
  ];
  for (const [args, flags] of cases) {
    await using tool = new Tool([...handler, ...args], { flags });
    assertEquals(await exchange(await tool.address(), "hello\n"), "HELLO\n");
    assertEquals((await tool.stop()).stderr, "");
  }
});

Deno.test("cli serves who is connected when a signal comes, and copies of it change nothing", async () => {
  for (const mode of ["concurrent", "threading", "forking", "pool"]) {
    await using tool = new Tool([HANDLERS, "--class", "UpperHandler", ...TCP, "--mode", mode]);
    using conn = await connect(await tool.address());
    assertEquals(await askOn(conn, "before"), "BEFORE");
    for (const signal of ["SIGINT", "SIGTERM", "SIGINT"] as const) tool.kill(signal);
    for (let turn = 0; turn < 20; turn++) assertEquals(await askOn(conn, "after"), "AFTER");
    conn.close();
    const { code, stderr } = await tool.result;
    assertEquals([code, stderr], [0, ""]);
  }
});

Deno.test("cli --drain cuts off who does not end in time, and says so", async () => {
  const limit = ["--drain", "0"];
  await using tool = new Tool([HANDLERS, "--class", "UpperHandler", ...TCP, ...limit]);
  using conn = await connect(await tool.address());
  assertEquals(await askOn(conn, "before"), "BEFORE");
  const { code, stderr } = await tool.stop();
  assertEquals([code, stderr], [0, "WARN Requests cut off after 0 ms: 1\n"]);
});

Deno.test("cli ends at once when somebody goes on to signal", async () => {
  for (const [signal, exitCode] of [["SIGINT", 130], ["SIGTERM", 143]] as const) {
    await using tool = new Tool([HANDLERS, "--class", "UpperHandler", ...TCP, "--drain", "600000"]);
    using conn = await connect(await tool.address());
    assertEquals(await askOn(conn, "before"), "BEFORE");
    const signalAgain = () => {
      tool.kill(signal);
      return tool.hasEnded;
    };
    await until(signalAgain);
    assertEquals((await tool.result).code, exitCode);
  }
});

Deno.test("cli ends when a signal comes while the module is loaded", async () => {
  const path = await moduleOf(
    'console.log("loading"); await new Promise((resolve) => setTimeout(resolve, 600_000));',
  );
  await using tool = new Tool([path, ...TCP]);
  await until(() => tool.stdout === "loading\n");
  assertEquals((await tool.stop()).code, 0);
});

Deno.test("cli ends with the code of a ServerExit that the handler throws", async () => {
  for (const mode of ["sync", "concurrent"]) {
    await using tool = new Tool([HANDLERS, "--class", "ExitHandler", ...TCP, "--mode", mode]);
    await exchange(await tool.address(), "");
    const { code, stderr } = await tool.result;
    assertEquals([code, stderr], [7, ""]);
  }
});

/** What a JSON line of `--stats` has. */
interface StatsLine extends Counters {
  perSecond: number;
}

Deno.test("cli --stats writes a JSON line per interval, and one at the end", async () => {
  const args = [HANDLERS, "--class", "UpperHandler", ...TCP, "--stats=0.02"];
  await using tool = new Tool(args);
  const address = await tool.address();
  const lines = () =>
    tool.stderr.split("\n").slice(0, -1).map((line) => JSON.parse(line) as StatsLine);
  for (let turn = 0; turn < 3; turn++) await exchange(address, "hello\n");
  using conn = await connect(address);
  assertEquals(await askOn(conn, "hello"), "HELLO");
  await until(() => lines().some(({ active, completed }) => active === 1 && completed === 3));
  assert(lines().some(({ perSecond }) => perSecond > 0));
  conn.close();
  await tool.stop();
  const { active, peak, completed, failed, gone, aborted, rejected } = lines().at(-1)!;
  assertEquals({ active, completed, failed, gone, aborted, rejected }, {
    active: 0,
    completed: 4,
    failed: 0,
    gone: 0,
    aborted: 0,
    rejected: 0,
  });
  assert(peak >= 1);
});

Deno.test("cli --stats counts what fails, beside the log", async () => {
  const args = [HANDLERS, "--class", "FailingHandler", ...TCP, "--stats", "--log-level", "error"];
  await using tool = new Tool(args);
  await exchange(await tool.address(), "");
  const lines = (await tool.stop()).stderr.trimEnd().split("\n");
  assertMatch(lines[0]!, /^ERROR .*/);
  assertStringIncludes(lines.join("\n"), "failed on purpose");
  assertEquals((JSON.parse(lines.at(-1)!) as StatsLine).failed, 1);
});

for (const mode of ["sync", "concurrent", "threading", "forking", "pool"]) {
  Deno.test(`cli --mode ${mode} --stats tells clients that went away from requests that failed`, async () => {
    const args = [HANDLERS, "--class", "WordHandler", ...TCP, "--mode", mode, "--stats=0.02"];
    await using tool = new Tool([...args, "--log-level", "error"]);
    const address = await tool.address() as Deno.NetAddr;
    const vanishing = await resettable(address);
    vanishing.write("word");
    await once(vanishing, "data");
    await reset(vanishing);
    await exchange(address, "wo"); // and hangs up
    assertEquals(await exchange(address, "wordfail"), "word");
    await until(() => /"failed":1,"gone":2,"aborted":0/.test(tool.stderr));
    const lines = (await tool.stop()).stderr.trimEnd().split("\n");
    const { completed, failed, gone } = JSON.parse(lines.at(-1)!) as StatsLine;
    assertEquals({ completed, failed, gone }, { completed: 0, failed: 1, gone: 2 });
  });
}

Deno.test("cli --stats counts clients that hang up during the handshake of TLS as gone, and others as failed", async () => {
  const listen = ["--tls", "127.0.0.1:0", ...PEM];
  await using tool = new Tool([HANDLERS, "--class", "UpperHandler", ...listen, "--stats=0.02"]);
  const address = await tool.address();
  (await connect(address)).close();
  await exchange(address, "GET / HTTP/1.1\r\n\r\n").catch(() => {}); // no TLS, which may end in a reset
  await until(() => tool.stderr.includes('"failed":1,"gone":1,'));
});

Deno.test({
  name: "cli --stats rewrites one line on a terminal, and log lines stand on their own",
  ignore: Deno.build.os !== "linux",
  async fn() {
    const args = [HANDLERS, "--class", "FailingHandler", ...TCP, "--stats=0.02"];
    await using tool = new Tool(args, { terminal: true });
    const address = await tool.address();
    await until(
      () =>
        tool.stdout.includes(
          "\ractive 0, 0/s, completed 0, failed 0, gone 0, aborted 0, rejected 0, peak 0",
        ),
      PATIENCE,
    );
    await exchange(address, "");
    await until(() => tool.stdout.includes("failed 1"));
    const { code, stdout } = await tool.interrupt();
    assertEquals(code, 0);
    // What a terminal shows: each line as the last rewriting left it.
    const [listening, ...lines] = screenOf(stdout);
    assertMatch(listening!, /^Listening on /);
    assertMatch(lines[0]!, /^ERROR .* failed on purpose$|^ERROR /);
    assertMatch(
      lines.at(-1)!,
      /^active 0, 0\/s, completed 0, failed 1, gone 0, aborted 0, rejected 0, peak 1$/,
    );
    assertEquals(lines.filter((line) => line.startsWith("active")).length, 1);
  },
});

Deno.test({
  name: "cli --stats leaves out of the live line what a narrow terminal has no room for",
  ignore: Deno.build.os !== "linux",
  async fn() {
    const args = [HANDLERS, "--class", "UpperHandler", ...TCP, "--stats=0.02"];
    await using tool = new Tool(args, { terminal: true, columns: 34 });
    const address = await tool.address();
    await exchange(address, "hello\n");
    await until(() => tool.stdout.includes("completed 1"));
    const { code, stdout } = await tool.interrupt();
    assertEquals(code, 0);
    assertMatch(screenOf(stdout).at(-1)!, /^active 0, [\d.]+\/s, completed 1$/);
  },
});

/** The lines that a terminal shows in the end, without the blanks at their ends. */
function screenOf(output: string): string[] {
  return output.split("\n").slice(0, -1).map((written) => {
    const cells: string[] = [];
    let column = 0;
    for (const character of written) {
      if (character === "\r") column = 0;
      else if (character === "\b") column--;
      else cells[column++] = character;
    }
    return cells.join("").trimEnd();
  });
}

Deno.test("cli --log-level says more, or less", async () => {
  const logged = async (level: string): Promise<string> => {
    const args = [HANDLERS, "--class", "FailingHandler", ...TCP, "--log-level", level];
    await using tool = new Tool(args);
    const address = await tool.address();
    await exchange(address, "");
    await until(() => tool.stderr !== "");
    return (await tool.stop()).stderr;
  };
  assertMatch(await logged("WARN"), /^ERROR /);
});

Deno.test("cli --help fits a screen, and --version is that of the package", async () => {
  await using help = new Tool(["--help"], { flags: [] });
  const { code, stdout, stderr } = await help.result;
  assertEquals([code, stderr], [0, ""]);
  const lines = stdout.trimEnd().split("\n");
  assert(lines.length < 24, `${lines.length} lines`);
  for (const line of lines) assert(line.length <= 80, line);
  await using version = new Tool(["--version"], { flags: [] });
  const config = JSON.parse(await Deno.readTextFile(CONFIG));
  assertEquals((await version.result).stdout, `@netkit/socketserver ${config.version}\n`);
});

Deno.test("cli says in one line what is wrong with its arguments", async () => {
  const module = ["./x.ts"];
  const ok = [...module, ...TCP];
  const form = "expected HOST:PORT, such as 127.0.0.1:9999 or [::1]:9999";
  const addresses = "--tcp, --udp, --tls, --unix, --unix-datagram";
  const cases: [args: string[], line: string][] = [
    [[], "Cannot serve without a module: see --help"],
    [module, `Cannot serve without an address: expected one of ${addresses}`],
    [[...ok, "extra"], 'Cannot use argument "extra": see --help'],
    [[...ok, "--", "--extra"], 'Cannot use argument "--extra": see --help'],
    [[...ok, "-x"], 'Cannot use argument "-x": see --help'],
    [[...ok, "--port=80"], 'Cannot use argument "--port": see --help'],
    [[...ok, "--mod", "sync"], 'Cannot use argument "--mod": did you mean --mode?'],
    [[...module, "--tcp"], "Cannot use --tcp: expected a value"],
    [[...module, "--tcp", ""], 'Cannot use --tcp "": expected a value'],
    [[...module, "--tcp=9999"], `Cannot use --tcp "9999": ${form}`],
    [[...module, "--tcp", "::1:80"], `Cannot use --tcp "::1:80": ${form}`],
    [[...module, "--udp", "h:http"], `Cannot use --udp "h:http": ${form}`],
    [[...module, "--tcp", ":65536"], 'Cannot use --tcp ":65536": expected a port from 0 to 65535'],
    [[...ok, "--tcp", ":1"], 'Cannot use --tcp ":1": it is "127.0.0.1:0" already'],
    [[...ok, "--udp", ":1"], 'Cannot use --udp ":1" with --tcp "127.0.0.1:0": expected one'],
    [[...ok, "--cert", "c"], 'Cannot use --cert "c" without --tls'],
    [[...ok, "--key", "k"], 'Cannot use --key "k" without --tls'],
    [[...module, "--tls", ":1"], 'Cannot use --tls ":1" without --cert: expected a PEM file'],
    [
      [...ok, "--mode", "fast"],
      'Cannot use --mode "fast": expected sync, concurrent, threading, forking, pool',
    ],
    [[...ok, "--max", "-1"], 'Cannot use --max "-1": expected an integer from 1 to 1048576'],
    [
      [...ok, "--max", "2", "--mode", "sync"],
      'Cannot use --max "2" with --mode sync: it goes with concurrent, threading, forking, pool',
    ],
    [
      [...module, "--udp", ":1", "--mode", "pool"],
      'Cannot use --udp ":1" with --mode pool: it goes with sync, concurrent, threading, forking',
    ],
    [
      [...ok, "--child-permissions", "--allow-env"],
      'Cannot use --child-permissions "--allow-env" with --mode concurrent: it goes with forking',
    ],
    [
      [...ok, "--mode", "forking", "--child-permissions", "env"],
      'Cannot use --child-permissions "env": expected a flag of Deno, such as --allow-env',
    ],
    [
      [...ok, "--request-timeout", "0"],
      'Cannot use --request-timeout "0": expected an integer from 1 to 2147483647',
    ],
    [[...ok, "--drain", "x"], 'Cannot use --drain "x": expected an integer from 0 to 2147483647'],
    [[...ok, "--stats=0"], 'Cannot use --stats "0": expected seconds, at least 0.01'],
    [
      [...ok, "--log-level", "loud"],
      'Cannot use --log-level "loud": expected DEBUG, INFO, WARN, ERROR',
    ],
  ];
  for (const [args, line] of cases) assertEquals(await refuse(args), [2, line]);
  assertEquals(await fail(["--bogus"], []), [2, 'Cannot use argument "--bogus": see --help']);
});

Deno.test("cli says in one line which handler it does not find, or cannot use", async () => {
  const names =
    "ExitHandler, FailingHandler, HomeHandler, UpperDatagramHandler, UpperHandler, WordHandler, upper";
  const of = (name: string) => [HANDLERS, "--class", name];
  const empty = await moduleOf("export const x = 1; export class A {}");
  const cases: [args: string[], line: string][] = [
    [["./none.ts", ...TCP], 'Cannot find module "./none.ts"'],
    [["../", ...TCP], 'Cannot find module "../"'],
    [[empty, ...TCP], `Cannot use module "${empty}": it exports no request handler`],
    [
      [empty, ...TCP, "--class", "A"],
      'Cannot use --class "A": no request handler; there is no handler in there',
    ],
    [
      [HANDLERS, ...TCP],
      `Cannot choose a handler of "${HANDLERS}": name it with --class: ${names}`,
    ],
    [
      [...of("None"), ...TCP],
      `Cannot use --class "None": no export of "${HANDLERS}"; expected ${names}`,
    ],
    [
      [...of("nothing"), ...TCP],
      `Cannot use --class "nothing": no request handler; expected ${names}`,
    ],
    [
      [...of("UpperHandler"), "--udp", "127.0.0.1:0"],
      'Cannot use --udp with handler "UpperHandler": it handles streams; expected --tcp, --tls, --unix',
    ],
    [
      [...of("UpperDatagramHandler"), ...TCP],
      'Cannot use --tcp with handler "UpperDatagramHandler": it handles datagrams; expected --udp, --unix-datagram',
    ],
    [
      [...of("upper"), ...TCP, "--mode", "threading"],
      'Cannot use function "upper" with --mode threading: expected a handler class, as it runs elsewhere',
    ],
    [
      [...of("UpperHandler"), "--tls", ":0", "--cert", HANDLERS, "--key", HANDLERS],
      'Cannot use --cert: expected PEM text ("-----BEGIN ...")',
    ],
    [
      [...of("UpperHandler"), "--unix", "x".repeat(108)],
      `Cannot use path "${"x".repeat(108)}": 108 bytes, a socket path has at most 107`,
    ],
  ];
  const checks = cases.map(async ([args, line]) => assertEquals(await fail(args), [2, line]));
  await Promise.all(checks);
});

Deno.test("cli says in one line why a module cannot be loaded", async () => {
  const starts = await moduleOf(
    `import { TCPServer } from "@netkit/socketserver";
     await new TCPServer({ hostname: "127.0.0.1", port: 0 }, () => {}).serveForever();`,
  );
  const cases: [source: string, reason: RegExp][] = [
    ["export class {", /SyntaxError: .* at file:\S+:1:\d+$/],
    ['import "./none.ts";', /Module not found "file:\S+none.ts"/],
    ['throw new Error("in two\\n lines")', /: in two lines$/],
    ['throw "a string"', /: a string$/],
  ];
  await Promise.all(cases.map(async ([source, reason]) => {
    const path = await moduleOf(source);
    const [code, line] = await fail([path, ...TCP]);
    assertEquals(code, 1);
    assertMatch(line, new RegExp(`^Cannot load module "${path}".*${reason.source}`));
  }));
  const [code, line] = await fail([starts, ...TCP]);
  assertEquals(code, 1);
  assertStringIncludes(line, "put what starts it under if (import.meta.main)");
  assertEquals(
    (await fail([HANDLERS, ...TCP], ["--allow-net"])).map((part) => /allow-read/.test(`${part}`)),
    [false, true],
  );
});

Deno.test("cli says in one line why it cannot serve", async () => {
  using owner = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const where = `127.0.0.1:${owner.addr.port}`;
  const upper = [HANDLERS, "--class", "UpperHandler"];
  const datagrams = [HANDLERS, "--class", "UpperDatagramHandler"];
  const run = ["--allow-read", "--allow-net"];
  const cases: [args: string[], reason: string, flags?: string[]][] = [
    [["--tcp", where], `Cannot bind TCP server to "${where}": address already in use`],
    [["--tcp", "nobody.invalid:1"], "host not found"],
    [["--tls", where, ...PEM], `Cannot bind TLS server to "${where}": address already in use`],
    [["--unix", CLI], "Cannot bind Unix server"],
    [["--unix-datagram", CLI], "Cannot bind Unix datagram server"],
    [["--tls", ":0", "--cert", "none.pem", "--key", "none.pem"], 'Cannot read --cert "none.pem"'],
    [TCP, "--allow-net", ["--allow-read"]],
    [[...TCP, "--mode", "forking"], "run again with the --allow-run flag", run],
  ];
  for (const [args, reason, flags] of cases) {
    const handler = args[0] === "--unix-datagram" ? datagrams : upper;
    const [code, line] = await fail([...handler, ...args], flags);
    assertEquals(code, 1, line);
    assertStringIncludes(line, reason);
  }
});

Deno.test("fault 25: cli ends with the reason when no worker can load the handler", async () => {
  const path = await moduleOf(
    `import { StreamRequestHandler } from "@netkit/socketserver";
     if ("WorkerGlobalScope" in globalThis || Deno.mainModule === import.meta.url) {
       throw new Error("no database");
     }
     export class Handler extends StreamRequestHandler {
       static moduleUrl = import.meta.url;
     }`,
  );
  for (const mode of ["threading", "forking", "pool"]) {
    const permissions = mode === "forking" ? ["--child-permissions", `--config=${CONFIG}`] : [];
    await using tool = new Tool([path, ...TCP, "--mode", mode, ...permissions]);
    const { code, stdout, stderr } = await tool.result;
    assertEquals(code, 1, stderr);
    assertMatch(stdout, /^Listening on \S+ \(tcp, \w+\)\n$/);
    assertMatch(
      stderr.trimEnd().split("\n").at(-1)!,
      /^Cannot load handler "Handler" from .*no database/,
    );
  }
});

Deno.test("fault 19: cli --stats serves on when standard error is closed", async () => {
  await using child = new Deno.Command(Deno.execPath(), {
    args: runArgs(CLI, ["-A"], [HANDLERS, "--class", "UpperHandler", ...TCP, "--stats=20"]),
    cwd: FOLDER,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const [, where] = await Promise.all([child.stderr.cancel(), listening(child.stdout)]);
  for (let n = 0; n < 5; n++) {
    assertEquals(await exchange(where, "still here\n"), "STILL HERE\n");
    await new Promise((resolve) => setTimeout(resolve, 30)); // one more line of counters
  }
  child.kill("SIGTERM");
  assertEquals((await child.status).code, 0);
});

/** Serves a handler that fails when it is told to, and leaves it to the test to read standard error. */
async function serveFailing(...options: string[]): Promise<Deno.ChildProcess> {
  return new Deno.Command(Deno.execPath(), {
    args: runArgs(CLI, ["-A", "--no-check"], [await failingModule(), ...TCP, ...options]),
    cwd: FOLDER,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

Deno.test("fault 19: cli --mode threading serves and drains while nobody reads standard error", async () => {
  await using child = await serveFailing("--mode", "threading");
  const where = await listening(child.stdout);
  // A pipe holds 64 KiB, and 256 Ki characters may wait; each line has more than 4 KiB.
  for (let n = 0; n < 150; n++) assertEquals(await exchange(where, "fail\n"), "");
  assertEquals(await exchange(where, "still here\n"), "still here\n");
  child.kill("SIGTERM");
  const { code } = await child.status;
  await child.stderr.cancel();
  assertEquals(code, 0);
});

Deno.test("fault 19: cli says how many lines were lost when standard error is read again", async () => {
  await using child = await serveFailing();
  const where = await listening(child.stdout);
  for (let n = 0; n < 150; n++) assertEquals(await exchange(where, "fail\n"), "");
  let [lost, shown] = [0, 0];
  const lines = child.stderr.pipeThrough(new TextDecoderStream());
  let read = "";
  for await (const chunk of lines) {
    read += chunk;
    lost = Number(/^WARN Log lines lost, as nobody read them: (\d+)$/m.exec(read)?.[1] ?? 0);
    if (lost > 0) break;
  }
  shown = read.match(/^ERROR /gm)!.length;
  assertEquals(lost + shown, 150);
  child.kill("SIGTERM");
  assertEquals((await child.status).code, 0);
});

/** A module with a handler that answers a line, or fails with nearly as much as fits into a line of the log. */
async function failingModule(): Promise<string> {
  return await moduleOf(
    `import { StreamRequestHandler } from "@netkit/socketserver";
     export class Handler extends StreamRequestHandler {
       override async handle() {
         const line = new TextDecoder().decode(await this.rfile.readline());
         if (line === "fail\\n") throw new Error("x".repeat(4000));
         await this.wfile.write(line);
       }
     }`,
  );
}

/** Where a server listens, as the first line of its output says. */
async function listening(stdout: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<SocketAddress> {
  let read = "";
  for await (const chunk of stdout.pipeThrough(new TextDecoderStream())) {
    const [, port] = /^Listening on 127.0.0.1:(\d+) .*\n/.exec(read += chunk) ?? [];
    if (port !== undefined) return { transport: "tcp", hostname: "127.0.0.1", port: Number(port) };
  }
  throw new Error(`it does not listen: ${read}`);
}
