/**
 * The UDP client of Python's documentation: it sends its arguments as a datagram, and prints the answer.
 *
 * Run `deno run --unstable-net --allow-net=127.0.0.1 examples/udp_client.ts hello world` while examples/udp_server.ts
 * runs in another terminal.
 */
import { parseArgs } from "@std/cli";
import { formatBytes } from "@netkit/socketserver";

if (import.meta.main) {
  const { port, _: words } = parseArgs(Deno.args, {
    string: ["port", "_"],
    default: { port: "9999" },
  });
  const data = words.join(" ");
  const hostname = "127.0.0.1";

  // As you can see, there is no connect; data is directly sent to the recipient
  const socket = Deno.listenDatagram({ transport: "udp", hostname, port: 0 });
  const server: Deno.Addr = { transport: "udp", hostname, port: Number(port) };
  await socket.send(new TextEncoder().encode(`${data}\n`), server);
  const [received] = await socket.receive();
  socket.close();

  console.log("Sent:    ", data);
  console.log("Received:", formatBytes(received));
}
