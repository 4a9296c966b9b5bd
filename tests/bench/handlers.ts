/**
 * Handlers of the contenders that run in Workers and subprocesses.
 *
 * @module
 */
import { BaseRequestHandler } from "@netkit/socketserver";
import { createHash } from "node:crypto";

/** How many blocks of 1 KiB make about 20 ms of SHA-256, here as in `contenders.py`. */
const HASHED_BLOCKS = 30_000;
const BLOCK = new Uint8Array(1024);

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

/** Echoes from a buffer of its own, which costs no allocation for each message. */
export class ReadHandler extends BaseRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override async handle(): Promise<void> {
    const buffer = new Uint8Array(65536);
    while (true) {
      const count = await this.request.read(buffer);
      if (count === null) return;
      await this.request.sendAll(buffer.subarray(0, count));
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

/** Echoes after a computation that holds its thread up. */
export class HashHandler extends BaseRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override handle(): void {
    for (let data = this.request.recvSync(1024); data.length > 0;) {
      const hash = createHash("sha256");
      for (let block = 0; block < HASHED_BLOCKS; block++) hash.update(BLOCK);
      hash.digest();
      this.request.sendAllSync(data);
      data = this.request.recvSync(1024);
    }
  }
}
