"""Real servers, several workers, and a real store."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from conftest import GATEWAY_TOKEN, Process, Store, answers, free_port, policy, serving, until

PATIENT: dict[str, Any] = {"upstream": "by-its-url", "timeout": "2s"}


def uvicorn(port: int, workers: int = 1) -> list[str]:
    """An application that uvicorn serves."""
    arguments = ["--factory", "apps:served", "--port", str(port), "--workers", str(workers), "--no-proxy-headers"]
    return ["uvicorn", *arguments, "--log-level", "warning"]


def hypercorn(port: int, workers: int = 1) -> list[str]:
    """An application that hypercorn serves."""
    return ["hypercorn", "apps:served()", "--bind", f"127.0.0.1:{port}", "--workers", str(workers)]


def environment(folder: Path, store: Store | None, **changes: Any) -> dict[str, str]:
    """What the application of `apps.served` reads."""
    file = folder / "policy.json"
    rules = policy(**changes) if store is None else policy(store=PATIENT, **changes)
    file.write_text(json.dumps(rules))
    return {"POLICY": str(file), **({} if store is None else {"STORE": store.url, "TOKEN": GATEWAY_TOKEN})}


async def statuses(url: str, count: int, headers: dict[str, str], at_once: int = 20) -> list[int]:
    """What so many requests are answered."""
    limits = httpx2.Limits(max_connections=at_once, max_keepalive_connections=at_once)
    async with httpx2.AsyncClient(limits=limits, timeout=30) as client:

        async def ask() -> int:
            response = await client.get(url, headers=headers)
            assert "x-quota-tier" in response.headers
            return response.status_code

        return await asyncio.gather(*(ask() for _ in range(count)))


@pytest.mark.parametrize("server", [uvicorn, hypercorn])
async def test_a_server_serves_it_all(tmp_path: Path, store: Store, server: Any) -> None:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    acme = {"x-test-consumer": "acme", "x-test-tier": "pro"}
    with serving(server(port), port, tmp_path, **environment(tmp_path, store)):
        async with httpx2.AsyncClient(base_url=base, timeout=30) as client:
            response = await client.get("/", headers=acme)
            assert (response.status_code, response.headers["x-quota-tier"]) == (200, "pro")
            streamed = await client.get("/streamed", headers=acme)
            assert (streamed.text, streamed.headers["x-ratelimit-limit"]) == ("one two three", "100")
            assert (await client.get("/mounted/five", headers=acme)).json() == {"cost": 5}
            assert (await client.get("/nowhere", headers=acme)).headers["x-quota-tier"] == "pro"
            seen = [(await client.get("/")).status_code for _ in range(6)]
            assert seen == [200] * 4 + [429] * 2, "anonymous clients"
        async with connect(f"ws://127.0.0.1:{port}/socket", additional_headers=acme) as websocket:
            assert await websocket.recv() == "pro"
            assert websocket.response is not None
            assert websocket.response.headers["x-quota-tier"] == "pro"
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"ws://127.0.0.1:{port}/socket")
        # Hypercorn closes the handshake, which it answers with 403, if it has no denials.
        assert refused.value.response.status_code == 429
        assert refused.value.response.headers["retry-after"] is not None
    # What was spent is told before the server has ended.
    assert store.used("acme") == 1 + 1 + 5 + 1 + 1


async def test_workers_share_one_limit_and_are_never_over(tmp_path: Path, store: Store) -> None:
    port = free_port()
    rules: dict[str, Any] = {"tiers": {"free": {"rate": "2000/day", "monthly": 100_000}}, "overrides": []}
    acme = {"x-test-consumer": "acme"}
    with serving(uvicorn(port, workers=4), port, tmp_path, **environment(tmp_path, store, **rules)) as process:
        found = await statuses(f"http://127.0.0.1:{port}/", 3000, acme, at_once=40)
        allowed = found.count(200)
        # A bucket of 2,000 drains by one in 43 seconds.
        assert allowed <= 2000 + 3, allowed
        assert allowed >= 0.95 * 2000, allowed
        assert set(found) == {200, 429}
        text = process.log.read_text()
        assert "Traceback" not in text, text
    assert store.used("acme") == allowed


async def test_a_thousand_connections_at_once(tmp_path: Path, store: Store) -> None:
    port = free_port()
    with serving(uvicorn(port), port, tmp_path, **environment(tmp_path, store)):
        url = f"http://127.0.0.1:{port}/"
        found = await statuses(url, 1000, {"x-test-consumer": "acme", "x-test-tier": "partner"}, at_once=200)
        assert found == [200] * 1000
    assert store.used("acme") == 1000


async def test_a_killed_worker_takes_no_more_than_it_held(tmp_path: Path, store: Store) -> None:
    port = free_port()
    rules: dict[str, Any] = {"tiers": {"free": {"rate": "1000/day", "monthly": 100_000}}, "overrides": []}
    acme = {"x-test-consumer": "acme"}
    allowed = 0
    for is_killed in [True, False]:
        with serving(uvicorn(port), port, tmp_path, **environment(tmp_path, store, **rules)) as process:
            allowed += (await statuses(f"http://127.0.0.1:{port}/", 100, acme)).count(200)
            if is_killed:
                process.kill(signal.SIGKILL)
    assert allowed == 200
    used = store.used("acme")
    # What the killed one held counts as spent when its lease is over: no more than it was lent, and that is not all.
    assert 100 <= used <= 1000, "the second has told all"
    port = free_port()
    with serving(uvicorn(port), port, tmp_path, **environment(tmp_path, store, **rules)):
        left = (await statuses(f"http://127.0.0.1:{port}/", 1000, acme)).count(200)
    assert 0 < left <= 1000 - 200 + 3, "no more than the bucket holds, and what drains meanwhile"


async def test_clients_that_leave_break_nothing(tmp_path: Path, store: Store) -> None:
    port = free_port()
    with serving(uvicorn(port), port, tmp_path, **environment(tmp_path, store)) as process:
        store.hang()
        for number in range(20):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                head = f"GET / HTTP/1.1\r\nhost: a\r\nx-test-consumer: c{number}\r\nx-test-tier: pro\r\n\r\n"
                connection.sendall(head.encode())
        store.go_on()
        found = await statuses(f"http://127.0.0.1:{port}/", 20, {"x-test-consumer": "acme", "x-test-tier": "pro"})
        assert found == [200] * 20
        text = process.log.read_text()
        assert "Traceback" not in text, text


def test_a_server_without_lifespans_is_warned_of(tmp_path: Path, store: Store) -> None:
    port = free_port()
    arguments = [*uvicorn(port), "--lifespan", "off"]
    with serving(arguments, port, tmp_path, **environment(tmp_path, store)) as process:
        for _ in range(3):
            assert httpx2.get(f"http://127.0.0.1:{port}/", headers={"x-test-consumer": "acme"}).status_code == 200
        assert process.log.read_text().count("--lifespan off") == 1


WITHOUT_LIFESPAN = """
import asyncio, sys
from apps import served

