/**
 * Whether code runs inside a server: in a handler or a hook that the server waits for. What waits for a server's
 * requests must not be waited for by one of them, so `shutdown()`, `drain()` and `serverClose()` return at once there.
 *
 * A call is inside for as long as it runs, whatever it awaits, and so is everything that it starts.
 *
 * @module
 */
import { AsyncLocalStorage } from "node:async_hooks";

/** Code that a server waits for: a run of its loop with all that it calls, or a request that runs beside the loop. */
export interface Call {
  /** Whose call this is. */
  readonly server: object;
  /** The run that ends only after this call; null for a request beside the loop. */
  readonly run: object | null;
  /** The call from which this one was started, if any. */
  readonly outer: Call | undefined;
  /** Whether the server still waits for it. */
  running: boolean;
}

/** The call in which the code that asks runs. */
export const calls: AsyncLocalStorage<Call> = new AsyncLocalStorage();

/** Whether the code that runs now is something that a server waits for, or where `run` is given, that run. */
export function isInside(server: object, run?: object): boolean {
  for (let call = calls.getStore(); call !== undefined; call = call.outer) {
    if (call.server !== server || !call.running) continue;
    if (run === undefined || call.run === run) return true;
  }
  return false;
}
