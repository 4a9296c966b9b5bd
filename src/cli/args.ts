/**
 * What the command line asks for.
 *
 * @module
 */
import { parseArgs } from "@std/cli";
import type { InetAddress } from "../base/address.ts";
import { DRAIN_TIMEOUT, MAX_TIMER } from "../base/options.ts";

/** What `--help` prints; it fits a screen of 24 lines. */
export const HELP = `\
Usage: deno run -A jsr:@netkit/socketserver/cli MODULE ADDRESS [OPTION]...
Serves the request handler that MODULE, a path or a URL, exports.

--class NAME           which export is the handler, where there are several
--tcp HOST:PORT        [::1]:80 is IPv6, :80 all of IPv4; port 0 picks one
--udp HOST:PORT        with "deno run --unstable-net", as --unix-datagram
--tls HOST:PORT        with --cert FILE and --key FILE (PEM)
--unix PATH, --unix-datagram PATH
--mode MODE            concurrent: many at once on the event loop (the default);
                       sync: one at a time (Python's default); threading: each
                       in a Web Worker; forking: each in a subprocess; pool:
                       many at once in each of several Workers (TCP and TLS)
--max N                most requests, Workers or subprocesses; Workers of a pool
--max-per-source N     most requests of one client; what is beyond is closed
--request-timeout MS   when to cut a request off
--child-permissions FLAG  for subprocesses, as --allow-env; may be repeated
--drain MS             time for what runs after SIGINT or SIGTERM, 10000 unless
                       given; one more signal, half a second later, ends at once
--stats[=SECONDS]      counters on stderr: a live line on a terminal, else JSON
--log-level LEVEL      DEBUG, INFO, WARN or ERROR
--help, --version
Exit code: 0 after a drain, 1 after a failure, 2 for wrong usage, 130 or 143
after a second SIGINT or SIGTERM; a handler may choose another by ServerExit.`;

const MODES = ["sync", "concurrent", "threading", "forking", "pool"] as const;
const LEVELS = ["DEBUG", "INFO", "WARN", "ERROR"] as const;
const ADDRESS_FLAGS = ["tcp", "udp", "tls", "unix", "unix-datagram"] as const;
const SWITCHES = ["help", "version"] as const;
const VALUE_FLAGS = [
  ...["class", "cert", "key", "mode", "max", "max-per-source", "request-timeout"] as const,
  ...["child-permissions", "drain", "stats", "log-level"] as const,
  ...ADDRESS_FLAGS,
] as const;

const ALL_BUT_POOL = ["sync", "concurrent", "threading", "forking"] as const;

/** The modes in which a flag means something, where it is not all of them. */
const MODES_OF: Partial<Record<ValueFlag, readonly Mode[]>> = {
  udp: ALL_BUT_POOL,
  unix: ALL_BUT_POOL,
  "unix-datagram": ALL_BUT_POOL,
  max: ["concurrent", "threading", "forking", "pool"],
  "max-per-source": ["concurrent", "threading", "forking"],
  "request-timeout": ["concurrent", "threading", "forking", "pool"],
  "child-permissions": ["forking"],
};

/** The most that a server takes as its number of connections. */
const MAX_CONNECTIONS = 2 ** 20;
/** The same, and its number of workers. */
const MAX_OF: Record<Mode, number> = {
  sync: 1,
  concurrent: MAX_CONNECTIONS,
  threading: 4096,
  forking: 4096,
  pool: 1024,
};

type ValueFlag = typeof VALUE_FLAGS[number];
type Values = Partial<Record<ValueFlag, readonly string[]>>;

/** How requests are served. */
export type Mode = typeof MODES[number];

/** The name of a level of the log. */
export type Level = typeof LEVELS[number];

/** Where to listen, by the name of its flag. */
export type Listen =
  | { transport: "tcp" | "udp"; address: InetAddress }
  | { transport: "tls"; address: InetAddress; cert: string; key: string }
  | { transport: "unix" | "unix-datagram"; path: string };

