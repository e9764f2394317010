"""The middleware, without a server."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from apps import application, from_peer
from conftest import policy
from tollgate import Gate
from tollgate.asgi import TollgateMiddleware, current
from tollgate.testing import VirtualClock, gate

LIMITED = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "x-quota-tier", "ratelimit"]
GATEWAY = "10.1.2.3"


def client_of(app: Any, peer: str = "192.0.2.1") -> TestClient:
    """A client that comes from `peer`."""
    return TestClient(from_peer(app, peer), raise_server_exceptions=False)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def client(clock: VirtualClock) -> Iterator[TestClient]:
    app = application(gate=gate(policy(anonymous={"rate": "100/minute"}), clock))
    with client_of(app) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/streamed", 200),
        ("/nowhere", 404),
        ("/mounted/nowhere", 404),
        ("/mounted/five", 200),
        ("/router/five", 200),
        ("/compare-items", 405),
        ("/failing", 500),
    ],
)
def test_headers_reach_every_kind_of_response(client: TestClient, path: str, status: int) -> None:
    response = client.get(path)
    assert response.status_code == status
    if status != 500:
        # An error that nothing handles is answered outside of all middleware.
        assert [name for name in LIMITED if name not in response.headers] == []
        assert response.headers["x-quota-tier"] == "anonymous"


def test_headers_reach_422_and_429(client: TestClient) -> None:
    response = client.post("/compare-items", json={"items": 5})
    assert (response.status_code, response.headers["x-ratelimit-remaining"]) == (422, "99")
    response = client.post("/compare-items", json={"items": ["a"] * 100})
    assert (response.status_code, response.headers["x-ratelimit-limit"]) == (429, "100")
    assert client.post("/json", content=b"{").status_code == 422


def test_a_refused_request_never_reaches_the_application(clock: VirtualClock) -> None:
    with client_of(application(gate=gate(policy(), clock))) as client:
        statuses = [client.get("/").status_code for _ in range(5)]
        assert statuses == [200] * 4 + [429]
        response = client.get("/failing")
        assert response.status_code == 429
        assert response.headers["content-type"] == "application/problem+json"
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["retry-after"] == "15"
        assert response.json()["tier"] == "anonymous"
        assert client.head("/").text == ""
        assert client.get("/health").status_code == 200, "what is free is never refused"


def test_upstream_copies_are_replaced_and_client_copies_removed(client: TestClient) -> None:
    response = client.get("/forged")
    assert response.headers.get_list("x-ratelimit-remaining") == ["99"]
    assert response.headers.get_list("x-quota-tier") == ["anonymous"]
    assert response.headers["ratelimit"].startswith('"minute"')
    assert response.headers["x-own"] == "kept"
    sent = {
        "X-Quota-Tier": "partner",
        "x-quota-consumer": "acme",
        "X-QUOTA-COST": "999",
        "X_Quota_Tier": "partner",
        "X-RateLimit-Limit": "1",
        "X-Consumer-Username": "billing",
        "X-Query": "kept",
    }
    response = client.get("/echo", headers=sent)
    assert sorted(response.json()) == [["x-consumer-username", "billing"], ["x-query", "kept"]]
    assert response.headers["x-quota-tier"] == "anonymous", "nobody is who they say they are"


def test_free_requests_have_no_headers_but_no_forged_ones_either(clock: VirtualClock) -> None:
    rules = policy(endpoints=[{"path": "/forged", "cost": 0}])
    with client_of(application(gate=gate(rules, clock))) as client:
        response = client.get("/forged")
        assert [name for name in LIMITED if name in response.headers] == []
        assert response.headers["x-own"] == "kept"


def test_a_policy_that_is_off_touches_no_response_and_lets_no_client_introduce_itself(clock: VirtualClock) -> None:
    with client_of(application(gate=gate(policy(enforcement="off"), clock))) as client:
        assert client.get("/forged").headers["x-quota-tier"] == "god"
        assert "x-quota-consumer" not in dict(client.get("/echo", headers={"X-Quota-Consumer": "victim"}).json())


def test_websockets_are_limited_by_their_handshake(clock: VirtualClock) -> None:
    with client_of(application(gate=gate(policy(), clock))) as client:
        for left in ["3", "2", "1", "0"]:
            with client.websocket_connect("/socket") as socket:
                assert socket.receive_text() == "anonymous"
                headers: dict[bytes, bytes] = dict(socket.extra_headers or [])
                assert headers[b"x-ratelimit-remaining"].decode() == left
        with pytest.raises(WebSocketDenialResponse) as denied, client.websocket_connect("/socket"):
            pass
        assert denied.value.status_code == 429
        assert denied.value.headers["retry-after"] == "15"
        assert denied.value.json()["tier"] == "anonymous"


def test_a_dear_websocket_is_refused_as_a_request_is(clock: VirtualClock) -> None:
    with client_of(application(gate=gate(policy(), clock))) as client:
        with client.websocket_connect("/dear-socket"):
            pass
        clock.advance(30)
        with pytest.raises(WebSocketDenialResponse) as denied, client.websocket_connect("/dear-socket"):
            pass
        assert denied.value.status_code == 429
        assert denied.value.json()["violated-policies"] == ["minute"]


async def test_a_server_without_denials_closes_the_handshake(clock: VirtualClock) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    async with gate(policy(), clock) as it:
        app = application(gate=it)
        scope = {"type": "websocket", "path": "/socket", "headers": [], "client": ("192.0.2.1", 1), "subprotocols": []}
        for _ in range(4):
            await it.decide(peer="192.0.2.1")
        await app({**scope, "query_string": b"", "scheme": "ws"}, receive, send)
        assert sent == [{"type": "websocket.close", "code": 1008}]


def test_the_lifespan_starts_and_closes_the_gate_around_the_application(clock: VirtualClock) -> None:
    it = gate(policy(), clock)
    app = application(gate=it)
    with client_of(app):
        assert it.is_started
        assert app.state.events == ["started"]
    assert not it.is_started
    assert app.state.events == ["started", "stopped"]


async def test_an_application_without_a_lifespan_gets_one(clock: VirtualClock) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http", "no lifespan here"
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    it = gate(policy(), clock)
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent: list[str] = []
    started: list[bool] = []

    async def receive() -> Any:
        started.append(it.is_started)
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await TollgateMiddleware(app, gate=it)({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert started == [True, True]
    assert not it.is_started


async def test_a_startup_that_fails_closes_the_gate(clock: VirtualClock) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no"})
        raise ZeroDivisionError

    async def receive() -> Any:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    sent: list[str] = []
    it = gate(policy(), clock)
    with pytest.raises(ZeroDivisionError):
        await TollgateMiddleware(app, gate=it)({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.failed"]
    assert not it.is_started


def test_a_request_that_passes_two_middlewares_is_charged_once(clock: VirtualClock) -> None:
    it = gate(policy(), clock)
    app = TollgateMiddleware(application(gate=it), gate=it)
    with client_of(app) as client:
        assert client.get("/").headers["x-ratelimit-remaining"] == "3"
        assert client.get("/").headers["x-ratelimit-remaining"] == "2"


def test_the_middleware_may_be_outside_of_everything(clock: VirtualClock) -> None:
    inner = application(gate=gate(policy(enforcement="off"), clock))
    inner.user_middleware.clear()
    with client_of(TollgateMiddleware(inner, gate=gate(policy(), clock))) as client:
        assert client.get("/failing").headers["x-ratelimit-remaining"] == "3"
        response = client.get("/router/five")
        assert (response.status_code, response.headers["content-type"]) == (429, "application/problem+json")


async def test_a_request_that_is_cancelled_is_cancelled(clock: VirtualClock) -> None:
    reached = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reached.set()
        await asyncio.Event().wait()

    async def nothing(*_: Any) -> Any:
        raise AssertionError

    async with gate(policy(), clock) as it:
        scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "client": ("192.0.2.1", 1)}
        task = asyncio.create_task(TollgateMiddleware(app, gate=it)(scope, nothing, nothing))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await it.decide(peer="192.0.2.1")).remaining == 2, "it was charged"
    with pytest.raises(LookupError):
        current()


def test_mistakes_are_said_when_the_middleware_is_made(clock: VirtualClock) -> None:
    async def app(*_: Any) -> None: ...

    with pytest.raises(TypeError, match="a policy or a gate"):
        TollgateMiddleware(app)
    with pytest.raises(TypeError, match="list of networks"):
        TollgateMiddleware(app, policy(), trusted="10.0.0.0/8")
    with pytest.raises(ValueError, match="host bits"):
        TollgateMiddleware(app, policy(), trusted=["10.0.0.1/8"])
    with pytest.raises(ValueError, match="tiers"):
        TollgateMiddleware(app, {})


def test_a_websocket_that_is_closed_early_is_no_error(client: TestClient) -> None:
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/no-socket"):
        pass


def test_the_problem_document_is_the_gateways(clock: VirtualClock) -> None:
    with client_of(application(gate=gate(policy(), clock))) as client:
        for _ in range(4):
            client.get("/")
        assert json.loads(client.get("/").content) == {
            "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
            "title": "Quota exceeded",
            "status": 429,
            "detail": "Tier anonymous allows 4 requests per minute; retry in 15 s.",
            "violated-policies": ["minute"],
            "tier": "anonymous",
            "retry_after": 15,
        }


def test_a_gate_of_a_test_client_without_a_lifespan_says_what_to_write() -> None:
    client = TestClient(application(gate=Gate(policy())))
    assert client.get("/").status_code == 200, "it starts by itself"
    with pytest.raises(RuntimeError, match="with TestClient"):
        client.get("/")
