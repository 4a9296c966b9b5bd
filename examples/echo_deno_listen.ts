/**
 * The echo server written directly on `Deno.listen()`, to compare with the others.
 *
 * Run `deno run --allow-net=0.0.0.0:20000 examples/echo_deno_listen.ts`, then `nc localhost 20000` in another terminal.
 * In Python: a loop around `sock.accept()`. An error of `accept()` ends this program, and no server of the package.
 */
import { parseArgs } from "@std/cli";

async function echoHandler(conn: Deno.TcpConn): Promise<void> {
  console.log(`Got connection from ${conn.remoteAddr.hostname}:${conn.remoteAddr.port}`);
  const buffer = new Uint8Array(8192);
  while (true) {
    const count = await conn.read(buffer);
    if (count === null) break;
    // write() may send only a part
    for (let sent = 0; sent < count;) sent += await conn.write(buffer.subarray(sent, count));
  }
}

async function echoServer(listener: Deno.TcpListener): Promise<void> {
  for await (const conn of listener) {
    try {
      await echoHandler(conn);
    } catch (error) {
      console.error("The client went away:", error);
    } finally {
      conn.close();
    }
  }
}

if (import.meta.main) {
  const { port } = parseArgs(Deno.args, { string: ["port"], default: { port: "20000" } });
  const listener = Deno.listen({ hostname: "0.0.0.0", port: Number(port) });
  const leave = () => {
    console.log("\n\nLeaving.");
    Deno.exit();
  };
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);
  console.log(`Echo server running on port ${listener.addr.port}`);
  await echoServer(listener);
}
