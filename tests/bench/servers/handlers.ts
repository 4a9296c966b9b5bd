/**
 * Handlers of the package's servers in the benchmark, which Workers and subprocesses load as well.
 *
 * @module
 */
import {
  BaseRequestHandler,
  type DatagramRequest,
  StreamRequestHandler,
} from "@netkit/socketserver";
import { createHash } from "node:crypto";

/** How many blocks of 1 KiB make about 20 ms of SHA-256, here as in the other programs of this folder. */
const HASHED_BLOCKS = 30_000;
const BLOCK = new Uint8Array(1024);
/** The most that is received at once, in bytes. */
const ROOM = 65536;

function compute(): void {
  const hash = createHash("sha256");
  for (let block = 0; block < HASHED_BLOCKS; block++) hash.update(BLOCK);
  hash.digest();
}

/** Echoes. */
export class EchoHandler extends BaseRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override async handle(): Promise<void> {
    while (true) {
      const data = await this.request.recv(ROOM);
      if (data.length === 0) return;
      await this.request.sendAll(data);
    }
  }
}

/** Echoes, blocking. */
export class BlockingEchoHandler extends BaseRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override handle(): void {
    while (true) {
      const data = this.request.recvSync(ROOM);
      if (data.length === 0) return;
      this.request.sendAllSync(data);
    }
  }
}

/** Echoes lines. */
export class LineHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override async handle(): Promise<void> {
    for await (const line of this.rfile) await this.wfile.write(line);
  }
}

/** Echoes lines, blocking. */
export class BlockingLineHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override handle(): void {
    for (const line of this.rfile) this.wfile.writeSync(line);
  }
}

/** Echoes after a computation. */
export class ComputeHandler extends BaseRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override async handle(): Promise<void> {
    while (true) {
      const data = await this.request.recv(ROOM);
      if (data.length === 0) return;
      compute();
      await this.request.sendAll(data);
    }
  }
}

/** Echoes after a computation, blocking. */
export class BlockingComputeHandler extends BaseRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override handle(): void {
    while (true) {
      const data = this.request.recvSync(ROOM);
      if (data.length === 0) return;
      compute();
      this.request.sendAllSync(data);
    }
  }
}

/** Echoes datagrams. */
export class DatagramHandler extends BaseRequestHandler<DatagramRequest> {
  static override readonly moduleUrl = import.meta.url;
  override async handle(): Promise<void> {
    const [data, socket] = this.request;
    await socket.sendTo(data, this.clientAddress);
  }
}
