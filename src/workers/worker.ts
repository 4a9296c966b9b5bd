/**
 * A worker, seen from the main isolate: a Web Worker or a subprocess that runs a handler.
 *
 * This folder runs handlers away from the main isolate. The servers of `servers/` call it; it uses `core/`, `channel/`,
 * `sockets/` and `base/`. A request takes this way through it:
 *
 * 1. `relay/executor.ts` describes it and leases a worker from `worker_pool.ts`, which `supervisor.ts` keeps filled.
 * 2. The worker is a Web Worker, of `thread/`, or a subprocess, of `process/`. It has loaded the handler before.
 * 3. `relay/relay.ts` sends it the request, passes the client's bytes on both ways, and collects what came of it.
 * 4. `inside/` is what runs in the worker: it makes the handler with sockets that are made of frames.
 *
 * Where there are few file descriptors, `thread/start_gate.ts` holds back Workers, and `descriptor_gate.ts` clients.
 *
 * @module
 */
import { HandlerLoadError, WorkerDiedError, type WorkerStatus } from "../base/errors.ts";
import type { Channel } from "../channel/channel.ts";
import { type ErrorMessage, fromErrorMessage, type Init } from "../channel/messages.ts";
import { FrameReader } from "../channel/frame_reader.ts";
import { FrameWriter } from "../channel/frame_writer.ts";
import { FRAME, FROM_WORKER, MAX_DATA } from "../channel/frames.ts";
import { pack, unpack } from "../channel/payload.ts";
import { endedError } from "../core/server_call.ts";

/** What `requestContext()` of a server gave, as it was at one moment. */
export interface Context {
  /** Tells it from those before; 0 for `undefined`. */
  readonly version: number;
  /** What `deserialize()` of `node:v8` reads; empty where only `value` can be sent. */
  readonly packed: Uint8Array<ArrayBuffer>;
  /** A clone, to be posted; `undefined` for what goes by `packed`. */
  readonly value: unknown;
}

/** Why a handler is not there whose start the close of its server has ended. */
export const CLOSED_BEFORE = "no end of that before the server closed";

/** How a worker ended, and with which error, if that is known. */
export interface WorkerEnd extends WorkerStatus {
  error?: unknown;
}

/** What the main isolate does with a worker. */
export abstract class HandlerWorker {
  /** What messages call it, as in "child 123". */
  abstract readonly name: string;
  /** Resolves when the worker is no more, however that came; never rejects. */
  abstract readonly ended: Promise<WorkerEnd>;
  /** Whether it may serve another request after one that was cut off. */
  abstract readonly reusableAfterAbort: boolean;
  /** Whether `kill()` is known to end it, after an abort. */
  abstract readonly canKill: boolean;
  readonly reader: FrameReader;
  readonly writer: FrameWriter;
  /** For what comes from the worker; one request at a time uses it. */
  readonly buffer: Uint8Array<ArrayBuffer> = new Uint8Array(MAX_DATA);
  /** How many requests it has been given. */
  count = 0;
  /** Called when the handler of the request under way has closed the connection. */
  onClosed: (() => void) | null = null;
  /** Called when that handler calls a method of its server. */
  onCall: ((name: string, args: unknown[]) => Promise<unknown>) | null = null;

  /** How many bytes that were written to it are known not to have been read. */
  get unread(): number {
    return 0;
  }

  /** Which context it has. */
  #contextVersion = 0;
  readonly #key: string;

  /**
   * @param channel The main end.
   * @param key What the worker is to begin each frame with, where others may write to the channel.
   */
  constructor(channel: Channel, key = "") {
    this.#key = key;
    this.reader = new FrameReader(channel, FROM_WORKER, key);
    this.writer = new FrameWriter(channel);
  }

  /** Whether its handlers may have datagrams sent to others than their clients. */
  maySendTo(_address: Deno.Addr): boolean {
    return true;
  }

  /** Tells the handler of the request under way that the client is cut off; its reads and writes fail from now on. */
  abstract abort(): void;

