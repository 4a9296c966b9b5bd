/**
 * The port of a Web Worker, seen from inside.
 *
 * @module
 */
import type { FromIsolate, Greeting } from "../isolate.ts";

/** The parts of a Worker's global object that are used; its library cannot be named in a published module. */
interface WorkerScope {
  addEventListener(
    type: "message",
    listener: (event: MessageEvent) => void,
    options: { once: true },
  ): void;
  close(): void;
}

/** How code in a Worker reaches the main isolate. */
export interface MainIsolate<Said> {
  /** Says something. */
  say(said: Said): void;
  /** Ends the Worker, and says so: Deno tells nobody, and its client would wait for ever. */
  end(exitCode: number): void;
}

/** What a Worker does. */
export interface IsolateBody<Told> {
  /** Does what it is told. */
  hear(told: Told): void;
  /** Called before the Worker ends itself, whoever wants that. */
  ending?(): void;
}

/**
 * Runs a Worker that an `Isolate` has started; to be called before any code of a handler is loaded, which may then
 * replace `postMessage`, `onmessage`, `close` and the like for itself.
 *
 * @param begin Gets what it was told first.
 */
export function inIsolate<Init, Told, Said>(
  begin: (init: Init, main: MainIsolate<Said>) => IsolateBody<Told>,
): void {
  const scope = globalThis as unknown as WorkerScope;
  const close = scope.close.bind(scope);
  const exit = Deno.exit;
  const greet = ({ data: { port, init } }: MessageEvent<Greeting<Init>>) => {
    const post: (message: FromIsolate<Said>) => void = port.postMessage.bind(port);
    const say = (said: Said) => post({ said });
    const tellEnd = (exitCode: number) => {
      body.ending?.();
      post({ exitCode });
    };
    const end = (exitCode: number) => {
      tellEnd(exitCode);
      close();
    };
    scope.close = () => end(0);
    Deno.exit = (code = Deno.exitCode) => {
      tellEnd(code);
      return exit(code);
    };
    const body = begin(init, { say, end });
    port.onmessage = ({ data }: MessageEvent<Told>) => body.hear(data);
  };
  scope.addEventListener("message", greet, { once: true });
}
