/**
 * How fast the servers are: each figure as a ratio to what one would write without the package.
 *
 * Run: `deno task bench`, on a machine that does nothing else. Each server runs in a process of its own; the
 * two of a row take turns, and the best round of each counts. It is no gate: the exit code is 0 whether the goals
 * are met or not, 1 when a server fails, 2 for wrong usage.
 *
 * "cpu" is the same ratio by the server's own processor time; it holds on a busy machine, too, but says nothing of
 * children, whose time is their own.
 *
 * A row whose two servers are the same compares loads: four clients with one.
 *
 * A row more is an entry of `ROWS`; a server more is one of `CONTENDERS` in `contenders.ts`.
 *
 * @module
 */
import { parseArgs } from "@std/cli";
import { fileURLToPath } from "node:url";
import { type Client, denoClient, libcClient, type Load } from "./clients.ts";

/** One comparison. */
interface Row {
  /** What `--only` calls it. */
  name: string;
  /** What is measured. */
  title: string;
  /** The server of the package, as `contenders.ts` names it. */
  ours: string;
  /** What it is compared with. */
  other: string;
  load: Load;
  /** The load of the other, where that is not the same. */
  otherLoad?: Load;
  /** How long the servers are warmed up, in seconds, where that is not `WARM_UP`. */
  warmUp?: number;
  unit: "answers/s" | "MB/s";
  /** The ratio to reach, or null where there is no goal. */
  goal: number | null;
}

const PING: Load = {
  transport: "tcp",
  size: 64,
  sockets: 1,
  inFlight: 1,
  oneProcessor: true,
  reconnect: false,
};
const BULK: Load = { ...PING, size: 65536 };
/** Many clients, and a server that may use all processors. */
const CROWD: Load = { ...PING, sockets: 32, oneProcessor: false };
const CROWD_BULK: Load = { ...CROWD, sockets: 8, size: 65536 };
const FREE_PING: Load = { ...PING, oneProcessor: false };
const VISIT: Load = { ...FREE_PING, reconnect: true };
const FOUR: Load = { ...CROWD, sockets: 4 };
const VISITS: Load = { ...CROWD, reconnect: true };
const PACKETS: Load = { ...PING, transport: "udp", inFlight: 32 };

