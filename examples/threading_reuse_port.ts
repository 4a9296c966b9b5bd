/**
 * A threaded server that may share its port with other processes (SO_REUSEPORT), and three clients of it; all of them log.
 *
 * Run `deno run --unstable-net --allow-net=127.0.0.1 --allow-read=. examples/threading_reuse_port.ts`. It starts the server
 * on a free port, is its clients, and ends. In Python: `setsockopt(SOL_SOCKET, SO_REUSEPORT, 1)`.
 */
import { ConsoleHandler, getLogger, setup } from "@std/log";
import {
  BaseRequestHandler,
  formatBytes,
  type TCPAddr,
  ThreadingTCPServer,
} from "@netkit/socketserver";

/** The thread that runs this: Workers have names, and Deno gives no ids of threads. */
const THREAD = (globalThis as { name?: string }).name || "MainThread";

setup({ // in each Worker as well, which loads this module
  handlers: {
    console: new ConsoleHandler("DEBUG", {
      formatter: ({ msg }) => `[${THREAD} (${Deno.pid})] ${msg}`,
      useColors: false,
    }),
  },
  loggers: { upper: { level: "DEBUG", handlers: ["console"] } },
});
const log = getLogger("upper");

export class ThreadingTCPRequestHandler extends BaseRequestHandler {
  static override readonly moduleUrl = import.meta.url; // where a Worker finds it

  override async handle(): Promise<void> {
    this.request.setNoDelay(); // TCP_NODELAY
    log.debug(`connected from ${this.clientAddress} (${THREAD}, ${Deno.pid})`);

    // this.request is the TCP socket connected to the client
    const data = await this.request.recv(1024);
    log.debug(`recv: ${formatBytes(data)}`);

    // just send back the same data, but upper-cased
    const answer = new TextEncoder().encode(new TextDecoder().decode(data).toUpperCase());
    await this.request.sendAll(answer);
    log.debug(`sent: ${formatBytes(answer)}`);
  }
}

async function client(address: TCPAddr, message: string): Promise<void> {
  using conn = await Deno.connect(address);
  conn.setNoDelay(); // TCP_NODELAY
  await conn.write(new TextEncoder().encode(message));
  log.debug(`recv: ${formatBytes(await new Response(conn.readable).bytes())}`);
}

if (import.meta.main) {
  const address = { hostname: "127.0.0.1", port: 0 };
  await using server = new ThreadingTCPServer(address, ThreadingTCPRequestHandler, {
    bindAndActivate: false,
  });
  server.allowReuseAddress = true; // SO_REUSEADDR
  server.requestQueueSize = 100; // what listen() gets as its backlog
  server.allowReusePort = true; // SO_REUSEPORT: other processes may listen on the port, too, and share its clients
  log.debug("enable TCP_NODELAY"); // of each connection, as Deno's listeners have no options; and no TCP_QUICKACK
  server.serverBind();
  server.serverActivate();

  // The loop runs in this thread, beside what follows; each request has a Worker
  const serving = server.serveForever();
  log.debug(`Server loop running in thread: ${THREAD}`);

  await client(server.serverAddress, "Hello World 1");
  await client(server.serverAddress, "Hello World 2");
  await client(server.serverAddress, "Hello World 3");

  await server.shutdown();
  await serving;
}
