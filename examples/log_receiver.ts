/**
 * A receiver of log records: it prints those of Python's `logging.handlers.SocketHandler`.
 *
 * Run `deno run --allow-net=127.0.0.1:9020 examples/log_receiver.ts`, then in Python
 * `logging.getLogger().addHandler(logging.handlers.SocketHandler("127.0.0.1", 9020))`. The records are pickles, which
 * can make Python run anything; what reads them here knows plain data only, and refuses all else.
 */
import { parseArgs } from "@std/cli";
import {
  BufferedReader,
  ConcurrentTCPServer,
  formatText,
  StreamRequestHandler,
} from "@netkit/socketserver";

const MAX_RECORD = 65536; // bytes

class RecordHandler extends StreamRequestHandler {
  override async handle(): Promise<void> {
    while ((await this.rfile.peek(1)).length > 0) {
      const length = new DataView((await this.rfile.readExactly(4)).buffer).getUint32(0);
      if (length > MAX_RECORD) return this.refuse(`a record of ${length} bytes`);
      const record = unpickle(await this.rfile.readExactly(length));
      if (!(record instanceof Map)) return this.refuse("something else than records of plain data");
      const [level, name, text] = ["levelname", "name", "msg"].map((key) => show(record.get(key)));
      console.log(formatText(`${when(record.get("created"))} ${level} ${name}: ${text}`));
    }
  }

  refuse(what: string): void {
    console.log(`${this.clientAddress} was cut off: it sent ${what}`);
  }
}

/** What is no text is not printed: it may be nested without an end. */
const show = (value: unknown) => typeof value === "string" ? value : "?";

function when(seconds: unknown): string {
  const date = new Date(typeof seconds === "number" ? seconds * 1000 : NaN);
  return Number.isNaN(date.getTime()) ? "?" : date.toISOString();
}

/** Reads a pickle of protocol 0 or 1 that is plain data: dicts, lists, tuples, text, numbers, None. Else undefined. */
function unpickle(data: Uint8Array): unknown {
  const pickle = BufferedReader.fromBytes(data);
  const [stack, marks, memo]: [unknown[], number[], Map<number, unknown>] = [[], [], new Map()];
  const take = (size: number) => new DataView(pickle.readExactlySync(size).buffer);
  const byte = () => take(1).getUint8(0);
  const word = () => take(4).getUint32(0, true);
  const text = (size: number) => new TextDecoder().decode(take(size));
  const int = () => parseInt(pickle.readlineTextSync()!, 10);
  const sinceMark = () => stack.splice(marks.pop()!);
  const extend = (items: unknown[]) => (stack.at(-1) as unknown[]).push(...items);
  const update = (items: unknown[]) => {
    const dict = stack.at(-1) as Map<unknown, unknown>;
    for (let place = 0; place < items.length; place += 2) dict.set(items[place], items[place + 1]);
  };
  const operations: Record<string, () => unknown> = {
    "(": () => marks.push(stack.length),
    "}": () => stack.push(new Map()),
    "]": () => stack.push([]),
    ")": () => stack.push([]),
    t: () => stack.push(sinceMark()),
    a: () => extend(stack.splice(-1)),
    e: () => extend(sinceMark()),
    s: () => update(stack.splice(-2)),
    u: () => update(sinceMark()),
    N: () => stack.push(null),
    I: () => stack.push(int()),
    L: () => stack.push(int()),
    K: () => stack.push(byte()),
    M: () => stack.push(take(2).getUint16(0, true)),
    J: () => stack.push(take(4).getInt32(0, true)),
    G: () => stack.push(take(8).getFloat64(0)),
    X: () => stack.push(text(word())),
    q: () => memo.set(byte(), stack.at(-1)),
    r: () => memo.set(word(), stack.at(-1)),
    h: () => stack.push(memo.get(byte())),
    j: () => stack.push(memo.get(word())),
  };
  try {
    for (let code = text(1); code !== "."; code = text(1)) operations[code]!();
    return stack.pop();
  } catch {
    return undefined; // what no operation is for, or a pickle that is cut off
  }
}

if (import.meta.main) {
  const { port } = parseArgs(Deno.args, { string: ["port"], default: { port: "9020" } });
  const address = { hostname: "127.0.0.1", port: Number(port) };
  await using server = new ConcurrentTCPServer(address, RecordHandler);
  const leave = () => server.drain({ timeout: 1000 });
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);
  console.log(`Listening on ${server.serverAddress}`);
  await server.serveForever();
  console.log("Leaving.");
}
