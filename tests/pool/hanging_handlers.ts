/**
 * A handler whose module is never loaded in the first of several Workers, as one that waits for its database.
 *
 * @module
 */
import { StreamCommandHandler } from "../handlers.ts";

/** As the base. */
export class HangingHandler extends StreamCommandHandler {
  static override readonly moduleUrl = import.meta.url;
}

/** What of the locks of a machine's isolates is used, which Deno's types do not show. */
interface Locks {
  request(
    name: string,
    options: { ifAvailable: true },
    callback: (lock: object | null) => Promise<void>,
  ): Promise<void>;
}

if ("WorkerGlobalScope" in globalThis) {
  const { locks } = navigator as unknown as { locks: Locks };
  const hang = () => new Promise<void>(() => {});
  await locks.request(
    "hanging",
    { ifAvailable: true },
    (lock) => lock === null ? Promise.resolve() : hang(),
  );
}
