/**
 * Serves the request handler of any module from the command line.
 *
 * ```sh
 * deno run -A jsr:@netkit/socketserver/cli ./echo.ts --tcp 127.0.0.1:9999
 * deno run -A jsr:@netkit/socketserver/cli ./echo.ts --class EchoHandler --tcp :9999 --mode threading --max 16
 * deno run -A --unstable-net jsr:@netkit/socketserver/cli ./time.ts --udp [::1]:9999 --stats
 * ```
 *
 * The module is a path or a URL; what it imports by a bare name is looked up as in every program of Deno, in the
 * `deno.json` of the working directory. Its default export is the handler, or else the only handler class or the only
 * function that it exports, or what `--class` names. A class needs no `moduleUrl` here. A function is a handler in the
 * modes `sync` and `concurrent` only. Where a module starts a server of its own, that has to stand under
 * `if (import.meta.main)`. `--help` shows all options.
 *
 * When it listens, it prints one line with the real address: `Listening on 127.0.0.1:9999 (tcp, concurrent)`. The log
 * and the counters of `--stats` go to standard error; these are one live line on a terminal, and elsewhere JSON lines:
 *
 * ```json
 * {"time":"2026-01-01T00:00:00.000Z","active":1,"peak":9,"completed":120,"failed":2,"gone":1,"aborted":0,"rejected":0,"perSecond":60.5}
 * ```
 *
 * The names are those of `stats()`, but that its `failed` is parted in two: `gone` counts clients that reset their
 * connection or hung up before they had their answer. `perSecond` is what was completed per second since the last line.
 *
 * SIGINT or SIGTERM gives clients 10 seconds, or `--drain`, to finish; one more, half a second later or more, ends all
 * at once.
 *
 * | exit code | after                                                                                         |
 * | --------- | --------------------------------------------------------------------------------------------- |
 * | 0         | a drain, `--help`, `--version`                                                                |
 * | 1         | a failure to load the module, to read a file or to listen                                     |
 * | 2         | wrong usage: an unknown flag, a bad port, no such module or class, what does not go together  |
 * | 130, 143  | a second SIGINT or SIGTERM                                                                    |
 * | other     | a `ServerExit` with this code, thrown by the handler                                          |
 *
 * | option                      | permissions                                                                   |
 * | --------------------------- | ----------------------------------------------------------------------------- |
 * | a module that is a path     | `--allow-read` of the module and of what it imports                           |
 * | a module that is a URL      | `--allow-import` of its host                                                  |
 * | `--tcp`, `--udp`, `--tls`   | `--allow-net` of the address; `--allow-read` of `--cert` and `--key`          |
 * | `--unix`, `--unix-datagram` | `--allow-net=unix:PATH,unix:PATH.netkit-new`; the folder to read and to write |
 * | `--mode forking`            | `--allow-run` of Deno                                                         |
 *
 * Handlers have the permissions of the program, but in subprocesses those of `--child-permissions` alone, which may be
 * repeated: `--child-permissions=--allow-env=HOME`. Datagrams, and a pool on TLS, need
 * `--unstable-net`.
 *
 * @module
 */
// This folder is the command line, which is on top of all others: this reads the arguments (`args.ts`), finds
// the handler (`handler.ts`), serves, and tells on standard error (`output.ts`, `counters.ts`).
import * as socketserver from "../../mod.ts";
import { type Command, HELP, type Mode, parseCommand, UsageError } from "./args.ts";
import { countersOf } from "./counters.ts";
import { type Handler, loadHandler } from "./handler.ts";
import { Output } from "./output.ts";
import { isInstance, messageOf } from "../base/errors.ts";
import { formatText } from "../base/log.ts";
import { stderr } from "../base/default_logger.ts";

/** The version of the package; a test compares it with `deno.json`. */
const VERSION = "0.1.0";
/** A signal this soon after the first, in milliseconds, is the same one, passed on by a parent process. */
const SAME_SIGNAL = 500;
/** What comes before the name of a server class: `ThreadingTCPServer` is what `TCPServer` is in another mode. */
const PREFIXES = {
  sync: "",
  concurrent: "Concurrent",
  threading: "Threading",
  forking: "Forking",
  pool: "Pool",
} as const;
/** What `--max` is called in each mode that has it. */
const MAX_OPTIONS = {
  concurrent: "maxConnections",
  threading: "maxThreads",
  forking: "maxChildren",
  pool: "workers",
} as const;

/**
 * Does what a command line says, and serves until SIGINT or SIGTERM. What goes wrong is one line on standard error.
 *
 * From when it loads the handler the program ends at once, with 130 or 143, at a second signal.
 *
 * @param args The arguments, such as `Deno.args`.
 * @returns The exit code.
 *
 * @example Wrong usage
 * ```ts
 * import { main } from "@netkit/socketserver/cli";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(await main(["./echo.ts", "--tcp", "127.0.0.1:http"]), 2);
 * ```
 * @category Command line
 */
