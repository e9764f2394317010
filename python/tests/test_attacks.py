"""What an attacker has tried, and what must not come of it."""

import asyncio
import decimal
import ipaddress
from typing import Any

import httpx2
import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.testclient import TestClient

from apps import from_peer
from conftest import ADMIN_TOKEN, GATEWAY_TOKEN, Store, policy
from tollgate import Gate
from tollgate._caller import membership
from tollgate._cost import thousandths
from tollgate.asgi import TollgateMiddleware, current
from tollgate.fastapi import cost
from tollgate.testing import VirtualClock, gate

PATIENT: dict[str, Any] = {"timeout": "2s", "token": GATEWAY_TOKEN}


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


def priced(**changes: Any) -> dict[str, Any]:
    """A policy by which a report costs 4 and health costs nothing."""
    prices = [{"path": "/report", "cost": 4}, {"path": "/health", "cost": 0}, {"path": "/static/*", "cost": 0}]
    return policy(anonymous={"rate": "100/minute"}, endpoints=prices, **changes)


def used(client: TestClient, path: str) -> int:
    """What a request for `path` has cost, of 100."""
    return 100 - int(client.get(path).headers.get("x-ratelimit-remaining", "100"))


async def test_a_charge_after_an_override_has_ended_is_by_the_consumers_own_tier(store: Store) -> None:
    rules = policy(store={"upstream": f"127.0.0.1:{store.port}", **PATIENT})
    url = f"{store.url}/v1/overrides/tests/eve"
    admin = {"authorization": f"Bearer {ADMIN_TOKEN}"}
    async with Gate(rules) as it, httpx2.AsyncClient(headers=admin) as client:

        async def tier() -> str:
            return (await it.charge("eve", "0.001")).tier

        before = await tier()
        assert (await client.put(url, json={"tier": "pro", "reason": "a trial"})).status_code == 200

        async def until_tier(wanted: str) -> None:
            async with asyncio.timeout(30):
                while await tier() != wanted:
                    await it.decide(consumer="somebody")

        await until_tier("pro")
        kept = await it.decide(consumer="eve")
        assert kept.tier == "pro" != before
        assert (await client.delete(url, params={"reason": "over"})).is_success
        await until_tier(before)
        assert (await it.charge(kept, "0.001")).tier == before


@pytest.mark.parametrize("root_path", ["", "/api"])
def test_no_way_to_a_route_is_cheaper_than_its_price(clock: VirtualClock, root_path: str) -> None:
    app = FastAPI()

    @app.get("/report")
    async def report() -> None: ...

    app.add_middleware(TollgateMiddleware, gate=gate(priced(), clock))
    with TestClient(app, root_path=root_path) as client:
        assert used(client, "/report") == 4
        assert used(client, "/api/report") == (8 if root_path else 5)


def test_a_mounted_application_has_the_prices_of_its_own_paths(clock: VirtualClock) -> None:
    inner, outer = FastAPI(), FastAPI()

    @inner.get("/report")
    async def report() -> None: ...

    inner.add_middleware(TollgateMiddleware, gate=gate(priced(), clock))
    outer.mount("/v1", inner)
    with TestClient(outer) as client:
        assert used(client, "/v1/report") == 4


def test_empty_segments_make_another_route_and_so_another_price(clock: VirtualClock) -> None:
    app = FastAPI()

    @app.get("/{path:path}")
    async def anything(path: str) -> str:
        return path

    app.add_middleware(TollgateMiddleware, gate=gate(priced(), clock))
    with TestClient(app) as client:
        assert client.get("/health").headers.get("x-ratelimit-remaining") is None
        assert client.get("/static//a.css").headers.get("x-ratelimit-remaining") is None
        for count, path in enumerate(["//health", "/health/", "/health//", "///health"], 1):
            assert used(client, f"http://testserver{path}") == count, path


async def test_headers_that_can_be_read_once_are_read_once(clock: VirtualClock) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.append(list(scope["headers"]))

    async def nothing(*_: Any) -> Any:
        return None

    found: list[Any] = []
    kept, reserved = (b"x-own", b"1"), (b"X-Quota-Tier", b"partner")
    async with gate(policy(), clock) as it:
        limited = TollgateMiddleware(app, gate=it, consumer=lambda _: "acme")
        for headers in [iter([kept]), iter([kept, reserved]), [kept, reserved], [kept], (kept, reserved), [[*kept]]]:
            await limited({"type": "http", "method": "GET", "path": "/", "headers": headers}, nothing, nothing)
    assert [[tuple(pair) for pair in headers] for headers in found] == [[kept]] * 6