/** What to serve, where and how. */
export interface Command {
  module: string;
  /** The export that is the handler; `null` where the module is to tell. */
  className: string | null;
  listen: Listen;
  mode: Mode;
  /** The most requests or workers at once; `null` for the default of the mode. */
  max: number | null;
  maxPerSource: number | null;
  /** In milliseconds; `null` for none. */
  requestTimeout: number | null;
  childPermissions: readonly string[];
  /** In milliseconds. */
  drain: number;
  /** How often the counters are shown, in milliseconds; `null` for never. */
  stats: number | null;
  /** `null` leaves the log to the module. */
  logLevel: Level | null;
}

/** The command line is wrong; the message says in one line what and where. */
export class UsageError extends Error {
  override readonly name: string = "UsageError";
}

/**
 * Reads the command line.
 *
 * @throws {UsageError} When it is wrong.
 */
export function parseCommand(args: readonly string[]): Command | "help" | "version" {
  const { _, help, version, ...flags } = parseArgs(joinValues(args), {
    boolean: SWITCHES,
    string: VALUE_FLAGS,
    collect: VALUE_FLAGS,
    unknown: (arg, key) => key === undefined || refuse(arg),
  });
  if (help) return "help";
  if (version) return "version";
  const values: Values = flags;
  const [module, extra] = _.map(String);
  if (module === undefined) throw new UsageError("Cannot serve without a module: see --help");
  if (extra !== undefined) refuse(extra);
  const mode = choose("mode", one(values, "mode") ?? "concurrent", MODES);
  refuseForeignFlags(values, mode);
  const level = one(values, "log-level");
  return {
    module,
    className: one(values, "class") ?? null,
    listen: listenOf(values),
    mode,
    max: integer(values, "max", 1, MAX_OF[mode]),
    maxPerSource: integer(values, "max-per-source", 1, MAX_CONNECTIONS),
    requestTimeout: integer(values, "request-timeout", 1, MAX_TIMER),
    childPermissions: childPermissions(values),
    drain: integer(values, "drain", 0, MAX_TIMER) ?? DRAIN_TIMEOUT,
    stats: seconds(values, "stats"),
    logLevel: level === undefined ? null : choose("log-level", level.toUpperCase(), LEVELS, level),
  };
}

/** Ties each value to its flag, so that it may begin with a dash, and so that `--stats` takes none. */
function joinValues(args: readonly string[]): string[] {
  const joined: string[] = [];
  for (let at = 0; at < args.length; at++) {
    const arg = args[at]!;
    if (arg === "--") return [...joined, ...args.slice(at)];
    const [, name = "", equals, value] = /^--([^=]+)(=)?(.*)$/s.exec(arg) ?? [];
    if (!VALUE_FLAGS.some((flag) => flag === name)) joined.push(arg);
    else if (equals !== undefined) joined.push(given(name, value));
    else if (name === "stats") joined.push(given(name, "1"));
    else joined.push(given(name, args[++at]));
  }
  return joined;
}

function given(name: string, value: string | undefined): string {
  if (value === undefined) throw new UsageError(`Cannot use --${name}: expected a value`);
  if (value === "") throw new UsageError(`Cannot use --${name} "": expected a value`);
  return `--${name}=${value}`;
}

function refuse(arg: string): never {
  const [name = ""] = arg.split("=", 1);
  const names = [...SWITCHES, ...VALUE_FLAGS].map((flag) => `--${flag}`);
  const nearest = names.find((flag) => distance(flag, name) <= name.length / 5);
  const hint = nearest === undefined ? "see --help" : `did you mean ${nearest}?`;
  throw new UsageError(`Cannot use argument "${name}": ${hint}`);
}

/** How many letters have to be put in, left out or replaced to make one word of another. */
function distance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (const [at, letter] of [...from].entries()) {
    const next = [at + 1];
    for (let index = 0; index < to.length; index++) {
      const replaced = row[index]! + (letter === to[index] ? 0 : 1);
      next.push(Math.min(replaced, row[index + 1]! + 1, next[index]! + 1));
    }
    row = next;
  }
  return row[to.length]!;
}

