/**
 * What a subprocess of a forking server loads first: makes the import of the handler's module safe.
 *
 * Standard input and output belong to the protocol, so they are taken away from everybody else; what is printed goes
 * to standard error, and from there to the server's log. A server that the module starts is refused.
 *
 * @module
 */
import { Console } from "node:console";
import process from "node:process";
import { Readable } from "node:stream";
import { setImporting } from "./importing.ts";

/** The first argument of a subprocess of ours. */
export const CHILD_MARK = "@netkit/socketserver:child";

/** What stands on standard error before the number of a request whose connection its handler has closed. */
export const CLOSED_MARK = "\x00@netkit/socketserver:closed ";

/** How often the child looks whether its server still lives, in milliseconds. */
const PARENT_INTERVAL = 500;

/** The real standard input and output. */
export const { stdin, stdout } = Deno;
const { Command } = Deno;

/** What a handler finds as its standard input: nothing. */
const NO_INPUT: typeof Deno.stdin = {
  read: () => Promise.resolve(null),
  readSync: () => null,
  close() {},
  setRaw() {},
  isTerminal: () => false,
  get readable() {
    return new Blob([]).stream();
  },
};

/** Starts processes that cannot inherit what belongs to the protocol: no input, and output to standard error. */
class GuardedCommand extends Deno.Command {
  readonly #command: string | URL;
  readonly #options: Deno.CommandOptions;

  constructor(command: string | URL, options: Deno.CommandOptions = {}) {
    const { stdin = "inherit", stdout } = options;
    const guarded: Deno.CommandOptions = {
      ...options,
      stdin: stdin === "inherit" ? "null" : stdin,
      ...(stdout === "inherit" ? { stdout: "null" } : {}),
    };
    super(command, guarded);
    this.#command = command;
    this.#options = { ...guarded, stdout: stdout ?? "inherit" };
  }

  override spawn(): Deno.ChildProcess {
    if (this.#options.stdout !== "inherit") return super.spawn();
    const child = new Command(this.#command, { ...this.#options, stdout: "piped" }).spawn();
    // What fails is that nobody takes the output any more.
    child.stdout.pipeTo(Deno.stderr.writable, { preventClose: true }).catch(() => {});
    return child;
  }
}

if (Deno.args[0] === CHILD_MARK) {
  Object.defineProperty(Deno, "Command", { value: GuardedCommand });
  Object.defineProperty(Deno, "stdin", { value: NO_INPUT });
  Object.defineProperty(process, "stdin", { get: () => Readable.from([]) });
  Object.defineProperty(Deno, "stdout", { value: Deno.stderr });
  Object.defineProperty(process, "stdout", { value: process.stderr });
  globalThis.console = new Console(process.stderr, process.stderr) as unknown as typeof console;
  // A server that was killed closes our standard input, which nobody may be reading just now.
  const parent = Deno.ppid;
  Deno.unrefTimer(setInterval(() => {
    if (Deno.ppid !== parent) Deno.exit(1);
  }, PARENT_INTERVAL));
  // The terminal sends it to all processes; the server decides when a request under way ends.
  Deno.addSignalListener("SIGINT", () => {});
  setImporting(Deno.mainModule);
}