async def test_what_a_refused_charge_holds_is_not_charged_to_another(store: Store) -> None:
    rules = policy(
        store={"upstream": f"127.0.0.1:{store.port}", **PATIENT}, tiers={"free": {"rate": "10/minute"}}, overrides=[]
    )

    async def app(scope: Any, receive: Any, send: Any) -> None:
        visit = current()
        decisions = await asyncio.gather(visit.charge(11), visit.charge(3))
        assert [decision.allowed for decision in decisions] == [False, True]
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async with Gate(rules) as it:
        limited = TollgateMiddleware(app, gate=it, consumer=lambda scope: "acme")
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(limited), base_url="http://app") as client:
            assert (await client.get("/")).status_code == 204
    assert store.used("acme") == 3


async def lifespan(app: Any, it: Gate) -> list[str]:
    """What the middleware says to a server that starts and stops it."""
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent: list[str] = []

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await TollgateMiddleware(app, gate=it)({"type": "lifespan"}, receive, send)
    return sent


async def test_a_gate_that_cannot_start_fails_the_start() -> None:
    rules = policy(store={"upstream": "127.0.0.1:1", "token": {"env": "NO_SUCH_TOKEN"}})
    assert await lifespan(FastAPI(), Gate(rules)) == ["lifespan.startup.failed"]


async def test_an_application_that_fails_to_start_is_not_said_to_have_started(clock: VirtualClock) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        raise ConnectionError("the database is down")

    it = gate(policy(), clock)
    with pytest.raises(ConnectionError):
        await lifespan(app, it)
    assert not it.is_started


async def test_an_application_that_leaves_its_lifespan_early_is_closed_at_the_end(clock: VirtualClock) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})

    it = gate(policy(), clock)
    assert await lifespan(app, it) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert not it.is_started


async def test_a_close_that_is_given_up_leaves_nobody_waiting(store: Store) -> None:
    rules = policy(store={"upstream": f"127.0.0.1:{store.port}", "token": GATEWAY_TOKEN, "timeout": "1s"})
    it = Gate(rules)
    await it.start()
    store.hang()
    request = asyncio.create_task(it.decide(consumer="acme"))
    await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(it.close(), 0.1)
    with pytest.raises(asyncio.CancelledError):
        await request
    store.go_on()


def test_what_a_client_says_is_no_error_of_the_servers(clock: VirtualClock) -> None:
    app = FastAPI()

    async def price_of(request: Request) -> str:
        return request.headers["x-price"]

    @app.get("/", dependencies=[Depends(cost(price_of))])
    async def root() -> None: ...

    @app.post("/", dependencies=[Depends(cost(lambda body: len(body)))])
    async def read() -> None: ...

    names: list[object] = ["a\ud800", "b\udc80", 10**5000]
    it = TollgateMiddleware(app, gate=gate(policy(), clock), consumer=lambda scope: names[0])
    with TestClient(from_peer(it, "192.0.2.1"), raise_server_exceptions=False) as client:
        for price in ["nan", "-1", "1.23456", "many"]:
            assert client.get("/", headers={"x-price": price}).status_code == 422, price
        assert client.post("/", content=b"[" * 100_000).status_code == 422
        while names:
            assert client.get("/", headers={"x-price": "0"}).status_code == 200, ascii(names[0])
            names.pop(0)


def test_a_user_who_is_not_signed_in_has_no_name(clock: VirtualClock) -> None:
    class Guest:
        is_authenticated = False
        username = "victim"

    it = TollgateMiddleware(FastAPI(), gate=gate(policy(), clock), consumer="user.username")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await it({**scope, "user": Guest()}, receive, send)

    with TestClient(app) as client:
        assert client.get("/").headers["x-quota-tier"] == "anonymous"


def test_costs_are_exact_in_every_context() -> None:
    with decimal.localcontext(decimal.Context(prec=1)):
        assert thousandths("14.9") == 14_900
        assert thousandths(decimal.Decimal("12.345")) == 12_345


def test_what_is_too_long_for_an_address_is_not_remembered() -> None:
    is_member = membership([ipaddress.ip_network("10.0.0.0/8")])
    assert is_member("10.1.2.3")
    assert not is_member("10.1.2.3" + " " * 60_000)
