/**
 * An echo server on every transport: each client gets back what it sends.
 *
 * Run `deno task echo`, then `nc 127.0.0.1 20000` in another terminal. It needs no more than
 * `deno run --allow-net=127.0.0.1:20000 examples/echo.ts`; with `--transport tls` also `--allow-read`; with
 * `--transport unix --path /tmp/e` only `--allow-net=unix:/tmp/e --allow-read=/tmp/e --allow-write=/tmp/e`.
 */
import { parseArgs } from "@std/cli";
import { BaseHandler, setup } from "@std/log";
import { tmpdir } from "node:os";
import { type AnyServer, BaseRequestHandler, formatAddress } from "@netkit/socketserver";
import { type DatagramRequest, TCPServer, TLSServer, UDPServer } from "@netkit/socketserver";
import { UnixDatagramServer, UnixStreamServer } from "@netkit/socketserver";

const HELP = `Usage: deno task echo [--help] [--host 127.0.0.1] [--port 20000] [--mode sync]
    [--transport tcp|udp|unix|unix-datagram|tls] [--path SOCKET] [--cert PEM] [--key PEM] [--log-level LEVEL]
--path defaults to a new file in the temp folder, --cert and --key to those of examples/tls. LEVEL is DEBUG,
INFO, WARN or ERROR. SIGINT or SIGTERM gives clients 10 seconds to finish (exit code 0); one more, half a
second later or more, ends all at once (130 or 143). Wrong usage exits with 2, any other failure with 1.`;
const MODES = { sync: { TCPServer, TLSServer, UDPServer, UnixStreamServer, UnixDatagramServer } };
const LEVELS = { DEBUG: "DEBUG", INFO: "INFO", WARN: "WARN", ERROR: "ERROR" } as const;
/** A signal this soon after the first, in milliseconds, is the same one, passed on by a parent process. */
const SAME_SIGNAL = 500;

export class EchoHandler extends BaseRequestHandler {
  override async handle(): Promise<void> {
    const { request } = this;
    for (let data = await request.recv(); data.length > 0; data = await request.recv()) {
      await request.sendAll(data);
    }
  }
}

export class DatagramEchoHandler extends BaseRequestHandler<DatagramRequest> {
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
  const servers = choose("mode", mode, MODES);
  const address = { hostname: host, port: Number(port) };
  const path = () => ({ path: flags.path ?? `${tmpdir()}/echo-${Deno.pid}.sock` });
  const pem = (flag: "cert" | "key") =>
    Deno.readTextFileSync(flags[flag] ?? new URL(`tls/${flag}.pem`, import.meta.url));
  const make = choose<() => AnyServer>("transport", transport, {
    tcp: () => new servers.TCPServer(address, EchoHandler),
    udp: () => new servers.UDPServer(address, DatagramEchoHandler),
    unix: () => new servers.UnixStreamServer(path(), EchoHandler),
    "unix-datagram": () => new servers.UnixDatagramServer(path(), DatagramEchoHandler),
    tls: () => new servers.TLSServer(address, EchoHandler, { cert: pem("cert"), key: pem("key") }),
  });
  try {
    const server = make();
    console.log(`Listening on ${formatAddress(server.serverAddress)} (${transport}, ${mode})`);
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
  await Promise.race([server.serveForever(), interrupted]);
  await server.drain();
  Deno.exit(); // to end by itself takes a while, in which a late copy of the signal would kill the program
}
