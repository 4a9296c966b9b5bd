/**
 * What the socket of a handler of datagrams is made of in a worker: frames to the main isolate, which has the real one.
 *
 * @module
 */
import type { SocketAddress } from "../../base/address.ts";
import { type ErrorMessage, fromErrorMessage } from "../../channel/messages.ts";
import type { RemoteCalls } from "./remote_calls.ts";
import { FRAME, MAX_DATAGRAM } from "../../channel/frames.ts";
import { pack, unpack } from "../../channel/payload.ts";
import { fromChannel, goneServer, type WorkerFrames } from "./remote_transport.ts";

/** The server's datagram socket, seen from a worker. */
export class RemoteDatagramConn {
  readonly addr: SocketAddress;
  readonly #frames: WorkerFrames;
  /** The sends whose outcome has not been told; first come, first told. */
  readonly #untold: PromiseWithResolvers<void>[] = [];
  readonly #calls: RemoteCalls;
  #listening = false;
  #released = false;

  constructor(frames: WorkerFrames, addr: SocketAddress, calls: RemoteCalls) {
    this.#frames = frames;
    this.addr = addr;
    this.#calls = calls;
    calls.onCall = () => void this.#listen();
  }

  async send(data: Uint8Array, address: Deno.Addr): Promise<number> {
    this.#assertOpen();
    const payload = datagram(data, address);
    const told = Promise.withResolvers<void>();
    this.#untold.push(told);
    const written = this.#frames.writer.write(FRAME.SEND_TO, payload);
    written.then(() => this.#listen(), (error) => this.#fail(error));
    await told.promise;
    return data.length;
  }

  sendSync(data: Uint8Array, address: Deno.Addr): number {
    this.#assertOpen();
    const { reader, writer } = this.#frames;
    try {
      writer.writeSync(FRAME.SEND_TO, datagram(data, address));
      for (let type = reader.nextSync(null); type !== FRAME.SENT; type = reader.nextSync(null)) {
        if (type === null) throw goneServer();
      }
      if (reader.left > 0) throw sendFault(reader.payloadSync());
    } catch (error) {
      throw fromChannel(error);
    }
    return data.length;
  }

  /** Ends the use of the frames, for the next request, when the outcome of all sends is known. */
  async release(): Promise<void> {
    while (this.#untold.length > 0) await this.#untold[0]!.promise.catch(() => {}); // its caller's
    this.#released = true;
  }

  /** Hears what became of the sends, also after the request was cut off. */
  async #listen(): Promise<void> {
    if (this.#listening) return;
    this.#listening = true;
    const { reader } = this.#frames;
    try {
      while (this.#untold.length > 0 || this.#calls.pending) {
        const type = await reader.next(false);
        if (this.#released) break; // the frame is for who reads next
        if (type === null) throw goneServer();
        if (type === FRAME.RETURN) await this.#calls.take();
        if (type !== FRAME.SENT) continue;
        const fault = reader.left > 0 ? { error: sendFault(await reader.payload()) } : null;
        const told = this.#untold.shift()!;
        if (fault === null) told.resolve();
        else told.reject(fault.error);
      }
    } catch (error) {
      this.#fail(error);
      this.#calls.end(fromChannel(error) as Error);
    }
    this.#listening = false;
  }

  #fail(error: unknown): void {
    for (const { reject } of this.#untold.splice(0)) reject(error);
  }

  #assertOpen(): void {
    if (!this.#released) return;
    throw new Deno.errors.BadResource("Cannot send datagram: the request has ended");
  }
}

/** The payload of a SEND_TO. */
function datagram(data: Uint8Array, address: Deno.Addr): Uint8Array {
  if (data.length <= MAX_DATAGRAM) return pack(address, data);
  // As the system would say it.
  throw Object.assign(new Error("Message too long"), { code: "EMSGSIZE" });
}

/** What the server could not send. */
function sendFault(payload: Uint8Array<ArrayBuffer>): unknown {
  return fromErrorMessage(unpack<ErrorMessage>(payload).value);
}
