/**
 * What all servers have in common: how they are run and ended, and the overridable steps of a request.
 *
 * This is the entrance to the folder, which holds a server without its socket: this, how it runs (`loop/`), and the
 * handlers (`request_handler.ts`, `run_handler.ts`). It uses `base/` and `sockets/`; the families of servers, the mix-ins
 * and the pool are built on it. One request goes `Acceptor.serve()`, `getRequest()`, `RequestPipeline.serve()`,
 * `verifyRequest()`, `processRequest()`, `prepareRequest()`, `finishRequest()`, `runHandler()`, `shutdownRequest()`,
 * `closeRequest()`.
 *
 * @module
 */
import type { ClientAddress, SocketAddress, SocketType } from "../base/address.ts";
import { defaultLogger } from "../base/default_logger.ts";
import { isBound, queueLimit, type ServerSocket } from "./bind.ts";
import { checkLogger, type ServerLogger } from "../base/log.ts";
import { Lifecycle, type Run, type ServingLoop } from "./loop/lifecycle.ts";
import {
  checkCallback,
  checkTime,
  DRAIN_TIMEOUT,
  type DrainOptions,
  type DrainResult,
  type ServeOptions,
  type ServerOptions,
  timeFrom,
} from "../base/options.ts";
import { checkSettings, defineSettings, fieldsFit, takeSettings } from "../base/settings.ts";
import { refuseWhileImporting, reserveDescriptors } from "../base/startup.ts";
import {
  checkHandler,
  isHandlerClass,
  type RequestHandler,
  runFunction,
  runHandler,
} from "./run_handler.ts";
import { ServeLoop } from "./loop/serve_loop.ts";
import {
  type CallArguments,
  type CallName,
  type CallResult,
  callServer,
  unlessAwaited,
} from "./server_call.ts";
import type { ServerState, ServerStats } from "./server_stats.ts";
import { FaultLog } from "./faults.ts";

/** A server of any kind, as a list of several kinds has it, or a handler that fits them. */
// deno-lint-ignore no-explicit-any -- a handler does not depend on the server's type parameters
export type AnyServer = BaseServer<any, any>;

/**
 * A handler class, as servers take it.
 *
 * @typeParam Request What the server hands out: a stream socket, or data with a datagram socket.
 * @typeParam Addr The type of the client's address.
 */
export type RequestHandlerClass<Request, Addr extends SocketAddress> = new (
  request: Request,
  clientAddress: Addr,
  server: AnyServer,
) => RequestHandler;

/**
 * A plain function as a handler; what it returns is awaited and dropped.
 *
 * @typeParam Request What the server hands out: a stream socket, or data with a datagram socket.
 * @typeParam Addr The type of the client's address.
 */
export type RequestHandlerFunction<Request, Addr extends SocketAddress> = (
  request: Request,
  clientAddress: Addr,
  server: AnyServer,
) => unknown;

/**
 * What a server takes as its handler.
 *
 * @typeParam Request What the server hands out: a stream socket, or data with a datagram socket.
 * @typeParam Addr The type of the client's address.
 */
export type RequestHandlerLike<Request, Addr extends SocketAddress> =
  | RequestHandlerClass<Request, Addr>
  | RequestHandlerFunction<Request, Addr>;

/**
 * Has a server serve in another way than by accepting requests in this isolate; to be called while it is being made.
 *
 * @param make Makes that way; it gets the usual one, which `handleRequest()` uses, and may leave to it what it does not do.
 */
export let serveBy: (server: AnyServer, make: (usual: ServingLoop) => ServingLoop) => void;

/** Sets what tells whether a server that serves does so with less than it should have. */
export let degradeWhen: (server: AnyServer, isDegraded: () => boolean) => void;

