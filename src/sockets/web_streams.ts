/**
 * What is read, as a stream of the web platform.
 *
 * @module
 */

/** How many bytes a stream asks for at once. */
const CHUNK_SIZE = 64 * 1024;

/**
 * Makes the bytes of a reader a stream, which ends with them and does nothing else at the end.
 *
 * @param source Where the bytes come from.
 * @param cancel Called when nobody wants the rest.
 */
export function streamOf(
  source: { read(p: Uint8Array): Promise<number | null> },
  cancel: () => void,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  return new ReadableStream({
    type: "bytes",
    autoAllocateChunkSize: CHUNK_SIZE,
    async pull(controller) {
      const request = controller.byobRequest;
      if (request?.view == null) return;
      const { buffer, byteOffset, byteLength } = request.view;
      const count = await source.read(new Uint8Array(buffer, byteOffset, byteLength));
      if (count === null) controller.close();
      request.respond(count ?? 0);
    },
    cancel,
  });
}
