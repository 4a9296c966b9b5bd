/**
 * The main side of a request that runs in a worker: relays the client's socket and collects the result.
 *
 * A relay is for one request, which goes through these stages:
 *
 * - running: the request has been sent. Bytes of the client go to the worker (`#relayIn`) and the worker's go to the
 *   client (`#relayOut`), each independent of the other.
 * - aborted: the server has cut the request off, or the client can no longer be reached. The worker is told, and has
 *   100 ms to end the request where the server wants that; then it is killed.
 * - over: the worker has said what came of the request (`DONE`). It may serve another.
 * - died: the worker has ended, or broke the protocol and was killed. Where it had not read the request and nothing of
 *   the client was sent to it, the request is untaken: another worker may run it.
 *
 * What has a mechanism of its own stands beside: calls of the server (`relay_calls.ts`) and the datagrams that a handler
 * sends (`relay_replies.ts`). `executor.ts` is the entrance to the folder.
 *
 * @module
 */
import type { DatagramSocket } from "../../sockets/datagram_socket.ts";
import { isInstance, isPeerGone, noteSource, propertyOf } from "../../base/errors.ts";
import { ABORT_GRACE } from "../../core/loop/request_pipeline.ts";
import { internals, type StreamSocket } from "../../sockets/stream_socket.ts";
import {
  fromErrorMessage,
  type Outcome,
  type SocketOption,
  type Start,
  type Wait,
} from "../../channel/messages.ts";
import { FRAME, type FrameType, HEADER_BYTES, MAX_DATA } from "../../channel/frames.ts";
import { pack, unpack } from "../../channel/payload.ts";
import { RelayCalls } from "./relay_calls.ts";
import { RelayReplies } from "./relay_replies.ts";
import type { Context, HandlerWorker } from "../worker.ts";

/** How long a worker may go on sending after it has been told that its client is gone, in milliseconds. */
const SEND_GRACE = 1000;
/** How long a client may take to receive what was sent before its handler closed the connection, in milliseconds. */
const LINGER = 1000;
/** How many buffers are kept for later requests. */
const MAX_SPARE_BUFFERS = 64;

const EMPTY = new Uint8Array(0);
const spareBuffers: Uint8Array<ArrayBuffer>[] = [];

/** A request for a worker. */
export interface RemoteRequest {
  start: Start;
  /** The context of the server. */
  context: Context;
  /** Calls a method of the server for the handler. */
  call: (name: string, args: unknown[]) => Promise<unknown>;
  /** Aborted when the server cuts the request off. */
  signal: AbortSignal;
  /** The client's connection, or else the datagram and the socket to answer with. */
  client: StreamSocket | { packet: Uint8Array; socket: DatagramSocket };
  /** A read of the connection that was begun before; what it has read has gone back, and only it may know a reset. */
  look?: Promise<void>;
}

/** Runs requests in workers. */
export class Relay {
  readonly #worker: HandlerWorker;
  readonly #request: RemoteRequest;
  /** The connection; null for a datagram. */
  readonly #client: StreamSocket | null;
  #over = false;
  /** Whether the worker has ended before the request. */
  #died = false;
  #untaken = false;
  /** Why the client can be reached no more; in a box because an error may be any value. */
  #writeFault: { error: unknown } | null = null;
  #readFault: { error: unknown } | null = null;
  /** Whether the client has ended its stream. */
  #sawEnd = false;
  /** How many frames of DATA, END and CUT have been sent. */
  #sent = 0;
  #expiry: ReturnType<typeof setTimeout> | undefined;
  #grace: ReturnType<typeof setTimeout> | undefined;
  /** Closes the connection after the handler has; runs from then on. */
  #linger: ReturnType<typeof setTimeout> | undefined;
  #aborted = false;
  /** When the worker was told so, by the clock of `performance.now()`. */
  #abortedAt = Infinity;
  #killed = false;
  readonly #calls: RelayCalls;
  /** For a datagram. */
  readonly #replies: RelayReplies;

  constructor(worker: HandlerWorker, request: RemoteRequest) {
    this.#worker = worker;
    this.#request = request;
    this.#client = "packet" in request.client ? null : request.client;
    this.#calls = new RelayCalls(worker.writer, request.call);
    const socket = "packet" in request.client ? request.client.socket : null;
    this.#replies = new RelayReplies(worker, socket, request.start.clientAddress);
  }

  /** Whether the worker may serve another request, which is known when `run()` has settled. */
  get reusable(): boolean {
    return this.#over && !this.#killed && (!this.#aborted || this.#worker.reusableAfterAbort);
  }

