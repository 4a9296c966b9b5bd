/**
 * Servers of every family behind one face, with handlers and clients that fit each of them.
 *
 * @module
 */
import {
  type AnyServer,
  DatagramRequestHandler,
  type RequestHandlerLike,
  type ServerLogger,
  type SocketAddress,
  StreamRequestHandler,
  type StreamSocket,
  TCPServer,
  TLSServer,
  UDPServer,
  UnixDatagramServer,
  UnixStreamServer,
} from "@netkit/socketserver";
import type { DatagramRequest } from "@netkit/socketserver";
import {
  bytes,
  connect,
  connectTLS,
  datagramClient,
  datagramExchange,
  exchange,
} from "./harness.ts";
import { exchangeOn, ListLogger, LOOPBACK, tempSocketPath, text, TLS } from "./harness.ts";

/** Makes a server; the handler must fit the family. */
type Make = (handler: never, options?: { logger?: ServerLogger }) => AnyServer;

/** How a client says something to a family of servers, and hears the answer. */
interface Speech {
  name: string;
  datagram: boolean;
  ask: (address: SocketAddress, data: string) => Promise<string>;
}

/** A family of sockets: how to make a server, and how a client speaks to it. */
export interface Family extends Speech {
  make: Make;
}

type StreamHandler = RequestHandlerLike<StreamSocket, SocketAddress>;
type DatagramHandler = RequestHandlerLike<DatagramRequest, SocketAddress>;

/** All families, for tests that hold for each of them. */
export const FAMILIES: Family[] = [
  {
    name: "TCPServer",
    datagram: false,
    make: (handler: StreamHandler, options) => new TCPServer(LOOPBACK, handler, options),
    ask: exchange,
  },
  {
    name: "TLSServer",
    datagram: false,
    make: (handler: StreamHandler, options) =>
      new TLSServer(LOOPBACK, handler, { cert: TLS.cert, key: TLS.key, ...options }),
    ask: async (address, data) => await exchangeOn(await connectTLS(address), data),
  },
  {
    name: "UnixStreamServer",
    datagram: false,
    make: (handler: StreamHandler, options) =>
      new UnixStreamServer({ path: tempSocketPath() }, handler, options),
    ask: exchange,
  },
  {
    name: "UDPServer",
    datagram: true,
    make: (handler: DatagramHandler, options) => new UDPServer(LOOPBACK, handler, options),
    ask: datagramExchange,
  },
  {
    name: "UnixDatagramServer",
    datagram: true,
    make: (handler: DatagramHandler, options) =>
      new UnixDatagramServer({ path: tempSocketPath() }, handler, options),
    ask: datagramExchange,
  },
];

/** A handler of any family, in the isolate of its server. */
export type Handler = (StreamRequestHandler | DatagramRequestHandler) & {
  readonly server: AnyServer;
};

/** What a handler does in its steps. */
export interface Steps {
  setup?: (handler: Handler) => unknown;
  handle?: (handler: Handler) => unknown;
  finish?: (handler: Handler) => unknown;
}

/** A handler class for a family; what it does is in `steps`. */
export function handlerFor(family: { datagram: boolean }, steps: Steps): never {
  class StreamHandler extends StreamRequestHandler {
    declare readonly server: AnyServer;
    override async setup() {
      await super.setup();
      await steps.setup?.(this);
    }
    override async handle() {
      await steps.handle?.(this);
    }
    override async finish() {
      await super.finish();
      await steps.finish?.(this);
    }
  }
  class DatagramHandler extends DatagramRequestHandler {
    declare readonly server: AnyServer;
    override async setup() {
      await super.setup();
      await steps.setup?.(this);
    }
    override async handle() {
      await steps.handle?.(this);
    }
    override async finish() {
      await super.finish();
      await steps.finish?.(this);
    }
  }
  return (family.datagram ? DatagramHandler : StreamHandler) as never;
}

/** Sends the first line back. */
export async function echo(handler: Handler): Promise<void> {
  await handler.wfile.write(await handler.rfile.readline());
}

/** A server that sends the first line back. */
export function echoServer(family: Family, logger = new ListLogger()): AnyServer {
  return family.make(handlerFor(family, { handle: echo }), { logger });
}

/** Says a line and does not care for the answer; a stream client waits until the server closes. */
export async function tell(
  family: Speech,
  address: SocketAddress,
  line = "hello\n",
): Promise<void> {
  if (family.datagram) {
    using client = datagramClient(address);
    await client.send(bytes(line), address);
  } else {
    await family.ask(address, line).catch(() => ""); // who is refused or cut off may see a reset
  }
}

/** Requests that wait in a server's queue, numbered from 0, and their answers to come. */
export async function queueUp(
  family: Speech,
  address: SocketAddress,
  count: number,
): Promise<{ answers: Promise<string[]> }> {
  if (!family.datagram) {
    const dial = family.name.endsWith("TLSServer") ? connectTLS : connect;
    const conns: Deno.Conn[] = [];
    for (let n = 0; n < count; n++) conns.push(await dial(address));
    return { answers: Promise.all(conns.map((conn, n) => exchangeOn(conn, `${n}\n`))) };
  }
  const clients = Array.from({ length: count }, () => datagramClient(address));
  for (const [n, client] of clients.entries()) await client.send(bytes(`${n}\n`), address);
  const answers = clients.map(async (client) => {
    using _ = client;
    return text((await client.receive())[0]);
  });
  return { answers: Promise.all(answers) };
}

/** "0\n", "1\n" and so on, as many as that. */
export function numberedLines(count: number): string[] {
  return Array.from({ length: count }, (_, n) => `${n}\n`);
}
