/**
 * A Worker of Deno for each client, at its fastest and with nothing of the package: `workers.ts SERVICE CLIENTS`. Each
 * accepts by itself and serves one client at a time, as the Workers of a threading server do. Lines are echoed as bytes.
 *
 * @module
 */
import { createHash } from "node:crypto";

const HASHED_BLOCKS = 30_000;
const BLOCK = new Uint8Array(1024);

/** What a Worker is told. */
interface Order {
  port: number;
  service: string;
}

const worker = globalThis as unknown as {
  onmessage: (event: MessageEvent<Order>) => void;
  postMessage: (message: unknown) => void;
};

function listen(port: number): Deno.TcpListener {
  const options = { hostname: "127.0.0.1", port, loadBalanced: true }; // the types do not show the last
  return Deno.listen(options as Deno.TcpListenOptions);
}

function compute(): void {
  const hash = createHash("sha256");
  for (let block = 0; block < HASHED_BLOCKS; block++) hash.update(BLOCK);
  hash.digest();
}

async function echo(conn: Deno.TcpConn, service: string): Promise<void> {
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

if (!("WorkerGlobalScope" in globalThis)) {
  const [service, clients] = [Deno.args[0]!, Number(Deno.args[1])];
  const probe = listen(0);
  const { port } = probe.addr;
  probe.close(); // only listeners that name the same port share it
  for (let count = Math.max(40, clients); count > 0; count--) {
    const other = new Worker(import.meta.url, { type: "module" });
    const isUp = new Promise((resolve) => other.onmessage = resolve);
    other.postMessage({ port, service } satisfies Order);
    await isUp;
  }
  console.log(port);
} else {
  worker.onmessage = async ({ data: { port, service } }) => {
    const listener = listen(port);
    worker.postMessage("up");
    while (true) await echo(await listener.accept(), service);
  };
}
