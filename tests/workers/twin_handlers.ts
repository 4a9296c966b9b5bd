/**
 * Two handlers whose classes have the same name, as those of a factory have.
 *
 * @module
 */
import { StreamRequestHandler } from "@netkit/socketserver";

function make(answer: string) {
  return class Handler extends StreamRequestHandler {
    static override readonly moduleUrl = import.meta.url;

    override async handle(): Promise<void> {
      await this.wfile.write(answer);
    }
  };
}

/** Must not serve where another was asked for. */
export const AdminHandler: ReturnType<typeof make> = make("admin");
/** Serves everybody. */
export const PublicHandler: ReturnType<typeof make> = make("public");

const Hidden: ReturnType<typeof make> = make("hidden");
/** Gives a class of that name that is not exported. */
export function hiddenHandler(): typeof Hidden {
  return Hidden;
}

function makeOne(answer: string) {
  return class OneHandler extends StreamRequestHandler {
    static override readonly moduleUrl = import.meta.url;

    override async handle(): Promise<void> {
      await this.wfile.write(answer);
    }
  };
}

/** The only one of its name that is exported. */
export const OneHandler: ReturnType<typeof makeOne> = makeOne("exported");
const HiddenOne: ReturnType<typeof makeOne> = makeOne("hidden");
/** Gives another of the name. */
export function hiddenOneHandler(): typeof HiddenOne {
  return HiddenOne;
}

/** Has a name of its own, and two exports. */
export class PlainHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;

  override async handle(): Promise<void> {
    await this.wfile.write("plain");
  }
}
export { PlainHandler as AnotherNameHandler };
