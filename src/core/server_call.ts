/**
 * Calls of a server's methods by its handlers, which may run in another isolate.
 *
 * @module
 */
import { nameOf } from "../base/errors.ts";

/** A server that names methods which handlers may call. */
export interface Callable {
  /** Their names. */
  readonly calls: readonly string[];
}

/**
 * The names of the methods that handlers may call of a server.
 *
 * @typeParam Server The server's class.
 */
export type CallName<Server> = Server extends Callable ? Server["calls"][number] & keyof Server
  : never;

/**
 * The arguments of a method that handlers may call.
 *
 * @typeParam Server The server's class.
 * @typeParam Name The method.
 */
export type CallArguments<Server, Name extends keyof Server> = Server[Name] extends
  (...args: infer Args) => unknown ? Args : never;

/**
 * What a method gives that handlers may call.
 *
 * @typeParam Server The server's class.
 * @typeParam Name The method.
 */
export type CallResult<Server, Name extends keyof Server> = Server[Name] extends
  (...args: never[]) => infer Result ? Awaited<Result> : never;

/**
 * Calls a method of a server, if handlers may; the name may come from another isolate, and be anything.
 *
 * @throws {Deno.errors.NotCapable} When the server does not name it in its `calls`.
 * @throws {TypeError} When it names no method.
 * @throws {unknown} What the method threw.
 */
export async function callServer(
  server: Callable,
  name: string,
  args: unknown[],
): Promise<unknown> {
  const allowed = server.calls;
  const owner = nameOf(server.constructor);
  if (!allowed.includes(name)) {
    const list = allowed.length === 0 ? "it names none" : `it names ${allowed.join(", ")}`;
    throw new Deno.errors.NotCapable(
      `Cannot call ${JSON.stringify(String(name).slice(0, 100))} of ${owner}: ` +
        `handlers may call what the server names in its 'calls', and ${list}`,
    );
  }
  const method: unknown = Reflect.get(server, name);
  if (typeof method !== "function") {
    throw new TypeError(`Cannot call "${name}" of ${owner}: it is no method`);
  }
  return await Reflect.apply(method, server, args);
}

/** For a call that comes too late. */
export function endedError(): Error {
  return new Deno.errors.BadResource("Cannot call server: the request has ended");
}

/** Keeps a promise that nobody awaits from being an unhandled rejection, which would end the program. */
export function unlessAwaited<Value>(promise: Promise<Value>): Promise<Value> {
  promise.catch(() => {});
  return promise;
}
