/**
 * Addresses: what is taken, what is refused, how they are written.
 *
 * @module
 */
import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import {
  formatAddress,
  StreamRequestHandler,
  TCPServer,
  UDPServer,
  UnixStreamServer,
} from "@netkit/socketserver";
import { addressFamily, checkInetAddress, checkUnixAddress } from "../../src/base/address.ts";
import {
  assertNoneOpened,
  datagramExchange,
  exchange,
  openDescriptors,
  start,
} from "../harness.ts";

const hasIPv6 = Deno.networkInterfaces().some(({ address }) => address === "::1");

/** Answers with the client's address as the server sees it. */
class WhoHandler extends StreamRequestHandler {
  override async handle() {
    await this.wfile.write(formatAddress(this.clientAddress));
  }
}

for (
  const [address, written] of [
    [{ hostname: "127.0.0.1", port: 80 }, "127.0.0.1:80"],
    [{ hostname: "localhost", port: 0 }, "localhost:0"],
    [{ hostname: "::1", port: 80 }, "[::1]:80"],
    [{ hostname: "[::1]", port: 80 }, "[::1]:80"],
    [{ hostname: "::ffff:127.0.0.1", port: 80 }, "[::ffff:127.0.0.1]:80"],
    [{ transport: "tcp", hostname: "10.0.0.1", port: 1 }, "10.0.0.1:1"],
    [{ transport: "udp", hostname: "fe80::1", port: 1 }, "[fe80::1]:1"],
    [{ path: "/run/echo.sock" }, "/run/echo.sock"],
    [{ transport: "unix", path: "./echo.sock" }, "./echo.sock"],
    [{ transport: "unix", path: "\0name" }, "@name"],
    [{ transport: "unixpacket", path: null as unknown as string }, "unnamed"],
    [{ transport: "unix", path: "" }, "unnamed"],
    [{ transport: "vsock", cid: 3, port: 5000 }, "vsock:3:5000"],
  ] as const
) {
  Deno.test(`formatAddress() writes ${Deno.inspect(address)} as ${written}`, () => {
    assertEquals(formatAddress(address), written);
  });
}

Deno.test("checkInetAddress() gives Deno's form, with every interface for an empty host name", () => {
  assertEquals(checkInetAddress({ hostname: "::1", port: 0 }, "tcp"), {
    transport: "tcp",
    hostname: "::1",
    port: 0,
  });
  assertEquals(checkInetAddress({ hostname: "", port: 65535 }, "udp"), {
    transport: "udp",
    hostname: "0.0.0.0",
    port: 65535,
  });
});

for (
  const address of [
    undefined,
    null,
    "127.0.0.1:80",
    8080,
    {},
    { hostname: "127.0.0.1" },
    { port: 80 },
    { hostname: "127.0.0.1", port: "80" },
    { hostname: 127, port: 80 },
    { path: "/run/echo.sock" },
  ]
) {
  Deno.test(`TCPServer() and UDPServer() refuse ${Deno.inspect(address)} as address`, () => {
    for (const Server of [TCPServer, UDPServer]) {
      const { message } = assertThrows(() => new Server(address as never, () => {}), TypeError);
      assertEquals(
        message,
        `Cannot use address ${Deno.inspect(address)}: expected { hostname: string, port: number }`,
      );
    }
  });
}

for (const port of [-1, 65536, 1.5, NaN, Infinity]) {
  Deno.test(`TCPServer() and UDPServer() refuse port ${port}`, () => {
    const before = openDescriptors();
    for (const Server of [TCPServer, UDPServer]) {
      const { message } = assertThrows(
        () => new Server({ hostname: "127.0.0.1", port }, () => {}),
        RangeError,
      );
      assertEquals(message, `Cannot use port ${port}: expected an integer from 0 to 65535`);
    }
    assertNoneOpened(before);
  });
}

for (const address of [undefined, null, "/run/echo.sock", {}, { path: "" }, { path: 7 }]) {
  Deno.test(`UnixStreamServer() refuses ${Deno.inspect(address)} as address`, () => {
    const { message } = assertThrows(
      () => new UnixStreamServer(address as never, () => {}),
      TypeError,
    );
    assertEquals(message, `Cannot use address ${Deno.inspect(address)}: expected { path: string }`);
  });
}

