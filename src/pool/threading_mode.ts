/**
 * How the clients of a threading server come to their Workers, and why.
 *
 * @module
 */
import { oneLine } from "../base/log.ts";
import { cloneContext } from "../workers/context.ts";
import { mayBlock } from "../workers/handler_module.ts";
import { sharedAddresses } from "./shared_listener.ts";
import { TCPServer } from "../families/tcp_server.ts";

/**
 * How the clients of a server with `ThreadingMixIn` come to their Workers.
 *
 * - `"direct"`: Workers accept clients by themselves; no byte and no message passes through the main isolate.
 * - `"relay"`: the main isolate accepts them, and passes on what they send and get.
 */
export interface ThreadingMode {
  /** Which of the two it is. */
  readonly way: "direct" | "relay";
  /** Why, in a few words. */
  readonly reason: string;
}

/** What {@linkcode judgeMode} and {@linkcode whyRelay} look at. */
export interface DirectServer
  extends
    Pick<TCPServer, "socket" | "RequestHandlerClass" | "maxConnectionsPerSource" | "context"> {
  readonly minSpareThreads: number;
}

/** The steps of a request, which the Workers take. */
const STEPS = ["processRequest", "prepareRequest", "shutdownRequest", "closeRequest"] as const;
/** What binds and closes; an own one may listen in another way. */
const BINDING = ["serverBind", "serverActivate", "closeSocket", "inetAddress"] as const;

/**
 * Says why the Workers of a server cannot accept clients by themselves.
 *
 * @param own What the mix-in has put over the base, whose own steps it calls.
 * @param base The class beneath the mix-in.
 * @returns A few words; null where they can.
 */
export function whyRelay(server: DirectServer, own: object, base: object): string | null {
  const has = (at: object, names: readonly string[], usual: object) =>
    names.find((name) => Reflect.get(at, name) !== Reflect.get(usual, name));
  const step = has(server, STEPS, TCPServer.prototype) ??
    has(server, ["getRequest", "finishRequest"], own) ??
    has(base, ["getRequest"], TCPServer.prototype) ??
    has(server, BINDING, TCPServer.prototype) ?? has(server, ["openListener"], own);
  if (step !== undefined) return `the server has its own ${step}()`;
  if (!sharedAddresses.has(server.socket)) {
    return "Workers cannot share its listener, or may not listen on its port";
  }
  if (server.maxConnectionsPerSource !== null) return "'maxConnectionsPerSource' is set";
  if (server.minSpareThreads === 0) return "'minSpareThreads' is 0";
  if (mayBlock(server.RequestHandlerClass)) return "its handler may block";
  return null;
}

/**
 * Says how a server is to serve.
 *
 * @param hasRelayed Whether the main isolate has ever accepted: it may still wait for a client, who would be lost.
 * @param why What {@linkcode whyRelay} says.
 */
export function judgeMode(
  server: DirectServer,
  hasRelayed: boolean,
  why: () => string | null,
): ThreadingMode {
  const reason = hasRelayed
    ? "the main isolate has accepted clients before"
    : why() ?? contextFault(server);
  return reason === null
    ? { way: "direct", reason: "nothing needs the connections in the main isolate" }
    : { way: "relay", reason };
}

/** Why the context has to be made for each request: it changes, or something is wrong with it. */
function contextFault(server: DirectServer): string | null {
  try {
    const { context } = server;
    cloneContext(context);
    const isSame = Object.is(context, server.context);
    return isSame ? null : "requestContext() gives another object each time";
  } catch (error) {
    return `its context cannot be sent: ${oneLine(error)}`;
  }
}
