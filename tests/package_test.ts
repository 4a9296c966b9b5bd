/**
 * What is published, and that the files about the package agree with it.
 *
 * @module
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { dirname, join } from "node:path";
import { text } from "./harness.ts";
import { publishedPackage } from "./registry.ts";

const root = new URL("../", import.meta.url);

/** The files that go into the package beside the modules of `src/`. */
const FILES = ["CHANGELOG.md", "LICENSE", "README.md", "deno.json", "mod.ts"];

/** The part of `deno.json` that is looked at. */
interface Config {
  name: string;
  version: string;
  license: string;
  exports: Record<string, string>;
  imports: Record<string, string>;
}

function read(file: string): string {
  return Deno.readTextFileSync(new URL(file, root));
}

/** The modules below a folder, as paths from the root. */
function modulesOf(folder: string): string[] {
  return [...Deno.readDirSync(new URL(folder, root))].flatMap(({ name, isDirectory }) => {
    const path = `${folder}${name}`;
    if (isDirectory) return modulesOf(`${path}/`);
    return path.endsWith(".ts") ? [path] : [];
  });
}

/** A module as `deno info` knows it. */
interface Module {
  specifier: string;
  /** What it imports; for its types alone where there is no `code`. */
  dependencies?: { code?: { specifier: string } }[];
}

/** What a module imports. */
function importsOf(source: string): string[] {
  // Doc comments go first: the examples in them import what a user does.
  const code = source.replace(/^\s*\/?\*.*$/gm, "");
  return Array.from(
    code.matchAll(/\b(?:from |import\()"([^"$]+)"/g),
    ([, specifier]) => specifier!,
  );
}

const config = JSON.parse(read("deno.json")) as Config;

Deno.test("deno publish takes the entry points, all modules of src/ and what describes them, and no more", async () => {
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["publish", "--dry-run", "--allow-dirty", "--no-check"], // `deno check` has its own place
    cwd: root.pathname,
    env: { NO_COLOR: "1" },
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).output();
  const output = text(stderr);
  assertEquals(code, 0, output);
  const listed = [...output.matchAll(/^\s+(file:\S+) \(.*\)$/gm)].map(([, url]) =>
    url!.slice(root.href.length)
  );
  assertEquals(listed.sort(), [...FILES, ...modulesOf("src/")].sort());
  // A handler's module is the user's, which nobody can look into beforehand.
  const warnings = [...output.matchAll(/^warning\[([\w-]+)\]/gm)].map(([, name]) => name);
  assertEquals(new Set(warnings), new Set(["unanalyzable-dynamic-import"]), output);
});

Deno.test("deno publish sends those files, with imports that need no import map", async () => {
  const { files } = await publishedPackage();
  assertEquals([...files.keys()].sort(), [...FILES, ...modulesOf("src/")].sort());
  for (const path of files.keys()) {
    if (!path.endsWith(".ts")) continue;
    for (const specifier of importsOf(text(files.get(path)!))) {
      assertMatch(
        specifier,
        /^(\.{1,2}\/[\w./]+\.ts|jsr:@std\/(log|cli)@[^/]+(\/\w+)?|node:\w+)$/,
        path,
      );
    }
  }
});

Deno.test("deno.json exports modules that exist", () => {
  for (const path of Object.values(config.exports)) {
    assert(Deno.statSync(new URL(path, root)).isFile, path);
  }
});

Deno.test("deno.json imports packages of @std alone", () => {
  for (const [name, specifier] of Object.entries(config.imports)) {
    assertMatch(specifier, new RegExp(`^jsr:${name}@\\^[0-9.]+$`));
    assertMatch(name, /^@std\/(assert|cli|log)$/);
  }
});

Deno.test("mod.ts and src/ import nothing but each other, @std/log, @std/cli and node: built-ins", () => {
  for (const path of ["mod.ts", ...modulesOf("src/")]) {
    for (const specifier of importsOf(read(path))) {
      assertMatch(specifier, /^(\.{1,2}\/[\w./]+\.ts|@std\/(log|cli)(\/\w+)?|node:\w+)$/, path);
    }
  }
});

Deno.test("LICENSE is the licence that deno.json names", () => {
  assertStringIncludes(read("LICENSE"), `${config.license} License`);
});

Deno.test("CHANGELOG.md has a section for the version of deno.json, or for what will be that", () => {
  const changelog = read("CHANGELOG.md");
  const isReleased = changelog.includes(`\n## [${config.version}]`);
  assert(isReleased || changelog.includes(`What will be ${config.version}.`), config.version);
});

Deno.test("README.md names the package, and one version of Deno in all its commands", () => {
  const readme = read("README.md");
  assertStringIncludes(readme, `jsr:${config.name}`);
  const versions = [...readme.matchAll(/deno@([\d.]+)/g)].map(([, version]) => version);
  assertEquals(new Set(versions).size, 1, versions.join(", "));
});

