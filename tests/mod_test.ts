/**
 * What the package exports, and that all of it is documented.
 *
 * @module
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import * as mod from "@netkit/socketserver";
import { CONFIG, connect, exchangeOn, text } from "./harness.ts";
import { moduleOf, Program, ROOT, runArgs } from "./program.ts";

/** The classes and functions. */
const VALUES = [
  "BaseRequestHandler",
  "BaseServer",
  "BufferedReader",
  "BufferedWriter",
  "ConcurrentMixIn",
  "ConcurrentTCPServer",
  "ConcurrentTLSServer",
  "ConcurrentUDPServer",
  "ConcurrentUnixDatagramServer",
  "ConcurrentUnixStreamServer",
  "DatagramRequestHandler",
  "DatagramSocket",
  "DatagramTooLongError",
  "ForkingMixIn",
  "ForkingTCPServer",
  "ForkingTLSServer",
  "ForkingUDPServer",
  "ForkingUnixDatagramServer",
  "ForkingUnixStreamServer",
  "HandlerLoadError",
  "IncompleteReadError",
  "LineTooLongError",
  "PoolTCPServer",
  "PoolTLSServer",
  "ServerExit",
  "StreamRequestHandler",
  "StreamSocket",
  "TCPServer",
  "TLSHandshakeError",
  "TLSServer",
  "ThreadingMixIn",
  "ThreadingTCPServer",
  "ThreadingTLSServer",
  "ThreadingUDPServer",
  "ThreadingUnixDatagramServer",
  "ThreadingUnixStreamServer",
  "UDPServer",
  "WorkerDiedError",
  "UnixDatagramServer",
  "UnixStreamServer",
  "formatAddress",
  "formatBytes",
  "formatText",
  "runHandler",
];

/** The types. */
const TYPES = [
  "AddressFamily",
  "AnyServer",
  "BufferedReaderOptions",
  "BufferedWriterOptions",
  "CallArguments",
  "CallName",
  "CallResult",
  "Callable",
  "ClientAddress",
  "ConcurrencyOptions",
  "Concurrent",
  "Constructor",
  "DatagramRequest",
  "DatagramTransport",
  "DrainOptions",
  "DrainResult",
  "Forking",
  "ForkingOptions",
  "InetAddress",
  "ListenAddress",
  "MixedIn",
  "PoolOptions",
  "PoolTCPServerOptions",
  "PoolTLSServerOptions",
  "Pooled",
  "ReadSource",
  "RemoteHandlerClass",
  "RequestHandler",
  "RequestHandlerClass",
  "RequestHandlerFunction",
  "RequestHandlerLike",
  "ServeOptions",
  "ServerLogger",
  "ServerOptions",
  "ServerSocket",
  "ServerState",
  "ServerStats",
  "ServerView",
  "SocketAddress",
  "SocketType",
  "SocketFileOptions",
  "StreamTransport",
  "TCPAddr",
  "TCPServerOptions",
  "TLSServerOptions",
  "Threading",
  "ThreadingMode",
  "ThreadingOptions",
  "UDPAddr",
  "UDPServerOptions",
  "WorkerStats",
  "WorkerStatus",
  "UnixAddress",
  "UnixDatagramAddr",
  "UnixDatagramServerOptions",
  "UnixStreamAddr",
  "UnixStreamServerOptions",
  "WriteSink",
];

/** What the other entry points have: `./cli` and `./testing`. */
const OTHERS = [
  "main",
  ...["InMemory", "MemoryClient", "MemoryMembers", "MemoryMixIn", "TestRun", "serveInTest"],
];

const entry = new URL("../mod.ts", import.meta.url);
/** What a program may import of the package. */
const ENTRIES = Object.values(
  (JSON.parse(Deno.readTextFileSync(CONFIG)) as { exports: Record<string, string> }).exports,
);

/** The part of `deno doc --json` that is looked at. */
interface Documentation {
  nodes: Record<string, { module_doc?: JSDoc; symbols: DocumentedSymbol[] }>;
}
interface DocumentedSymbol {
  name: string;
  declarations: { kind: string; jsDoc?: JSDoc }[];
}
interface JSDoc {
  doc?: string;
  tags?: { kind: string; doc?: string }[];
}

async function denoDoc(flag: string): Promise<{ code: number; stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["doc", flag, ...ENTRIES],
    cwd: ROOT,
    env: { NO_COLOR: "1" },
    stdin: "null",
  }).output();
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

/** What `deno doc` says of the entry points; asked before the tests. */
const { nodes } = JSON.parse((await denoDoc("--json")).stdout) as Documentation;
const documentation = Object.values(nodes);
const symbols = documentation.flatMap(({ symbols }) => symbols);

/** The texts of the examples of a doc comment. */
function examplesOf({ tags = [] }: JSDoc = {}): string[] {
  return tags.filter(({ kind }) => kind === "example").map(({ doc = "" }) => doc);
}

