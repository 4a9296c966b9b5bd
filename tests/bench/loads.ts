/**
 * The loads of the benchmark.
 *
 * @module
 */

/** What a server does with what it is sent. */
export type Service = "echo" | "lines" | "compute" | "udp";

/** One row of the benchmark. */
export interface Load {
  /** What `--load` calls it. */
  name: string;
  title: string;
  /** What makes it differ from others of that title. */
  detail: string;
  service: Service;
  /** What the load generator does, in `load/load.c`; "start" and "idle" are measured by the benchmark itself. */
  kind: "echo" | "visit" | "udp" | "transfer" | "start" | "idle";
  /** How many sockets are at work at a time. */
  sockets: number;
  /** The length of a message, in bytes. */
  size: number;
  unit: "answers/s" | "MB/s" | "ms" | "KiB";
  /** Whether it belongs to `--quick`. */
  quick?: boolean;
  /** How many times as long as a round the warm-up takes, where each Worker compiles what it runs. */
  warmUp?: number;
}

type Common = Pick<Load, "title" | "service" | "kind" | "size" | "unit">;
const ECHO: Common = {
  title: "64-byte round trips",
  service: "echo",
  kind: "echo",
  size: 64,
  unit: "answers/s",
};
const LINES: Common = { ...ECHO, title: "Lines of 64 bytes", service: "lines" };
const VISIT: Common = { ...ECHO, title: "Connect, line, close", kind: "visit" };
const UDP: Common = { ...ECHO, title: "UDP, 64 bytes", service: "udp", kind: "udp" };
const COMPUTE: Common = { ...ECHO, title: "20 ms of computing", service: "compute" };
const BULK: Common = { ...ECHO, title: "64 KiB there and back", size: 65536 };
const TRANSFER: Common = {
  ...ECHO,
  title: "1 GiB there and back",
  kind: "transfer",
  size: 2 ** 30,
  unit: "MB/s",
};
const START: Common = { ...ECHO, title: "Start to first answer", kind: "start", unit: "ms" };
const IDLE: Common = {
  ...ECHO,
  title: "5,000 idle connections",
  service: "lines",
  kind: "idle",
  unit: "KiB",
};

/** The loads, in the order of the report: four are a strip of the picture. */
export const LOADS: readonly Load[] = [
  { name: "echo-1", ...ECHO, detail: "1 connection", sockets: 1, quick: true },
  { name: "echo-8", ...ECHO, detail: "8 connections", sockets: 8 },
  { name: "echo-32", ...ECHO, detail: "32 connections", sockets: 32, quick: true },
  { name: "echo-256", ...ECHO, detail: "256 connections", sockets: 256 },

  { name: "lines-1", ...LINES, detail: "1 connection", sockets: 1 },
  { name: "lines-32", ...LINES, detail: "32 connections", sockets: 32, quick: true },
  { name: "bulk-8", ...BULK, detail: "8 connections", sockets: 8, quick: true },
  { name: "transfer", ...TRANSFER, detail: "1 connection", sockets: 1 },

  { name: "visit-1", ...VISIT, detail: "1 at a time", sockets: 1, warmUp: 2 },
  { name: "visit-4", ...VISIT, detail: "4 at a time", sockets: 4, quick: true, warmUp: 4 },
  { name: "visit-32", ...VISIT, detail: "32 at a time", sockets: 32, warmUp: 8 },
  { name: "compute", ...COMPUTE, detail: "4 connections", sockets: 4, quick: true },

  { name: "udp-1", ...UDP, detail: "1 socket", sockets: 1 },
  { name: "udp-32", ...UDP, detail: "32 sockets", sockets: 32, quick: true },
  { name: "start", ...START, detail: "a fresh server", sockets: 1, quick: true },
  { name: "idle", ...IDLE, detail: "memory of each", sockets: 5000 },
];

/** Whether less is better. */
export function isCost(load: Pick<Load, "unit">): boolean {
  return load.unit === "ms" || load.unit === "KiB";
}
