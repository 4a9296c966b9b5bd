/**
 * A subprocess that runs a handler.
 *
 * This folder is what only subprocesses need: this is the main side of one, and the others but `process_contract.ts` and
 * `pipe.ts` are what it runs: `process_setup.ts`, the handler's module, and `process_main.ts`, which uses `inside/`. Bytes
 * go by `pipe.ts` here and `stdio.ts` there.
 *
 * @module
 */
import { errorCode, WorkerDiedError } from "../../base/errors.ts";
import { Backoff, delay, settlesWithin } from "../../base/time.ts";
import {
  ABORT_SIGNAL,
  allowsNet,
  CHILD_MARK,
  childFlags,
  closedMark,
  keptPaths,
} from "./process_contract.ts";
import type { ShortageListener } from "../descriptor_gate.ts";
import type { Init } from "../../channel/messages.ts";
import { PipeChannel } from "./pipe.ts";
import { FRAME, newKey } from "../../channel/frames.ts";
import { HandlerWorker, type WorkerEnd } from "../worker.ts";

/** Never called: puts what a child runs into the module graph, for `deno cache`. */
export const entryModules = (): Promise<unknown>[] => [import("./process_main.ts")];

/** How long a child has to load its handler, in milliseconds; then it gets SIGKILL. */
const START_TIMEOUT = 30_000;
/** The longest pause before another try to start a child that the system had no room for, in milliseconds. */
const MAX_PAUSE = 100;
/** The system's codes for that: what is missing comes back when others end. */
const NO_ROOM = new Set(["EMFILE", "ENFILE", "EAGAIN", "ENOMEM"]);
/**
 * How long what a child that has ended wrote may still come, in milliseconds: others may have its output open, and of
 * a child that is idle nobody reads.
 */
const OUTPUT_GRACE = 100;
/** How long a child has to end after SIGTERM, in milliseconds; then it gets SIGKILL. */
const TERM_GRACE = 500;
/** How much of what a child printed while it started is kept, for the error or the log, in characters. */
const MAX_START_OUTPUT = 16 * 1024;
/** The longest line of a child that is logged whole, in characters. */
const MAX_LOG_LINE = 8192;
/** No mark of a closed connection is longer, in characters. */
const MAX_MARK = 64;

/** How to start a subprocess. */
export interface ChildOptions {
  /** The flags of Deno, such as permissions. */
  flags: readonly string[];
  /** How large its heap may become, in MiB; null for as large as V8 lets it. */
  memoryLimit?: number | null;
  /** The environment. */
  env: Readonly<Record<string, string>>;
  /** Whether that is all of it, as when left out, and nothing is inherited. */
  clearEnv?: boolean;
  /** Gets each line that the child prints. */
  onLine: (line: string) => void;
  /** Told when the start has to wait for the system to have room for it. */
  shortage?: ShortageListener;
  /** How long the start may take, in milliseconds. */
  startTimeout?: number;
  /** Aborted when no child is wanted any more. */
  signal?: AbortSignal;
}

/** Those that run. */
const running = new Set<ProcessWorker>();

/** Ends all, as the program ends, by `Deno.exit()` for one: a child whose handler never awaits would not notice that. */
function killAll(): void {
  for (const worker of running) worker.killNow();
}

/** A subprocess that runs a handler. */
export class ProcessWorker extends HandlerWorker {
  readonly name: string;
  readonly ended: Promise<WorkerEnd>;
  /** The process id. */
  readonly pid: number;
  /** The signal that tells of an abort may arrive late, when the child serves the next request. */
  readonly reusableAfterAbort = false;
  /** The system sees to that. */
  readonly canKill = true;
  readonly #child: Deno.ChildProcess;
  readonly #onLine: (line: string) => void;
  readonly #flags: readonly string[];
  readonly #channel: PipeChannel;
  #alive = true;
  #dying: ReturnType<typeof setTimeout> | undefined;
  /** What was printed before the handler was there; null from then on. */
  #startOutput: string | null = "";
  readonly #output: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>>;
  readonly #outputEnded: Promise<void>;

  /**
   * Starts a subprocess and loads the handler in it.
   *
   * @throws {HandlerLoadError} When that fails, takes too long, or is not wanted any more.
   * @throws {Deno.errors.NotCapable} When Deno may not run itself.
   */
  static async start(init: Init, options: ChildOptions): Promise<ProcessWorker> {
    const { startTimeout = START_TIMEOUT, signal } = options;
    const child = await spawn(init, options, performance.now() + startTimeout);
    const worker = new ProcessWorker(child, options.onLine, options.flags);
    await worker.initWithin(startTimeout, init, signal);
    worker.unref();
    return worker;
  }

  /** Takes over a process; {@linkcode ProcessWorker.start} makes one. */
  constructor(
    child: Deno.ChildProcess,
    onLine: (line: string) => void,
    flags: readonly string[] = [],
  ) {
    const [channel, key] = [new PipeChannel(child), newKey()];
    super(channel, key);
    this.name = `child ${child.pid}`;
    this.pid = child.pid;
    this.#child = child;
    this.#onLine = onLine;
    this.#flags = flags;
    this.#channel = channel;
    this.#output = child.stderr.getReader();
    this.#outputEnded = this.#readOutput(closedMark(key));
    this.ended = this.#watch(child);
    running.add(this);
    if (running.size === 1) globalThis.addEventListener("unload", killAll);
  }

  override async init(init: Init): Promise<void> {
    await super.init(init);
    const printed = this.#startOutput?.split("\n").slice(0, -1) ?? [];
    this.#startOutput = null;
    for (const line of printed) this.#onLine(line);
  }

