/**
 * What a bind that fails says, and that it leaves nothing open.
 *
 * @module
 */
import {
  assert,
  assertEquals,
  assertMatch,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { TCPServer, TLSServer, UDPServer } from "@netkit/socketserver";
import { bindError } from "../../src/core/bind.ts";
import {
  assertNoneOpened,
  LOOPBACK,
  openDescriptors,
  runProgram,
  tempFolder,
  tempSocketPath,
  TLS,
} from "../harness.ts";

const serve = () => {};

/** A server of each kind that has a host and a port, by the name that messages have for it. */
const KINDS: Record<string, (address: { hostname: string; port: number }) => unknown> = {
  "TCP server": (address) => new TCPServer(address, serve),
  "TLS server": (address) => new TLSServer(address, serve, { cert: TLS.cert, key: TLS.key }),
  "UDP server": (address) => new UDPServer(address, serve),
};

/** Runs a program with this package's `deno.json` and gives what it prints. */
async function run(program: string, flags: string[], wrapper: string[] = []): Promise<string> {
  const env: Record<string, string> = {};
  if (wrapper.length > 0) {
    env.DENO_DIR = tempFolder(); // another user has to write its cache
    await Deno.chmod(env.DENO_DIR, 0o777);
    if (Deno.env.has("DENO_COVERAGE_DIR")) env.DENO_COVERAGE_DIR = env.DENO_DIR; // the same for that
  }
  const options = { flags: ["--no-check", ...flags], wrapper, env };
  const { stdout, stderr } = await runProgram(program, options);
  assertEquals(stderr, "");
  return stdout;
}

/** The source of a program that constructs a server and prints the error's class, code and message. */
function printingError(construct: string): string {
  return `
    import * as ss from "@netkit/socketserver";
    try {
      ${construct};
      console.log("no error");
    } catch (error) {
      const known = error.constructor === Deno.errors[error.name] ? "Deno.errors." : "";
      console.log(JSON.stringify([known + error.name, error.message]));
    }`;
}

async function errorOf(construct: string, flags: string[], wrapper?: string[]): Promise<string[]> {
  return JSON.parse(await run(printingError(construct), flags, wrapper));
}

Deno.test("bindError() keeps class and code and has the original as its cause", () => {
  const original = Object.assign(new Deno.errors.AddrInUse("in use (os error 98)"), {
    code: "EADDRINUSE",
  });
  const error = bindError("TCP server", "127.0.0.1:80", original);
  assertStrictEquals(error.constructor, Deno.errors.AddrInUse);
  assertStrictEquals(error.cause, original);
  assertEquals((error as { code?: string }).code, "EADDRINUSE");
  assertEquals(
    error.message,
    'Cannot bind TCP server to "127.0.0.1:80": ' +
      "address already in use; stop its owner, or choose another",
  );
});

Deno.test("bindError() has a code only when the original has one", () => {
  for (const original of [new URIError("invalid host"), new Error("x"), "x"]) {
    assert(!("code" in bindError("TCP server", "a:1", original)), `code of ${original}`);
  }
});

for (const [kind, make] of Object.entries(KINDS)) {
  Deno.test(`A ${kind} says so when its port is in use`, async () => {
    await using owner = kind === "UDP server"
      ? new UDPServer(LOOPBACK, serve)
      : new TCPServer(LOOPBACK, serve);
    const { hostname, port } = owner.serverAddress;
    const before = openDescriptors();
    const error = assertThrows(() => make({ hostname, port }), Deno.errors.AddrInUse);
    assertEquals(
      error.message,
      `Cannot bind ${kind} to "127.0.0.1:${port}": ` +
        "address already in use; stop its owner, or choose another",
    );
    assertNoneOpened(before);
  });

  Deno.test(`A ${kind} says so when the address is not this machine's`, () => {
    const before = openDescriptors();
    const error = assertThrows(
      () => make({ hostname: "203.0.113.7", port: 0 }),
      Deno.errors.AddrNotAvailable,
    );
    assertEquals(
      error.message,
      `Cannot bind ${kind} to "203.0.113.7:0": no interface of this machine has this address`,
    );
    assertNoneOpened(before);
  });

  Deno.test(`A ${kind} says so when the host is not found`, () => {
    const error = assertThrows(() => make({ hostname: "x.invalid", port: 8080 }), Error);
    assertEquals(
      error.message,
      `Cannot bind ${kind} to "x.invalid:8080": ` +
        "host not found; check the name, or give an IP address",
    );
  });

  Deno.test(`A ${kind} says in one line that a host name is none`, () => {
    for (const hostname of [" ", "a b", "-"]) {
      const { message } = assertThrows(() => make({ hostname, port: 0 }), Error);
      assertMatch(message, /^Cannot bind \w+ server to ".*:0": .+$/);
    }
  });
}

Deno.test("Four hundred servers that fail to bind leave nothing open", async () => {
  await using owner = new TCPServer(LOOPBACK, serve);
  const before = openDescriptors();
  for (let turn = 0; turn < 100; turn++) {
    assertThrows(() => new TCPServer(owner.serverAddress, serve));
    assertThrows(() => new TCPServer({ hostname: "127.0.0.1", port: -1 }, serve), RangeError);
    assertThrows(() => new UDPServer({ hostname: "203.0.113.7", port: 0 }, serve));
    assertThrows(() => new UDPServer({ hostname: "127.0.0.1", port: 65536 }, serve), RangeError);
  }
  assertNoneOpened(before);
});

for (
  const [name, construct, message] of [
    [
      "TCPServer",
      'new ss.TCPServer({ hostname: "127.0.0.1", port: 8765 }, () => {})',
      'Cannot bind TCP server to "127.0.0.1:8765": needs net access to "127.0.0.1:8765", ' +
      "run again with the --allow-net flag",
    ],
    [
      "UDPServer",
      'new ss.UDPServer({ hostname: "127.0.0.1", port: 8765 }, () => {})',
      'Cannot bind UDP server to "127.0.0.1:8765": needs net access to "127.0.0.1:8765", ' +
      "run again with the --allow-net flag",
    ],
    [
      "UnixStreamServer",
      'new ss.UnixStreamServer({ path: "/tmp/ss-no-such.sock" }, () => {})',
      'Cannot bind Unix server to "/tmp/ss-no-such.sock": needs read access to ' +
      '"/tmp/ss-no-such.sock", run again with the --allow-read flag',
    ],
    [
      "UnixDatagramServer",
      'new ss.UnixDatagramServer({ path: "/tmp/ss-no-such.sock" }, () => {})',
      'Cannot bind Unix datagram server to "/tmp/ss-no-such.sock": needs read access to ' +
      '"/tmp/ss-no-such.sock", run again with the --allow-read flag',
    ],
  ] as const
) {
  Deno.test(`${name}() throws NotCapable that names the flag when Deno does not allow it`, async () => {
    assertEquals(await errorOf(construct, []), ["Deno.errors.NotCapable", message]);
  });
}

Deno.test("UnixStreamServer() names each flag that is missing, and serves with all of them", async () => {
  const path = tempSocketPath();
  const construct = `await (new ss.UnixStreamServer({ path: "${path}" }, () => {})).serverClose()`;
  const flags = [`--allow-read=${path}`, `--allow-write=${path}`, "--allow-net"];
  for (
    const [count, flag] of [[0, "--allow-read"], [1, "--allow-write"], [2, "--allow-net"]] as const
  ) {
    const [name, message] = await errorOf(construct, flags.slice(0, count));
    assertEquals(name, "Deno.errors.NotCapable");
    assertStringIncludes(message!, `Cannot bind Unix server to "${path}": needs `);
    assertStringIncludes(message!, `${flag} flag`);
  }
  assertEquals(await run(printingError(construct), flags), "no error\n");
});

/** How to run a program as somebody who may not bind port 80, or why that cannot be had. */
function unprivileged(): string[] | string {
  const start = Deno.readTextFileSync("/proc/sys/net/ipv4/ip_unprivileged_port_start");
  if (Number(start) <= 80) return "everybody may bind port 80 here";
  if (Deno.uid() !== 0) return [];
  const user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
  // The other user must still be able to read Deno, wherever root has installed it.
  const canRead = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"];
  try {
    const wrapper = [...user, ...canRead];
    const { success } = new Deno.Command(wrapper[0]!, {
      args: [...wrapper.slice(1), "true"],
      stderr: "null",
    }).outputSync();
    return success ? wrapper : "setpriv cannot change the user here";
  } catch {
    return "root needs setpriv to become somebody else";
  }
}

const wrapper = unprivileged();
Deno.test({
  name: "TCPServer() throws PermissionDenied with the remedy when port 80 is not allowed" +
    (typeof wrapper === "string" ? ` (ignored: ${wrapper})` : ""),
  ignore: typeof wrapper === "string",
  async fn() {
    const construct = 'new ss.TCPServer({ hostname: "127.0.0.1", port: 80 }, () => {})';
    assertEquals(await errorOf(construct, ["-A"], wrapper as string[]), [
      "Deno.errors.PermissionDenied",
      'Cannot bind TCP server to "127.0.0.1:80": permission denied; ' +
      "ports below 1024 need privileges, and a path needs a writable folder",
    ]);
  },
});
