/**
 * Handlers of the contenders that run in Workers and subprocesses.
 *
 * @module
 */
import { BaseRequestHandler } from "@netkit/socketserver";

/** Echoes, awaiting. */
export class RecvHandler extends BaseRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override async handle(): Promise<void> {
    while (true) {
      const data = await this.request.recv(65536);
      if (data.length === 0) return;
      await this.request.sendAll(data);
    }
  }
}

/** Echoes, blocking. */
export class BlockingHandler extends BaseRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override handle(): void {
    for (let data = this.request.recvSync(65536); data.length > 0;) {
      this.request.sendAllSync(data);
      data = this.request.recvSync(65536);
    }
  }
}
