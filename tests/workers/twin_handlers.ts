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

/** Has a name of its own, and two exports. */
export class PlainHandler extends StreamRequestHandler {
  static override readonly moduleUrl = import.meta.url;

  override async handle(): Promise<void> {
    await this.wfile.write("plain");
  }
}
export { PlainHandler as AnotherNameHandler };
