/**
 * Prints the URL of the registry to use, for `JSR_URL`: the one in the environment if there is one,
 * JSR if it answers, and otherwise a `file:` URL of the stand-ins of `.ci/std`, laid out in a
 * temporary folder as Deno expects a registry to be. The folder is named after its contents: later
 * runs use it again, and runs at the same time do not disturb each other.
 *
 * Run: `deno run -A --no-config .ci/registry.ts`
 *
 * It imports nothing but built-ins: it runs before there is a registry.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const JSR = "https://jsr.io/";
/** How long JSR may take, in milliseconds. */
const PROBE_TIMEOUT_MS = 3000;
const STAND_INS = new URL("./std/", import.meta.url);

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

async function registryUrl(): Promise<string> {
  const chosen = Deno.env.get("JSR_URL");
  if (chosen) return chosen;
  if (await isReachable(JSR)) return JSR;
  const packages = await standIns();
  const names = packages.map(({ name }) => name).join(", ");
  console.error(`JSR cannot be reached: using the stand-ins of .ci/std for ${names}`);
  const folder = await layOut(registryFiles(packages));
  return pathToFileURL(folder).href + "/";
}

async function isReachable(registry: string): Promise<boolean> {
  try {
    const response = await fetch(new URL("@std/assert/meta.json", registry), {
      signal: AbortSignal.timeout(PROBE_TIMEOUT_MS),
    });
    const meta: unknown = await response.json();
    return response.ok && typeof meta === "object" && meta !== null && "versions" in meta;
  } catch {
    return false; // No route, no answer in time, or the page of a proxy that is no JSON.
  }
}

/** The packages of `.ci/std`. */
export async function standIns(): Promise<Package[]> {
  const described: Record<string, Pick<Package, "version" | "exports">> = JSON.parse(
    await Deno.readTextFile(new URL("packages.json", STAND_INS)),
  );
  const packages: Package[] = [];
  for (const [name, { version, exports }] of Object.entries(described)) {
    const files: Files = new Map();
    for (const file of await sourcesOf(name)) {
      files.set(file, await Deno.readFile(new URL(`${name}/${file}`, STAND_INS)));
    }
    packages.push({ name: `@std/${name}`, version, exports, files });
  }
  return packages;
}

async function sourcesOf(name: string): Promise<string[]> {
  const names: string[] = [];
  for await (const entry of Deno.readDir(new URL(`${name}/`, STAND_INS))) {
    if (entry.isFile && entry.name.endsWith(".ts")) names.push(entry.name);
  }
  return names.sort();
}

/** The files of a registry that has these packages, each in one version. */
export function registryFiles(packages: Package[]): Files {
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

/** Returns the folder with these files: the one of an earlier run if it can be trusted. */
async function layOut(files: Files): Promise<string> {
  const hash = createHash("sha256");
  for (const [path, contents] of files) {
    hash.update(`${path}\n${contents.length}\n`).update(contents);
  }
  const digest = hash.digest("hex").slice(0, 16);
  const shared = join(tmpdir(), `netkit-socketserver-std-${Deno.uid() ?? "user"}-${digest}`);
  if (await holds(shared, files)) return shared;

  const fresh = await Deno.makeTempDir({
    dir: tmpdir(),
    prefix: "netkit-socketserver-std-",
  });
  for (const [path, contents] of files) await write(join(fresh, path), contents);
  try {
    await Deno.rename(fresh, shared);
    return shared;
  } catch {
    // Another run was faster, or the name is taken by something that cannot be trusted.
    if (!await holds(shared, files)) return fresh;
    await Deno.remove(fresh, { recursive: true });
    return shared;
  }
}

/** Tells whether the folder is ours alone, and mends it if a file of it has been swept away. */
async function holds(folder: string, files: Files): Promise<boolean> {
  try {
    const { isDirectory, uid, mode } = await Deno.lstat(folder);
    // Windows has neither owner nor mode; there the temporary folder is the user's own.
    const isPrivate = Deno.uid() === null || (uid === Deno.uid() && ((mode ?? 0) & 0o077) === 0);
    if (!isDirectory || !isPrivate) return false;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
  for (const [path, contents] of files) {
    const file = join(folder, path);
    if (!await isFileWith(file, contents)) await write(file, contents);
  }
  return true;
}

async function isFileWith(file: string, contents: Uint8Array): Promise<boolean> {
  try {
    return Buffer.compare(await Deno.readFile(file), contents) === 0;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Writes a file at one stroke: a program that reads the folder meanwhile sees all of it or none. */
export async function write(file: string, contents: Uint8Array): Promise<void> {
  await Deno.mkdir(join(file, ".."), { recursive: true, mode: 0o700 });
  const part = `${file}.${crypto.randomUUID()}`;
  await Deno.writeFile(part, contents);
  await Deno.rename(part, file);
}

function json(value: unknown): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(JSON.stringify(value));
}

function sha256(contents: Uint8Array): string {
  return createHash("sha256").update(contents).digest("hex");
}

if (import.meta.main) console.log(await registryUrl());
