/**
 * What one would write on Deno without the package, at its fastest: `bare.ts SERVICE` on the event loop, and
 * `bare.ts SERVICE WORKERS` in so many Workers, each of which accepts by itself and serves one client at a time, as those
 * of a threading server do. Lines are echoed as bytes.
 *
 * @module
 */
import { createHash } from "node:crypto";

const service = Deno.args[0];
const address = { hostname: "127.0.0.1", port: 0 };
const HASHED_BLOCKS = 30_000;
const BLOCK = new Uint8Array(1024);

function compute(): void {
  const hash = createHash("sha256");
  for (let block = 0; block < HASHED_BLOCKS; block++) hash.update(BLOCK);
  hash.digest();
}

async function echo(conn: Deno.TcpConn): Promise<void> {
  using _ = conn;
  const buffer = new Uint8Array(65536);
  try {
    for (let count = await conn.read(buffer); count !== null; count = await conn.read(buffer)) {
      if (service === "compute") compute();
      for (let sent = 0; sent < count;) sent += await conn.write(buffer.subarray(sent, count));
    }
  } catch {
    // The client has reset the connection.
  }
}

async function answerDatagrams(): Promise<void> {
  const socket = Deno.listenDatagram({ transport: "udp", ...address });
  console.log((socket.addr as Deno.NetAddr).port);
  const buffer = new Uint8Array(65507);
  while (true) {
    const [data, client] = await socket.receive(buffer);
    await socket.send(data, client);
  }
}

/** Listens with all others that name the same port, which the types do not show. */
function listenWithOthers(port: number): Deno.TcpListener {
  const options = { ...address, port, loadBalanced: true };
  return Deno.listen(options as Deno.TcpListenOptions);
}

const worker = globalThis as unknown as {
  onmessage: (event: MessageEvent<number>) => void;
  postMessage: (message: unknown) => void;
};

async function startWorkers(count: number): Promise<void> {
  const probe = Deno.listen(address);
  const { port } = probe.addr;
  probe.close();
  for (let left = count; left > 0; left--) {
    const other = new Worker(import.meta.url, { type: "module" });
    const isUp = new Promise((resolve) => other.onmessage = resolve);
    other.postMessage(port);
    await isUp;
  }
  console.log(port);
}

if ("WorkerGlobalScope" in globalThis) {
  worker.onmessage = async ({ data: port }) => {
    const listener = listenWithOthers(port);
    worker.postMessage("up");
    while (true) await echo(await listener.accept());
  };
} else if (service === "udp") {
  await answerDatagrams();
} else if (Deno.args[1] !== undefined) {
  await startWorkers(Number(Deno.args[1]));
} else {
  const listener = Deno.listen(address);
  console.log(listener.addr.port);
  while (true) echo(await listener.accept()); // many at a time: none is awaited
}
