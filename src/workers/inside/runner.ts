/**
 * The handler side: loads a handler in a Worker or a subprocess and serves one request after the other with it.
 *
 * This folder is what runs in workers of both kinds, for which `thread/thread_main.ts` and `process/process_main.ts` start
 * the `Runner`; `server_stub.ts` and `load_handler.ts` serve the Workers of `pool/`, too. What is loaded in a subprocess
 * may use no package of the import map.
 *
 * The runner waits for INIT, answers READY or ERROR, and then for each START runs the handler and answers DONE, until the
 * channel is closed. Between two requests it drops what is still sent for the last one.
 *
 * @module
 */
import { deserialize } from "node:v8";
import { printable } from "../../base/address.ts";
import { DatagramSocket } from "../../sockets/datagram_socket.ts";
import { isOfClient } from "../../base/errors.ts";
import type { ServerLogger } from "../../base/log.ts";
import { delay } from "../../base/time.ts";
import type { AnyServer } from "../../core/base_server.ts";
import { runHandler } from "../../core/run_handler.ts";
import { internals, StreamSocket } from "../../sockets/stream_socket.ts";
import type { BlockingChannel } from "../../channel/channel.ts";
import { type HandlerClass, loadHandler } from "./load_handler.ts";
import { type Init, type Outcome, type Start, toErrorMessage } from "../../channel/messages.ts";
import { FrameReader } from "../../channel/frame_reader.ts";
import { FrameWriter } from "../../channel/frame_writer.ts";
import { FRAME, TO_WORKER } from "../../channel/frames.ts";
import { pack, unpack } from "../../channel/payload.ts";
import { RemoteDatagramConn } from "./remote_datagram_conn.ts";
import { RemoteTransport, type WorkerFrames } from "./remote_transport.ts";
import { RemoteCalls } from "./remote_calls.ts";
import { type ServerCall, ServerStub } from "./server_stub.ts";

/** How many turns of the event loop later at the most a rejection that nobody awaits is reported. */
const REPORT_TURNS = 3;
/** Of a worker: the main isolate says what there is to say. */
const SILENT: ServerLogger = { debug() {}, info() {}, warn() {}, error() {} };

/** What reaches the main isolate past all frames. */
export interface RunnerMain {
  /**
   * Tells the number of a request whose connection its handler has closed, and with it the key that came with INIT.
   */
  closed(number: number, key: string): void;
  /** Tells what a listener of a request's signal has thrown. */
  abortFault(error: unknown): void;
  /** Has the server call a method; left out where there is no other way than frames. */
  call?: ServerCall;
}

/** Runs the requests of a worker. */
export class Runner {
  readonly #frames: WorkerFrames;
  /** How many requests have begun. */
  #count = 0;
  /** Which of them was cut off last; it may not have begun yet. */
  #aborted = 0;
  #server: ServerStub | null = null;
  /** The last context that came as a frame, of which each request gets a copy. */
  #context: Uint8Array<ArrayBuffer> | null = null;
  /** The last one that was posted. */
  #posted: { version: number; context: unknown } = { version: 0, context: undefined };
  /** Told of the next one. */
  #onPosted: (() => void) | null = null;
  #key = "";
  readonly #main: RunnerMain;

  /**
   * Makes it for one end of a channel.
   *
   * @param channel The worker's end.
   * @param main Reaches the main isolate past all frames.
   */
  constructor(channel: BlockingChannel, main: RunnerMain) {
    const [reader, writer] = [new FrameReader(channel, TO_WORKER), new FrameWriter(channel)];
    const frames = { channel, reader, writer };
    this.#frames = { ...frames, tellClosed: () => main.closed(this.#count, this.#key) };
    this.#main = main;
  }

