/**
 * Handlers for the tests of the command line tool. None says where it is, so that this is left to the tool.
 *
 * @module
 */
import {
  DatagramRequestHandler,
  ServerExit,
  StreamRequestHandler,
  type StreamSocket,
} from "@netkit/socketserver";

const decoder = new TextDecoder();

/** Answers each line in upper case. */
export class UpperHandler extends StreamRequestHandler {
  override async handle(): Promise<void> {
    for await (const line of this.rfile) {
      await this.wfile.write(decoder.decode(line).toUpperCase());
    }
  }
}

/** Answers a datagram in upper case. */
export class UpperDatagramHandler extends DatagramRequestHandler {
  override async handle(): Promise<void> {
    await this.wfile.write(decoder.decode(this.packet).toUpperCase());
  }
}

/** Reads a variable of the environment, which needs a permission. */
export class HomeHandler extends StreamRequestHandler {
  override async handle(): Promise<void> {
    await this.wfile.write(Deno.env.get("HOME") ?? "");
  }
}

/** Ends the server. */
export class ExitHandler extends StreamRequestHandler {
  override handle(): void {
    throw new ServerExit(7);
  }
}

/** Fails. */
export class FailingHandler extends StreamRequestHandler {
  override handle(): void {
    throw new Error("failed on purpose");
  }
}

/** Takes words of four bytes, and answers each; fails at "fail". */
export class WordHandler extends StreamRequestHandler {
  override async handle(): Promise<void> {
    while (true) {
      const word = decoder.decode(await this.rfile.readExactly(4));
      if (word === "fail") throw new Error("failed on purpose");
      await this.wfile.write(word);
    }
  }
}

/** Answers once in upper case. */
export async function upper(request: StreamSocket): Promise<void> {
  await request.sendAll(decoder.decode(await request.recv()).toUpperCase());
}

/** No handler. */
export const nothing = 1;
