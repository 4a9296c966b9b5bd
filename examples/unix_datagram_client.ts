/**
 * A client of a Unix datagram socket: it sends its arguments as a datagram, and prints the answer.
 *
 * Run `deno run --unstable-net --allow-net=unix:/tmp/upper.sock,unix:/tmp/client.sock
 * --allow-read=/tmp/upper.sock,/tmp/client.sock --allow-write=/tmp/upper.sock,/tmp/client.sock
 * examples/unix_datagram_client.ts hello world` while examples/unix_datagram_server.ts runs in another terminal.
 */
import { parseArgs } from "@std/cli";

if (import.meta.main) {
  const { path, from, _: words } = parseArgs(Deno.args, {
    string: ["path", "from", "_"],
    default: { path: "/tmp/upper.sock", from: "/tmp/client.sock" },
  });
  const data = words.join(" ");

  // To be answered, a client binds a path of its own
  const socket = Deno.listenDatagram({ transport: "unixpacket", path: from });
  try {
    const server: Deno.Addr = { transport: "unixpacket", path };
    await socket.send(new TextEncoder().encode(`${data}\n`), server);
    const [received] = await socket.receive();
    console.log("Sent:    ", data);
    console.log("Received:", new TextDecoder().decode(received));
  } finally {
    socket.close();
    await Deno.remove(from); // Deno leaves the file
  }
}
