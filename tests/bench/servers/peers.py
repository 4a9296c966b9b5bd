"""CPython's servers: `python3 peers.py MODE SERVICE` prints its port and serves until it is killed."""

import asyncio
import hashlib
import resource
import socketserver
import sys

HASHED_BLOCKS = 30_000  # about 20 ms of SHA-256, in pieces too small for Python to let other threads run
BLOCK = bytes(1024)


def compute():
    digest = hashlib.sha256()
    for _ in range(HASHED_BLOCKS):
        digest.update(BLOCK)
    digest.digest()


class EchoHandler(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(65536):
            self.request.sendall(data)


class LineHandler(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line)


class ComputeHandler(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(65536):
            compute()
            self.request.sendall(data)


class DatagramHandler(socketserver.BaseRequestHandler):
    def handle(self):
        data, socket = self.request
        socket.sendto(data, self.client_address)


HANDLERS = {"echo": EchoHandler, "lines": LineHandler, "compute": ComputeHandler, "udp": DatagramHandler}
SERVERS = {
    "plain": (socketserver.TCPServer, socketserver.UDPServer),
    "threading": (socketserver.ThreadingTCPServer, socketserver.ThreadingUDPServer),
    "forking": (socketserver.ForkingTCPServer, socketserver.ForkingUDPServer),
}


async def answer(reader, writer):
    service = sys.argv[2]
    try:
        while data := await (reader.readline() if service == "lines" else reader.read(65536)):
            if service == "compute":
                compute()
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass  # the client has reset the connection
    finally:
        writer.close()


class Datagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.transport.sendto(data, addr)


async def serve_asyncio(service):
    if service == "udp":
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(Datagrams, ("127.0.0.1", 0))
        print(transport.get_extra_info("sockname")[1], flush=True)
        await asyncio.Event().wait()
    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=511)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def serve(mode, service):
    server_class = SERVERS[mode][service == "udp"]
    server_class.request_queue_size = 511
    server_class.daemon_threads = True
    server_class.max_children = 512  # 40 by default, with which the 41st client waits
    server_class.handle_error = lambda *_: None  # clients that reset are no news
    with server_class(("127.0.0.1", 0), HANDLERS[service]) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
if sys.argv[1] == "asyncio":
    asyncio.run(serve_asyncio(sys.argv[2]))
else:
    serve(sys.argv[1], sys.argv[2])
