/**
 * The package's servers: `ours.ts MODE SERVICE CLIENTS` serves so many clients on a free port, which it prints.
 *
 * @module
 */
import {
  ConcurrentTCPServer,
  ConcurrentUDPServer,
  ForkingTCPServer,
  ForkingUDPServer,
  PoolTCPServer,
  TCPServer,
  ThreadingTCPServer,
  ThreadingUDPServer,
  UDPServer,
} from "@netkit/socketserver";
import * as handlers from "./handlers.ts";

const [mode, service, clients] = [Deno.args[0]!, Deno.args[1]!, Number(Deno.args[2])];
const address = { hostname: "127.0.0.1", port: 0 };
/** Ready: as many as there are clients, up to 32, so that the start of none is measured. */
const threads = { maxThreads: Math.max(40, clients), minSpareThreads: Math.min(32, clients) };
const children = { maxChildren: Math.max(40, clients), minSpareChildren: Math.min(8, clients) };
const again = { ...children, maxRequestsPerChild: 0 };
/** More than enough. */
const room = Math.max(1024, 2 * clients);
const one = { workers: 40, maxConnectionsPerWorker: 1 };
const half = { workers: 2, maxConnectionsPerWorker: room };

const HANDLERS = {
  echo: [handlers.EchoHandler, handlers.BlockingEchoHandler],
  lines: [handlers.LineHandler, handlers.BlockingLineHandler],
  compute: [handlers.ComputeHandler, handlers.BlockingComputeHandler],
} as const;

function openTCPServer(): TCPServer {
  const [handler, blocking] = HANDLERS[service as keyof typeof HANDLERS];
  switch (mode) {
    case "plain":
      return new TCPServer(address, handler);
    case "concurrent":
      return new ConcurrentTCPServer(address, handler, { maxConnections: room });
    case "threading":
      return new ThreadingTCPServer(address, handler, threads);
    case "threading-blocking":
      return new ThreadingTCPServer(address, blocking, threads);
    case "pool-2":
      return new PoolTCPServer(address, handler, half);
    case "pool-40":
      return new PoolTCPServer(address, handler, one);
    case "forking":
      return new ForkingTCPServer(address, handler, again);
    case "forking-fresh":
      return new ForkingTCPServer(address, handler, children);
    default:
      throw new TypeError(`Cannot serve TCP in mode "${mode}": no such mode`);
  }
}

function openUDPServer(): UDPServer {
  switch (mode) {
    case "plain":
      return new UDPServer(address, handlers.DatagramHandler);
    case "concurrent":
      return new ConcurrentUDPServer(address, handlers.DatagramHandler);
    case "threading":
      return new ThreadingUDPServer(address, handlers.DatagramHandler, threads);
    case "forking":
      return new ForkingUDPServer(address, handlers.DatagramHandler, again);
    case "forking-fresh":
      return new ForkingUDPServer(address, handlers.DatagramHandler, children);
    default:
      throw new TypeError(`Cannot serve UDP in mode "${mode}": no such mode`);
  }
}

const server = service === "udp" ? openUDPServer() : openTCPServer();
const serving = server.serveForever();
console.log(server.serverAddress.port);
await serving;
