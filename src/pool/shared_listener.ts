/**
 * One accept queue for the Workers of a pool.
 *
 * @module
 */
import type { TLSIdentity } from "../families/node_tls_conn.ts";
import type { TCPServer } from "../families/tcp_server.ts";
import { TLSListener } from "../families/tls_listener.ts";

/**
 * How the listeners of a pool come to share a port.
 *
 * With `"queue"` all of them are copies of one listener: a client waits in one queue, from which whoever is free
 * takes it, and a copy that never accepts takes nobody. With `"port"` each has a queue of its own (SO_REUSEPORT),
 * and the system deals clients out to all that listen, those included that never accept.
 */
export type Sharing = "queue" | "port";

/** Where the listeners of a pool listen; the port is never 0, by which listeners would be taken for each other's. */
export interface SharedAddress {
  hostname: string;
  port: number;
  tcpBacklog: number;
}

/** The options of `Deno.listen()` with one that its types do not show; `deno serve --parallel` uses it. */
interface BalancedListenOptions extends Deno.ListenOptions {
  loadBalanced: true;
}

/**
 * Opens one of the listeners of a pool.
 *
 * @param tls For a listener that speaks TLS; null for one that does not.
 * @param onReplace What {@linkcode TLSListener} calls.
 */
export function listenShared(
  address: SharedAddress,
  tls: TLSIdentity | null,
  sharing: Sharing,
  onReplace: (message: string) => void = () => {},
): Deno.Listener {
  if (sharing === "port") {
    const options = { ...address, reusePort: true };
    return tls === null ? Deno.listen(options) : new TLSListener({ ...options, ...tls, onReplace });
  }
  return Deno.listen({ ...address, loadBalanced: true } as BalancedListenOptions);
}

/**
 * Takes the port for a pool, and finds out how its listeners can share it.
 *
 * @returns A listener that nobody is to accept from. With the sharing `"port"` it takes its share of the clients
 * and has to be closed once another one listens.
 * @throws {Deno.errors.NotSupported} When they cannot.
 */
export function holdPort(
  address: SharedAddress,
  tls: TLSIdentity | null,
): { listener: Deno.Listener; sharing: Sharing } {
  // Deno.listenTls() takes no part in a shared queue.
  const listener = tls === null ? shareQueue(address) : null;
  if (listener !== null) return { listener, sharing: "queue" };
  if ("listenDatagram" in Deno) {
    return { listener: listenShared(address, null, "port"), sharing: "port" };
  }
  throw new Deno.errors.NotSupported(
    `this version of Deno shares no ${tls === null ? "" : "TLS "}listener between Workers; ` +
      'run with --unstable-net, or put "unstable": ["net"] in deno.json, for one port each',
  );
}

/** How often another port is tried when the one that the system gave is taken meanwhile. */
const PORT_TRIES = 10;

/**
 * Finds a port, and takes it in a way that others can share.
 *
 * @param server Whose address it is; with the port 0 the system chooses one.
 * @param probe Opens a listener as usual. It fails where somebody has the port, whom one that can be shared would join
 * instead.
 * @param take Takes the port that was found.
 */
export function takePort<T>(
  server: TCPServer,
  probe: () => Deno.Listener,
  take: (address: SharedAddress) => T,
): T {
  const { hostname, port: asked } = server.inetAddress();
  for (let left = PORT_TRIES;; left--) {
    const found = probe();
    const { port } = found.addr as Deno.NetAddr;
    found.close();
    try {
      return take({ hostname, port, tcpBacklog: server.requestQueueSize });
    } catch (error) {
      const isTaken = error instanceof Deno.errors.AddrInUse && asked === 0;
      if (!isTaken || left === 0) throw error;
    }
  }
}

/** Where others can join in listening, by the listener that was opened for that. */
export const sharedAddresses: WeakMap<Deno.Listener, SharedAddress> = new WeakMap();

/** Opens the listener of a server in a way that others can join in, where Deno has such; else as usual. */
export function openShared(server: TCPServer, usual: () => Deno.Listener): Deno.Listener {
  try {
    const listener = takePort(server, usual, (address) => {
      const listener = shareQueue(address);
      if (listener !== null) sharedAddresses.set(listener, address);
      return listener;
    });
    if (listener !== null) return listener;
  } catch (error) {
    // Where only port 0 may be listened on, the port that it stands for may not.
    if (!(error instanceof Deno.errors.NotCapable)) throw error;
  }
  return usual();
}

/** Opens a listener that others may share; null where this version of Deno has no such thing. */
function shareQueue(address: SharedAddress): Deno.Listener | null {
  const listener = listenShared(address, null, "queue");
  try {
    listenShared(address, null, "queue").close();
    return listener;
  } catch (error) {
    listener.close();
    if (error instanceof Deno.errors.AddrInUse) return null;
    throw error;
  }
}
