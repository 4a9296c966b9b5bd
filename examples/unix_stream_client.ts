/**
 * A client of a Unix stream socket: it sends its arguments as a line, and prints the answer.
 *
 * Run `deno run --allow-net=unix:/tmp/upper.sock --allow-read=/tmp/upper.sock --allow-write=/tmp/upper.sock
 * examples/unix_stream_client.ts hello world` while examples/unix_stream_server.ts runs in another terminal.
 */
import { parseArgs } from "@std/cli";

if (import.meta.main) {
  const { path, _: words } = parseArgs(Deno.args, {
    string: ["path", "_"],
    default: { path: "/tmp/upper.sock" },
  });
  const data = words.join(" ");

  using conn = await Deno.connect({ transport: "unix", path });
  await conn.write(new TextEncoder().encode(`${data}\n`));
  const received = await new Response(conn.readable).text();

  console.log("Sent:    ", data);
  console.log("Received:", received);
}
