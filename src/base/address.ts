/**
 * Addresses: what a server is given, what it reports, and how a person reads them.
 *
 * @module
 */

/** Where a TCP, TLS or UDP server listens. */
export interface InetAddress {
  /** A name or IP address; `""` means every IPv4 interface, `"::"` every interface of both families. */
  hostname: string;
  /** The port, 0 to 65535; 0 lets the system choose a free one. */
  port: number;
}

/** Where a Unix server listens. */
export interface UnixAddress {
  /** The path of the socket file, at most 107 bytes; with a leading NUL an abstract name (Linux). */
  path: string;
}

/** An address of TCP, as `Deno.connect()` takes it. */
export interface TCPAddr {
  /** The transport. */
  transport: "tcp";
  /** The IP address, or the name as it was given before the bind. */
  hostname: string;
  /** The port. */
  port: number;
}

/** An address of UDP. */
export interface UDPAddr {
  /** The transport. */
  transport: "udp";
  /** The IP address, or the name as it was given before the bind. */
  hostname: string;
  /** The port. */
  port: number;
}

/** An address of a Unix stream socket, as `Deno.connect()` takes it. */
export interface UnixStreamAddr {
  /** The transport. */
  transport: "unix";
  /** The path of the socket file; `null` at run time for a client that bound none. */
  path: string;
}

/** An address of a Unix datagram socket. */
export interface UnixDatagramAddr {
  /** The transport. */
  transport: "unixpacket";
  /** The path of the socket file; `null` at run time for a client that bound none. */
  path: string;
}

/** What {@linkcode BaseServer.serverAddress} and a handler's `clientAddress` may be. */
export type SocketAddress = TCPAddr | UDPAddr | UnixStreamAddr | UnixDatagramAddr;

/**
 * The address of a client, as a handler sees it that is written for no family in particular: of TCP, UDP and TLS clients
 * `hostname` and `port` are there, of Unix clients `path`.
 */
export type ClientAddress =
  | ((TCPAddr | UDPAddr) & { path?: undefined })
  | ((UnixStreamAddr | UnixDatagramAddr) & { hostname?: undefined; port?: undefined });

/** The type of a socket by its name in the socket interface. */
export type SocketType = "SOCK_STREAM" | "SOCK_DGRAM";

/** What a server class with addresses of type `Addr` takes as its address. */
export type ListenAddress<Addr extends SocketAddress> = Addr extends TCPAddr | UDPAddr ? InetAddress
  : UnixAddress;

/** The address family by its name in the socket interface. */
export type AddressFamily = "AF_INET" | "AF_INET6" | "AF_UNIX";

/** The longest socket path that Linux takes, in bytes (`sun_path` without its end mark). */
const MAX_PATH_BYTES = 107;

/**
 * Writes an address as a person does.
 *
 * @param address An address of Deno's, or what a server was given.
 * @returns `host:port`, `[v6]:port`, a path, `@name` for an abstract one, or `unnamed`.
 *
 * @example Write addresses
 * ```ts
 * import { formatAddress } from "@netkit/socketserver";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(formatAddress({ hostname: "127.0.0.1", port: 80 }), "127.0.0.1:80");
 * assertEquals(formatAddress({ hostname: "::1", port: 80 }), "[::1]:80");
 * assertEquals(formatAddress({ path: "/run/echo.sock" }), "/run/echo.sock");
 * ```
 * @category Addresses
 */
export function formatAddress(address: InetAddress | UnixAddress | Deno.Addr): string {
  if ("hostname" in address) {
    const { hostname, port } = address;
    return hostname.includes(":") && !hostname.startsWith("[")
      ? `[${hostname}]:${port}`
      : `${hostname}:${port}`;
  }
  if ("cid" in address) return `vsock:${address.cid}:${address.port}`;
  // Deno reports the path of a peer that bound none as null, which its types do not say.
  if (!address.path) return "unnamed";
  return address.path.startsWith("\0") ? `@${address.path.slice(1)}` : address.path;
}

const TO_STRING: PropertyDescriptor = {
  value(this: Deno.Addr): string {
    return formatAddress(this);
  },
};

/** Makes an address write itself as a person does; one that is no plain object is left as it is. Never throws. */
export function printable<Addr extends object>(address: Addr): Addr {
  try {
    const { toString } = address as Partial<object>;
    const isPlain = toString === undefined || toString === Object.prototype.toString;
    if (isPlain && Object.isExtensible(address)) {
      Object.defineProperty(address, "toString", TO_STRING);
    }
  } catch {
    // A Proxy of an own `getRequest()` may refuse to be looked at.
  }
  return address;
}

/**
 * Checks an internet address and gives it Deno's form.
 *
 * @throws {TypeError} When it is no such address.
 * @throws {RangeError} When the port is out of range.
 */
export function checkInetAddress(
  address: InetAddress,
  transport: "tcp" | "udp",
): TCPAddr | UDPAddr {
  if (typeof address?.hostname !== "string" || typeof address.port !== "number") {
    throw new TypeError(
      `Cannot use address ${inspect(address)}: expected { hostname: string, port: number }`,
    );
  }
  const { hostname, port } = address;
  if (!Number.isInteger(port) || port < 0 || port > 65535) {
    throw new RangeError(`Cannot use port ${port}: expected an integer from 0 to 65535`);
  }
  return { transport, hostname: hostname === "" ? "0.0.0.0" : hostname, port };
}

/**
 * Checks a socket path and gives it Deno's form.
 *
 * @throws {TypeError} When it is no path, or one that the system cannot take.
 */
