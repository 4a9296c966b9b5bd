/**
 * A handler whose subprocess comes up when a file is removed.
 *
 * @module
 */
import { delay } from "../../src/base/time.ts";
import { HoldHandler } from "./forking_handlers.ts";

/** Whether the file is there that the variable names. */
function isShut(): boolean {
  const file = Deno.env.get("GATE");
  if (file === undefined) return false;
  try {
    Deno.statSync(file);
    return true;
  } catch {
    return false;
  }
}

while (isShut()) await delay(10);

/** As the base. */
export class GatedHandler extends HoldHandler {
  static override readonly moduleUrl = import.meta.url;
}