/**
 * The base of all servers: a server class says which socket and which concurrency, a handler class what the
 * service does.
 *
 * For callers: `serveForever()`, `handleRequest()`, `shutdown()`, `drain()`, `serverClose()`, `stats()`,
 * `state`, `finished`, `await using`.
 *
 * Hooks that you may override, in the order in which a request meets them: `getRequest()`, `verifyRequest()`,
 * `processRequest()`, `prepareRequest()`, `finishRequest()`, `shutdownRequest()`, `closeRequest()`; and
 * `handleError()`, `handleTimeout()`, `serviceActions()`, `serverBind()`, `serverActivate()`. Each may be
 * asynchronous, but for those that the constructor calls.
 *
 * For subclasses that bring a socket of their own: `getRequest()`, `serverBind()`, `closeSocket()`.
 *
 * A server of any class is an {@linkcode AnyServer}: `const servers: AnyServer[] = [tcp, udp];`.
 *
 * @typeParam Request What is handed to a handler.
 * @typeParam Addr The type of addresses.
 *
 * @example A server whose requests come from a list
 * ```ts
 * import { BaseServer, type UnixStreamAddr } from "@netkit/socketserver";
 * import { assertEquals } from "@std/assert";
 *
 * const words = ["one", "two"];
 * const handled: string[] = [];
 * class ListServer extends BaseServer<string, UnixStreamAddr> {
 *   override getRequest(): [string, UnixStreamAddr] {
 *     return [words.shift()!, this.serverAddress];
 *   }
 *   override closeSocket(): void {}
 * }
 * await using server = new ListServer(
 *   { transport: "unix", path: "list" },
 *   (word: string) => void handled.push(word),
 * );
 * await server.handleRequest();
 * await server.handleRequest();
 * assertEquals(handled, ["one", "two"]);
 * ```
 * @category Servers
 */
export abstract class BaseServer<
  Request = unknown,
  Addr extends SocketAddress = SocketAddress,
