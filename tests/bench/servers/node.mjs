/**
 * `node:net` and `node:dgram`, for Node and for Deno: `node.mjs SERVICE`.
 */
import { createHash } from "node:crypto";
import { createSocket } from "node:dgram";
import { createServer } from "node:net";
import process from "node:process";
import { createInterface } from "node:readline";

const HASHED_BLOCKS = 30_000;
const BLOCK = new Uint8Array(1024);

const SERVICES = {
  echo: (socket) => socket.pipe(socket),
  lines(socket) {
    createInterface({ input: socket }).on("line", (line) => socket.write(`${line}\n`));
  },
  compute(socket) {
    socket.on("data", (data) => {
      const hash = createHash("sha256");
      for (let block = 0; block < HASHED_BLOCKS; block++) hash.update(BLOCK);
      hash.digest();
      socket.write(data);
    });
  },
};

const service = process.argv[2];
if (service === "udp") {
  const socket = createSocket("udp4");
  socket.on("message", (data, client) => socket.send(data, client.port, client.address));
  socket.bind(0, "127.0.0.1", () => console.log(socket.address().port));
} else {
  const server = createServer({ noDelay: true }, (socket) => {
    socket.on("error", () => {}); // the client has reset the connection
    SERVICES[service](socket);
  });
  server.listen({ port: 0, host: "127.0.0.1", backlog: 511 }, () => {
    console.log(server.address().port);
  });
}
