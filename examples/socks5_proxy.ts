/**
 * A SOCKS5 proxy (RFC 1928): it connects its clients with the hosts that they name.
 *
 * Run `deno run --allow-net=127.0.0.1:1080,example.com:80 examples/socks5_proxy.ts`, then
 * `curl --socks5-hostname 127.0.0.1:1080 http://example.com/` in another terminal. The permissions say which hosts its
 * clients can reach. It knows CONNECT only, and no passwords.
 */
import { parseArgs } from "@std/cli";
import {
  ConcurrentTCPServer,
  formatText,
  StreamRequestHandler,
  StreamSocket,
} from "@netkit/socketserver";

class SOCKSHandler extends StreamRequestHandler {
  override timeout = 10_000; // of the greeting and the request

  override async handle(): Promise<void> {
    const [version, methods] = await this.rfile.readExactly(2);
    if (version !== 5) return; // SOCKS4 or HTTP, to which there is no answer that they understand
    const offered = await this.rfile.readExactly(methods!);
    await this.wfile.write(Uint8Array.of(5, offered.includes(0) ? 0 : 0xff));
    if (!offered.includes(0)) return; // it wants a password

    const [_version, command, _reserved, type] = await this.rfile.readExactly(4);
    const hostname = await this.readHost(type!);
    if (hostname === null) return this.reply(8); // address type not supported
    const port = new DataView((await this.rfile.readExactly(2)).buffer).getUint16(0);
    if (command !== 1) return this.reply(7); // command not supported
    let upstream: StreamSocket;
    try {
      const signal = AbortSignal.any([this.signal, AbortSignal.timeout(this.timeout)]);
      upstream = new StreamSocket(await Deno.connect({ hostname, port, signal }));
    } catch (error) {
      console.log(formatText(`${this.clientAddress} cannot reach "${hostname}"`));
      if (error instanceof Deno.errors.NotCapable) return this.reply(2); // not allowed
      return this.reply(error instanceof Deno.errors.ConnectionRefused ? 5 : 4); // else unreachable
    }
    using _ = upstream;
    await this.reply(0);
    this.request.timeout = null; // from here on both may be silent,
    this.request.setKeepAlive(); // if they are still there
    const directions = [
      this.rfile.readable.pipeTo(upstream.writable), // rfile may hold what came with the request
      upstream.readable.pipeTo(this.request.writable),
    ];
    await Promise.all(directions).catch((error) =>
      console.log(`${this.clientAddress} was cut off: ${error.message}`)
    );
  }

  /** A host as the request has it: IPv4, name or IPv6; null for what is none of them. */
  async readHost(type: number): Promise<string | null> {
    if (type === 1) return (await this.rfile.readExactly(4)).join(".");
    if (type === 3) {
      const [length] = await this.rfile.readExactly(1);
      return new TextDecoder().decode(await this.rfile.readExactly(length!)) || null;
    }
    if (type !== 4) return null;
    const view = new DataView((await this.rfile.readExactly(16)).buffer);
    const groups = Array.from({ length: 8 }, (_, index) => view.getUint16(2 * index).toString(16));
    return groups.join(":");
  }

  /** Answers with a code; the address that it comes with is of no use to anybody. */
  async reply(code: number): Promise<void> {
    await this.wfile.write(Uint8Array.of(5, code, 0, 1, 0, 0, 0, 0, 0, 0));
  }
}

if (import.meta.main) {
  const { port } = parseArgs(Deno.args, { string: ["port"], default: { port: "1080" } });
  const address = { hostname: "127.0.0.1", port: Number(port) };
  await using server = new ConcurrentTCPServer(address, SOCKSHandler);
  const leave = () => server.drain({ timeout: 1000 });
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);
  console.log(`Listening on ${server.serverAddress}`);
  await server.serveForever();
  console.log("Leaving.");
}
