/**
 * Serving a server's requests in workers instead of in the main isolate.
 *
 * This folder is a request's way to a worker and back: `executor.ts` finds a worker for it, with the server's context
 * (`context.ts`), and `relay.ts` has it run there. `servers/` makes the executors.
 *
 * @module
 */
import type { SocketAddress } from "../../base/address.ts";
import type { DatagramRequest } from "../../sockets/datagram_socket.ts";
import { HandlerLoadError, noteSource, ServerExit } from "../../base/errors.ts";
import { KindLimit, oneLine, type ServerLogger } from "../../base/log.ts";
import type { ServeOptions } from "../../base/options.ts";
import type { AnyServer } from "../../core/base_server.ts";
import { calls } from "../../core/loop/lifecycle.ts";
import { callServer } from "../../core/server_call.ts";
import { ENDED } from "../../core/loop/request_pipeline.ts";
import type { ServerStats, WorkerStats } from "../../core/server_stats.ts";
import { internals, type StreamSocket } from "../../sockets/stream_socket.ts";
import { ContextSource } from "./context.ts";
import { Relay, type RemoteRequest } from "./relay.ts";
import { AcceptGate, type ShortageListener } from "../descriptor_gate.ts";
import { CLOSED_BEFORE, type Context, type HandlerWorker } from "../worker.ts";
import { WorkerPool, type WorkerPoolOptions } from "../worker_pool.ts";
import type { HandlerModule } from "../handler_module.ts";
import type { Init } from "../../channel/messages.ts";

/** How long an {@linkcode Executor} waits, in milliseconds; an object, so that tests can have it wait for less. */
export const executorTimes = {
  /** How long workers may go on starting for requests under way when the server closes. */
  closeGrace: 5000,
};
/** How many workers a request is given at the most, all but the last of which had ended before they took it. */
const MAX_WORKERS = 3;
/**
 * How many clients that have ended their streams without sending anything may wait for workers, at least; as many as
 * there may be workers always may. One may wait for an answer; many have gone, and the system does not say which. So they
 * wait behind the others, take no place from them, and the one that has waited the longest makes way for one too many.
 */
const MIN_MUTE = 40;
/** How much is read of a client that waits for a worker, in bytes. */
const LOOK_BYTES = 16 * 1024;

const NEVER = new AbortController().signal;

/** What {@linkcode Executor} is made with; all settings are read each time, so that they may change. */
export interface ExecutorOptions<W extends HandlerWorker>
  extends Omit<WorkerPoolOptions<W>, "start" | "onStartError" | "onFailure" | "onPoisoned"> {
  /** What messages call a worker. */
  kind: string;
  /** Whether workers can have memory in common with the server. */
  sharesMemory: boolean;
  /** How many requests may wait for workers for which there are no descriptors; the next client is not accepted. */
  maxWaiting: number;
  handler: HandlerModule;
  /** Starts a worker. */
  start: (init: Init, conditions: StartConditions) => Promise<W>;
  /**
   * Whether there is room for a client beside what the next worker needs, when so many will end; where that is known. The
   * URL is that of a file that the worker reads.
   */
  hasRoom?: (url: string, ending: number) => boolean;
  /** Called when {@linkcode Executor.extra} has grown. */
  onExtra: () => void;
  /** Told that there are more poisoned workers, or fewer; left out where all can be ended. */
  onPoisoned?: () => void;
  /** Writes a line to the server's log. */
  log: (level: keyof ServerLogger, line: string, ...errors: [error?: unknown]) => void;
}

/** What a start of a worker depends on. */
export interface StartConditions {
  /** Aborted when no worker is wanted any more. */
  signal: AbortSignal;
  /** Whether the server has no other worker. */
  isFirst: () => boolean;
  /** To be told when the start has to wait for descriptors. */
  shortage: ShortageListener;
}

/** Serves a server's requests in the workers of a pool of its own. */
export class Executor<W extends HandlerWorker> {
  readonly #options: ExecutorOptions<W>;
  /** The workers. */
  readonly pool: WorkerPool<W>;
  readonly #gate: AcceptGate;
  readonly #exitLines = new KindLimit();
  readonly #contexts: ContextSource;
  readonly #active = new Set<W>();
  /** The clients that wait for a worker though they have ended their streams without a word, the first in front. */
  readonly #mute = new Set<AbortController>();
  /** Aborted when no worker is wanted any more. */
  readonly #closing = new AbortController();
  /** The loops of the server; aborted when no worker comes up. */
  readonly #loops = new Set<AbortController>();
  readonly #noneLeft = Promise.withResolvers<void>();
  #closeTimer: ReturnType<typeof setTimeout> | undefined;

