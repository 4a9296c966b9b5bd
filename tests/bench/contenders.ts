/**
 * The servers that the benchmark compares: `deno run -A tests/bench/contenders.ts NAME` serves on a free port,
 * prints it, and stays until it is killed.
 *
 * @module
 */
import {
  BaseRequestHandler,
  ConcurrentTCPServer,
  type DatagramRequest,
  DatagramRequestHandler,
  ForkingTCPServer,
  PoolTCPServer,
  StreamRequestHandler,
  TCPServer,
  ThreadingTCPServer,
  UDPServer,
} from "@netkit/socketserver";
import { BlockingHandler, HashHandler, ReadHandler, RecvHandler } from "./handlers.ts";

/** Warm: as many as there are clients. */
const THREADS = { maxThreads: 40, minSpareThreads: 32 };
const CHILDREN = { maxChildren: 8, minSpareChildren: 4, maxRequestsPerChild: 0 };
const LOOPBACK = { hostname: "127.0.0.1", port: 0 };

class LineHandler extends StreamRequestHandler {
  override async handle(): Promise<void> {
    for await (const line of this.rfile) await this.wfile.write(line);
  }
}

class PacketHandler extends BaseRequestHandler<DatagramRequest> {
  override async handle(): Promise<void> {
    const [data, socket] = this.request;
    await socket.sendTo(data, this.clientAddress);
  }
}

class PacketFileHandler extends DatagramRequestHandler {
  override async handle(): Promise<void> {
    await this.wfile.write(this.packet);
  }
}

/** What one would write without the package, at its fastest. */
async function bareEcho(concurrent: boolean): Promise<void> {
  const listener = Deno.listen(LOOPBACK);
  console.log(listener.addr.port);
  while (true) {
    const echoed = echoBare(await listener.accept());
    if (!concurrent) await echoed;
  }
}

async function echoBare(conn: Deno.TcpConn): Promise<void> {
  using _ = conn;
  const buffer = new Uint8Array(65536);
  try {
    for (let count = await conn.read(buffer); count !== null; count = await conn.read(buffer)) {
      for (let sent = 0; sent < count;) sent += await conn.write(buffer.subarray(sent, count));
    }
  } catch {
    // The client has reset.
  }
}

async function bareUDP(): Promise<void> {
  const socket = Deno.listenDatagram({ transport: "udp", ...LOOPBACK });
  console.log((socket.addr as Deno.NetAddr).port);
  const buffer = new Uint8Array(65507);
  while (true) {
    const [data, address] = await socket.receive(buffer);
    await socket.send(data, address);
  }
}

async function serve(server: TCPServer | UDPServer): Promise<void> {
  console.log(server.serverAddress.port);
  await server.serveForever();
}

const CONTENDERS: Record<string, () => Promise<void>> = {
  "bare-tcp": () => bareEcho(false),
  "bare-many": () => bareEcho(true),
  "tcp-recv": () => serve(new TCPServer(LOOPBACK, RecvHandler)),
  "tcp-read": () => serve(new TCPServer(LOOPBACK, ReadHandler)),
  "tcp-lines": () => serve(new TCPServer(LOOPBACK, LineHandler)),
  "concurrent": () => serve(new ConcurrentTCPServer(LOOPBACK, RecvHandler)),
  "concurrent-read": () => serve(new ConcurrentTCPServer(LOOPBACK, ReadHandler)),
  "threading": () => serve(new ThreadingTCPServer(LOOPBACK, RecvHandler, THREADS)),
  "threads": () => serve(new ThreadingTCPServer(LOOPBACK, BlockingHandler, THREADS)),
  "threads-hash": () => serve(new ThreadingTCPServer(LOOPBACK, HashHandler, THREADS)),
  "forking": () => serve(new ForkingTCPServer(LOOPBACK, RecvHandler, CHILDREN)),
  "pool": () => serve(new PoolTCPServer(LOOPBACK, RecvHandler, { workers: 2 })),
  "bare-udp": bareUDP,
  "udp-send": () => serve(new UDPServer(LOOPBACK, PacketHandler)),
  "udp-files": () => serve(new UDPServer(LOOPBACK, PacketFileHandler)),
};

const contender = CONTENDERS[Deno.args[0] ?? ""];
if (contender === undefined) {
  console.error(`Cannot run contender: expected one of ${Object.keys(CONTENDERS).join(", ")}`);
  Deno.exit(2);
}
await contender();
