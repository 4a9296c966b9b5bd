/**
 * The contenders of the benchmark: what they are called, how they are started, and which loads they take.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import type { Load, Service } from "./loads.ts";

/** One server that is measured. */
export interface Contender {
  /** What `--contender` calls it. */
  name: string;
  title: string;
  /** Whose it is: the picture has a colour for each. */
  group: "ours" | "others" | "limit";
  /** What it is compared with, besides `BARE`: the counterpart elsewhere. */
  counterpart?: string;
  /** Whether it belongs to `--quick`. */
  quick?: boolean;
  /** The services it has. */
  services: readonly Service[];
  /** How many connections it serves at a time. */
  most: number;
  /** Whether it differs from the contender before it only in the first answer on a connection. */
  firstOnly?: boolean;
  /** The command to start it. */
  command: (tools: Tools, service: Service, clients: number) => string[];
}

/** What is installed here; a string is the path. */
export interface Tools {
  deno: string;
  node?: string;
  python?: string;
  bun?: string;
  /** A C compiler. */
  cc?: string;
  /** The compiled `servers/threads.c`. */
  threads?: string;
  /** The compiled `load/load.c`. */
  load?: string;
}

/** What every contender is compared with. */
export const BARE = "deno-bare";

/** The path of a file of this folder. */
export function pathOf(file: string): string {
  return fileURLToPath(new URL(file, import.meta.url));
}

const STREAMS: readonly Service[] = ["echo", "lines", "compute"];
const ALL: readonly Service[] = [...STREAMS, "udp"];
/** A Worker for each connection, or a thread: as many as the idle connections are too many. */
const THREADS = 256;
const CHILDREN = 40;

function run(tools: Tools, file: string, ...args: string[]): string[] {
  const flags = ["run", "-A", "--quiet", "--config", pathOf("../../deno.json")];
  return [tools.deno, ...flags, pathOf(file), ...args];
}

type Ours = Omit<Contender, "group" | "command">;

function ours(contender: Ours): Contender {
  return {
    ...contender,
    group: "ours",
    command: (tools, service, clients) =>
      run(tools, "servers/ours.ts", contender.name, service, String(clients)),
  };
}

function python(mode: string, title: string, most: number, quick = false): Contender {
  return {
    name: `python-${mode}`,
    title,
    group: "others",
    quick,
    services: ALL,
    most,
    command: (tools, service) => [tools.python!, pathOf("servers/peers.py"), mode, service],
  };
}

/** The contenders, in the order of the report. */
export const CONTENDERS: readonly Contender[] = [
  ours({
    name: "plain",
    title: "plain",
    counterpart: "python-plain",
    services: ALL,
    most: 1,
  }),
  ours({
    name: "concurrent",
    title: "concurrent",
    counterpart: "python-asyncio",
    quick: true,
    services: ALL,
    most: Infinity,
  }),
  ours({
    name: "threading",
    title: "threading",
    counterpart: "python-threading",
    quick: true,
    services: ALL,
    most: THREADS,
  }),
  ours({
    name: "threading-blocking",
    title: "threading, blocking",
    counterpart: "python-threading",
    services: STREAMS,
    most: THREADS,
  }),
  ours({
    name: "pool-2",
    title: "pool of 2",
    counterpart: "python-threading",
    quick: true,
    services: STREAMS,
    most: Infinity,
  }),
  ours({
    name: "pool-40",
    title: "pool of 40 × 1",
    counterpart: "python-threading",
    services: STREAMS,
    most: 40,
  }),
  ours({
    name: "forking",
    title: "forking, reused",
    counterpart: "python-forking",
    quick: true,
    services: ALL,
    most: CHILDREN,
  }),
  ours({
    name: "forking-fresh",
    title: "forking, fresh",
    counterpart: "python-forking",
    services: ALL,
    most: CHILDREN,
    firstOnly: true,
  }),
  {
    name: BARE,
    title: "Deno.listen loop",
    group: "others",
    quick: true,
    services: ALL,
    most: Infinity,
    command: (tools, service) => run(tools, "servers/bare.ts", service),
  },
  {
    name: "deno-workers",
    title: "Deno.listen in Workers",
    group: "others",
    services: STREAMS,
    most: THREADS,
    command: (tools, service, clients) =>
      run(tools, "servers/bare.ts", service, String(Math.max(40, clients))),
  },
  {
    name: "deno-node",
    title: "node:net in Deno",
    group: "others",
    services: ALL,
    most: Infinity,
    command: (tools, service) => run(tools, "servers/node.mjs", service),
  },
  {
    name: "node",
    title: "node:net in Node",
    group: "others",
    quick: true,
    services: ALL,
    most: Infinity,
    command: (tools, service) => [tools.node!, pathOf("servers/node.mjs"), service],
  },
  {
    name: "bun",
    title: "Bun.listen",
    group: "others",
    services: ALL,
    most: Infinity,
    command: (tools, service) => [tools.bun!, pathOf("servers/bun.js"), service],
  },
  python("plain", "Python, plain", 1),
  python("threading", "Python, threading", Infinity, true),
  python("forking", "Python, forking", THREADS, true),
  python("asyncio", "Python, asyncio", Infinity),
  {
    name: "c-threads",
    title: "C, a thread each",
    group: "limit",
    quick: true,
    services: ALL,
    most: Infinity,
    command: (tools, service) => [tools.threads!, service],
  },
];

