/**
 * How fast the servers are, next to what else one would take: `deno task bench`, on a machine that does nothing else.
 *
 * Contenders take turns; each has a process of its own, and each answer is checked. The ratios hold better than the
 * figures, and those by processor time (of all processes of the server, for each answer) on a busy machine, too.
 *
 * The complete run takes about half an hour and writes `results.json` and two pictures here; `picture.ts` draws them
 * anew. How a server grows with the cores: `taskset -c 0 deno task bench …`, and then on more of them.
 *
 * A load more is an entry of `loads.ts`; a contender more is one of `contenders.ts`, with a program in `servers/`.
 *
 * The exit code is 0 whether the goals are reached or not, 1 when a contender fails, 2 for wrong usage.
 *
 * @module
 */
import { parseArgs } from "@std/cli";
import { type Contender, CONTENDERS, findTools, pathOf } from "./contenders.ts";
import { type Load, LOADS } from "./loads.ts";
import { measure, type Plan } from "./measure.ts";
import { writePictures } from "./picture.ts";
import { killAll } from "./process.ts";
import { describeMachine, goalsOf, type Report, tableOf, versionsOf } from "./report.ts";

const HELP = `Usage: deno task bench [options]
  --quick            main loads and contenders, short rounds: within two minutes
  --load NAME        one load; may be given again
  --contender NAME   one contender; may be given again
  --rounds N         how often each contender has its turn (5)
  --seconds N        how long a turn takes (1; with --quick 0.1)
  --generator WHICH  the load generator: c, or deno, which is used where no C compiler is
  --output FOLDER    where results.json and its pictures go; without it, the complete run
                     writes tests/bench/, and others write nothing
  --list             print the names of loads and contenders
  --help             print this`;

/** After this time `--quick` begins no other load, in milliseconds. */
const QUICK_LIMIT = 90_000;

interface Options {
  loads: readonly Load[];
  contenders: readonly Contender[];
  quick: boolean;
  rounds: number;
  seconds: number;
  generator: string | undefined;
  output: string | null;
}

function refuse(message: string): never {
  console.error(message);
  Deno.exit(2);
}

function choose<T extends { name: string; quick?: boolean }>(
  option: string,
  all: readonly T[],
  names: readonly string[],
  quick: boolean,
): readonly T[] {
  const known = all.map(({ name }) => name);
  for (const name of names) {
    if (known.includes(name)) continue;
    refuse(`Cannot use --${option} "${name}": expected ${known.join(", ")}`);
  }
  if (names.length > 0) return all.filter(({ name }) => names.includes(name));
  return quick ? all.filter((each) => each.quick) : all;
}

function numberOf(option: string, value: string, most: number): number {
  if (Number(value) > 0 && Number(value) <= most) return Number(value);
  refuse(`Cannot use --${option} "${value}": expected a number up to ${most}`);
}

function parse(args: string[]): Options {
  const flags = parseArgs(args, {
    boolean: ["help", "quick", "list"],
    string: ["load", "contender", "rounds", "seconds", "generator", "output"],
    collect: ["load", "contender"],
    unknown: (arg) => refuse(`Cannot use argument "${arg}": see --help`),
  });
  if (flags.help) {
    console.log(HELP);
    Deno.exit();
  }
  if (flags.list) {
    console.log(`loads: ${LOADS.map(({ name }) => name).join(", ")}`);
    console.log(`contenders: ${CONTENDERS.map(({ name }) => name).join(", ")}`);
    Deno.exit();
  }
  const { quick, generator } = flags;
  if (generator !== undefined && generator !== "c" && generator !== "deno") {
    refuse(`Cannot use --generator "${generator}": expected c, deno`);
  }
  const complete = !quick && flags.load.length === 0 && flags.contender.length === 0;
  return {
    loads: choose("load", LOADS, flags.load, quick),
    contenders: choose("contender", CONTENDERS, flags.contender, quick),
    quick,
    rounds: Math.ceil(numberOf("rounds", flags.rounds ?? "5", 1000)),
    seconds: numberOf("seconds", flags.seconds ?? (quick ? "0.1" : "1"), 60),
    generator,
    output: flags.output ?? (complete ? pathOf(".") : null),
  };
}

async function run(options: Options, folder: string): Promise<Report> {
  const began = performance.now();
  const tools = await findTools(folder);
  if (options.generator === "deno") delete tools.load;
  if (options.generator === "c" && tools.load === undefined) {
    refuse(`Cannot use --generator "c": it needs Linux and a C compiler`);
  }
  const { rounds, seconds, contenders } = options;
  const plan: Plan = { contenders, rounds, seconds, tools };
  const report: Report = {
    date: new Date().toISOString().slice(0, 10),
    machine: await describeMachine(),
    versions: await versionsOf(tools),
    generator: tools.load === undefined ? "Deno" : "C",
    rounds,
    seconds,
    loadAverage: [Deno.loadavg()[0]!],
    loads: [],
  };
  console.log(JSON.stringify({ ...report, loads: undefined }));
  if (report.loadAverage[0]! > report.machine.cores / 2) {
    console.log("The machine is busy: only the ratios by processor time hold.");
  }
  for (const load of options.loads) {
    if (options.quick && performance.now() - began > QUICK_LIMIT) {
      console.log(`${load.name}: left out, or two minutes would be over`);
      continue;
    }
    const result = await measure(load, plan);
    report.loads.push(result);
    console.log(`\n${tableOf(result)}`);
  }
  report.loadAverage.push(Deno.loadavg()[0]!);
  console.log(`\n${goalsOf(report.loads.flatMap(({ reached }) => reached))}`);
  return report;
}

if (import.meta.main) {
  const options = parse(Deno.args);
  const folder = await Deno.makeTempDir();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => {
      killAll();
      Deno.removeSync(folder, { recursive: true });
      Deno.exit(130);
    });
  }
  try {
    const report = await run(options, folder);
    if (options.output !== null) {
      await Deno.writeTextFile(
        `${options.output}/results.json`,
        JSON.stringify(report, null, 2) + "\n",
      );
      await writePictures(options.output, report);
    }
    if (report.loads.some(({ failed }) => failed.length > 0)) Deno.exitCode = 1;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  Deno.exit(); // whatever still listens, such as for signals
}
