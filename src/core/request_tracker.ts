/**
 * Which requests a server is serving, and what became of the others.
 *
 * @module
 */
import { abortSafely, outlive } from "../base/unawaited.ts";

/** The life stages of a server. */
export type ServerState = "idle" | "serving" | "draining" | "closed";

/**
 * A snapshot of a server's counters.
 *
 * At any time `accepted` is the sum of `active`, `completed`, `failed`, `rejected` and `aborted`.
 */
export interface ServerStats {
  /** The stage of its life. */
  state: ServerState;
  /** Requests taken from the listener so far. */
  accepted: number;
  /** Requests that are being served now. */
  active: number;
  /** The most that were ever served at once. */
  peak: number;
  /** Requests that ended without an error. */
  completed: number;
  /** Requests that ended with an error, a client's disconnection included. */
  failed: number;
  /** Requests that `verifyRequest()` refused, by its answer or by an error. */
  rejected: number;
  /** Requests that the server cut off. */
  aborted: number;
  /**
   * Accept errors so far, by the operating system's code, such as "EMFILE"; "OWN_ADDRESS" counts the datagrams that were
   * dropped because they came from the server's own address.
   */
  acceptErrors: Record<string, number>;
  /** The Workers or subprocesses of a server that has them. */
  workers?: WorkerStats;
}

/** A snapshot of the Workers or subprocesses of a server. */
export interface WorkerStats {
  /** Those that are ready. */
  spare: number;
  /** Those that serve a request. */
  busy: number;
  /** Those that are coming up. */
  starting: number;
  /** Those that were given up on so far, each of which may still be running. */
  poisoned: number;
  /** Those that have come up so far. */
  started: number;
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

  /**
   * Notes that a request is under way.
   *
   * @param source Where it comes from, when that is to be counted.
   */
  begin(request: Request, source: string | null = null): void {
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
      source,
      timer: undefined,
    });
    if (source !== null) this.#sources.set(source, this.countFrom(source) + 1);
  }

  /** How many requests from a source are under way. */
  countFrom(source: string): number {
    return this.#sources.get(source) ?? 0;
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
    const left = this.countFrom(source) - 1;
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
