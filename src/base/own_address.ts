/**
 * Telling a server's own address from those of its clients.
 *
 * @module
 */
import { canonicalHost, type SocketAddress } from "./address.ts";

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
  const host = hostname.includes(":") ? `[${hostname}]:0` : `${hostname}:0`;
  try {
    if (Deno.permissions.querySync({ name: "net", host }).state !== "granted") return false;
    Deno.listenDatagram({ transport: "udp", hostname, port: 0 }).close();
    return true;
  } catch {
    return false; // it is another machine's, or nobody can tell
  }
}
