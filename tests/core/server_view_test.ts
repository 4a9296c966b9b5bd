/**
 * What handlers know of their server by its type, and which servers refuse a handler that claims to know more.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import {
  type AnyServer,
  BaseRequestHandler,
  ConcurrentTCPServer,
  type Constructor,
  type DatagramRequest,
  DatagramRequestHandler,
  ForkingMixIn,
  ForkingTCPServer,
  ForkingUDPServer,
  PoolTCPServer,
  PoolTLSServer,
  type RequestHandlerClass,
  type ServerView,
  StreamRequestHandler,
  type StreamSocket,
  type TCPAddr,
  TCPServer,
  ThreadingMixIn,
  ThreadingTCPServer,
  ThreadingUDPServer,
  UDPServer,
} from "@netkit/socketserver";
import { exchange, LOOPBACK, start, TLS } from "../harness.ts";
import { GuestHandler } from "./view_handlers.ts";

/** What handlers reach of a server, and what they do not; as a mix-in, which users write over any server. */
function withGuests<Base extends Constructor<TCPServer>>(Base: Base) {
  abstract class GuestServer extends Base {
    override readonly calls = ["count"] as const;
    guests = 0;

    count(name: string): number {
      return name === "" ? 0 : ++this.guests;
    }
  }
  return GuestServer;
}

const context = { greeting: "Hello" };

/** Gives a context, whatever the server is. */
function withGreeting<Base extends Constructor<AnyServer>>(Base: Base) {
  abstract class GreetingServer extends Base {
    override requestContext(): { greeting: string } {
      return context;
    }
  }
  return GreetingServer;
}

export class PlainGuests extends withGuests(TCPServer) {
  override requestContext(): { greeting: string } {
    return context;
  }
}
class ThreadingGuests extends withGuests(ThreadingTCPServer) {
  override requestContext() {
    return context;
  }
}
class ForkingGuests extends ForkingMixIn(PlainGuests) {}
/** Has the context of a mix-in. */
class GreetingGuests extends ThreadingMixIn(withGreeting(withGuests(TCPServer))) {}
class PoolGuests extends withGuests(PoolTCPServer) {
  override requestContext() {
    return context;
  }
}

for (const Server of [PlainGuests, ThreadingGuests, GreetingGuests, ForkingGuests, PoolGuests]) {
  Deno.test(`ServerView has of ${Server.name} what its type says`, async () => {
    await using started = start<TCPServer>(new Server(LOOPBACK, GuestHandler));
    const { serverAddress } = started.server;
    const { port } = serverAddress;
    assertEquals(await exchange(serverAddress, ""), `Hello on ${port} SOCK_STREAM 1`);
  });
}

// What follows is for the type checker; nothing of it is run.

class ViewHandler extends StreamRequestHandler {
  declare readonly server: ServerView<ThreadingGuests>;

  override async handle(): Promise<void> {
    const { server } = this;
    const { greeting } = server.context;
    const { port } = server.serverAddress;
    const count: number = await server.call("count", greeting);
    // @ts-expect-error: nothing of that name in the context
    server.context.other;
    // @ts-expect-error: the context is sent, not shared
    server.context = { greeting };
    // @ts-expect-error: a method that is not named in `calls`
    await server.call("drain");
    // @ts-expect-error: a number where there is a string
    await server.call("count", port);
    // @ts-expect-error: a string where there is a number
    const wrong: string = await server.call("count", "Ann");
    // @ts-expect-error: a field, which stays where the server is
    server.guests;
    // @ts-expect-error: a method, called without call()
    server.count("Ann");
    // @ts-expect-error: the server is elsewhere
    await server.shutdown();
    await this.wfile.write(`${count} ${wrong}`);
  }
}

/** Has servers whose context is that of a mix-in, under and over another one. */
class MixedHandler extends StreamRequestHandler {
  declare readonly server: ServerView<GreetingGuests>;
  override handle(): void {
    const greeting: string = this.server.context.greeting;
    const over = this.server as unknown as ServerView<OverGuests>;
    const same: string = over.context.greeting;
    // @ts-expect-error: nothing of that name in the context
    this.server.context.other;
    this.wfile.writeSync(greeting + same);
  }
}
class OverGuests extends withGreeting(ForkingMixIn(withGreeting(withGuests(TCPServer)))) {}

