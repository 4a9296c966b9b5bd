/**
 * What the tests share: running servers and programs, clients, data, and faults.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import type { AnyServer, ServerLogger, SocketAddress } from "@netkit/socketserver";

export const LOOPBACK = { hostname: "127.0.0.1", port: 0 };

/** How long the next step of a server or a program may take on a busy machine, in milliseconds. */
export const PATIENCE = 60_000;

const examples = new URL("../examples/tls/", import.meta.url);
/** A certificate for localhost with its key, and the authority that signed it. */
export const TLS = {
  cert: Deno.readTextFileSync(new URL("cert.pem", examples)),
  key: Deno.readTextFileSync(new URL("key.pem", examples)),
  ca: Deno.readTextFileSync(new URL("ca.pem", examples)),
};

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Text as UTF-8. */
export function bytes(text: string): Uint8Array<ArrayBuffer> {
  return encoder.encode(text);
}

/** UTF-8 as text. */
export function text(data: Uint8Array): string {
  return decoder.decode(data);
}

/** Holds all that the tests of one file put on disk; removed when they are over. */
let tempRoot: string | undefined;

/** A new empty folder, with a short path: that of a socket has at most 107 bytes. */
export function tempFolder(): string {
  if (tempRoot === undefined) {
    const root = tempRoot = Deno.makeTempDirSync({ prefix: "ss-" });
    addEventListener("unload", () => Deno.removeSync(root, { recursive: true }));
  }
  return Deno.makeTempDirSync({ dir: tempRoot });
}

/** Bytes that tell their place: they do not repeat before 64,256 of them, which is no power of two. */
export function pattern(size: number): Uint8Array<ArrayBuffer> {
  const data = new Uint8Array(size);
  for (let index = 0; index < size; index++) data[index] = index % 251 + Math.floor(index / 251);
  return data;
}

/** Numbers from 0 to `limit`, the same for the same seed. */
export function seeded(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * (limit + 1));
  };
}

/** Lets everything that is ready run, the report of unhandled rejections included. */
export async function settle(turns = 3): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setTimeout(resolve, 0));
}

/**
 * Has what waits by such times, which `src/` exports for that, wait for less, until the end of the scope.
 *
 * @param times Those of all that is in this isolate.
 * @param shorter Some of them.
 */
export function withTimes<Times extends Record<string, number>>(
  times: Times,
  shorter: Partial<Times>,
): Disposable {
  const before = { ...times };
  Object.assign(times, shorter);
  return { [Symbol.dispose]: () => void Object.assign(times, before) };
}

/** A path for a socket, in a folder of its own. */
export function tempSocketPath(): string {
  return `${tempFolder()}/s.sock`;
}

/** The project's own settings, for programs that run on their own. */
export const CONFIG = fileURLToPath(new URL("../deno.json", import.meta.url));

/** How {@linkcode runProgram} runs a program. */
export interface RunOptions {
  /** The flags of Deno; all permissions and no check when left out. */
  flags?: string[];
  /** The arguments of the program. */
  args?: string[];
  /** Runs it as a test. */
  test?: boolean;
  /** What to put before the command, such as another user. */
  wrapper?: string[];
  /** More of the environment. */
  env?: Record<string, string>;
  /** When to kill it, in milliseconds; after two minutes when left out. */
  limit?: number;
}

/** What became of a program. */
export interface RunResult {
  code: number;
  signal: Deno.Signal | null;
  stdout: string;
  stderr: string;
}

