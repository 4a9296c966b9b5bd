/**
 * The datagrams that a handler sends from a worker, which are sent by the server's socket.
 *
 * @module
 */
import { formatAddress, isSameAddress, type SocketAddress } from "../../base/address.ts";
import { FRAME } from "../../channel/frames.ts";
import { toErrorMessage } from "../../channel/messages.ts";
import { pack, unpack } from "../../channel/payload.ts";
import type { DatagramSocket } from "../../sockets/datagram_socket.ts";
import type { HandlerWorker } from "../worker.ts";

const EMPTY = new Uint8Array(0);

/** The datagrams of one request. */
export class RelayReplies {
  readonly #worker: HandlerWorker;
  readonly #socket: DatagramSocket | null;
  readonly #clientAddress: SocketAddress;
  #haveFailed = false;
  /** Gives up on the one that is on its way out; null for none. */
  #giveUp: (() => void) | null = null;

  /**
   * @param worker What runs the handler.
   * @param socket The server's; null where the client has a connection.
   * @param clientAddress To whom the handler may send in any case.
   */
  constructor(worker: HandlerWorker, socket: DatagramSocket | null, clientAddress: SocketAddress) {
    this.#worker = worker;
    this.#socket = socket;
    this.#clientAddress = clientAddress;
  }

  /** Whether one could not be sent. */
  get haveFailed(): boolean {
    return this.#haveFailed;
  }

  /** Waits no more for the one that is on its way out. */
  giveUp(): void {
    this.#giveUp?.();
  }

  /**
   * Sends one and tells the worker what became of it; the next one waits until then.
   *
   * @param payload Where it goes, and what is in it.
   */
  async send(payload: Uint8Array<ArrayBuffer>): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<Uint8Array>();
    this.#giveUp = () => resolve(EMPTY);
    this.#send(payload).then(() => resolve(EMPTY), (error) => {
      // The worker's socket says the same of what the system said.
      this.#haveFailed = true;
      const said = error instanceof Error && error.cause !== undefined ? error.cause : error;
      resolve(pack(toErrorMessage(said)));
    });
    const outcome = await promise;
    this.#giveUp = null;
    await this.#worker.writer.write(FRAME.SENT, outcome);
  }

  async #send(payload: Uint8Array<ArrayBuffer>): Promise<void> {
    const clientAddress = this.#clientAddress;
    if (this.#socket === null) return;
    const { value: address, parts: [data = EMPTY] } = unpack<Deno.Addr>(payload);
    // To the client it always may, whose address is then taken from here, whatever else the other one says.
    const isClient = isSameAddress(address, clientAddress);
    if (!isClient && !this.#worker.maySendTo(address)) throw notAllowed(address);
    await this.#socket.sendTo(data, isClient ? clientAddress : address);
  }
}

function notAllowed(address: Deno.Addr): Error {
  return new Deno.errors.NotCapable(
    `Cannot send datagram to ${formatAddress(address)}: ` +
      "add '--allow-net' of it to 'childPermissions' of the server",
  );
}
