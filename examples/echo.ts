/**
 * An echo server on every transport: each client gets back what it sends.
 *
 * Run `deno run -A examples/echo.ts`, then `nc 127.0.0.1 20000` in another terminal. It needs no more than
 * `--allow-net=127.0.0.1:20000`; with `--transport tls` also `--allow-read`; with
 * `--transport unix --path /tmp/e` only `--allow-net=unix:/tmp/e --allow-read=/tmp/e --allow-write=/tmp/e`; with
 * `--mode threading` or `pool` also `--allow-read`, and with `--mode forking` also `--allow-run`.
 */
import { parseArgs } from "@std/cli";
import { BaseHandler, setup } from "@std/log";
import { tmpdir } from "node:os";
import * as socketserver from "@netkit/socketserver";
import { type AnyServer, BaseRequestHandler, type DatagramRequest } from "@netkit/socketserver";

const HELP = `Usage: deno run -A examples/echo.ts [--help] [--host 127.0.0.1] [--port 20000]
    [--mode sync|concurrent|threading|forking|pool] [--transport tcp|udp|unix|unix-datagram|tls]
    [--path SOCKET] [--cert PEM] [--key PEM] [--log-level DEBUG|INFO|WARN|ERROR]
--mode pool serves tcp and tls. --path defaults to a new file in the temp folder, --cert and --key to those of examples/tls. SIGINT or SIGTERM
gives clients 10 seconds to finish (exit code 0); one more, half a second later or more, ends all at once (130
or 143). Wrong usage exits with 2, any other failure with 1.`;
/** What comes before the name of a server class: `ThreadingTCPServer` is what `TCPServer` is in another mode. */
const MODES = {
  sync: "",
  concurrent: "Concurrent",
  threading: "Threading",
  forking: "Forking",
  pool: "Pool",
} as const;
const LEVELS = { DEBUG: "DEBUG", INFO: "INFO", WARN: "WARN", ERROR: "ERROR" } as const;
/** A signal this soon after the first, in milliseconds, is the same one, passed on by a parent process. */
const SAME_SIGNAL = 500;

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

class StderrHandler extends BaseHandler {
  override log = console.error; // standard output is for the address
}

function fail(exitCode: number, message: string): never {
  console.error(message.replace(/\s+/g, " "));
  Deno.exit(exitCode);
}

function choose<Value>(flag: string, name: string, values: Record<string, Value>): Value {
  const names = Object.keys(values);
  if (names.includes(name)) return values[name] as Value;
  return fail(2, `Cannot use --${flag} "${name}": expected ${names.join(", ")}`);
}

/** Makes the server that the command line asks for. */
function makeServer(): AnyServer {
  const { help, ...flags } = parseArgs(Deno.args.filter((arg) => arg !== "--"), {
    boolean: ["help"],
    string: ["host", "port", "transport", "path", "cert", "key", "mode", "log-level"],
    unknown: (arg) => fail(2, `Cannot use argument "${arg}": see --help`),
  });
  if (help) {
    console.log(HELP);
    Deno.exit();
  }
  const { host = "127.0.0.1", port = "20000", transport = "tcp", mode = "sync" } = flags;
  if (host === "") fail(2, 'Cannot use --host "": expected a name or an IP address');
  if (!/^\d+$/.test(port)) fail(2, `Cannot use --port "${port}": expected a number`);
  const level = choose("log-level", flags["log-level"] ?? "INFO", LEVELS);
  const handlers = { stderr: new StderrHandler(level) };
  setup({ handlers, loggers: { socketserver: { level, handlers: ["stderr"] } } });
  const prefix = choose<typeof MODES[keyof typeof MODES]>("mode", mode, MODES);
  const address = { hostname: host, port: Number(port) };
  const path = () => ({ path: flags.path ?? `${tmpdir()}/echo-${Deno.pid}.sock` });
  const pem = (flag: "cert" | "key") =>
    Deno.readTextFileSync(flags[flag] ?? new URL(`tls/${flag}.pem`, import.meta.url));
  const notPooled = () =>
    prefix === "Pool"
      ? fail(2, `Cannot use --transport "${transport}" with --mode "pool": expected tcp, tls`)
      : prefix;
  const make = choose<() => AnyServer>("transport", transport, {
    tcp: () => new socketserver[`${prefix}TCPServer`](address, EchoHandler),
    udp: () => new socketserver[`${notPooled()}UDPServer`](address, DatagramEchoHandler),
    unix: () => new socketserver[`${notPooled()}UnixStreamServer`](path(), EchoHandler),
    "unix-datagram": () =>
      new socketserver[`${notPooled()}UnixDatagramServer`](path(), DatagramEchoHandler),
    tls: () =>
      new socketserver[`${prefix}TLSServer`](address, EchoHandler, {
        cert: pem("cert"),
        key: pem("key"),
      }),
  });
  try {
    const server = make();
    console.log(
      `Listening on ${socketserver.formatAddress(server.serverAddress)} (${transport}, ${mode})`,
    );
    return server;
  } catch (error) {
    const isUsage = error instanceof TypeError || error instanceof RangeError;
    return fail(isUsage ? 2 : 1, (error as Error).message);
  }
}

if (import.meta.main) {
  const { promise: interrupted, resolve: interrupt } = Promise.withResolvers<void>();
  let first = Infinity; // when the first signal came
  // Before any socket is opened: Deno 2.9 panics when signals are set up with no descriptor left.
  for (const [signal, exitCode] of [["SIGINT", 130], ["SIGTERM", 143]] as const) {
    Deno.addSignalListener(signal, () => {
      if (performance.now() - first > SAME_SIGNAL) Deno.exit(exitCode);
      first = Math.min(first, performance.now());
      interrupt();
    });
  }
  const server = makeServer();
  const serving = server.serveForever().catch((error) => fail(1, (error as Error).message));
  await Promise.race([serving, interrupted]);
  await server.drain();
  Deno.exit(); // to end by itself takes a while, in which a late copy of the signal would kill the program
}
