/**
 * A registry on this machine, with our package in it as `deno publish` sends it.
 *
 * Even where JSR is in reach it has the stand-ins of `.ci/std` beside it: a registry is in one place.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { createHash } from "node:crypto";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { bytes, PATIENCE, tempFolder, text } from "./harness.ts";
import { ROOT } from "./program.ts";

const STAND_INS = new URL("../.ci/std/", import.meta.url);
/** The size of a header in a tar archive, and what each file in it is padded to, in bytes. */
const TAR_BLOCK = 512;

/** The answer of JSR for a version that it does not have yet. */
const NOT_PUBLISHED = { code: "packageVersionNotFound", message: "No such version" };

/** The options of `deno publish` that leave out what another test checks. */
const UNCHECKED = ["--no-check", "--allow-slow-types"];

/** The contents of files, by path. */
export type Files = Map<string, Uint8Array<ArrayBuffer>>;

/** A package, with all its files. */
export interface Package {
  /** With its scope: "@std/log". */
  name: string;
  version: string;
  /** As in its `deno.json`. */
  exports: Record<string, string>;
  files: Files;
}

/** Files over HTTP, as JSR serves them, until the end of the scope. */
export class WebServer implements AsyncDisposable {
  /** Where they are, with a final slash. */
  readonly url: string;
  /** Its host and port. */
  readonly host: string;
  readonly #server: Deno.HttpServer<Deno.NetAddr>;

  constructor(files: Files) {
    this.#server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
      const path = new URL(request.url).pathname.slice(1);
      const contents = files.get(path);
      if (contents === undefined) return new Response(null, { status: 404 });
      const type = path.endsWith(".ts") ? "application/typescript" : "application/json";
      return new Response(contents, { headers: { "content-type": type } });
    });
    this.host = `127.0.0.1:${this.#server.addr.port}`;
    this.url = `http://${this.host}/`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }
}

/** The packages of `.ci/std`. */
async function standIns(): Promise<Package[]> {
  const packages: Package[] = [];
  for await (const folder of Deno.readDir(STAND_INS)) {
    if (!folder.isDirectory) continue;
    const root = new URL(`${folder.name}/`, STAND_INS);
    const { name, version, exports } = JSON.parse(
      await Deno.readTextFile(new URL("deno.json", root)),
    );
    const files: Files = new Map();
    for await (const file of Deno.readDir(root)) {
      if (!file.name.endsWith(".ts")) continue;
      files.set(file.name, await Deno.readFile(new URL(file.name, root)));
    }
    packages.push({ name, version, exports, files });
  }
  return packages;
}

/** The files of a registry that has these packages, each in one version. */
function registryFiles(packages: Package[]): Files {
  const files: Files = new Map();
  for (const { name: fullName, version, exports, files: sources } of packages) {
    const manifest: Record<string, { size: number; checksum: string }> = {};
    for (const [file, contents] of sources) {
      manifest[`/${file}`] = { size: contents.length, checksum: `sha256-${sha256(contents)}` };
      files.set(`${fullName}/${version}/${file}`, contents);
    }
    const [scope, name] = fullName.slice(1).split("/");
    const meta = { scope, name, latest: version, versions: { [version]: {} } };
    files.set(`${fullName}/meta.json`, json(meta));
    files.set(`${fullName}/${version}_meta.json`, json({ manifest, exports }));
  }
  return files;
}

let published: Promise<Package> | undefined;

/** The package as `deno publish` sends it to JSR. */
export function publishedPackage(): Promise<Package> {
  return published ??= publish();
}

/** The files of a registry with our package and those that it imports. */
export async function filesOfRegistry(): Promise<Files> {
  return registryFiles([await publishedPackage(), ...await standIns()]);
}

/** Writes files into a new folder, and gives its path. */
export async function writeFiles(files: Files | Record<string, string>): Promise<string> {
  const folder = tempFolder();
  for (const [path, contents] of files instanceof Map ? files : Object.entries(files)) {
    const file = join(folder, path);
    await Deno.mkdir(dirname(file), { recursive: true });
    await Deno.writeFile(file, typeof contents === "string" ? bytes(contents) : contents);
  }
  return folder;
}

/** The URL of a folder, with the final slash that `JSR_URL` needs. */
export function folderUrl(folder: string): string {
  return `${pathToFileURL(folder).href}/`;
}

/** Publishes the package to a registry that only keeps what it gets. */
async function publish(): Promise<Package> {
  const standInFiles = registryFiles(await standIns());
  const { promise: sent, resolve } = Promise.withResolvers<Uint8Array<ArrayBuffer>>();
  await using server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    async (request) => {
      const path = new URL(request.url).pathname.slice(1);
      if (request.method === "POST") {
        resolve(await request.bytes());
        return Response.json({ id: "1", status: "success", error: null });
      }
      if (path.startsWith("api/")) {
        const isVersion = path.includes("/versions/");
        return Response.json(isVersion ? NOT_PUBLISHED : {}, { status: isVersion ? 404 : 200 });
      }
      const contents = standInFiles.get(path);
      return new Response(contents ?? null, { status: contents === undefined ? 404 : 200 });
    },
  );
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["publish", "--token=none", "--no-provenance", "--allow-dirty", ...UNCHECKED],
    cwd: ROOT,
    env: { NO_COLOR: "1", JSR_URL: `http://127.0.0.1:${server.addr.port}/` },
    stdin: "null",
    stdout: "null",
    stderr: "piped",
    signal: AbortSignal.timeout(PATIENCE),
  }).output();
  assertEquals(code, 0, text(stderr));
  const files = await untar(await sent);
  const { name, version, exports } = JSON.parse(text(files.get("deno.json")!));
  return { name, version, exports, files };
}

/** Unpacks an archive of files with short names, which is gzipped. */
async function untar(archive: Uint8Array<ArrayBuffer>): Promise<Files> {
  const unzipped = new Blob([archive]).stream().pipeThrough(new DecompressionStream("gzip"));
  const tar = await new Response(unzipped).bytes();
  const files: Files = new Map();
  for (let start = 0; tar[start] !== 0;) {
    const field = (offset: number, size: number) =>
      text(tar.subarray(start + offset, start + offset + size)).replace(/\0.*$/, "");
    const size = parseInt(field(124, 12), 8);
    const contents = start + TAR_BLOCK;
    files.set(field(0, 100).replace(/^\.\//, ""), tar.slice(contents, contents + size));
    start = contents + Math.ceil(size / TAR_BLOCK) * TAR_BLOCK;
  }
  return files;
}

function json(value: unknown): Uint8Array<ArrayBuffer> {
  return bytes(JSON.stringify(value));
}

function sha256(contents: Uint8Array): string {
  return createHash("sha256").update(contents).digest("hex");
}
