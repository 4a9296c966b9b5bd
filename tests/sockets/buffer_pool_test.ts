/**
 * BufferPool: the memory that recv() receives into.
 *
 * @module
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { BaseRequestHandler, ConcurrentTCPServer } from "@netkit/socketserver";
import { BufferPool } from "../../src/sockets/buffer_pool.ts";
import { bytes, connect, exchange, LOOPBACK, text } from "../harness.ts";

/** A size of its own for each test, so that none finds what another has released. */
let nextSize = 10_000;

Deno.test("BufferPool.finish() copies a small message, and acquire() gives the same buffer again", () => {
  const [pool, size] = [new BufferPool(), nextSize++];
  const first = pool.acquire(size);
  first.set(bytes("hello"));
  const message = pool.finish(first, 5);
  assertEquals([text(message), message.buffer.byteLength], ["hello", 5]);
  const second = pool.acquire(100);
  assert(second.buffer === first.buffer);
  assertEquals(second.length, 100);
  pool.finish(second, 0);
  assertEquals(pool.acquire(size).length, size);
});

Deno.test("BufferPool.finish() gives a large message away without a copy, and acquire() makes a new buffer", () => {
  const [pool, size] = [new BufferPool(), nextSize++];
  const first = pool.acquire(size);
  const message = pool.finish(first, size - 1);
  assert(message.buffer === first.buffer);
  assertEquals(message.length, size - 1);
  assert(pool.acquire(size).buffer !== first.buffer);
});

Deno.test("BufferPool.release() leaves the buffer to other connections, without what was received in it", () => {
  const [mine, other, size] = [new BufferPool(), new BufferPool(), nextSize++];
  const first = mine.acquire(size);
  first.fill(7);
  mine.finish(first, 10);
  mine.release();
  const second = other.acquire(size);
  assert(second.buffer === first.buffer);
  const message = other.finish(second.fill(8, 0, size - 100), size - 100);
  assertEquals(new Uint8Array(message.buffer, size - 100), new Uint8Array(100));
});

Deno.test("BufferPool.release() keeps no buffer that a message has taken along, and no small one", () => {
  for (const [size, count] of [[nextSize++, nextSize - 2], [100, 10]] as const) {
    const [mine, other] = [new BufferPool(), new BufferPool()];
    const buffer = mine.acquire(size);
    mine.finish(buffer, count);
    mine.release();
    assert(other.acquire(size).buffer !== buffer.buffer);
  }
});

Deno.test("BufferPool.acquire() refuses what is no size", () => {
  for (const size of [0, -1, 1.5, NaN]) {
    assertThrows(() => new BufferPool().acquire(size), RangeError);
  }
});

Deno.test("recv() of one connection after the other and side by side mixes nothing up", async () => {
  class EchoHandler extends BaseRequestHandler {
    override async handle() {
      const parts: Uint8Array[] = [];
      for (let part = await this.request.recv(); part.length > 0;) {
        parts.push(part);
        part = await this.request.recv();
      }
      for (const part of parts) await this.request.sendAll(part);
    }
  }
  await using server = new ConcurrentTCPServer(LOOPBACK, EchoHandler);
  const serving = server.serveForever();
  const waiting = await Promise.all(
    Array.from({ length: 20 }, () => connect(server.serverAddress)),
  );
  for (let round = 0; round < 5; round++) {
    const messages = Array.from({ length: 20 }, (_, n) => `${round} ${n} `.repeat(n ** 3 + 1));
    const answers = messages.map((message) => exchange(server.serverAddress, message));
    assertEquals(await Promise.all(answers), messages);
  }
  for (const conn of waiting) conn.close();
  await server.shutdown();
  await serving;
});
