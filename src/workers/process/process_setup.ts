/**
 * What a subprocess of a forking server loads first: makes the import of the handler's module safe.
 *
 * Standard input and output belong to the protocol, so it is moved away from there, or else they are taken away from
 * everybody else; what is printed goes to standard error, and from there to the server's log. What would keep data
 * for the next request is taken away, and a server that the module starts is refused.
 *
 * @module
 */
import { Console } from "node:console";
import { closeSync } from "node:fs";
import process from "node:process";
import { Readable } from "node:stream";
import { CHILD_MARK } from "./process_contract.ts";
import { type Descriptors, moveDescriptors } from "./process_descriptors.ts";
import { setImporting } from "../../base/startup.ts";

/** How often the child looks whether its server still lives, in milliseconds. */
const PARENT_INTERVAL = 500;

/** Whether this is a subprocess of ours. */
export const isChild: boolean = Deno.args[0] === CHILD_MARK;

const moved = isChild ? moveDescriptors() : null;
/** Where the protocol comes in and goes out. */
export const descriptors: Descriptors = moved ?? { input: Deno.stdin, output: Deno.stdout };
/** The real standard error. */
export const { stderr } = Deno;
/** The real end of the process. */
export const { exit } = Deno;
const { Command } = Deno;
/** Where data outlives the process, without any permission. */
const STORES = ["localStorage", "caches"];

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

/** Takes standard input and output away from all that asks Deno for them. */
function hideStdio(): void {
  Object.defineProperty(Deno, "stdin", { value: NO_INPUT });
  Object.defineProperty(process, "stdin", { get: () => Readable.from([]) });
  Object.defineProperty(Deno, "stdout", { value: Deno.stderr });
  Object.defineProperty(process, "stdout", { value: process.stderr });
  globalThis.console = new Console(process.stderr, process.stderr) as unknown as typeof console;
  // For `node:fs` they are closed now; the protocol does not go by their numbers.
  for (const fd of [0, 1]) closeSync(fd);
}

/** Takes away what keeps data for the next request, unless that may be written to any file. */
function sealStores(): void {
  if (Deno.permissions.querySync({ name: "write" }).state === "granted") return;
  for (const name of STORES) {
    Object.defineProperty(globalThis, name, { get: () => refuseStore(name) });
  }
  if ("openKv" in Deno) {
    Object.defineProperty(Deno, "openKv", { value: () => refuseStore("openKv") });
  }
}

function refuseStore(name: string): never {
  throw new Deno.errors.NotCapable(
    `Cannot use "${name}": add "--allow-write" to 'childPermissions' of the server`,
  );
}

/** Ends the process when its server is gone; a handler that clears timers does not clear this. */
async function endWithParent(): Promise<void> {
  const { waitAsync } = Atomics;
  const parent = Deno.ppid;
  const cell = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  while (Deno.ppid === parent) await waitAsync(cell, 0, 0, PARENT_INTERVAL).value;
  exit(1);
}

if (isChild) {
  Object.defineProperty(Deno, "Command", { value: GuardedCommand });
  if (moved === null) hideStdio();
  sealStores();
  // A server that was killed closes our standard input, which nobody may be reading just now.
  void endWithParent();
  // The terminal sends it to all processes; the server decides when a request under way ends.
  Deno.addSignalListener("SIGINT", () => {});
  setImporting(Deno.mainModule);
}
