/**
 * What a server and its subprocess have to agree on: flags, a signal, a mark.
 *
 * @module
 */

/** The first argument of a subprocess of ours. */
export const CHILD_MARK = "@netkit/socketserver:child";

/** Tells that the request under way is cut off; neither the system nor Deno gives it a meaning of its own. */
export const ABORT_SIGNAL = "SIGURG";

/** Where Linux shows the descriptors of a process; Deno lets pipes be opened there, but for the first three. */
export const DESCRIPTORS = "/proc/self/fd";
/** What has nothing to read. */
export const NOTHING = "/dev/null";
/** What a subprocess may read and write while it moves its descriptors, before the handler's module is loaded. */
export const MOVE_PATHS = { read: [DESCRIPTORS, NOTHING], write: [DESCRIPTORS] } as const;

const MOVE_KEYS = [
  ...MOVE_PATHS.read.map((path) => `read:${path}`),
  ...MOVE_PATHS.write.map((path) => `write:${path}`),
];

/** The flags that let a subprocess do everything. */
const ALLOWS_ALL = /^(-A|--allow-all)$/;
/** The flags that let it read and write any file; of them, a list of paths would take the place. */
const ALLOWS_ANY = {
  read: /^(--allow-read|-[A-Z]*R[A-Z]*)$/,
  write: /^(--allow-write|-[A-Z]*W[A-Z]*)$/,
};

/**
 * All flags that a subprocess is started with.
 *
 * @param flags What it may do, as flags of Deno.
 * @param memoryLimit How large its heap may become, in MiB; null for as large as V8 lets it.
 */
export function childFlags(flags: readonly string[], memoryLimit: number | null): string[] {
  const all = [...flags];
  // Over standard error alone V8 says no more than that it was out of memory.
  if (memoryLimit !== null) all.push(`--v8-flags=--max-old-space-size=${memoryLimit}`);
  if (flags.some((flag) => ALLOWS_ALL.test(flag))) return all;
  // What its Workers keep in `caches` is kept by location, and no other subprocess has this one.
  if (!flags.some((flag) => flag.startsWith("--location"))) {
    all.push(`--location=http://${crypto.randomUUID()}.invalid/`);
  }
  // To import from elsewhere is to send what is in the specifier.
  if (!flags.includes("--cached-only")) all.push("--cached-only");
  if (Deno.build.os !== "linux") return all;
  for (const name of ["read", "write"] as const) {
    if (flags.some((flag) => ALLOWS_ANY[name].test(flag))) continue;
    all.push(`--allow-${name}=${MOVE_PATHS[name]}`);
  }
  return all;
}

/** The arguments of a subprocess that say which of the paths of `MOVE_PATHS` it may use for good. */
export function keptPaths(flags: readonly string[]): string[] {
  const allowed = flags.flatMap((flag) => {
    const [, long, short, list] = /^(?:--allow-(read|write)|-([RW]))=(.*)$/.exec(flag) ?? [];
    const name = long ?? (short === "R" ? "read" : "write");
    return list === undefined ? [] : list.split(",").map((path) => `${name}:${path}`);
  });
  return allowed.filter((path) => MOVE_KEYS.includes(path));
}

/** Whether flags of Deno let a subprocess send to an address. */
export function allowsNet(flags: readonly string[], address: Deno.Addr): boolean {
  const names = addressNames(address);
  return flags.some((flag) => {
    if (ALLOWS_ALL.test(flag) || /^(--allow-net|-[A-Z]*N[A-Z]*)$/.test(flag)) return true;
    const [, list] = /^(?:--allow-net|-N)=(.*)$/.exec(flag) ?? [];
    return list !== undefined && list.split(",").some((name) => names.includes(name));
  });
}

/** How a list of permissions may name an address. */
function addressNames(address: Deno.Addr): string[] {
  // Deno sends to the port of what has both.
  if ("path" in address) return "port" in address ? [] : [`unix:${address.path}`];
  if (!("hostname" in address)) return [];
  const { hostname, port } = address;
  const host = hostname.includes(":") ? `[${hostname}]` : hostname;
  return [host, `${host}:${port}`];
}

/**
 * What stands on standard error when a handler has closed its connection.
 *
 * @param key What nobody else can know of this subprocess.
 * @param number Which of its requests that was; left out, the part before it.
 */
export function closedMark(key: string, number?: number): string {
  return number === undefined ? `\x00${key} ` : `\x00${key} ${number}\n`;
}
