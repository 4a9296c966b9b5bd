/**
 * A handler that talks to whoever started its Worker, as libraries do, and takes all of a Worker's global object for
 * itself.
 *
 * @module
 */
import process from "node:process";
import { StreamRequestHandler } from "@netkit/socketserver";
import { aborted } from "../handlers.ts";

/** The parts of a Worker's global object that are used. */
interface WorkerScope {
  onmessage: unknown;
  onmessageerror: unknown;
  onerror: unknown;
  close: unknown;
  postMessage?(message: unknown): void;
}

const scope = globalThis as unknown as WorkerScope;
const post = scope.postMessage?.bind(scope);

/** How many messages have come to where libraries listen for them. */
let heard = 0;
/** How often a patched prototype was called with a port. */
let stolen = 0;

/** Says all that could be taken for something of ours. */
function postAll(): void {
  const messages = [
    ...["ready", null, undefined, 0, {}, [], new Error("posted"), { init: {} }],
    ...[{ exitCode: 0 }, { type: "ended", exitCode: 0 }, { type: "failed", error: {} }],
    ...[{ closed: 1 }, { heard: 1 }, { said: { closed: 1 } }, { said: null }, { type: "reply" }],
  ];
  for (const message of messages) post?.(message);
}

const isMain = !("WorkerGlobalScope" in globalThis);
if (!isMain) {
  postAll();
  scope.onmessage = () => heard++;
  scope.onmessageerror = () => heard++;
  scope.onerror = () => heard++;
  addEventListener("message", (event) => {
    heard++;
    event.stopImmediatePropagation();
  }, { capture: true });
  scope.postMessage = () => {
    throw new Error("mine");
  };
}

/** Posts before, while and after it answers. */
export class PostingHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;

  override async handle(): Promise<void> {
    postAll();
    const line = (await this.rfile.lines().next()).value;
    if (line === "wait") {
      await this.wfile.write("waiting");
      await aborted(this.signal);
      return;
    }
    if (line === "patch") {
      const dispatch = EventTarget.prototype.dispatchEvent;
      EventTarget.prototype.dispatchEvent = function (event) {
        if (this instanceof MessagePort) stolen++;
        return dispatch.call(this, event);
      };
      await this.wfile.write("patched");
      await aborted(this.signal);
      return;
    }
    if (line === "stolen") {
      await this.wfile.write(`stolen ${stolen}`);
      return;
    }
    if (line === "exit") Deno.exit(7);
    if (line === "throw-later") {
      setTimeout(() => {
        throw new RangeError("thrown by nobody");
      });
      await new Promise(() => {});
    }
    await this.wfile.write(`heard ${heard}`);
    postAll();
  }
}

/** Fails beside its request with what its client says, for which nobody waits; or when that is cut off. */
export class LoudHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;
  override async handle(): Promise<void> {
    const [how, what] = (await this.rfile.readlineText() ?? "").split(" ");
    const error = new Error(what);
    const heard = Promise.withResolvers<unknown>();
    if (how === "handled") {
      globalThis.queueMicrotask = () => {};
      addEventListener("unhandledrejection", (event) => {
        if (event.defaultPrevented || event.reason !== error) return;
        event.preventDefault();
        heard.resolve(error);
      });
    }
    if (how === "unhandledRejection" || how === "uncaughtException") {
      process.once(how, heard.resolve);
    }
    if (how === "listen") {
      this.signal.addEventListener("abort", () => {
        throw error;
      });
      await aborted(this.signal);
    } else if (how === "throw") {
      setTimeout(() => {
        throw what === "null" ? null : error;
      });
    } else void Promise.reject(error);
    if (how === "listen") return;
    await this.wfile.write(await heard.promise === error ? "goes on" : "heard another");
  }
}
