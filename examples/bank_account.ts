/**
 * Accounts that threads move money between. Each transfer takes several steps with an `await` between them, so it holds a
 * lock: `navigator.locks` excludes all other threads, as `threading.Lock` does in Python.
 *
 * Run `deno run --allow-net=127.0.0.1 --allow-read=. examples/bank_account.ts`, then `nc 127.0.0.1 7072` in other terminals, and
 * send `0 1 25` to move 25 from account 0 to account 1.
 */
import { parseArgs } from "@std/cli";
import { type ServerView, StreamRequestHandler, ThreadingTCPServer } from "@netkit/socketserver";

/** What Deno has and its types do not yet tell. */
declare const navigator: {
  locks: { request<Value>(name: string, holding: () => Promise<Value>): Promise<Value> };
};

/** Moves money, in a Worker. */
export class BankHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override timeout = 600_000; // milliseconds of silence, during which a client has a thread to itself
  declare readonly server: ServerView<BankServer>;

  override async handle(): Promise<void> {
    for await (const line of this.rfile.lines()) {
      const [from = NaN, to = NaN, amount = NaN] = line.split(" ").map(Number);
      await this.wfile.write(`${await this.transfer(from, to, amount)}\n`);
    }
  }

  async transfer(from: number, to: number, amount: number): Promise<string> {
    const { balances } = this.server.context;
    return await navigator.locks.request("accounts", async () => {
      const [has, had] = [balances[from], balances[to]];
      if (has === undefined || had === undefined || from === to) return "error: no such accounts";
      if (!(amount > 0 && amount <= has)) return `error: account ${from} has ${has}`;
      await this.log(`${from} -> ${to}: ${amount}`); // others run meanwhile, and wait for the lock
      balances[from] = has - amount;
      balances[to] = had + amount;
      return `ok: account ${from} has ${balances[from]}`;
    });
  }

  /** Stands for what takes a while, such as a line to a file. */
  async log(_line: string): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
}

class BankServer extends ThreadingTCPServer {
  readonly #context = { balances: new Float64Array(new SharedArrayBuffer(4 * 8)).fill(100) };

  override requestContext(): { balances: Float64Array } {
    return this.#context;
  }
}

if (import.meta.main) {
  const { port } = parseArgs(Deno.args, { string: ["port"], default: { port: "7072" } });
  const address = { hostname: "127.0.0.1", port: Number(port) };
  await using server = new BankServer(address, BankHandler);
  const leave = () => server.drain({ timeout: 1000 });
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);
  await server.serveForever({ onListen: (address) => console.log(`Listening on ${address}`) });
  console.log("Leaving.");
}
