/**
 * The course of one request: through the hooks of its server, whatever they throw, to its end in the counters; and all
 * that are under way.
 *
 * | state of a request | left by | counted as |
 * |---|---|---|
 * | active | the end of its steps | completed, failed or rejected |
 * | active | `requestTimeout`, or the end of the time of a drain, which close its connection | aborted, when it is over |
 * | aborted | the end of its steps, or 100 ms later without it: its place is free then | |
 *
 * @module
 */
import { type SocketAddress, sourceOf } from "../../base/address.ts";
import { isInstance, noteSource, ServerExit } from "../../base/errors.ts";
import { handleFault, logOf } from "../faults.ts";
import type { ServerLogger } from "../../base/log.ts";
import { ABORT_FAULT, abortSafely, outlive } from "../../base/unawaited.ts";
import type { ServerState, ServerStats } from "../server_stats.ts";

/** How long aborted handlers get to unwind before the server stops waiting for them, in milliseconds. */
export const ABORT_GRACE = 100;

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
    const onAbortError = (error: unknown) => logOf(server, "error", ABORT_FAULT, error);
    this.requests = new RequestTracker(onAbortError);
  }

  /** Serves one request and lets nothing but a `ServerExit` out; a property because it is called without `this`. */
  readonly serve = async (request: Request, clientAddress: Addr): Promise<void> => {
    const { requests } = this;
    const server = this.#server;
    requests.begin(request);
    let outcome: "completed" | "failed" | "rejected" = "failed";
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      const { maxConnectionsPerSource: most, requestTimeout: limit } = server;
      const isTooMany = most !== null &&
        requests.countFrom(request, sourceOf(clientAddress)) > most;
      outcome = "rejected";
      if (isTooMany) return await this.cutOff(request);
      if (limit !== null) timer = this.#setLimit(limit, request, clientAddress);
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
        if (!requests.isAborted(request)) {
          await handleFault(this.#server, error, request, clientAddress);
        }
      } finally {
        await this.#end(request);
      }
    } finally {
      if (timer !== undefined) clearTimeout(timer);
      requests.end(request, outcome);
    }
  };

  /** On its own because a closure in `serve()` would cost every request its context. */
  #setLimit(limit: number, request: Request, clientAddress: Addr): ReturnType<typeof setTimeout> {
    return setTimeout(() => this.#timeOut(request, clientAddress, limit), limit);
  }

  /** Cuts off a request that has taken too long, and waits for it no more. */
  async #timeOut(request: Request, clientAddress: Addr, limit: number): Promise<void> {
    // A client that stays silent can cause it, and there is no more to say: it is one line of the log, not a stack.
    const timedOut = new Deno.errors.TimedOut(`no end within ${limit} ms ('requestTimeout')`);
    const error = noteSource(timedOut, clientAddress);
    if (!this.#abort(request, error)) return;
    try {
      await handleFault(this.#server, error, request, clientAddress);
    } catch (exit) {
      // The request has nobody to tell any more that handleError() wants the loop to end.
      logOf(this.#server, "error", "Cannot exit", exit);
    }
  }

  /** Shuts a request down, whatever the hook throws. */
  async #end(request: Request): Promise<void> {
    try {
      await this.#server.shutdownRequest(request);
    } catch (error) {
      logOf(this.#server, "error", "Cannot shut request down", error);
      await this.cutOff(request);
    }
  }

  /** Closes a request at once, whatever the hook throws. */
  async cutOff(request: Request): Promise<void> {
    try {
      await this.#server.closeRequest(request);
    } catch (error) {
      logOf(this.#server, "error", "Cannot close request", error);
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

/** How a request can end. */
export type Outcome = "completed" | "failed" | "rejected" | "aborted";

/** A request that is being served. */
interface ActiveRequest {
  /** How many are the same value, as two words from a list may be. */
  count: number;
  /** Made when somebody asks for the signal. */
  controller: AbortController | null;
  aborted: boolean;
  reason: unknown;
  /** Where it comes from, where that is counted. */
  source: string | null;
  /** Gives it up when its handler does not end; set when it is aborted. */
  timer: ReturnType<typeof setTimeout> | undefined;
}

/** The requests under way, and the counters. */
export class RequestTracker<Request> {
  /** How many requests are under way; for others to read. */
  size = 0;
  readonly #active = new Map<Request, ActiveRequest>();
  readonly #ended: Record<Outcome, number> = { completed: 0, failed: 0, rejected: 0, aborted: 0 };
  readonly #acceptErrors = new Map<string, number>();
  /** How many requests under way come from each source; no longer than there are requests. */
  readonly #sources = new Map<string, number>();
  /** Told of what the listeners of a request's signal throw. */
  readonly #onAbortError: (error: unknown) => void;
  #accepted = 0;
  #peak = 0;
  /** Called when the last request under way has ended. */
  #whenIdle: (() => void)[] = [];

  /** @param onAbortError Told of what a handler's listeners throw when its request is aborted. */
  constructor(onAbortError: (error: unknown) => void = () => {}) {
    this.#onAbortError = onAbortError;
  }

  /** Notes that a request is under way. */
  begin(request: Request): void {
    this.#accepted++;
    if (++this.size > this.#peak) this.#peak = this.size;
    const same = this.#active.get(request);
    if (same !== undefined) {
      same.count++;
      return;
    }
    this.#active.set(request, {
      count: 1,
      controller: null,
      aborted: false,
      reason: undefined,
      source: null,
      timer: undefined,
    });
  }

  /** Notes where a request under way comes from, and gives how many from there are. */
  countFrom(request: Request, source: string): number {
    const active = this.#active.get(request)!;
    const before = this.#sources.get(source) ?? 0;
    if (active.source !== null) return before; // the same value again
    active.source = source;
    this.#sources.set(source, before + 1);
    return before + 1;
  }

  end(request: Request, outcome: Outcome): void {
    const active = this.#active.get(request);
    if (active === undefined) return; // given up on, and counted, when it was aborted
    if (--active.count === 0) {
      this.#active.delete(request);
      if (active.timer !== undefined) clearTimeout(active.timer);
      if (active.source !== null) this.#leave(active.source);
    }
    this.#ended[active.aborted ? "aborted" : outcome]++;
    if (--this.size > 0) return;
    if (this.#whenIdle.length === 0) return;
    for (const resolve of this.#whenIdle.splice(0)) resolve();
  }

  #leave(source: string): void {
    const left = this.#sources.get(source)! - 1;
    if (left > 0) this.#sources.set(source, left);
    else this.#sources.delete(source);
  }

  isAborted(request: Request): boolean {
    const active = this.#active.get(request);
    return active === undefined || active.aborted;
  }

  /** The signal of a request; {@linkcode ENDED} where the request is under way no more. */
  signal(request: Request): AbortSignal {
    const active = this.#active.get(request);
    if (active === undefined) {
      outlive(ENDED.reason, () => {});
      return ENDED;
    }
    active.controller ??= new AbortController();
    if (active.aborted) abortSafely(active.controller, active.reason, this.#onAbortError);
    return active.controller.signal;
  }

  /**
   * Aborts a request under way.
   *
   * @returns Whether it was under way and not aborted before.
   */
  abort(request: Request, reason: unknown): boolean {
    const active = this.#active.get(request);
    if (active === undefined || active.aborted) return false;
    active.aborted = true;
    active.reason = reason;
    if (active.controller !== null) abortSafely(active.controller, reason, this.#onAbortError);
    return true;
  }

  /**
   * Aborts all that is under way.
   *
   * @param cutOff Closes a request's connection.
   * @returns How many there were.
   */
  abortAll(cutOff: (request: Request) => void): number {
    const count = this.size;
    for (const request of [...this.#active.keys()]) {
      if (this.abort(request, abortReason())) cutOff(request);
    }
    return count;
  }

  /** Counts aborted requests whose handlers do not end as over. */
  giveUp(): void {
    for (const request of [...this.#active.keys()]) this.#giveUp(request);
  }

  /** Counts an aborted request as over when its handler has not ended within `delay` milliseconds. */
  giveUpLater(request: Request, delay: number, whenOver: () => void): void {
    const active = this.#active.get(request);
    if (active === undefined) return;
    active.timer = setTimeout(() => {
      this.#giveUp(request);
      whenOver();
    }, delay);
  }

  #giveUp(request: Request): void {
    for (let left = this.#active.get(request)?.count ?? 0; left > 0; left--) {
      this.end(request, "aborted");
    }
  }

  /** Resolves when nothing is under way. */
  idle(): Promise<void> {
    if (this.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#whenIdle.push(resolve));
  }

  countAcceptError(code: string): void {
    this.#acceptErrors.set(code, (this.#acceptErrors.get(code) ?? 0) + 1);
  }

  /** How many requests have ended in a way. */
  ended(outcome: Outcome): number {
    return this.#ended[outcome];
  }

  stats(state: ServerState): ServerStats {
    return {
      state,
      accepted: this.#accepted,
      active: this.size,
      peak: this.#peak,
      ...this.#ended,
      acceptErrors: Object.fromEntries(this.#acceptErrors),
    };
  }
}

function abortReason(): DOMException {
  return new DOMException("The server cut this request off", "AbortError");
}

/** The signal of all requests that are not under way. */
export const ENDED: AbortSignal = AbortSignal.abort(abortReason());
