/**
 * Stands in for the messages that `@std/assert` makes: values in full, and the difference of two of
 * them line by line. It is only for building where JSR is out of reach.
 *
 * @module
 */

/** Past this many cells of the table, the lines are listed and not compared. */
const MAX_CELLS = 4_000_000;

/**
 * Renders a value in full, the same way for equal values.
 *
 * @param value What to show.
 * @returns The text, of several lines for what is not small.
 */
export function format(value: unknown): string {
  return Deno.inspect(value, {
    depth: Infinity,
    sorted: true,
    trailingComma: true,
    compact: false,
    iterableLimit: Infinity,
    getters: true,
    strAbbreviateSize: Infinity,
  });
}

/**
 * Puts the caller's message behind a sentence, or ends the sentence.
 *
 * @param message What the caller passed, if anything.
 * @returns `": message"` or `"."`.
 */
export function suffix(message: string | undefined): string {
  return message ? `: ${message}` : ".";
}

/**
 * Paints text red where colours are on.
 *
 * @param text What to paint.
 * @returns The text, with the codes around it.
 */
export function red(text: string): string {
  return paint(text, 31, 39);
}

/**
 * Shows where two values differ.
 *
 * @param actual What was found.
 * @param expected What was expected.
 * @returns Lines marked `-` for what is only in the first, `+` for what is only in the second.
 */
export function difference(actual: unknown, expected: unknown): string {
  const strings = typeof actual === "string" && typeof expected === "string";
  const lines = strings
    ? compare(escaped(actual), escaped(expected))
    : compare(format(actual).split("\n"), format(expected).split("\n"));
  const title = `    ${paint("[Diff]", 90, 39)} ${red("Actual")} / ${green("Expected")}`;
  return ["", "", title, "", "", ...lines, ""].join("\n");
}

/** One line of the string a line, with what does not show written out: `\r\n` matters here. */
function escaped(text: string): string[] {
  return text.split(/(?<=\n)/).map((line) => JSON.stringify(line).slice(1, -1));
}

function compare(actual: string[], expected: string[]): string[] {
  const removed = (line: string) => red(`-   ${line}`);
  const added = (line: string) => green(`+   ${line}`);
  const columns = expected.length + 1;
  if ((actual.length + 1) * columns > MAX_CELLS) {
    return [...actual.map(removed), ...expected.map(added)];
  }

  // common[i * columns + j]: how many lines the tails from i and from j have in common.
  const common = new Uint32Array((actual.length + 1) * columns);
  const tail = (i: number, j: number) => common[i * columns + j] ?? 0;
  for (let i = actual.length - 1; i >= 0; i--) {
    for (let j = expected.length - 1; j >= 0; j--) {
      common[i * columns + j] = actual[i] === expected[j]
        ? tail(i + 1, j + 1) + 1
        : Math.max(tail(i + 1, j), tail(i, j + 1));
    }
  }

  // Where either may come first: what is of the longer side, as in the real one.
  const longer = expected.length > actual.length ? 1 : 0;
  const lines: string[] = [];
  let i = 0;
  let j = 0;
  while (i < actual.length || j < expected.length) {
    const mine = actual[i];
    const theirs = expected[j];
    if (mine !== undefined && mine === theirs) {
      lines.push(`    ${mine}`);
      i++;
      j++;
    } else if (
      mine !== undefined &&
      (theirs === undefined || tail(i + 1, j) >= tail(i, j + 1) + longer)
    ) {
      lines.push(removed(mine));
      i++;
    } else {
      lines.push(added(theirs ?? ""));
      j++;
    }
  }
  return lines;
}

function green(text: string): string {
  return paint(text, 32, 39);
}

function paint(text: string, on: number, off: number): string {
  return Deno.noColor ? text : `\x1b[${on}m${text}\x1b[${off}m`;
}
