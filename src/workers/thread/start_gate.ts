/**
 * Starting Web Workers only while the system has descriptors for them.
 *
 * Where it has none left, Deno 2.9 panics in the thread of the new Worker, and the program ends.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { errorCode } from "../../base/errors.ts";
import { delay } from "../../base/time.ts";
import { describeLack, type Lack, type ShortageListener } from "../descriptor_gate.ts";

/** How long Workers get, in milliseconds; an object, so that tests can have them get less. */
export const startTimes = {
  /** How long one may take to load its handler. */
  load: 60_000,
};

/** How many descriptors a Worker takes while it starts, when it loads modules side by side. */
const PER_WORKER = 40;
/** How many it gives back when it ends. */
const GIVEN_BACK = 3;
/** How many the first one does not give back, and some more. */
const MARGIN = 4;
/** What the first Worker of a server starts with where there are no more: it has to do with little company. */
const FIRST_WORKER = 20;
/** How long it waits for more, in milliseconds. */
const FIRST_PATIENCE = 100;
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
/** How many descriptors the last look found, as far as it looked. */
let free = Infinity;
/** Whether that was room for less than a batch. */
let isScarce = false;
/** Until when that holds, by the clock of `performance.now()`. */
let lookEnds = 0;

/** When to start a Worker. */
export interface StartOptions {
  /** A file that the Worker will read. Where it may not be read nobody can look, and the Worker starts. */
  url: string;
  /** How many descriptors others may need meanwhile. */
  reserve: () => number;
  /** Whether the server has no other Worker, so that this one is to start with as little as it can. */
  isFirst: () => boolean;
  /** Aborted when no Worker is wanted any more. */
  signal: AbortSignal;
  /** How long to wait for them, in milliseconds; for ever when left out. */
  limit?: number;
  /** Told how a start goes that has to wait because there are few descriptors. */
  shortage?: ShortageListener;
}

/**
 * Starts a Worker, once there are descriptors for it.
 *
 * @param start Resolves when the Worker is up.
 * @throws {unknown} The signal's reason, when none is wanted any more.
 * @throws {Error} When there have been none for them for too long; its code is "EMFILE".
 */
export async function startWithDescriptors<T>(
  { url, reserve, isFirst, signal, limit = Infinity, shortage }: StartOptions,
  start: () => Promise<T>,
): Promise<T> {
  signal.throwIfAborted();
  const began = performance.now();
  const lack: Lack = { needs: 0, has: 0 };
  let isShort = false;
  try {
    for (let waited = 0;; waited = performance.now() - began) {
      const isHumble = waited > FIRST_PATIENCE && isFirst();
      lack.needs = isHumble ? FIRST_WORKER : PER_WORKER + reserve();
      if (mayStart(url, lack.needs)) break;
      lack.has = free;
      if (isScarce && !isShort) {
        isShort = true;
        shortage?.waits(lack);
      }
      if (waited > limit) {
        const message = `Cannot start Worker: ${describeLack(lack)}, for ${limit} ms`;
        throw Object.assign(new Error(message), { code: "EMFILE" });
      }
      await delay(Math.min(Math.max(waited / 10, MIN_PAUSE), MAX_PAUSE), signal);
      signal.throwIfAborted();
    }
    if (isShort) shortage?.begins();
    starting++;
    try {
      return await start();
    } finally {
      starting--;
    }
  } finally {
    if (isShort) shortage?.ended();
  }
}

/**
 * Whether a client may be accepted that leaves enough for a Worker to start.
 *
 * @param url As in {@linkcode StartOptions}.
 * @param busy How many Workers will end with their requests.
 */
export function hasRoomForClient(url: string, busy: number): boolean {
  const needs = FIRST_WORKER + MARGIN - busy * GIVEN_BACK;
  // One that is coming up may need all that a look would take; who came since the last is not known.
  if (starting > 0) return free - starting * FIRST_WORKER >= needs + (busy > 0 ? 0 : FIRST_WORKER);
  return needs <= 0 || countLeft(url, needs) === needs;
}

function mayStart(url: string, needs: number): boolean {
  const now = performance.now();
  if (now < lookEnds && room > 0) {
    room--;
    return true;
  }
  // To look takes descriptors, which a Worker that is coming up may need.
  if (starting > 0 && (isScarce || now < lookEnds)) return false;
  lookEnds = now + LOOK_HOLDS;
  const batch = (BATCH - 1) * PER_WORKER + needs;
  free = countLeft(url, batch);
  isScarce = free < batch;
  room = isScarce ? 0 : BATCH - 1;
  return free >= needs;
}

/** How many descriptors can be had, `most` at the most: opens a file so many times. */
function countLeft(url: string, most: number): number {
  if (!url.startsWith("file:")) return most;
  // A module that a compiled program has embedded takes no descriptor to open; the program itself does.
  const path = Deno.build.standalone ? Deno.execPath() : fileURLToPath(url);
  if (Deno.permissions.querySync({ name: "read", path }).state !== "granted") return most;
  const files: Deno.FsFile[] = [];
  try {
    while (files.length < most) files.push(Deno.openSync(path));
    return most;
  } catch (error) {
    return ["EMFILE", "ENFILE"].includes(errorCode(error)) ? files.length : most;
  } finally {
    for (const file of files) file.close();
  }
}
