/**
 * What the examples print of what strangers say: lines that cannot be forged, with nothing in them that steers a terminal.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { formatText } from "@netkit/socketserver";
import { bytes, datagramExchange, exchange, tempFolder } from "../harness.ts";
import { Recipe, type RecipeOptions } from "./recipe.ts";

/** ESC, its twin of one character, a change of the direction of writing, and a line end of Unicode. */
const LINE = "a\rforged\x1b[2J\u009b2J\u202e\u2028z";
const LINES = `${LINE}\nforged`;

/** What gives an error of a client's code such a name, half a character in it, and has handle() throw it. */
const CODE = `const e = new Error(); e.name = ${JSON.stringify(`${LINES}\ud800`)};
  throw { [Symbol.toPrimitive]() { throw e; } };`;

/** Bytes with their number before them, in so many bytes. */
function counted(data: Uint8Array, size: number): Uint8Array<ArrayBuffer> {
  const number = Array.from({ length: size }, (_, n) => data.length >> 8 * (size - 1 - n) & 255);
  return Uint8Array.from([...number, ...data]);
}

/** A log record whose message it is, as a pickle. */
function pickle(message: string): string {
  return `}(X\x03\0\0\0msgX${String.fromCharCode(bytes(message).length)}\0\0\0${message}u.`;
}

/** Each example, what a client says to it in one go, and how it is run where it is not with port 0. */
const cases: [name: string, message: string | Uint8Array, options?: RecipeOptions][] = [
  ["tcp_server.ts", `${LINE}\n`],
  ["tcp_server_stream.ts", `${LINE}\n`],
  ["split_work.ts", `${LINE}\n`],
  ["options_before_bind.ts", LINES],
  ["options_before_bind_stream.ts", `${LINE}\n`],
  ["syslog.ts", `<14>1 - h a ${LINE.replaceAll(/\s/g, "")} - - ${LINE}\n<forged>${LINE}\n`],
  ["log_receiver.ts", counted(bytes(pickle(LINES)), 4)],
  ["smtp_sink.ts", `MAIL FROM:<${LINES}>\r\nRCPT TO:<${LINES}>\r\nDATA\r\n${LINES}\r\n.\r\n`],
  [
    "socks5_proxy.ts",
    Uint8Array.of(5, 1, 0, 5, 1, 0, 3, ...counted(bytes(LINES), 1), 0, 80),
    { port: 0, replace: { "example.com:80": "127.0.0.1:1" } },
  ],
];

for (const [name, message, options = { port: 0 }] of cases) {
  Deno.test(`${name} prints what a stranger says in lines that are safe`, async () => {
    await using server = new Recipe(name, options);
    await exchange(await server.address(), message);
    await assertPrintsSafely(server);
  });
}

Deno.test("untrusted_code.ts prints no name of an error that a stranger made up", async () => {
  await using server = new Recipe("untrusted_code.ts", { port: 0, args: ["--limit", "30000"] });
  await exchange(await server.address(), CODE);
  await assertPrintsSafely(server, / got no answer: Error$/);
});

Deno.test("udp_server.ts prints what a stranger says in lines that are safe", async () => {
  await using server = new Recipe("udp_server.ts", { port: 0 });
  const port = await server.port();
  await datagramExchange({ transport: "udp", hostname: "127.0.0.1", port }, LINES);
  await assertPrintsSafely(server);
});

Deno.test("unix_stream_server.ts prints what a stranger says in lines that are safe", async () => {
  const path = `${tempFolder()}/upper.sock`;
  const replace = { "/tmp/upper.sock": path };
  await using server = new Recipe("unix_stream_server.ts", { replace, args: ["--path", path] });
  await exchange(await server.address(), `${LINE}\n`);
  await assertPrintsSafely(server);
});

Deno.test("unix_datagram_server.ts prints a stranger's words and path in lines that are safe", async () => {
  const folder = tempFolder();
  const [path, from] = [`${folder}/upper.sock`, `${folder}/${LINES}`];
  const replace = { "/tmp/upper.sock": path, "/tmp/client.sock": from };
  await using server = new Recipe("unix_datagram_server.ts", { replace, args: ["--path", path] });
  const address = await server.address();
  const client = Deno.listenDatagram({ transport: "unixpacket", path: from });
  await client.send(bytes(LINES), address);
  await client.receive();
  client.close();
  await assertPrintsSafely(server);
});

/** Checks that a program has printed something of it, and nothing that it must not. */
async function assertPrintsSafely(server: Recipe, something = /forged/): Promise<void> {
  await server.line(something);
  const { stdout } = await server.leave(/^/);
  for (const line of stdout.split("\n")) {
    assertEquals(line, formatText(line), server.name);
    assertEquals(line.startsWith("forged"), false, `${server.name} printed ${formatText(stdout)}`);
  }
}