/** Runs a program that is given as text, in a process of its own with the project's settings, to its end. */
export async function runProgram(program: string, options: RunOptions = {}): Promise<RunResult> {
  const { flags = ["-A", "--no-check"], args = [], test = false, wrapper = [], env = {} } = options;
  const folder = tempFolder();
  const file = `${folder}/${test ? "main_test.ts" : "main.ts"}`;
  await Deno.writeTextFile(file, program);
  const config = flags.includes("--config") ? [] : ["--config", CONFIG];
  const deno = [Deno.execPath(), test ? "test" : "run", "--quiet", "--no-prompt", ...config];
  const [command, ...rest] = [...wrapper, ...deno, ...flags, file, ...args];
  const child = new Deno.Command(command!, {
    args: rest,
    env: { NO_COLOR: "1", ...env },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const timer = setTimeout(() => child.kill("SIGKILL"), options.limit ?? 2 * PATIENCE);
  const { code, signal, stdout, stderr } = await child.output();
  clearTimeout(timer);
  return { code, signal, stdout: text(stdout), stderr: text(stderr) };
}

/** What every threading server says of itself, whatever is tested. */
const THREADING_MODE = /^(Workers accept clients|Main isolate relays): /;

/** A logger that keeps its lines, as "level: message", less those of {@linkcode THREADING_MODE}. */
export class ListLogger implements ServerLogger {
  readonly lines: string[] = [];
  debug = (message: string) => {
    if (!THREADING_MODE.test(message)) this.lines.push(`debug: ${message}`);
  };
  info = (message: string) => this.lines.push(`info: ${message}`);
  warn = (message: string) => this.lines.push(`warn: ${message}`);
  error = (message: string) => this.lines.push(`error: ${message}`);
}

/** Connects, sends, ends the write side, and reads until the server closes. */
export async function exchange(
  address: SocketAddress,
  data: string | Uint8Array,
): Promise<string> {
  return await exchangeOn(await connect(address), data);
}

/** Sends on a connection, ends its write side, and reads until the server closes. */
export async function exchangeOn(conn: Deno.Conn, data: string | Uint8Array): Promise<string> {
  using _ = conn;
  return await answered(conn, async () => {
    await writeAll(conn, typeof data === "string" ? bytes(data) : data);
    await conn.closeWrite();
    return text(await readAll(conn));
  });
}

/** Waits for an answer, but not for ever: a server that owes it is to fail its test, and not to stop all others. */
async function answered<T>(conn: { close(): void }, ask: () => Promise<T>): Promise<T> {
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    conn.close();
  }, PATIENCE);
  try {
    return await ask();
  } catch (error) {
    throw isLate ? new Error(`no answer within ${PATIENCE} ms`, { cause: error }) : error;
  } finally {
    clearTimeout(timer);
  }
}

/** Connects to a stream server. */
export function connect(address: SocketAddress): Promise<Deno.Conn> {
  if (address.transport === "tcp" || address.transport === "unix") {
    return address.transport === "tcp" ? Deno.connect(address) : Deno.connect(address);
  }
  throw new TypeError(`Cannot connect over ${address.transport}`);
}

/** Connects over TLS to a server with the certificate of the examples. */
export function connectTLS(address: SocketAddress): Promise<Deno.TlsConn> {
  const { port } = address as Deno.NetAddr;
  return Deno.connectTls({ hostname: "localhost", port, caCerts: [TLS.ca] });
}

export async function writeAll(conn: Deno.Conn, data: Uint8Array): Promise<void> {
  for (let sent = 0; sent < data.length;) sent += await conn.write(data.subarray(sent));
}

/** Reads to the end of the stream. */
export async function readAll(conn: Deno.Conn): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  const buffer = new Uint8Array(65536);
  for (let count = await conn.read(buffer); count !== null; count = await conn.read(buffer)) {
    chunks.push(buffer.slice(0, count));
  }
  return new Uint8Array(await new Blob(chunks as BlobPart[]).arrayBuffer());
}

/** Reads exactly so many bytes. */
export async function readExactly(conn: Deno.Conn, size: number): Promise<Uint8Array> {
  const data = new Uint8Array(size);
  for (let got = 0; got < size;) {
    const count = await conn.read(data.subarray(got));
    if (count === null) throw new Error(`the stream ended after ${got} of ${size} bytes`);
    got += count;
  }
  return data;
}

/** A socket for datagrams to a server at `address`. */
export function datagramClient(
  address: { transport: string },
): Deno.DatagramConn & Disposable {
  const conn = address.transport === "udp"
    ? Deno.listenDatagram({ transport: "udp", ...LOOPBACK })
    : Deno.listenDatagram({ transport: "unixpacket", path: tempSocketPath() });
  return Object.assign(conn, { [Symbol.dispose]: () => conn.close() });
}

/** Sends one datagram from a socket of its own and gives the answer. */
export async function datagramExchange(
  address: SocketAddress,
  data: string | Uint8Array,
): Promise<string> {
  using client = datagramClient(address);
  return await answered(client, async () => {
    await client.send(typeof data === "string" ? bytes(data) : data, address);
    return text((await client.receive())[0]);
  });
}

/** A server with its loop running, to be closed by `await using`. */
export interface Started<Server> extends AsyncDisposable {
  server: Server;
  serving: Promise<void>;
}

/** Starts the loop; at the end of the scope the loop is stopped and the server closed. */
export function start<Server extends AnyServer>(server: Server): Started<Server> {
  const serving = server.serveForever();
  serving.catch(() => {}); // a test that expects the rejection awaits `serving`
  return {
    server,
    serving,
    async [Symbol.asyncDispose]() {
      await server.serverClose();
      await server.finished;
    },
  };
}

