/**
 * The quote of the day (RFC 865) over TCP and UDP on one port: two servers, one service.
 *
 * Run `deno run --unstable-net --allow-net=127.0.0.1 examples/quote_of_the_day.ts`, then `nc 127.0.0.1 20017` or
 * `echo | nc -u -w 1 127.0.0.1 20017` in another terminal. In Python: two servers, each in a thread.
 */
import { parseArgs } from "@std/cli";
import {
  BaseRequestHandler,
  ConcurrentTCPServer,
  DatagramRequestHandler,
  UDPServer,
} from "@netkit/socketserver";

const QUOTES = [
  "Be liberal in what you accept, and conservative in what you send.\r\n",
  "The network is reliable, said nobody who had one.\r\n",
  "There are two hard things: naming, invalidation, and being off by one.\r\n",
];

/** The quote of today, which is another tomorrow. */
function quote(): string {
  return QUOTES[Math.floor(Date.now() / 86_400_000) % QUOTES.length]!;
}

class QuoteHandler extends BaseRequestHandler {
  override async handle(): Promise<void> {
    await this.request.sendAll(quote()); // whatever the client says
  }
}

class DatagramQuoteHandler extends DatagramRequestHandler {
  override async handle(): Promise<void> {
    await this.wfile.write(quote());
  }
}

if (import.meta.main) {
  const { port } = parseArgs(Deno.args, { string: ["port"], default: { port: "20017" } });
  // On the loopback interface only: senders of datagrams can lie about who they are, and have others flooded
  const hostname = "127.0.0.1";
  await using stream = new ConcurrentTCPServer({ hostname, port: Number(port) }, QuoteHandler);
  // TCP and UDP count their ports apart, so the same one is free, or nearly always where 0 asked for any
  await using datagram = new UDPServer(
    { hostname, port: stream.serverAddress.port },
    DatagramQuoteHandler,
  );
  const servers = [stream, datagram];
  const leave = () => servers.forEach((server) => server.drain({ timeout: 1000 }));
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);
  console.log(`Listening on ${stream.serverAddress}`);
  await Promise.all(servers.map((server) => server.serveForever()));
  console.log("Leaving.");
}
