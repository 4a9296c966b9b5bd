/**
 * The handler side: loads a handler in a Worker or a subprocess and serves one request after the other with it.
 *
 * @module
 */
import { deserialize } from "node:v8";
import { DatagramSocket } from "../datagram_socket.ts";
import { type AnyServer, runHandler } from "../request_handler.ts";
import { StreamSocket } from "../stream_socket.ts";
import type { BlockingChannel } from "./channel.ts";
import { type HandlerClass, loadHandler } from "./load_handler.ts";
import { type Init, type Outcome, type Start, toErrorMessage } from "./messages.ts";
import { FRAME, FrameReader, FrameWriter, pack, unpack } from "./protocol.ts";
import { RemoteDatagramConn, RemoteTransport, type UnitFrames } from "./remote_transport.ts";
import { UnitServer } from "./unit_server.ts";

/** Runs the requests of a unit. */
export class Runner {
  readonly #frames: UnitFrames;
  /** How many requests have begun. */
  #count = 0;
  /** Which of them was cut off last; it may not have begun yet. */
  #aborted = 0;
  #server: UnitServer | null = null;

  /**
   * Makes it for one end of a channel.
   *
   * @param channel The unit's end.
   * @param tellClosed Tells the main isolate the number of a request whose connection its handler has closed.
   */
  constructor(channel: BlockingChannel, tellClosed: (number: number) => void) {
    const [reader, writer] = [new FrameReader(channel), new FrameWriter(channel)];
    this.#frames = { channel, reader, writer, tellClosed: () => tellClosed(this.#count) };
  }

  /**
   * Aborts the signal of a request, which may be told before the request itself has come.
   *
   * @param number Which request is meant, counted from 1; when it is left out the one under way, or else the next.
   */
  abort(number: number = this.#server === null ? this.#count + 1 : this.#count): void {
    this.#aborted = number;
    if (number === this.#count) this.#server?.abort();
  }

  /** Loads the handler and serves until the channel is closed. */
  async run(): Promise<void> {
    const { reader, writer } = this.#frames;
    if (await reader.next() !== FRAME.INIT) return;
    const init = unpack<Init>(await reader.payload()).value;
    let Handler: HandlerClass;
    try {
      Handler = await loadHandler(init);
    } catch (error) {
      await writer.write(FRAME.ERROR, pack(toErrorMessage(error)));
      return;
    }
    await writer.write(FRAME.READY);
    while (await this.#nextStart()) {
      const outcome = await this.#serve(Handler, await reader.payload());
      await writer.write(FRAME.DONE, pack(outcome));
    }
  }

  /** Drops what is left of the last request. Resolves to false when the channel is closed. */
  async #nextStart(): Promise<boolean> {
    while (true) {
      try {
        // What interrupts now is meant for the last request or the next, which has to come all the same.
        const type = await this.#frames.reader.next(false);
        if (type === FRAME.START) return true;
        if (type === null) return false;
      } catch (error) {
        // Of a read that a handler left behind, and that this one joined.
        if (!(error instanceof Deno.errors.Interrupted)) throw error;
      }
    }
  }

  async #serve(Handler: HandlerClass, payload: Uint8Array<ArrayBuffer>): Promise<Outcome> {
    this.#count++;
    const { value: start, parts: [context, packet] } = unpack<Start>(payload);
    const { clientAddress, serverAddress, connection } = start;
    const transport = connection === null ? null : new RemoteTransport(this.#frames, connection);
    const socket = transport === null ? null : new StreamSocket(transport);
    const conn = socket === null ? new RemoteDatagramConn(this.#frames, serverAddress) : null;
    const request = socket ?? [packet!, new DatagramSocket(conn!)];
    try {
      const server = this.#server = new UnitServer(
        serverAddress,
        context === undefined || context.length === 0 ? undefined : deserialize(context),
      );
      if (this.#aborted === this.#count) server.abort();
      // What a handler may use of its server is there; the rest says why not.
      const handler = new Handler(request, clientAddress, server as unknown as AnyServer);
      await runHandler(handler);
      return {};
    } catch (error) {
      return { error: toErrorMessage(error) };
    } finally {
      await socket?.settled();
      await (transport ?? conn!).release();
      socket?.close();
      this.#server = null;
    }
  }
}