/** Connects and resets at once, so that the server may find the connection dead before it accepts it. */
export async function connectAndReset(address: SocketAddress): Promise<void> {
  const { connect } = await import("node:net");
  const { hostname, port } = address as Deno.NetAddr;
  const { promise, resolve } = Promise.withResolvers<void>();
  const socket = connect(port, hostname, () => socket.resetAndDestroy());
  socket.on("error", () => {});
  socket.on("close", () => resolve());
  await promise;
}

// Deno opens two descriptors of its own half a second after its start, or when it first hears of signals; here they
// are from the beginning, so that no test counts them.
const nothing = () => {};
Deno.addSignalListener("SIGUSR2", nothing);
Deno.removeSignalListener("SIGUSR2", nothing);

/** How many sockets a process listens on, or is bound to. */
export function listeningSockets(pid: number): number {
  const listening = new Set<string>();
  for (const table of ["tcp", "tcp6", "udp", "udp6"]) {
    for (const line of Deno.readTextFileSync(`/proc/net/${table}`).trim().split("\n").slice(1)) {
      const [, , , state, , , , , , inode = ""] = line.trim().split(/\s+/);
      if (state === "0A" || state === "07") listening.add(`socket:[${inode}]`);
    }
  }
  const folder = `/proc/${pid}/fd`;
  return [...Deno.readDirSync(folder)].filter(({ name }) => {
    try {
      return listening.has(Deno.readLinkSync(`${folder}/${name}`));
    } catch {
      return false; // it has been closed
    }
  }).length;
}

/** How many descriptors this process has open. */
export function openDescriptors(): number {
  return [...Deno.readDirSync("/proc/self/fd")].length;
}

/**
 * Fails when more descriptors are open than `before`. Fewer are no fault: Workers of earlier tests may give theirs
 * back meanwhile.
 */
export function assertNoneOpened(before: number): void {
  const now = openDescriptors();
  if (now > before) throw new Error(`${now - before} descriptors more are open than before`);
}

/** Whether the event loop turns while something is done again and again, ten thousand times at the most. */
export async function letsTurn(again: () => Promise<unknown>): Promise<boolean> {
  let hasTurned = false;
  const timer = setTimeout(() => hasTurned = true);
  for (let left = 10_000; left > 0 && !hasTurned; left--) await again();
  clearTimeout(timer);
  return hasTurned;
}

/** Resolves when `condition` holds; fails when it does not within `limit` milliseconds. */
export async function until(condition: () => boolean, limit = PATIENCE): Promise<void> {
  const deadline = performance.now() + limit;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`not so within ${limit} ms: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** What code may throw that is hard to look at: each function makes another. */
export const ODD_VALUES: Record<string, () => unknown> = {
  "a Proxy that throws on everything": () => {
    const refuse = () => {
      throw new Error("this Proxy tells nothing");
    };
    return new Proxy(new Error("hidden"), new Proxy({}, { get: () => refuse }));
  },
  "a revoked Proxy": () => {
    const { proxy, revoke } = Proxy.revocable(new Error("revoked"), {});
    revoke();
    return proxy;
  },
  "an object without a prototype": () => Object.create(null),
  "an error whose properties throw": () => {
    const error = new Error("unread");
    for (const name of ["name", "message", "stack", "cause", "code"]) {
      const get = () => {
        throw new Error(`no ${name}`);
      };
      Object.defineProperty(error, name, { get });
    }
    return error;
  },
  "an error with an endless chain of causes": () => {
    class Deep extends Error {
      override get cause() {
        return new Deep("deeper");
      }
    }
    return Object.freeze(new Deep("deep"));
  },
  "an error whose name is a symbol": () => Object.assign(new Error("odd"), { name: Symbol("odd") }),
  "an error whose name is no text": () =>
    Object.assign(new Error("odd"), { name: Object.create(null) }),
  "an error whose message is no text": () =>
    Object.assign(new Error("odd"), { message: Symbol("odd"), stack: { odd: true } }),
  "an error whose errors cannot be read": () =>
    Object.assign(new Error("odd"), {
      errors: new Proxy([], {
        get() {
          throw new Error("no errors");
        },
      }),
    }),
  "an error whose text is cut in an odd place": () => {
    const error = new Error("odd");
    error.stack = Object.create(null);
    error.cause = Object.assign(new Error("cause"), { name: Symbol("cause") });
    return error;
  },
  "an object that throws when it is shown": () => ({
    [Symbol.for("Deno.customInspect")]() {
      throw new Error("not to be shown");
    },
    toString() {
      throw new Error("no text");
    },
  }),
  "a symbol": () => Symbol("odd"),
  "undefined": () => undefined,
};
