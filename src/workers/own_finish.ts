/**
 * An own `finishRequest()` of a server whose handlers run in workers.
 *
 * @module
 */
import { nameOf } from "../base/errors.ts";
import { remoteServers } from "../core/run_handler.ts";

/** A class, as far as its methods are looked at. */
interface Class {
  readonly name: string;
  readonly prototype: object;
}

const METHOD = "finishRequest";

/**
 * Refuses a `finishRequest()` that would never be called, or that would run handlers where the server is.
 *
 * @param Server The class of the server.
 * @param MixIn The class that runs handlers in workers.
 * @param kind What messages call the workers, as in "Worker".
 * @throws {TypeError} When there is one.
 */
export function checkFinishRequest(Server: Class, MixIn: Class, kind: string): void {
  const name = nameOf(Server);
  const owners: object[] = [];
  for (let at: object | null = Server.prototype; at !== null; at = Object.getPrototypeOf(at)) {
    if (Object.hasOwn(at, METHOD)) owners.push(at);
  }
  const place = owners.indexOf(MixIn.prototype);
  for (const owner of owners.slice(0, place)) {
    refuseOwn(owner, name, kind);
  }
  const below = owners[place + 1] as { constructor: Class };
  if (owners.length === place + 2) return; // that of the base of all servers, which the mix-in stands for
  throw new TypeError(
    `Cannot use finishRequest() of "${
      nameOf(below.constructor)
    }" with ${name}: ${MixIn.name} never calls it; ` +
      "override it in a class that extends the mixed-in one, and call super.finishRequest() there",
  );
}

/**
 * Refuses a `finishRequest()` that has been given to the server itself, as a field or later, and that would run
 * handlers where the server is.
 *
 * @param kind What messages call the workers.
 * @throws {TypeError} When there is one.
 */
export function checkOwnFinishRequest(server: object, kind: string): void {
  if (Object.hasOwn(server, METHOD)) refuseOwn(server, nameOf(server.constructor), kind);
}

/** Refuses the `finishRequest()` of an object, unless it is one around that of the mix-in. */
function refuseOwn(owner: object, name: string, kind: string): void {
  const own: unknown = Object.getOwnPropertyDescriptor(owner, METHOD)!.value;
  // Around the one of the mix-in it may do what it likes.
  if (typeof own !== "function" || /\.\s*finishRequest\b/.test(String(own))) return;
  throw new TypeError(
    `Cannot use own finishRequest() with ${name}, which does not call super.finishRequest(): that runs the ` +
      `handler in a ${kind}; what handlers need more goes by requestContext()`,
  );
}

/** Notes that the handlers of a server run elsewhere, so that none is run beside it by mistake. */
export function runElsewhere(server: object): void {
  remoteServers.add(server);
}
