/**
 * Looking at processes, by `/proc`, and killing them.
 *
 * @module
 */

/** The fields of a process from its parent on, by /proc; null when it has gone, zombies included. */
export function processStat(pid: number): string[] | null {
  try {
    const fields = Deno.readTextFileSync(`/proc/${pid}/stat`).replace(/^.*\) /s, "").split(" ");
    return fields[0] === "Z" ? null : fields.slice(1);
  } catch {
    return null; // it has ended
  }
}

export function isAlive(pid: number): boolean {
  return processStat(pid) !== null;
}

/** The children of a process that live. */
export function childrenOf(parent: number): number[] {
  const pids = [...Deno.readDirSync("/proc")].map(({ name }) => Number(name));
  return pids.filter((pid) => pid > 0 && processStat(pid)?.[0] === String(parent));
}

/** Kills a process if it is there. */
export function kill(pid: number): void {
  try {
    Deno.kill(pid, "SIGKILL");
  } catch {
    // it has ended
  }
}
