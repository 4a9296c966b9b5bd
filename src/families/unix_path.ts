/**
 * The file of a Unix socket: who gets the path, and who removes the file.
 *
 * Servers that start on one path take turns by a lock file next to it, so that exactly one finds it free. A stream
 * server binds under another name and is then given the path by a hard link: Deno removes the name that it has bound
 * when the listener closes, whoever owns it by then.
 *
 * @module
 */
import { fitsSocket } from "../base/address.ts";

/** The file that a server has made, and which it alone may remove. */
export interface SocketFile {
  /** Where it is, absolute, so that a change of the working directory does not matter. */
  readonly path: string;
  readonly dev: number;
  readonly ino: number | null;
  /** What Deno removes when the socket is closed; null where it removes nothing. */
  readonly removedByDeno: string | null;
}

/** How {@linkcode bindSocketFile} binds. */
export interface BindSocketOptions<Socket> {
  /** Binds a path. */
  bind: (path: string) => Socket;
  /** The permissions of the file; null for what the umask leaves. */
  mode: number | null;
  /** Whether Deno removes the path that was bound when it closes the socket. */
  removedByDeno: boolean;
}

/** How long a probe may take, in milliseconds; a path that does not answer in time counts as live. */
const PROBE_TIMEOUT = 5000;
/** How often a server looks whether another that starts on its path is done: for about 2 s, longer on a busy machine. */
const LOCK_TRIES = 400;
/** How long a server waits for others on its path, in milliseconds; an object, so that tests can have it wait for less. */
export const lockTimes = {
  /** The pause between. */
  pause: 5,
  /** How long it lets others take turns. */
  timeout: 20_000,
};
/** How often the other name may vanish before that is an error. */
const MAX_TRIES = 10;

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
 * Binds a path that is free, or where a dead server has left its file.
 *
 * Of several servers that start at once exactly one gets the path, if Deno may use `PATH.netkit-lock`. Without the
 * permission for that, and for the name `PATH.netkit-new`, or where that is too long for a socket, it binds the path
 * itself and hopes for the best.
 *
 * @returns The socket, and its file; null for an abstract name, which has none.
 * @throws {Deno.errors.AddrInUse} When somebody listens there, when the path is not a socket, or when one of the other
 *   names is somebody else's.
 */
export function bindSocketFile<Socket extends { close(): void }>(
  path: string,
  options: BindSocketOptions<Socket>,
): { socket: Socket; file: SocketFile | null } {
  if (path.startsWith("\0")) return { socket: options.bind(path), file: null };
  using lock = lockPath(path);
  freePath(path, "the path");
  const aside = `${path}.netkit-new`;
  return lock !== null && options.removedByDeno && mayBind(aside)
    ? bindAside(path, aside, options)
    : bindDirectly(path, options);
}

/** Removes the file of a server that is about to close, where Deno does not and if it is still that server's. */
export function removeSocketFile(file: SocketFile): void {
  const { path, removedByDeno } = file;
  if (removedByDeno !== null && isAt(removedByDeno, file)) return;
  if (!isAt(path, file)) return;
  try {
    Deno.removeSync(path);
  } catch {
    // The folder has become read-only; the next server will find the file stale and replace it.
  }
}

/** Whether the file that a server has made is still at its path. */
export function isStillThere(file: SocketFile): boolean {
  return isAt(file.path, file);
}

/** Binds under another name and gives the path to that, which fails where somebody has it by now. */
function bindAside<Socket extends { close(): void }>(
  path: string,
  aside: string,
  { bind, mode }: BindSocketOptions<Socket>,
): { socket: Socket; file: SocketFile } {
  for (let tries = 1;; tries++) {
    freePath(aside, `"${aside}"`); // of a server that died in this very place
    const socket = bind(aside);
    try {
      if (mode !== null) Deno.chmodSync(aside, mode);
      Deno.linkSync(aside, path);
    } catch (error) {
      socket.close();
      // An earlier server of this path has closed just now, and Deno has removed the name for it.
      if (error instanceof Deno.errors.NotFound && tries < MAX_TRIES) continue;
      throw error instanceof Deno.errors.AlreadyExists ? inUse("the path") : error;
    }
    removeIfThere(aside);
    return { socket, file: describe(path, aside) };
  }
}

function bindDirectly<Socket extends { close(): void }>(
  path: string,
  { bind, mode, removedByDeno }: BindSocketOptions<Socket>,
): { socket: Socket; file: SocketFile } {
  const socket = bind(path);
  try {
    if (mode !== null) Deno.chmodSync(path, mode);
    return { socket, file: describe(path, removedByDeno ? path : null) };
  } catch (error) {
    socket.close();
    throw error;
  }
}

