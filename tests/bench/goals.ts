/**
 * What the package wants to reach: ratios to others under the same load, in the same run.
 *
 * @module
 */
import { isCost, type Load } from "./loads.ts";
import { ratioOf, rounded } from "./figures.ts";
import type { Figures } from "./figures.ts";

/** One goal. */
export interface Goal {
  load: string;
  contender: string;
  /** A contender, or a figure in the unit of the load. */
  against: string;
  /** What is compared: the figure of the load, or processor time for each answer, or the figure with `against`. */
  by: "figure" | "processor" | "value";
  atLeast: number;
}

/** A goal, and what was reached. */
export interface Reached extends Goal {
  ratio: number;
}

function goals(
  against: string,
  contender: string,
  byLoad: Record<string, number>,
  by: Goal["by"] = "figure",
): Goal[] {
  return Object.entries(byLoad).map(([load, atLeast]) => ({
    load,
    contender,
    against,
    by,
    atLeast,
  }));
}

/** The goals. */
export const GOALS: readonly Goal[] = [
  ...goals("python-threading", "threading", {
    "echo-1": 0.9,
    "echo-32": 0.9,
    "bulk-8": 0.9,
    "visit-1": 1.1,
    "visit-4": 1,
    "visit-32": 0.9,
    "lines-32": 1.5,
    "compute": 1.9,
    "udp-1": 1.2,
    "udp-32": 1.2,
  }),
  ...goals("deno-bare", "threading-blocking", { "echo-32": 0.35 }),
  ...goals("python-threading", "pool-2", { "echo-32": 1.5 }),
  // Three times what forking had to the same on 2026-11-25, 0.12 and 0.025.
  ...goals("deno-bare", "forking", { "echo-1": 0.37, "echo-32": 0.075 }),
  ...goals("python-forking", "forking", { "udp-32": 2 }),
  ...goals("deno-bare", "concurrent", { "echo-32": 0.93, "lines-32": 0.8 }, "processor"),
  ...goals("deno-bare", "plain", { "lines-1": 0.8, "udp-32": 0.85 }, "processor"),
  ...goals("python-plain", "plain", { "udp-1": 1.2, "udp-32": 1.1 }),
  ...goals("12", "concurrent", { idle: 1 }, "value"),
];

/** The goals that a load has figures for. */
export function reachedUnder(load: Load, results: readonly Figures[]): Reached[] {
  const find = (name: string) => results.find(({ contender }) => contender === name);
  return GOALS.flatMap((goal) => {
    const [one, other] = [find(goal.contender), find(goal.against)];
    if (goal.load !== load.name || one === undefined) return [];
    if (goal.by === "value") {
      return [{ ...goal, ratio: rounded(Number(goal.against) / one.median, 3) }];
    }
    if (other === undefined) return [];
    const ratio = ratioOf(one, other, isCost(load))[goal.by];
    return ratio === null ? [] : [{ ...goal, ratio: rounded(ratio, 3) }];
  });
}