const ROWS: Row[] = [
  {
    name: "tcp",
    title: "TCP, 64 bytes, one connection",
    ours: "tcp-recv",
    other: "bare-tcp",
    load: PING,
    unit: "answers/s",
    goal: 0.9,
  },
  {
    name: "tcp-64k",
    title: "TCP, 64 KiB, read(buffer)",
    ours: "tcp-read",
    other: "bare-tcp",
    load: BULK,
    unit: "MB/s",
    goal: 0.9,
  },
  {
    name: "recv-64k",
    title: "TCP, 64 KiB, recv()",
    ours: "tcp-recv",
    other: "bare-tcp",
    load: BULK,
    unit: "MB/s",
    goal: null,
  },
  {
    name: "lines",
    title: "TCP, lines of 64 bytes",
    ours: "tcp-lines",
    other: "bare-tcp",
    load: PING,
    unit: "answers/s",
    goal: 0.75,
  },
  {
    name: "udp",
    title: "UDP, 64 bytes, 32 under way",
    ours: "udp-send",
    other: "bare-udp",
    load: PACKETS,
    unit: "answers/s",
    goal: 0.9,
  },
  {
    name: "udp-files",
    title: "UDP, through rfile and wfile",
    ours: "udp-files",
    other: "bare-udp",
    load: PACKETS,
    unit: "answers/s",
    goal: null,
  },
  {
    name: "many",
    title: "TCP, 64 bytes, 32 connections",
    ours: "concurrent",
    other: "bare-many",
    load: CROWD,
    unit: "answers/s",
    goal: 0.85,
  },
  {
    name: "many-64k",
    title: "the same on 8 connections",
    ours: "concurrent-read",
    other: "bare-many",
    load: CROWD_BULK,
    unit: "MB/s",
    goal: 0.9,
  },
  {
    name: "thread",
    title: "Workers, one connection",
    ours: "threading",
    other: "bare-tcp",
    load: FREE_PING,
    unit: "answers/s",
    goal: 0.65,
  },
  {
    name: "block",
    title: "Workers, blocking, one",
    ours: "threads",
    other: "bare-tcp",
    load: FREE_PING,
    unit: "answers/s",
    goal: 0.65,
  },
  {
    name: "threads",
    title: "Workers, 32 connections",
    ours: "threading",
    other: "bare-many",
    load: CROWD,
    unit: "answers/s",
    goal: 0.28,
  },
  {
    name: "blocks",
    title: "Workers, blocking, 32",
    ours: "threads",
    other: "bare-many",
    load: CROWD,
    unit: "answers/s",
    goal: 0.28,
  },
  {
    name: "visit",
    title: "Workers, connect to close",
    ours: "threads",
    other: "python-threading",
    load: VISIT,
    unit: "answers/s",
    goal: 1,
  },
  {
    name: "visits-4",
    title: "the same, 4 at a time",
    ours: "threads",
    other: "python-threading",
    load: { ...VISITS, sockets: 4 },
    warmUp: 8, // each Worker compiles for itself
    unit: "answers/s",
    goal: 1,
  },
  {
    name: "visits-32",
    title: "the same, 32 at a time",
    ours: "threads",
    other: "python-threading",
    load: VISITS,
    warmUp: 16, // each Worker has a 32nd of the requests
    unit: "answers/s",
    goal: 1,
  },
  {
    name: "hash",
    title: "Workers, 20 ms each, 4 clients",
    ours: "threads-hash",
    other: "threads-hash",
    load: FOUR,
    otherLoad: FREE_PING,
    unit: "answers/s",
    goal: navigator.hardwareConcurrency > 1 ? 1.5 : null,
  },
  {
    name: "hash-python",
    title: "Python's threads, the same",
    ours: "python-threads-hash",
    other: "python-threads-hash",
    load: FOUR,
    otherLoad: FREE_PING,
    unit: "answers/s",
    goal: null,
  },
  {
    name: "pool",
    title: "two Workers, 32 connections",
    ours: "pool",
    other: "python-threading",
    load: CROWD,
    unit: "answers/s",
    goal: 1,
  },
  {
    name: "fork",
    title: "children again, connect to close",
    ours: "forking",
    other: "python-forking",
    load: VISIT,
    unit: "answers/s",
    goal: 1,
  },
];

const CLIENTS: Record<string, Client> = { libc: libcClient, deno: denoClient };
const ROUNDS = 3;
/** How long a server is warmed up before its first round when its row does not say, in seconds. */
const WARM_UP = 0.5;

const HELP = `Usage: deno task bench [options]
  --only NAME      measure one row; may be given again: ${ROWS.map((row) => row.name).join(", ")}
  --seconds N      how long a round takes (2)
  --client CLIENT  libc, blocking calls of the C library (on Linux), or deno (elsewhere)
  --help           print this`;

/** A server in a process of its own. */
class Contender implements AsyncDisposable {
  readonly name: string;
  /** Answers per second in the best round so far. */
  best = 0;
  /** Answers per second of its processor time in the best round so far; 0 where nobody tells that time. */
  bestByProcessor = 0;
  readonly #process: Deno.ChildProcess;
  readonly #port: Promise<number>;

  constructor(name: string) {
    this.name = name;
    const pathOf = (file: string) => fileURLToPath(new URL(file, import.meta.url));
    const deno = ["run", "-A", "--quiet", "--config", pathOf("../../deno.json")];
    const [command, args] = isPython(name)
      ? ["python3", [pathOf("contenders.py"), name]]
      : [Deno.execPath(), [...deno, pathOf("contenders.ts"), name]];
    this.#process = new Deno.Command(command, {
      args,
      stdin: "null",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#port = this.#readPort();
    this.#port.catch(() => {}); // told by answer(), whose turn may come later
  }

