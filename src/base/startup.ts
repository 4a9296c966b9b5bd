/**
 * What comes before a server: it is made in no module that a worker imports for its handler, where it would start workers of
 * its own, which import the module again, without end; and Deno gets the descriptors that it needs itself.
 *
 * @module
 */

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
 * Makes Deno open the two descriptors that it needs for signals now, and not half a second after the start of the
 * program or with the first subprocess: where none is left then, Deno 2.9 panics, and the program ends.
 */
export function reserveDescriptors(): void {
  if (reserved || Deno.build.os === "windows") return;
  reserved = true;
  const nothing = (): void => {};
  Deno.addSignalListener("SIGUSR2", nothing);
  Deno.removeSignalListener("SIGUSR2", nothing);
}
