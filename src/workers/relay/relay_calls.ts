/**
 * Calls of the server by a handler whose worker has nothing but the channel, seen from the main isolate.
 *
 * The answers share the channel with the client's bytes, which are held back while calls are under way, but for the parts
 * that the worker asks for: an answer must not wait behind bytes that nobody reads.
 *
 * @module
 */
import { assertPlain, pack, unpack } from "../../channel/payload.ts";
import { FRAME, MAX_CALL, MAX_CALLS } from "../../channel/frames.ts";
import type { FrameWriter } from "../../channel/frame_writer.ts";
import { type ServerCall, type ServerReturn, toErrorMessage } from "../../channel/messages.ts";

/**
 * How many calls are under way at the most: a worker begins no more than half of these before it has answers, of whose
 * arrival it may tell, by the next call, before we know. One that does not take its answers is ended.
 */
const MAX_UNDER_WAY = 2 * MAX_CALLS;

/** The calls of one request. */
export class RelayCalls {
  readonly #writer: FrameWriter;
  readonly #call: (name: string, args: unknown[]) => Promise<unknown>;
  /** The methods that run. */
  #running = 0;
  /** Those, and the answers that are on their way out. */
  #underWay = 0;
  /** Whether the worker has asked for a part that it has not got. */
  #isWanted = false;
  #isOver = false;
  /** Lets the next part of the stream go, where that waits. */
  #release: (() => void) | null = null;

  /** @param call Calls a method of the server. */
  constructor(writer: FrameWriter, call: (name: string, args: unknown[]) => Promise<unknown>) {
    this.#writer = writer;
    this.#call = call;
  }

  /**
   * Begins a call.
   *
   * @throws {Deno.errors.InvalidData} When it is none, or there are too many.
   */
  begin(payload: Uint8Array<ArrayBuffer>): void {
    const { value } = unpack<ServerCall>(payload);
    const { id, name, args } = value ?? {};
    const isCall = typeof id === "number" && typeof name === "string" && Array.isArray(args);
    if (!isCall || this.#underWay === MAX_UNDER_WAY) {
      const what = isCall ? `${MAX_UNDER_WAY} are under way` : "it is none";
      throw new Deno.errors.InvalidData(`Cannot call server for worker: ${what}`);
    }
    this.#running++;
    this.#underWay++;
    void this.#answer(id, name, args); // never rejects
  }

  /** The worker waits for a part of the stream. */
  want(): void {
    this.#isWanted = true;
    this.#release?.();
  }

  /** Whether the next part of the stream has to wait for {@linkcode RelayCalls.turn}. */
  get holdsBack(): boolean {
    return this.#running > 0 && !this.#isWanted && !this.#isOver;
  }

  /** Resolves when the next part of the stream may go. */
  async turn(): Promise<void> {
    while (this.holdsBack) {
      await new Promise<void>((resolve) => this.#release = resolve);
    }
    this.#isWanted = false;
  }

  /** The request has ended: nothing is answered any more. */
  end(): void {
    this.#isOver = true;
    this.#release?.();
  }

  async #answer(id: number, name: string, args: unknown[]): Promise<void> {
    const answer = await this.#answerOf(id, name, args);
    this.#running--;
    if (this.#isOver) return;
    this.#release?.();
    await this.#writer.write(FRAME.RETURN, answer).catch(() => {}); // the worker has ended
    this.#underWay--;
  }

  async #answerOf(id: number, name: string, args: unknown[]): Promise<Uint8Array> {
    try {
      const value = await this.#call(name, args);
      assertPlain(value, `what "${name}" gave`);
      const answer = pack({ id, value } satisfies ServerReturn);
      if (answer.length <= MAX_CALL) return answer;
      throw new RangeError(
        `Cannot send what "${name}" gave: it has ${answer.length} bytes, ${MAX_CALL} are the most`,
      );
    } catch (error) {
      return pack({ id, error: toErrorMessage(error) } satisfies ServerReturn);
    }
  }
}