  /** @param options How to start a worker, and the settings. */
  constructor(options: ExecutorOptions<W>) {
    this.#options = options;
    const { kind, handler, maxWaiting, log, onPoisoned = () => {} } = options;
    this.#contexts = new ContextSource(options.sharesMemory);
    this.#gate = new AcceptGate({
      ...{ kind, maxWaiting, hasRoom: () => this.#hasRoom() },
      log: (line) => log("warn", line),
    });
    const { signal } = this.#closing;
    const isFirst = () => {
      const { spare, busy } = this.pool.stats();
      return spare + busy === 0;
    };
    this.pool = new WorkerPool({
      ...options,
      start: () => {
        const conditions = { signal, isFirst, shortage: this.#gate.listener() };
        return handler.start((init) => options.start(init, conditions), (worker) => worker.kill());
      },
      onStartError: (error) => {
        log("error", `Cannot keep ${kind} ready: ${oneLine(error)}`);
        log("debug", `Why no ${kind} is ready`, error);
      },
      onFailure: (error) => this.fail(error),
      onPoisoned,
    });
  }

  /** What workers run. */
  get handler(): HandlerModule {
    return this.#options.handler;
  }

  /** The workers that serve a request. */
  get active(): ReadonlySet<W> {
    return this.#active;
  }

  /** Resolves when the server is closed and no worker is left. */
  get noneLeft(): Promise<void> {
    return this.#noneLeft.promise;
  }

  /** What a server with these workers has as its `stats()`. */
  stats(server: ServerStats): ServerStats {
    const workers = this.pool.stats();
    for (const [name, count] of Object.entries(server.workers ?? {})) {
      workers[name as keyof WorkerStats] += count;
    }
    return { ...server, workers };
  }

  /**
   * How many more requests may be under way than there may be workers: those of clients that wait though they have ended
   * their streams without a word, and where there are such, one that is to get the next worker before them.
   */
  get extra(): number {
    return this.#mute.size === 0 ? 0 : this.#mute.size + 1;
  }

  /** How many of the server's requests wait for a worker. */
  waiting({ active }: ServerStats): number {
    return active - this.pool.stats().busy;
  }

  /**
   * Throws when no client may be accepted now.
   *
   * @throws {Error} With the code "EMFILE", while there are no descriptors for the workers of those who wait.
   */
  checkShortage(stats: () => ServerStats): void {
    this.#gate.check(() => this.waiting(stats()));
  }

