/**
 * What the main isolate and the Workers of a pool say to each other.
 *
 * @module
 */
import type { TCPAddr } from "../base/address.ts";
import type { ServerLogger } from "../base/log.ts";
import type { DrainResult } from "../base/options.ts";
import type { ErrorMessage, Init } from "../channel/messages.ts";
import type { TLSIdentity } from "../families/node_tls_conn.ts";
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
  record: SharedArrayBuffer;
  /** Where the Workers of a threading server take turns; null for those of a pool. */
  turns: SharedArrayBuffer | null;
  /** What handlers find as `server.serverAddress`. */
  serverAddress: TCPAddr;
}

/** What may change at any time. */
export interface PoolLimits {
  maxConnections: number;
  requestTimeout: number | null;
  /** What a Worker of a threading server has to itself. */
  thread: {
    /** Which run of the server this is for. */
    run: number;
    maxRequests: number;
    idleTimeout: number | null;
  } | null;
}

/** What may change from one `serveForever()` to the next. */
export interface PoolSettings extends PoolLimits {
  /** What handlers find as `server.context`. */
  context: unknown;
  /** Which hooks the main isolate has of its own. */
  asks: { verifyRequest: boolean };
}

/** What a Worker is to do. */
export type PoolCommand =
  /** Load the handler and listen. */
  | { name: "listen" }
  | { name: "serve"; settings: PoolSettings }
  | { name: "limit"; limits: PoolLimits }
  | { name: "stop" }
  /** Answer: the Worker awaits, and does not compute. */
  | { name: "ping" }
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
  /** Whether the connection has been closed. */
  closed?: boolean;
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