  async #readPort(): Promise<number> {
    let printed = "";
    for await (const chunk of this.#process.stdout.pipeThrough(new TextDecoderStream())) {
      printed += chunk;
      if (printed.endsWith("\n")) return Number(printed);
    }
    throw new Error("it ended before it listened");
  }

  /** Puts a load on it for one round, or to warm it up. */
  async answer(client: Client, load: Load, seconds: number): Promise<void> {
    try {
      const target = { pid: this.#process.pid, port: await this.#port };
      const before = await processorTime(target.pid);
      const rate = await client(target, load, seconds);
      const used = await processorTime(target.pid) - before;
      this.best = Math.max(this.best, rate);
      if (used > 0) this.bestByProcessor = Math.max(this.bestByProcessor, rate * seconds / used);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new Error(`Cannot measure "${this.name}": ${reason}`, { cause: error });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process[Symbol.asyncDispose]();
  }
}

function isPython(contender: string): boolean {
  return contender.startsWith("python-");
}

async function hasPython(): Promise<boolean> {
  try {
    return (await new Deno.Command("python3", { args: ["--version"] }).output()).success;
  } catch {
    return false;
  }
}

/** The processor time that a process has used, in seconds; 0 where the system has no `/proc`. */
async function processorTime(pid: number): Promise<number> {
  if (Deno.build.os !== "linux") return 0;
  const stat = await Deno.readTextFile(`/proc/${pid}/stat`);
  const [user, system] = stat.slice(stat.lastIndexOf(")") + 2).split(" ").slice(11, 13);
  return (Number(user) + Number(system)) / 100; // Linux counts in hundredths of a second
}

/** Measures one row: its line of the table. */
async function measure(row: Row, client: Client, seconds: number): Promise<string[]> {
  await using ours = new Contender(row.ours);
  await using other = new Contender(row.other);
  const pair = [[other, row.otherLoad ?? row.load], [ours, row.load]] as const;
  for (const [contender, load] of pair) {
    await contender.answer(client, load, row.warmUp ?? WARM_UP);
    contender.best = contender.bestByProcessor = 0;
  }
  for (let round = 0; round < ROUNDS; round++) {
    for (const [contender, load] of pair) await contender.answer(client, load, seconds);
  }
  const ratio = ours.best / other.best;
  const byProcessor = ours.bestByProcessor / other.bestByProcessor;
  const figure = ({ best }: Contender) => row.unit === "MB/s" ? best * row.load.size / 1e6 : best;
  return [
    row.name,
    row.title,
    `${ours.name} ${format(figure(ours))}`,
    `${other.name} ${format(figure(other))}`,
    row.unit,
    ratio.toFixed(2),
    Number.isFinite(byProcessor) ? byProcessor.toFixed(2) : "",
    row.goal === null ? "" : `>= ${row.goal.toFixed(2)}`,
    row.goal === null ? "" : ratio >= row.goal ? "met" : "MISSED",
  ];
}

function format(figure: number): string {
  return Math.round(figure).toLocaleString("en");
}

const WIDTHS = [10, 32, 18, 24, 10, 6, 6, 8, 7];

function printLine(cells: string[]): void {
  console.log(cells.map((cell, index) => cell.padEnd(WIDTHS[index]!)).join(" ").trimEnd());
}

function refuse(message: string): never {
  console.error(message);
  Deno.exit(2);
}

if (import.meta.main) {
  const flags = parseArgs(Deno.args, {
    boolean: ["help"],
    string: ["only", "seconds", "client"],
    collect: ["only"],
    default: { seconds: "2", client: Deno.build.os === "linux" ? "libc" : "deno" },
    unknown: (arg) => refuse(`Cannot use argument "${arg}": see --help`),
  });
  if (flags.help) {
    console.log(HELP);
    Deno.exit();
  }
  const names = ROWS.map((row) => row.name);
  for (const name of flags.only) {
    if (!names.includes(name)) refuse(`Cannot use --only "${name}": expected ${names.join(", ")}`);
  }
  const seconds = Number(flags.seconds);
  if (!(seconds > 0 && seconds <= 60)) {
    refuse(`Cannot use --seconds "${flags.seconds}": expected a number up to 60`);
  }
  const client = CLIENTS[flags.client];
  if (client === undefined) refuse(`Cannot use --client "${flags.client}": expected libc, deno`);

  console.log(`Best of ${ROUNDS} rounds of ${seconds} s, client "${flags.client}"`);
  printLine(["row", "what", "ours", "other", "unit", "ratio", "cpu", "goal", ""]);
  try {
    const withPython = await hasPython();
    for (const row of ROWS) {
      if (flags.only.length > 0 && !flags.only.includes(row.name)) continue;
      if (isPython(row.other) && !withPython) {
        printLine([row.name, row.title, "needs python3"]);
        continue;
      }
      printLine(await measure(row, client, seconds));
    }
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    Deno.exit(1);
  }
}