/** The value of a flag that may be given once. */
function one(values: Values, flag: ValueFlag): string | undefined {
  const [value, second] = values[flag] ?? [];
  if (second === undefined) return value;
  throw new UsageError(`Cannot use --${flag} "${second}": it is "${value}" already`);
}

function choose<Name extends string>(
  flag: ValueFlag,
  name: string,
  names: readonly Name[],
  written: string = name,
): Name {
  const found = names.find((each) => each === name);
  if (found !== undefined) return found;
  throw new UsageError(`Cannot use --${flag} "${written}": expected ${names.join(", ")}`);
}

function refuseForeignFlags(values: Values, mode: Mode): void {
  for (const flag of VALUE_FLAGS) {
    const [value] = values[flag] ?? [];
    const modes = MODES_OF[flag];
    if (value === undefined || modes === undefined || modes.includes(mode)) continue;
    throw new UsageError(
      `Cannot use --${flag} "${value}" with --mode ${mode}: it goes with ${modes.join(", ")}`,
    );
  }
}

function listenOf(values: Values): Listen {
  const [flag, second] = ADDRESS_FLAGS.filter((name) => one(values, name) !== undefined);
  if (flag === undefined) {
    const names = ADDRESS_FLAGS.map((name) => `--${name}`).join(", ");
    throw new UsageError(`Cannot serve without an address: expected one of ${names}`);
  }
  if (second !== undefined) {
    const [address, other] = [one(values, second), one(values, flag)];
    throw new UsageError(
      `Cannot use --${second} "${address}" with --${flag} "${other}": expected one`,
    );
  }
  const value = one(values, flag)!;
  const [cert, key] = [one(values, "cert"), one(values, "key")];
  if (flag === "tls") {
    const address = inetAddress(flag, value);
    if (cert !== undefined && key !== undefined) return { transport: flag, address, cert, key };
    const missing = cert === undefined ? "--cert" : "--key";
    throw new UsageError(`Cannot use --tls "${value}" without ${missing}: expected a PEM file`);
  }
  if (cert !== undefined) throw new UsageError(`Cannot use --cert "${cert}" without --tls`);
  if (key !== undefined) throw new UsageError(`Cannot use --key "${key}" without --tls`);
  if (flag === "unix" || flag === "unix-datagram") return { transport: flag, path: value };
  return { transport: flag, address: inetAddress(flag, value) };
}

function inetAddress(flag: ValueFlag, value: string): InetAddress {
  const [, inBrackets, plain, digits = ""] = /^(?:\[([^\]]+)\]|([^:[\]]*)):(\d+)$/.exec(value) ??
    [];
  const hostname = inBrackets ?? plain;
  if (hostname === undefined) {
    throw new UsageError(
      `Cannot use --${flag} "${value}": expected HOST:PORT, such as 127.0.0.1:9999 or [::1]:9999`,
    );
  }
  const port = Number(digits);
  if (port <= 65535) return { hostname, port };
  throw new UsageError(`Cannot use --${flag} "${value}": expected a port from 0 to 65535`);
}

function integer(values: Values, flag: ValueFlag, min: number, max: number): number | null {
  const value = one(values, flag);
  if (value === undefined) return null;
  const number = /^\d+$/.test(value) ? Number(value) : NaN;
  if (number >= min && number <= max) return number;
  throw new UsageError(
    `Cannot use --${flag} "${value}": expected an integer from ${min} to ${max}`,
  );
}

/** A time in seconds, as milliseconds. */
function seconds(values: Values, flag: ValueFlag): number | null {
  const value = one(values, flag);
  if (value === undefined) return null;
  const time = /^\d*\.?\d+$/.test(value) ? Number(value) * 1000 : NaN;
  if (time >= 10 && time <= MAX_TIMER) return time;
  throw new UsageError(`Cannot use --${flag} "${value}": expected seconds, at least 0.01`);
}

function childPermissions(values: Values): readonly string[] {
  const flags = values["child-permissions"] ?? [];
  const wrong = flags.find((flag) => !flag.startsWith("-"));
  if (wrong === undefined) return flags;
  throw new UsageError(
    `Cannot use --child-permissions "${wrong}": expected a flag of Deno, such as --allow-env`,
  );
}
