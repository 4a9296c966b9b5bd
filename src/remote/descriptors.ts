/**
 * Whether the system has descriptors left for another Worker.
 *
 * Where it has none, Deno 2.9 panics in the thread of the new Worker, and the program ends.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { errorCode } from "../errors.ts";

/**
 * Finds out whether so many descriptors can be had, by opening a file so many times. Where that file may not be read,
 * nobody can tell, and the answer is yes.
 *
 * @param url The file.
 */
export function descriptorsLeft(url: string, count: number): boolean {
  if (!url.startsWith("file:")) return true;
  const path = fileURLToPath(url);
  if (Deno.permissions.querySync({ name: "read", path }).state !== "granted") return true;
  const files: Deno.FsFile[] = [];
  try {
    while (files.length < count) files.push(Deno.openSync(path));
    return true;
  } catch (error) {
    return !["EMFILE", "ENFILE"].includes(errorCode(error));
  } finally {
    for (const file of files) file.close();
  }
}