  /**
   * Runs a loop of the server, as {@linkcode WorkerPool.during} does.
   *
   * @param options What the loop is called with; its signal also ends it when no worker ever comes up.
   * @throws {unknown} Why none does: the first error of three starts that have failed in a row.
   */
  async serve(
    options: ServeOptions,
    loop: (options: ServeOptions) => Promise<void>,
  ): Promise<void> {
    const { signal } = options;
    await this.#run(true, (failure) => {
      const signals = signal === undefined ? [failure] : [failure, signal];
      return loop({ ...options, signal: AbortSignal.any(signals) });
    });
  }

  /**
   * Runs a loop of the server that serves one request.
   *
   * @param stop Ends it.
   * @throws {unknown} Why nobody can be served any more, where that comes out meanwhile.
   */
  async handleOne(loop: () => Promise<void>, stop: () => void): Promise<void> {
    await this.#run(false, (failure) => {
      failure.addEventListener("abort", stop);
      return loop();
    });
  }

  async #run(forever: boolean, loop: (failure: AbortSignal) => Promise<void>): Promise<void> {
    const failure = new AbortController();
    this.#loops.add(failure);
    try {
      await this.pool.during(forever, () => loop(failure.signal));
    } finally {
      this.#loops.delete(failure);
    }
    failure.signal.throwIfAborted();
  }

  /**
   * Makes and runs the handler of one request in a worker, waiting for that if need be.
   *
   * @throws {unknown} What the handler threw, or why there is no worker.
   */
  async finish(server: AnyServer, request: unknown, clientAddress: SocketAddress): Promise<void> {
    // All that may fail comes before the lease, which must be given back.
    const remote = await describe(server, this.#contexts, request, clientAddress);
    if (remote.signal === ENDED) {
      if ("closed" in remote.client && remote.client.closed) return; // it was cut off, and given up on
      remote.signal = NEVER; // it is served later than processRequest(), which has only queued it
    }
    for (let left = MAX_WORKERS - 1;; left--) {
      const worker = await this.#lease(remote);
      this.#active.add(worker);
      worker.ref();
      const relay = new Relay(worker, remote);
      try {
        return await relay.run();
      } catch (error) {
        // As in Python, where SystemExit ends only the thread or the process that raised it.
        if (error instanceof ServerExit) return this.#noteExit(error);
        if (!relay.untaken || left === 0) throw error;
      } finally {
        this.#active.delete(worker);
        if (relay.poisoned) this.pool.poison(worker);
        else this.pool.release(worker, relay.reusable);
      }
    }
  }

  /** Ends the loops of the server, which reject. */
  fail(error: unknown): void {
    this.#loops.forEach((loop) => loop.abort(error));
  }

  /** Waits for a worker, but not for longer than the client is there. */
  async #lease(remote: RemoteRequest): Promise<W> {
    const { client, signal } = remote;
    if ("packet" in client || this.pool.hasSpare) return await this.pool.lease(signal);
    const gone = new AbortController();
    const reads = internals.reads(client);
    const bytes = new Uint8Array(LOOK_BYTES);
    // It may go on while the worker runs; the relay's reads come after it.
    remote.look = reads.readAhead(bytes).then((count) => {
      if (count !== null) return reads.unread(bytes.slice(0, count));
      if (gone.signal.aborted) return; // it waits no more
      this.#mute.add(gone);
      const [first] = this.#mute;
      const max = Math.max(MIN_MUTE, this.#options.max());
      if (this.#mute.size > max) first!.abort(muteError(this.#options.kind, max));
      this.#options.onExtra();
    });
    remote.look.catch((error) => gone.abort(error));
    try {
      const either = AbortSignal.any([signal, gone.signal]);
      return await this.pool.lease(either, () => this.#mute.has(gone));
    } catch (error) {
      throw error === gone.signal.reason ? noteSource(error, client) : error;
    } finally {
      gone.abort();
      this.#mute.delete(gone);
    }
  }

  #noteExit(exit: ServerExit): void {
    const more = this.#exitLines.take("exit");
    if (more === null) return;
    const { kind, log } = this.#options;
    log("warn", `${exit.message} ends only its request: it was thrown in a ${kind}${more}`);
  }

  /** Whether a client may be accepted beside what the next worker needs. */
  #hasRoom(): boolean {
    const { hasRoom, maxRequests, handler } = this.#options;
    const { spare, busy } = this.pool.stats();
    const staying = maxRequests() === 0 ? spare + busy : 0; // they serve who waits, one after the other
    return hasRoom === undefined || staying > 0 || hasRoom(handler.init.moduleUrl, busy);
  }

  /**
   * Closes the server, and ends the workers when no request is under way any more, each of which may still need one.
   *
   * @param closeServer Closes the server itself.
   * @param over Resolves when nothing of the server runs any more.
   */
  async close(closeServer: () => Promise<void>, over: Promise<void>): Promise<void> {
    // A request under way may wait for a worker that never comes up.
    this.#closeTimer ??= setTimeout(() => this.#endStarts(), executorTimes.closeGrace);
    void over.then(() => this.end());
    await closeServer();
  }

  /** Gives no workers any more: ends the idle ones at once, the others when their requests have ended. */
  end(): void {
    clearTimeout(this.#closeTimer);
    void this.pool.close().then(this.#noneLeft.resolve); // it never rejects
    this.#endStarts();
  }

  #endStarts(): void {
    const { moduleUrl, className } = this.handler.init;
    this.#closing.abort(new HandlerLoadError(moduleUrl, className, CLOSED_BEFORE));
  }
}

async function describe(
  server: AnyServer,
  contexts: ContextSource,
  request: unknown,
  clientAddress: SocketAddress,
): Promise<RemoteRequest> {
  const { serverAddress } = server;
  const context: Context = contexts.take(server.context);
  // Called from elsewhere, which is inside the server all the same.
  const inside = calls.getStore()!;
  const call = (name: string, args: unknown[]) => calls.run(inside, callServer, server, name, args);
  const shared = { context, call, signal: server.requestSignal(request) };
  const start = {
    clientAddress,
    serverAddress,
    ...(context.value === undefined ? {} : { posted: context.version }),
  };
  // Servers have no other kinds of requests, and the mix-ins take no other servers.
  if (Array.isArray(request)) {
    const [packet, socket] = request as DatagramRequest;
    return { ...shared, start: { ...start, connection: null }, client: { packet, socket } };
  }
  const client = request as StreamSocket;
  const { localAddr, remoteAddr } = client;
  const alpnProtocol = (await client.handshake())?.alpnProtocol ?? null;
  return {
    ...shared,
    start: { ...start, connection: { localAddr, remoteAddr, alpnProtocol } },
    client,
  };
}

function muteError(kind: string, max: number): Error {
  return new Deno.errors.Busy(
    `no ${kind} was free, and more than ${max} clients waited for one who had ended their streams without a word; ` +
      "the connection was closed unserved",
  );
}
