/**
 * The programs that the benchmark starts: each in a process group of its own, by which its processor time and its
 * memory are known with those of its children.
 *
 * @module
 */

/** Linux counts processor time in these, a second. */
const TICKS_PER_SECOND = 100;
/** How much of what a program says on standard error is kept for the message about its end, in characters. */
const KEPT_ERRORS = 2000;

const running = new Set<Program>();

/** Kills all programs that are left: a signal from the keyboard does not reach their groups. */
export function killAll(): void {
  for (const program of running) program.kill();
}

/** A program that talks by lines, until it is killed. */
export class Program implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #output: ReadableStreamDefaultReader<string>;
  /** What was read of its output beyond the last line. */
  #rest = "";
  readonly #input: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #errors: Promise<string>;

  /**
   * @param command The program and its arguments.
   */
  constructor(command: readonly string[]) {
    this.#process = new Deno.Command(command[0]!, {
      args: command.slice(1),
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
      detached: true, // in a process group of its own
    }).spawn();
    this.#output = this.#process.stdout.pipeThrough(new TextDecoderStream()).getReader();
    this.#input = this.#process.stdin.getWriter();
    this.#errors = endOf(this.#process.stderr);
    running.add(this);
  }

  /**
   * Reads its next line.
   *
   * @throws {Error} When it ends before, with what it said on standard error.
   */
  async readLine(): Promise<string> {
    while (!this.#rest.includes("\n")) {
      const { done, value } = await this.#output.read();
      if (done) throw new Error(await this.#reason());
      this.#rest += value;
    }
    const end = this.#rest.indexOf("\n");
    const line = this.#rest.slice(0, end);
    this.#rest = this.#rest.slice(end + 1);
    return line;
  }

  async #reason(): Promise<string> {
    const errors = (await this.#errors).trim();
    return errors === "" ? "it ended without a word" : errors;
  }

  /** Writes a line to its input. */
  async writeLine(line: string): Promise<void> {
    // What has ended is told by readLine(), with its reason.
    await this.#input.write(new TextEncoder().encode(`${line}\n`)).catch(() => {});
  }

  /** The processor time that its group has used so far, in seconds, with children that have ended; 0 without `/proc`. */
  processorTime(): number {
    let ticks = 0;
    for (const { fields } of this.#group()) {
      // utime, stime, and those of the children that have ended, in proc(5)
      ticks += fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
    }
    return ticks / TICKS_PER_SECOND;
  }

  /** The memory that its group takes now, in bytes, what is shared among processes counted once; 0 without `/proc`. */
  memory(): number {
    let kibibytes = 0;
    for (const { pid } of this.#group()) {
      const rollup = readIfThere(`/proc/${pid}/smaps_rollup`) ?? "";
      kibibytes += Number(/^Pss:\s+(\d+) kB$/m.exec(rollup)?.[1] ?? 0);
    }
    return kibibytes * 1024;
  }

  /** Its processes with the fields of their `/proc/PID/stat` from the third on. */
  *#group(): Generator<{ pid: string; fields: string[] }> {
    if (Deno.build.os !== "linux") return;
    for (const { name: pid } of Deno.readDirSync("/proc")) {
      if (!/^\d+$/.test(pid)) continue;
      const stat = readIfThere(`/proc/${pid}/stat`);
      if (stat === null) continue;
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      if (Number(fields[2]) === this.#process.pid) yield { pid, fields };
    }
  }

  /** Kills it and its children. */
  kill(): void {
    try {
      Deno.kill(-this.#process.pid, "SIGKILL"); // the group
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
    running.delete(this);
  }

  /** Kills it and its children, and waits for their end. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.kill();
    await this.#input.abort().catch(() => {}); // it was closed by the end of the program
    await this.#output.cancel();
    await this.#errors; // ends when none of the group is left
    await this.#process.status;
  }
}

/** Reads a file of `/proc`; null when the process has ended. */
function readIfThere(path: string): string | null {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return null;
  }
}

async function endOf(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<string> {
  let end = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    end = (end + text).slice(-KEPT_ERRORS);
  }
  return end;
}
