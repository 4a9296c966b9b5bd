/**
 * `Bun.listen` and `Bun.udpSocket`: `bun.js SERVICE`. Lines are echoed as bytes.
 */
import { createHash } from "node:crypto";

const HASHED_BLOCKS = 30_000;
const BLOCK = new Uint8Array(1024);
const service = Bun.argv[2];

function compute() {
  const hash = createHash("sha256");
  for (let block = 0; block < HASHED_BLOCKS; block++) hash.update(BLOCK);
  hash.digest();
}

/** Sends what waits as far as the system takes it; the rest waits for the next drain(). */
function flush(socket) {
  const waiting = socket.data;
  while (waiting.length > 0) {
    const sent = socket.write(waiting[0]);
    if (sent < waiting[0].length) {
      waiting[0] = waiting[0].subarray(Math.max(sent, 0));
      return;
    }
    waiting.shift();
  }
}

if (service === "udp") {
  const socket = await Bun.udpSocket({
    hostname: "127.0.0.1",
    socket: {
      data: (socket, data, port, address) => void socket.send(data, port, address),
    },
  });
  console.log(socket.port);
} else {
  const server = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      open(socket) {
        socket.data = [];
      },
      data(socket, data) {
        if (service === "compute") compute();
        const sent = socket.data.length === 0 ? Math.max(socket.write(data), 0) : 0;
        if (sent < data.length) socket.data.push(data.slice(sent)); // the buffer is used again
      },
      drain: flush,
      error() {}, // the client has reset the connection
    },
  });
  console.log(server.port);
}
