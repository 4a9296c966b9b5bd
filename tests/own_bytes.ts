/**
 * Servers in every mode, each client of which knows its own bytes.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import {
  ConcurrentTCPServer,
  ConcurrentTLSServer,
  ForkingTCPServer,
  ForkingUnixStreamServer,
  PoolTCPServer,
  type SocketAddress,
  TCPServer,
  ThreadingTCPServer,
  ThreadingTLSServer,
  ThreadingUnixStreamServer,
} from "@netkit/socketserver";
import type { AnyServer } from "@netkit/socketserver";
import { firstForeign, OwnBytesHandler } from "./bytes_handlers.ts";
import { connect, connectTLS, ListLogger, LOOPBACK, tempSocketPath, TLS } from "./harness.ts";

export const MIB = 1024 * 1024;
/** More than the system and the relay take while the client reads nothing. */
export const TOO_MUCH = 16 * MIB;

/** A way of serving, with Workers and subprocesses that are used again. */
export interface Mode {
  name: string;
  make: () => AnyServer | PoolTCPServer;
  tls?: boolean;
}

const tls = { cert: TLS.cert, key: TLS.key };
export const children = { maxRequestsPerChild: 0, minSpareChildren: 0 };
/** Where all servers write, so that tests find what handlers say. */
export const logger: ListLogger = new ListLogger();
/** The ways of serving streams. */
export const MODES: Mode[] = [
  { name: "TCPServer", make: () => new TCPServer(LOOPBACK, OwnBytesHandler, { logger }) },
  {
    name: "ConcurrentTCPServer",
    make: () => new ConcurrentTCPServer(LOOPBACK, OwnBytesHandler, { logger }),
  },
  {
    name: "ConcurrentTLSServer",
    make: () => new ConcurrentTLSServer(LOOPBACK, OwnBytesHandler, { ...tls, logger }),
    tls: true,
  },
  {
    name: "ThreadingTCPServer",
    make: () => new ThreadingTCPServer(LOOPBACK, OwnBytesHandler, { minSpareThreads: 0, logger }),
  },
  {
    name: "ThreadingTCPServer, accepting in Workers",
    make: () => new ThreadingTCPServer(LOOPBACK, OwnBytesHandler, { logger }),
  },
  {
    name: "ThreadingUnixStreamServer",
    make: () =>
      new ThreadingUnixStreamServer({ path: tempSocketPath() }, OwnBytesHandler, {
        minSpareThreads: 0,
        logger,
      }),
  },
  {
    name: "ThreadingTLSServer",
    make: () =>
      new ThreadingTLSServer(LOOPBACK, OwnBytesHandler, { ...tls, minSpareThreads: 0, logger }),
    tls: true,
  },
  {
    name: "ForkingTCPServer",
    make: () => new ForkingTCPServer(LOOPBACK, OwnBytesHandler, { ...children, logger }),
  },
  {
    name: "ForkingUnixStreamServer",
    make: () =>
      new ForkingUnixStreamServer({ path: tempSocketPath() }, OwnBytesHandler, {
        ...children,
        logger,
      }),
  },
  {
    name: "PoolTCPServer",
    make: () => new PoolTCPServer(LOOPBACK, OwnBytesHandler, { workers: 2, logger }),
  },
];

export function connectTo(mode: Mode, address: SocketAddress): Promise<Deno.Conn> {
  return mode.tls ? connectTLS(address) : connect(address);
}

/** Reads until the connection ends, however it does; fails at the first byte that is not the client's own. */
export async function readOwn(
  conn: Deno.Conn,
  id: number,
  from = 0,
): Promise<{ got: number; end: "eof" | "cut" }> {
  const buffer = new Uint8Array(65536);
  let got = from;
  try {
    for (let count = await conn.read(buffer); count !== null; count = await conn.read(buffer)) {
      const foreign = firstForeign(buffer.subarray(0, count), id, got);
      assertEquals(foreign, -1, `byte ${foreign} that client ${id} got is not its own`);
      got += count;
    }
  } catch (error) {
    if (isCut(error)) return { got, end: "cut" };
    throw error;
  }
  return { got, end: "eof" };
}

/** Whether an error says that the server has cut the connection. */
export function isCut(error: unknown): boolean {
  return error instanceof Deno.errors.ConnectionReset || error instanceof Deno.errors.BrokenPipe ||
    error instanceof Deno.errors.UnexpectedEof;
}
