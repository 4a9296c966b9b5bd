/**
 * A syslog collector: it prints messages of RFC 5424 and RFC 3164 that come over UDP, and over TCP (RFC 6587), where
 * each has its length before it or a line end behind it.
 *
 * Run `deno run --unstable-net --allow-net=127.0.0.1:5514 examples/syslog.ts`, then
 * `logger --rfc5424 --udp --server 127.0.0.1 --port 5514 hello` in another terminal, or with `--tcp --octet-count`. In
 * Python, a client is `logging.handlers.SysLogHandler(("127.0.0.1", 5514))`.
 */
import { parseArgs } from "@std/cli";
import {
  ConcurrentTCPServer,
  DatagramRequestHandler,
  formatText,
  type SocketAddress,
  StreamRequestHandler,
  UDPServer,
} from "@netkit/socketserver";

const MAX_MESSAGE = 8192; // bytes
const SEVERITIES = "emerg alert crit err warning notice info debug".split(" ");
const FACILITIES =
  ("kern user mail daemon auth syslog lpr news uucp cron authpriv ftp ntp audit alert clock " +
    "local0 local1 local2 local3 local4 local5 local6 local7").split(" ");
/** RFC 5424: `<PRI>1 TIMESTAMP HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA MSG`; a field that is not known is "-". */
const NEW = new RegExp(
  /^<(?<priority>0|[1-9]\d{0,2})>1 (?<time>\S+) (?<host>\S{1,255}) (?<app>\S{1,48}) (?<pid>\S{1,128}) (?<id>\S{1,32}) /
    .source + /(?<data>-|(?:\[(?:[^\]"]|"(?:[^"\\]|\\.)*")*\])+)(?: \uFEFF?(?<text>.*))?$/.source,
  "su",
);
/** RFC 3164: `<PRI>Mmm dd hh:mm:ss HOSTNAME MSG`, of which senders leave out all but the priority and the message. */
const OLD =
  /^<(?<priority>0|[1-9]\d{0,2})>(?:(?<time>[A-Z][a-z]{2} [ \d]\d [\d:]{8}) (?<host>\S+) )?(?<text>.*)$/su;

class DatagramSyslogHandler extends DatagramRequestHandler {
  override handle(): void {
    show(this.packet, this.clientAddress);
  }
}

class SyslogHandler extends StreamRequestHandler {
  override async handle(): Promise<void> {
    for (let first; (first = await this.rfile.peek(1)).length > 0;) {
      if (first[0] === 0x3c) { // "<"
        show(await this.rfile.readline(MAX_MESSAGE), this.clientAddress);
      } else if (first[0] === 0x20 || first[0] === 0x0a) {
        await this.rfile.readExactly(1); // a blank or a line end that belongs to nothing
      } else {
        const digits = new TextDecoder().decode(await this.rfile.readUntil(" ", 6));
        const length = /^[1-9]\d* $/.test(digits) ? Number(digits) : NaN;
        if (!(length <= MAX_MESSAGE)) {
          return console.log(`? ${this.clientAddress} was cut off: no length`);
        }
        show(await this.rfile.readExactly(length), this.clientAddress);
      }
    }
  }
}

/** Prints a message in one line: what anybody may send could forge others, or steer a terminal. */
function show(message: Uint8Array, sender: SocketAddress): void {
  const text = new TextDecoder().decode(message).replace(/[\0\n]$/, "");
  const line = format(text, `${sender}`) ?? `? ${sender} ${text}`;
  console.log(formatText(line.trimEnd()));
}

/** What is printed of a message; null when it is none of either RFC. */
function format(message: string, sender: string): string | null {
  const fields = (NEW.exec(message) ?? OLD.exec(message))?.groups;
  const priority = Number(fields?.priority);
  const facility = FACILITIES[priority >> 3];
  if (fields === undefined || facility === undefined) return null;
  const { time = "-", host = sender, app, pid, data = "-", text = "" } = fields;
  const origin = app === undefined ? host : `${host} ${app}[${pid}]`;
  const structured = data === "-" ? "" : `${data} `;
  return `${time} ${origin} ${facility}.${SEVERITIES[priority & 7]}: ${structured}${text}`;
}

if (import.meta.main) {
  const { port } = parseArgs(Deno.args, { string: ["port"], default: { port: "5514" } });
  const address = { hostname: "127.0.0.1", port: Number(port) };
  await using datagrams = new UDPServer(address, DatagramSyslogHandler);
  await using streams = new ConcurrentTCPServer(address, SyslogHandler);
  const servers = [datagrams, streams];
  const leave = () => servers.forEach((server) => server.drain({ timeout: 1000 }));
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);
  console.log(`Listening on ${streams.serverAddress}`);
  await Promise.all(servers.map((server) => server.serveForever()));
  console.log("Leaving.");
}