Deno.test("mod.ts exports exactly the classes and functions that are meant to be public", () => {
  assertEquals(Object.keys(mod).sort(), [...VALUES].sort());
});

Deno.test("mod.ts exports exactly the types that are meant to be public", async () => {
  const source = await Deno.readTextFile(entry);
  const names = [...source.matchAll(/^export (type )?\{([^}]*)\}/gm)].flatMap(
    ([, allTypes, list]) =>
      list!.split(",").map((item) => item.trim()).filter((item) => item !== "").map((item) => {
        const isType = allTypes !== undefined || item.startsWith("type ");
        return { name: item.replace(/^type /, "").replace(/^\w+ as /, ""), isType };
      }),
  );
  const named = (isType: boolean) =>
    names.filter((each) => each.isType === isType).map(({ name }) => name).sort();
  assertEquals(named(true), [...TYPES].sort());
  assertEquals(named(false), [...VALUES].sort());
});

Deno.test("mod.ts has nothing but its doc comment and export lists", async () => {
  const source = await Deno.readTextFile(entry);
  const rest = source.replace(/^\/\*\*.*?\*\//s, "").replace(
    /^export (type )?\{[^}]*\} from "\.\/src\/[\w/]+\.ts";$/gm,
    "",
  );
  assertEquals(rest.trim(), "");
});

Deno.test("Each entry point has a doc comment with an example", () => {
  assertEquals(documentation.length, ENTRIES.length);
  for (const { module_doc } of documentation) {
    assert(module_doc?.doc, "no module documentation");
    const examples = [module_doc.doc, ...examplesOf(module_doc)];
    assert(examples.some((example) => example.includes("```")), module_doc.doc);
  }
});

Deno.test("Each export has a doc comment", () => {
  assertEquals(symbols.map(({ name }) => name).sort(), [...VALUES, ...TYPES, ...OTHERS].sort());
  const bare = symbols.filter(({ declarations }) => declarations.some(({ jsDoc }) => !jsDoc?.doc));
  assertEquals(bare.map(({ name }) => name), []);
});

Deno.test("Each class and function that is exported has an example", () => {
  const without = symbols.filter(({ declarations }) =>
    declarations.some(({ kind }) => kind === "class" || kind === "function") &&
    !declarations.some(({ jsDoc }) => examplesOf(jsDoc).some((text) => text.includes("```ts")))
  );
  assertEquals(without.map(({ name }) => name), []);
});

Deno.test("Each class and function that is exported has a category in the docs", () => {
  const without = symbols.filter(({ declarations }) =>
    declarations.some(({ kind, jsDoc }) =>
      ["class", "function", "variable"].includes(kind) &&
      !jsDoc?.tags?.some(({ kind }) => kind === "category")
    )
  );
  assertEquals(without.map(({ name }) => name), []);
});

/** The programs in a text: the blocks that do nothing when they are imported, as `deno test --doc` does. */
function programsIn(markdown: string): string[] {
  return [...markdown.matchAll(/^```ts\n(.*?)^```/gms)].map(([, code]) => code!)
    .filter((code) => code.includes("import.meta.main"));
}

/** A program that also says where it listens, which is where nobody else does. */
function listening(program: string): string {
  return program.replace(/port: \d+/, "port: 0").replace(
    "await server.serveForever();",
    `const { formatAddress } = await import("@netkit/socketserver");
      console.log(\`Listening on \${formatAddress(server.serverAddress)}\`);
      await server.serveForever();`,
  );
}

const PROGRAMS = [
  ["README.md", Deno.readTextFileSync(`${ROOT}README.md`)] as const,
  ...symbols.flatMap(({ name, declarations }) =>
    declarations.flatMap(({ jsDoc }) => examplesOf(jsDoc)).map((doc) => [name, doc] as const)
  ),
].flatMap(([name, doc]) => programsIn(doc).map((program) => [name, program] as const));

Deno.test("The examples have a program of each way to run handlers elsewhere", () => {
  const names = PROGRAMS.map(([name]) => name);
  const elsewhere = ["ForkingMixIn", "ForkingTCPServer", "ThreadingMixIn", "ThreadingTCPServer"];
  const others = ["PoolTCPServer", "README.md", "README.md", "ServerView"];
  assertEquals(names.sort(), [...elsewhere, ...others].sort());
});

for (const [name, program] of PROGRAMS) {
  Deno.test(`The program in the documentation of ${name} answers a client`, async () => {
    const module = await moduleOf(listening(program));
    await using running = new Program(runArgs(module, ["-A"], []));
    const answer = await exchangeOn(await connect(await running.address()), "7\n");
    // An echo, itself in upper case, the sum so far, some prime numbers, the number of a process, or a greeting.
    assertMatch(answer, /^(7\n?|2 3 5 7\n|\d+\n|Hello, guest 1\n)$/);
    assertEquals(running.stderr, "");
  });
}

Deno.test("deno doc --lint finds no undocumented member and no private type", async () => {
  const { code, stderr } = await denoDoc("--lint");
  assertEquals(code, 0, stderr);
});
