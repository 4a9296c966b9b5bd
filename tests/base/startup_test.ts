/**
 * What a server takes before it serves, so that no clients can keep Deno from taking it later.
 *
 * @module
 */
import { assertEquals, assertMatch } from "@std/assert";
import type { TCPAddr } from "@netkit/socketserver";
import { StreamCommandHandler } from "../handlers.ts";
import {
  bytes,
  connect,
  exchangeOn,
  readAll,
  runProgram,
  tempSocketPath,
  text,
  writeAll,
} from "../harness.ts";
import { moduleOf, Program, runArgs } from "../program.ts";

/** A server that says where it listens, and "full" when no client more can be accepted. */
const THROWING = `
  import { ConcurrentTCPServer, StreamRequestHandler } from "@netkit/socketserver";
  class ThrowingHandler extends StreamRequestHandler {
    override async handle() {
      const line = new TextDecoder().decode(await this.rfile.readline());
      if (line === "fail\\n") throw new Error("failed");
      await this.wfile.write(line);
    }
  }
  class TellingServer extends ConcurrentTCPServer {
    async getRequest() {
      try {
        return await super.getRequest();
      } catch (error) {
        console.log(error.code);
        throw error;
      }
    }
  }
  const server = new TellingServer({ hostname: "127.0.0.1", port: 0 }, ThrowingHandler);
  console.log("at", server.serverAddress.port);
  await server.serveForever();
`;

Deno.test("A handler may throw for the first time when no descriptor is left", async () => {
  const module = await moduleOf(THROWING);
  // The second time Deno finds the module in its cache, and has parsed nothing yet.
  for (const _ of ["first", "second"]) {
    const args = runArgs(module, ["-A", "--no-check"], []);
    await using program = new Program(
      ["-c", 'ulimit -n 64 && exec "$@"', "sh", Deno.execPath(), ...args],
      { command: "sh" },
    );
    const [, port] = await program.line(/^at (\d+)$/);
    const address: TCPAddr = { transport: "tcp", hostname: "127.0.0.1", port: Number(port) };
    using clients = new DisposableStack();
    const first = clients.use(await connect(address));
    for (let index = 0; index < 100; index++) clients.use(await connect(address));
    await program.line(/^EMFILE$/);
    await writeAll(first, bytes("fail\n"));
    assertEquals(text(await readAll(first)), "");
    clients.dispose();
    assertEquals(await exchangeOn(await connect(address), "hello\n"), "hello\n");
    assertMatch(program.stderr, /^ERROR Cannot serve client "[^"]+": Error: failed\n {4}at /m);
  }
});

for (
  const [what, value] of Object.entries({
    "is gone": "undefined",
    "has something else for a function": "{ getBuiltinModule: 1 }",
    "throws": '{ getBuiltinModule() { throw new Error("hands off"); } }',
    "cannot be looked at": 'new Proxy({}, { get() { throw new Error("hands off"); } })',
  })
) {
  Deno.test(`A server is made where the process of the global object ${what}`, async () => {
    const { code, stdout, stderr } = await runProgram(`
      Object.defineProperty(globalThis, "process", { value: ${value} });
      const { TCPServer } = await import("@netkit/socketserver");
      const server = new TCPServer({ hostname: "127.0.0.1", port: 0 }, () => {});
      console.log(server.state);
      await server.serverClose();
    `);
    assertEquals([stdout, stderr, code], ["idle\n", "", 0]);
  });
}

Deno.test("A threading server serves where navigator does not tell the number of processors", async () => {
  const { code, stdout, stderr } = await runProgram(
    `
    Object.defineProperty(globalThis, "navigator", { value: { locks: navigator.locks } });
    const { ThreadingUnixStreamServer } = await import("@netkit/socketserver");
    const { StreamCommandHandler } = await import(${
      JSON.stringify(StreamCommandHandler.moduleUrl)
    });
    const path = Deno.args[0];
    const server = new ThreadingUnixStreamServer({ path }, StreamCommandHandler, { maxThreads: 2 });
    const serving = server.serveForever();
    const conn = await Deno.connect({ transport: "unix", path });
    await conn.write(new TextEncoder().encode("echo\\nhello"));
    await conn.closeWrite();
    console.log(await new Response(conn.readable).text());
    await server.serverClose();
    await serving;
  `,
    { args: [tempSocketPath()] },
  );
  assertEquals([stdout, stderr, code], ["hello\n", "", 0]);
});
