/**
 * The package as other projects use it: published, imported from a registry or a URL, and compiled.
 *
 * @module
 */
import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { join } from "node:path";
import { connect, datagramExchange, exchangeOn, tempFolder } from "./harness.ts";
import { Program, type ProgramOptions, ROOT } from "./program.ts";
import {
  type Files,
  filesOfRegistry,
  folderUrl,
  publishedPackage,
  WebServer,
  writeFiles,
} from "./registry.ts";

/** A service of the project's, whose handlers need the project's import map. */
const HANDLERS = `
  import { DatagramRequestHandler, StreamRequestHandler } from "@netkit/socketserver";
  import { greeting } from "greeting";

  const place = Deno.mainModule?.split("/").at(-1) ?? "a Worker";

  export class GreetHandler extends StreamRequestHandler {
    static override readonly moduleUrl = import.meta.url;
    override async handle(): Promise<void> {
      for await (const name of this.rfile.lines()) {
        await this.wfile.write(\`\${greeting}, \${name}, says \${place}\`);
      }
    }
  }

  export class GreetDatagramHandler extends DatagramRequestHandler {
    static override readonly moduleUrl = import.meta.url;
    override handle(): void {
      const name = new TextDecoder().decode(this.packet).trim();
      this.wfile.writeSync(\`\${greeting}, \${name}, says \${place}\`);
    }
  }
`;

/** A test of that service, without sockets. */
const TEST = `
  import { TCPServer } from "@netkit/socketserver";
  import { MemoryMixIn, serveInTest } from "@netkit/socketserver/testing";
  import { GreetHandler } from "./handlers.ts";

  Deno.test("greets", async () => {
    const Server = MemoryMixIn(TCPServer);
    await using run = serveInTest(new Server({ hostname: "127.0.0.1", port: 0 }, GreetHandler));
    const answer = await run.server.exchange("Ada\\n");
    if (!answer.startsWith("Hello, Ada, says ")) throw new Error(answer);
  });
`;

/** Serves in the mode of its first argument; the others are permissions for subprocesses. */
const SERVER = `
  import {
    type AnyServer,
    ConcurrentTCPServer,
    ForkingTCPServer,
    ForkingUDPServer,
    formatAddress,
    PoolTCPServer,
    TCPServer,
    ThreadingTCPServer,
  } from "@netkit/socketserver";
  import { GreetDatagramHandler, GreetHandler } from "./handlers.ts";

  const [mode = "", ...childPermissions] = Deno.args;
  const address = { hostname: "127.0.0.1", port: 0 };
  const servers: Record<string, () => AnyServer> = {
    plain: () => new TCPServer(address, GreetHandler),
    concurrent: () => new ConcurrentTCPServer(address, GreetHandler),
    threading: () => new ThreadingTCPServer(address, GreetHandler),
    pool: () => new PoolTCPServer(address, GreetHandler, { workers: 1 }),
    forking: () => new ForkingTCPServer(address, GreetHandler, { childPermissions }),
    datagrams: () => new ForkingUDPServer(address, GreetDatagramHandler, { childPermissions }),
  };
  if (import.meta.main) {
    await using server = servers[mode]!();
    Deno.addSignalListener("SIGTERM", () => server.drain());
    console.log(\`Listening on \${formatAddress(server.serverAddress)}\`);
    await server.serveForever();
  }
`;

/** Where the package comes from. */
interface Source {
  /** What the project imports. */
  specifier: string;
  /** The registry for its dependencies, and for itself where it comes from one. */
  registry: string;
  /** What Deno needs to load it; subprocesses as well. */
  flags: string[];
  /** The folder of its modules, where those are files. */
  folder: string | null;
  /** What serves it. */
  servers: AsyncDisposableStack;
}

async function fileRegistry(files: Files): Promise<Source> {
  const folder = await writeFiles(files);
  const servers = new AsyncDisposableStack();
  const registry = folderUrl(folder);
  return { specifier: "jsr:@netkit/socketserver", registry, flags: [], folder, servers };
}

function webRegistry(files: Files): Source {
  const servers = new AsyncDisposableStack();
  const { url: registry } = servers.use(new WebServer(files));
  return { specifier: "jsr:@netkit/socketserver", registry, flags: [], folder: null, servers };
}

async function otherHost(files: Files): Promise<Source> {
  const { name, version } = await publishedPackage();
  const servers = new AsyncDisposableStack();
  const [registry, other] = [new WebServer(files), new WebServer(files)].map((server) =>
    servers.use(server)
  );
  return {
    specifier: `${other!.url}${name}/${version}/mod.ts`,
    registry: registry!.url,
    // The flag takes the place of the hosts that Deno allows by itself, of which the registry is one.
    flags: [`--allow-import=${other!.host},${registry!.host}`],
    folder: null,
    servers,
  };
}

/** A project beside ours, which imports the package and names it as anybody would. */
class Project {
  readonly #folder: string;
  readonly #source: Source;

