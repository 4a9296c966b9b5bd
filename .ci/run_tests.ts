/**
 * Runs all tests and the examples of all docs, as `deno test -A --doc` does, but in two processes side by side, each
 * of which runs a few files at a time. `deno test --parallel` is no way to that: it runs tests side by side in one
 * process, whose signals, descriptors and environment they share.
 *
 * A part that passes is one line; of one that fails everything is shown, and its line again at the end.
 *
 * Run: `deno task test`; with arguments it is one `deno test -A --doc`, which takes them
 *
 * @module
 */

import { stripVTControlCharacters } from "node:util";

/** How many parts run at a time. */
const SIDE_BY_SIDE = 2;
/** How many parts the files with tests make. */
const SHARDS = 40;

/** A part of the tests. */
interface Part {
  /** What it is called until it has told which files it runs. */
  name: string;
  /** The arguments of `deno test`. */
  args: string[];
}

/** What `deno test` says of a file that exits while it loads; for all that, it counts none of its tests and is content. */
const EXITED = /^note .* called `Deno\.exit\(/m;

const TYPES: Part = { name: "types of all", args: ["--doc", "--no-run"] };
/** The parts that are left; none but the first looks at types. */
const parts: Part[] = [
  TYPES,
  {
    name: "examples of docs",
    args: ["--doc", "--no-check", "--permit-no-files", "--ignore=tests"],
  },
];
for (let shard = 1; shard <= SHARDS; shard++) {
  const name = `${shard}/${SHARDS}`;
  parts.push({ name, args: ["--no-check", `--shard=${name}`] });
}
const running = new Set<Deno.ChildProcess>();
/** The lines of the parts that have failed. */
const failed: string[] = [];
/** The sums of what the summaries count. */
const counts = { passed: 0, failed: 0, ignored: 0 };
const started = performance.now();
let wasStopped = false;

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.addSignalListener(signal, () => {
    wasStopped = true;
    parts.length = 0;
    for (const child of running) stop(child);
  });
}

/** Stops a part as Ctrl-C does, so that it says which test it was at. */
function stop(child: Deno.ChildProcess): void {
  try {
    child.kill("SIGINT");
  } catch {
    // It has ended.
  }
}

function start(args: string[], output: "inherit" | "piped"): Deno.ChildProcess {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["test", "-A", ...args],
    stdin: "null",
    stdout: output,
    stderr: output,
  }).spawn();
  running.add(child);
  return child;
}

/** The time since `start`, as `deno test` writes it. */
function timeSince(start: number): string {
  const seconds = Math.round((performance.now() - start) / 1000);
  return seconds < 60 ? `${seconds}s` : `${Math.floor(seconds / 60)}m${seconds % 60}s`;
}

/** All text of a stream, which also goes into a list as it comes. */
async function textOf(stream: ReadableStream<Uint8Array<ArrayBuffer>>, list: string[]) {
  let text = "";
  for await (const chunk of stream.pipeThrough(new TextDecoderStream())) {
    list.push(chunk);
    text += chunk;
  }
  return text;
}

/** Runs a part, adds to the counts, and prints its line. */
async function run(part: Part): Promise<void> {
  const started = performance.now();
  const child = start(part.args, "piped");
  const output: string[] = [];
  const [status, stdout] = await Promise.all([
    child.status,
    textOf(child.stdout, output),
    textOf(child.stderr, output),
  ]);
  running.delete(child);

  const plain = stripVTControlCharacters(stdout);
  const files = [...plain.matchAll(/^running .* from \.\/(tests\/.*)$/gm)].map(([, file]) => file);
  // The last one, as a test may print such a line.
  const [, summary = ""] = [...plain.matchAll(/^(?:ok|FAILED) \| (.*) \(.+\)$/gm)].at(-1) ?? [];
  for (const kind of ["passed", "failed", "ignored"] as const) {
    counts[kind] += Number(new RegExp(`(\\d+) ${kind}`).exec(summary)?.[1] ?? 0);
  }
  const isWhole = (part === TYPES || summary !== "") && !EXITED.test(plain);
  const success = status.success && isWhole;
  const outcome = [success ? "ok" : "FAILED", summary].filter((text) => text !== "").join(" | ");
  const line = `${files.join(" ") || part.name} ... ${outcome} (${timeSince(started)})`;
  if (success) return console.log(line);
  failed.push(line);
  console.log(`${output.join("")}\n${line}`);
  if (part === TYPES) parts.length = 0; // `deno test` would not run them
}

if (Deno.args.length > 0) {
  const { code } = await start(["--doc", ...Deno.args], "inherit").status;
  Deno.exit(code);
}
await Promise.all(Array.from({ length: SIDE_BY_SIDE }, async () => {
  for (let part = parts.shift(); part !== undefined; part = parts.shift()) await run(part);
}));
if (failed.length > 0) console.log(`\n${failed.join("\n")}`);
const sums = [`${counts.passed} passed`, `${counts.failed} failed`, `${counts.ignored} ignored`];
const outcome = failed.length === 0 ? "ok" : "FAILED";
console.log(`\n${[outcome, ...sums].join(" | ")} (${timeSince(started)})`);
Deno.exit(wasStopped ? 130 : failed.length === 0 ? 0 : 1);
