"""CPython's servers, for comparison: `python3 contenders.py NAME` prints its port and serves until it is killed."""

import socketserver
import sys


class RecvHandler(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(65536):
            self.request.sendall(data)


CONTENDERS = {
    "python-threading": socketserver.ThreadingTCPServer,
    "python-forking": socketserver.ForkingTCPServer,
}

server_class = CONTENDERS[sys.argv[1]]
server_class.request_queue_size = 511
server_class.daemon_threads = True
server_class.handle_error = lambda *_: None  # clients that reset are no news
with server_class(("127.0.0.1", 0), RecvHandler) as server:
    print(server.server_address[1], flush=True)
    server.serve_forever()
