/**
 * What servers have in common whose handlers run in workers, be those Web Workers or subprocesses.
 *
 * @module
 */
import type { SocketAddress } from "../base/address.ts";
import { nameOf } from "../base/errors.ts";
import { logOf } from "../core/faults.ts";
import type { ServeOptions } from "../base/options.ts";
import type { AnyServer } from "../core/base_server.ts";
import { isInside } from "../core/loop/lifecycle.ts";
import { remoteServers } from "../core/run_handler.ts";
import { admitMore } from "../core/loop/serve_loop.ts";
import type { ServerStats } from "../core/server_stats.ts";
import { ConcurrentMixIn, type Constructor } from "../families/concurrent_mix_in.ts";
import { Executor, type ExecutorOptions } from "../workers/relay/executor.ts";
import { type HandlerModule, handlerModule } from "../workers/handler_module.ts";
import type { HandlerWorker } from "../workers/worker.ts";

/** What a mix-in says of its workers; the rest is the same for all. */
type RemoteOptions<Worker extends HandlerWorker> = Omit<
  ExecutorOptions<Worker>,
  "handler" | "onExtra" | "log"
>;

/**
 * Makes a server class whose requests an {@linkcode Executor} serves, to be extended by a mix-in.
 *
 * @typeParam Server What its servers are.
 * @typeParam Worker What runs the handlers.
 * @param mixIn The name of the mix-in.
 * @param place What messages call where handlers run.
 * @param most The setting that says how many workers there may be.
 * @returns The class, and what gives a server its executor, for the constructor to call.
 */
export function remoteMixIn<Server extends AnyServer, Worker extends HandlerWorker>(
  Base: Constructor<AnyServer>,
  { mixIn, place, most }: { mixIn: string; place: string; most: keyof Server },
): [Constructor<Server>, (server: Server, options: RemoteOptions<Worker>) => Executor<Worker>] {
  let execute!: (server: AnyServer, options: RemoteOptions<Worker>) => Executor<Worker>;
  abstract class RemoteServer extends (ConcurrentMixIn(Base) as Constructor<AnyServer>) {
    readonly #handler: HandlerModule;
    #executor!: Executor<Worker>;

    // deno-lint-ignore no-explicit-any -- see Constructor
    constructor(...args: any[]) {
      // Checked before the base binds, so that what is wrong leaves nothing open.
      const handler = handlerModule(nameOf(new.target), args[1]);
      checkFinishRequest(new.target, { name: mixIn, prototype: RemoteServer.prototype }, place);
      super(...args);
      remoteServers.add(this); // so that no handler is run here by mistake
      this.#handler = handler;
    }

    static {
      execute = (server, options) => {
        const own = server as RemoteServer;
        return own.#executor = new Executor({
          ...{ ...options, handler: own.#handler },
          onExtra: () => admitMore(own),
          log: (...line) => logOf(own, ...line),
        });
      };
    }

    override get maxConnections(): number {
      const extra = #executor in this ? this.#executor.extra : 0; // the base's constructor asks, too
      return Number(Reflect.get(this, most)) + extra;
    }

    override get finished(): Promise<void> {
      return super.finished.then(() => this.#executor.noneLeft);
    }

    override stats(): ServerStats {
      return this.#executor.stats(super.stats());
    }

    override getRequest(): [unknown, SocketAddress] | Promise<[unknown, SocketAddress]> {
      this.#executor.checkShortage(() => super.stats());
      return (Base.prototype as AnyServer).getRequest.call(this);
    }

    override checkSettings(): void {
      super.checkSettings();
      // It may have been given to the server itself, as a field or later.
      if (Object.hasOwn(this, METHOD)) refuseOwn(this, nameOf(this.constructor), place);
    }

    override async serveForever(options: ServeOptions = {}): Promise<void> {
      this.checkSettings(); // before any worker starts
      await this.#executor.serve(options, (options) => super.serveForever(options));
    }

    override async handleRequest(): Promise<void> {
      this.checkSettings(); // before any worker starts
      await this.#executor.handleOne(() => super.handleRequest(), () => void this.shutdown());
    }

    override async finishRequest(request: unknown, clientAddress: SocketAddress): Promise<void> {
      await this.#executor.finish(this, request, clientAddress);
    }

    override async serverClose(): Promise<void> {
      try {
        await this.#executor.close(() => super.serverClose(), super.finished);
      } finally {
        if (this.blockOnClose && !isInside(this)) await this.#executor.noneLeft;
      }
    }
  }
  // The type checker cannot see what defineSettings() adds to the class that extends this one.
  return [RemoteServer as Constructor<AnyServer> as Constructor<Server>, execute];
}

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
function checkFinishRequest(Server: Class, MixIn: Class, kind: string): void {
  const name = nameOf(Server);
  const owners: object[] = [];
  for (let at: object | null = Server.prototype; at !== null; at = Object.getPrototypeOf(at)) {
    if (Object.hasOwn(at, METHOD)) owners.push(at);
  }
  const place = owners.indexOf(MixIn.prototype);
  for (const owner of owners.slice(0, place)) refuseOwn(owner, name, kind);
  const below = owners[place + 1] as { constructor: Class };
  if (owners.length === place + 2) return; // that of the base of all servers, which the mix-in stands for
  const owner = nameOf(below.constructor);
  throw new TypeError(
    `Cannot use finishRequest() of "${owner}" with ${name}: ${MixIn.name} never calls it; ` +
      "override it in a class that extends the mixed-in one, and call super.finishRequest() there",
  );
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
