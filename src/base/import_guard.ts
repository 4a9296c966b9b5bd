/**
 * Keeps a handler's module from starting a server when a worker imports it.
 *
 * Such a server would start workers of its own, which import the module again, without end.
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
