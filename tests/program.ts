/**
 * A program in a process of its own, for tests that speak to it as a user would.
 *
 * @module
 */
import { assert } from "@std/assert";
import type { SocketAddress } from "@netkit/socketserver";
import { fileURLToPath } from "node:url";
import { bytes, CONFIG, PATIENCE, type RunResult, tempFolder } from "./harness.ts";

/** The folder of the project. */
export const ROOT: string = fileURLToPath(new URL("../", import.meta.url));

/** How a {@linkcode Program} is started. */
export interface ProgramOptions {
  /** What is run; Deno when left out. */
  command?: string;
  /** Its working directory; the folder of the project when left out. */
  cwd?: string;
  /** More of the environment. */
  env?: Record<string, string>;
  /** Whether it leads a process group of its own, as a terminal's jobs do; signals go to all of it then. */
  detached?: boolean;
  /** Whether it runs on a pseudo terminal, with standard error as part of standard output. */
  terminal?: boolean;
}

/** A run of a program, mostly of Deno, until it ends by itself or is told to; killed at the end of the scope. */
export class Program implements AsyncDisposable {
  /** Resolves when it has ended. */
  readonly result: Promise<RunResult>;
  readonly #name: string;
  readonly #child: Deno.ChildProcess;
  readonly #detached: boolean;
  #stdout = "";
  #stderr = "";
  #hasEnded = false;
  /** How much of the output `line()` has gone over. */
  #seen = 0;
  /** Resolves when there is more output, or the end. */
  #more = Promise.withResolvers<void>();

  /**
   * Starts it.
   *
   * @param args Its arguments.
   */
  constructor(args: string[], options: ProgramOptions = {}) {
    const { command = Deno.execPath(), cwd = ROOT, env = {} } = options;
    const { detached = false, terminal = false } = options;
    this.#name = [command, ...args].join(" ");
    this.#detached = detached;
    const quoted = [command, ...args].map((word) => `'${word}'`).join(" ");
    this.#child = new Deno.Command(terminal ? "script" : command, {
      args: terminal ? ["--quiet", "--return", "--command", `exec ${quoted}`, "/dev/null"] : args,
      cwd,
      env: { NO_COLOR: "1", ...env },
      stdin: terminal ? "piped" : "null",
      stdout: "piped",
      stderr: "piped",
      detached,
    }).spawn();
    this.result = this.#run();
  }

  /** What it has written to standard output so far. */
  get stdout(): string {
    return this.#stdout;
  }

  /** What it has written to standard error so far. */
  get stderr(): string {
    return this.#stderr;
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** The next line of its output that matches; those before it are passed over. */
  async line(pattern: RegExp): Promise<RegExpExecArray> {
    const deadline = performance.now() + PATIENCE;
    while (true) {
      const isAll = this.#hasEnded;
      for (let end = 0; (end = this.#stdout.indexOf("\n", this.#seen)) >= 0;) {
        const match = pattern.exec(this.#stdout.slice(this.#seen, end).replace(/\r$/, ""));
        this.#seen = end + 1;
        if (match !== null) return match;
      }
      if (isAll) throw new Error(`No line ${pattern} of ${this.#transcript()}`);
      await this.#waitForMore(deadline - performance.now(), pattern);
    }
  }

  /** Where it listens, as the next line that says so tells. */
  async address(): Promise<SocketAddress> {
    const [, where = "", transport = "tcp"] = await this.line(
      /^Listening on (\S+)(?: \((\S+), \w+\))?$/,
    );
    if (where.startsWith("/")) {
      return { transport: transport === "unix-datagram" ? "unixpacket" : "unix", path: where };
    }
    const [, hostname = "", port] = /^\[?(.*?)\]?:(\d+)$/.exec(where) ?? [];
    assert(port !== undefined, `No address: ${where}`);
    return { transport: transport === "udp" ? "udp" : "tcp", hostname, port: Number(port) };
  }

  /** Sends it a signal; does nothing once it has ended. */
  kill(signal: Deno.Signal): void {
    if (this.#hasEnded) return;
    try {
      if (this.#detached) Deno.kill(-this.#child.pid, signal);
      else this.#child.kill(signal);
    } catch (error) {
      // It has ended, and Deno has yet to say so.
      if (!(error instanceof Deno.errors.NotFound || error instanceof TypeError)) throw error;
    }
  }

  /** Asks it to end, as a service manager does, and waits until it has. */
  async stop(): Promise<RunResult> {
    this.kill("SIGTERM");
    return await this.result;
  }

  /** Types Ctrl-C on its terminal, and waits until it has ended. */
  async interrupt(): Promise<RunResult> {
    const keyboard = this.#child.stdin.getWriter();
    await keyboard.write(bytes("\x03"));
    const result = await this.result;
    await keyboard.close().catch(() => {}); // the terminal has gone
    return result;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.kill("SIGKILL");
    await this.result;
  }

  async #run(): Promise<RunResult> {
    const [{ code, signal }] = await Promise.all([
      this.#child.status,
      this.#read(this.#child.stdout, (chunk) => this.#stdout += chunk),
      this.#read(this.#child.stderr, (chunk) => this.#stderr += chunk),
    ]);
    this.#hasEnded = true;
    this.#more.resolve();
    return { code, signal, stdout: this.#stdout, stderr: this.#stderr };
  }

  async #read(
    stream: ReadableStream<Uint8Array<ArrayBuffer>>,
    take: (chunk: string) => void,
  ): Promise<void> {
    for await (const chunk of stream.pipeThrough(new TextDecoderStream())) {
      take(chunk);
      this.#more.resolve();
      this.#more = Promise.withResolvers();
    }
  }

  async #waitForMore(limit: number, pattern: RegExp): Promise<void> {
    const { promise, reject } = Promise.withResolvers<never>();
    const late = () => reject(new Error(`No line ${pattern} yet of ${this.#transcript()}`));
    const timer = setTimeout(late, limit);
    await Promise.race([this.#more.promise, promise]).finally(() => clearTimeout(timer));
  }

  /** What there is to know when it did not do as it should. */
  #transcript(): string {
    return `${this.#name}, which wrote:\n${this.#stdout}${this.#stderr}`;
  }
}

/** Where this machine has a program of one of these names; undefined if nowhere. */
export function onPath(...names: string[]): string | undefined {
  const folders = (Deno.env.get("PATH") ?? "").split(":");
  return folders.flatMap((folder) => names.map((name) => `${folder}/${name}`)).find((path) => {
    try {
      return Deno.statSync(path).isFile;
    } catch {
      return false; // there is none in this folder
    }
  });
}

/** A module in a project of its own, with the package among its imports; gives its path. */
export async function moduleOf(source: string): Promise<string> {
  const folder = tempFolder();
  const { imports } = JSON.parse(await Deno.readTextFile(CONFIG));
  imports["@netkit/socketserver"] = import.meta.resolve("../mod.ts");
  await Deno.writeTextFile(`${folder}/deno.json`, JSON.stringify({ imports, lock: false }));
  await Deno.writeTextFile(`${folder}/module.ts`, source);
  return `${folder}/module.ts`;
}

/** The arguments of Deno that run a module with no more permissions than `flags`, and with the project's settings. */
export function runArgs(module: string, flags: string[], args: string[]): string[] {
  return ["run", "--quiet", "--no-prompt", "--config", CONFIG, ...flags, module, ...args];
}
