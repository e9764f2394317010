"""The sample upstream, which answers every request with what it received.

It does what tests/support/src/upstream.rs does, where Kong runs in containers, with Python's standard library alone.
Usage: upstream.py HOST PORT
"""

import http.client
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Tests send absurd numbers of headers through the gateway.
http.client._MAXHEADERS = 2048


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65536  # an answer in one piece

    def answer(self):
        headers = {}
        for name, value in self.headers.items():
            headers.setdefault(name.lower(), []).append(value)
        length = int(self.headers.get("content-length") or 0)
        self.rfile.read(length)
        # The server has already normalized self.path.
        path = self.requestline.split(" ")[1]
        received = {"method": self.command, "path": path, "headers": headers}
        body = json.dumps(received).encode()
        redirect = self.headers.get("x-sample-redirect", path)
        is_there = redirect.endswith(path)
        self.send_response(int(self.headers.get("x-sample-status", 200 if is_there else 302)))
        if not is_there:
            self.send_header("Location", redirect)
        for wanted in headers.get("x-sample-response-header", []):
            name, _, value = wanted.partition(":")
            self.send_header(name.strip(), value.strip())
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024


if __name__ == "__main__":
    with Server((sys.argv[1], int(sys.argv[2])), Echo) as server:
        print("the sample upstream listens on port", server.server_port, flush=True)
        server.serve_forever()
