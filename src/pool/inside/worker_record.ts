/**
 * What a Worker that accepts clients writes down for the main isolate, which reads it at any time, without a message.
 *
 * @module
 */
import * as atomics from "../../channel/atomics.ts";
import type { TCPAddr } from "../../base/address.ts";
import type { ServerStats } from "../../core/server_stats.ts";

/** The counters that are numbers, in the order in which they lie in memory. */
export const COUNTERS = [
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

/** Counters of nothing. */
export function zeroCounts(): Counts {
  return { accepted: 0, active: 0, peak: 0, completed: 0, failed: 0, rejected: 0, aborted: 0 };
}

/** Counters that one isolate writes and another reads at any time. */
export class SharedCounters {
  /** A number that is odd while the others are being written, then those. */
  readonly #cells: BigInt64Array<SharedArrayBuffer>;

  readonly #load: typeof atomics.load;

  /**
   * @param memory Where they are.
   * @param load Loads a cell; for tests, which have others write meanwhile.
   */
  constructor(memory: SharedArrayBuffer, load = atomics.load) {
    this.#cells = new BigInt64Array(memory, 0, 1 + COUNTERS.length);
    this.#load = load;
  }

  static readonly size: number = (1 + COUNTERS.length) * BigInt64Array.BYTES_PER_ELEMENT;

  write(counts: Counts): void {
    const cells = this.#cells;
    atomics.add(cells, 0, 1n);
    COUNTERS.forEach((name, index) => atomics.store(cells, 1 + index, BigInt(counts[name])));
    atomics.add(cells, 0, 1n);
  }

  /** All of them as they were at one moment. */
  read(): Counts {
    const cells = this.#cells;
    const load = this.#load;
    for (let tries = 1;; tries++) {
      const version = load(cells, 0);
      const values = COUNTERS.map((name, index) => [name, Number(load(cells, 1 + index))]);
      const isWhole = version % 2n === 0n && load(cells, 0) === version;
      if (isWhole || tries === MAX_TRIES) return Object.fromEntries(values);
    }
  }
}

/** What a Worker that takes turns does: `TURN.PARKED` and `TURN.WAITING` are those of one that is idle. */
export const TURN = { STARTING: 0, PARKED: 1, WAITING: 2, BUSY: 3, LEAVING: 4 } as const;

/** One of {@linkcode TURN}. */
export type TurnState = (typeof TURN)[keyof typeof TURN];

/** The ends of a connection, as far as they can be told to others. */
export interface ConnectionEnds {
  clientAddress: TCPAddr;
  localAddr: TCPAddr;
}

const STATE = 0;
const LENGTH = 1;
/** Where the text begins, in bytes. */
const TEXT = SharedCounters.size + 2 * Int32Array.BYTES_PER_ELEMENT;
/** The most that the text of two addresses takes. */
const MAX_TEXT = 256;

/** The record of one Worker: its counters, and where it takes turns, what it does and for whom. */
export class WorkerRecord {
  readonly memory: SharedArrayBuffer;
  readonly counters: SharedCounters;
  readonly #cells: Int32Array<SharedArrayBuffer>;
  readonly #text: Uint8Array<SharedArrayBuffer>;

  constructor(memory: SharedArrayBuffer = new SharedArrayBuffer(TEXT + MAX_TEXT)) {
    this.memory = memory;
    this.counters = new SharedCounters(memory);
    this.#cells = new Int32Array(memory, SharedCounters.size, 2);
    this.#text = new Uint8Array(memory, TEXT);
  }

  get state(): TurnState {
    return atomics.load(this.#cells, STATE) as TurnState;
  }

  set state(state: TurnState) {
    atomics.store(this.#cells, STATE, state);
  }

  /** Notes whose request comes next: a Worker that dies or hangs cannot say it any more. */
  noteEnds(client: TCPAddr, local: TCPAddr): void {
    const ends = `${client.hostname} ${client.port} ${local.hostname} ${local.port}`;
    const length = Math.min(ends.length, MAX_TEXT);
    for (let index = 0; index < length; index++) this.#text[index] = ends.charCodeAt(index);
    this.#cells[LENGTH] = length;
  }

  /** Whose request was noted last. */
  ends(): ConnectionEnds {
    const text = String.fromCharCode(...this.#text.subarray(0, this.#cells[LENGTH]));
    const [host = "", port, localHost = "", localPort] = text.split(" ");
    const address = (hostname: string, port: string | undefined): TCPAddr => ({
      ...{ transport: "tcp", hostname, port: Number(port) },
    });
    return { clientAddress: address(host, port), localAddr: address(localHost, localPort) };
  }
}