Deno.test("UnixStreamServer() refuses a path with a NUL within it, and names it", () => {
  const { message } = assertThrows(
    () => new UnixStreamServer({ path: "/tmp/a\0b" }, () => {}),
    TypeError,
  );
  assertMatch(message, /^Cannot /);
});

Deno.test("checkUnixAddress() counts the bytes of a path and not its characters", () => {
  const path = "é".repeat(53);
  assertEquals(checkUnixAddress({ path }, "unix"), { transport: "unix", path });
  assertThrows(() => checkUnixAddress({ path: `${path}é` }, "unix"), TypeError, "108 bytes");
});

Deno.test("addressFamily() tells the family by the address", () => {
  assertEquals(addressFamily({ transport: "tcp", hostname: "127.0.0.1", port: 1 }), "AF_INET");
  assertEquals(addressFamily({ transport: "tcp", hostname: "localhost", port: 1 }), "AF_INET");
  assertEquals(addressFamily({ transport: "udp", hostname: "::", port: 1 }), "AF_INET6");
  assertEquals(addressFamily({ transport: "tcp", hostname: "[::1]", port: 1 }), "AF_INET6");
  assertEquals(addressFamily({ transport: "unix", path: "/a:b" }), "AF_UNIX");
});

Deno.test('TCPServer() on "" is reached through every IPv4 address of this machine', async () => {
  await using started = start(new TCPServer({ hostname: "", port: 0 }, WhoHandler));
  const { serverAddress } = started.server;
  assertEquals(serverAddress.hostname, "0.0.0.0");
  const own = Deno.networkInterfaces().filter(({ family }) => family === "IPv4");
  for (const { address: hostname } of own) {
    const client = await exchange({ ...serverAddress, hostname }, "");
    assert(client.startsWith(`${hostname}:`), client);
  }
});

Deno.test('UDPServer() on "" is reached through the loopback', async () => {
  await using started = start(
    new UDPServer(
      { hostname: "", port: 0 },
      ([data, socket], address) => socket.sendTo(data, address),
    ),
  );
  const { serverAddress } = started.server;
  assertEquals(serverAddress.hostname, "0.0.0.0");
  assertEquals(await datagramExchange({ ...serverAddress, hostname: "127.0.0.1" }, "any"), "any");
});

Deno.test("TCPServer() on localhost listens on the loopback", async () => {
  await using started = start(new TCPServer({ hostname: "localhost", port: 0 }, WhoHandler));
  const { serverAddress, addressFamily } = started.server;
  assert(["127.0.0.1", "::1"].includes(serverAddress.hostname));
  assertEquals(addressFamily, serverAddress.hostname === "::1" ? "AF_INET6" : "AF_INET");
  assertMatch(await exchange(serverAddress, ""), /^(127\.0\.0\.1|\[::1\]):\d+$/);
});

for (const hostname of ["::1", "[::1]"]) {
  Deno.test({
    name: `TCPServer() on ${hostname} serves over IPv6`,
    ignore: !hasIPv6,
    async fn() {
      await using started = start(new TCPServer({ hostname, port: 0 }, WhoHandler));
      const { serverAddress, addressFamily } = started.server;
      assertEquals(serverAddress.hostname, "::1");
      assertEquals(addressFamily, "AF_INET6");
      assertMatch(await exchange(serverAddress, ""), /^\[::1\]:\d+$/);
    },
  });
}

Deno.test({
  name: "TCPServer() on :: serves clients of both families",
  ignore: !hasIPv6,
  async fn() {
    await using started = start(new TCPServer({ hostname: "::", port: 0 }, WhoHandler));
    const { serverAddress } = started.server;
    assertMatch(await exchange({ ...serverAddress, hostname: "::1" }, ""), /^\[::1\]:\d+$/);
    assertMatch(
      await exchange({ ...serverAddress, hostname: "127.0.0.1" }, ""),
      /^(\[::ffff:127\.0\.0\.1\]|127\.0\.0\.1):\d+$/,
    );
  },
});
