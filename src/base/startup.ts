/**
 * What comes before a server: it is made in no module that a worker imports for its handler, where it would start workers of
 * its own, which import the module again, without end; and Deno gets the descriptors that it needs itself.
 *
 * @module
 */
import type nodeProcess from "node:process";

/** On the global object, so that it holds for another copy of this package as well. */
const KEY = Symbol.for("@netkit/socketserver: importing");

const global = globalThis as { [KEY]?: string | null };

/** Says which handler module a worker imports now; null for none. */
export function setImporting(moduleUrl: string | null): void {
  global[KEY] = moduleUrl;
}

/**
 * Throws while a worker imports a handler's module.
 *
 * @throws {Deno.errors.NotSupported} When it does.
 */
export function refuseWhileImporting(): void {
  const moduleUrl = global[KEY];
  if (typeof moduleUrl !== "string") return;
  throw new Deno.errors.NotSupported(
    `Cannot make server while "${moduleUrl}" is imported for its handler: ` +
      "put what starts it under if (import.meta.main)",
  );
}

let reserved = false;

/**
 * Makes Deno 2.9 take what it needs of descriptors now, because it panics, and the program ends, where none is left then:
 * one for a moment when the main thread parses TypeScript for the first time, as it does for the first `stack` of an error
 * that is read; and the two for signals, half a second after the start of the program or with the first subprocess.
 */
export function reserveDescriptors(): void {
  if (reserved || Deno.build.os === "windows") return;
  reserved = true;
  if (!("WorkerGlobalScope" in globalThis)) parseOnce(); // a Worker's thread has its stack from Deno
  const nothing = (): void => {};
  Deno.addSignalListener("SIGUSR2", nothing);
  Deno.removeSignalListener("SIGUSR2", nothing);
}

function parseOnce(): void {
  try {
    // The global, because to import node:process takes each Worker 6 ms. A program that has deleted it goes without this.
    const { process } = globalThis as { process?: typeof nodeProcess };
    // A statement in which the parser asks how much of the thread's stack is left, which the C library reads from a file.
    process?.getBuiltinModule("node:module").stripTypeScriptTypes("if (a) b");
  } catch {
    // Something else stands for process, or Deno has changed: no server is to fail for that.
  }
}
