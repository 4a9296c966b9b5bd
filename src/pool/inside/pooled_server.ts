/**
 * The servers that Workers run: they take their clients from a queue that is shared, and ask the main isolate where that
 * is wanted.
 *
 * @module
 */
import type { TCPAddr } from "../../base/address.ts";
import { isOfClient } from "../../base/errors.ts";
import { logTo } from "../../base/log.ts";
import { toErrorMessage } from "../../channel/messages.ts";
import type { AnyServer } from "../../core/base_server.ts";
import { queueLimit } from "../../core/bind.ts";
import { runHandler } from "../../core/run_handler.ts";
import type { StreamSocket } from "../../sockets/stream_socket.ts";
import type { MainIsolate } from "../../workers/thread/isolate_entry.ts";
import type { HandlerClass } from "../../workers/inside/load_handler.ts";
import { ServerStub } from "../../workers/inside/server_stub.ts";
import { ConcurrentMixIn, type Constructor } from "../../families/concurrent_mix_in.ts";
import type { PoolInit, PoolSettings, PoolTalk } from "../pool_messages.ts";
import { listenShared } from "../shared_listener.ts";
import { TCPServer } from "../../families/tcp_server.ts";
import { TLSServer } from "../../families/tls_server.ts";
import type { WorkerRecord } from "./worker_record.ts";

/** How long the end of a request may take to reach the counters, in milliseconds. */
export const COUNT_DELAY = 1;
/** The same for a request that was cut off, whose handler gets time to unwind. */
const ABORTED_COUNT_DELAY = 150;

/** What handlers see as their server, of which there is one for all requests of a Worker. */
export class PoolServerStub extends ServerStub {
  readonly #server: AnyServer;

  constructor(server: AnyServer, { main }: WorkerContext, context: unknown) {
    super(server.serverAddress, "SOCK_STREAM", context, (call, args) => main.ask({ call, args }));
    this.#server = server;
  }

  override requestSignal(request?: unknown): AbortSignal {
    return this.#server.requestSignal(request);
  }
}

/** What a server in a Worker needs of the Worker. */
export interface WorkerContext {
  readonly init: PoolInit;
  readonly Handler: HandlerClass;
  readonly settings: PoolSettings | null;
  readonly view: PoolServerStub | null;
  readonly main: MainIsolate<PoolTalk>;
  readonly record: WorkerRecord;
  /** Writes the counters now. */
  count(): void;
  /** Writes the counters soon. */
  countIn(delay: number): void;
}

export const ConcurrentTCPServer = ConcurrentMixIn(TCPServer);
export const ConcurrentTLSServer = ConcurrentMixIn(TLSServer);
export type ConcurrentTCPServer = InstanceType<typeof ConcurrentTCPServer>;

/** Puts a server to work in a Worker: it listens on the shared queue, and asks the main isolate where that is wanted. */
export function pooledServer<Base extends Constructor<ConcurrentTCPServer>>(
  Base: Base,
  worker: WorkerContext,
): Base {
  abstract class PooledServer extends Base {
    override openListener(): Deno.Listener {
      const { address, tls, sharing } = worker.init;
      return listenShared(address, tls, sharing, (text) => logTo(this.logger, "warn", text));
    }

    override closeSocket(): void {
      super.closeSocket();
      worker.main.say({ type: "unlistened" });
    }

    override get [queueLimit](): number {
      return worker.init.queueShare + 2; // as that of the base
    }

    override async verifyRequest(request: StreamSocket, clientAddress: TCPAddr): Promise<boolean> {
      worker.count();
      if (!worker.settings!.asks.verifyRequest) return true;
      const { localAddr } = request;
      return await worker.main.ask({ hook: "verifyRequest", clientAddress, localAddr }) as boolean;
    }

    override async finishRequest(request: StreamSocket, clientAddress: TCPAddr): Promise<void> {
      // What a handler may use of its server is there; the rest says why not.
      const view = worker.view as unknown as AnyServer;
      await runHandler(new worker.Handler(request, clientAddress, view));
    }

    override closeRequest(request: StreamSocket): void {
      const isAborted = this.requestSignal(request).aborted;
      super.closeRequest(request);
      worker.countIn(isAborted ? ABORTED_COUNT_DELAY : COUNT_DELAY);
    }

    /** What clients can cause is a line a second for all Workers: so the main isolate says what there is to say. */
    override async handleError(
      error: unknown,
      request: StreamSocket,
      clientAddress: TCPAddr,
    ): Promise<void> {
      const { localAddr, closed } = request;
      const ofClient = isOfClient(error, request, clientAddress);
      const sent = toErrorMessage(error);
      await worker.main.ask({
        ...{ hook: "handleError", clientAddress, localAddr, error: sent, ofClient, closed },
      });
    }
  }
  return PooledServer;
}
