/**
 * Draws `results.json` as `results.svg`, and what the README shows of it as `summary.svg`, for a light and a dark page:
 * `deno run -A tests/bench/picture.ts [FOLDER]`.
 *
 * Four loads stand side by side, a bar for each contender; what is short of its goal stays in, in another colour.
 *
 * @module
 */
import { type Contender, CONTENDERS, pathOf } from "./contenders.ts";
import type { Figures } from "./figures.ts";
import type { Reached } from "./goals.ts";
import { isCost } from "./loads.ts";
import type { LoadResult } from "./measure.ts";
import { format, goalText, type Report } from "./report.ts";

// All in pixels.
const WIDTH = 960;
const MARGIN = 24;
const LABELS = 150;
const PER_STRIP = 4;
const PANEL = (WIDTH - 2 * MARGIN - LABELS) / PER_STRIP;
/** What is kept free at the right of a bar, for its figure. */
const FIGURE = 56;
const BAR = PANEL - FIGURE - 8;
const ROW = 17;
const GROUP_GAP = 7;
const HEADER = 88;
const STRIP_HEADER = 46;
const STRIP_GAP = 26;
const GOAL_COLUMNS = 2;

const FOOTNOTE =
  "Deno.listen, Bun and C echo lines as bytes. To compute, C looks at the clock for 20 ms, the others hash 30 MB. " +
  "C serves datagrams in one loop.";

/** Class names with what they look like in the light, and in the dark. */
const LOOKS: Record<string, readonly [light: string, dark: string]> = {
  page: ["fill:#ffffff", "fill:#0d1117"],
  band: ["fill:#f4f6f8", "fill:#161b22"],
  ours: ["fill:#2563c9", "fill:#58a6ff"],
  others: ["fill:#aab4bf", "fill:#566170"],
  limit: ["fill:#d5dae0;stroke:#8b96a3;stroke-dasharray:3 2", "fill:#2b323b;stroke:#7d8896"],
  range: ["stroke:#1f2328;stroke-opacity:.55", "stroke:#f0f6fc;stroke-opacity:.6"],
  goal: ["stroke:#c2560c;stroke-width:2", "stroke:#f0883e"],
  text: ["fill:#1f2328", "fill:#e6edf3"],
  faint: ["fill:#66707b", "fill:#8d96a0"],
  own: ["fill:#1b4fa3;font-weight:600", "fill:#79b8ff"],
  short: ["fill:#b34a05;font-weight:600", "fill:#f0883e"],
};

const FONTS = `text{font:12px system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif}
.h1{font-size:20px;font-weight:600}.h2{font-size:13px;font-weight:600}.small{font-size:11px}`;