/** What Python's `socketserver` has, documented or in use: its classes, their members and settings. */
const PYTHON_NAMES = `
  BaseServer TCPServer UDPServer UnixStreamServer UnixDatagramServer ForkingMixIn ThreadingMixIn
  ForkingTCPServer ForkingUDPServer ForkingUnixStreamServer ForkingUnixDatagramServer
  ThreadingTCPServer ThreadingUDPServer ThreadingUnixStreamServer ThreadingUnixDatagramServer
  BaseRequestHandler StreamRequestHandler DatagramRequestHandler
  fileno handle_request serve_forever service_actions shutdown server_close __enter__ __exit__
  address_family RequestHandlerClass server_address socket allow_reuse_address allow_reuse_port
  request_queue_size socket_type timeout bind_and_activate max_packet_size
  finish_request get_request handle_error handle_timeout process_request server_activate server_bind
  verify_request shutdown_request close_request process_request_thread
  daemon_threads block_on_close max_children active_children collect_children
  setup handle finish request client_address server connection rfile wfile rbufsize wbufsize
  disable_nagle_algorithm packet
`.trim().split(/\s+/);

/** The words that stand as code in a text, or as links to it. */
function codeWords(text: string): Set<string> {
  const code = [...text.matchAll(/(?:`|\{@linkcode )([^`\n}]+)[`}]/g)].map(([, code]) => code!);
  return new Set(code.flatMap((code) => code.match(/\w+/g) ?? []));
}

Deno.test("mod.ts tells of every name of Python's socketserver", () => {
  const [doc = ""] = read("mod.ts").split("*/");
  const words = codeWords(doc);
  assertEquals(PYTHON_NAMES.filter((name) => !words.has(name)), []);
});

Deno.test("README.md has every server class of ours", () => {
  const servers = new Set(read("mod.ts").match(/\b\w+(?<!Any)Server\b/g));
  assertEquals(servers.size, 23);
  const words = codeWords(read("README.md"));
  assertEquals([...servers].filter((name) => !words.has(name)), []);
});

Deno.test("README.md has at most 200 lines", () => {
  const { length } = read("README.md").trimEnd().split("\n");
  assert(length <= 200, `${length} lines`);
});

/**
 * The folders of `src/`, ground first, and where the entry points stand. A module may import from its own folder and
 * from those before it, for types as well.
 */
const FLOORS = [
  ...["base", "sockets", "channel", "core", "workers", "families", "pool", "servers"],
  ...["testing", "mod.ts", "cli"],
];

/** The modules of this package that each of its modules imports. */
function importGraph(): Map<string, string[]> {
  const graph = new Map<string, string[]>();
  for (const path of ["mod.ts", ...modulesOf("src/")]) {
    const relative = importsOf(read(path)).filter((specifier) => specifier.startsWith("."));
    graph.set(path, relative.map((specifier) => join(dirname(path), specifier)));
  }
  return graph;
}

Deno.test("the modules are in folders, which import only from folders below them", () => {
  const floorOf = (path: string) =>
    FLOORS.indexOf(path.split("/").at(path.startsWith("src/") ? 1 : 0)!);
  for (const [path, imports] of importGraph()) {
    assert(floorOf(path) >= 0, `"${path}" is in none of the folders`);
    for (const imported of imports) {
      assert(floorOf(imported) <= floorOf(path), `"${path}" imports upwards, from "${imported}"`);
    }
  }
});

Deno.test("no modules import each other in a circle", () => {
  const graph = importGraph();
  const done = new Set<string>();
  const visit = (path: string, trail: string[]) => {
    assert(!trail.includes(path), `a circle: ${[...trail, path].join(" → ")}`);
    if (done.has(path)) return;
    for (const imported of graph.get(path)!) visit(imported, [...trail, path]);
    done.add(path);
  };
  for (const path of graph.keys()) visit(path, []);
});

Deno.test("what runs in subprocesses imports nothing of the import map, which theirs need not have", async () => {
  const entry = new URL("src/workers/process/process_main.ts", root).href;
  const { stdout } = await new Deno.Command(Deno.execPath(), { args: ["info", "--json", entry] })
    .output();
  const { modules } = JSON.parse(text(stdout)) as { modules: Module[] };
  const loaded = new Set([entry]);
  for (const specifier of loaded) { // it grows meanwhile
    const module = modules.find((module) => module.specifier === specifier);
    for (const { code } of module?.dependencies ?? []) if (code) loaded.add(code.specifier);
  }
  const foreign = [...loaded].filter((specifier) => !/^(node:|.*\/src\/)/.test(specifier));
  assert(loaded.size > 10);
  assertEquals(foreign, []);
});