  /** Takes back the last `abort()`, once its request has ended. */
  abstract clearAbort(): void;

  /** Notes that the handler of the request of that number has closed the connection. */
  protected closed(number: number): void {
    if (number === this.count) this.onClosed?.();
  }

  /** Sends the context of the requests that come, unless the worker has it. */
  async sendContext(context: Context): Promise<void> {
    const { version, packed, value } = context;
    if (version === this.#contextVersion) return;
    this.#contextVersion = version;
    if (value === undefined) await this.writer.write(FRAME.CONTEXT, packed);
    else this.postContext(version, value);
  }

  /** Sends what only a message can carry, to a worker that gets such. */
  protected postContext(_version: number, _value: unknown): void {}

  /** Calls a method of the server for the handler of the request under way. */
  protected async called(name: string, args: unknown[]): Promise<unknown> {
    if (this.onCall === null) throw endedError();
    return await this.onCall(name, args);
  }

  /** Whether nothing of it runs any more; of one that can be killed, its `ended` says so. */
  async hasExited(): Promise<boolean> {
    await this.ended;
    return true;
  }

  /** Makes the worker keep the program alive, where it did not so far. */
  ref(): void {}

  /** Lets the worker end by itself when it is idle. */
  abstract close(): void;

  /** Ends the worker at once. Safe to call again. */
  abstract kill(): void;

  /**
   * Loads the handler, in a time that is limited: its module may await for ever.
   *
   * @param limit How long that may take, in milliseconds.
   * @param signal Aborted when the worker is not wanted any more.
   * @throws {HandlerLoadError} When that fails, takes too long, or is not wanted any more.
   * @throws {WorkerDiedError} When the worker ends meanwhile, and no more is known.
   */
  async initWithin(limit: number, init: Init, signal?: AbortSignal): Promise<void> {
    let late: string | null = null;
    const kill = (why: string) => {
      late = why;
      this.killNow();
    };
    const timer = setTimeout(kill, limit, `no end of that within ${limit} ms`);
    const abort = () => kill(CLOSED_BEFORE);
    signal?.addEventListener("abort", abort);
    try {
      await this.init(init);
    } catch (cause) {
      const reason = await this.whyNotUp(cause);
      if (late === null && reason === null) throw cause;
      const { moduleUrl, className } = init;
      throw new HandlerLoadError(moduleUrl, className, late ?? reason!, { cause });
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    }
  }

  /** What is known of why the handler is not there, beside the error; null for nothing. */
  protected whyNotUp(_error: unknown): string | null | Promise<string | null> {
    return null;
  }

  /** Ends the worker at once, and gives it no time to unwind. */
  killNow(): void {
    this.kill();
  }

  /**
   * Loads the handler.
   *
   * @throws {HandlerLoadError} When that fails in the worker.
   * @throws {WorkerDiedError} When the worker ends meanwhile.
   */
  async init(init: Init): Promise<void> {
    let failure: ErrorMessage;
    try {
      await this.writer.write(FRAME.INIT, pack({ ...init, key: this.#key } satisfies Init));
      const type = await this.reader.next();
      if (type === FRAME.READY) return;
      if (type !== FRAME.ERROR) {
        throw new Deno.errors.UnexpectedEof("the worker has closed its end");
      }
      failure = unpack<ErrorMessage>(await this.reader.payload()).value;
    } catch (error) {
      this.kill();
      throw await this.diedError(error);
    }
    this.kill();
    throw fromErrorMessage(failure);
  }

  /**
   * The error for a request that the worker did not live to finish.
   *
   * @param cause What went wrong with the channel, for a worker of which no more is known.
   */
  async diedError(cause?: unknown): Promise<WorkerDiedError> {
    const { error = cause, ...status } = await this.ended;
    // It was killed for that, which is no more than the consequence.
    const broken = status.signal !== null && error instanceof Deno.errors.InvalidData;
    const what = broken ? `${this.name} broke the protocol (${error.message}) and was` : this.name;
    return new WorkerDiedError(what, status, error === undefined ? {} : { cause: error });
  }
}
