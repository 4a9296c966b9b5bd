/**
 * How a worker finds the handler class that its server was given.
 *
 * @module
 */
import {
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  ForkingTCPServer,
  HandlerLoadError,
  PoolTCPServer,
  StreamRequestHandler,
  ThreadingTCPServer,
} from "@netkit/socketserver";
import { exchange, ListLogger, LOOPBACK, runProgram, start } from "../harness.ts";
import {
  AdminHandler,
  hiddenHandler,
  hiddenOneHandler,
  OneHandler,
  PlainHandler,
  PublicHandler,
} from "./twin_handlers.ts";

const MOD = new URL("../../mod.ts", import.meta.url).href;
const MODES = { threading: ThreadingTCPServer, forking: ForkingTCPServer, pool: PoolTCPServer };

for (const [mode, Server] of Object.entries(MODES)) {
  Deno.test(`fault 10: a ${mode} server serves with the class that it was given, also where another has its name`, async () => {
    const cases = [[PublicHandler, "public"], [AdminHandler, "admin"], [PlainHandler, "plain"]];
    for (const [Handler, answer] of cases as [typeof PlainHandler, string][]) {
      const logger = new ListLogger();
      const server: ThreadingTCPServer | ForkingTCPServer | PoolTCPServer = new Server(
        LOOPBACK,
        Handler,
        { logger },
      );
      await using _ = start<typeof server>(server);
      for (let client = 0; client < 3; client++) {
        assertEquals(await exchange(server.serverAddress, ""), answer);
      }
      assertEquals(logger.lines, []);
    }
  });
}

for (const [mode, Server] of Object.entries(MODES)) {
  Deno.test(`a ${mode} server refuses a class that is not exported, also where exactly one other of its name is`, async () => {
    for (const Handler of [hiddenOneHandler(), hiddenHandler()]) {
      const server = new Server(LOOPBACK, Handler, { logger: new ListLogger() });
      const { message } = await assertRejects(() => server.serveForever(), HandlerLoadError);
      assertStringIncludes(message, "it exports another class of that name");
      await server.serverClose();
    }
    const logger = new ListLogger();
    const server: ThreadingTCPServer | ForkingTCPServer | PoolTCPServer = new Server(
      LOOPBACK,
      OneHandler,
      { logger },
    );
    await using _ = start<typeof server>(server);
    assertEquals(await exchange(server.serverAddress, ""), "exported");
  });
}

Deno.test("a handler whose name is no string is refused where workers have to find it", () => {
  class Nameless extends StreamRequestHandler {
    static override readonly moduleUrl = import.meta.url;
  }
  Object.defineProperty(Nameless, "name", { value: Symbol("name") });
  for (const Server of Object.values(MODES)) {
    assertThrows(
      () => new Server(LOOPBACK, Nameless),
      TypeError,
      `Cannot use handler "a subclass of StreamRequestHandler" with ${Server.name}: its 'static name' is no string`,
    );
  }
});

/** Runs a program that asks its own server for a handler, and gives what it prints. */
async function ask(Server: string, Handler: string, serving: string): Promise<string> {
  const { stdout, stderr, code } = await runProgram(
    `import * as socketserver from ${JSON.stringify(MOD)};
    function make(answer) {
      return class Handler extends socketserver.StreamRequestHandler {
        static moduleUrl = import.meta.url;
        async handle() {
          await this.wfile.write(answer);
        }
      };
    }
    export const AdminHandler = make("admin"), PublicHandler = make("public");
    const HiddenHandler = make("hidden");
    if (import.meta.main) {
      const ignore = () => {};
      const logger = { debug: ignore, info: ignore, warn: ignore, error: ignore };
      const address = { hostname: "127.0.0.1", port: 0 };
      const server = new socketserver.${Server}(address, ${Handler}, { logger });
      const serving = server.serveForever().catch((error) => console.log(error.message));
      const ask = async () => {
        using conn = await Deno.connect(server.serverAddress);
        console.log(await new Response(conn.readable).text());
        await server.serverClose();
      };
      ${serving}
    }
    export const late = await null;`,
  );
  assertEquals([stderr, code], ["", 0]);
  return stdout;
}

for (const { name } of [ThreadingTCPServer, PoolTCPServer]) {
  Deno.test(`fault 10: ${name} tells classes of one name apart while the program's top level waits for it`, async () => {
    assertEquals(await ask(name, "PublicHandler", "ask(); await serving;"), "public\n");
  });

  Deno.test(`fault 10: ${name}.serveForever() rejects where nobody can tell which class is meant`, async () => {
    assertMatch(
      await ask(name, "HiddenHandler", "await serving; Deno.exit();"),
      /^Cannot load handler "Handler" from "file:.*": it exports several handler classes of that name, as AdminHandler, PublicHandler; give each class a name of its own\n$/,
    );
  });
}
