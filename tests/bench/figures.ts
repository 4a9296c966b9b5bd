/**
 * The arithmetic of the report: medians, and ratios of contenders that took turns.
 *
 * @module
 */

/** What a contender reached under one load. */
export interface Figures {
  contender: string;
  /** The figure of each round, in the unit of the load. */
  rounds: number[];
  median: number;
  /** Processor time of the server for each answer, in microseconds, over all rounds; null where too little is known. */
  processor: number | null;
  /** Datagrams that were not answered, where there are any. */
  lost?: number;
}

/** Less processor time says nothing, in seconds: the system counts in hundredths, for each process. */
const LEAST_PROCESSOR_TIME = 0.1;

/** How a contender compares with another under the same load; above 1 is better, whatever the unit. */
export interface Ratio {
  /** The median of the ratios of each round, in which the two took turns. */
  figure: number;
  /** The ratio of the processor time of the other to its own, for an answer. */
  processor: number | null;
}

/**
 * The middle of some numbers, or of the two in the middle.
 *
 * @throws {RangeError} When there are none.
 */
export function median(numbers: readonly number[]): number {
  if (numbers.length === 0) throw new RangeError("Cannot take median: there are no numbers");
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/**
 * Compares two contenders.
 *
 * @param one The one that is judged.
 * @param other What it is compared with.
 * @param cost Whether less is better in the unit of the load.
 */
export function ratioOf(one: Figures, other: Figures, cost: boolean): Ratio {
  const rounds = Math.min(one.rounds.length, other.rounds.length);
  const ratios = Array.from({ length: rounds }, (_, round) => {
    const [a, b] = [one.rounds[round]!, other.rounds[round]!];
    return cost ? b / a : a / b;
  });
  const known = one.processor !== null && other.processor !== null && one.processor > 0;
  return { figure: median(ratios), processor: known ? other.processor! / one.processor! : null };
}

/**
 * Processor time for each answer, in microseconds; null where too little of it is known to tell.
 *
 * @param seconds The processor time of each round, in seconds; all 0 where it is not known.
 * @param answers The answers of each round.
 */
export function processorTimeOf(
  seconds: readonly number[],
  answers: readonly number[],
): number | null {
  const [used, served] = [sum(seconds), sum(answers)];
  return used >= LEAST_PROCESSOR_TIME && served > 0 ? used / served * 1e6 : null;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

/** Rounds to so many digits that tell something, which keeps the results short. */
export function rounded(number: number, digits = 4): number {
  return Number(number.toPrecision(digits));
}
