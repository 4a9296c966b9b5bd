/**
 * The listings of the recipes that users come from, each with its example: the same base class, the same kind of server,
 * the same output.
 *
 * @module
 */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { datagramExchange, exchangeOn, readAll, text } from "../harness.ts";
import { dial, freePort, Recipe, type RecipeOptions, sourceOf } from "./recipe.ts";

/** A listing, and what it is here. */
interface Listing {
  /** What the listing is about. */
  about: string;
  /** Its file under examples/. */
  example: string;
  /** The class that its handler extends. */
  handler: string;
  /** What makes its server or the class of it, as it stands in the example. */
  server: string;
  /** What its clients say, one after the other; none where the program is its own client. */
  says?: string[];
  /** Whether a client hears what it said as it was, and not in upper case. */
  echoes?: boolean;
  /** What it prints, in the notation of Python. */
  prints: string;
  /** How the example is run where it is not with port 0. */
  options?: RecipeOptions;
}

const GOT = "Got connection from ('127.0.0.1', 46923)\n";
const RUNNING = "Echo server running on port 20000\n";
const POOL_RUNNING = "Multithreaded server running on port 20000\n";
const LEAVING = "\n\nLeaving.\n";
const HELLO = ["Hello\n"];
const NICE = ["hello world with TCP\n", "python is nice\n"];
const NICE_WROTE =
  "127.0.0.1 wrote:\nb'hello world with TCP'\n127.0.0.1 wrote:\nb'python is nice'\n";

const turns = (print: (turn: number) => string) => [1, 2, 3].map(print).join("");

/** A recipe on the framework as a whole; TCP_QUICKACK, which the listings set as well, Deno does not have. */
const framework: Listing[] = [
  ...[
    ["options_before_bind.ts", "BaseRequestHandler"] as const,
    ["options_before_bind_stream.ts", "StreamRequestHandler"] as const,
  ].map(([example, handler]): Listing => ({
    about: `the framework with options and a log: ${handler}`,
    example,
    handler,
    server: "new TCPServer(",
    says: HELLO,
    prints: "[MainProcess (8)] enable TCP_NODELAY\n" +
      "[MainProcess (8)] connected from ('127.0.0.1', 46923)\n" +
      "[MainProcess (8)] recv: b'Hello\\n'\n[MainProcess (8)] sent: b'HELLO\\n'\n",
  })),
  {
    about: "the framework with options and a log: SO_REUSEPORT and threads",
    example: "threading_reuse_port.ts",
    handler: "BaseRequestHandler",
    server: "new ThreadingTCPServer(",
    prints: "[MainThread (9)] enable TCP_NODELAY\n" +
      "[MainThread (9)] Server loop running in thread: Thread-1\n" +
      turns((turn) =>
        "[Thread-2 (9)] connected from ('127.0.0.1', 46923) (Thread-2, 9)\n" +
        `[Thread-2 (9)] recv: b'Hello World ${turn}'\n` +
        `[Thread-2 (9)] sent: b'HELLO WORLD ${turn}'\n` +
        `[MainThread (9)] recv: b'HELLO WORLD ${turn}'\n`
      ),
  },
];

/** The cookbook's chapter, of which there are two versions; the other has the same listings without a first and last line. */
const cookbook: Listing[] = [
  {
    about: "a simple echo server",
    example: "echo_base.ts",
    handler: "BaseRequestHandler",
    server: "new TCPServer(",
    says: HELLO,
    prints: RUNNING + GOT + LEAVING,
  },
  {
    about: "an echo server with streams",
    example: "echo_stream.ts",
    handler: "StreamRequestHandler",
    server: "new TCPServer(",
    says: HELLO,
    prints: RUNNING + GOT + LEAVING,
  },
  {
    about: "an echo server for several clients: threads",
    example: "echo_threading.ts",
    handler: "StreamRequestHandler",
    server: "new ThreadingTCPServer(",
    says: ["Hello\n", "", ""],
    prints: RUNNING + GOT + GOT + GOT + LEAVING,
  },
  {
    about: "an echo server for several clients: processes",
    example: "echo_forking.ts",
    handler: "StreamRequestHandler",
    server: "new ForkingTCPServer(",
    says: ["Hello\n", "", ""],
    prints: RUNNING + GOT + GOT + GOT + LEAVING,
  },
  {
    about: "a pre-allocated pool",
    example: "echo_pool.ts",
    handler: "StreamRequestHandler",
    server: "new PoolTCPServer(",
    says: ["Hello\n", "", ""],
    prints: POOL_RUNNING + GOT + GOT + GOT + LEAVING,
  },
  {
    about: "options before the bind",
    example: "echo_options.ts",
    handler: "StreamRequestHandler",
    server: "new TCPServer(",
    says: HELLO,
    prints: RUNNING + GOT + LEAVING,
  },
  {
    about: "allow_reuse_address as a class variable",
    example: "echo_reuse_address.ts",
    handler: "StreamRequestHandler",
    server: "extends TCPServer",
    says: ["Hello\n", "", ""],
    prints: RUNNING + GOT + GOT + GOT + LEAVING,
  },
].map((listing) => ({ ...listing, echoes: true }));