function styles(): string {
  const rules = (which: 0 | 1) =>
    Object.entries(LOOKS).map(([name, looks]) => `.${name}{${looks[which]}}`).join("\n");
  return `<style>\n${FONTS}\n${rules(0)}
@media (prefers-color-scheme:dark){\n${rules(1)}\n}\n</style>`;
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function text(x: number, y: number, classes: string, content: string, end = false): string {
  const anchor = end ? ` text-anchor="end"` : "";
  return `<text x="${fixed(x)}" y="${fixed(y)}" class="${classes}"${anchor}>${
    escape(content)
  }</text>`;
}

function line(x1: number, y1: number, x2: number, y2: number, name: string): string {
  const [a, b, c, d] = [x1, y1, x2, y2].map(fixed);
  return `<line x1="${a}" y1="${b}" x2="${c}" y2="${d}" class="${name}"/>`;
}

function rect(x: number, y: number, width: number, height: number, name: string): string {
  const [a, b, c, d] = [x, y, width, height].map(fixed);
  return `<rect x="${a}" y="${b}" width="${c}" height="${d}" rx="2" class="${name}"/>`;
}

function fixed(number: number): string {
  return String(Math.round(number * 10) / 10);
}

/** The contenders of a strip with the height of each in it: groups stand apart. */
function placesOf(loads: readonly LoadResult[]): { contender: Contender; y: number }[] {
  const named = new Set(
    loads.flatMap((load) => [...load.results, ...load.failed, ...load.missing])
      .map(({ contender }) => contender),
  );
  let y = 0;
  let group = "";
  return CONTENDERS.filter(({ name }) => named.has(name)).map((contender) => {
    if (group !== "" && group !== contender.group) y += GROUP_GAP;
    group = contender.group;
    const place = { contender, y };
    y += ROW;
    return place;
  });
}

/** Where the goal of a contender lies on the scale of a load; null where it has none there. */
function goalOn(load: LoadResult, figures: Figures): { at: number; short: boolean } | null {
  const goals = load.reached.filter(({ contender, by }) =>
    contender === figures.contender && by !== "processor"
  );
  const goal = goals.toSorted((a, b) => a.ratio / a.atLeast - b.ratio / b.atLeast)[0];
  if (goal === undefined) return null;
  const factor = goal.atLeast / goal.ratio;
  const at = isCost(load) ? figures.median / factor : figures.median * factor;
  return { at, short: goal.ratio < goal.atLeast };
}

function panel(
  load: LoadResult,
  places: ReturnType<typeof placesOf>,
  x: number,
  top: number,
): string[] {
  const parts = [
    text(x, top + 14, "h2 text", load.title),
    text(
      x,
      top + 30,
      "small faint",
      `${load.detail} · ${load.unit}${isCost(load) ? ", less is better" : ""}`,
    ),
  ];
  const most = Math.max(
    ...load.results.flatMap((figures) => [figures.median, goalOn(load, figures)?.at ?? 0]),
  );
  const scale = (figure: number) => Math.min(figure / most, 1.06) * BAR;
  for (const { contender, y } of places) {
    const middle = top + STRIP_HEADER + y + ROW / 2;
    const figures = load.results.find((each) => each.contender === contender.name);
    if (figures === undefined) {
      const failed = load.failed.some((each) => each.contender === contender.name);
      const reason = load.missing.find((each) => each.contender === contender.name)?.reason;
      parts.push(
        text(
          x,
          middle + 4,
          failed ? "small short" : "small faint",
          failed ? "failed" : `– ${reason ?? ""}`,
        ),
      );
      continue;
    }
    const goal = goalOn(load, figures);
    const width = Math.max(scale(figures.median), 1);
    parts.push(rect(x, middle - 5.5, width, 11, contender.group));
    const [least, greatest] = [Math.min(...figures.rounds), Math.max(...figures.rounds)];
    parts.push(line(x + scale(least), middle, x + scale(greatest), middle, "range"));
    const right = Math.max(width, scale(greatest), goal === null ? 0 : scale(goal.at));
    if (goal !== null) {
      parts.push(line(x + scale(goal.at), middle - 7, x + scale(goal.at), middle + 7, "goal"));
    }
    const look = goal?.short ? "short" : contender.group === "ours" ? "own" : "text";
    parts.push(text(x + right + 5, middle + 4, `small ${look}`, format(figures.median)));
  }
  return parts;
}

/** Loads side by side: the drawing, and its height. */
function strip(loads: readonly LoadResult[], top: number): { parts: string[]; height: number } {
  const places = placesOf(loads);
  const bottom = STRIP_HEADER + (places.at(-1)?.y ?? 0) + ROW;
  const parts: string[] = [];
  for (const { contender, y } of places) {
    const row = top + STRIP_HEADER + y;
    if (contender.group === "ours") {
      parts.push(rect(MARGIN - 8, row, WIDTH - 2 * MARGIN + 16, ROW, "band"));
    }
    parts.push(
      text(MARGIN, row + ROW / 2 + 4, contender.group === "ours" ? "own" : "text", contender.title),
    );
  }
  const ceilings = top + bottom + 12;
  if (loads.some(({ ceiling }) => ceiling !== null)) {
    parts.push(text(MARGIN, ceilings, "small faint", "load generator, at most"));
  }
  loads.forEach((load, index) => {
    const x = MARGIN + LABELS + index * PANEL;
    parts.push(...panel(load, places, x, top));
    if (load.ceiling !== null) parts.push(text(x, ceilings, "small faint", format(load.ceiling)));
  });
  return { parts, height: bottom + 14 };
}

function goalList(reached: readonly Reached[], top: number): { parts: string[]; height: number } {
  if (reached.length === 0) return { parts: [], height: 0 };
  const parts = [text(MARGIN, top + 14, "h2 text", "Goals, as ratios in the same run")];
  const perColumn = Math.ceil(reached.length / GOAL_COLUMNS);
  const width = (WIDTH - 2 * MARGIN) / GOAL_COLUMNS;
  reached.forEach((goal, index) => {
    const x = MARGIN + Math.floor(index / perColumn) * width;
    const y = top + 34 + index % perColumn * ROW;
    const short = goal.ratio < goal.atLeast;
    parts.push(text(x, y, `small ${short ? "short" : "own"}`, format(goal.ratio)));
    parts.push(text(x + 38, y, "small faint", `≥ ${goal.atLeast}`));
    parts.push(text(x + 90, y, "small text", goalText(goal)));
  });
  return { parts, height: 34 + perColumn * ROW };
}

function legend(y: number): string[] {
  const parts: string[] = [];
  let x = MARGIN;
  const entry = (drawing: string, words: string) => {
    parts.push(drawing, text(x + 20, y, "small faint", words));
    x += 34 + words.length * 6;
  };
  entry(rect(x, y - 9, 14, 10, "ours"), "this package");
  entry(rect(x, y - 9, 14, 10, "others"), "others");
  entry(rect(x, y - 9, 14, 10, "limit"), "the machine's limit");
  entry(line(x, y - 4, x + 14, y - 4, "range"), "slowest to quickest round");
  entry(line(x + 7, y - 11, x + 7, y + 3, "goal"), "goal; a figure in this colour is short of it");
  return parts;
}

/** Draws a report. */
export function draw(report: Report): string {
  const { machine, versions, rounds, seconds } = report;
  const named = Object.entries(versions).filter(([name]) => name !== "C");
  const about = [
    `${machine.cores} cores of ${machine.processor}, ${machine.memory}, ${machine.system}`,
    named.map(([name, version]) => `${name} ${version}`).join(", "),
  ].join(" · ");
  const how =
    `${report.date} · medians of ${rounds} rounds of ${seconds} s, in turns; load and server share the machine`;
  const parts = [
    text(MARGIN, 36, "h1 text", "@netkit/socketserver, next to others"),
    text(MARGIN, 56, "small faint", about),
    text(MARGIN, 72, "small faint", how),
    ...legend(HEADER + 8),
  ];
  let top = HEADER + STRIP_GAP;
  for (let index = 0; index < report.loads.length; index += PER_STRIP) {
    const { parts: drawn, height } = strip(report.loads.slice(index, index + PER_STRIP), top);
    parts.push(...drawn);
    top += height + STRIP_GAP;
  }
  const goals = goalList(report.loads.flatMap(({ reached }) => reached), top);
  parts.push(...goals.parts);
  const foot = top + goals.height + MARGIN;
  parts.push(text(MARGIN, foot, "small faint", FOOTNOTE));
  const height = foot + MARGIN / 2;
  return [
    "<!-- deno-fmt-ignore-file -->",
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${fixed(height)}" role="img">`,
    `<title>Benchmark of ${report.date}: answers per second of this package and of others</title>`,
    styles(),
    `<rect width="${WIDTH}" height="${fixed(height)}" rx="8" class="page"/>`,
    ...parts,
    "</svg>\n",
  ].join("\n");
}

/** What the README shows: one strip of loads, with the contenders that one chooses from. */
const SUMMARY_LOADS = ["visit-32", "compute", "lines-32", "echo-32"];
const SUMMARY_CONTENDERS = new Set([
  ...["concurrent", "threading", "pool-2", "forking"],
  ...["deno-bare", "node", "python-threading", "python-asyncio"],
]);

/** A report with nothing in it but what the README shows; goals are in the whole picture. */
export function summaryOf(report: Report): Report {
  const isShown = ({ contender }: { contender: string }) => SUMMARY_CONTENDERS.has(contender);
  const loads = SUMMARY_LOADS.flatMap((name) => report.loads.filter((load) => load.name === name));
  return {
    ...report,
    loads: loads.map((load) => ({
      ...load,
      results: load.results.filter(isShown),
      failed: load.failed.filter(isShown),
      missing: load.missing.filter(isShown),
      reached: [],
    })),
  };
}

/** Writes both pictures of a report into a folder. */
export async function writePictures(folder: string, report: Report): Promise<void> {
  await Deno.writeTextFile(`${folder}/results.svg`, draw(report));
  await Deno.writeTextFile(`${folder}/summary.svg`, draw(summaryOf(report)));
}

if (import.meta.main) {
  const folder = Deno.args[0] ?? pathOf(".");
  await writePictures(folder, JSON.parse(await Deno.readTextFile(`${folder}/results.json`)));
}
