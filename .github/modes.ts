/**
 * Draws how each class serves, for a light and a dark page: `deno run -A .github/modes.ts` writes `modes.svg` beside it.
 *
 * @module
 */

// All in pixels.
const WIDTH = 960;
const COLUMNS = 3;
const PANEL = { width: 304, height: 208, gap: 24 - 8 };
const TOP = 40;
const QUEUE = { x: 14, y: 74, width: 58, height: 84 };
const MAIN = { x: 98, y: 58, width: 82, height: 116 };
const WORKERS = { x: 214, width: 78, height: 28, gap: 7 };

/** What stands at the end of a panel's arrows. */
interface Mode {
  title: string;
  text: string;
  /** What stands in the main isolate. */
  main: string[];
  /** Whether the main isolate accepts. */
  accepts: boolean;
  /** The workers; none where handlers run in the main isolate. */
  workers: string[];
  /** Whether the workers are processes. */
  processes?: boolean;
}

const MODES: readonly Mode[] = [
  {
    title: "TCPServer",
    text: "one client at a time",
    main: ["accept", "handler"],
    accepts: true,
    workers: [],
  },
  {
    title: "ConcurrentTCPServer",
    text: "many on one event loop",
    main: ["accept", "handler", "handler", "handler"],
    accepts: true,
    workers: [],
  },
  {
    title: "PoolTCPServer",
    text: "many on the event loops of Workers",
    main: ["supervise", "hooks"],
    accepts: false,
    workers: ["handlers", "handlers"],
  },
  {
    title: "ThreadingTCPServer, direct",
    text: "a Worker to each client; Workers accept",
    main: ["supervise", "hooks"],
    accepts: false,
    workers: ["handler", "handler", "handler"],
  },
  {
    title: "Threading, relay",
    text: "TLS, Unix, UDP, handlers that block",
    main: ["accept", "hooks", "bytes"],
    accepts: true,
    workers: ["handler", "handler", "handler"],
  },
  {
    title: "Forking",
    text: "a sandboxed process to each client",
    main: ["accept", "hooks", "bytes"],
    accepts: true,
    workers: ["handler", "handler", "handler"],
    processes: true,
  },
];

/** Class names with what they look like in the light, and in the dark. */
const LOOKS: Record<string, readonly [light: string, dark: string]> = {
  page: ["fill:#ffffff", "fill:#0d1117"],
  panel: ["fill:#f4f6f8", "fill:#161b22"],
  box: ["fill:#ffffff;stroke:#8b96a3", "fill:#0d1117;stroke:#7d8896"],
  worker: ["fill:#dbe9ff;stroke:#2563c9", "fill:#12305c;stroke:#58a6ff"],
  process: ["fill:#fde7d3;stroke:#c2560c", "fill:#4a2a10;stroke:#f0883e"],
  line: ["stroke:#57606a;fill:none", "stroke:#9ea7b3"],
  head: ["fill:#57606a", "fill:#9ea7b3"],
  text: ["fill:#1f2328", "fill:#e6edf3"],
  faint: ["fill:#66707b", "fill:#8d96a0"],
};

function styles(): string {
  const rules = (which: 0 | 1) =>
    Object.entries(LOOKS).map(([name, looks]) => `.${name}{${looks[which]}}`).join("\n");
  return `<style>
text{font:12px system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif}
.h1{font-size:16px;font-weight:600}.h2{font-size:13px;font-weight:600}.small{font-size:11px}
.middle{text-anchor:middle}.line{stroke-width:1.4}
${rules(0)}
@media (prefers-color-scheme:dark){\n${rules(1)}\n}\n</style>`;
}

function text(x: number, y: number, words: string, looks = "text"): string {
  return `<text class="${looks}" x="${x}" y="${y}">${words}</text>`;
}

function box(x: number, y: number, width: number, height: number, looks = "box"): string {
  return `<rect class="${looks}" x="${x}" y="${y}" width="${width}" height="${height}" rx="5"/>`;
}

