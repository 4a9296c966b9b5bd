/**
 * An echo server on every transport and in every mode: each client gets back what it sends.
 *
 * Run `deno run -A examples/echo.ts`, then `nc 127.0.0.1 20000` in another terminal. The options are those of the package's
 * command line, which has a handler of any module served: `--tcp 0.0.0.0:7`, `--unix /tmp/e`, `--mode threading`, or
 * `--tls localhost:20000 --cert examples/tls/cert.pem --key examples/tls/key.pem`; `--help` lists them. It needs no more
 * than `--allow-net=127.0.0.1:20000`; with `--tls`, `--mode threading` or `pool` also `--allow-read`; with
 * `--unix /tmp/e` only `--allow-net=unix:/tmp/e --allow-read=/tmp/e --allow-write=/tmp/e`; with `--mode forking` also
 * `--allow-run`.
 */
import { BaseRequestHandler, type DatagramRequest } from "@netkit/socketserver";
import { main } from "@netkit/socketserver/cli";

export class EchoHandler extends BaseRequestHandler {
  static override readonly moduleUrl = import.meta.url; // where Workers and subprocesses find it

  override async handle(): Promise<void> {
    const { request } = this;
    for (let data = await request.recv(); data.length > 0; data = await request.recv()) {
      await request.sendAll(data);
    }
  }
}

export class DatagramEchoHandler extends BaseRequestHandler<DatagramRequest> {
  static override readonly moduleUrl = import.meta.url;

  override async handle(): Promise<void> {
    const [data, socket] = this.request;
    await socket.sendTo(data, this.clientAddress);
  }
}

if (import.meta.main) {
  const transport = Deno.args.find((arg) => /^--(tcp|tls|udp|unix)/.test(arg)) ?? "";
  const Handler = /^--(udp|unix-datagram)/.test(transport) ? DatagramEchoHandler : EchoHandler;
  const address = transport === "" ? ["--tcp", "127.0.0.1:20000"] : [];
  // Not awaited: the command line imports this module, which can be had only when it has run to its end
  main([import.meta.url, "--class", Handler.name, ...address, ...Deno.args]).then(Deno.exit);
}
