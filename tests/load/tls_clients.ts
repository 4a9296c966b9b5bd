/**
 * TLS servers whose process has few descriptors, and clients who are silent or read nothing: they serve all others.
 *
 * @module
 */
import { assertEquals, assertLessOrEqual, assertMatch } from "@std/assert";
import type { TCPAddr } from "@netkit/socketserver";
import {
  bytes,
  connect,
  connectTLS,
  exchangeOn,
  PATIENCE,
  TLS,
  until,
  writeAll,
} from "../harness.ts";
import { moduleOf, Program, runArgs } from "../program.ts";

/** A server under a limit of 120 descriptors that tells how many it has. */
const LIMITED = `
import { ConcurrentTLSServer, StreamRequestHandler, ThreadingTLSServer } from "@netkit/socketserver";
export class EchoHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override async handle() {
    for await (const line of this.rfile) {
      if (new TextDecoder().decode(line) !== "much\\n") {
        await this.wfile.write(line);
        continue;
      }
      this.request.timeout = 50;
      await this.request.sendAll(new Uint8Array(20_000_000));
    }
  }
}
if (import.meta.main) {
  const [cert, key, Server] = [Deno.args[0], Deno.args[1], Deno.args[2] === "threading"
    ? ThreadingTLSServer
    : ConcurrentTLSServer];
  const options = { cert, key, handshakeTimeout: 500, maxConnectionsPerSource: 2 };
  const server = new Server({ hostname: "127.0.0.1", port: 0 }, EchoHandler, options);
  const count = () => [...Deno.readDirSync("/proc/self/fd")].length;
  console.log("at", server.serverAddress.port);
  console.log("most", count());
  let most = 0;
  setInterval(() => {
    if (count() > most) console.log("most", most = count());
  }, 20);
  await server.serveForever();
}
`;

/** Says a line and hears it again, or gives up after five seconds. */
async function askInTime(address: TCPAddr): Promise<string> {
  const conn = await connectTLS(address);
  const timer = setTimeout(() => conn.close(), 5000);
  try {
    return await exchangeOn(conn, "hello\n");
  } finally {
    clearTimeout(timer);
  }
}

/** Runs that server; `idle` is how many it has before a client comes. */
async function startLimited(
  mode: string,
): Promise<{ program: Program; address: TCPAddr; idle: number }> {
  const module = await moduleOf(LIMITED);
  const args = runArgs(module, ["-A", "--no-check"], [TLS.cert, TLS.key, mode]);
  const program = new Program(
    ["-c", 'ulimit -n 120 && exec "$@"', "sh", Deno.execPath(), ...args],
    { command: "sh" },
  );
  const [, port] = await program.line(/^at (\d+)$/);
  const [, idle] = await program.line(/^most (\d+)$/);
  return {
    program,
    address: { transport: "tcp", hostname: "127.0.0.1", port: Number(port) },
    idle: Number(idle),
  };
}

/** Asserts that the server serves in the end, and has changed the listener before. */
async function assertServes(program: Program, address: TCPAddr): Promise<void> {
  let answer = "";
  const deadline = performance.now() + PATIENCE;
  while (answer === "" && performance.now() < deadline) {
    // Who comes when the listener is replaced is reset or refused, and of 127.0.0.1 two at a time are served.
    answer = await askInTime(address).catch(() => "");
  }
  assertEquals(answer, "hello\n");
  assertMatch(program.stderr, /\d+ clients do not end their TLS handshakes, or read nothing/);
}

/** A server under a limit of 120 descriptors that others have taken all but 20 of, until it hears a signal. */
const CROWDED = `
import { ConcurrentTLSServer } from "@netkit/socketserver";
const [cert, key] = Deno.args;
const server = new ConcurrentTLSServer({ hostname: "127.0.0.1", port: 0 }, async (request) => {
  await request.sendAll(await request.recv(100));
}, { cert, key });
const files = [];
try {
  while (files.length < 120) files.push(Deno.openSync(Deno.execPath()));
} catch {
  for (const file of files.splice(-20)) file.close();
}
console.log("crowded by", files.length);
Deno.addSignalListener("SIGUSR1", () => {
  for (const file of files) file.close();
});
console.log("at", server.serverAddress.port);
await server.serveForever();
`;

Deno.test("TLSListener.accept() goes on without Deno's TLS when silent clients have the last descriptors", async () => {
  const module = await moduleOf(CROWDED);
  const args = runArgs(module, ["-A", "--no-check"], [TLS.cert, TLS.key]);
  await using program = new Program(
    ["-c", 'ulimit -n 120 && exec "$@"', "sh", Deno.execPath(), ...args],
    { command: "sh" },
  );
  await program.line(/^crowded by [1-9]/);
  const [, port] = await program.line(/^at (\d+)$/);
  const address: TCPAddr = { transport: "tcp", hostname: "127.0.0.1", port: Number(port) };
  using clients = new DisposableStack();
  for (let index = 0; index < 40; index++) clients.use(await connect(address));
  await until(() => program.hasEnded || /clients do not end/.test(program.stderr));
  program.kill("SIGUSR1");
  await assertServes(program, address);
});

for (const mode of ["concurrent", "threading"]) {
  Deno.test(`fault 18: 150 silent clients leave a ${mode} TLS server with 120 descriptors able to serve`, async () => {
    const { program, address, idle } = await startLimited(mode);
    await using _ = program;
    using clients = new DisposableStack();
    for (let index = 0; index < 150; index++) clients.use(await connect(address));
    await assertServes(program, address);
    const counts = [...program.stdout.matchAll(/^most (\d+)$/gm)].map(([, count]) => Number(count));
    // 64 handshakes, two requests and their Worker, and what Deno opens for itself.
    assertLessOrEqual(Math.max(...counts), idle + 64 + 20);
    assertMatch(program.stderr, /64 clients do not end/);
  });

  Deno.test(`150 clients who read nothing leave a ${mode} TLS server with 120 descriptors able to serve`, async () => {
    const { program, address } = await startLimited(mode);
    await using _ = program;
    using clients = new DisposableStack();
    const deadline = performance.now() + PATIENCE;
    for (let count = 0; count < 150 && performance.now() < deadline;) {
      if (/clients do not end/.test(program.stderr)) break;
      try {
        // Who comes while two others are served is turned away.
        const client = clients.use(await connectTLS(address));
        await writeAll(client, bytes("much\n"));
        if (await client.read(new Uint8Array(1)) !== null) count++;
      } catch (error) {
        if (error instanceof Deno.errors.NotCapable) throw error;
      }
    }
    await assertServes(program, address);
  });
}
