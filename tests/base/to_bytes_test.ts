/**
 * What may be written: bytes of any type and text, and nothing else without a word.
 *
 * @module
 */
import { assertEquals, assertInstanceOf, assertStringIncludes, assertThrows } from "@std/assert";
import {
  BufferedReader,
  BufferedWriter,
  ConcurrentTCPServer,
  DatagramSocket,
  ForkingTCPServer,
  StreamSocket,
  ThreadingTCPServer,
} from "@netkit/socketserver";
import { toBytes } from "../../src/base/bytes.ts";
import { WrongWriteHandler } from "../bytes_handlers.ts";
import { bytes, exchange, LOOPBACK, start, text, until } from "../harness.ts";

const ADDRESS: Deno.NetAddr = { transport: "tcp", hostname: "127.0.0.1", port: 1 };

/** What is sent, joined to text. */
class TextSink {
  sent = "";
  readonly addr = ADDRESS;
  readonly localAddr = ADDRESS;
  readonly remoteAddr = ADDRESS;
  readonly send = (data: Uint8Array) => Promise.resolve(this.sendSync(data));
  readonly write = this.send;
  readonly writeSync = (data: Uint8Array) => this.sendSync(data);
  readonly sendSync = (data: Uint8Array) => {
    this.sent += text(data);
    return data.length;
  };
  readonly read = () => Promise.resolve(null);
  readonly readSync = () => null;
  readonly closeWrite = () => Promise.resolve();
  readonly close = () => {};
  readonly ref = () => {};
  readonly unref = () => {};
}

/** All calls that send, each on something of its own, and what they have sent. */
function senders(): Record<string, [(data: never) => unknown, () => string]> {
  const calls: Record<string, [(data: never) => unknown, () => string]> = {};
  for (const name of ["write", "send", "sendAll", "writeSync", "sendAllSync"] as const) {
    const sink = new TextSink();
    const socket = new StreamSocket(sink);
    calls[`StreamSocket.${name}()`] = [(data) => socket[name](data), () => sink.sent];
  }
  for (const name of ["write", "writeSync"] as const) {
    const sink = new TextSink();
    const writer = new BufferedWriter(new StreamSocket(sink));
    calls[`BufferedWriter.${name}()`] = [(data) => writer[name](data), () => sink.sent];
  }
  for (const name of ["sendTo", "sendToSync"] as const) {
    const sink = new TextSink();
    const socket = new DatagramSocket(sink);
    calls[`DatagramSocket.${name}()`] = [(data) => socket[name](data, ADDRESS), () => sink.sent];
  }
  return calls;
}

Deno.test("fault 33: all that sends takes the bytes of any memory", async () => {
  const memory = bytes("-abc-").buffer;
  const shared = new SharedArrayBuffer(3);
  new Uint8Array(shared).set(bytes("abc"));
  for (
    const data of [
      memory.slice(1, 4),
      new DataView(memory, 1, 3),
      new Int8Array(memory, 1, 3),
      shared,
      new Uint8Array(shared),
    ]
  ) {
    for (const [name, [send, sent]] of Object.entries(senders())) {
      await send(data as never);
      assertEquals(sent(), "abc", `${name} of ${data.constructor.name}`);
    }
  }
  const wide = Uint16Array.of(0x6261, 0x6463);
  assertEquals(text(toBytes(wide, "send")), "abcd");
});

Deno.test("fault 33: all that sends throws TypeError, which names the type, for anything else", () => {
  const values: [unknown, string][] = [
    [5, "number"],
    [{}, "Object"],
    [null, "null"],
    [undefined, "undefined"],
    [[1, 2], "an array"],
    [true, "boolean"],
    [Symbol.iterator, "symbol"],
    [Promise.resolve("text"), "Promise"],
    [new Date(0), "Date"],
    [Object.create(null), "Object"],
  ];
  for (const [value, type] of values) {
    for (const [name, [send, sent]] of Object.entries(senders())) {
      const error = assertThrows(() => send(value as never), TypeError);
      assertStringIncludes(error.message, `expected bytes or text, got ${type}`, name);
      assertEquals(sent(), "");
    }
  }
  assertThrows(() => toBytes(new Proxy([], {}) as never, "send"), TypeError);
});

Deno.test("fault 33: BufferedReader.readUntil() takes a delimiter of any memory", async () => {
  const reader = BufferedReader.fromBytes(bytes("a;b"));
  assertEquals(text(await reader.readUntil(bytes(";").buffer)), "a;");
});

for (const Server of [ConcurrentTCPServer, ThreadingTCPServer, ForkingTCPServer]) {
  Deno.test(`fault 33: ${Server.name} hears of a write that is none and is not awaited`, async () => {
    const errors: unknown[] = [];
    const server = new Server(LOOPBACK, WrongWriteHandler);
    server.handleError = (error) => void errors.push(error);
    await using _ = start(server);
    for (const [how, type] of [["wfile", "number"], ["socket", "Object"]]) {
      assertEquals(await exchange(server.serverAddress, `${how}\n`), "");
      await until(() => errors.length > 0);
      const error = errors.shift();
      assertInstanceOf(error, TypeError);
      assertStringIncludes(error.message, `got ${type}`);
    }
    assertEquals(server.stats().completed, 0);
  });
}
