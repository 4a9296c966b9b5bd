/**
 * What the package exports, and that all of it is documented.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import * as mod from "@netkit/socketserver";
import { text } from "./harness.ts";

/** The classes and functions. */
const VALUES = [
  "BaseRequestHandler",
  "BaseServer",
  "BufferedReader",
  "BufferedWriter",
  "ConcurrentMixIn",
  "ConcurrentTCPServer",
  "ConcurrentTCPServerBase",
  "ConcurrentTLSServer",
  "ConcurrentTLSServerBase",
  "ConcurrentUDPServer",
  "ConcurrentUDPServerBase",
  "ConcurrentUnixDatagramServer",
  "ConcurrentUnixDatagramServerBase",
  "ConcurrentUnixStreamServer",
  "ConcurrentUnixStreamServerBase",
  "DatagramRequestHandler",
  "DatagramSocket",
  "DatagramTooLongError",
  "ForkingMixIn",
  "ForkingTCPServer",
  "ForkingTCPServerBase",
  "ForkingTLSServer",
  "ForkingTLSServerBase",
  "ForkingUDPServer",
  "ForkingUDPServerBase",
  "ForkingUnixDatagramServer",
  "ForkingUnixDatagramServerBase",
  "ForkingUnixStreamServer",
  "ForkingUnixStreamServerBase",
  "HandlerLoadError",
  "IncompleteReadError",
  "LineTooLongError",
  "PoolTCPServer",
  "PoolTCPServerBase",
  "PoolTLSServer",
  "PoolTLSServerBase",
  "ServerExit",
  "StreamRequestHandler",
  "StreamSocket",
  "TCPServer",
  "TLSHandshakeError",
  "TLSServer",
  "ThreadingMixIn",
  "ThreadingTCPServer",
  "ThreadingTCPServerBase",
  "ThreadingTLSServer",
  "ThreadingTLSServerBase",
  "ThreadingUDPServer",
  "ThreadingUDPServerBase",
  "ThreadingUnixDatagramServer",
  "ThreadingUnixDatagramServerBase",
  "ThreadingUnixStreamServer",
  "ThreadingUnixStreamServerBase",
  "UDPServer",
  "UnitDiedError",
  "UnixDatagramServer",
  "UnixStreamServer",
  "formatAddress",
  "runHandler",
];

/** The types. */
const TYPES = [
  "AddressFamily",
  "AnyServer",
  "BufferedReaderOptions",
  "BufferedWriterOptions",
  "ConcurrencyOptions",
  "Concurrent",
  "ConcurrentMembers",
  "ConcurrentStatics",
  "Constructor",
  "DatagramRequest",
  "DatagramTransport",
  "DrainOptions",
  "DrainResult",
  "Forking",
  "ForkingMembers",
  "ForkingOptions",
  "ForkingStatics",
  "InetAddress",
  "ListenAddress",
  "PoolMembers",
  "PoolOptions",
  "PoolStatics",
  "PoolTCPServerOptions",
  "PoolTLSServerOptions",
  "Pooled",
  "ReadSource",
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
  "SocketAddress",
  "StreamTransport",
  "TCPAddr",
  "TCPServerOptions",
  "TLSServerOptions",
  "Threading",
  "ThreadingMembers",
  "ThreadingOptions",
  "ThreadingStatics",
  "UDPAddr",
  "UDPServerOptions",
  "UnitStats",
  "UnitStatus",
  "UnixAddress",
  "UnixDatagramAddr",
  "UnixDatagramServerOptions",
  "UnixStreamAddr",
  "UnixStreamServerOptions",
  "WriteSink",
];

const entry = new URL("../mod.ts", import.meta.url);

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
  tags?: { kind: string }[];
}

async function denoDoc(flag: string): Promise<{ code: number; stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["doc", flag, entry.pathname],
    cwd: new URL(".", entry).pathname,
    env: { NO_COLOR: "1" },
    stdin: "null",
  }).output();
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

/** What `deno doc` says of the package; asked before the tests. */
const { nodes } = JSON.parse((await denoDoc("--json")).stdout) as Documentation;
const documentation = Object.values(nodes)[0]!;

function hasTag({ tags = [] }: JSDoc, kind: string): boolean {
  return tags.some((tag) => tag.kind === kind);
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

Deno.test("mod.ts has a doc comment with an example", () => {
  const { module_doc } = documentation;
  assert(module_doc?.doc, "no module documentation");
  const hasExample = hasTag(module_doc, "example") || module_doc.doc.includes("```ts");
  assert(hasExample, "the module documentation has no example");
});

Deno.test("Each export of mod.ts has a doc comment", () => {
  const { symbols } = documentation;
  assertEquals(symbols.map(({ name }) => name).sort(), [...VALUES, ...TYPES].sort());
  const bare = symbols.filter(({ declarations }) => declarations.some(({ jsDoc }) => !jsDoc?.doc));
  assertEquals(bare.map(({ name }) => name), []);
});

Deno.test("Each class and function of mod.ts has an example", () => {
  const { symbols } = documentation;
  const without = symbols.filter(({ declarations }) =>
    declarations.some(({ kind }) => kind === "class" || kind === "function") &&
    !declarations.some(({ jsDoc }) => jsDoc && hasTag(jsDoc, "example"))
  );
  assertEquals(without.map(({ name }) => name), []);
});

Deno.test("deno doc --lint finds no undocumented member and no private type in mod.ts", async () => {
  const { code, stderr } = await denoDoc("--lint");
  assertEquals(code, 0, stderr);
});