/** Says nothing of its server. */
class SilentHandler extends StreamRequestHandler {
  override async handle(): Promise<void> {
    // @ts-expect-error: there may be no more than a stand-in
    await this.server.shutdown();
    // @ts-expect-error: what the context is nobody has said
    this.server.context.greeting;
  }
}

class WholeHandler extends StreamRequestHandler {
  declare readonly server: TCPServer;
  override async handle(): Promise<void> {
    await this.server.shutdown();
  }
}
class OwnHandler extends BaseRequestHandler {
  declare readonly server: PlainGuests;
  override handle(): void {
    this.server.guests++;
  }
}
class ThreadingHandler extends StreamRequestHandler {
  declare readonly server: ThreadingGuests;
}
class AnyHandler extends StreamRequestHandler {
  declare readonly server: AnyServer;
}
class PacketHandler extends DatagramRequestHandler {
  declare readonly server: UDPServer;
}
class PacketViewHandler extends BaseRequestHandler<DatagramRequest> {
  declare readonly server: ServerView<UDPServer>;
}

/** Has a fourth parameter, and is made by the server that has it. */
class FourthHandler extends StreamRequestHandler {
  constructor(request: StreamSocket, from: TCPAddr, server: AnyServer, readonly more = "more") {
    super(request, from, server);
  }
}

function _whereHandlersFit(Given: RequestHandlerClass<StreamSocket, TCPAddr>): AnyServer[] {
  const pem = { cert: TLS.cert, key: TLS.key };
  return [
    new TCPServer(LOOPBACK, ViewHandler),
    new TCPServer(LOOPBACK, WholeHandler),
    new PlainGuests(LOOPBACK, OwnHandler),
    new UDPServer(LOOPBACK, PacketHandler),
    new ConcurrentTCPServer(LOOPBACK, AnyHandler),
    new ConcurrentTCPServer(LOOPBACK, WholeHandler, { maxConnections: 8 }),
    new ThreadingGuests(LOOPBACK, ViewHandler, { maxThreads: 8 }),
    new ThreadingTCPServer(LOOPBACK, SilentHandler),
    new GreetingGuests(LOOPBACK, MixedHandler, { maxThreads: 8 }),
    new OverGuests(LOOPBACK, MixedHandler, { maxChildren: 8 }),
    new ThreadingTCPServer(LOOPBACK, FourthHandler),
    new ThreadingUDPServer(LOOPBACK, PacketViewHandler),
    new ForkingTCPServer(LOOPBACK, Given),
    new PoolTLSServer(LOOPBACK, ViewHandler, pem),
    // @ts-expect-error: its server is elsewhere
    new ThreadingTCPServer(LOOPBACK, WholeHandler),
    // @ts-expect-error: its server is elsewhere
    new ThreadingTCPServer(LOOPBACK, AnyHandler),
    // @ts-expect-error: its server is elsewhere
    new ThreadingGuests(LOOPBACK, ThreadingHandler, { maxThreads: 8 }),
    // @ts-expect-error: its server is elsewhere
    new ThreadingUDPServer(LOOPBACK, PacketHandler),
    // @ts-expect-error: its server is elsewhere
    new ForkingGuests(LOOPBACK, OwnHandler),
    // @ts-expect-error: its server is elsewhere
    new ForkingUDPServer(LOOPBACK, PacketHandler),
    // @ts-expect-error: its server is elsewhere
    new PoolGuests(LOOPBACK, OwnHandler),
    // @ts-expect-error: its server is elsewhere
    new PoolTLSServer(LOOPBACK, WholeHandler, pem),
    // @ts-expect-error: its server is elsewhere
    new (ThreadingMixIn(PlainGuests))(LOOPBACK, OwnHandler),
    // @ts-expect-error: its server is elsewhere
    new (withGuests(ThreadingMixIn(TCPServer)))(LOOPBACK, OwnHandler),
  ];
}