export function checkUnixAddress(
  address: UnixAddress,
  transport: "unix" | "unixpacket",
): UnixStreamAddr | UnixDatagramAddr {
  if (typeof address?.path !== "string" || address.path === "") {
    throw new TypeError(`Cannot use address ${inspect(address)}: expected { path: string }`);
  }
  const { path } = address;
  if (fitsSocket(path)) return { transport, path };
  const bytes = bytesOf(path);
  throw new TypeError(
    `Cannot use path "${path}": ${bytes} bytes, a socket path has at most ${MAX_PATH_BYTES}`,
  );
}

/** Whether the system lets a socket have a path of such a length. */
export function fitsSocket(path: string): boolean {
  return bytesOf(path) <= MAX_PATH_BYTES;
}

function bytesOf(path: string): number {
  return new TextEncoder().encode(path).length;
}

/** The family of an address; a host name that is not yet resolved counts as IPv4. */
export function addressFamily(address: SocketAddress): AddressFamily {
  if (!("hostname" in address)) return "AF_UNIX";
  return address.hostname.includes(":") ? "AF_INET6" : "AF_INET";
}

function inspect(value: unknown): string {
  return Deno.inspect(value, { compact: true, breakLength: Infinity });
}

/**
 * Names where a client comes from, so that one client cannot pass for many: IPv4 by the address, also when it is
 * mapped into IPv6; IPv6 by its /64 network, which is what one site gets; Unix clients all alike.
 */
export function sourceOf(address: SocketAddress): string {
  if (!("hostname" in address)) return "unix";
  const host = canonicalHost(address.hostname);
  return host.includes(":") ? `${host.split(":").slice(0, 4).join(":")}::/64` : host;
}

/**
 * Spells an IP address in one way only: IPv4 with dots, also when it is mapped into IPv6; IPv6 with all eight groups and
 * without its zone.
 */
function canonicalHost(hostname: string): string {
  if (!hostname.includes(":")) return hostname;
  const groups = expandIPv6(hostname);
  const mapped = groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff;
  if (!mapped) return groups.map((group) => group.toString(16)).join(":");
  const [high = 0, low = 0] = groups.slice(6);
  return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
}

/** The eight groups of an IPv6 address in text, its zone left out. */
function expandIPv6(text: string): number[] {
  const parts = text.split("%", 1)[0]!.split("::").map((part) =>
    part === "" ? [] : part.split(":")
  );
  const [head = [], tail = []] = parts.map((part) => part.flatMap(groupsOf));
  const missing = Math.max(0, 8 - head.length - tail.length);
  return [...head, ...new Array<number>(missing).fill(0), ...tail];
}

/** A group in hexadecimal, or the two groups of an IPv4 address at the end. */
function groupsOf(part: string): number[] {
  if (!part.includes(".")) return [parseInt(part, 16)];
  const [a = 0, b = 0, c = 0, d = 0] = part.split(".").map(Number);
  return [a << 8 | b, c << 8 | d];
}

/** Whether two addresses are the same field by field; one that has fields of two kinds is the same as none. */
export function isSameAddress(a: Deno.Addr, b: Deno.Addr): boolean {
  if (typeof a !== "object" || a === null || a.transport !== b.transport) return false;
  if ("path" in a || "path" in b) {
    return "path" in a && "path" in b && a.path === b.path && !("port" in a) && !("hostname" in a);
  }
  return "hostname" in a && "hostname" in b && a.port === b.port && a.hostname === b.hostname;
}

/** How long it holds whether an address is this machine's, in milliseconds. */
const LOOK_HOLDS = 10_000;
/** Of how many addresses that is kept. */
const MAX_KNOWN = 256;

/** Which addresses are this machine's, as far as anybody has asked lately. */
const known = new Map<string, boolean>();
let knownUntil = 0;

/**
 * Whether a datagram comes from the socket that it came to. On all interfaces the server has each address of this
 * machine; where Deno may not bind one to find that out, only those of the loopback are known.
 *
 * @param own Where the server is bound.
 * @param source Where the datagram comes from.
 */
export function isOwnAddress(own: SocketAddress, source: SocketAddress): boolean {
  if ("path" in own) return "path" in source && source.path === own.path;
  // Nearly all clients have another port, which ends it here.
  if (!("port" in source) || source.port !== own.port) return false;
  const [ownHost, host] = [canonicalHost(own.hostname), canonicalHost(source.hostname)];
  if (host === ownHost) return true;
  if (ownHost !== "0.0.0.0" && ownHost !== "0:0:0:0:0:0:0:0") return false;
  return host.startsWith("127.") || host === "0:0:0:0:0:0:0:1" || isLocal(source.hostname);
}

function isLocal(hostname: string): boolean {
  const now = performance.now();
  if (now > knownUntil || known.size >= MAX_KNOWN) {
    known.clear();
    knownUntil = now + LOOK_HOLDS;
  }
  let local = known.get(hostname);
  if (local === undefined) known.set(hostname, local = canBind(hostname));
  return local;
}

/** Only an address of this machine can be bound. */
function canBind(hostname: string): boolean {
  const host = formatAddress({ hostname, port: 0 });
  try {
    if (Deno.permissions.querySync({ name: "net", host }).state !== "granted") return false;
    Deno.listenDatagram({ transport: "udp", hostname, port: 0 }).close();
    return true;
  } catch {
    return false; // it is another machine's, or nobody can tell
  }
}
