/**
 * Many requests at a time on the event loop.
 *
 * @module
 */
import type { TCPAddr, UDPAddr } from "../base/address.ts";
import type { AnyServer } from "../core/base_server.ts";
import { admitMore } from "../core/loop/serve_loop.ts";
import { checkBoolean, integerFrom, nullOr, timeFrom } from "../base/options.ts";
import { defineSettings, type Settings } from "../base/settings.ts";
import type { TCPServer } from "./tcp_server.ts";
import type { UDPServer } from "./udp_server.ts";

/**
 * Options of the servers that serve many requests at a time, which are those with {@linkcode ConcurrentMixIn};
 * the others refuse them.
 */
export interface ConcurrencyOptions {
  /**
   * How many requests may be under way at once. At the limit nothing is accepted: clients wait in the system's
   * queue.
   *
   * @default {1024}
   */
  maxConnections?: number;
  /**
   * How many requests of one client may be under way at once; one more is closed at once. `null` for any number.
   * An IPv6 client counts by its /64 network, an IPv4 address mapped into IPv6 as IPv4. Unix clients all count
   * as one.
   *
   * @default {null}
   */
  maxConnectionsPerSource?: number | null;
  /**
   * How long one request may take, its TLS handshake included, in milliseconds; `null` for ever. Then it is
   * aborted, and `handleError()` gets a `Deno.errors.TimedOut`.
   *
   * @default {null}
   */
  requestTimeout?: number | null;
  /**
   * Whether `serverClose()` waits for the requests under way.
   *
   * @default {true}
   */
  blockOnClose?: boolean;
}

const SETTINGS: Settings<ConcurrencyOptions> = {
  maxConnections: { default: 1024, check: integerFrom(1, 2 ** 20) },
  maxConnectionsPerSource: { default: null, check: nullOr(integerFrom(1, 2 ** 20)) },
  requestTimeout: { default: null, check: timeFrom(1) },
  blockOnClose: { default: true, check: checkBoolean },
};

/**
 * The constructor of a class that a mix-in takes.
 *
 * @typeParam Instance What the constructor makes.
 */
// deno-lint-ignore no-explicit-any -- the language demands it of the constructors that mix-ins extend
export type Constructor<Instance> = abstract new (...args: any[]) => Instance;

/**
 * A server class with a mix-in in it: its constructor takes the settings of the mix-in among its options, its statics
 * are the defaults of the settings, and its servers have them as properties.
 *
 * @typeParam Base The server class without.
 * @typeParam Settings The settings of the mix-in, as options.
 * @typeParam Members What else the servers have.
 * @typeParam Handlers What their handlers have to be besides.
 */
export type MixedIn<
  Base extends Constructor<AnyServer>,
  Settings,
  Members = unknown,
  Handlers = unknown,
> = WithAddresses<Base> extends infer Class ?
    & Omit<Class, "prototype">
    & Required<Settings>
    & MixedInConstructor<Class, Settings, Members, Handlers>
  : never;

/**
 * The class itself, with the addresses that it has unless a subclass says otherwise: of a generic class a conditional
 * type sees the constraints of the parameters, and not their defaults.
 *
 * @internal
 */
type WithAddresses<Base> = [Base, typeof TCPServer] extends [typeof TCPServer, Base]
  ? typeof TCPServer<TCPAddr>
  : [Base, typeof UDPServer] extends [typeof UDPServer, Base] ? typeof UDPServer<UDPAddr>
  : Base;

/** @internal */
type MixedInConstructor<Class, Settings, Members, Handlers> = Class extends
  new (...args: infer Args) => infer Server
  ? new (...args: WithOptions<Args, Settings, Handlers>) => Server & Required<Settings> & Members
  : Class extends abstract new (...args: infer Args) => infer Server ? abstract new (
      ...args: WithOptions<Args, Settings, Handlers>
    ) => Server & Required<Settings> & Members
  : never;

/**
 * The parameters of a constructor with more options in the third, where there is one.
 *
 * @internal
 */
type WithOptions<Args extends unknown[], Settings, Handlers> = Args extends
  [infer Address, infer Handler, infer Options, ...infer Rest] ? [
    serverAddress: Address,
    RequestHandlerClass: Handler & Handlers,
    options: Options & Settings,
    ...Rest,
  ]
  : Args extends [infer Address, infer Handler, (infer Options)?, ...infer Rest]
    ? unknown extends Options ? Args
    : [
      serverAddress: Address,
      RequestHandlerClass: Handler & Handlers,
      options?: Options & Settings,
      ...Rest,
    ]
  : Args;

/**
 * A server class with {@linkcode ConcurrentMixIn} in it.
 *
 * @typeParam Base The server class without.
 */
export type Concurrent<Base extends Constructor<AnyServer>> = MixedIn<Base, ConcurrencyOptions>;

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
 * @category Mix-ins
 */
export function ConcurrentMixIn<Base extends Constructor<AnyServer>>(Base: Base): Concurrent<Base> {
  abstract class ConcurrentServer extends (Base as Constructor<AnyServer>) {
    static override readonly name: string = `Concurrent${Base.name}`;

    static {
      defineSettings(this, SETTINGS, { onSet: admitMore });
    }
  }
  // The type checker cannot see what defineSettings() adds.
  return ConcurrentServer as unknown as Concurrent<Base>;
}
