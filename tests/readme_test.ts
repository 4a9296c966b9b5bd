/**
 * That what the README says is so: each name, each link, and each figure of it.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { ConcurrentTCPServer, ForkingTCPServer, ThreadingTCPServer } from "@netkit/socketserver";
import { DRAIN_TIMEOUT } from "../src/base/options.ts";
import { ratioOf } from "./bench/figures.ts";
import { draw, summaryOf } from "./bench/picture.ts";
import type { Report } from "./bench/report.ts";

const root = new URL("../", import.meta.url);

function read(file: string): string {
  return Deno.readTextFileSync(new URL(file, root));
}

const readme = read("README.md");
const prose = readme.replace(/^```.*?^```/gms, "");
const inCode = [...prose.matchAll(/`` (.+?) ``|`([^`]+)`/g)].map(([, two, one]) => two ?? one!);

/** The files of a folder and of those in it, as paths from the root. */
function filesIn(folder: string): string[] {
  return [...Deno.readDirSync(new URL(folder, root))].flatMap(({ name, isDirectory }) =>
    isDirectory ? filesIn(`${folder}${name}/`) : [`${folder}${name}`]
  );
}

/** The words of a text that may be names. */
function wordsOf(text: string): string[] {
  return text.match(/[A-Za-z_]\w{2,}/g) ?? [];
}

Deno.test("Each name in the README is one of the package, of the repository, or of Deno", () => {
  const files = [...filesIn("src/"), ...filesIn(".ci/"), ...filesIn("examples/"), "deno.json"];
  const known = new Set([
    // Not the comments, in which names outlive what they are of
    ...files.flatMap((file) => wordsOf(read(file).replace(/^ *\/?\*.*$|(?<!:)\/\/ .*$/gm, ""))),
    ...[...files, ...filesIn("tests/"), ...filesIn(".github/"), "mod.ts"].flatMap(wordsOf),
    ...Object.getOwnPropertyNames(globalThis),
    ...[...Object.getOwnPropertyNames(Deno), "Conn"],
    // What is said, what Python has, and what users call their own
    ...["node", "npx", "yes", "sum", "YourServer", "MyServer", "NAME", "name", "data", "text"],
    ...["recv", "socketserver", "docs", "Chat", "task"],
  ]);
  assert(inCode.length > 100);
  assertEquals(inCode.flatMap(wordsOf).filter((word) => !known.has(word)), []);
});

Deno.test("Each link in the README leads to a file, and each task of it is there", () => {
  const targets = [...prose.matchAll(/\]\(\.\/([^)]+)\)/g)].map(([, path]) => path!);
  assert(targets.length >= 5);
  for (const path of targets) Deno.statSync(new URL(path, root));
  const { tasks } = JSON.parse(read("deno.json"));
  for (const [, task] of prose.matchAll(/deno task ([\w:]+)/g)) assert(task! in tasks, task);
});

/** The rows of the README's table that begins with a heading, as their cells. */
function rowsBelow(heading: string): string[][] {
  const [, table] = readme.split(new RegExp(`^\\| ${heading} .*\\n.*\\n`, "m"));
  const lines = table!.split(/\n(?!\|)/)[0]!.split("\n");
  return lines.map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim()));
}

const report = JSON.parse(read("tests/bench/results.json")) as Report;

Deno.test("The README's figures are those of the benchmark, and so are its pictures", () => {
  const loads = ["visit-32", "compute", "lines-32", "echo-32", "bulk-8"];
  const ratios = loads.map((name) => {
    const { results } = report.loads.find((load) => load.name === name)!;
    const of = (name: string) => results.find(({ contender }) => contender === name)!;
    return ["threading", "pool-2", "deno-bare"].map((contender) =>
      ratioOf(of(contender), of("python-threading"), false).figure.toFixed(2)
    );
  });
  assertEquals(rowsBelow("Load").map(([, ...cells]) => cells), ratios);
  assertEquals(read("tests/bench/summary.svg"), draw(summaryOf(report)));
  assertEquals(read("tests/bench/results.svg"), draw(report));
});

Deno.test("The README's limits are the defaults", () => {
  const [, concurrent, threading, , forking] = rowsBelow("Mix-in").map((cells) => cells.at(-1));
  const { maxConnections } = ConcurrentTCPServer;
  assertEquals(concurrent, `\`maxConnections\`, ${maxConnections}`);
  assertEquals(threading, "`maxThreads`, 4 per core, 16 or more");
  assertEquals(ThreadingTCPServer.maxThreads, Math.max(4 * navigator.hardwareConcurrency, 16));
  assertEquals(forking, `\`maxChildren\`, ${ForkingTCPServer.maxChildren}`);
  assertEquals(DRAIN_TIMEOUT, 10_000); // "gives requests 10 s"
  const [version] = /^\d+\.\d+/.exec(JSON.parse(read("deno.json")).version)!;
  assertStringIncludes(readme, `This is version ${version}:`);
});