async def main():
    app = served()
    async def receive(): return {"type": "http.request"}
    async def send(message): pass
    headers = [(b"x-test-consumer", b"acme")]
    scope = {"type": "http", "method": "GET", "path": "/", "headers": headers, "client": ("192.0.2.1", 1)}
    for _ in range(7):
        await app({**scope, "query_string": b""}, receive, send)

asyncio.run(main())
"""


def test_a_loop_that_ends_in_order_reports_everything_without_a_lifespan(tmp_path: Path, store: Store) -> None:
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    rules: dict[str, Any] = {"tiers": {"free": {"rate": "500/day", "monthly": 100_000}}, "overrides": []}
    variables = {**os.environ, **environment(tmp_path, store, **rules), "PYTHONPATH": path}
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_LIFESPAN],
        cwd=tmp_path,
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "Traceback" not in ran.stderr, ran.stderr
    assert store.used("acme") == 7


async def test_hostile_requests_at_a_real_server(tmp_path: Path) -> None:
    port = free_port()
    with serving(uvicorn(port), port, tmp_path, **environment(tmp_path, None)) as process:
        for lines in [
            b"x-quota-tier: partner\r\nx-quota-consumer: billing\r\nx-quota-cost: 1000",
            b"x-test-consumer: \xff\xfe\x80",
            b"x-test-consumer: " + b"x" * 30_000,
            b"x-forwarded-for: 10.0.0.1\r\nforwarded: for=10.0.0.1",
        ]:
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(b"GET //compare/..%2f HTTP/1.1\r\nhost: a\r\n" + lines)
                connection.sendall(b"\r\nconnection: close\r\n\r\n")
                answer = b"".join(iter(lambda: connection.recv(65_536), b""))
            assert answer.split(b" ", 2)[1] in (b"404", b"400", b"429"), answer
        assert "Traceback" not in process.log.read_text()


def test_the_store_may_come_after_the_application(tmp_path: Path) -> None:
    port, store_port = free_port(), free_port()
    rules = policy(store={**PATIENT, "timeout": "500ms"})
    (tmp_path / "policy.json").write_text(json.dumps(rules))
    variables = {
        "POLICY": str(tmp_path / "policy.json"),
        "STORE": f"http://127.0.0.1:{store_port}",
        "TOKEN": GATEWAY_TOKEN,
    }
    store: Process | None = None
    with serving(uvicorn(port), port, tmp_path, **variables) as process:
        try:
            headers = {"x-test-consumer": "acme", "x-test-tier": "pro"}
            seen = [httpx2.get(f"http://127.0.0.1:{port}/", headers=headers).status_code for _ in range(5)]
            assert seen[-1] == 200, "the store is away, and the node goes on alone"
            store = later = Store(tmp_path, "memory", store_port)
            until(lambda: "the store is back" in process.log.read_text(), "that the store is back")
            assert "the store is away" in process.log.read_text()
            allowed = seen.count(200)
            until(lambda: later.used("acme") == allowed, "that the outage is told")
        finally:
            if store is not None:
                store.kill()


RELOADED = """
import apps

