/**
 * Servers whose process has few descriptors: they serve all who come, with as many Workers or children as there can be.
 *
 * @module
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import type { ThreadingOptions } from "@netkit/socketserver";
import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { StreamCommandHandler } from "../handlers.ts";
import {
  CONFIG,
  exchange,
  runProgram,
  tempFolder,
  tempSocketPath,
  text,
  until,
} from "../harness.ts";
import { kill } from "../processes.ts";

const MOD = new URL("../../mod.ts", import.meta.url).href;
const HANDLERS = new URL("../servers/forking_handlers.ts", import.meta.url).href;

/** What a program that was compiled finds: a file that is embedded takes no descriptor. */
const COMPILED =
  `Object.defineProperty(Deno, "build", { value: { ...Deno.build, standalone: true } });
    const { openSync } = Deno;
    Deno.openSync = (path, options) =>
      String(path) === ${JSON.stringify(fileURLToPath(StreamCommandHandler.moduleUrl))}
        ? { close() {} }
        : openSync(path, options);
`;

for (
  const [where, maxRequestsPerThread, maxThreads, clients, prelude] of [
    ["", 0, 16, 300, ""],
    ["", 1, 16, 30, ""],
    ["", 1, 500, 110, ""],
    [" of a compiled program", 0, 16, 300, COMPILED],
  ] as const
) {
  Deno.test(`ThreadingMixIn${where} serves ${clients} clients where descriptors run low, maxThreads is ${maxThreads} and maxRequestsPerThread is ${maxRequestsPerThread}`, async () => {
    const path = tempSocketPath();
    const running = runProgram(
      `${prelude}
    import { ThreadingUnixStreamServer } from "@netkit/socketserver";
    import { StreamCommandHandler } from ${JSON.stringify(StreamCommandHandler.moduleUrl)};
    const path = Deno.args[0];
    class CountingServer extends ThreadingUnixStreamServer {
      ended = 0;
      async processRequest(request, clientAddress) {
        await super.processRequest(request, clientAddress);
        if (++this.ended === ${clients}) void this.drain();
      }
    }
    const server = new CountingServer({ path }, StreamCommandHandler, {
      maxRequestsPerThread: ${maxRequestsPerThread},
      maxThreads: ${maxThreads},
    });
    Deno.writeTextFileSync(path + ".up", "");
    await server.serveForever();
    await server.finished;
    console.log(server.stats().completed);
    `,
      {
        wrapper: ["bash", "-c", 'ulimit -n 128; exec "$0" "$@"'],
        args: [path],
        limit: 300_000, // a busy machine may take minutes to start so many Workers
      },
    );
    const address = { transport: "unix", path } as const;
    const isUp = () =>
      [...Deno.readDirSync(dirname(path))].some(({ name }) => name.endsWith(".up"));
    await until(isUp);
    const answers = Array.from({ length: clients! }, (_, n) => exchange(address, `echo\n${n}`));
    assertEquals(await Promise.all(answers), Array.from({ length: clients! }, (_, n) => `${n}`));
    const { stdout, stderr, code } = await running;
    assertEquals([stdout, code], [`${clients}\n`, 0], stderr);
    assert(!stderr.includes("ERROR"), stderr);
  });
}

/** A program that serves on a Unix socket until it has heard `clients` clients, with so many descriptors. */
function scarce(descriptors: number, clients: number, options: ThreadingOptions, path: string) {
  return runProgram(
    `import { ThreadingUnixStreamServer } from "@netkit/socketserver";
    import { StreamCommandHandler } from ${JSON.stringify(StreamCommandHandler.moduleUrl)};
    const path = Deno.args[0];
    const { promise: warned, resolve: warn } = Promise.withResolvers();
    class CountingServer extends ThreadingUnixStreamServer {
      ended = 0;
      async processRequest(request, clientAddress) {
        await super.processRequest(request, clientAddress);
        if (++this.ended === ${clients}) void this.drain();
      }
    }
    const logger = {
      ...{ debug() {}, info() {}, error: console.log },
      warn: (line) => line.startsWith("Cannot start") && warn(line),
    };
    const options = ${JSON.stringify(options)};
    const server = new CountingServer({ path }, StreamCommandHandler, { ...options, logger });
    const serving = server.serveForever();
    Deno.writeTextFileSync(path + ".up", "");
    if (${clients} === 0) {
      console.log(await warned);
      await server.serverClose();
    }
    await serving;
    await server.finished;
    console.log(server.stats().completed);`,
    {
      wrapper: ["bash", "-c", `ulimit -n ${descriptors}; exec "$0" "$@"`],
      args: [path],
    },
  );
}