const NEEDS: Record<string, keyof Tools> = { node: "node", bun: "bun", "c-threads": "threads" };

/** Why a contender has no part in a load; null when it has. */
export function reasonToMiss(contender: Contender, load: Load, tools: Tools): string | null {
  const need = contender.name.startsWith("python-") ? "python" : NEEDS[contender.name];
  if (need !== undefined && tools[need] === undefined) {
    return `needs ${need === "threads" ? "a C compiler" : need}`;
  }
  if (!contender.services.includes(load.service)) return "no such server";
  const queues = load.kind === "visit" || load.kind === "udp"; // who is not served waits for its turn
  if (!queues && load.sockets > contender.most) {
    return contender.most === 1 ? "one client at a time" : `${contender.most} clients at a time`;
  }
  if (contender.firstOnly && (load.kind === "echo" || load.kind === "transfer")) {
    return "once connected, as reused";
  }
  return null;
}

/**
 * Finds what is installed, and compiles what is in C.
 *
 * @param folder Where the compiled programs go.
 */
export async function findTools(folder: string): Promise<Tools> {
  const tools: Tools = { deno: Deno.execPath() };
  // The programs themselves: a wrapper would take part in the time of a start.
  const node = await output("node", "-p", "process.execPath");
  const python = await output("python3", "-c", "import sys; print(sys.executable)");
  const bun = await output("bun", "-e", "console.log(process.execPath)");
  if (node !== null) tools.node = node;
  if (python !== null) tools.python = python;
  if (bun !== null) tools.bun = bun;
  return { ...tools, ...await compileAll(folder) };
}

/**
 * Compiles what is in C, where there is a compiler.
 *
 * @param folder Where the programs go.
 */
export async function compileAll(
  folder: string,
): Promise<Pick<Tools, "cc" | "load" | "threads">> {
  for (const cc of ["cc", "gcc", "clang"]) {
    if (await output(cc, "--version") === null) continue;
    const [load, threads] = [`${folder}/load`, `${folder}/threads`];
    return {
      cc,
      ...(await compile(cc, "load/load.c", load) ? { load } : {}),
      ...(await compile(cc, "servers/threads.c", threads) ? { threads } : {}),
    };
  }
  return {};
}

async function compile(compiler: string, source: string, program: string): Promise<boolean> {
  return await output(compiler, "-O2", "-pthread", pathOf(source), "-o", program) !== null;
}

/** What a program prints; null when it is not there or fails. */
export async function output(command: string, ...args: string[]): Promise<string | null> {
  try {
    const { success, stdout } = await new Deno.Command(command, { args, stderr: "null" }).output();
    return success ? new TextDecoder().decode(stdout).trim() : null;
  } catch {
    return null;
  }
}
