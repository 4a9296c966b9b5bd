/**
 * A handler whose module is never loaded in a Worker.
 *
 * @module
 */
import { StreamCommandHandler } from "../handlers.ts";

/** As the base. */
export class EndlessHandler extends StreamCommandHandler {
  static override readonly moduleUrl = import.meta.url;
}

if ("WorkerGlobalScope" in globalThis) await new Promise(() => {});
