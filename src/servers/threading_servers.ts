/**
 * The ready-made servers that run each request in a Web Worker.
 *
 * Each class is {@linkcode ThreadingMixIn} over the plain server, with nothing of its own.
 *
 * @module
 */
import { type Threading, ThreadingMixIn } from "./threading_mix_in.ts";
import { TCPServer } from "./tcp_server.ts";
import { TLSServer } from "./tls_server.ts";
import { UDPServer } from "./udp_server.ts";
import { UnixDatagramServer, UnixStreamServer } from "./unix_server.ts";

/** What {@linkcode ThreadingTCPServer} extends. */
export const ThreadingTCPServerBase: Threading<typeof TCPServer> = ThreadingMixIn(TCPServer);

/**
 * {@linkcode TCPServer} that runs each request in a Web Worker.
 *
 * @example Answer in upper case
 * ```ts
 * import { StreamRequestHandler, ThreadingTCPServer } from "@netkit/socketserver";
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
 *   await using server = new ThreadingTCPServer({ hostname: "127.0.0.1", port: 0 }, UpperHandler, { maxThreads: 8 });
 *   await server.serveForever();
 * }
 * ```
 */
export class ThreadingTCPServer extends ThreadingTCPServerBase {}

/** What {@linkcode ThreadingTLSServer} extends. */
export const ThreadingTLSServerBase: Threading<typeof TLSServer> = ThreadingMixIn(TLSServer);

/**
 * {@linkcode TLSServer} that runs each request in a Web Worker.
 *
 * @example Answer in upper case
 * ```ts
 * import { StreamRequestHandler, ThreadingTLSServer } from "@netkit/socketserver";
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
 *   await using server = new ThreadingTLSServer({ hostname: "", port: 8443 }, UpperHandler, {
 *     cert: await Deno.readTextFile("cert.pem"),
 *     key: await Deno.readTextFile("key.pem"),
 *   });
 *   await server.serveForever();
 * }
 * ```
 */
export class ThreadingTLSServer extends ThreadingTLSServerBase {}

/** What {@linkcode ThreadingUDPServer} extends. */
export const ThreadingUDPServerBase: Threading<typeof UDPServer> = ThreadingMixIn(UDPServer);

/**
 * {@linkcode UDPServer} that runs each request in a Web Worker.
 *
 * @example Answer in upper case
 * ```ts
 * import { DatagramRequestHandler, ThreadingUDPServer } from "@netkit/socketserver";
 *
 * export class UpperHandler extends DatagramRequestHandler {
 *   static override readonly moduleUrl = import.meta.url;
 *   override async handle() {
 *     await this.wfile.write(new TextDecoder().decode(this.packet).toUpperCase());
 *   }
 * }
 * if (import.meta.main) {
 *   await using server = new ThreadingUDPServer({ hostname: "127.0.0.1", port: 0 }, UpperHandler, { maxThreads: 8 });
 *   await server.serveForever();
 * }
 * ```
 */
export class ThreadingUDPServer extends ThreadingUDPServerBase {}

/** What {@linkcode ThreadingUnixStreamServer} extends. */
export const ThreadingUnixStreamServerBase: Threading<typeof UnixStreamServer> = ThreadingMixIn(
  UnixStreamServer,
);

/**
 * {@linkcode UnixStreamServer} that runs each request in a Web Worker.
 *
 * @example Answer in upper case
 * ```ts
 * import { StreamRequestHandler, ThreadingUnixStreamServer } from "@netkit/socketserver";
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
 *   await using server = new ThreadingUnixStreamServer({ path: "/run/shout.sock" }, UpperHandler, { maxThreads: 8 });
 *   await server.serveForever();
 * }
 * ```
 */
export class ThreadingUnixStreamServer extends ThreadingUnixStreamServerBase {}

/** What {@linkcode ThreadingUnixDatagramServer} extends. */
export const ThreadingUnixDatagramServerBase: Threading<typeof UnixDatagramServer> = ThreadingMixIn(
  UnixDatagramServer,
);

/**
 * {@linkcode UnixDatagramServer} that runs each request in a Web Worker.
 *
 * @example Answer in upper case
 * ```ts
 * import { DatagramRequestHandler, ThreadingUnixDatagramServer } from "@netkit/socketserver";
 *
 * export class UpperHandler extends DatagramRequestHandler {
 *   static override readonly moduleUrl = import.meta.url;
 *   override async handle() {
 *     await this.wfile.write(new TextDecoder().decode(this.packet).toUpperCase());
 *   }
 * }
 * if (import.meta.main) {
 *   await using server = new ThreadingUnixDatagramServer({ path: "/run/shout.sock" }, UpperHandler, { maxThreads: 8 });
 *   await server.serveForever();
 * }
 * ```
 */
export class ThreadingUnixDatagramServer extends ThreadingUnixDatagramServerBase {}
