/**
 * The report: tables for people, and what `results.json` says of the machine.
 *
 * @module
 */
import { CONTENDERS, output, type Tools } from "./contenders.ts";
import type { Ratio } from "./figures.ts";
import type { Reached } from "./goals.ts";
import { LOADS } from "./loads.ts";
import type { LoadResult } from "./measure.ts";

/** The content of `results.json`. */
export interface Report {
  date: string;
  machine: { processor: string; cores: number; memory: string; system: string };
  versions: Record<string, string>;
  /** "C", or "Deno" where no compiler is. */
  generator: string;
  rounds: number;
  /** How long each took. */
  seconds: number;
  /** What else the machine did: the load average of the last minute, before and after. */
  loadAverage: number[];
  loads: LoadResult[];
}

/** The machine, in the words of the system. */
export async function describeMachine(): Promise<Report["machine"]> {
  const info = Deno.build.os === "linux" ? await Deno.readTextFile("/proc/cpuinfo") : "";
  return {
    processor: /^model name\s*: (.*)$/m.exec(info)?.[1] ?? Deno.build.arch,
    cores: navigator.hardwareConcurrency,
    memory: `${Math.round(Deno.systemMemoryInfo().total / 2 ** 30)} GiB`,
    system: `${Deno.build.os} ${Deno.osRelease()}`,
  };
}

/** The versions of what is measured. */
export async function versionsOf(tools: Tools): Promise<Report["versions"]> {
  const versions: Record<string, string> = { Deno: Deno.version.deno };
  for (const [name, path] of Object.entries({ Node: tools.node, Bun: tools.bun })) {
    const said = path === undefined ? null : await output(path, "--version");
    if (said !== null) versions[name] = said.replace(/^v/, "");
  }
  const python = tools.python === undefined ? null : await output(tools.python, "--version");
  if (python !== null) versions.Python = python.replace("Python ", "");
  const compiler = tools.cc === undefined ? null : await output(tools.cc, "--version");
  if (compiler !== null) versions.C = compiler.split("\n")[0]!;
  return versions;
}

/** A contender in words. */
export function titleOf(name: string): string {
  const contender = CONTENDERS.find((each) => each.name === name);
  return contender?.group === "ours" ? `ours, ${contender.title}` : contender?.title ?? name;
}

/** A figure as people read it. */
export function format(figure: number): string {
  if (figure >= 100) return Math.round(figure).toLocaleString("en");
  if (figure >= 10) return figure.toFixed(1);
  return figure.toFixed(figure >= 0.1 ? 2 : 3);
}

/** Processor time, given in microseconds. */
export function formatTime(microseconds: number): string {
  if (microseconds < 1000) return `${microseconds.toPrecision(3)} µs`;
  if (microseconds < 1e6) return `${(microseconds / 1000).toPrecision(3)} ms`;
  return `${(microseconds / 1e6).toPrecision(3)} s`;
}

/** The table of one load. */
export function tableOf(result: LoadResult): string {
  const ceiling = result.ceiling === null
    ? ""
    : `; the load generator could do ${format(result.ceiling)}`;
  const lines = [`${result.name}: ${result.title}, ${result.detail} (${result.unit}${ceiling})`];
  const cells = result.results.map((figures) => {
    const ratios = result.ratios.filter(({ contender }) => contender === figures.contender)
      .map((ratio) => `${formatRatio(ratio)} of ${titleOf(ratio.other)}`);
    return [
      titleOf(figures.contender),
      format(figures.median),
      `${format(Math.min(...figures.rounds))}–${format(Math.max(...figures.rounds))}`,
      figures.processor === null ? "" : formatTime(figures.processor),
      ratios.join("; ") + (figures.lost === undefined ? "" : `; ${figures.lost} lost`),
    ];
  });
  lines.push(
    ...align([["", "median", "range", "processor", "ratio (by processor time)"], ...cells]),
  );
  for (const { contender, reason } of result.missing) {
    lines.push(`  ${titleOf(contender)}: – (${reason})`);
  }
  for (const { contender, reason } of result.failed) {
    lines.push(`  ${titleOf(contender)}: FAILED: ${reason}`);
  }
  return lines.join("\n");
}

function formatRatio({ figure, processor }: Ratio): string {
  return processor === null ? figure.toFixed(2) : `${figure.toFixed(2)} (${processor.toFixed(2)})`;
}

/** A goal in words. */
export function goalText({ load, contender, against, by }: Reached): string {
  const unit = by === "value" ? " " + LOADS.find(({ name }) => name === load)?.unit : "";
  const processor = by === "processor" ? ", processor time" : "";
  return `${load}: ${titleOf(contender)} to ${titleOf(against)}${unit}${processor}`;
}

/** What was reached of the goals, the shortest first. */
export function goalsOf(reached: readonly Reached[]): string {
  const ordered = reached.toSorted((a, b) => a.ratio / a.atLeast - b.ratio / b.atLeast);
  const cells = ordered.map((goal) => [
    goalText(goal),
    format(goal.ratio),
    `>= ${goal.atLeast}`,
    goal.ratio >= goal.atLeast ? "reached" : "SHORT",
  ]);
  return ["Goals", ...align(cells)].join("\n");
}

function align(rows: readonly string[][]): string[] {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => row[column]!.length))
  );
  return rows.map((row) =>
    "  " + row.map((cell, column) => cell.padEnd(widths[column]!)).join("  ").trimEnd()
  );
}
