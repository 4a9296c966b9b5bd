/**
 * A syslog collector: it prints the messages of RFC 5424 that come over UDP.
 *
 * Run `deno run --unstable-net --allow-net=127.0.0.1:5514 examples/syslog.ts`, then
 * `logger --rfc5424 --udp --server 127.0.0.1 --port 5514 hello` in another terminal. In Python, a
 * `DatagramRequestHandler` with `logging.handlers.SysLogHandler` at the other end.
 */
import { parseArgs } from "@std/cli";
import { DatagramRequestHandler, formatAddress, UDPServer } from "@netkit/socketserver";

const SEVERITIES = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
// deno-fmt-ignore
const FACILITIES = [
  "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
  "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];
/** `<PRI>1 TIMESTAMP HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA MSG`; a field that is not known is "-". */
const MESSAGE = new RegExp(
  /^<(?<priority>0|[1-9]\d{0,2})>1 (?<time>\S+) (?<host>\S{1,255}) (?<app>\S{1,48}) (?<pid>\S{1,128}) (?<id>\S{1,32}) /
    .source + /(?<data>-|(?:\[(?:[^\]"]|"(?:[^"\\]|\\.)*")*\])+)(?: (?<text>.*))?$/.source,
  "su",
);

class SyslogHandler extends DatagramRequestHandler {
  override handle(): void {
    const message = new TextDecoder().decode(this.packet);
    console.log(printable(format(message) ?? `? ${formatAddress(this.clientAddress)} ${message}`));
  }
}

/** What is printed of a message; null when it is none of RFC 5424. */
function format(message: string): string | null {
  const fields = MESSAGE.exec(message)?.groups;
  if (fields === undefined) return null;
  const priority = Number(fields.priority);
  const facility = FACILITIES[priority >> 3];
  if (facility === undefined) return null;
  const { time, host, app, pid, data, text = "" } = fields;
  const structured = data === "-" ? "" : ` ${data}`;
  const words = text.replace(/^\uFEFF/, ""); // a mark that says that it is UTF-8
  return `${time} ${host} ${app}[${pid}] ${facility}.${
    SEVERITIES[priority & 7]
  }:${structured} ${words}`;
}

/** Anybody may send anything: control characters could forge lines, or do things to a terminal. */
function printable(text: string): string {
  return text.trimEnd().replace(
    /\p{Cc}/gu,
    (char) => `#${char.charCodeAt(0).toString(8).padStart(3, "0")}`,
  );
}

if (import.meta.main) {
  const { port } = parseArgs(Deno.args, { string: ["port"], default: { port: "5514" } });
  await using server = new UDPServer({ hostname: "127.0.0.1", port: Number(port) }, SyslogHandler);
  console.log(`Listening on ${formatAddress(server.serverAddress)}`);
  Deno.addSignalListener("SIGINT", () => server.drain({ timeout: 1000 }));
  await server.serveForever();
  console.log("Leaving.");
}