for (const [descriptors, maxRequestsPerThread] of [[56, 0], [56, 1], [72, 0], [72, 1]] as const) {
  Deno.test(`fault 23: ThreadingMixIn serves with ${descriptors} descriptors, with one Worker at a time if need be, when maxRequestsPerThread is ${maxRequestsPerThread}`, async () => {
    const path = tempSocketPath();
    const running = scarce(descriptors, 20, { maxRequestsPerThread }, path);
    await until(() => existsSync(`${path}.up`));
    const address = { transport: "unix", path } as const;
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => exchange(address, "echo\nhello\n")),
    );
    assertEquals(answers, Array.from({ length: 20 }, () => "hello\n"));
    const { stdout, stderr, code } = await running;
    assertEquals([stdout, stderr, code], ["20\n", "", 0]);
  });
}

Deno.test("fault 23: ThreadingMixIn says what it needs and has when there are no descriptors for a Worker", async () => {
  const { stdout, stderr, code } = await scarce(40, 0, { minSpareThreads: 1 }, tempSocketPath());
  assertMatch(
    stdout,
    /^Cannot start another Worker yet: it needs 20 free file descriptors to start, and there are \d+ \("ulimit -n"\)\n0\n$/,
  );
  assertEquals([stderr, code], ["", 0]);
});

for (
  const [maxChildren, maxRequestsPerChild, clients] of [[40, 4, 60], [500, 0, 300], [500, 1, 110]]
) {
  Deno.test(`ForkingTCPServer that runs out of descriptors serves ${clients} clients in the end with ${maxChildren} children, ${maxRequestsPerChild} requests each`, async () => {
    const path = `${tempFolder()}/program.ts`;
    await Deno.writeTextFile(
      path,
      `import { ForkingTCPServer } from ${JSON.stringify(MOD)};
    import { EchoHandler } from ${JSON.stringify(HANDLERS)};
    const options = { maxChildren: ${maxChildren}, maxRequestsPerChild: ${maxRequestsPerChild} };
    const server = new ForkingTCPServer({ hostname: "127.0.0.1", port: 0 }, EchoHandler, options);
    console.log(JSON.stringify(server.serverAddress));
    await server.serveForever();`,
    );
    const deno = `${Deno.execPath()} run -A --no-check --quiet --config ${CONFIG} ${path}`;
    const child = new Deno.Command("bash", {
      args: ["-c", `ulimit -n 128 && exec ${deno}`],
      stdout: "piped",
      stderr: "null",
    }).spawn();
    const reader = child.stdout.getReader();
    try {
      const address = JSON.parse(text((await reader.read()).value!));
      const lines = Array.from({ length: clients! }, (_, n) => `client ${n}\n`);
      assertEquals(await Promise.all(lines.map((line) => exchange(address, line))), lines);
    } finally {
      kill(child.pid);
      await reader.cancel();
      await child.status;
    }
  });
}

Deno.test("PoolTCPServer starts as many Workers as there are descriptors for, and serves", async () => {
  const source = new URL("../../src/servers/ready_made.ts", import.meta.url).href;
  const handlers = new URL("../servers/pool_handlers.ts", import.meta.url).href;
  for (
    const [stop, descriptors, least] of [
      ...[["drain", 128, 2], ["serverClose", 128, 2]] as const,
      ...[["drain", 56, 1], ["serverClose", 72, 1]] as const, // fault 23: with fewer it serves, too
    ]
  ) {
    const { stdout, stderr, code } = await runProgram(
      `import { PoolTCPServer } from ${JSON.stringify(source)};
      import { PoolCommandHandler } from ${JSON.stringify(handlers)};
      const warned = Promise.withResolvers();
      const address = { hostname: "127.0.0.1", port: 0 };
      const server = new PoolTCPServer(address, PoolCommandHandler, {
        workers: 300,
        logger: { debug() {}, info() {}, error: console.error, warn: (line) => line.startsWith("Cannot start") && warned.resolve(line) },
      });
      const serving = server.serveForever();
      const ask = async () => {
        using conn = await Deno.connect(server.serverAddress);
        await conn.write(new TextEncoder().encode("echo\\nhello"));
        await conn.closeWrite();
        return await new Response(conn.readable).text();
      };
      let served = 0;
      for (let n = 0; n < 100; n++) if (await ask() === "hello") served++;
      console.log(await warned.promise);
      while (server.stats().workers.started < ${least}) await new Promise((resolve) => setTimeout(resolve, 10));
      const { started, starting } = server.stats().workers;
      console.log(served, started >= ${least}, started < 300, starting > 0);
      const before = performance.now();
      await server.${stop}();
      await serving;
      console.log(performance.now() - before < 5000);`,
      { wrapper: ["bash", "-c", `ulimit -n ${descriptors}; exec "$0" "$@"`] },
    );
    assertMatch(
      stdout,
      /^Cannot start another Worker of pool yet: it needs (64|20) free file .* there are \d+ .*\n100 true true true\ntrue\n$/,
    );
    assertEquals([stderr, code], ["", 0]);
  }
});
