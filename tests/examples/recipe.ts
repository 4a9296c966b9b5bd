/**
 * Runs the recipes under examples/ as their headers say, in processes of their own.
 *
 * @module
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { fileURLToPath } from "node:url";
import { bytes, type RunResult, text, writeAll } from "../harness.ts";
import { Program, runArgs } from "../program.ts";

const FOLDER = new URL("../../examples/", import.meta.url);

/** How a {@linkcode Recipe} differs from the command of its header. */
export interface RecipeOptions {
  /** The port, in the place of each one in the permissions, and as `--port`; the recipe's own when left out. */
  port?: number;
  /** What else to put in the place of what: paths, mostly. */
  replace?: Record<string, string>;
  /** What runs Deno, such as `prlimit` with its flags. */
  runner?: string[];
  /** What comes after the program, in the place of the header's arguments. */
  args?: string[];
}

/** A program under examples/, run with the very flags of its header; killed at the end of the scope. */
export class Recipe extends Program {
  readonly name: string;

  /**
   * Starts it.
   *
   * @param name The name of its file.
   */
  constructor(name: string, options: RecipeOptions = {}) {
    const { flags, args } = commandOf(name, options);
    const run = runArgs(fileURLToPath(new URL(name, FOLDER)), flags, args);
    const [command, ...words] = [...options.runner ?? [], Deno.execPath()];
    super([...words, ...run], { command: command! });
    this.name = name;
  }

  /** On which port of this machine it listens, as the next line that says so tells. */
  async port(): Promise<number> {
    const [, port] = await this.line(/^(?:Listening on \S+:|\w+ server running on port )(\d+)$/);
    return Number(port);
  }

  /**
   * Ends it as a supervisor does, or as Ctrl-C, and checks that it prints "Leaving." and ends well, having complained of
   * nothing else.
   */
  async leave(complaint = /^$/, signal: "SIGTERM" | "SIGINT" = "SIGTERM"): Promise<RunResult> {
    this.kill(signal);
    const result = await this.result;
    assertEquals(result.code, 0, this.name);
    assertMatch(result.stderr, complaint, this.name);
    assert(result.stdout.endsWith("Leaving.\n"), `${this.name} printed: ${result.stdout}`);
    return result;
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

/** Connects to a program on this machine. */
export async function dial(port: number): Promise<Deno.TcpConn> {
  return await Deno.connect({ hostname: "127.0.0.1", port });
}

/** A port that nobody listens on at the moment. */
export function freePort(): number {
  using listener = Deno.listen({ hostname: "0.0.0.0", port: 0 });
  return listener.addr.port;
}

/** Sends a message, and checks that what comes next is the answer. */
export async function say(conn: Deno.Conn, message: string, expected = message): Promise<void> {
  await writeAll(conn, bytes(message));
  const answer = new Uint8Array(bytes(expected).length);
  for (let got = 0; got < answer.length;) {
    const count = await conn.read(answer.subarray(got));
    assert(count !== null, `The connection ended instead of saying ${expected}`);
    got += count;
  }
  assertEquals(text(answer), expected);
}
