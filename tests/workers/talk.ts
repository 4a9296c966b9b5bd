/**
 * What the tests of the two kinds of channels share: sending and receiving in pieces.
 *
 * @module
 */
import type { Channel } from "../../src/channel/channel.ts";
import { seeded, text } from "../harness.ts";

/** Writes all in pieces of random sizes. */
export async function send(channel: Channel, data: Uint8Array, piece: number): Promise<void> {
  const random = seeded(data.length);
  for (let at = 0; at < data.length;) {
    const end = at + 1 + random(piece - 1);
    await channel.write(data.subarray(at, end));
    at = end;
  }
}

/** Reads so many bytes in pieces of random sizes. */
export async function receive(channel: Channel, size: number, piece = size): Promise<Uint8Array> {
  const random = seeded(size + 1);
  const data = new Uint8Array(size);
  for (let at = 0; at < size;) {
    const count = await channel.read(data.subarray(at, at + 1 + random(piece - 1)));
    if (count === null) throw new Error(`the channel ended after ${at} of ${size} bytes`);
    at += count;
  }
  return data;
}

/** Reads what is there as text, or the end. */
export async function readText(channel: Channel): Promise<string | null> {
  const buffer = new Uint8Array(100);
  const count = await channel.read(buffer);
  return count === null ? null : text(buffer.subarray(0, count));
}
