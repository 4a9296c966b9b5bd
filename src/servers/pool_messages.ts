/**
 * What the main isolate and the Workers of a pool say to each other.
 *
 * @module
 */
import type { TCPAddr } from "../base/address.ts";
import type { ServerLogger } from "../base/log.ts";
import type { DrainResult } from "../base/options.ts";
import type { ServerStats } from "../core/server_stats.ts";
import type { ErrorMessage, Init } from "../channel/messages.ts";
import type { TLSIdentity } from "../sockets/node_tls_conn.ts";
import type { SharedAddress, Sharing } from "./shared_listener.ts";

/** What a Worker is started with. */
export interface PoolInit {
  handler: Init;
  address: SharedAddress;
  sharing: Sharing;
  tls: (TLSIdentity & { handshakeTimeout: number | null }) | null;
  /** How many of those who wait in the queue the Worker may take when it drains. */
  queueShare: number;
  /** Where the Worker writes its counters. */
  counters: SharedArrayBuffer;
}

/** What may change at any time. */
export interface PoolLimits {
  maxConnections: number;
  requestTimeout: number | null;
}

/** What may change from one `serveForever()` to the next. */
export interface PoolSettings extends PoolLimits {
  /** What handlers find as `server.context`. */
  context: unknown;
  /** Which hooks the main isolate has of its own. */
  asks: { verifyRequest: boolean; handleError: boolean };
}

/** What a Worker is to do. */
export type PoolCommand =
  /** Load the handler and listen. */
  | { name: "listen" }
  | { name: "serve"; settings: PoolSettings }
  | { name: "limit"; limits: PoolLimits }
  | { name: "stop" }
  | { name: "close" }
  /** With the settings for one that has never served. */
  | { name: "drain"; timeout: number | null; settings: PoolSettings };

/** A call of a method of the server by a handler. */
export interface PoolCall {
  call: string;
  args: unknown[];
}

/** A call of a hook that the main isolate has of its own. */
export interface PoolQuestion {
  hook: "verifyRequest" | "handleError";
  clientAddress: TCPAddr;
  localAddr: Deno.Addr;
  error?: ErrorMessage;
  /** Whether the error is the client's. */
  ofClient?: boolean;
}

/** What a Worker says without being asked. */
export type PoolNews =
  /** It listens no more; its requests may go on. */
  | { type: "unlistened" }
  | { type: "log"; level: keyof ServerLogger; message: string }
  | { type: "acceptErrors"; counts: Record<string, number> }
  /** Its server has left its loop with an error. */
  | { type: "exit"; error: ErrorMessage };

/** What a Worker of a pool and the main isolate say to each other. */
export interface PoolTalk {
  init: PoolInit;
  command: PoolCommand;
  reply: Partial<DrainResult>;
  question: PoolQuestion | PoolCall;
  /** What the hook or the method gave. */
  answer: unknown;
  news: PoolNews;
}

/** The counters that are numbers, in the order in which they lie in memory. */
const COUNTERS = [
  "accepted",
  "active",
  "peak",
  "completed",
  "failed",
  "rejected",
  "aborted",
] as const;

/** The counters of a Worker that are numbers. */
export type Counts = Pick<ServerStats, (typeof COUNTERS)[number]>;

/** How often a snapshot is tried before one that is being written is taken as it is: its writer has died. */
const MAX_TRIES = 100_000;

/** Counters that one isolate writes and another reads at any time, without a message. */
export class SharedCounters {
  /** A number that is odd while the others are being written, then those. */
  readonly #cells: BigInt64Array<SharedArrayBuffer>;

  constructor(memory: SharedArrayBuffer) {
    this.#cells = new BigInt64Array(memory);
  }

  static allocate(): SharedArrayBuffer {
    return new SharedArrayBuffer((1 + COUNTERS.length) * BigInt64Array.BYTES_PER_ELEMENT);
  }

  write(counts: Counts): void {
    const cells = this.#cells;
    Atomics.add(cells, 0, 1n);
    COUNTERS.forEach((name, index) => Atomics.store(cells, 1 + index, BigInt(counts[name])));
    Atomics.add(cells, 0, 1n);
  }

  /** All of them as they were at one moment. */
  read(): Counts {
    const cells = this.#cells;
    for (let tries = 1;; tries++) {
      const version = Atomics.load(cells, 0);
      const values = COUNTERS.map((name, index) => [name, Number(Atomics.load(cells, 1 + index))]);
      const isWhole = version % 2n === 0n && Atomics.load(cells, 0) === version;
      if (isWhole || tries === MAX_TRIES) return Object.fromEntries(values);
    }
  }
}
