/**
 * A threading server that serves by the relay, whatever else would do.
 *
 * @module
 */
import { type StreamSocket, type TCPAddr, ThreadingTCPServer } from "@netkit/socketserver";

/** Serves by the relay, as it wants each client itself. */
export class RelayingTCPServer extends ThreadingTCPServer {
  override getRequest(): Promise<[StreamSocket, TCPAddr]> {
    return super.getRequest();
  }
}
