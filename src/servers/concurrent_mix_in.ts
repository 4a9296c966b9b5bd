/**
 * Many requests at a time on the event loop.
 *
 * @module
 */
import { admitMore } from "../core/serve_loop.ts";
import type { AnyServer } from "../core/base_server.ts";
import {
  checkBoolean,
  checkInteger,
  checkTime,
  type ConcurrencyOptions,
  orDefault,
} from "../base/options.ts";

/**
 * The constructor of a class that a mix-in takes.
 *
 * @typeParam Instance What the constructor makes.
 */
// deno-lint-ignore no-explicit-any -- the language demands it of the constructors that mix-ins extend
export type Constructor<Instance> = abstract new (...args: any[]) => Instance;

/** What {@linkcode ConcurrentMixIn} gives to each server. */
export interface ConcurrentMembers {
  /**
   * How many requests may be under way at once; at the limit clients wait in the system's queue. When it is raised
   * they are accepted at once. Setting it to less than 1 throws a `RangeError`.
   */
  maxConnections: number;
  /**
   * How many requests of one client may be under way at once; `null` for any number. Setting it to less than 1 throws
   * a `RangeError`.
   */
  maxConnectionsPerSource: number | null;
  /**
   * How long one request may take, in milliseconds; `null` for ever. Setting it to less than 1 throws a `RangeError`.
   */
  requestTimeout: number | null;
  /** Whether `serverClose()` waits for the requests under way. */
  blockOnClose: boolean;
}

/** The defaults of {@linkcode ConcurrentMembers}, as statics of the class. */
export interface ConcurrentStatics {
  /** The default of the instance property of this name; 1024. */
  maxConnections: number;
  /** The default of the instance property of this name; `null`. */
  maxConnectionsPerSource: number | null;
  /** The default of the instance property of this name, in milliseconds; `null`. */
  requestTimeout: number | null;
  /** The default of the instance property of this name; `true`. */
  blockOnClose: boolean;
}

/**
 * A server class with {@linkcode ConcurrentMixIn} in it.
 *
 * @typeParam Base The server class without.
 */
export type Concurrent<Base extends Constructor<AnyServer>> =
  & Base
  & Constructor<ConcurrentMembers>
  & ConcurrentStatics;

/**
 * Makes a server class serve many requests at a time on the event loop of the program: while one handler awaits,
 * the others go on. A handler that computes without awaiting holds up all others; that is what
 * `ThreadingMixIn` is for.
 *
 * A place is taken before a client is accepted, so that at `maxConnections` the others wait in the system's queue.
 * Has no counterpart in Python, whose `ThreadingMixIn` it replaces for services that mostly wait.
 *
 * @typeParam Base The server class to mix into.
 * @param Base A server class.
 * @returns The server class with the mix-in; extend it, or use one that is ready-made.
 *
 * @example Two clients at once
 * ```ts
 * import { ConcurrentMixIn, StreamRequestHandler, TCPServer } from "@netkit/socketserver";
 * import { assertEquals } from "@std/assert";
 *
 * class EchoHandler extends StreamRequestHandler {
 *   override async handle() {
 *     for await (const line of this.rfile) await this.wfile.write(line);
 *   }
 * }
 * class EchoServer extends ConcurrentMixIn(TCPServer) {
 *   static override maxConnections = 100;
 * }
 * await using server = new EchoServer({ hostname: "127.0.0.1", port: 0 }, EchoHandler);
 * const serving = server.serveForever();
 * using first = await Deno.connect(server.serverAddress);
 * using second = await Deno.connect(server.serverAddress);
 * await second.write(new TextEncoder().encode("hello\n")); // the first says nothing yet
 * await second.closeWrite();
 * assertEquals(await new Response(second.readable).text(), "hello\n");
 * first.close();
 * await server.shutdown();
 * await serving;
 * ```
 */
export function ConcurrentMixIn<Base extends Constructor<AnyServer>>(
  Base: Base,
): Concurrent<Base> {
  abstract class ConcurrentMixIn extends Base {
    static maxConnections = 1024;
    static maxConnectionsPerSource: number | null = null;
    static requestTimeout: number | null = null;
    static blockOnClose = true;
    #settings: Required<ConcurrencyOptions>;

    // deno-lint-ignore no-explicit-any -- see Constructor
    constructor(...args: any[]) {
      // Checked before the base binds, so that a wrong option leaves nothing open.
      const settings = settingsFrom(new.target as unknown as ConcurrentStatics, args[2]);
      super(...args);
      this.#settings = settings;
    }

    override get maxConnections(): number {
      return this.#settings.maxConnections;
    }

    override set maxConnections(value: number) {
      this.#settings.maxConnections = checkMaxConnections(value);
      admitMore(this);
    }

    override get maxConnectionsPerSource(): number | null {
      return this.#settings.maxConnectionsPerSource;
    }

    override set maxConnectionsPerSource(value: number | null) {
      this.#settings.maxConnectionsPerSource = checkPerSource(value);
    }

    override get requestTimeout(): number | null {
      return this.#settings.requestTimeout;
    }

    override set requestTimeout(value: number | null) {
      this.#settings.requestTimeout = checkTime("requestTimeout", value, 1);
    }

    override get blockOnClose(): boolean {
      return this.#settings.blockOnClose;
    }

    override set blockOnClose(value: boolean) {
      this.#settings.blockOnClose = checkBoolean("blockOnClose", value);
    }
  }
  return ConcurrentMixIn;
}

function settingsFrom(
  defaults: ConcurrentStatics,
  options: ConcurrencyOptions = {},
): Required<ConcurrencyOptions> {
  const { maxConnections, maxConnectionsPerSource, requestTimeout, blockOnClose } = options;
  return {
    maxConnections: checkMaxConnections(orDefault(maxConnections, defaults.maxConnections)),
    maxConnectionsPerSource: checkPerSource(
      orDefault(maxConnectionsPerSource, defaults.maxConnectionsPerSource),
    ),
    requestTimeout: checkTime(
      "requestTimeout",
      orDefault(requestTimeout, defaults.requestTimeout),
      1,
    ),
    blockOnClose: checkBoolean("blockOnClose", orDefault(blockOnClose, defaults.blockOnClose)),
  };
}

function checkMaxConnections(value: unknown): number {
  return checkInteger("maxConnections", value, 1, 2 ** 20);
}

function checkPerSource(value: unknown): number | null {
  return value === null ? null : checkInteger("maxConnectionsPerSource", value, 1, 2 ** 20);
}