/** An arrow; with a head at both ends where there is room for it. */
function arrow(x1: number, y1: number, x2: number, y2: number, isDouble = true): string {
  const tail = isDouble ? ' marker-start="url(#tail)"' : "";
  return `<line class="line" x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}" marker-end="url(#head)"${tail}/>`;
}

function drawMode(mode: Mode, x: number, y: number): string {
  const parts = [
    box(0, 0, PANEL.width, PANEL.height, "panel"),
    text(14, 24, mode.title, "text h2"),
    text(14, 42, mode.text, "faint small"),
    box(QUEUE.x, QUEUE.y, QUEUE.width, QUEUE.height),
    ...["queue", "of the", "system"].map((word, index) =>
      text(QUEUE.x + QUEUE.width / 2, QUEUE.y + 32 + 15 * index, word, "text small middle")
    ),
    box(MAIN.x, MAIN.y, MAIN.width, MAIN.height),
    text(MAIN.x + MAIN.width / 2, MAIN.y + 16, "main isolate", "faint small middle"),
    ...mode.main.map((word, index) =>
      text(MAIN.x + MAIN.width / 2, MAIN.y + 38 + 20 * index, word, "text middle")
    ),
  ];
  const middle = QUEUE.y + QUEUE.height / 2;
  if (mode.accepts) parts.push(arrow(QUEUE.x + QUEUE.width + 6, middle, MAIN.x - 6, middle));
  const { length } = mode.workers;
  const total = length * WORKERS.height + (length - 1) * WORKERS.gap;
  mode.workers.forEach((word, index) => {
    const top = middle - total / 2 + index * (WORKERS.height + WORKERS.gap);
    const center = top + WORKERS.height / 2;
    const looks = mode.processes === true ? "process" : "worker";
    parts.push(
      box(WORKERS.x, top, WORKERS.width, WORKERS.height, looks),
      text(WORKERS.x + WORKERS.width / 2, center + 4, word, "text middle"),
    );
    if (mode.accepts) {
      parts.push(arrow(MAIN.x + MAIN.width + 6, middle, WORKERS.x - 6, center, false));
    } else {
      // Past the main isolate.
      const below = MAIN.y + MAIN.height + 12 + 7 * index;
      const start = QUEUE.x + 16 + 13 * index;
      const end = WORKERS.x - 8 - 8 * (length - 1 - index);
      const path = `M${start} ${QUEUE.y + QUEUE.height + 6}V${below}H${end}V${center}H${
        WORKERS.x - 6
      }`;
      parts.push(
        `<path class="line" d="${path}" marker-end="url(#head)" marker-start="url(#tail)"/>`,
      );
    }
  });
  return `<g transform="translate(${x} ${y})">\n${parts.join("\n")}\n</g>`;
}

const rows = Math.ceil(MODES.length / COLUMNS);
const height = TOP + rows * (PANEL.height + PANEL.gap);
const panels = MODES.map((mode, index) =>
  drawMode(
    mode,
    8 + (index % COLUMNS) * (PANEL.width + PANEL.gap),
    TOP + Math.floor(index / COLUMNS) * (PANEL.height + PANEL.gap),
  )
);
const head = (id: string, path: string, at: number) =>
  `<marker id="${id}" viewBox="0 0 8 8" refX="${at}" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path class="head" d="${path}"/></marker>`;
const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img">
<title>Who accepts the clients, where handlers run, and which way bytes go</title>
${styles()}
<defs>${head("head", "M0 0L8 4L0 8Z", 7)}${head("tail", "M8 0L0 4L8 8Z", 1)}</defs>
<rect class="page" width="${WIDTH}" height="${height}"/>
${text(8, 24, "Who accepts, where handlers run, which way bytes go", "text h1")}
${panels.join("\n")}
</svg>
`;
await Deno.writeTextFile(new URL("modes.svg", import.meta.url), svg);
