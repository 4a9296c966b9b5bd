/**
 * The load generator where no C compiler is: the same arguments, lines and checks as `load.c`, on Deno's own sockets.
 * It takes as long for a message as a server does, so that several of them share a load.
 *
 * @module
 */

/** How long a datagram may take before it counts as lost, in milliseconds. */
const LOST_AFTER = 10_000;
/** The most that is sent at once in a transfer, in bytes. */
const CHUNK = 1 << 18;
/** After how many bytes the content of a transfer repeats itself; a prime. */
const PERIOD = 1000003;

const [kind, port, sockets, size, , silence] = [
  Deno.args[0],
  ...Deno.args.slice(1).map(Number),
] as [string, number, number, number, number, number];
const address = { hostname: "127.0.0.1", port };
const encoder = new TextEncoder();
let answers = 0;
let lost = 0;
/** Until when messages are sent, by `performance.now()`. */
let deadline = 0;
let heard = performance.now();

/** One socket of the load. */
class Peer {
  readonly #number: number;
  #sequence = 0;
  readonly #message = Uint8Array.from({ length: size }, (_, index) => 97 + index % 26);
  readonly #answer = new Uint8Array(size + 1);
  #conn: Deno.TcpConn | undefined;
  #socket: Deno.DatagramConn | undefined;

  constructor(number: number) {
    this.#number = number;
    this.#message[size - 1] = 10; // for servers that answer lines
  }

  /** One message, and then the next ones until the deadline. */
  async run(): Promise<void> {
    do {
      const hex = (value: number) => value.toString(16).padStart(7, "0");
      encoder.encodeInto(`${hex(this.#number)} ${hex(++this.#sequence)} `, this.#message);
      if (kind === "udp") await this.#askByDatagram();
      else await this.#ask();
    } while (performance.now() < deadline);
  }

  async #ask(): Promise<void> {
    const conn = this.#conn ??= await connect();
    await Promise.all([sendAll(conn, this.#message), this.#receive(conn)]);
    if (kind !== "visit") return;
    conn.close();
    this.#conn = undefined;
  }

  async #receive(conn: Deno.TcpConn): Promise<void> {
    for (let got = 0; got < size;) {
      const count = await conn.read(this.#answer.subarray(got, size));
      if (count === null) {
        fail(`Cannot read answer: the server closed connection ${this.#number}`);
      }
      got += count;
    }
    this.#check(size);
  }

  #check(length: number): void {
    if (length !== size || !equals(this.#answer.subarray(0, size), this.#message)) {
      fail(`Cannot use answer: it is not message ${this.#sequence} of connection ${this.#number}`);
    }
    answers++;
    heard = performance.now();
  }

  async #askByDatagram(): Promise<void> {
    const socket = this.#socket ??= Deno.listenDatagram({ transport: "udp", ...address, port: 0 });
    await socket.send(this.#message, { transport: "udp", ...address });
    const timer = setTimeout(() => socket.close(), LOST_AFTER);
    try {
      const [answer] = await socket.receive(this.#answer);
      this.#check(answer.length);
    } catch { // nothing came in time, and a socket cannot stop waiting
      lost++;
      this.#socket = undefined;
    } finally {
      clearTimeout(timer);
    }
  }
}

async function connect(): Promise<Deno.TcpConn> {
  const conn = await Deno.connect(address);
  conn.setNoDelay();
  return conn;
}

async function sendAll(conn: Deno.TcpConn, data: Uint8Array): Promise<void> {
  for (let sent = 0; sent < data.length;) sent += await conn.write(data.subarray(sent));
}

function equals(a: Uint8Array, b: Uint8Array): boolean {
  for (let index = 0; index < a.length; index++) if (a[index] !== b[index]) return false;
  return true;
}

function fail(message: string): never {
  console.error(message);
  Deno.exit(1);
}

/** Sends `size` bytes over one connection, and reads them back at the same time. */
async function transfer(): Promise<void> {
  const pattern = new Uint8Array(PERIOD + CHUNK);
  for (let index = 0, state = 1; index < PERIOD; index++) {
    state = Math.imul(state, 1664525) + 1013904223 | 0;
    pattern[index] = state >>> 24;
  }
  pattern.copyWithin(PERIOD, 0, CHUNK);
  using conn = await Deno.connect(address);
  const send = async () => {
    for (let sent = 0; sent < size;) {
      const at = sent % PERIOD;
      sent += await conn.write(pattern.subarray(at, at + Math.min(CHUNK, size - sent)));
    }
  };
  const receive = async () => {
    const answer = new Uint8Array(CHUNK);
    for (let got = 0; got < size;) {
      const count = await conn.read(answer);
      if (count === null) fail("Cannot read answer: the server closed the connection");
      const at = got % PERIOD;
      if (!equals(answer.subarray(0, count), pattern.subarray(at, at + count))) {
        fail(`Cannot use answer: byte ${got} and what follows is not what was sent`);
      }
      got += count;
      heard = performance.now();
    }
  };
  await Promise.all([send(), receive()]);
  heard = performance.now();
  answers++;
}

const peers = Array.from({ length: sockets }, (_, number) => new Peer(number));
const run = () => Promise.all(peers.map((peer) => peer.run()));
let running = true;
const watchdog = setInterval(() => {
  if (!running || performance.now() - heard < silence * 1000) return;
  fail("Cannot read answer: the server is silent");
}, 100);
try {
  if (kind !== "transfer") await run();
  while (kind === "udp" && answers === 0) await run(); // all were lost
  running = false;
  console.log("ready");
  const input = new Uint8Array(64);
  for (let count; (count = await Deno.stdin.read(input)) !== null;) { // one "go" at a time
    const seconds = Number(new TextDecoder().decode(input.subarray(0, count)).split(" ")[1]);
    answers = lost = 0;
    const start = heard = performance.now();
    deadline = start + seconds * 1000;
    running = true;
    await (kind === "transfer" ? transfer() : run());
    running = false;
    const last = answers > 0 ? heard : performance.now();
    console.log(`done ${answers} ${lost} ${(last - start) / 1000}`);
  }
} catch (error) {
  fail(`Cannot talk to server: ${error instanceof Error ? error.message : error}`);
} finally {
  clearInterval(watchdog);
}
Deno.exit();
