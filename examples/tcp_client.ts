/**
 * The TCP client of Python's documentation: it sends its arguments as a line, and prints the answer.
 *
 * Run `deno run --allow-net=localhost:9999 examples/tcp_client.ts hello world` while one of the TCP servers runs in
 * another terminal.
 */
import { parseArgs } from "@std/cli";
import { formatBytes } from "@netkit/socketserver";

if (import.meta.main) {
  const { port, _: words } = parseArgs(Deno.args, {
    string: ["port", "_"],
    default: { port: "9999" },
  });
  const data = words.join(" ");

  // Connect to the server and send the data
  using conn = await Deno.connect({ hostname: "localhost", port: Number(port) });
  await conn.write(new TextEncoder().encode(`${data}\n`));

  // Receive all that the server sends until it closes the connection
  const received = await new Response(conn.readable).bytes();

  console.log("Sent:    ", data);
  console.log("Received:", formatBytes(received));
}
