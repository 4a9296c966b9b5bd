/**
 * Where a worker finds a handler, as far as the server can check that.
 *
 * @module
 */
import { isHandlerClass } from "../core/run_handler.ts";
import type { RequestHandlerLike } from "../core/base_server.ts";
import type { SocketAddress } from "../base/address.ts";
import { errorCode, HandlerLoadError, nameOf } from "../base/errors.ts";
import { refuseWhileImporting } from "../base/startup.ts";
import { delay, settlesWithin } from "../base/time.ts";
import { AMBIGUOUS, handlersNamed } from "./inside/load_handler.ts";
import type { Init } from "../channel/messages.ts";

/** How long it may take to look at a module that may not be loaded yet, in milliseconds. */
const LOOK_LIMIT = 500;
/** The same for one that is loaded, which takes less than 1, unless the program is in the middle of it. */
const LOADED_LIMIT = 20;
/** In a class that names the module in which it stands, and not another. */
const OWN_MODULE = /\bmoduleUrl\s*=\s*import\.meta\.url\b/;

const AsyncFunction: unknown = (async () => {}).constructor;

/** Whether a handler may call what blocks: as it says itself, or else unless its `handle()` is an async function. */
export function mayBlock(Handler: unknown): boolean {
  const { blocking, prototype } = Handler as { blocking?: unknown; prototype: { handle: object } };
  return typeof blocking === "boolean" ? blocking : prototype.handle.constructor !== AsyncFunction;
}

/** A handler class, and how workers can load it. */
export class HandlerModule {
  readonly #Handler: unknown;
  #init: Init;
  /** Resolves when the module has been looked at, as far as it can be; null before the first start. */
  #seen: Promise<void> | null = null;
  /** Whether the module exports another class of that name, and not this one. */
  #isHidden = false;

  constructor(Handler: unknown, init: Init) {
    this.#Handler = Handler;
    this.#init = init;
  }

  /** What workers are told. */
  get init(): Init {
    return this.#init;
  }

  /**
   * Starts a worker. Where that finds several classes of the name, and the one that is meant is known here, starts another.
   *
   * @param end Ends at once a worker that was started in vain.
   * @throws {HandlerLoadError} When the worker would find another class of that name.
   */
  async start<Started extends { readonly ended: Promise<unknown> }>(
    start: (init: Init) => Promise<Started>,
    end: (worker: Started) => void,
  ): Promise<Started> {
    const seen = this.#seen ??= this.#see();
    this.#refuseHidden();
    // The look goes on beside it: clients who come meanwhile could take the descriptors of a later start.
    let worker: Started | undefined;
    try {
      try {
        worker = await start(this.#init);
      } catch (error) {
        if (!await this.#mend(error)) throw error;
        worker = await start(this.#init);
      }
    } finally {
      await seen;
      if (this.#isHidden && worker !== undefined) {
        end(worker);
        await worker.ended;
      }
      // What the worker found, or did not, is another class: that goes before what it says.
      this.#refuseHidden();
    }
    return worker;
  }

  #refuseHidden(): void {
    if (!this.#isHidden) return;
    const { moduleUrl, className } = this.#init;
    const reason = "it exports another class of that name; export this one, and give it another";
    throw new HandlerLoadError(moduleUrl, className, reason);
  }

  /**
   * Looks for the export that is the handler class, after a start has failed.
   *
   * The module is loaded here, though the program may be in the middle of it, where it waits for this very server. Only
   * who has to looks: a `moduleUrl` may name a module that the program wants to be loaded in workers alone.
   *
   * @param error Why the start failed.
   * @returns Whether there is reason to start again.
   */
  async #mend(error: unknown): Promise<boolean> {
    if (errorCode(error) !== AMBIGUOUS) return false;
    if (this.#init.exportName === undefined) await settlesWithin(this.#findExport(), LOOK_LIMIT);
    return this.#init.exportName !== undefined;
  }

  /** Looks at the module where it is loaded here already, so that this runs nothing. */
  async #see(): Promise<void> {
    if (!OWN_MODULE.test(Function.prototype.toString.call(this.#Handler))) return;
    // While the program is at the top level of the module, an import of it resolves only where that awaits something.
    await delay(0);
    await settlesWithin(this.#findExport(), LOADED_LIMIT);
  }

  async #findExport(): Promise<void> {
    try {
      const exported: Record<string, unknown> = await import(this.#init.moduleUrl);
      const names = Object.getOwnPropertyNames(exported);
      const exportName = names.find((name) => this.#isExportedAs(exported, name));
      if (exportName !== undefined) this.#init = { ...this.#init, exportName };
      else this.#isHidden = handlersNamed(exported, this.#init.className, "").length > 0;
    } catch {
      // The worker's error stands.
    }
  }

  #isExportedAs(exported: Record<string, unknown>, name: string): boolean {
    try {
      return exported[name] === this.#Handler;
    } catch {
      return false; // the module has not come so far
    }
  }
}

/**
 * Finds out how a worker can load a handler.
 *
 * @param server The name of the server class, for the message.
 * @throws {TypeError} When it cannot; the message says what to write.
 * @throws {Deno.errors.NotSupported} When a worker imports a module that makes the server.
 */
export function handlerModule<Request, Addr extends SocketAddress>(
  server: string,
  Handler: RequestHandlerLike<Request, Addr>,
): HandlerModule {
  refuseWhileImporting(); // first: a module that is being imported in a worker may make no server, right or wrong
  if (!isHandlerClass(Handler)) {
    throw new TypeError(
      `Cannot use a function as request handler of ${server}: ` +
        "it runs elsewhere; export a handler class with 'moduleUrl'",
    );
  }
  const className: unknown = Handler.name;
  const known = nameOf(Handler);
  if (typeof className !== "string") {
    throw new TypeError(
      `Cannot use handler "${known}" with ${server}: its 'static name' is no string, ` +
        "and workers find the class by its name",
    );
  }
  // Its own, because an inherited one names the module of the base class.
  const moduleUrl = Object.hasOwn(Handler, "moduleUrl")
    ? (Handler as { moduleUrl?: unknown }).moduleUrl
    : undefined;
  if (typeof moduleUrl !== "string" || !URL.canParse(moduleUrl)) {
    throw new TypeError(
      `Cannot use handler "${known}" with ${server}: it runs elsewhere and must be importable; ` +
        "export the class and add 'static override readonly moduleUrl = import.meta.url;' to it",
    );
  }
  return new HandlerModule(Handler, { moduleUrl, className });
}
