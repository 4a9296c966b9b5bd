/**
 * The clients of the benchmark: they send, wait for the answer, send again, and count.
 *
 * @module
 */

/** What a client does to a server. */
export interface Load {
  /** How it talks to the server. */
  transport: "tcp" | "udp";
  /** The length of a message, in bytes. */
  size: number;
  /** How many sockets it has. */
  sockets: number;
  /** How many messages are under way on each socket at a time. */
  inFlight: number;
  /**
   * Whether the client shares one processor with the server's main thread, where it can say so. On two, a round
   * trip takes twice as long or half, as the system sees fit to place them, which hides what is measured. It does
   * not suit a server that has several threads at work.
   */
  oneProcessor: boolean;
  /** Whether each message goes over a connection of its own, which the client then closes. */
  reconnect: boolean;
}

/** A server under test. */
export interface Target {
  /** Its process. */
  pid: number;
  /** Its port on 127.0.0.1. */
  port: number;
}

/**
 * Puts a load on a server.
 *
 * @param target The server.
 * @param load What to do to it.
 * @param seconds For how long.
 * @returns Answers per second.
 * @throws {Error} When the server goes away, is silent, or answers with anything but the message.
 */
export type Client = (target: Target, load: Load, seconds: number) => Promise<number>;

/** How long a datagram may take before it counts as lost, in milliseconds. */
const LOST_AFTER = 200;
/** How long a server may be silent, in milliseconds. */
const SILENCE_LIMIT = 5000;

/** Letters, and a line end for servers that answer lines. */
function messageOf(load: Load): Uint8Array<ArrayBuffer> {
  const message = Uint8Array.from({ length: load.size }, (_, index) => 97 + index % 26);
  message[message.length - 1] = 10;
  return message;
}

function checkAnswer(answer: Uint8Array, message: Uint8Array): void {
  if (answer.length === message.length && answer.every((byte, at) => byte === message[at])) return;
  throw new Error("Cannot use answer: it is not the message");
}

/**
 * The client on Deno's own sockets, which runs everywhere. It takes as long for a message as a server does, so
 * that the ratios it finds lie nearer to 1 than the truth.
 */
export async function denoClient(target: Target, load: Load, seconds: number): Promise<number> {
  const start = performance.now();
  const end = start + seconds * 1000;
  const talk = load.transport === "tcp" ? talkTCP : talkUDP;
  const talks = Array.from({ length: load.sockets }, () => talk(target.port, load, end));
  const answers = (await Promise.all(talks)).reduce((sum, count) => sum + count, 0);
  return answers / (performance.now() - start) * 1000;
}

async function talkTCP(port: number, load: Load, end: number): Promise<number> {
  if (!load.reconnect) return await talkOn(port, load, end);
  let count = 0;
  for (; performance.now() < end; count++) await talkOn(port, load, 0);
  return count;
}

/** Talks on one connection, for one message at least. */
async function talkOn(port: number, load: Load, end: number): Promise<number> {
  using conn = await Deno.connect({ hostname: "127.0.0.1", port });
  conn.setNoDelay();
  const message = messageOf(load);
  const answer = new Uint8Array(load.size);
  const send = async () => {
    for (let sent = 0; sent < load.size;) sent += await conn.write(message.subarray(sent));
  };
  for (let sent = 0; sent < load.inFlight; sent++) await send();
  let count = 0;
  do {
    for (let got = 0; got < load.size;) {
      const length = await conn.read(answer.subarray(got));
      if (length === null) throw new Error("Cannot read answer: the server closed the connection");
      got += length;
    }
    if (count++ === 0) checkAnswer(answer, message);
    if (performance.now() < end) await send();
  } while (performance.now() < end);
  return count;
}

async function talkUDP(port: number, load: Load, end: number): Promise<number> {
  const address = { transport: "udp", hostname: "127.0.0.1", port } as const;
  const socket = Deno.listenDatagram({ ...address, port: 0 });
  const message = messageOf(load);
  let count = 0;
  let seen = 0;
  const send = () => void socket.send(message, address).catch(() => {}); // lost, as on a network
  const fill = () => {
    if (count === seen) { for (let sent = 0; sent < load.inFlight; sent++) send(); }
    seen = count;
  };
  fill();
  const lossTimer = setInterval(fill, LOST_AFTER);
  const endTimer = setTimeout(() => socket.close(), end - performance.now());
  try {
    const buffer = new Uint8Array(load.size + 1);
    while (true) {
      const [answer] = await socket.receive(buffer);
      if (count++ === 0) checkAnswer(answer, message);
      send();
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.BadResource || error instanceof Deno.errors.Interrupted)) {
      throw error;
    }
    // The time is up.
  } finally {
    clearInterval(lossTimer);
    clearTimeout(endTimer);
  }
  if (count === 0) throw new Error("Cannot read answer: the server is silent");
  return count;
}