  /**
   * Aborts the signal of a request, which may be told before the request itself has come.
   *
   * @param number Which request is meant, counted from 1; when it is left out the one under way, or else the next.
   */
  abort(number: number = this.#server === null ? this.#count + 1 : this.#count): void {
    this.#aborted = number;
    if (number === this.#count) this.#server?.abort(this.#main.abortFault);
  }

  /** Takes the context of requests that come, where that was posted. */
  takeContext(version: number, context: unknown): void {
    this.#posted = { version, context };
    this.#onPosted?.();
  }

  /** Loads the handler and serves until the channel is closed. */
  async run(): Promise<void> {
    const { reader, writer } = this.#frames;
    if (await reader.next() !== FRAME.INIT) return;
    const { key = "", ...init } = unpack<Init>(await reader.payload()).value;
    this.#key = key;
    writer.useKey(key);
    let Handler: HandlerClass;
    try {
      Handler = await loadHandler(init);
    } catch (error) {
      await writer.write(FRAME.ERROR, pack(toErrorMessage(error)));
      return;
    }
    await writer.write(FRAME.READY);
    let hasNext = await this.#nextStart();
    while (hasNext) {
      const outcome = await this.#serve(Handler, await reader.payload());
      // In this order: else a read that the handler left behind could take the next request, which comes after DONE.
      const next = this.#nextStart();
      [hasNext] = await Promise.all([next, writer.write(FRAME.DONE, pack(outcome))]);
    }
  }

  /** Drops what is left of the last request. Resolves to false when the channel is closed. */
  async #nextStart(): Promise<boolean> {
    while (true) {
      try {
        // What interrupts now is meant for the last request or the next, which has to come all the same.
        const { reader } = this.#frames;
        const type = await reader.next(false);
        if (type === FRAME.CONTEXT) this.#context = await reader.payload();
        if (type === FRAME.START) return true;
        if (type === null) return false;
      } catch (error) {
        // Of a read that a handler left behind, and that this one joined.
        if (!(error instanceof Deno.errors.Interrupted)) throw error;
      }
    }
  }

  async #contextOf({ posted }: Start): Promise<unknown> {
    if (posted === undefined) {
      return this.#context === null ? undefined : deserialize(this.#context);
    }
    // It was posted before the request was sent, but goes another way.
    while (this.#posted.version < posted) {
      await new Promise<void>((resolve) => this.#onPosted = resolve);
    }
    return this.#posted.context;
  }

  async #serve(Handler: HandlerClass, payload: Uint8Array<ArrayBuffer>): Promise<Outcome> {
    this.#count++;
    const { value: start, parts: [packet] } = unpack<Start>(payload);
    const { clientAddress, serverAddress, connection } = start;
    const calls = new RemoteCalls(this.#frames.reader, this.#frames.writer);
    const remote = connection === null
      ? new RemoteDatagramConn(this.#frames, serverAddress, calls)
      : new RemoteTransport(this.#frames, connection, calls);
    const socket = remote instanceof RemoteTransport ? new StreamSocket(remote, SILENT) : null;
    const request = socket ?? [packet!, new DatagramSocket(remote as RemoteDatagramConn)];
    const outcome: Outcome = {};
    try {
      const server = this.#server = new ServerStub(
        serverAddress,
        connection === null ? "SOCK_DGRAM" : "SOCK_STREAM",
        await this.#contextOf(start),
        this.#main.call ?? ((name, args) => calls.call(name, args)),
      );
      if (this.#aborted === this.#count) server.abort(this.#main.abortFault);
      // What a handler may use of its server is there; the rest says why not.
      const handler = new Handler(
        request,
        printable(clientAddress),
        server as unknown as AnyServer,
      );
      await runHandler(handler);
    } catch (error) {
      outcome.error = toErrorMessage(error);
      outcome.ofClient = isOfClient(error, request, clientAddress);
    }
    await socket?.settled();
    const reads = socket !== null && internals.reads(socket).busy;
    await remote.release();
    if (socket !== null) {
      socket.close();
      let leftBehind = internals.leftBehind(socket);
      // A read that the handler left behind has failed now, which is reported some turns of the event loop later.
      for (let turns = reads ? REPORT_TURNS : 0; turns > 0 && leftBehind === null; turns--) {
        await delay(0);
        leftBehind = internals.leftBehind(socket);
      }
      if (leftBehind !== null) outcome.leftBehind = leftBehind;
    }
    this.#server?.end();
    this.#server = null;
    return outcome;
  }
}
