/**
 * The ready-made servers that run each request in a subprocess.
 *
 * Each class is {@linkcode ForkingMixIn} over the plain server, with nothing of its own.
 *
 * @module
 */
import { type Forking, ForkingMixIn } from "./forking_mix_in.ts";
import { TCPServer } from "./tcp_server.ts";
import { TLSServer } from "./tls_server.ts";
import { UDPServer } from "./udp_server.ts";
import { UnixDatagramServer, UnixStreamServer } from "./unix_server.ts";

/** What {@linkcode ForkingTCPServer} extends. */
export const ForkingTCPServerBase: Forking<typeof TCPServer> = ForkingMixIn(TCPServer);

/**
 * {@linkcode TCPServer} that runs each request in a subprocess.
 *
 * @example Answer in upper case
 * ```ts
 * import { ForkingTCPServer, StreamRequestHandler } from "@netkit/socketserver";
 *
 * export class UpperHandler extends StreamRequestHandler {
 *   static override readonly moduleUrl = import.meta.url;
 *   override async handle() {
 *     for await (const line of this.rfile.lines()) {
 *       await this.wfile.write(`${line.toUpperCase()}\n`);
 *     }
 *   }
 * }
 * if (import.meta.main) {
 *   await using server = new ForkingTCPServer({ hostname: "127.0.0.1", port: 0 }, UpperHandler, { maxChildren: 8 });
 *   await server.serveForever();
 * }
 * ```
 */
export class ForkingTCPServer extends ForkingTCPServerBase {}

/** What {@linkcode ForkingTLSServer} extends. */
export const ForkingTLSServerBase: Forking<typeof TLSServer> = ForkingMixIn(TLSServer);

/**
 * {@linkcode TLSServer} that runs each request in a subprocess.
 *
 * @example Answer in upper case
 * ```ts
 * import { ForkingTLSServer, StreamRequestHandler } from "@netkit/socketserver";
 *
 * export class UpperHandler extends StreamRequestHandler {
 *   static override readonly moduleUrl = import.meta.url;
 *   override async handle() {
 *     for await (const line of this.rfile.lines()) {
 *       await this.wfile.write(`${line.toUpperCase()}\n`);
 *     }
 *   }
 * }
 * if (import.meta.main) {
 *   await using server = new ForkingTLSServer({ hostname: "", port: 8443 }, UpperHandler, {
 *     cert: await Deno.readTextFile("cert.pem"),
 *     key: await Deno.readTextFile("key.pem"),
 *   });
 *   await server.serveForever();
 * }
 * ```
 */
export class ForkingTLSServer extends ForkingTLSServerBase {}

/** What {@linkcode ForkingUDPServer} extends. */
export const ForkingUDPServerBase: Forking<typeof UDPServer> = ForkingMixIn(UDPServer);

/**
 * {@linkcode UDPServer} that runs each request in a subprocess.
 *
 * @example Answer in upper case
 * ```ts
 * import { DatagramRequestHandler, ForkingUDPServer } from "@netkit/socketserver";
 *
 * export class UpperHandler extends DatagramRequestHandler {
 *   static override readonly moduleUrl = import.meta.url;
 *   override async handle() {
 *     await this.wfile.write(new TextDecoder().decode(this.packet).toUpperCase());
 *   }
 * }
 * if (import.meta.main) {
 *   await using server = new ForkingUDPServer({ hostname: "127.0.0.1", port: 0 }, UpperHandler, { maxChildren: 8 });
 *   await server.serveForever();
 * }
 * ```
 */
export class ForkingUDPServer extends ForkingUDPServerBase {}

/** What {@linkcode ForkingUnixStreamServer} extends. */
export const ForkingUnixStreamServerBase: Forking<typeof UnixStreamServer> = ForkingMixIn(
  UnixStreamServer,
);

/**
 * {@linkcode UnixStreamServer} that runs each request in a subprocess.
 *
 * @example Answer in upper case
 * ```ts
 * import { ForkingUnixStreamServer, StreamRequestHandler } from "@netkit/socketserver";
 *
 * export class UpperHandler extends StreamRequestHandler {
 *   static override readonly moduleUrl = import.meta.url;
 *   override async handle() {
 *     for await (const line of this.rfile.lines()) {
 *       await this.wfile.write(`${line.toUpperCase()}\n`);
 *     }
 *   }
 * }
 * if (import.meta.main) {
 *   await using server = new ForkingUnixStreamServer({ path: "/run/shout.sock" }, UpperHandler, { maxChildren: 8 });
 *   await server.serveForever();
 * }
 * ```
 */
export class ForkingUnixStreamServer extends ForkingUnixStreamServerBase {}

/** What {@linkcode ForkingUnixDatagramServer} extends. */
export const ForkingUnixDatagramServerBase: Forking<typeof UnixDatagramServer> = ForkingMixIn(
  UnixDatagramServer,
);

/**
 * {@linkcode UnixDatagramServer} that runs each request in a subprocess.
 *
 * @example Answer in upper case
 * ```ts
 * import { DatagramRequestHandler, ForkingUnixDatagramServer } from "@netkit/socketserver";
 *
 * export class UpperHandler extends DatagramRequestHandler {
 *   static override readonly moduleUrl = import.meta.url;
 *   override async handle() {
 *     await this.wfile.write(new TextDecoder().decode(this.packet).toUpperCase());
 *   }
 * }
 * if (import.meta.main) {
 *   await using server = new ForkingUnixDatagramServer({ path: "/run/shout.sock" }, UpperHandler, { maxChildren: 8 });
 *   await server.serveForever();
 * }
 * ```
 */
export class ForkingUnixDatagramServer extends ForkingUnixDatagramServerBase {}