def served():
    app = apps.served()
    app.get("/revision")(lambda: {revision})
    return app
"""


def test_a_reload_reports_everything_and_the_limits_hold(tmp_path: Path, store: Store) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    source = tmp_path / "reloaded.py"
    source.write_text(RELOADED.format(revision=1))
    rules: dict[str, Any] = {"tiers": {"free": {"rate": "10/day", "monthly": 1000}}, "overrides": []}
    free = [{"path": path, "cost": 0} for path in ["/health", "/revision"]]
    arguments = ["uvicorn", "--factory", "reloaded:served", "--port", str(port), "--reload", "--reload-delay", "0.1"]

    def allowed(count: int) -> int:
        seen = [httpx2.get(url, headers={"x-test-consumer": "acme"}, timeout=30) for _ in range(count)]
        return sum(response.status_code == 200 for response in seen)

    def is_revision(number: int) -> bool:
        return answers(f"{url}/revision") and httpx2.get(f"{url}/revision", timeout=30).json() == number

    with serving(arguments, port, tmp_path, **environment(tmp_path, store, **rules, endpoints=free)) as process:
        assert is_revision(1)
        assert allowed(6) == 6
        source.write_text(RELOADED.format(revision=2))
        until(lambda: is_revision(2), "the changed application")
        assert store.used("acme") == 6, "the old process has told all before the new one answers"
        assert allowed(8) == 4, "and has returned what it was lent"
        process.kill(signal.SIGTERM)
        text = process.log.read_text()
        assert "Traceback" not in text, text
    assert store.used("acme") == 10
