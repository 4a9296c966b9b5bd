"""CPython's servers, for comparison: `python3 contenders.py NAME` prints its port and serves until it is killed."""

import hashlib
import socketserver
import sys

HASHED_BLOCKS = 30_000  # about 20 ms of SHA-256, in pieces too small for Python to let other threads run
BLOCK = bytes(1024)


class RecvHandler(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(65536):
            self.request.sendall(data)


class HashHandler(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(1024):
            digest = hashlib.sha256()
            for _ in range(HASHED_BLOCKS):
                digest.update(BLOCK)
            self.request.sendall(data)


CONTENDERS = {
    "python-threading": (socketserver.ThreadingTCPServer, RecvHandler),
    "python-forking": (socketserver.ForkingTCPServer, RecvHandler),
    "python-threads-hash": (socketserver.ThreadingTCPServer, HashHandler),
}

server_class, handler_class = CONTENDERS[sys.argv[1]]
server_class.request_queue_size = 511
server_class.daemon_threads = True
server_class.handle_error = lambda *_: None  # clients that reset are no news
with server_class(("127.0.0.1", 0), handler_class) as server:
    print(server.server_address[1], flush=True)
    server.serve_forever()
