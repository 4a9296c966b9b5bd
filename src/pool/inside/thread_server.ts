/**
 * The server that a Worker of a threading server runs: one client at a time, whom it accepts by itself when it is its turn.
 *
 * It listens only while it waits for a client, so that a handler that never awaits keeps neither the port nor the clients of
 * others.
 *
 * @module
 */
import type { TCPAddr } from "../../base/address.ts";
import { isInstance, ServerExit } from "../../base/errors.ts";
import { logTo, type ServerLogger } from "../../base/log.ts";
import { LazyTimer } from "../../base/time.ts";
import { abortSafely } from "../../base/unawaited.ts";
import { listenerError } from "../../core/loop/accept_errors.ts";
import type { AnyServer } from "../../core/base_server.ts";
import { isBound, queueLimit } from "../../core/bind.ts";
import { runHandler } from "../../core/run_handler.ts";
import { internals, StreamSocket } from "../../sockets/stream_socket.ts";
import type { WorkerTurn } from "./accept_turns.ts";
import {
  ConcurrentTCPServer,
  pooledServer,
  PoolServerStub,
  type WorkerContext,
} from "./pooled_server.ts";
import { TURN } from "./worker_record.ts";

/** How long a Worker may be idle while its server does not serve, in milliseconds. */
const REST_LIMIT = 100;
/** How much is read of a client whose handler wants to know whether it is there, in bytes. */
const LOOK_BYTES = 16 * 1024;

/** What the log says of an error in a listener of a request's signal. */
const ABORT_FAULT = "Cannot tell handler that its client has gone: its listener failed with";

/** What the handler of one request sees as its server: the request is cut off for it, too, when its client vanishes. */
class ThreadServerStub extends PoolServerStub {
  readonly #request: StreamSocket;
  readonly #logger: ServerLogger;
  #signal: AbortSignal | null = null;

  constructor(server: ConcurrentTCPServer, worker: WorkerContext, request: StreamSocket) {
    const { context } = worker.settings!;
    // Each request gets a copy, and not what another has made of it.
    super(server, worker, typeof context === "object" ? structuredClone(context) : context);
    this.#request = request;
    this.#logger = server.logger;
  }

