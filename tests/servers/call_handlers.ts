/**
 * Handlers that call their server, for the tests of all modes. Subprocesses may read nothing but modules, so this one
 * imports no more than the package.
 *
 * @module
 */
import { DatagramRequestHandler, StreamRequestHandler } from "@netkit/socketserver";

/** Calls what each line says, `name` and JSON of the arguments, and answers what came of it. */
export class CallHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;

  override async handle(): Promise<void> {
    const { server } = this;
    // The name is the client's, which the types do not allow.
    const call = (server.call as (name: string, ...args: unknown[]) => Promise<unknown>).bind(
      server,
    );
    for await (const line of this.rfile.lines()) {
      const [name = "", args = "[]"] = line.split(/ (.*)/);
      try {
        const result = await call(name, ...JSON.parse(args));
        await this.wfile.write(`${Deno.inspect(result)}\n`);
      } catch (error) {
        await this.wfile.write(`${(error as Error).name}: ${(error as Error).message}\n`);
      }
    }
  }
}

/** Calls for the next message all the time, and tells what its client says meanwhile. */
export class TalkHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;

  override async handle(): Promise<void> {
    const { server } = this;
    const call = (server.call as (name: string, ...args: unknown[]) => Promise<unknown>).bind(
      server,
    );
    const hear = async () => {
      while (true) {
        const message = await call("next");
        if (message === null) return;
        await this.wfile.write(`${message}\n`);
      }
    };
    const hearing = hear();
    for await (const line of this.rfile.lines()) await call("say", line);
    await call("leave");
    await hearing;
  }
}

/** Calls before it reads, then tells how much has come. */
export class LateReader extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;

  override async handle(): Promise<void> {
    const call = this.server.call as (name: string, ...args: unknown[]) => Promise<unknown>;
    await this.wfile.write("ready\n");
    for (let n = 0; n < 20; n++) await call.call(this.server, "later", n);
    let sum = 0;
    for (let data = await this.request.recv(1000); data.length > 0;) {
      sum += data.length;
      const called = sum % 3 === 0 ? call.call(this.server, "later", sum) : null;
      data = await this.request.recv(10_000);
      await called;
    }
    await this.wfile.write(`${sum}\n`);
  }
}

/** Says that it leaves when its client has gone, and leaves two calls behind that fail. */
export class LeavingHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;

  override async handle(): Promise<void> {
    await this.wfile.write("ready\n");
    await this.rfile.read();
  }

  override async finish(): Promise<void> {
    const call = this.server.call as (name: string, ...args: unknown[]) => Promise<unknown>;
    await call.call(this.server, "say", "left");
    void call.call(this.server, "fail");
    void call.call(this.server, "secret");
    void call.call(this.server, "count"); // without a timer, which would outlive the test
  }
}

/** Answers the sum that its server gives. */
export class SumHandler extends DatagramRequestHandler {
  static override readonly moduleUrl = import.meta.url;

  override async handle(): Promise<void> {
    const call = this.server.call as (name: string, ...args: unknown[]) => Promise<unknown>;
    const terms = JSON.parse(new TextDecoder().decode(this.packet));
    await this.socket.sendTo("first", this.clientAddress);
    const sums = await Promise.all(
      [1, 2, 3].map((n) => call.call(this.server, "add", n, ...terms)),
    );
    await this.wfile.write(JSON.stringify(sums));
  }
}

/** Tries to send what does not go between processes. */
export class OddCaller extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;

  override async handle(): Promise<void> {
    const call = this.server.call as (name: string, ...args: unknown[]) => Promise<unknown>;
    const circle: unknown[] = [];
    circle.push(circle);
    const odd = [new Map(), () => 1, 1n, NaN, [undefined], circle, new Date(0), "x".repeat(70_000)];
    for (const value of odd) {
      const said = await call.call(this.server, "later", value).then(Deno.inspect, String);
      await this.wfile.write(`${said.slice(0, 90)}\n`);
    }
    await this.wfile.write(`${await call.call(this.server, "big", 70_000).catch(String)}\n`);
    await this.wfile.write(`${await call.call(this.server, "map").then(Deno.inspect, String)}\n`);
    // More at once than may be under way.
    const all = await Promise.all(
      Array.from({ length: 100 }, (_, n) => call.call(this.server, "later", n)),
    );
    await this.wfile.write(`${all.length}\n`);
  }
}

/** Prints who is asked by whom. */
export class AddressHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;

  override async handle(): Promise<void> {
    const { clientAddress, server } = this;
    await this.wfile.write(`${clientAddress} ${server.serverAddress} ${server.socketType}`);
  }
}

/** The same, of datagrams. */
export class DatagramAddressHandler extends DatagramRequestHandler {
  static override readonly moduleUrl = import.meta.url;

  override async handle(): Promise<void> {
    const { clientAddress, server } = this;
    await this.wfile.write(`${clientAddress} ${server.serverAddress} ${server.socketType}`);
  }
}

/** Fails. */
export class FailingHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;

  override async handle(): Promise<void> {
    await this.wfile.write("");
    throw new RangeError("as expected");
  }
}

/** Echoes, with calls under way whose answers are long. */
export class EchoCaller extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;

  override async handle(): Promise<void> {
    const call = this.server.call as (name: string, ...args: unknown[]) => Promise<unknown>;
    const answers: Promise<unknown>[] = [];
    while (true) {
      answers.push(call.call(this.server, "slow", 1 + answers.length * 7_919 % 60_000));
      const data = await this.request.recv(20_000);
      if (data.length === 0) break;
      await this.request.sendAll(data);
    }
    const lengths = (await Promise.all(answers)).map((answer) => String(answer).length);
    const isWhole = lengths.every((length, n) => length === 1 + n * 7_919 % 60_000);
    await this.wfile.write(isWhole ? "whole" : `lengths: ${lengths}`);
  }
}

/** Blocks in a read after a call, over the relay. */
export class BlockingCaller extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  static override readonly blocking = true;

  override async handle(): Promise<void> {
    const call = this.server.call as (name: string, ...args: unknown[]) => Promise<unknown>;
    const decoder = new TextDecoder();
    const first = await call.call(this.server, "later", "first");
    const line = decoder.decode(this.rfile.readlineSync());
    const second = await call.call(this.server, "later", "second");
    await this.wfile.write(`${first} ${line}${second} ${decoder.decode(this.rfile.readSync())}`);
  }
}

/** Blocks in a read while a call is under way, and says what came of it. */
export class BusyCaller extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  static override readonly blocking = true;

  override async handle(): Promise<void> {
    const call = this.server.call as (name: string, ...args: unknown[]) => Promise<unknown>;
    const answer = call.call(this.server, "later", "answer");
    const read = () => new TextDecoder().decode(this.rfile.readlineSync());
    let early: string;
    try {
      early = read();
    } catch (error) {
      early = `${error}`;
    }
    await this.wfile.write(`${early}, then ${await answer} and ${read()}`);
  }
}

/** Has more answers on their way than there is room for, and then neither takes them nor awaits. */
export class DeafCaller extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;

  override async handle(): Promise<void> {
    await this.wfile.write(`${Deno.pid}`);
    const call = this.server.call as (name: string, ...args: unknown[]) => Promise<unknown>;
    for (let n = 0; n < 16; n++) void call.call(this.server, "big", 60_000);
    setTimeout(() => {
      while (true);
    });
  }
}