export async function main(args: readonly string[]): Promise<number> {
  try {
    const command = parseCommand(args);
    if (command === "help") console.log(HELP);
    else if (command === "version") console.log(`@netkit/socketserver ${VERSION}`);
    else return await run(command);
    return 0;
  } catch (error) {
    stderr.write(`${formatText(messageOf(error).replace(/\s+/g, " "))}\n`);
    return isInstance(error, UsageError) ? 2 : 1;
  } finally {
    await stderr.flush();
  }
}

async function run(command: Command): Promise<number> {
  using output = new Output(command.logLevel);
  // Before any socket is opened: Deno 2.9 panics when signals are set up with no descriptor left.
  const interrupted = interruption(output);
  const handler = await Promise.race([loadHandler(command), interrupted]);
  if (handler === undefined) return 0;
  if (command.mode === "forking") checkRun();
  const server = makeServer(command, handler, output);
  console.log(
    `Listening on ${socketserver.formatAddress(server.serverAddress)} ` +
      `(${command.listen.transport}, ${command.mode})`,
  );
  if (command.stats !== null) output.show(countersOf(server), command.stats);
  let exitCode = 0;
  try {
    await Promise.race([server.serveForever(), interrupted]);
  } catch (error) {
    if (!isInstance(error, socketserver.ServerExit)) throw error;
    exitCode = error.code;
  }
  const { aborted } = await server.drain({ timeout: command.drain });
  if (aborted > 0) output.warn(`Requests cut off after ${command.drain} ms: ${aborted}`);
  return exitCode;
}

/** Resolves at the first signal; one that comes later, and is no copy of it, ends the program. */
function interruption(output: Output): Promise<undefined> {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  let first = Infinity; // when the first signal came
  for (const [signal, exitCode] of [["SIGINT", 130], ["SIGTERM", 143]] as const) {
    Deno.addSignalListener(signal, () => {
      if (performance.now() - first > SAME_SIGNAL) {
        output[Symbol.dispose]();
        Deno.exit(exitCode);
      }
      first = Math.min(first, performance.now());
      resolve(undefined);
    });
  }
  return promise;
}

/** Throws where Deno may not be started, which would be found out at each client only. */
function checkRun(): void {
  const deno = Deno.execPath();
  if (Deno.permissions.requestSync({ name: "run", command: deno }).state === "granted") return;
  throw new Deno.errors.NotCapable(
    `Cannot start subprocesses: needs run access to "${deno}", run again with the --allow-run flag`,
  );
}

/** Makes the server, which listens then. */
function makeServer(
  command: Command,
  handler: Handler,
  logger: socketserver.ServerLogger,
): socketserver.AnyServer {
  const { listen, mode, max, maxPerSource, requestTimeout, childPermissions } = command;
  const options = {
    logger,
    ...(max === null || mode === "sync" ? {} : { [MAX_OPTIONS[mode]]: max }),
    ...(maxPerSource === null ? {} : { maxConnectionsPerSource: maxPerSource }),
    ...(requestTimeout === null ? {} : { requestTimeout }),
    ...(childPermissions.length === 0 ? {} : { childPermissions }),
  };
  try {
    // parseCommand() has refused a pool on anything but TCP and TLS, loadHandler() functions where they cannot run.
    const Class = handler as Extract<Handler, socketserver.RemoteHandlerClass>;
    const [any, notPool] = [PREFIXES[mode], PREFIXES[mode as Exclude<Mode, "pool">]];
    switch (listen.transport) {
      case "tcp":
        return new socketserver[`${any}TCPServer`](listen.address, Class, options);
      case "tls": {
        const pem = { cert: readFile("cert", listen.cert), key: readFile("key", listen.key) };
        return new socketserver[`${any}TLSServer`](listen.address, Class, { ...options, ...pem });
      }
      case "udp":
        return new socketserver[`${notPool}UDPServer`](listen.address, Class, options);
      case "unix":
        return new socketserver[`${notPool}UnixStreamServer`](listen, Class, options);
      case "unix-datagram":
        return new socketserver[`${notPool}UnixDatagramServer`](listen, Class, options);
    }
  } catch (error) {
    if (!(error instanceof TypeError || error instanceof RangeError)) throw error;
    // What a server refuses to be made of; two of its options are flags of the same name.
    throw new UsageError(error.message.replace(/option '(cert|key)'/, "--$1"));
  }
}

function readFile(flag: "cert" | "key", path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    throw new Error(`Cannot read --${flag} "${path}": ${(error as Error).message}`, {
      cause: error,
    });
  }
}

if (import.meta.main) {
  // To end by itself takes a while, in which a late copy of the signal would kill the program.
  Deno.exit(await main(Deno.args));
}
