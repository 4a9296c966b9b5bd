/**
 * Calls of the server by a handler whose worker has nothing but the channel, seen from the handler.
 *
 * @module
 */
import { endedError } from "../../core/server_call.ts";
import { FRAME, MAX_CALL, MAX_CALLS } from "../../channel/frames.ts";
import type { FrameReader } from "../../channel/frame_reader.ts";
import type { FrameWriter } from "../../channel/frame_writer.ts";
import { fromErrorMessage, type ServerCall, type ServerReturn } from "../../channel/messages.ts";
import { assertPlain, pack, unpack } from "../../channel/payload.ts";

/** The calls of one request. */
export class RemoteCalls {
  readonly #reader: FrameReader;
  readonly #writer: FrameWriter;
  readonly #underWay = new Map<number, PromiseWithResolvers<unknown>>();
  /** The calls that wait for others to end. */
  readonly #waiting: (() => void)[] = [];
  #count = 0;
  /** Why nothing can be called any more; null while it can. */
  #ended: Error | null = null;
  /** Called when a call has been sent: somebody has to read its answer. */
  onCall: (() => void) | null = null;

  constructor(reader: FrameReader, writer: FrameWriter) {
    this.#reader = reader;
    this.#writer = writer;
  }

  /** Whether answers are to come. */
  get pending(): boolean {
    return this.#underWay.size > 0;
  }

  /**
   * Has the server call a method.
   *
   * @throws {TypeError} When an argument is not plain.
   * @throws {RangeError} When they are too long.
   * @throws {unknown} What the server says.
   */
  async call(name: string, args: unknown[]): Promise<unknown> {
    const id = ++this.#count;
    assertPlain(args, `arguments of "${name}"`);
    const payload = pack({ id, name, args } satisfies ServerCall);
    if (payload.length > MAX_CALL) {
      throw new RangeError(
        `Cannot send arguments of "${name}": they have ${payload.length} bytes, ${MAX_CALL} are the most`,
      );
    }
    while (this.#ended === null && this.#underWay.size === MAX_CALLS) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    if (this.#ended !== null) throw this.#ended;
    const answer = Promise.withResolvers<unknown>();
    this.#underWay.set(id, answer);
    this.#writer.write(FRAME.CALL, payload).catch((error) => this.end(error));
    this.onCall?.();
    return await answer.promise;
  }

  /** Takes the payload of a RETURN. */
  async take(): Promise<void> {
    const { id, value, error } = unpack<ServerReturn>(await this.#reader.payload()).value;
    const answer = this.#underWay.get(id);
    this.#underWay.delete(id);
    if (error === undefined) answer?.resolve(value);
    else answer?.reject(fromErrorMessage(error));
    this.#waiting.shift()?.();
  }

  /** Fails what is under way, and all later calls. */
  end(reason: Error = endedError()): void {
    this.#ended ??= reason;
    for (const { reject } of this.#underWay.values()) reject(reason);
    this.#underWay.clear();
    this.#waiting.splice(0).forEach((resolve) => resolve());
  }
}
