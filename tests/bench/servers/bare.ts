/**
 * What one would write on Deno without the package, at its fastest: `bare.ts SERVICE`. Lines are echoed as bytes.
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

if (service === "udp") {
  const socket = Deno.listenDatagram({ transport: "udp", ...address });
  console.log((socket.addr as Deno.NetAddr).port);
  const buffer = new Uint8Array(65507);
  while (true) {
    const [data, client] = await socket.receive(buffer);
    await socket.send(data, client);
  }
}
const listener = Deno.listen(address);
console.log(listener.addr.port);
while (true) echo(await listener.accept()); // many at a time: none is awaited