> {
  /** The default of the instance property of this name, in milliseconds; `null`. */
  declare static timeout: number | null;

  static {
    defineSettings<Pick<ServerOptions, "timeout">, AnyServer>(this, {
      timeout: { default: null, check: timeFrom(0) },
    });
    serveBy = (server, make) => {
      server.#serving = make(server.#loop);
      server.#life = new Lifecycle(server, server.#serving);
    };
    degradeWhen = (server, isDegraded) => server.#isDegraded = isDegraded;
  }

  /** What serves the requests: a handler class or a plain function. */
  readonly RequestHandlerClass: RequestHandlerLike<Request, Addr>;
  /** Where the server listens: what was asked for, and after `serverBind()` what the system gave. */
  serverAddress: Addr;
  /** How long `handleRequest()` waits for a request, in milliseconds; 0 looks once, `null` for ever. */
  declare timeout: number | null;
  /** What the server listens with; undefined before `serverBind()`, and where a subclass has no socket. */
  socket: ServerSocket | undefined = undefined;
  /** Where log lines go. */
  readonly logger: ServerLogger;
  /**
   * The methods that handlers may call by {@linkcode BaseServer.call}, wherever they run; none here. A subclass writes
   * `override readonly calls = ["join", "leave"] as const;`.
   */
  readonly calls: readonly string[] = [];

  readonly #loop: ServeLoop<Request, Addr>;
  /** How it serves: by the loop, unless a constructor has set it to another way. */
  #serving: ServingLoop;
  #isDegraded: () => boolean = () => false;
  #life: Lifecycle;
  readonly #faults: FaultLog;
  readonly #onError: ServerOptions["onError"];

  /**
   * Stores what it is given and opens nothing.
   *
   * @param serverAddress Where to listen.
   * @param RequestHandlerClass What serves the requests.
   * @param options Settings; each goes before the static property of the same name.
   * @throws {TypeError} When the handler is neither a handler class nor a function.
   * @throws {RangeError} When a setting is out of range.
   */
  constructor(
    serverAddress: Addr,
    RequestHandlerClass: RequestHandlerLike<Request, Addr>,
    options: ServerOptions = {},
  ) {
    refuseWhileImporting();
    reserveDescriptors();
    checkHandler(RequestHandlerClass);
    takeSettings(this, options);
    this.serverAddress = serverAddress;
    this.RequestHandlerClass = RequestHandlerClass;
    const { logger = defaultLogger, onError } = options;
    this.#onError = checkCallback("onError", onError);
    this.logger = checkLogger(logger);
    this.#faults = new FaultLog(this.logger);
    this.#serving = this.#loop = new ServeLoop(this);
    this.#life = new Lifecycle(this, this.#loop);
  }

  /** The stage of the server's life. */
  get state(): ServerState {
    return this.#stage();
  }

  /** Resolves when the server is closed and nothing runs any more; never rejects. */
  get finished(): Promise<void> {
    return this.#life.finished;
  }

  /**
   * How many requests may be under way at once, beside the loop; `null` where the loop serves one after the
   * other, as here. At the limit nothing is accepted, and clients wait in the system's queue.
   */
  get maxConnections(): number | null {
    return null;
  }

  /** Whether requests are streams or datagrams; undefined for a server without a socket, as here. */
  get socketType(): SocketType | undefined {
    return undefined;
  }

  /** How many requests of one client may be under way at once; `null` for any number, as here. */
  get maxConnectionsPerSource(): number | null {
    return null;
  }

  /** How long one request may take, in milliseconds; `null` for ever, as here. */
  get requestTimeout(): number | null {
    return null;
  }

  /** Whether `serverClose()` waits for the requests under way; not here. */
  get blockOnClose(): boolean {
    return false;
  }

  /** A snapshot of the counters. */
  stats(): ServerStats {
    return this.#serving.stats(this.#stage()); // a state of a subclass may ask for these
  }

  #stage(): ServerState {
    const { state } = this.#life;
    return state === "serving" && this.#isDegraded() ? "degraded" : state;
  }

  /**
   * The abort signal of a request under way, for handlers that are plain functions; a handler object has it as
   * `this.signal`.
   *
   * @param request What the handler was given.
   * @returns A signal that is aborted when the server cuts the request off, or already when it has ended.
   */
  requestSignal(request: Request): AbortSignal {
    return this.#loop.requests.signal(request);
  }

  /**
   * Serves requests until `shutdown()`, `serverClose()`, `drain()` or the signal ends the loop, then resolves.
   * May be called again afterwards, but not while it runs.
   *
   * @param options The pace of `serviceActions()`, and a signal.
   * @throws {Deno.errors.Busy} When the server is serving already.
   * @throws {Deno.errors.BadResource} When the server is closed, or not bound yet.
   * @throws {TypeError} When a setting is none, or has been changed since the bind, when it has no effect any more.
   * @throws {RangeError} When `pollInterval` or a setting is out of range.
   * @throws {ServerExit} When a handler threw it. What `serviceActions()` throws comes through, too.
   */
  async serveForever(options: ServeOptions = {}): Promise<void> {
    const { pollInterval = 500, signal } = options;
    checkTime("pollInterval", pollInterval, 1);
    const onListen = checkCallback("onListen", options.onListen);
    this.checkSettings();
    const ticks = this.serviceActions !== BaseServer.prototype.serviceActions;
    const tick = ticks ? () => this.serviceActions() : null;
    const limit = ticks ? pollInterval : null;
    const serve = (run: Run) => this.#serving.serve(run, limit, tick);
    await this.#life.run(
      true,
      onListen === undefined ? serve : async (run) => {
        // Else one that never settles would outlast every way to end the server.
        await Promise.race([onListen(this.serverAddress as ClientAddress), run.ending.promise]);
        await serve(run);
      },
      signal,
    );
  }

  /**
   * Waits for one request and serves it; a server that serves several at once only begins that. When `timeout` passes
   * first, calls `handleTimeout()`; a request that arrives after that is kept for the next call. `shutdown()` ends the
   * wait without either.
   *
   * @throws {Deno.errors.Busy} When the server is serving already.
   * @throws {Deno.errors.BadResource} When the server is closed, or not bound yet.
   * @throws {ServerExit} When the handler threw it; a server that serves several at once logs it as a warning instead,
   * where the handler threw it later. What `handleTimeout()` throws comes through, too.
   */
  async handleRequest(): Promise<void> {
    this.checkSettings();
    await this.#life.run(false, (run) => this.#loop.serve(run, this.timeout, null));
  }

  /**
   * Ends `serveForever()` after the request under way, at once when there is none, and waits until it has
   * ended. The listener stays open: clients wait in its queue until the server serves again or is closed.
   *
   * Safe at any time: it does nothing when the server is not serving, and called from inside a handler it does
   * not wait for the loop, which waits for the handler.
   */
  async shutdown(): Promise<void> {
    await this.#life.shutdown();
  }

  /**
   * Closes the listener at once and ends the loop; resolves when the port is free. Clients that wait in the accept queue
   * are reset; requests under way go on. To finish both first, use `drain()`; called after this, it waits for what still
   * runs and cuts it off at its time limit. Safe to call again.
   */
  async serverClose(): Promise<void> {
    await this.#life.close();
  }

  /**
   * Stops gracefully. First accepts the clients who already wait in the queue, for a second at the most, as more may
   * keep coming, and closes the listener: the port is free, or the socket's file gone, for a successor, and health
   * checks fail. Then serves these clients, waits for the requests under way, and closes the server. At the time limit
   * what still runs is cut off: its signal is aborted and its connection closed.
   *
   * A server for datagrams answers on the socket that it receives on: it receives no more, and closes that when the
   * requests have ended. After `serverClose()` there is no queue, and what still runs is waited for and cut off alike.
   *
   * Called again it joins the first call, whose time it can shorten but not prolong. Called from inside a handler
   * it starts all that and returns at once.
   *
   * @param options The time limit.
   * @returns How many requests ended by themselves meanwhile, and how many were cut off.
   * @throws {RangeError} When the time limit is out of range.
   */
  async drain(options: DrainOptions = {}): Promise<DrainResult> {
    const { timeout = DRAIN_TIMEOUT } = options;
    checkTime("timeout", timeout);
    if (!fieldsFit(this)) await this.serverClose(); // it has refused to serve, and cannot serve what waits
    return await this.#life.drain(timeout);
  }

  /** Drains with the default time limit and closes, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.drain();
  }

  /** Makes waiting for requests keep the program alive, as it does from the start. */
  ref(): void {
    this.#loop.setRef(true);
  }

  /**
   * Makes waiting for requests not keep the program alive. Deno has no such thing for TLS and Unix datagram
   * sockets, on which this does nothing.
   */
  unref(): void {
    this.#loop.setRef(false);
  }

  /** What handlers see as `server.context`, in every mode. */
  get context(): unknown {
    return this.requestContext();
  }

  /**
   * Provides what handlers need of the server when they run in a Worker or a subprocess, where its memory is not
   * shared: any value that can be cloned (`structuredClone()`), which a promise cannot, of 16 MiB at the most as it is
   * sent; a larger one fails the request with a `RangeError`. Threads may share memory, by a `SharedArrayBuffer` in it
   * and `Atomics`; subprocesses cannot, and it fails the request with a `TypeError` there.
   *
   * Where the main isolate has the connections, it is called for each request, which gets a copy; a worker is sent one
   * only where it has changed. With what bytes cannot carry in it, such as shared memory or a `Blob`, only another object
   * counts as a change, so give the same one for as long as it holds. Where Workers accept clients by themselves, as in a
   * pool, it is called when `serveForever()` is; where it then gives another object each time, threads do not accept.
   * `undefined` here.
   *
   * @returns What a handler finds as `this.server.context`; its type is that of the context in a {@linkcode ServerView}.
   */
  requestContext(): unknown {
    return undefined;
  }

  /**
   * Calls a method of this server that it names in its `calls`: for handlers, in whose Worker or subprocess there is no
   * more of the server than a {@linkcode ServerView}, which has an example. The method runs in the
   * isolate of the server, for all handlers one after the other as far as it does not await.
   *
   * From a Worker what can be cloned goes along (`structuredClone()`), from a subprocess what is plain: `undefined`,
   * `null`, booleans, numbers, strings, arrays and objects of these, 60 KiB at the most each way as JSON. A subprocess has
   * 16 calls under way; the next ones wait. A read or send that blocks there throws
   * `Deno.errors.Busy` while a call is under way: await the call first. A call that nobody awaits fails without a word.
   *
   * @typeParam Server The server's own class, which a handler has by `declare readonly server: ServerView<MyServer>`.
   * @param name The method.
   * @param args Its arguments.
   * @returns What it gave.
   * @throws {Deno.errors.NotCapable} When the server does not name it.
   * @throws {Deno.errors.BadResource} When the request has ended.
   * @throws {TypeError} When what is to go along cannot, or there is no such method.
   * @throws {RangeError} When that is too long.
   * @throws {unknown} What the method threw, as far as it can be sent.
   */
  call<Server extends AnyServer, Name extends CallName<Server>>(
    this: Server,
    name: Name,
    ...args: CallArguments<Server, Name>
  ): Promise<CallResult<Server, Name>> {
    return unlessAwaited(callServer(this, name, args)) as Promise<CallResult<Server, Name>>;
  }

  /** Called after each turn of the loop, and each `pollInterval` while nothing arrives; does nothing here. */
  serviceActions(): void | Promise<void> {}

  /** Called by `handleRequest()` when no request came within `timeout`; does nothing here. */
  handleTimeout(): void | Promise<void> {}

  /**
   * Checks the settings; called each time the server begins to serve, and by `serverBind()` where there is a socket.
   * What a subclass has written as a field, `override maxConnections = 8`, counts from then on.
   *
   * @throws {TypeError} When a setting cannot be had.
   * @throws {RangeError} When a setting is out of range.
   */
  checkSettings(): void {
    checkSettings(this);
    checkLogger(this.logger);
  }

  /** Called by the constructor to open the socket and set `serverAddress`; does nothing here. */
  serverBind(): void {}

  /** Called by the constructor after `serverBind()`; does nothing here. */
  serverActivate(): void {}

  /** @ignore A server without a socket has no queue. */
  get [queueLimit](): number {
    return 0;
  }

  /** @ignore */
  get [isBound](): boolean {
    return true;
  }

  /** Closes the listening socket, if it is open. */
  abstract closeSocket(): void;

  /**
   * Waits for the next request. What it throws, or gives instead of a pair, never ends the server: it is called again,
   * after a pause unless the error has used a client up. Only a server without a `socket` says so that no more will
   * come, by three `Deno.errors.BadResource` in a row, and is closed.
   *
   * @returns The request and the client's address.
   */
  abstract getRequest(): [Request, Addr] | Promise<[Request, Addr]>;

  /**
   * Decides whether a request is served. Refuses it by `false`, or by an error, which `handleError()` gets.
   *
   * @param _request The request.
   * @param _clientAddress Who asks.
   * @returns Whether to serve it; here always `true`.
   */
  verifyRequest(_request: Request, _clientAddress: Addr): boolean | Promise<boolean> {
    return true;
  }

  /**
   * Serves one request: prepares, finishes, and shuts it down.
   *
   * @param request The request.
   * @param clientAddress Who asks.
   */
  processRequest(request: Request, clientAddress: Addr): void | Promise<void>;
  // Declared on its own, so that an override need not be asynchronous.
  async processRequest(request: Request, clientAddress: Addr): Promise<void> {
    // Datagrams come by the hundred thousand: only what there is to wait for is waited for.
    const prepared = this.prepareRequest(request, clientAddress);
    if (prepared !== undefined) await prepared;
    const finished = this.finishRequest(request, clientAddress);
    if (finished !== undefined) await finished;
    const ended = this.shutdownRequest(request);
    if (ended !== undefined) await ended;
  }

  /**
   * What must be done before a handler is made, in the request's own task and not in the accept loop: a TLS
   * handshake, for one. Has no counterpart in Python; does nothing here.
   *
   * @param _request The request.
   * @param _clientAddress Who asks.
   */
  prepareRequest(_request: Request, _clientAddress: Addr): void | Promise<void> {}

  /**
   * Makes the handler and runs it. Override it to give handlers more than the three arguments, with
   * {@linkcode runHandler}: `return runHandler(new MyHandler(request, clientAddress, this, more))`. Where handlers run
   * in Workers or subprocesses it may only do something before and after `super.finishRequest()`; what handlers need
   * more goes by {@linkcode BaseServer.requestContext} there.
   *
   * @param request The request.
   * @param clientAddress Who asks.
   */
  finishRequest(request: Request, clientAddress: Addr): void | Promise<void> {
    const { RequestHandlerClass } = this;
    return isHandlerClass(RequestHandlerClass)
      ? runHandler(new RequestHandlerClass(request, clientAddress, this))
      : runFunction(RequestHandlerClass, request, clientAddress, this);
  }

  /**
   * Ends a request in good order; here it only closes it.
   *
   * @param request The request.
   */
  shutdownRequest(request: Request): void | Promise<void> {
    return this.closeRequest(request);
  }

  /**
   * Frees what a request holds; does nothing here.
   *
   * @param _request The request.
   */
  closeRequest(_request: Request): void | Promise<void> {}

  /**
   * Called with what a request failed with; here it calls `onError` of the options, or else writes a log line. What the
   * request's own connection failed with is the client's: that it went away is worth a line for debugging, anything else
   * a warning, as is a request that took too long; of each kind there is one line a second, with a count of the others.
   * What else a handler throws is an error with its stack, be it the broken pipe of a connection that the handler made.
   *
   * @param error What was thrown.
   * @param request The request.
   * @param clientAddress Who asked.
   */
  handleError(error: unknown, request: Request, clientAddress: Addr): void | Promise<void> {
    if (this.#onError !== undefined) {
      return this.#onError(error, clientAddress as SocketAddress as ClientAddress);
    }
    this.#faults.write(error, request, clientAddress);
  }
}
