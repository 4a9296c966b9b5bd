/**
 * The port of a Web Worker, seen from inside.
 *
 * @module
 */
import { toErrorMessage } from "../../channel/messages.ts";
import {
  Exchange,
  type ExchangeMessage,
  type FromIsolate,
  type Greeting,
  holdWhileRunning,
  type Talk,
} from "./isolate.ts";

/** How code in a Worker reaches the main isolate. */
export interface MainIsolate<T extends Talk> {
  /** Says something. */
  say(news: T["news"]): void;
  /**
   * Asks something.
   *
   * @throws {unknown} What answering it failed with.
   */
  ask(question: T["question"]): Promise<T["answer"]>;
  /** Resolves when all commands so far are carried out and replied to. */
  settled(): Promise<void>;
  /** Ends the Worker, and says so: Deno tells nobody, and its client would wait for ever. */
  end(): void;
}

// As they are before a handler may replace them.
const later = queueMicrotask;
const { defineProperties } = Object;
const { NONE } = Event;
const getProcess = Object.getOwnPropertyDescriptor(globalThis, "process")?.get;

/** What a Worker does. */
export interface IsolateBody<T extends Talk> {
  /** Carries out a command; what it throws, the main isolate hears. */
  handle(command: T["command"]): T["reply"] | Promise<T["reply"]>;
  /** Called before the Worker ends itself, whoever wants that. */
  ending?(): void;
}

/**
 * Runs a Worker that an `Isolate` has started; to be called before any code of a handler is loaded, which may then
 * replace `postMessage`, `onmessage`, `close` and the like for itself.
 *
 * @param begin Gets what it was told first.
 */
export function inIsolate<T extends Talk>(
  begin: (init: T["init"], main: MainIsolate<T>) => IsolateBody<T>,
): void {
  const scope = globalThis as { close: () => void };
  const { close } = scope;
  const exit = Deno.exit;
  const greet = ({ port, init, lock }: Greeting<T["init"]>) => {
    holdWhileRunning(lock);
    const post: (message: FromIsolate) => void = port.postMessage.bind(port);
    // Deno calls this of the port itself, and not of a prototype that a handler may have patched.
    port.dispatchEvent = EventTarget.prototype.dispatchEvent;
    const exchange = new Exchange(post, (command) => body.handle(command));
    const say = (news: T["news"]) => post({ news });
    const ask = (question: T["question"]): Promise<T["answer"]> => exchange.ask(question);
    const tellEnd = (exitCode: number) => {
      body.ending?.();
      post({ exitCode });
    };
    const end = scope.close = () => {
      tellEnd(0);
      close();
    };
    Deno.exit = (code = Deno.exitCode) => {
      tellEnd(code);
      return exit(code);
    };
    const fail = (error: unknown) => {
      const uncaught = toErrorMessage(error);
      body.ending?.();
      post({ uncaught });
      close();
    };
    // It is null or undefined where that was thrown, and where a Worker of this Worker has failed.
    const reasonOf = (event: ErrorEvent) => event.error ?? new Error(event.message);
    addEventListener("error", (event) => unlessHandled(event, () => fail(reasonOf(event))));
    addEventListener("unhandledrejection", (event) => {
      unlessHandled(event, () => fail(event.reason));
    });
    const body = begin(init, { say, ask, settled: () => exchange.settled(), end });
    port.onmessage = ({ data }: MessageEvent<ExchangeMessage>) => exchange.take(data);
  };
  addEventListener("message", (event) => greet((event as MessageEvent).data), { once: true });
}

/**
 * Keeps Deno from printing an error of a Worker, with what a client may have written into it, and calls back unless a
 * later listener takes it for handled.
 */
function unlessHandled(event: Event, fail: () => void): void {
  if (event.defaultPrevented) return;
  event.preventDefault();
  let isHandled = false;
  const isProcess = event.type === "unhandledrejection" && hearsRejections();
  defineProperties(event, {
    preventDefault: { value: () => isHandled = true },
    // For other listeners as it is without this one; for Deno, which looks when all have been called, it is prevented.
    defaultPrevented: { get: () => isHandled || event.eventPhase === NONE && !isProcess },
  });
  later(() => {
    if (!isHandled && !isProcess) fail();
  });
}

/**
 * Whether `process` of Node has listeners to whom Deno passes a rejection on after all others: it is handled then, or
 * thrown again as an error.
 */
function hearsRejections(): boolean {
  // Loaded only here: it would make each Worker's start longer by half.
  const process = getProcess?.call(globalThis);
  return process.listenerCount("unhandledRejection") + process.listenerCount("uncaughtException") >
    0;
}
