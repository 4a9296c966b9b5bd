/**
 * A TCP proxy: what a client says goes to another server, and its answers back; either may end its side and still hear
 * the other.
 *
 * Run `deno run --allow-net=127.0.0.1:8080,127.0.0.1:9999 examples/tcp_proxy.ts --to 127.0.0.1:9999` while
 * examples/tcp_server.ts runs in another terminal, then `nc 127.0.0.1 8080` in a third.
 */
import { parseArgs } from "@std/cli";
import { ConcurrentTCPServer, formatAddress, StreamSocket } from "@netkit/socketserver";
import { StreamRequestHandler } from "@netkit/socketserver";

class ProxyServer extends ConcurrentTCPServer {
  upstream = { hostname: "", port: 0 };
}

class ProxyHandler extends StreamRequestHandler {
  declare readonly server: ProxyServer;

  override async handle(): Promise<void> {
    this.request.setKeepAlive(); // a peer that has vanished without a word is noticed, in the end
    const upstream = await this.connect();
    if (upstream === null) return;
    using _ = upstream;
    // Each direction ends by itself; one that fails closes both connections. Deno resets none, so it is an end to the other
    await Promise.all([
      this.request.readable.pipeTo(upstream.writable),
      upstream.readable.pipeTo(this.request.writable),
    ]).catch((error) => console.log(`${this.clientAddress} was cut off: ${error.message}`));
  }

  /** Closing the `writable` of a bare `Deno.Conn` closes all of it; that of a StreamSocket only ends that side. */
  async connect(): Promise<StreamSocket | null> {
    try {
      const signal = AbortSignal.any([this.signal, AbortSignal.timeout(5000)]);
      return new StreamSocket(await Deno.connect({ ...this.server.upstream, signal }));
    } catch (error) {
      console.log(`Cannot reach ${formatAddress(this.server.upstream)}: ${error}`);
      return null;
    }
  }
}

if (import.meta.main) {
  const flags = parseArgs(Deno.args, {
    string: ["port", "to"],
    default: { port: "8080", to: "127.0.0.1:9999" },
  });
  const address = { hostname: "127.0.0.1", port: Number(flags.port) };
  await using server = new ProxyServer(address, ProxyHandler);
  const { hostname, port } = new URL(`tcp://${flags.to}`);
  server.upstream = { hostname, port: Number(port) };
  const leave = () => server.drain({ timeout: 1000 });
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);
  console.log(`Listening on ${server.serverAddress}`);
  await server.serveForever();
  console.log("Leaving.");
}