  override requestSignal(): AbortSignal {
    if (this.#signal !== null) return this.#signal;
    const gone = new AbortController();
    void this.#watch(gone); // never rejects
    return this.#signal = AbortSignal.any([super.requestSignal(this.#request), gone.signal]);
  }

  /** Reads ahead of the handler, as nothing else tells that a connection is reset. */
  async #watch(gone: AbortController): Promise<void> {
    const reads = internals.reads(this.#request);
    const bytes = new Uint8Array(LOOK_BYTES);
    try {
      const count = await reads.readAhead(bytes);
      if (count !== null) reads.unread(bytes.slice(0, count));
    } catch {
      if (this.#request.closed) return; // the request is over; else the next read fails, too
      const reason = new DOMException("The client has gone", "AbortError");
      abortSafely(gone, reason, (fault) => logTo(this.#logger, "error", ABORT_FAULT, fault));
    }
  }
}

/** What the log says, after its message, of a `ServerExit` that a handler has thrown. */
const EXITED = "ends only its request: it was thrown in a Worker";

/** What a Worker does with such a server, beside what it does with every one. */
export interface ThreadServer extends ConcurrentTCPServer {
  /** Accepts again, where it has paused. */
  resume(): void;
  /** Stops waiting for clients; where the server is not to serve again soon, it ends. */
  pause(): void;
  /** Ends when the request under way, if any, has. */
  retire(): void;
}

/** Makes the class of the server of a Worker. */
export function threadServer(
  worker: WorkerContext,
  turn: WorkerTurn,
): new (...args: ConstructorParameters<typeof ConcurrentTCPServer>) => ThreadServer {
  return class extends pooledServer(ConcurrentTCPServer, worker) implements ThreadServer {
    /** How many clients it has accepted. */
    #served = 0;
    /** How many handlers run; more than none when a request was given up on whose handler goes on. */
    #running = 0;
    /** How the request under way ends, if it does now. */
    #outcome: "completed" | "failed" | "rejected" = "rejected";
    /** The request under way, until it is counted as over. */
    #uncounted: StreamSocket | null = null;
    #isRetiring = false;
    /** Whether the accept under way was ended by us. */
    #isCancelled = false;
    /** Since when it is idle, or paused, by the clock of `performance.now()`. */
    #idleSince = 0;
    readonly #idleTimer = new LazyTimer(() => {
      if (worker.record.state === TURN.BUSY) return;
      if (performance.now() >= this.#idleDue) this.#cancel();
      else this.#watchIdle();
    });

    override serverBind(): void {
      this.serverAddress = worker.init.serverAddress;
    }

    override get [isBound](): boolean {
      return true; // it listens only for one client at a time
    }

    override get [queueLimit](): number {
      return 0; // the main isolate takes what waits in the queue
    }

    override async getRequest(): Promise<[StreamSocket, TCPAddr]> {
      this.#idleSince = performance.now();
      worker.count();
      while (true) {
        this.#watchIdle();
        if (!await turn.begin(() => this.#leaves())) {
          void this.serverClose();
          throw listenerError(new Deno.errors.BadResource("it accepts no more"));
        }
        try {
          this.socket = this.openListener();
          const conn = await this.socket.accept();
          const [local, client] = [conn.localAddr as TCPAddr, conn.remoteAddr as TCPAddr];
          this.#served++;
          worker.record.noteEnds(client, local);
          turn.took();
          // With a logger of its own, as the limits of a log's lines are kept in the main isolate, for all Workers.
          const logger: ServerLogger = Object.create(this.logger);
          return [this.#uncounted = new StreamSocket(conn, logger), client];
        } catch (error) {
          turn.stop();
          if (!this.#isCancelled) throw listenerError(error);
        } finally {
          this.#isCancelled = false;
          this.socket?.[Symbol.dispose]();
        }
      }
    }

    override closeSocket(): void {
      this.retire();
      worker.main.say({ type: "unlistened" });
    }

    override verifyRequest(
      request: StreamSocket,
      clientAddress: TCPAddr,
    ): boolean | Promise<boolean> {
      this.#outcome = "rejected";
      return super.verifyRequest(request, clientAddress);
    }

    override async finishRequest(request: StreamSocket, clientAddress: TCPAddr): Promise<void> {
      this.#outcome = "failed";
      this.#running++;
      const view = new ThreadServerStub(this, worker, request);
      try {
        // What a handler may use of its server is there; the rest says why not.
        await runHandler(new worker.Handler(request, clientAddress, view as unknown as AnyServer));
        this.#outcome = "completed";
      } catch (error) {
        // As in Python, where SystemExit ends only the thread that raised it.
        if (!isInstance(error, ServerExit)) throw error;
        this.#outcome = "completed";
        logTo(this.logger, "warn", `${error.message} ${EXITED}`);
      } finally {
        view.end();
        this.#running--;
      }
    }

    override shutdownRequest(request: StreamSocket): void | Promise<void> {
      this.#countEnd(request);
      return super.shutdownRequest(request);
    }

    override closeRequest(request: StreamSocket): void {
      this.#countEnd(request);
      request.close();
    }

    /** Counts a request as over before its client can hear of that. */
    #countEnd(request: StreamSocket): void {
      if (this.#uncounted !== request) return;
      this.#uncounted = null;
      const counts = this.stats();
      if (counts.active > 0) { // else it is counted already
        counts.active--;
        counts[this.requestSignal(request).aborted ? "aborted" : this.#outcome]++;
      }
      worker.record.counters.write(counts);
    }

    resume(): void {
      this.#idleSince = performance.now();
      turn.wake();
    }

    pause(): void {
      this.#idleSince = performance.now();
      this.#cancel();
      this.#watchIdle();
    }

    retire(): void {
      this.#isRetiring = true;
      if (this.state === "idle") void this.serverClose(); // it has never served
      else this.#cancel();
    }

    /** Ends the wait for a client or for a turn, which then looks around. */
    #cancel(): void {
      if (worker.record.state === TURN.WAITING) {
        this.#isCancelled = true;
        this.socket?.[Symbol.dispose]();
      } else {
        turn.wake();
      }
    }

    #leaves(): boolean {
      const { maxRequests } = worker.settings!.thread!;
      if (this.#isRetiring || this.#running > 0) return true;
      if (maxRequests > 0 && this.#served >= maxRequests) return true;
      if (performance.now() < this.#idleDue) return false;
      if (!turn.isOpen || turn.takeSurplus()) return true;
      this.#idleSince = performance.now();
      this.#watchIdle();
      return false;
    }

    /** When it has been idle for too long. */
    get #idleDue(): number {
      const { idleTimeout } = worker.settings!.thread!;
      return this.#idleSince + (turn.isOpen ? idleTimeout ?? Infinity : REST_LIMIT);
    }

    /** Looks when it has been idle for too long. */
    #watchIdle(): void {
      this.#idleTimer.set(this.#idleDue);
    }
  };
}
