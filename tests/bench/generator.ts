/**
 * The load generator, as the benchmark sees it: one program in C, or several of Deno that share a load.
 *
 * @module
 */
import { pathOf, type Tools } from "./contenders.ts";
import type { Load } from "./loads.ts";
import { Program } from "./process.ts";

/** What came of one round of load. */
export interface Round {
  answers: number;
  /** Datagrams that were not answered. */
  lost: number;
  /** How long it took, in seconds. */
  seconds: number;
  /** How much of its time the load generator was at work, from 0 to 1: at 1, it is what limits the figure. */
  busy: number;
}

/** How long a server may be silent, in seconds: 256 Workers that start at once may be. */
const SILENCE = 60;
/** The most threads, or programs, of the load generator: the server needs processors, too. */
const MOST = Math.max(1, Math.floor(navigator.hardwareConcurrency / 2));

/** A load on one server, connected and ready. */
export class Generator implements AsyncDisposable {
  readonly #programs: Program[];
  /** How many processors it can take. */
  readonly #threads: number;

  private constructor(programs: Program[], threads: number) {
    this.#programs = programs;
    this.#threads = threads;
  }

  /**
   * Connects a load with a server, and waits for one answer on each socket.
   *
   * @param tools With a compiled load generator, or those of Deno are used.
   * @param load What it does.
   * @param port Where the server listens.
   * @param silence How long the server may be silent, in seconds.
   * @throws {Error} When an answer is wrong or missing.
   */
  static async connect(
    tools: Tools,
    load: Pick<Load, "kind" | "sockets" | "size">,
    port: number,
    silence: number = SILENCE,
  ): Promise<Generator> {
    const threads = Math.min(MOST, load.sockets);
    const kind = load.kind === "idle" ? "echo" : load.kind;
    const args = (sockets: number) =>
      [kind, port, sockets, load.size, threads, silence].map(String);
    const deno = [tools.deno, "run", "-A", "--quiet", "--no-config", "--unstable-net"];
    const commands = tools.load === undefined
      ? shares(load.sockets, Math.min(load.sockets, MOST + 1)).map((share) => [
        ...deno,
        pathOf("load/load.ts"),
        ...args(share),
      ])
      : [[tools.load, ...args(load.sockets)]];
    const programs = commands.map((command) => new Program(command));
    const generator = new Generator(programs, tools.load === undefined ? programs.length : threads);
    try {
      for (const program of programs) await program.readLine();
    } catch (error) {
      await generator[Symbol.asyncDispose]();
      throw error;
    }
    return generator;
  }

  /**
   * Puts the load on.
   *
   * @param seconds For how long; with 0, each socket sends one message.
   * @throws {Error} When an answer is wrong or missing.
   */
  async run(seconds: number): Promise<Round> {
    const before = this.#processorTime();
    for (const program of this.#programs) await program.writeLine(`go ${seconds}`);
    const round: Round = { answers: 0, lost: 0, seconds: 0, busy: 0 };
    for (const program of this.#programs) {
      const [, answers, lost, took] = (await program.readLine()).split(" ").map(Number);
      round.answers += answers!;
      round.lost += lost!;
      round.seconds = Math.max(round.seconds, took!);
    }
    const used = this.#processorTime() - before;
    round.busy = Math.min(1, used / round.seconds / this.#threads);
    return round;
  }

  #processorTime(): number {
    return this.#programs.reduce((sum, program) => sum + program.processorTime(), 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const program of this.#programs) await program[Symbol.asyncDispose]();
  }
}

/** A number in whole parts that are as equal as can be. */
function shares(total: number, parts: number): number[] {
  return Array.from(
    { length: parts },
    (_, index) => Math.floor(total / parts) + (index < total % parts ? 1 : 0),
  );
}
