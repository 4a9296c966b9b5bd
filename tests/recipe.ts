/**
 * Runs the recipes under examples/ as their headers say, in processes of their own.
 *
 * @module
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { fileURLToPath } from "node:url";
import { CONFIG, type RunResult } from "./harness.ts";

const FOLDER = new URL("../examples/", import.meta.url);
const ROOT = fileURLToPath(new URL("../", import.meta.url));
/** How long a program may take for its next step on a busy machine, in milliseconds. */
const PATIENCE = 30_000;

/** How a {@linkcode Recipe} differs from the command of its header. */
export interface RecipeOptions {
  /** The port, in the place of each one in the permissions, and as `--port`; the recipe's own when left out. */
  port?: number;
  /** What else to put in the place of what: paths, mostly. */
  replace?: Record<string, string>;
  /** What comes after the program, in the place of the header's arguments. */
  args?: string[];
}

/** A program under examples/, run with the very flags of its header; killed at the end of the scope. */
export class Recipe implements AsyncDisposable {
  readonly name: string;
  /** Resolves when it has ended. */
  readonly result: Promise<RunResult>;
  readonly #child: Deno.ChildProcess;
  readonly #waiting = new Set<() => void>();
  #stdout = "";
  #ended = false;
  /** How much of the output `line()` has gone over. */
  #seen = 0;

  /**
   * Starts it.
   *
   * @param name The name of its file.
   */
  constructor(name: string, options: RecipeOptions = {}) {
    this.name = name;
    const { flags, args } = commandOf(name, options);
    const program = fileURLToPath(new URL(name, FOLDER));
    this.#child = new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "--no-prompt", "--config", CONFIG, ...flags, program, ...args],
      cwd: ROOT,
      env: { NO_COLOR: "1" },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.result = this.#run();
  }

  /** Where it listens, as the next line that says so tells. */
  async address(): Promise<string> {
    return (await this.line(/^Listening on (\S+)/))[1]!;
  }

  /** On which port of this machine it listens, as the next line that says so tells. */
  async port(): Promise<number> {
    return Number((await this.address()).split(":").at(-1));
  }

  /** The next line of its output that matches; those before it are passed over. */
  async line(pattern: RegExp): Promise<RegExpExecArray> {
    const deadline = performance.now() + PATIENCE;
    while (true) {
      for (let end = 0; (end = this.#stdout.indexOf("\n", this.#seen)) >= 0;) {
        const match = pattern.exec(this.#stdout.slice(this.#seen, end));
        this.#seen = end + 1;
        if (match !== null) return match;
      }
      if (this.#ended) {
        const { stdout, stderr } = await this.result;
        throw new Error(`${this.name} ended without a line ${pattern}:\n${stdout}${stderr}`);
      }
      await this.#more(deadline - performance.now(), pattern);
    }
  }

  /** Presses Ctrl-C, and checks that it prints "Leaving." and ends well, having complained of nothing else. */
  async leave(complaint = /^$/): Promise<RunResult> {
    this.kill("SIGINT");
    const result = await this.result;
    assertEquals(result.code, 0, this.name);
    assertMatch(result.stderr, complaint, this.name);
    assert(result.stdout.endsWith("Leaving.\n"), `${this.name} printed: ${result.stdout}`);
    return result;
  }

  /** Sends it a signal; does nothing once it has ended. */
  kill(signal: Deno.Signal): void {
    try {
      if (!this.#ended) this.#child.kill(signal);
    } catch (error) {
      // It has ended, and Deno has yet to say so.
      if (!(error instanceof TypeError)) throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.kill("SIGKILL");
    await this.result;
  }

  async #run(): Promise<RunResult> {
    const [stderr, { code, signal }] = await Promise.all([
      new Response(this.#child.stderr).text(),
      this.#child.status,
      this.#readStdout(),
    ]);
    this.#ended = true;
    this.#wake();
    return { code, signal, stdout: this.#stdout, stderr };
  }

  async #readStdout(): Promise<void> {
    for await (const chunk of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      this.#stdout += chunk;
      this.#wake();
    }
  }

  #wake(): void {
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }

  async #more(limit: number, pattern: RegExp): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const timer = setTimeout(
      () => reject(new Error(`${this.name} has no line ${pattern} yet: ${this.#stdout}`)),
      limit,
    );
    this.#waiting.add(resolve);
    await promise.finally(() => clearTimeout(timer));
  }
}

/** The text of a program under examples/. */
export function sourceOf(name: string): string {
  return Deno.readTextFileSync(new URL(name, FOLDER));
}

/** The flags and arguments that the header of a program gives, with the differences. */
export function commandOf(
  name: string,
  { port, replace = {}, args }: RecipeOptions = {},
): { flags: string[]; args: string[] } {
  const header = /^\/\*\*[^]*?\*\//.exec(sourceOf(name))?.[0].replace(/\s*\n \* ?/g, " ") ?? "";
  const [, command] = /`deno run ([^`]+)`/.exec(header) ?? [];
  assert(command !== undefined, `The header of ${name} has no command`);
  const words = command.split(" ").map((word) => {
    for (const [from, to] of Object.entries(replace)) word = word.replaceAll(from, to);
    return port === undefined ? word : word.replace(/:\d+/g, `:${port}`);
  });
  const place = words.indexOf(`examples/${name}`);
  assert(place >= 0, `The command of ${name} runs something else: ${command}`);
  const portFlag = port === undefined ? [] : ["--port", `${port}`];
  return { flags: words.slice(0, place), args: [...portFlag, ...(args ?? words.slice(place + 1))] };
}