  /** Makes the child keep the program alive, as it does while it starts, serves, and ends. */
  override ref(): void {
    this.#tell((child) => child.ref());
  }

  /** Makes the child not keep the program alive. */
  unref(): void {
    this.#tell((child) => child.unref());
  }

  override maySendTo(address: Deno.Addr): boolean {
    return allowsNet(this.#flags, address);
  }

  abort(): void {
    this.#signal(ABORT_SIGNAL);
    // A handler that blocks in a read hears no signal. The worker may have ended.
    this.writer.write(FRAME.CLOSE).catch(() => {});
  }

  /** It serves no more after an abort. */
  clearAbort(): void {}

  close(): void {
    this.ref();
    this.#channel.close(); // which it reads as the end
  }

  kill(): void {
    if (this.#dying !== undefined) return;
    this.ref();
    this.#signal("SIGTERM");
    this.#dying = setTimeout(() => this.#signal("SIGKILL"), TERM_GRACE);
    if (!this.#alive) clearTimeout(this.#dying);
  }

  async #watch(child: Deno.ChildProcess): Promise<WorkerEnd> {
    const { code, signal } = await child.status;
    this.#alive = false;
    running.delete(this);
    clearTimeout(this.#dying);
    // Its last words may still be in the pipes.
    const over = Promise.all([this.#channel.over, this.#outputEnded]);
    const isInTime = await settlesWithin(over, OUTPUT_GRACE);
    this.#channel.close();
    if (!isInTime) await Promise.all([this.#output.cancel(), over]);
    return { code: signal === null ? code : null, signal };
  }

  #signal(signal: Deno.Signal): void {
    if (this.#alive) this.#tell((child) => child.kill(signal));
  }

  /** Calls a method of the process, each of which throws when it has ended and its status is on the way. */
  #tell(call: (child: Deno.ChildProcess) => void): void {
    try {
      call(this.#child);
    } catch {
      // There is nothing left to tell.
    }
  }

  /**
   * Reads all that the child prints, so that it never waits for us, and passes it on line by line; but for what it
   * says of closed connections, wherever that stands in a line.
   */
  async #readOutput(mark: string): Promise<void> {
    const decoder = new TextDecoder();
    let rest = "";
    const say = (line: string) => {
      if (this.#startOutput === null) return this.#onLine(line);
      this.#startOutput = `${this.#startOutput}${line}\n`.slice(0, MAX_START_OUTPUT);
    };
    while (true) {
      const { value, done } = await this.#output.read();
      rest = this.#takeMarks(rest + decoder.decode(value, { stream: !done }), mark);
      const lines = rest.split("\n");
      rest = lines.pop()!;
      for (const line of lines) say(line);
      // A mark may have come by half.
      const begun = rest.indexOf(mark[0]!, Math.max(rest.length - MAX_MARK, 0));
      const cut = done || begun < 0 ? rest.length : begun;
      if (cut > 0 && (done || rest.length > MAX_LOG_LINE)) {
        say(rest.slice(0, cut));
        rest = rest.slice(cut);
      }
      if (done) return;
    }
  }

  /** Takes the marks of closed connections out of what was printed, and gives what remains. */
  #takeMarks(printed: string, mark: string): string {
    for (let at = printed.indexOf(mark); at >= 0; at = printed.indexOf(mark, at)) {
      const end = printed.indexOf("\n", at);
      if (end < 0) break; // the rest of it is on its way
      this.closed(Number(printed.slice(at + mark.length, end)));
      printed = printed.slice(0, at) + printed.slice(end + 1);
    }
    return printed;
  }

  /** All that is known may be what Deno printed. */
  protected override async whyNotUp(error: unknown): Promise<string | null> {
    await this.ended; // it has been killed
    if (!(error instanceof WorkerDiedError)) return null;
    const output = this.#startOutput?.trim() ?? "";
    return output === "" ? error.message : output.replace(/^error: /, "");
  }

  override killNow(): void {
    this.#signal("SIGKILL");
  }
}

/** Starts a process of Deno; while the system has no room for it, tries again until `deadline`. */
async function spawn(
  init: Init,
  options: ChildOptions,
  deadline: number,
): Promise<Deno.ChildProcess> {
  const preload = (name: string) => ["--preload", new URL(name, import.meta.url).href];
  const command = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "--quiet", "--no-prompt"],
      ...childFlags(options.flags, options.memoryLimit ?? null),
      // Loaded before, the module needs no permission to be imported.
      ...preload("./process_setup.ts"),
      ...["--preload", init.moduleUrl],
      ...preload("./process_main.ts"),
      ...[init.moduleUrl, CHILD_MARK, ...keptPaths(options.flags)],
    ],
    env: { NO_COLOR: "1", ...options.env }, // what it prints is for a log
    clearEnv: options.clearEnv ?? true,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  });
  const backoff = new Backoff(5, MAX_PAUSE);
  let isShort = false;
  try {
    while (true) {
      options.signal?.throwIfAborted();
      try {
        return command.spawn();
      } catch (error) {
        if (error instanceof Deno.errors.NotCapable) throw notCapable(error);
        const isLate = performance.now() + MAX_PAUSE > deadline;
        if (!NO_ROOM.has(errorCode(error)) || isLate) throw error;
      }
      if (!isShort) options.shortage?.waits();
      isShort = true;
      await delay(backoff.next());
    }
  } finally {
    if (isShort) options.shortage?.ended();
  }
}

function notCapable(cause: Error): Error {
  const deno = Deno.execPath();
  const message = `Cannot start child: needs run access to "${deno}"; ` +
    `run the server with --allow-run=${deno}`;
  return new Deno.errors.NotCapable(message, { cause });
}
