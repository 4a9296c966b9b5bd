/**
 * What the tests of sockets share: one handler and one client that talk, and what goes wrong meanwhile.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { type StreamSocket, TCPServer } from "@netkit/socketserver";
import { connect as nodeConnect, type Socket } from "node:net";
import { LOOPBACK, text } from "./harness.ts";

type Serve = (socket: StreamSocket) => unknown;
type Talk = (conn: Deno.TcpConn) => unknown;

/** Keeps what its handlers failed with. */
export class RecordingServer extends TCPServer {
  readonly errors: unknown[] = [];
  override handleError(error: unknown): void {
    this.errors.push(error);
  }
}

/** Serves one client with `serve` while `talk` is the client; fails with what either failed with. */
export async function converse(serve: Serve, talk: Talk): Promise<void> {
  await using server = new RecordingServer(LOOPBACK, serve);
  const handled = server.handleRequest();
  const talked = Deno.connect(server.serverAddress).then(async (conn) => {
    using _ = conn;
    await talk(conn);
  });
  const [outcome] = await Promise.allSettled([talked, handled]);
  if (server.errors.length > 0) throw server.errors[0];
  if (outcome.status === "rejected") throw outcome.reason;
}

/** A client that can reset its connection. */
export async function resettable(address: Deno.NetAddr): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const socket = nodeConnect(address.port, address.hostname, resolve);
  socket.on("error", reject);
  await promise;
  return socket;
}

/** Resets a connection and waits until it is gone. */
export async function reset(socket: Socket): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  socket.on("close", () => resolve());
  socket.resetAndDestroy();
  await promise;
}

/** Collects unhandled rejections until the end of the scope. */
export function unhandledRejections(): { reasons: unknown[] } & Disposable {
  const reasons: unknown[] = [];
  const listener = (event: PromiseRejectionEvent) => {
    event.preventDefault();
    reasons.push(event.reason);
  };
  globalThis.addEventListener("unhandledrejection", listener);
  return {
    reasons,
    [Symbol.dispose]: () => globalThis.removeEventListener("unhandledrejection", listener),
  };
}

/** Compares long data without a long message. */
export function assertSame(actual: Uint8Array, expected: Uint8Array): void {
  assertEquals(actual.length, expected.length);
  const wrong = actual.findIndex((byte, index) => byte !== expected[index]);
  assertEquals(wrong, -1, `byte ${wrong} is wrong`);
}

/** Runs a module as a program of its own, which is told what to do by its argument. */
export async function child(
  module: string,
  task: string,
): Promise<{ code: number; stdout: string }> {
  const command = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", module, task],
    stderr: "inherit",
  });
  const { code, stdout } = await command.output();
  return { code, stdout: text(stdout) };
}