  /**
   * Whether the worker had ended before it took the request, so that another may run it; known when `run()` has
   * rejected.
   */
  get untaken(): boolean {
    return this.#untaken;
  }

  /** Whether the worker went on after it was cut off, and may do so for ever although it was killed. */
  get poisoned(): boolean {
    return this.#killed && !this.#worker.canKill;
  }

  /**
   * Runs the handler.
   *
   * @throws {WorkerDiedError} When the worker ended before.
   * @throws {unknown} What the handler threw, as far as it can be sent.
   */
  async run(): Promise<void> {
    const { start, context, signal, client } = this.#request;
    const worker = this.#worker;
    const { writer } = worker;
    const cutOff = () => {
      this.#abort();
      this.#grace = setTimeout(() => {
        this.#killed = true;
        worker.kill();
        this.#replies.giveUp();
      }, ABORT_GRACE);
    };
    if (signal.aborted) {
      this.#over = true;
      return;
    }
    signal.addEventListener("abort", cutOff, { once: true });
    try {
      worker.count++;
      worker.onClosed = () => this.#closeSoon();
      worker.onCall = this.#request.call;
      const packet = "packet" in client ? client.packet : EMPTY;
      const outcome = await this.#converse(context, pack(start, packet));
      this.#over = true;
      this.#conclude(outcome);
    } finally {
      clearTimeout(this.#expiry);
      clearTimeout(this.#linger);
      worker.onClosed = null;
      worker.onCall = null;
      this.#calls.end();
      await writer.settled(); // a frame must be whole before the next request's; the worker may take none any more
      signal.removeEventListener("abort", cutOff);
      clearTimeout(this.#grace);
      if (this.#aborted && !this.#died) worker.clearAbort();
      this.#over = true;
    }
  }

  /** Sends the request and serves the worker until it has ended that. */
  async #converse(context: Context, start: Uint8Array): Promise<Outcome> {
    const worker = this.#worker;
    let isWritten = false;
    try {
      await worker.sendContext(context);
      await worker.writer.write(FRAME.START, start);
      isWritten = true;
      if (this.#client !== null) void this.#relayIn(this.#client);
      return await this.#relayOut();
    } catch (cause) {
      this.#died = true;
      this.#untaken = this.#sent === 0 && !this.#aborted &&
        (!isWritten || worker.unread >= HEADER_BYTES + start.length);
      // Whatever went wrong with the channel, the worker is of no use any more.
      worker.kill();
      const died = await worker.diedError(cause);
      throw cause === this.#writeFault?.error ? cause : died;
    }
  }

  /** From the client to the worker. */
  async #relayIn(client: StreamSocket): Promise<void> {
    const { writer } = this.#worker;
    const reads = internals.reads(client);
    const frame = spareBuffers.pop() ?? new Uint8Array(HEADER_BYTES + MAX_DATA);
    const data = frame.subarray(HEADER_BYTES);
    /** How much of the frame the channel has; it may keep that for as long as the worker lives when a write fails. */
    let writing = 0;
    try {
      if (this.#request.look !== undefined) await this.#request.look;
      while (!this.#over) {
        const count = await reads.readAhead(data);
        if (this.#calls.holdsBack) await this.#calls.turn();
        if (this.#over || this.#died) {
          if (count !== null) reads.unread(data.slice(0, count)); // for who serves this client next
          break;
        }
        this.#sent++;
        clearTimeout(this.#expiry);
        if (count === null) {
          this.#sawEnd = true;
          await writer.write(FRAME.END);
          break;
        }
        writing = count;
        await writer.writeInPlace(frame, count);
        writing = 0;
      }
    } catch (error) {
      if (writing > 0) reads.unread(data.slice(0, writing));
      if (!this.#over) {
        this.#readFault = { error: noteSource(error, client) };
        if (isInstance(error, Deno.errors.UnexpectedEof)) await this.#cut();
        else this.#abort();
      }
    }
    if (writing === 0 && spareBuffers.length < MAX_SPARE_BUFFERS) spareBuffers.push(frame);
  }

  /** The client has ended its stream of TLS without saying so: it may still wait for what it is sent, as one on TCP. */
  async #cut(): Promise<void> {
    this.#sawEnd = true;
    this.#sent++;
    clearTimeout(this.#expiry);
    await this.#worker.writer.write(FRAME.CUT).catch(() => {}); // the worker has ended
  }

  /** From the worker, to the end of the request. */
  async #relayOut(): Promise<Outcome> {
    const { reader } = this.#worker;
    while (true) {
      const type = reader.nextNow() ?? await reader.next();
      if (type === null) throw new Deno.errors.UnexpectedEof("the worker has closed its end");
      if (type === FRAME.DATA) await this.#sendData();
      else if (type === FRAME.DONE) return unpack<Outcome>(await reader.payload()).value;
      else await this.#handle(type);
    }
  }

  async #sendData(): Promise<void> {
    const { reader, buffer } = this.#worker;
    while (reader.left > 0) {
      const count = reader.readNow(buffer) || await reader.read(buffer);
      if (count === null) throw new Deno.errors.UnexpectedEof("the worker has closed its end");
      if (this.#writeFault !== null) {
        // A handler that awaits has heard of it by then; one that only blocks, in a process, never will.
        if (performance.now() - this.#abortedAt > SEND_GRACE) throw this.#writeFault.error;
        continue; // the worker must not wait for a client that has gone
      }
      try {
        await this.#client?.sendAll(buffer.subarray(0, count));
      } catch (error) {
        this.#writeFault = { error };
        if (this.#linger === undefined) this.#abort();
      }
    }
  }

  /** Does what only the owner of the socket can do. */
  async #handle(type: FrameType): Promise<void> {
    const payload = await this.#worker.reader.payload();
    const client = this.#client;
    if (type === FRAME.WAIT) return this.#startExpiry(unpack<Wait>(payload).value);
    if (type === FRAME.SEND_TO) return await this.#replies.send(payload);
    if (type === FRAME.CALL) return this.#calls.begin(payload);
    if (type === FRAME.MORE) return this.#calls.want();
    const option = type === FRAME.SET_OPTION ? unpack<SocketOption>(payload).value : {};
    try {
      if (type === FRAME.END) await client?.closeWrite();
      else if (type === FRAME.CLOSE) client?.close();
      else this.#setOption(option);
    } catch (error) {
      this.#writeFault ??= { error };
    }
  }

  #setOption({ noDelay, keepAlive, timeout }: SocketOption): void {
    const client = this.#client;
    if (client === null) return;
    if (noDelay !== undefined) client.setNoDelay(noDelay);
    if (keepAlive !== undefined) client.setKeepAlive(keepAlive);
    if (timeout !== undefined) client.timeout = timeout;
  }

  /** Ends a read that blocks in the worker, unless something has been sent to it since it began to wait. */
  #startExpiry({ timeout, seen }: Wait): void {
    clearTimeout(this.#expiry);
    if (seen < this.#sent || !(timeout >= 0)) return;
    const expire = () => {
      this.#worker.writer.write(FRAME.EXPIRED).catch(() => {}); // the worker has ended
    };
    this.#expiry = setTimeout(expire, timeout);
  }

  /** The handler has closed the connection: what it sent before is on its way, but not for as long as it takes. */
  #closeSoon(): void {
    if (this.#over) return;
    this.#linger ??= setTimeout(() => this.#client?.close(), LINGER);
  }

  #abort(): void {
    if (this.#aborted || this.#over) return;
    this.#aborted = true;
    this.#abortedAt = performance.now();
    this.#worker.abort();
  }

  /** Throws what the request failed with, if anything. */
  #conclude({ error, ofClient = false, leftBehind }: Outcome): void {
    if (leftBehind && this.#client !== null) {
      internals.warn(this.#client, leftBehind === "write" ? "write" : "read");
    }
    const thrown = error === undefined ? null : { error: fromErrorMessage(error) };
    // Where the handler saw no more than that it was cut off, what happened to the client says why.
    const sawFault = thrown === null || ofClient && isPeerGone(thrown.error) ||
      propertyOf(thrown.error, "name") === "AbortError";
    const writeFault = this.#linger === undefined ? this.#writeFault : null;
    const clientFault = writeFault ?? (thrown === null ? null : this.#readFault);
    const fault = (sawFault ? clientFault : null) ?? thrown;
    if (fault === null) return;
    const { client } = this.#request;
    if (fault === thrown && ofClient && this.#isTrue(fault.error)) {
      noteSource(fault.error, "packet" in client ? client.packet : client);
    }
    throw fault.error;
  }

  /** Whether what a worker says of the client may be. That it has gone is not believed: such errors are hardly shown. */
  #isTrue(error: unknown): boolean {
    if (!isPeerGone(error)) return true;
    return this.#sawEnd && isInstance(error, Deno.errors.UnexpectedEof) || this.#replies.haveFailed;
  }
}
