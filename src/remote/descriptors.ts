/**
 * Starting Workers only while the system has descriptors for them.
 *
 * Where it has none left, Deno 2.9 panics in the thread of the new Worker, and the program ends.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { errorCode } from "../errors.ts";

/** How many descriptors a Worker takes while it starts, when it loads modules side by side; it keeps six. */
const PER_WORKER = 40;
/** How many Workers are started on one look, where there is room for so many. */
const BATCH = 10;
/** How long such a look holds, in milliseconds. */
const LOOK_HOLDS = 1000;
/** The first pause before looking again, in milliseconds; later ones are a tenth of the time waited so far. */
const MIN_PAUSE = 5;
/** The longest such pause, in milliseconds. */
const MAX_PAUSE = 1000;

/** How many Workers are coming up. */
let starting = 0;
/** How many more may start on the last look. */
let room = 0;
/** Whether the last look found room for less than a batch. */
let isScarce = false;
/** Until when that holds, by the clock of `performance.now()`. */
let lookEnds = 0;

/** When to start a Worker. */
export interface StartOptions {
  /** A file that the Worker will read. Where it may not be read nobody can look, and the Worker starts. */
  url: string;
  /** How many descriptors others may need meanwhile. */
  reserve: () => number;
  /** Aborted when no Worker is wanted any more. */
  signal: AbortSignal;
  /** How long to wait for them, in milliseconds; for ever when left out. */
  limit?: number;
  /** Told when the start begins to wait because there are few descriptors, and when it does so no more. */
  onShortage?: (waits: boolean) => void;
}

/**
 * Starts a Worker, once there are descriptors for it.
 *
 * @param start Resolves when the Worker is up.
 * @throws {unknown} The signal's reason, when none is wanted any more.
 * @throws {Error} When there have been none for them for too long; its code is "EMFILE".
 */
export async function startWithDescriptors<T>(
  { url, reserve, signal, limit = Infinity, onShortage }: StartOptions,
  start: () => Promise<T>,
): Promise<T> {
  signal.throwIfAborted();
  const began = performance.now();
  let isShort = false;
  try {
    while (!mayStart(url, reserve())) {
      if (isScarce && !isShort) onShortage?.(isShort = true);
      const waited = performance.now() - began;
      if (waited > limit) throw shortageError(limit);
      const pause = Math.min(Math.max(waited / 10, MIN_PAUSE), MAX_PAUSE);
      await delay(pause, signal);
      signal.throwIfAborted();
    }
  } finally {
    if (isShort) onShortage?.(false);
  }
  starting++;
  try {
    return await start();
  } finally {
    starting--;
  }
}

/** Resolves after `time` milliseconds, or when the signal is aborted. */
async function delay(time: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, time);
  const stop = () => resolve();
  signal.addEventListener("abort", stop);
  await promise;
  clearTimeout(timer);
  signal.removeEventListener("abort", stop);
}

function mayStart(url: string, reserve: number): boolean {
  const now = performance.now();
  if (now < lookEnds && room > 0) {
    room--;
    return true;
  }
  // To look takes descriptors, which a Worker that is coming up may need.
  if (starting > 0 && (isScarce || now < lookEnds)) return false;
  lookEnds = now + LOOK_HOLDS;
  isScarce = !areLeft(url, BATCH * PER_WORKER + reserve);
  room = isScarce ? 0 : BATCH - 1;
  return room > 0 || areLeft(url, PER_WORKER + reserve);
}

/** Whether so many descriptors can be had: opens a file so many times. */
function areLeft(url: string, count: number): boolean {
  if (!url.startsWith("file:")) return true;
  // A module that a compiled program has embedded takes no descriptor to open; the program itself does.
  const path = Deno.build.standalone ? Deno.execPath() : fileURLToPath(url);
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

function shortageError(limit: number): Error {
  const message = `Cannot start Worker: no descriptors for it within ${limit} ms`;
  return Object.assign(new Error(message), { code: "EMFILE" });
}
