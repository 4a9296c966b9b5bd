/**
 * A handler that throws what no error is.
 *
 * @module
 */
import { StreamRequestHandler } from "@netkit/socketserver";

const decoder = new TextDecoder();

function refuse(): never {
  throw new Error("nobody may look");
}

/** What may be thrown, by name. */
export const ODD: Record<string, () => unknown> = {
  proxy: () => new Proxy({}, { get: refuse, getPrototypeOf: refuse, ownKeys: refuse, has: refuse }),
  errorProxy: () => new Proxy(new Error("hidden"), { get: refuse, getPrototypeOf: refuse }),
  revoked: () => {
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    return proxy;
  },
  bare: () => Object.create(null),
  thenable: () => ({ then: refuse }),
  getter: () =>
    Object.defineProperty(new Error("getter"), "stack", { get: refuse, configurable: true }),
  symbolName: () => Object.assign(new Error("odd"), { name: Symbol("odd") }),
  bareName: () => Object.assign(new Error("odd"), { name: Object.create(null) }),
  bareMessage: () => Object.assign(new Error("odd"), { message: Object.create(null) }),
  symbol: () => Symbol("thrown"),
  string: () => "thrown",
  nothing: () => undefined,
};

/** Throws what the first line names. */
export class OddHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;

  override async handle(): Promise<void> {
    const make = ODD[decoder.decode(await this.rfile.readline()).trimEnd()];
    if (make !== undefined) throw make();
    await this.wfile.write("served");
  }
}
