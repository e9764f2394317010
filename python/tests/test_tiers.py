"""The clients on the page for an API's customers, when no time makes their request pass."""

import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs/tiers.md").read_text()
NEVER = b'{"type":"about:blank","title":"Quota exceeded","status":429,"tier":"free"}'


class Server(ThreadingHTTPServer):
    """An API whose answer is always the same."""

    seen = 0


class Refusing(BaseHTTPRequestHandler):
    """Refuses without `Retry-After`."""

    server: Server

    def do_GET(self) -> None:
        self.server.seen += 1
        self.send_response(429)
        self.send_header("content-length", str(len(NEVER)))
        self.end_headers()
        self.wfile.write(NEVER)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Says nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("kind", "program", "said"),
    [("python", [sys.executable, "-c"], "HTTP Error 429"), ("javascript", ["node", "-e"], "the API answers 429")],
)
def test_a_client_stops_where_waiting_is_no_use(server: Server, kind: str, program: list[str], said: str) -> None:
    if shutil.which(program[0]) is None:
        pytest.skip(f"there is no {program[0]}")
    found = re.search(rf"```{kind} client\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    text = found[1].replace("127.0.0.1:8000", f"127.0.0.1:{server.server_port}")
    if kind == "javascript":
        program = ["node", "--input-type=module", "-e"]
    ended = subprocess.run([*program, text], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode != 0
    assert said in ended.stderr, ended.stderr
    assert "TypeError" not in ended.stderr, ended.stderr
    assert server.seen == 1
