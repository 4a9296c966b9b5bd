/**
 * Binding: what the constructors of all servers with a socket do.
 *
 * @module
 */
import { checkBoolean, orDefault } from "../base/options.ts";

/** What a server listens with. */
export type ServerSocket = Deno.Listener | Deno.DatagramConn;

/**
 * Opens a server's socket where that is wanted, and leaves nothing open when it fails. Each server class calls
 * it at the end of its constructor, when its own fields are there.
 *
 * @param wanted The option `bindAndActivate`.
 */
export function bindAndActivate(
  server: { serverBind(): void; serverActivate(): void; closeSocket(): void },
  wanted: boolean | undefined,
): void {
  if (!checkBoolean("bindAndActivate", orDefault(wanted, true))) return;
  try {
    server.serverBind();
    server.serverActivate();
  } catch (error) {
    server.closeSocket();
    throw error;
  }
}

/** Throws while a server of a kind has no socket. */
export function assertBound(kind: string, socket: ServerSocket | undefined): void {
  if (socket !== undefined) return;
  throw new Deno.errors.BadResource(
    `Cannot serve with ${kind}: it is not bound; call serverBind() and serverActivate() first`,
  );
}
