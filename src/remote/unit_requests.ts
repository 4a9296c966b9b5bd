/**
 * Serving a server's requests in units instead of in the main isolate.
 *
 * @module
 */
import { serialize } from "node:v8";
import type { SocketAddress } from "../address.ts";
import type { DatagramRequest } from "../datagram_socket.ts";
import type { AnyServer } from "../request_handler.ts";
import type { StreamSocket } from "../stream_socket.ts";
import { Relay, type RemoteRequest } from "./host.ts";
import type { Unit } from "./unit.ts";
import type { UnitPool } from "./unit_pool.ts";

/** How many units a request is given at the most, all but the last of which had ended before they took it. */
const MAX_UNITS = 3;

const EMPTY = new Uint8Array(0);

/**
 * Makes and runs the handler of one request in a unit of a pool, waiting for the unit if need be.
 *
 * @param begun Told of the unit; of another one where the one before had ended when it was to begin.
 * @throws {unknown} What the handler threw, or why there is no unit.
 */
export async function finishInUnit<U extends Unit>(
  pool: UnitPool<U>,
  server: AnyServer,
  request: unknown,
  clientAddress: SocketAddress,
  begun?: (unit: U) => void,
): Promise<void> {
  // All that may fail comes before the lease, which must be given back.
  const remote = await describe(server, request, clientAddress);
  for (let left = MAX_UNITS - 1;; left--) {
    const unit = await pool.lease(remote.signal);
    begun?.(unit);
    const relay = new Relay(unit, remote);
    try {
      return await relay.run();
    } catch (error) {
      if (!relay.untaken || left === 0) throw error;
    } finally {
      if (relay.poisoned) pool.poison(unit);
      else pool.release(unit, relay.reusable);
    }
  }
}

async function describe(
  server: AnyServer,
  request: unknown,
  clientAddress: SocketAddress,
): Promise<RemoteRequest> {
  const { context, serverAddress } = server;
  const shared = {
    context: context === undefined ? EMPTY : new Uint8Array(serialize(context)),
    signal: server.requestSignal(request),
  };
  const start = { clientAddress, serverAddress };
  // Servers have no other kinds of requests, and the mix-ins take no other servers.
  if (Array.isArray(request)) {
    const [packet, socket] = request as DatagramRequest;
    return { ...shared, start: { ...start, connection: null }, client: { packet, socket } };
  }
  const client = request as StreamSocket;
  const { localAddr, remoteAddr } = client;
  const alpnProtocol = (await client.handshake())?.alpnProtocol ?? null;
  return {
    ...shared,
    start: { ...start, connection: { localAddr, remoteAddr, alpnProtocol } },
    client,
  };
}
