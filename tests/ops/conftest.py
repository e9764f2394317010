import http.server
import math
import threading

import pytest

from deploying import Cluster

LIMITED = (200, {"X-RateLimit-Limit": "30", "X-RateLimit-Remaining": "29", "X-Quota-Tier": "anonymous"})


class Proxy(http.server.BaseHTTPRequestHandler):
    """Answers for Kong's proxy as `server.answers` says: the first `late` with 404, and after `gone` without limits."""

    def do_GET(self):  # noqa: N802, the name that http.server wants
        self.server.asked += 1
        self.server.paths.append(self.path)
        self.server.keys.append(self.headers["apikey"])
        self.server.hosts.append(self.headers["Host"])
        status, headers = self.server.answers
        if self.server.asked <= self.server.late:
            status, headers = 404, {}
        if self.server.asked > self.server.gone or self.path == self.server.unlimited:
            headers = {}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def cluster(tmp_path):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        proxy.answers, proxy.asked, proxy.late, proxy.gone, proxy.paths, proxy.unlimited = LIMITED, 0, 0, math.inf, [], None
        proxy.keys, proxy.hosts = [], []
        threading.Thread(target=proxy.serve_forever, args=(0.01,), daemon=True).start()
        yield Cluster(tmp_path, proxy)
        proxy.shutdown()