  static async make(source: Source): Promise<Project> {
    const config = {
      imports: { "@netkit/socketserver": source.specifier, greeting: "./lib/greeting.ts" },
      unstable: ["net"],
      compilerOptions: { noImplicitOverride: true, exactOptionalPropertyTypes: true },
    };
    const folder = await writeFiles({
      "deno.json": JSON.stringify(config),
      "handlers.ts": HANDLERS,
      "lib/greeting.ts": `export const greeting = "Hello";`,
      "server.ts": SERVER,
      "service_test.ts": TEST,
    });
    return new Project(folder, source);
  }

  constructor(folder: string, source: Source) {
    this.#folder = folder;
    this.#source = source;
  }

  /** The least permissions that the README gives for a mode. */
  permissions(mode: string): string[] {
    const { flags, folder } = this.#source;
    const modules = ["handlers.ts", "lib/greeting.ts"].map((name) => join(this.#folder, name));
    const read = `--allow-read=${[...modules, ...(folder === null ? [] : [folder])]}`;
    const run = `--allow-run=${Deno.execPath()}`;
    const byMode: Record<string, string[]> = {
      plain: ["--allow-net=127.0.0.1:0"],
      concurrent: ["--allow-net=127.0.0.1:0"],
      threading: ["--allow-net=127.0.0.1:0", read],
      pool: ["--allow-net=127.0.0.1", read],
      forking: ["--allow-net=127.0.0.1:0", run],
      datagrams: ["--allow-net=127.0.0.1", run],
    };
    return [...flags, ...byMode[mode]!];
  }

  /** Runs `deno`, in a folder that has nothing to do with the project, with a cache. */
  deno(cache: string, args: string[], options: ProgramOptions = {}): Program {
    const env = { DENO_DIR: cache, JSR_URL: this.#source.registry, ...options.env };
    return new Program(args, { cwd: tempFolder(), ...options, env });
  }

  /**
   * Starts the server, with no more permissions than its mode needs.
   *
   * @param cached Whether it, and its subprocesses, may take nothing but what is in the cache.
   * @param flags More flags of Deno.
   */
  serve(mode: string, cache: string, cached = false, flags: string[] = []): Program {
    const cachedOnly = cached ? ["--cached-only"] : [];
    return this.deno(cache, [
      ...["run", "--quiet", "--no-prompt", ...this.permissions(mode), ...cachedOnly, ...flags],
      ...[this.path("server.ts"), mode, ...this.#source.flags, ...cachedOnly],
    ]);
  }

  path(name: string): string {
    return join(this.#folder, name);
  }
}

/** Where the handler runs in each mode. */
const PLACES: Record<string, string> = {
  plain: "server.ts",
  concurrent: "server.ts",
  threading: "a Worker",
  pool: "a Worker",
  forking: "handlers.ts",
  datagrams: "handlers.ts",
};
const MODES = Object.keys(PLACES);

/** Talks to a server as a client, and ends it; it may have nothing to complain of. */
async function checkServer(server: Program, mode: string): Promise<void> {
  const address = await server.address();
  const answer = mode === "datagrams"
    ? await datagramExchange({ ...address, transport: "udp" } as Deno.NetAddr, "Ada\n")
    : await exchangeOn(await connect(address), "Ada\n");
  assertEquals(answer, `Hello, Ada, says ${PLACES[mode]}`);
  const { code, stderr } = await server.stop();
  assertEquals([code, stderr], [0, ""]);
}

/** Does so with a server in each of the modes, side by side. */
async function checkModes(modes: string[], start: (mode: string) => Program): Promise<void> {
  await using servers = new AsyncDisposableStack();
  await Promise.all(modes.map((mode) => checkServer(servers.use(start(mode)), mode)));
}

/** Waits for the end of a run that should do well, and gives what it wrote to standard error. */
async function succeed(run: Program): Promise<string> {
  await using program = run;
  const { code, stderr } = await program.result;
  assertEquals(code, 0, stderr);
  return stderr;
}

const SOURCES: [name: string, make: (files: Files) => Source | Promise<Source>][] = [
  ["jsr: of a file registry", fileRegistry],
  ["jsr: of a registry on the web", webRegistry],
  ["a URL of another host", otherHost],
];

for (const [name, make] of SOURCES) {
  Deno.test(`a project that imports ${name} serves in every mode with the least permissions, then from the cache`, async () => {
    const source = await make(await filesOfRegistry());
    await using servers = source.servers;
    const project = await Project.make(source);
    const caches = new Map(MODES.map((mode) => [mode, tempFolder()]));
    await checkModes(MODES, (mode) => project.serve(mode, caches.get(mode)!));
    await servers.disposeAsync();
    await checkModes(MODES, (mode) => project.serve(mode, caches.get(mode)!, true));
  });
}

Deno.test("deno cache fetches all that a project needs in every mode", async () => {
  const source = webRegistry(await filesOfRegistry());
  await using servers = source.servers;
  const project = await Project.make(source);
  const cache = tempFolder();
  await succeed(project.deno(cache, ["cache", project.path("server.ts")]));
  await servers.disposeAsync();
  await checkModes(["threading", "pool", "forking"], (mode) => project.serve(mode, cache, true));
});

Deno.test("a project that imports the package passes deno check", async () => {
  const source = await fileRegistry(await filesOfRegistry());
  const project = await Project.make(source);
  const check = ["check", "--quiet", "server.ts", "service_test.ts"];
  await succeed(project.deno(tempFolder(), check, { cwd: project.path(".") }));
});

Deno.test("a project that imports the package tests its service by it, without permissions", async () => {
  const source = webRegistry(await filesOfRegistry());
  await using _ = source.servers;
  const project = await Project.make(source);
  const test = ["test", "--quiet", "--no-prompt", "--no-check", "service_test.ts"];
  await succeed(project.deno(tempFolder(), test, { cwd: project.path(".") }));
});

Deno.test("fault 8: a subprocess takes the package from the cache, whatever host it is of, and needs no permission for that", async () => {
  const source = await otherHost(await filesOfRegistry());
  await using _ = source.servers;
  const project = await Project.make(source);
  const flags = ["run", "--quiet", "--no-prompt", ...project.permissions("forking")];
  await using server = project.deno(tempFolder(), [...flags, project.path("server.ts"), "forking"]);
  const greeting = "Hello, Ada, says handlers.ts";
  assertEquals(await exchangeOn(await connect(await server.address()), "Ada\n"), greeting);
});

Deno.test("the command line tool of the registry serves a handler with the import map of the project it is run in", async () => {
  const source = webRegistry(await filesOfRegistry());
  await using _ = source.servers;
  const project = await Project.make(source);
  const tool = ["run", "-A", "--quiet", `${source.specifier}/cli`, "handlers.ts"];
  const cache = tempFolder();
  for (const mode of ["threading", "forking"]) {
    const args = [...tool, "--class", "GreetHandler", "--tcp", "127.0.0.1:0", "--mode", mode];
    await checkModes([mode], () => project.deno(cache, args, { cwd: project.path(".") }));
  }
});

/** Stands in for the runtime that `deno compile` embeds programs in, which is not at hand everywhere. */
const NO_RUNTIME = { DENORT_BIN: "/bin/true" };
/** Makes a program think that it has been compiled. */
const FAKE = `
  Object.defineProperty(Deno, "build", { value: { ...Deno.build, standalone: true } });
`;
const REFUSAL = "Cannot use ForkingTCPServer in a program made by deno compile: " +
  "it has no Deno to start; use a threading server";

Deno.test("deno compile embeds what the Workers of an example run", async () => {
  for (const name of ["echo_threading.ts", "echo_pool.ts", "threading_mix_in.ts"]) {
    const output = `${tempFolder()}/program`;
    const args = ["compile", "--no-check", "--output", output, `${ROOT}/examples/${name}`];
    const listing = await succeed(new Program(args, { env: NO_RUNTIME }));
    assertStringIncludes(listing, `examples/${name} (`);
    // A star stands for all of a folder that is not large.
    for (const path of ["pool/inside/pool_main.ts", "workers/thread/thread_main.ts"]) {
      const [folder, inner, entry] = path.split("/");
      const lines = [`── ${folder}/* (`, `── ${inner}/* (`, `── ${entry} (`];
      assert(lines.some((line) => listing.includes(line)), listing);
    }
  }
});

Deno.test("what deno compile embeds suffices for every mode but forking, which refuses", async () => {
  const source = webRegistry(await filesOfRegistry());
  await using servers = source.servers;
  const project = await Project.make(source);
  const cache = tempFolder();
  const output = `${tempFolder()}/program`;
  const compile = ["compile", "--no-check", "--output", output, project.path("server.ts")];
  const listing = await succeed(project.deno(cache, compile, { env: NO_RUNTIME }));
  assertMatch(listing, /── handlers\.ts .*\n.*── lib\/\*/);
  await servers.disposeAsync(); // the modules that are not the project's come from the cache only
  const fake = join(await writeFiles({ "fake.ts": FAKE }), "fake.ts");
  const serve = (mode: string) => project.serve(mode, cache, true, ["--preload", fake]);
  await checkModes(["concurrent", "threading", "pool"], serve);
  await using forking = serve("forking");
  await assertRejects(() => forking.address(), Error, REFUSAL);
  assertEquals((await forking.result).code, 1);
});

Deno.test({
  name: "a compiled program serves in every mode but forking, which refuses",
  // The runtime is the one of DENORT_BIN: Deno downloads it where it is not given, which not every network allows.
  ignore: !Deno.env.has("DENORT_BIN"),
  async fn() {
    const source = await fileRegistry(await filesOfRegistry());
    const project = await Project.make(source);
    const command = `${tempFolder()}/program`;
    const flags = ["--no-check", "--allow-net=127.0.0.1", "--output", command];
    await succeed(project.deno(tempFolder(), ["compile", ...flags, project.path("server.ts")]));
    const cwd = tempFolder();
    const serve = (mode: string) => new Program([mode], { command, cwd });
    await checkModes(["plain", "concurrent", "threading", "pool"], serve);
    await using forking = serve("forking");
    await assertRejects(() => forking.address(), Error, REFUSAL);
    assertEquals((await forking.result).code, 1);
  },
});