/** The calls of the C library that a client needs. */
const SYMBOLS = {
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
  connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  // These two give a `ssize_t`, of which 32 bits are enough for a message.
  send: { parameters: ["i32", "buffer", "usize", "i32"], result: "i32" },
  recv: { parameters: ["i32", "buffer", "usize", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  sched_getaffinity: { parameters: ["i32", "usize", "buffer"], result: "i32" },
  sched_setaffinity: { parameters: ["i32", "usize", "buffer"], result: "i32" },
} as const;

// As the headers of Linux have them.
const AF_INET = 2;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;
const MSG_NOSIGNAL = 0x4000;

type Libc = Deno.StaticForeignLibraryInterface<typeof SYMBOLS>;

/**
 * The client on the system's blocking sockets, for Linux. It is nearly as quick as one in C, so that what it
 * measures is the server. It blocks the event loop.
 */
export function libcClient(target: Target, load: Load, seconds: number): Promise<number> {
  return new Promise((resolve) => {
    const libc = Deno.dlopen("libc.so.6", SYMBOLS);
    const sockets: LibcSocket[] = [];
    const unpin = load.oneProcessor ? pin(libc.symbols, target.pid) : () => {};
    try {
      if (load.reconnect) {
        resolve(talkReconnecting(libc.symbols, target.port, load, seconds));
        return;
      }
      for (let count = 0; count < load.sockets; count++) {
        sockets.push(new LibcSocket(libc.symbols, load));
      }
      for (const socket of sockets) socket.connect(target.port);
      resolve(talkLibc(sockets, seconds));
    } finally {
      for (const socket of sockets) socket.close();
      unpin();
      libc.close();
    }
  });
}

/** Puts the main thread of a process on one processor with this thread; gives what sets this thread free. */
function pin(libc: Libc, pid: number): () => void {
  const before = new Uint8Array(128);
  const size = BigInt(before.length);
  must("get processors", libc.sched_getaffinity(0, size, before));
  const byte = before.findIndex((bits) => bits !== 0);
  const one = new Uint8Array(before.length);
  one[byte] = before[byte]! & -before[byte]!; // the lowest of them
  for (const each of [0, pid]) must("set processor", libc.sched_setaffinity(each, size, one));
  return () => must("set processors", libc.sched_setaffinity(0, size, before));
}

/** Reads one answer from each socket in turn and sends the next message; what else is under way waits. */
function talkLibc(sockets: LibcSocket[], seconds: number): number {
  for (const socket of sockets) socket.fill();
  const start = performance.now();
  const end = start + seconds * 1000;
  let count = 0;
  while (performance.now() < end) {
    for (const socket of sockets) {
      if (socket.receive()) {
        count++;
        socket.send();
      } else {
        socket.fill(); // all that was under way is lost
      }
    }
  }
  if (count === 0) throw new Error("Cannot read answer: the server is silent");
  return count / (performance.now() - start) * 1000;
}

/** Sends each message over a connection of its own. */
function talkReconnecting(libc: Libc, port: number, load: Load, seconds: number): number {
  const start = performance.now();
  const end = start + seconds * 1000;
  let count = 0;
  for (; performance.now() < end; count++) {
    const socket = new LibcSocket(libc, load);
    try {
      socket.connect(port);
      socket.send();
      if (!socket.receive()) throw new Error("Cannot read answer: the server is silent");
    } finally {
      socket.close();
    }
  }
  return count / (performance.now() - start) * 1000;
}

/** A blocking socket. */
class LibcSocket {
  readonly #libc: Libc;
  readonly #load: Load;
  readonly #isStream: boolean;
  readonly #socket: number;
  readonly #message: Uint8Array<ArrayBuffer>;
  /** One byte longer than the message, so that a longer answer shows. */
  readonly #answer: Uint8Array<ArrayBuffer>;
  #checked = false;

  constructor(libc: Libc, load: Load) {
    this.#libc = libc;
    this.#load = load;
    this.#isStream = load.transport === "tcp";
    this.#message = messageOf(load);
    this.#answer = new Uint8Array(load.size + 1);
    const type = this.#isStream ? SOCK_STREAM : SOCK_DGRAM;
    this.#socket = must("open socket", libc.socket(AF_INET, type, 0));
  }

  connect(port: number): void {
    const limit = this.#isStream ? SILENCE_LIMIT : LOST_AFTER;
    const seconds = Math.floor(limit / 1000);
    this.#set(
      SOL_SOCKET,
      SO_RCVTIMEO,
      BigInt64Array.of(BigInt(seconds), BigInt(limit % 1000 * 1000)),
    );
    if (this.#isStream) this.#set(IPPROTO_TCP, TCP_NODELAY, Int32Array.of(1));
    const address = new Uint8Array(16);
    address.set([AF_INET, 0, port >> 8, port & 255, 127, 0, 0, 1]);
    must("connect", this.#libc.connect(this.#socket, address, address.length));
  }

  #set(
    level: number,
    name: number,
    value: BigInt64Array<ArrayBuffer> | Int32Array<ArrayBuffer>,
  ): void {
    const result = this.#libc.setsockopt(this.#socket, level, name, value, value.byteLength);
    must("set option of socket", result);
  }

  /** Puts as many messages under way as the load says. */
  fill(): void {
    for (let count = 0; count < this.#load.inFlight; count++) this.send();
  }

  send(): void {
    const { size } = this.#load;
    for (let sent = 0; sent < size;) {
      const rest = sent === 0 ? this.#message : this.#message.subarray(sent);
      const length = this.#libc.send(this.#socket, rest, BigInt(size - sent), MSG_NOSIGNAL);
      sent += must("send message", length);
    }
  }

  /** Reads one answer; tells whether it came, which a datagram may not. */
  receive(): boolean {
    const { size } = this.#load;
    let got = 0;
    while (got < size) {
      const room = got === 0 ? this.#answer : this.#answer.subarray(got);
      const most = this.#isStream ? size - got : room.length;
      const length = this.#libc.recv(this.#socket, room, BigInt(most), 0);
      if (length <= 0 && !this.#isStream) return false;
      if (length <= 0) throw new Error("Cannot read answer: the server is silent or gone");
      got += length;
    }
    if (this.#checked) return true;
    checkAnswer(this.#answer.subarray(0, got), this.#message);
    return this.#checked = true;
  }

  close(): void {
    this.#libc.close(this.#socket);
  }
}

function must(what: string, result: number): number {
  if (result < 0) throw new Error(`Cannot ${what}: the system refuses`);
  return result;
}
