/**
 * What a handler's connection is made of in a worker: frames to the main isolate, which has the real one.
 *
 * @module
 */
import type { StreamTransport } from "../../sockets/stream_socket.ts";
import type { BlockingChannel } from "../../channel/channel.ts";
import type { SocketOption, Start, Wait } from "../../channel/messages.ts";
import type { RemoteCalls } from "./remote_calls.ts";
import type { FrameReader } from "../../channel/frame_reader.ts";
import type { FrameWriter } from "../../channel/frame_writer.ts";
import { FRAME, type FrameType, MAX_DATA } from "../../channel/frames.ts";
import { pack } from "../../channel/payload.ts";

/** A worker's end of the frames. */
export interface WorkerFrames {
  readonly channel: BlockingChannel;
  readonly reader: FrameReader<BlockingChannel>;
  readonly writer: FrameWriter<BlockingChannel>;
  /** Tells the main isolate, past all frames, that the handler has closed the connection. */
  readonly tellClosed: () => void;
}

/** The client's stream, seen from a worker. */
export class RemoteTransport implements StreamTransport {
  readonly localAddr: Deno.Addr;
  readonly remoteAddr: Deno.Addr;
  readonly #frames: WorkerFrames;
  readonly #alpnProtocol: string | null;
  /** How many frames of DATA, END and CUT have come. */
  #seen = 0;
  #ended = false;
  /** Whether that end is an error. */
  #isCut = false;
  #closed = false;
  /** Whether the frames are for the next request. */
  #released = false;
  /** Rejects the read that waits for a frame, if any. */
  #endRead: ((error: Error) => void) | null = null;
  /** Rejects the write that waits for room, if any. */
  #endWrite: ((error: Error) => void) | null = null;
  /** Whether the main isolate has said that the client is cut off. */
  #gone = false;
  /** The last read of a payload. */
  #reading: Promise<unknown> | null = null;
  readonly #calls: RemoteCalls;
  /** What came of the stream while nobody but calls waited. */
  readonly #early: Uint8Array<ArrayBuffer>[] = [];
  /** Whether a read goes to the next frame. */
  #isReading = false;
  /** Whether frames are read for calls, while no read does; settles at each of them. */
  #pump: PromiseWithResolvers<void> | null = null;

  constructor(
    frames: WorkerFrames,
    connection: NonNullable<Start["connection"]>,
    calls: RemoteCalls,
  ) {
    this.#frames = frames;
    this.#calls = calls;
    // The client's bytes are held back until a call has its answer, or we ask for them.
    calls.onCall = () => this.#isReading ? this.#tell(FRAME.MORE) : void this.#readForCalls();
    this.localAddr = connection.localAddr;
    this.remoteAddr = connection.remoteAddr;
    this.#alpnProtocol = connection.alpnProtocol;
  }

