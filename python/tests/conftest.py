"""Real servers on free ports of loopback, and a policy for them."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
COMMAND = Path(os.environ.get("TOLLGATE_COMMAND", HERE.parents[1] / "dist/tollgate"))
GATEWAY_TOKEN = "the-gateways-token-of-the-tests"
ADMIN_TOKEN = "the-admins-token-of-the-tests"


def policy(**changes: Any) -> dict[str, Any]:
    """A policy with a tier for each kind of test."""
    base: dict[str, Any] = {
        "namespace": "tests",
        "tiers": {
            "free": {"rate": "10/minute", "monthly": 1000},
            "pro": {"rate": "100/minute", "burst": 1.5, "monthly": 100_000},
            "partner": {"rate": "unlimited", "monthly": "unlimited"},
        },
        "default_tier": "free",
        "anonymous": {"rate": "4/minute"},
        "identity": {"consumer": [{"header": "x-consumer-username"}], "tier": [{"header": "x-consumer-groups"}]},
        "endpoints": [{"path": "/health", "cost": 0}, {"path": "/compare", "cost": 2}],
        "overrides": [{"consumer": "billing", "tier": "partner"}],
    }
    return {**base, **changes}


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def until(condition: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    """Waits until `condition` is true, and returns what it says."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, f"{what} did not come about in {seconds} s"
        time.sleep(0.02)


async def until_async(condition: Callable[[], Any], what: str, seconds: float = 30) -> None:
    """Waits until `condition` is true, and lets the loop go on."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} did not come about in {seconds} s"
        await asyncio.sleep(0.01)


def answers(url: str) -> bool:
    """Whether a server answers there."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except urllib.error.HTTPError as error:
        with error:
            return error.code == 404
    except OSError:
        return False


class Process:
    """A server of a test."""

    def __init__(self, arguments: list[str], log: Path, **environment: str) -> None:
        self.log = log
        self._output = log.open("wb")
        self.process = subprocess.Popen(
            arguments,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            # Where no folder is taken for the package.
            cwd=log.parent,
        )

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Sends a signal, and waits for the end."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
        try:
            self.process.wait(30)
        finally:
            # What does not end when it is told would be in the next tests' way.
            self.process.kill()
            self.process.wait()
            self._output.close()


class Store(Process):
    """The real store."""

    def __init__(self, folder: Path, backend: str, port: int | None = None) -> None:
        assert COMMAND.is_file(), f"{COMMAND} is not there: run `make build` first, or set TOLLGATE_COMMAND to yours"
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.backend = backend
        self.folder = folder
        arguments = ["store", "--listen", f"127.0.0.1:{self.port}", "--backend", backend]
        super().__init__(
            [str(COMMAND), *arguments],
            folder / "store.log",
            TOLLGATE_GATEWAY_TOKEN=GATEWAY_TOKEN,
            TOLLGATE_ADMIN_TOKEN=ADMIN_TOKEN,
        )
        until(lambda: answers(f"{self.url}/readyz"), "a store")

    def hang(self) -> None:
        """Stops the store where it is: its connections stay, and nothing is answered."""
        self.process.send_signal(signal.SIGSTOP)
        threads = Path(f"/proc/{self.process.pid}/task")
        # The signal takes a moment, in which a thread may still answer.
        until(lambda: all(") T" in (it / "stat").read_text() for it in threads.iterdir()), "that the store hangs")

    def go_on(self) -> None:
        """Wakes it."""
        self.process.send_signal(signal.SIGCONT)

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Calls its API as an admin."""
        request = urllib.request.Request(
            f"{self.url}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"authorization": f"Bearer {ADMIN_TOKEN}", "content-type": "application/json"},
            method="GET" if body is None else "PUT",
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)

    def used(self, consumer: str, namespace: str = "tests") -> float:
        """What a consumer has used of this month."""
        try:
            used: float = self.ask(f"/v1/usage/{namespace}/{consumer}")["used"]
        except urllib.error.HTTPError as error:
            assert error.code == 404, error.code
            return 0
        return used


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store that keeps its accounts in memory."""
    with started_store(tmp_path, "memory") as store:
        yield store


@pytest.fixture(params=["memory", "redb"])
def any_store(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Store]:
    """A store, on each backend that needs no server."""
    backend = "memory" if request.param == "memory" else f"redb:{tmp_path}/store.redb"
    with started_store(tmp_path, backend) as store:
        yield store


@contextlib.contextmanager
def started_store(folder: Path, backend: str) -> Iterator[Store]:
    """A store for the length of a block."""
    store = Store(folder, backend)
    try:
        yield store
    finally:
        store.kill()


@contextlib.contextmanager
def serving(arguments: list[str], port: int, folder: Path, **environment: str) -> Iterator[Process]:
    """An application's server for the length of a block."""
    path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = Process(
        [sys.executable, "-m", *arguments], folder / f"{arguments[0]}.log", PYTHONPATH=path, **environment
    )
    try:
        until(
            lambda: answers(f"http://127.0.0.1:{port}/health") or process.process.poll() is not None, "an application"
        )
        assert process.process.poll() is None, process.log.read_text()
        yield process
    finally:
        process.kill(signal.SIGTERM)