/** What only the other version has. */
const olderCookbook: Listing[] = [
  {
    about: "settings of the handler, and a time-out",
    example: "echo_timeout.ts",
    handler: "StreamRequestHandler",
    server: "new TCPServer(",
    says: ["Hello\n"],
    echoes: true,
    prints: `${GOT}Timed out!\n`,
    options: { port: 0, args: ["--timeout", "200"] },
  },
  {
    about: "an echo server directly on sockets",
    example: "echo_deno_listen.ts",
    handler: "",
    server: "Deno.listen(",
    says: HELLO,
    echoes: true,
    prints: GOT,
  },
];

/** The handbook's page on the module, and Python's own documentation: the one breaks a line where the other does not. */
const documentation: Listing[] = [
  ...[
    ["tcp_server.ts", "BaseRequestHandler"] as const,
    ["tcp_server_stream.ts", "StreamRequestHandler"] as const,
  ].map(([example, handler]): Listing => ({
    about: `the TCP server: ${handler}`,
    example,
    handler,
    server: "new TCPServer(",
    says: NICE,
    prints: NICE_WROTE,
  })),
  {
    about: "the UDP server",
    example: "udp_server.ts",
    handler: "BaseRequestHandler",
    server: "new UDPServer(",
    says: NICE,
    prints: NICE_WROTE,
  },
  {
    about: "the threaded server, and its three clients",
    example: "threading_mix_in.ts",
    handler: "BaseRequestHandler",
    server: "ThreadingMixIn(TCPServer)",
    prints: "Server loop running in thread: Thread-1\n" +
      turns((turn) => `Received: Thread-${turn + 1}: Hello World ${turn}\n`),
  },
  {
    about: "the same with processes",
    example: "forking_mix_in.ts",
    handler: "BaseRequestHandler",
    server: "ForkingMixIn(TCPServer)",
    prints: "Server loop running in process 12\n" +
      turns((turn) => `Received: Process-${turn + 1}: Hello World ${turn}\n`),
  },
];

/** Makes output comparable: addresses, and what differs from run to run. */
function normal(output: string): string[] {
  return output
    .replace(/\('(127\.0\.0\.1)', \d+\)/g, "$1:46923")
    .replace(/127\.0\.0\.1:\d+/g, "127.0.0.1:46923")
    .replace(/\b(?:Main)?Thread(?:-\d+)?\b/g, "THREAD")
    .replace(/\b(port |process |Process-)\d+/g, "$1N")
    .replace(/([(]|, )\d+\)/g, "$1N)")
    .split("\n").map((line) => line.trim()).filter((line) => line !== "");
}

/** Says each thing on a connection or in a datagram of its own. */
async function talk(server: Recipe, { example, says = [], echoes = false, prints }: Listing) {
  const port = await server.port();
  for (const message of says) {
    const expected = echoes ? message : message.toUpperCase();
    let answer: string;
    if (example.startsWith("udp")) {
      answer = await datagramExchange({ transport: "udp", hostname: "127.0.0.1", port }, message);
    } else if (prints.includes("Timed out!")) {
      using conn = await dial(port);
      await conn.write(new TextEncoder().encode(message));
      answer = text(await readAll(conn)); // until the server has had enough
    } else {
      answer = await exchangeOn(await dial(port), message);
    }
    assertEquals(answer.trimEnd(), expected.trimEnd());
  }
}

for (const listing of [...framework, ...cookbook, ...olderCookbook, ...documentation]) {
  const { about, example, handler, server, says, prints } = listing;
  Deno.test(`${example} is the listing of ${about}`, async () => {
    const source = sourceOf(example);
    if (handler !== "") assertMatch(source, new RegExp(`extends ${handler}\\b`));
    assertStringIncludes(source, server);

    // The Workers of a pool ask for the port that the system gave, which the permissions must name
    const port = example === "echo_pool.ts" ? freePort() : 0;
    const options = says === undefined ? {} : listing.options ?? { port };
    await using program = new Recipe(example, options);
    if (says !== undefined) {
      await talk(program, listing);
      program.kill("SIGINT");
    }
    const { code, stdout, stderr } = await program.result;
    assertEquals(code, 0, stderr);
    // What a subprocess prints goes to the log
    const isForking = example === "echo_forking.ts";
    const printed = isForking ? `${stdout}${stderr.replace(/^INFO /gm, "")}` : stdout;
    if (!isForking) assertEquals(stderr, "");
    const besides = /^(Listening on |\w+ server running |Leaving\.$)/;
    const lines = normal(printed).filter((line) =>
      prints.includes("Leaving.") ? true : !besides.test(line)
    );
    if (isForking) assertEquals(lines.toSorted(), normal(prints).toSorted());
    else assertEquals(lines, normal(prints));
  });
}
