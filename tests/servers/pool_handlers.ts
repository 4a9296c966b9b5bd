/**
 * Handlers for the tests of pools.
 *
 * @module
 */
import { type AnyServer, ServerExit, StreamRequestHandler } from "@netkit/socketserver";
import { aborted } from "../handlers.ts";

const decoder = new TextDecoder();

/** Names the Worker that this module is loaded in. */
const WORKER = crypto.randomUUID();

/** Ends the Worker outside of any request. */
function crash(): void {
  setTimeout(() => {
    throw new Error("crashed");
  });
}

/** Does what the first line says. */
export class PoolCommandHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;

  override async handle(): Promise<void> {
    let command = decoder.decode(await this.rfile.readline()).trimEnd();
    if (command === "next") { // goes on when the client says with what
      await this.wfile.write("ready");
      command = decoder.decode(await this.rfile.readline()).trimEnd();
    }
    const { rfile, wfile, server, signal } = this;
    switch (command) {
      case "echo":
        for await (const line of rfile) await wfile.write(line);
        break;
      case "who":
        await wfile.write(WORKER);
        break;
      case "hold": // until the client says or ends something
        await wfile.write(WORKER);
        await rfile.readline();
        await wfile.write(" released");
        break;
      case "describe":
        await wfile.write(Deno.inspect([server.serverAddress, server.context, signal.aborted]));
        break;
      case "shutdown":
        await (server as AnyServer).shutdown(); // which the types know is not there
        break;
      case "abort":
        await wfile.write("waiting");
        await aborted(signal);
        break;
      case "patch then": // which the loop of the Worker's server calls
        await wfile.write("patched");
        Promise.prototype.then = () => {
          throw new Error("patched");
        };
        break;
      case "patch timers":
        await wfile.write("patched");
        Object.defineProperty(globalThis, "setTimeout", {
          value: () => {
            throw new Error("patched");
          },
        });
        break;
      case "hang": // for ever
        await wfile.write("hanging");
        await new Promise(() => {});
        break;
      case "compute":
        await wfile.write("computing");
        for (const end = performance.now() + 300; performance.now() < end;);
        break;
      case "compute for ever":
        await wfile.write("computing");
        for (;;);
      case "fail":
        throw new RangeError("no such thing", { cause: new TypeError("the reason") });
      case "leave":
        throw new ServerExit(7);
      case "exit":
        await wfile.write("exiting");
        Deno.exit(3);
        break;
      case "close":
        await wfile.write("closing");
        self.close();
        await new Promise(() => {});
        break;
      case "crash":
        await wfile.write("crashing");
        crash();
        await new Promise(() => {});
        break;
    }
  }
}
