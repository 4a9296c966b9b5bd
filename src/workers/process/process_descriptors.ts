/**
 * Where the protocol of a subprocess comes in and goes out: not at descriptors 0 and 1, which ordinary code finds.
 *
 * `Deno.Command` gives a subprocess three descriptors, and the protocol arrives at the first two. On Linux it is moved
 * to others before the handler's module is loaded: 0 becomes empty, and what is written to 1, in whatever way and by
 * whichever process that inherits it, goes where standard error goes. There is no `dup2()` in Deno; a descriptor is
 * closed and its number taken again at once, as the system gives the lowest one that is free.
 *
 * @module
 */
import { closeSync, fstatSync, openSync } from "node:fs";
import process from "node:process";
import { DESCRIPTORS as FOLDER, MOVE_PATHS, NOTHING } from "./process_contract.ts";
import type { StdioInput, StdioOutput } from "./stdio.ts";

/** Copies are looked for below this descriptor; they are made when Deno starts. */
const MAX_COPY = 64;

/** The two ends of the protocol in a subprocess. */
export interface Descriptors {
  input: StdioInput;
  output: StdioOutput;
}

/** What Node's own modules make pipes of. */
interface PipeBinding {
  Pipe: { new (type: number): PipeHandle; prototype: Partial<PipeHandle> };
  constants: { SOCKET: number };
}

interface PipeHandle {
  /** Takes a descriptor, which does not block from then on; gives 0, or what was wrong. */
  open(fd: number): number;
  /** Duplicates the descriptor. */
  fdForIpc(): number;
  /** Closes the descriptor at once. */
  close(): void;
}

/**
 * Moves the protocol away from descriptors 0 and 1, and gives up the permission for that.
 *
 * @returns `null` where that cannot be done, which leaves all as it was.
 * @throws {Error} When it was done by half: something else took a number.
 */
export function moveDescriptors(): Descriptors | null {
  try {
    return mayMove() ? move() : null;
  } finally {
    for (const name of ["read", "write"] as const) revoke(name);
  }
}

function mayMove(): boolean {
  if (Deno.build.os !== "linux") return false;
  return MOVE_PATHS.read.every((path) => may("read", path)) &&
    MOVE_PATHS.write.every((path) => may("write", path));
}

/** Gives up what was allowed for the move, but not what the handler may have nor what a wider permission contains. */
function revoke(name: "read" | "write"): void {
  for (const path of MOVE_PATHS[name]) {
    if (Deno.args.includes(`${name}:${path}`)) continue;
    if (!may(name, path.slice(0, path.lastIndexOf("/")))) {
      Deno.permissions.revokeSync({ name, path });
    }
  }
}

function may(name: "read" | "write", path: string): boolean {
  return Deno.permissions.querySync({ name, path }).state === "granted";
}

function move(): Descriptors | null {
  const binding = (process as unknown as { binding(name: string): PipeBinding })
    .binding("pipe_wrap");
  // Deno keeps copies of 1 and 2 for processes that inherit them.
  const [outputCopy, logCopy] = [1, 2].map((fd) => findCopy(fstatSync(fd).ino));
  const isKnown = typeof binding.Pipe?.prototype.fdForIpc === "function";
  if (outputCopy === undefined || logCopy === undefined || !isKnown) return null; // another Deno
  const adopt = (fd: number): PipeHandle => {
    const handle = new binding.Pipe(binding.constants.SOCKET);
    const error = handle.open(fd);
    if (error !== 0) throw new Error(`Cannot move descriptor ${fd}: error ${error}`);
    return handle;
  };
  const [input, output] = [adopt(0), adopt(1)];
  const inputCopy = input.fdForIpc();
  // Nobody closes this one: the server must not read the end before Deno has said what ended the process.
  output.fdForIpc();
  // What is opened anew blocks, as it shares no flags with what was adopted.
  const descriptors = {
    input: Deno.openSync(`${FOLDER}/${inputCopy}`, { read: true }),
    output: Deno.openSync(`${FOLDER}/${outputCopy}`, { write: true }),
  };
  input.close();
  take(0, NOTHING, "r");
  for (const handle of [output, adopt(outputCopy)]) {
    const fd = handle === output ? 1 : outputCopy;
    handle.close();
    take(fd, `${FOLDER}/${logCopy}`, "w");
  }
  adopt(inputCopy).close();
  return descriptors;
}

/** Finds another descriptor of the pipe of that number. */
function findCopy(ino: number): number | undefined {
  for (let fd = 3; fd < MAX_COPY; fd++) {
    try {
      const opened = openSync(`${FOLDER}/${fd}`, "r");
      const isCopy = fstatSync(opened).ino === ino;
      closeSync(opened);
      if (isCopy) return fd;
    } catch {
      // It is no pipe, or there is none.
    }
  }
}

/** Opens a file as the descriptor of that number, which is free. */
function take(fd: number, path: string, flags: "r" | "w"): void {
  const taken = openSync(path, flags);
  if (taken !== fd) throw new Error(`Cannot move descriptor ${fd}: something else took its place`);
}
