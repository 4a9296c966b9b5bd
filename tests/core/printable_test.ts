/**
 * How handlers see addresses and what kind of requests they have, in every mode.
 *
 * @module
 */
import { assertEquals, assertMatch } from "@std/assert";
import {
  BaseRequestHandler,
  ConcurrentTCPServer,
  type DatagramRequest,
  ForkingTCPServer,
  ForkingUDPServer,
  PoolTCPServer,
  type StreamSocket,
  type TCPAddr,
  TCPServer,
  ThreadingTCPServer,
  ThreadingUDPServer,
  type UDPAddr,
  UDPServer,
  type UnixStreamAddr,
  UnixStreamServer,
} from "@netkit/socketserver";
import { printable } from "../../src/base/address.ts";
import { AddressHandler, DatagramAddressHandler } from "../servers/call_handlers.ts";
import { datagramExchange, exchange, LOOPBACK, start, tempSocketPath } from "../harness.ts";

for (
  const Server of [
    TCPServer,
    ConcurrentTCPServer,
    ThreadingTCPServer,
    ForkingTCPServer,
    PoolTCPServer,
  ]
) {
  Deno.test(`a handler of ${Server.name} prints addresses as people write them, and knows that it has a stream`, async () => {
    const server: TCPServer = new Server(LOOPBACK, AddressHandler);
    await using _ = start<TCPServer>(server);
    const { hostname, port } = server.serverAddress;
    assertEquals(`${server.serverAddress}`, `127.0.0.1:${port}`);
    using conn = await Deno.connect({ hostname, port });
    const local = conn.localAddr as Deno.NetAddr;
    const said = await new Response(conn.readable).text();
    assertEquals(said, `127.0.0.1:${local.port} 127.0.0.1:${port} SOCK_STREAM`);
  });
}

Deno.test("a handler in a Worker for each connection of the relay prints addresses as people write them", async () => {
  const server = new ThreadingTCPServer(LOOPBACK, AddressHandler, { minSpareThreads: 0 });
  await using _ = start(server);
  const said = await exchange(server.serverAddress, "");
  assertEquals(said.split(" ").slice(1), [`${server.serverAddress}`, "SOCK_STREAM"]);
});

for (const Server of [UDPServer, ThreadingUDPServer, ForkingUDPServer] as (typeof UDPServer)[]) {
  Deno.test(`a handler of ${Server.name} prints addresses as people write them, and knows that it has a datagram`, async () => {
    const server = new Server(LOOPBACK, DatagramAddressHandler);
    await using _ = start<UDPServer>(server);
    const said = await datagramExchange(server.serverAddress, "hello");
    assertEquals(said.replace(/^127\.0\.0\.1:\d+ /, ""), `${server.serverAddress} SOCK_DGRAM`);
  });
}

Deno.test("a hook and a function get addresses that print", async () => {
  const path = tempSocketPath();
  const said: string[] = [];
  class HookServer extends UnixStreamServer {
    override verifyRequest(_request: StreamSocket, clientAddress: unknown): boolean {
      said.push(String(clientAddress));
      return true;
    }
  }
  const server = new HookServer({ path }, (_request, address) => void said.push(`${address}`));
  await using _ = start<UnixStreamServer>(server);
  assertEquals(`${server.serverAddress}`, path);
  await exchange(server.serverAddress, "");
  assertEquals(said, ["unnamed", "unnamed"]);
});

Deno.test("a getRequest() of one's own gets addresses that print", async () => {
  const said: string[] = [];
  const tell = <Pair extends readonly [unknown, unknown]>(pair: Pair): Pair => {
    said.push(`${pair[1]}`);
    return pair;
  };
  class Streams extends TCPServer {
    override async getRequest(): Promise<[StreamSocket, TCPAddr]> {
      return tell(await super.getRequest());
    }
  }
  class UnixStreams extends UnixStreamServer {
    override async getRequest(): Promise<[StreamSocket, UnixStreamAddr]> {
      return tell(await super.getRequest());
    }
  }
  class Datagrams extends UDPServer {
    override async getRequest(): Promise<[DatagramRequest, UDPAddr]> {
      return tell(await super.getRequest());
    }
  }
  await using streams = start(new Streams(LOOPBACK, () => {}));
  await exchange(streams.server.serverAddress, "");
  await using unixStreams = start(new UnixStreams({ path: tempSocketPath() }, () => {}));
  await exchange(unixStreams.server.serverAddress, "");
  await using datagrams = start(new Datagrams(LOOPBACK, DatagramAddressHandler));
  await datagramExchange(datagrams.server.serverAddress, "hello");
  assertMatch(said.join(" "), /^127\.0\.0\.1:\d+ unnamed 127\.0\.0\.1:\d+$/);
});

Deno.test("printable() leaves alone what writes itself, and what cannot be changed", () => {
  const own = { toString: () => "mine" };
  assertEquals(`${printable(own)}`, "mine");
  assertEquals(String(printable(new URL("http://a.invalid/"))), "http://a.invalid/");
  const frozen = Object.freeze({ transport: "tcp", hostname: "a", port: 1 });
  assertEquals(printable(frozen), { transport: "tcp", hostname: "a", port: 1 });
  const address = printable({ transport: "tcp", hostname: "::1", port: 1 });
  assertEquals(
    `${address} ${JSON.stringify(address)}`,
    '[::1]:1 {"transport":"tcp","hostname":"::1","port":1}',
  );
});

/** Never run: that a handler for no family in particular may ask for what TCP clients and Unix clients have. */
export class TypedHandler extends BaseRequestHandler {
  readonly host: string | undefined = this.clientAddress.hostname;
  readonly port: number | undefined = this.clientAddress.port;
  readonly path: string | undefined = this.clientAddress.path;
}
