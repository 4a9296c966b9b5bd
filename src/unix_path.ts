/**
 * The file of a Unix socket: whose it is, and when it may be removed.
 *
 * @module
 */

/** Which file a path led to: the device and the inode. */
export interface SocketFile {
  path: string;
  dev: number;
  ino: number | null;
}

/** How long a probe may take, in milliseconds; a path that does not answer in time counts as live. */
const PROBE_TIMEOUT = 2000;

const STALE = 1;
const LIVE = 2;

/**
 * Tries to connect, in a Worker because a constructor cannot await: the isolate that asks is blocked until the
 * answer is in the shared word.
 */
const PROBE_SOURCE = `self.onmessage = async ({ data: { path, answer } }) => {
  let found = ${LIVE};
  try {
    (await Deno.connect({ transport: "unix", path })).close();
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionRefused) found = ${STALE};
  }
  Atomics.store(answer, 0, found);
  Atomics.notify(answer, 0);
  self.close();
};`;

/**
 * Makes a path free to bind: removes a socket file on which nobody answers, and nothing else.
 *
 * @param path The path.
 * @throws {Deno.errors.AddrInUse} When somebody listens there, or when the path is not a socket.
 */
export function claimSocketPath(path: string): void {
  if (path.startsWith("\0")) return; // an abstract name has no file
  let info: Deno.FileInfo;
  try {
    info = Deno.lstatSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    throw error;
  }
  if (!info.isSocket) {
    const kind = info.isSymlink ? "a symbolic link" : info.isDirectory ? "a folder" : "a file";
    throw new Deno.errors.AddrInUse(`the path is ${kind} and no socket; choose another`);
  }
  if (probe(path) === LIVE) {
    throw new Deno.errors.AddrInUse("a live server has this path; stop it, or choose another");
  }
  Deno.removeSync(path);
}

/** Which file a path leads to now; null where there is none, or none that can be told. */
export function socketFileAt(path: string): SocketFile | null {
  if (path.startsWith("\0")) return null;
  try {
    const { dev, ino } = Deno.lstatSync(path);
    return { path, dev, ino };
  } catch {
    return null; // removed by somebody, which is no concern of ours
  }
}

/** Whether the file that was ours is still at its path. */
export function isStillThere(file: SocketFile): boolean {
  const now = socketFileAt(file.path);
  return now !== null && now.dev === file.dev && now.ino === file.ino;
}

function probe(path: string): number {
  const answer = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  const url = `data:text/javascript,${encodeURIComponent(PROBE_SOURCE)}`;
  const worker = new Worker(url, { type: "module" });
  worker.postMessage({ path, answer });
  Atomics.wait(answer, 0, 0, PROBE_TIMEOUT);
  worker.terminate();
  return Atomics.load(answer, 0) === STALE ? STALE : LIVE;
}