function describe(path: string, removedByDeno: string | null): SocketFile {
  const { dev, ino } = Deno.lstatSync(path);
  return { path: absolute(path), dev, ino, removedByDeno };
}

function absolute(path: string): string {
  return path.startsWith("/") ? path : `${Deno.cwd()}/${path}`;
}

/**
 * Makes a path free to bind: removes a socket file on which nobody answers, and nothing else.
 *
 * @param what What messages call the path.
 * @throws {Deno.errors.AddrInUse} When somebody listens there, or when the path is not a socket.
 */
function freePath(path: string, what: string): void {
  const info = fileAt(path);
  if (info === null) return;
  if (!info.isSocket) {
    throw new Deno.errors.AddrInUse(
      `${what} is ${kindOf(info)} and no socket; choose another path`,
    );
  }
  if (probe(path) === LIVE || !isAt(path, info)) throw inUse(what);
  Deno.removeSync(path);
}

function kindOf({ isSymlink, isDirectory, isSocket }: Deno.FileInfo): string {
  if (isSymlink) return "a symbolic link";
  return isDirectory ? "a folder" : isSocket ? "a socket" : "a file";
}

/** Whether the system and Deno let a socket have a path. Deno would ask who sits at the terminal, so it is not tried. */
function mayBind(path: string): boolean {
  return fitsSocket(path) && mayReadAndWrite(path) &&
    isGranted({ name: "net", host: `unix:${absolute(path)}` });
}

function mayReadAndWrite(path: string): boolean {
  return isGranted({ name: "read", path }) && isGranted({ name: "write", path });
}

function isGranted(descriptor: Deno.PermissionDescriptor): boolean {
  return Deno.permissions.querySync(descriptor).state === "granted";
}

function inUse(what: string): Error {
  return new Deno.errors.AddrInUse(`a live server has ${what}; stop it, or choose another path`);
}

/**
 * Takes the lock of a path, which the system gives back when a process dies. The file is removed at the end.
 *
 * @returns The lock; null where Deno may not use its file.
 * @throws {Deno.errors.AddrInUse} When the name of the file is somebody else's, or the lock held for too long.
 */
function lockPath(path: string): Disposable | null {
  const name = `${path}.netkit-lock`;
  if (!mayReadAndWrite(name)) return null;
  const deadline = performance.now() + lockTimes.timeout;
  let turn: number | undefined;
  for (let tries = 0; tries < LOCK_TRIES; tries++) {
    const info = fileAt(name);
    if (info !== null && (!info.isFile || info.size > 0)) {
      const kind = kindOf(info);
      throw new Deno.errors.AddrInUse(
        `"${name}" is ${kind} and not a server's empty lock; move it, or choose another path`,
      );
    }
    const lock = tryLock(name, info === null);
    if (lock !== null) return lock;
    const next = info?.mtime?.getTime(); // each that has its turn makes a file, so that a crowd gets through
    if (next !== turn && performance.now() < deadline) tries = 0;
    turn = next;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, lockTimes.pause);
  }
  throw new Deno.errors.AddrInUse(
    `somebody else keeps "${name}" locked; end that, or choose another path`,
  );
}

/** Locks a file that has to be new, or has to be there; null when another has it, or has made or removed it just now. */
function tryLock(name: string, createNew: boolean): Disposable | null {
  let file: Deno.FsFile;
  try {
    file = Deno.openSync(name, { read: true, write: true, createNew, mode: 0o600 });
  } catch (error) {
    const raced = createNew ? Deno.errors.AlreadyExists : Deno.errors.NotFound;
    if (error instanceof raced) return null;
    throw error;
  }
  // A file that its last owner has removed locks nothing any more.
  const isOurs = () => isAt(name, file.statSync());
  if (!file.tryLockSync(true) || !isOurs()) {
    file.close();
    return null;
  }
  return {
    [Symbol.dispose]() {
      if (isOurs() && file.statSync().size === 0) removeIfThere(name);
      file.close();
    },
  };
}

function fileAt(path: string): Deno.FileInfo | null {
  try {
    return Deno.lstatSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}

function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** Whether a path leads to a file. */
function isAt(path: string, { dev, ino }: { dev: number; ino: number | null }): boolean {
  try {
    const now = Deno.lstatSync(path);
    return now.dev === dev && now.ino === ino;
  } catch {
    return false; // removed by somebody, which is no concern of ours
  }
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