  async read(p: Uint8Array): Promise<number | null> {
    const { reader } = this.#frames;
    this.#isReading = true;
    try {
      // While frames are read for calls, they are nobody else's, and neither is what is left of one.
      while (this.#pump !== null && this.#early.length === 0 && !this.#ended) {
        this.#assertOpen("read from");
        this.#tell(FRAME.MORE);
        await this.#untilReleased(this.#pump.promise);
      }
      while (this.#pump === null && this.#early.length === 0 && reader.left === 0 && !this.#ended) {
        this.#assertOpen("read from");
        const type = reader.nextNow() ?? await this.#untilReleased(reader.next());
        if (type === FRAME.RETURN) await (this.#reading = this.#calls.take());
        else this.#meet(type);
      }
      this.#assertOpen("read from");
      if (this.#early.length > 0) return this.#takeEarly(p);
      if (this.#ended) return this.#atEnd();
      return reader.readNow(p) || await (this.#reading = reader.read(p));
    } catch (error) {
      throw fromChannel(error);
    } finally {
      this.#isReading = false;
      if (this.#calls.pending) void this.#readForCalls();
    }
  }

  #atEnd(): null {
    if (!this.#isCut) return null;
    const reason = "its stream of TLS ended without close_notify";
    throw new Deno.errors.UnexpectedEof(`Cannot read from client: ${reason}`);
  }

  #takeEarly(p: Uint8Array): number {
    const first = this.#early[0]!;
    p.set(first.subarray(0, p.length));
    if (first.length > p.length) this.#early[0] = first.subarray(p.length);
    else this.#early.shift();
    return Math.min(first.length, p.length);
  }

  /** Reads frames while calls are the only ones to wait for one, also when the client is cut off; never rejects. */
  async #readForCalls(): Promise<void> {
    if (this.#pump !== null) return;
    const { reader } = this.#frames;
    this.#pump = Promise.withResolvers();
    try {
      while (this.#calls.pending && !this.#released) {
        if (reader.left > 0) await this.#keepPayload();
        const type = await reader.next(false);
        if (this.#released) break; // the frame is for who reads next
        if (type === FRAME.RETURN) await (this.#reading = this.#calls.take());
        else this.#note(type);
        if (reader.left > 0) await this.#keepPayload();
        this.#pump.resolve(); // a read that waits looks at what has come
        this.#pump = Promise.withResolvers();
      }
    } catch (error) {
      this.#calls.end(error as Error); // the server has gone
    }
    const pump = this.#pump;
    this.#pump = null;
    pump.resolve();
  }

  async #keepPayload(): Promise<void> {
    const payload = this.#frames.reader.payload();
    this.#reading = payload;
    this.#early.push(await payload);
  }

  readSync(p: Uint8Array, timeout: number | null): number | null {
    this.#assertOpen("read from");
    if (this.#early.length > 0) return this.#takeEarly(p);
    if (this.#pump !== null && !this.#ended) { // the answer of a call comes the same way
      const reason = "a call of 'server.call()' is under way in this subprocess";
      throw new Deno.errors.Busy(`Cannot block in a read: ${reason}; await it first`);
    }
    const { reader, channel } = this.#frames;
    try {
      if (reader.left === 0 && !this.#ended && timeout !== null && !channel.canTimeOut) {
        this.#writeSync(FRAME.WAIT, pack({ timeout, seen: this.#seen } satisfies Wait));
      }
      while (reader.left === 0 && !this.#ended) this.#meet(reader.nextSync(timeout));
      return this.#ended ? this.#atEnd() : reader.readSync(p, timeout);
    } catch (error) {
      throw fromChannel(error);
    }
  }

  async write(p: Uint8Array): Promise<number> {
    this.#assertOpen("write to");
    const part = p.length > MAX_DATA ? p.subarray(0, MAX_DATA) : p;
    const { writer } = this.#frames;
    const written = writer.write(FRAME.DATA, part);
    await (writer.writing ? this.#untilClosed(written) : written);
    return part.length;
  }

  writeSync(p: Uint8Array): number {
    this.#assertOpen("write to");
    const part = p.length > MAX_DATA ? p.subarray(0, MAX_DATA) : p;
    this.#writeSync(FRAME.DATA, part);
    return part.length;
  }

  async closeWrite(): Promise<void> {
    this.#assertOpen("write to");
    await this.#frames.writer.write(FRAME.END);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#endRead?.(closedError("read from"));
    this.#endWrite?.(closedError("write to"));
    this.#tell(FRAME.CLOSE);
    this.#frames.tellClosed();
  }

  /** Ends the use of the frames, for the next request; the connection stays the main isolate's. */
  async release(): Promise<void> {
    this.#closed = true;
    this.#released = true;
    this.#calls.onCall = null;
    this.#endRead?.(closedError("read from")); // the frame is for who reads next
    await this.#reading?.catch(() => {}); // whoever left that read behind
  }

  setNoDelay(noDelay = true): void {
    this.#setOption({ noDelay });
  }

  setKeepAlive(keepAlive = true): void {
    this.#setOption({ keepAlive });
  }

  /** Tells the main isolate the time limit of writes: it is the one that waits for the client. */
  setTimeout(timeout: number | null): void {
    this.#setOption({ timeout });
  }

  handshake(): Promise<Deno.TlsHandshakeInfo> {
    return Promise.resolve({ alpnProtocol: this.#alpnProtocol });
  }

  /** A worker lives as long as its server says. */
  ref(): void {}

  /** A worker lives as long as its server says. */
  unref(): void {}

  /** Waits for a frame, but not after the connection was closed. */
  #untilReleased<Value>(next: Promise<Value>): Promise<Value> {
    return new Promise((resolve, reject) => {
      this.#endRead = reject;
      next.then(resolve, reject);
    });
  }

  /** Waits for a write, but not after the connection was closed. */
  #untilClosed(written: Promise<void>): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#endWrite = reject;
      written.then(resolve, reject);
    });
  }

  /**
   * Takes note of a frame that is not the stream's bytes themselves.
   *
   * @throws {Error} Where it says that there is nothing more to read.
   */
  #meet(type: FrameType | null): void {
    this.#note(type);
    if (type === FRAME.CLOSE) throw goneError();
    if (type === FRAME.EXPIRED) {
      throw new Deno.errors.TimedOut("Cannot read from client: no progress in time");
    }
  }

  /** @throws {Deno.errors.ConnectionReset} When there will be no more frames. */
  #note(type: FrameType | null): void {
    const isEnd = type === FRAME.END || type === FRAME.CUT;
    if (type === FRAME.DATA || isEnd) this.#seen++;
    if (isEnd) this.#ended = true;
    if (type === FRAME.CUT) this.#isCut = true;
    if (type === FRAME.CLOSE) this.#gone = true;
    if (type !== null) return;
    const error = new Deno.errors.ConnectionReset("Cannot read from client: the server has gone");
    this.#calls.end(error);
    throw error;
  }

  #setOption(option: SocketOption): void {
    if (!this.#closed) this.#tell(FRAME.SET_OPTION, pack(option));
  }

  /** Writes a frame that nobody waits for, at once where that can be: what follows may block. */
  #tell(type: FrameType, payload?: Uint8Array): void {
    const { writer } = this.#frames;
    if (!writer.writing) this.#writeSync(type, payload);
    else writer.write(type, payload).catch(() => {}); // without the server there is nobody to tell
  }

  #writeSync(type: FrameType, payload?: Uint8Array): void {
    this.#frames.writer.writeSync(type, payload);
  }

  #assertOpen(action: string): void {
    if (this.#closed) throw closedError(action);
    if (this.#gone || this.#frames.channel.interrupted) throw goneError();
  }
}

export function goneServer(): Error {
  return new Deno.errors.ConnectionReset("Cannot reach client: the server has gone");
}

/** Says in the words of a connection what happened to the channel. */
export function fromChannel(error: unknown): unknown {
  return error instanceof Deno.errors.Interrupted ? goneError() : error;
}

function closedError(action: string): Error {
  return new Deno.errors.BadResource(`Cannot ${action} client: the connection is closed`);
}

function goneError(): Error {
  return new Deno.errors.ConnectionReset("Cannot reach client: the connection was cut off");
}
