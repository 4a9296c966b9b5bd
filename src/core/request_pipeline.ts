/**
 * The course of one request: through the hooks of its server, whatever they throw, to its end in the counters.
 *
 * @module
 */
import { type SocketAddress, sourceOf } from "../base/address.ts";
import { isInstance, noteSource, ServerExit } from "../base/errors.ts";
import { logTo, type ServerLogger } from "../base/log.ts";
import { RequestTracker } from "./request_tracker.ts";

/** How long aborted handlers get to unwind before the server stops waiting for them, in milliseconds. */
export const ABORT_GRACE = 100;

/** What the log says of an error in a listener of a request's signal. */
const ABORT_FAULT = "Cannot tell handler that its request is cut off: its listener failed with";

/** What the course of a request needs of its server. */
export interface PipelineHost<Request, Addr> {
  readonly logger: ServerLogger;
  readonly maxConnectionsPerSource: number | null;
  readonly requestTimeout: number | null;
  verifyRequest(request: Request, clientAddress: Addr): boolean | Promise<boolean>;
  processRequest(request: Request, clientAddress: Addr): void | Promise<void>;
  shutdownRequest(request: Request): void | Promise<void>;
  closeRequest(request: Request): void | Promise<void>;
  handleError(error: unknown, request: Request, clientAddress: Addr): void | Promise<void>;
}

/** Takes the requests of a server through their steps. */
export class RequestPipeline<Request, Addr extends SocketAddress> {
  /** The requests under way. */
  readonly requests: RequestTracker<Request>;
  readonly #server: PipelineHost<Request, Addr>;
  readonly #freed: () => void;

  /**
   * @param server The server with the hooks.
   * @param freed Called when the place of a request becomes free that is not waited for any more.
   */
  constructor(server: PipelineHost<Request, Addr>, freed: () => void) {
    this.#server = server;
    this.#freed = freed;
    this.requests = new RequestTracker((error) =>
      logTo(server.logger, "error", ABORT_FAULT, error)
    );
  }

  /** Serves one request and lets nothing but a `ServerExit` out; a property because it is called without `this`. */
  readonly serve = async (request: Request, clientAddress: Addr): Promise<void> => {
    const { requests } = this;
    const server = this.#server;
    const perSource = server.maxConnectionsPerSource;
    let source: string | null = null;
    if (perSource !== null) {
      try {
        source = sourceOf(clientAddress);
      } catch (error) {
        return await this.#fail(error, request, clientAddress);
      }
    }
    requests.begin(request, source);
    if (source !== null && requests.countFrom(source) > perSource!) {
      await this.cutOff(request);
      requests.end(request, "rejected");
      return;
    }
    const limit = server.requestTimeout;
    const timer = limit === null ? undefined : this.#setLimit(limit, request, clientAddress);
    let outcome: "completed" | "failed" | "rejected" = "rejected";
    try {
      const verified = server.verifyRequest(request, clientAddress);
      if (verified === true || await verified) {
        outcome = "failed";
        await server.processRequest(request, clientAddress);
        outcome = "completed";
      } else {
        await this.#end(request);
      }
    } catch (error) {
      try {
        if (isInstance(error, ServerExit)) throw error;
        if (!requests.isAborted(request)) await this.#report(error, request, clientAddress);
      } finally {
        await this.#end(request);
        if (timer !== undefined) clearTimeout(timer);
        requests.end(request, outcome);
      }
      return;
    }
    if (timer !== undefined) clearTimeout(timer);
    requests.end(request, outcome);
  };

  /** Ends a request that fails before its first step: it came from an own `getRequest()`, with an odd address. */
  async #fail(error: unknown, request: Request, clientAddress: Addr): Promise<void> {
    this.requests.begin(request);
    try {
      await this.#report(error, request, clientAddress);
    } finally {
      await this.#end(request);
      this.requests.end(request, "failed");
    }
  }

  /** On its own because a closure in `serve()` would cost every request its context. */
  #setLimit(
    limit: number,
    request: Request,
    clientAddress: Addr,
  ): ReturnType<typeof setTimeout> {
    return setTimeout(() => this.#timeOut(request, clientAddress, limit), limit);
  }

  /** Cuts off a request that has taken too long, and waits for it no more. */
  async #timeOut(request: Request, clientAddress: Addr, limit: number): Promise<void> {
    // A client that stays silent can cause it, and there is no more to say: it is one line of the log, not a stack.
    const error = noteSource(
      new Deno.errors.TimedOut(`no end within ${limit} ms ('requestTimeout')`),
      clientAddress,
    );
    if (!this.#abort(request, error)) return;
    try {
      await this.#report(error, request, clientAddress);
    } catch (exit) {
      // The request has nobody to tell any more that handleError() wants the loop to end.
      logTo(this.#server.logger, "error", "Cannot exit", exit);
    }
  }

  /** Calls `handleError()`, whose own errors end in the log. */
  async #report(error: unknown, request: Request, clientAddress: Addr): Promise<void> {
    try {
      await this.#server.handleError(error, request, clientAddress);
    } catch (second) {
      if (isInstance(second, ServerExit)) throw second;
      logTo(this.#server.logger, "error", "Cannot handle error: handleError() failed with", second);
    }
  }

  /** Shuts a request down, whatever the hook throws. */
  async #end(request: Request): Promise<void> {
    try {
      await this.#server.shutdownRequest(request);
    } catch (error) {
      logTo(this.#server.logger, "error", "Cannot shut request down", error);
      await this.cutOff(request);
    }
  }

  /** Closes a request at once, whatever the hook throws. */
  async cutOff(request: Request): Promise<void> {
    try {
      await this.#server.closeRequest(request);
    } catch (error) {
      logTo(this.#server.logger, "error", "Cannot close request", error);
    }
  }

  /**
   * Aborts a request under way and closes it. When its handler does not end within a moment, its place is free
   * all the same.
   *
   * @returns Whether it was under way and not aborted before.
   */
  #abort(request: Request, reason: unknown): boolean {
    if (!this.requests.abort(request, reason)) return false;
    void this.cutOff(request);
    this.requests.giveUpLater(request, ABORT_GRACE, this.#freed);
    return true;
  }
}
