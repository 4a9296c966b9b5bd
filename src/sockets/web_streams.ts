/**
 * What is read, as a stream of the web platform.
 *
 * @module
 */

import { isInstance } from "../base/errors.ts";

/** How many bytes a stream asks for at once. */
const CHUNK_SIZE = 64 * 1024;

/**
 * Makes the bytes of a reader a stream, which ends with them and does nothing else at the end.
 *
 * @param source Where the bytes come from.
 * @param cancel Called when nobody wants the rest.
 * @param own Called with an error of this stream that the reader has not thrown itself.
 */
export function streamOf(
  source: { read(p: Uint8Array): Promise<number | null> },
  cancel: () => void,
  own: (error: unknown) => void = () => {},
): ReadableStream<Uint8Array<ArrayBuffer>> {
  return new ReadableStream({
    type: "bytes",
    autoAllocateChunkSize: CHUNK_SIZE,
    async pull(controller) {
      const request = controller.byobRequest;
      if (request?.view == null) return;
      const { buffer, byteOffset, byteLength } = request.view;
      let count: number | null;
      try {
        count = await source.read(new Uint8Array(buffer, byteOffset, byteLength));
      } catch (error) {
        if (!isInstance(error, Deno.errors.BadResource)) throw error;
        // Deno replaces that by an error of its own in what reads a stream, and nobody knows whose that is.
        const closed = new Deno.errors.Interrupted(error.message, { cause: error });
        own(closed);
        throw closed;
      }
      if (count === null) controller.close();
      request.respond(count ?? 0);
    },
    cancel,
  });
}
