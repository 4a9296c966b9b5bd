/**
 * A handler for the tests of what handlers see of their server, in a module that subprocesses may load.
 *
 * @module
 */
import { type ServerView, StreamRequestHandler } from "@netkit/socketserver";
import type { PlainGuests } from "./server_view_test.ts";

/** Tells what it sees. */
export class GuestHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  declare readonly server: ServerView<PlainGuests>;

  override async handle(): Promise<void> {
    const { context, serverAddress, socketType } = this.server;
    const count = await this.server.call("count", "Ann");
    await this.wfile.write(`${context.greeting} on ${serverAddress.port} ${socketType} ${count}`);
  }
}
