"""The middleware, without a server."""

import asyncio
import ipaddress
import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.authentication import AuthCredentials, SimpleUser, UnauthenticatedUser
from starlette.testclient import WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from apps import application, from_peer
from conftest import policy
from tollgate import Gate
from tollgate._caller import membership
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


class User(SimpleUser):
    """A user with an identity."""

    @property
    def identity(self) -> str:
        return f"id-of-{self.username}"


@pytest.mark.parametrize(
    ("source", "scope", "expected"),
    [
        (lambda scope: scope["key"], {"key": "acme"}, "acme"),
        (lambda scope: scope["key"].encode(), {"key": "acme"}, "acme"),
        (lambda scope: None, {}, None),
        ("user", {"user": "acme"}, "acme"),
        ("user", {"user": 17}, "17"),
        ("user", {"user": UUID(int=7)}, "00000000-0000-0000-0000-000000000007"),
        (lambda scope: UUID(int=7), {}, "00000000-0000-0000-0000-000000000007"),
        ("user", {"user": SimpleUser("acme")}, "acme"),
        ("user", {"user": User("acme")}, "id-of-acme"),
        ("user", {"user": UnauthenticatedUser()}, None),
        ("user.display_name", {"user": SimpleUser("acme")}, "acme"),
        ("user.nothing.more", {"user": SimpleUser("acme")}, None),
        ("auth.name", {"auth": {"name": "acme"}}, "acme"),
        ("auth.name", {"auth": {}}, None),
        ("auth.name", {}, None),
        ("user", {"user": ""}, None),
    ],
)
async def test_the_consumer_is_where_the_application_says(
    clock: VirtualClock, source: Any, scope: dict[str, Any], expected: str | None
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.append(current().decision.consumer)

    async def receive_nothing() -> Any:
        raise AssertionError

    async def send_nothing(_: Any) -> None:
        raise AssertionError

    found: list[str | None] = []
    async with gate(policy(), clock) as it:
        limited = TollgateMiddleware(app, gate=it, consumer=source, tier=lambda _: "pro")
        request = {"type": "http", "method": "GET", "path": "/", "headers": [], "client": ("192.0.2.1", 1), **scope}
        await limited({**request}, receive_nothing, send_nothing)
        assert found == [expected]
        with pytest.raises(TypeError, match="user"):
            await TollgateMiddleware(app, gate=it, consumer="auth")(
                {**request, "auth": AuthCredentials()}, receive_nothing, send_nothing
            )


def behind(clock: VirtualClock, **changes: Any) -> FastAPI:
    """An application whose gateways are in 10.0.0.0/8."""
    return application(gate=gate(policy(**changes), clock), trusted=["10.0.0.0/8", "fd00::/8"])


def test_a_trusted_gateway_says_who_and_what_was_charged(clock: VirtualClock) -> None:
    headers = {"X-Quota-Tier": "free", "X-Quota-Consumer": "acme", "X-Quota-Cost": "1"}
    with client_of(behind(clock), GATEWAY) as client:
        for _ in range(30):
            response = client.get("/", headers=headers)
            assert response.status_code == 200, "the gateway has charged it"
            assert "x-ratelimit-limit" not in response.headers, "it says where the client stands"
        response = client.get("/router/five", headers=headers)
        assert response.headers["x-ratelimit-remaining"] == "6", "4 more than the gateway's 1"
        response = client.get("/router/five", headers={**headers, "X-Quota-Cost": "7.5"})
        assert (response.status_code, "x-ratelimit-limit" in response.headers) == (200, False), "all was paid"
        response = client.get("/router/five", headers={**headers, "X-Quota-Cost": "0.5"})
        assert response.headers["x-ratelimit-remaining"] == "1", "4.5 more"
        response = client.get("/router/five", headers=headers)
        assert response.status_code == 429
        assert response.json()["violated-policies"] == ["minute"]
        assert dict(client.get("/echo", headers=headers).json())["x-quota-consumer"] == "acme"


@pytest.mark.parametrize("value", [None, "", "abc", "-5", "1.0001", "1e9", "NaN", "5, 5"])
def test_without_a_readable_cost_the_gateway_has_charged_by_the_same_policy(
    clock: VirtualClock, value: str | None
) -> None:
    headers: dict[str, str] = {"X-Quota-Tier": "free", "X-Quota-Consumer": "acme"}
    if value is not None:
        headers["X-Quota-Cost"] = value
    with client_of(behind(clock), GATEWAY) as client:
        assert client.get("/router/five", headers=headers).headers["x-ratelimit-remaining"] == "6"


@pytest.mark.parametrize("peer", ["192.0.2.1", "11.0.0.1", "testclient", "fe80::1", ""])
def test_from_anybody_else_those_headers_mean_nothing(clock: VirtualClock, peer: str) -> None:
    headers = {
        "X-Quota-Tier": "partner",
        "X-Quota-Consumer": "billing",
        "X-Quota-Cost": "1000",
        "X-Consumer-Username": "billing",
        "X-Forwarded-For": "10.0.0.1",
    }
    with client_of(behind(clock), peer) as client:
        statuses = [
            client.get("/", headers={**headers, "X-Forwarded-For": f"10.0.0.{n}"}).status_code for n in range(5)
        ]
        assert statuses == [200] * 4 + [429], "one anonymous client"


def test_the_policys_identity_is_read_from_trusted_peers(clock: VirtualClock) -> None:
    with client_of(behind(clock), "fd00::7") as client:
        response = client.get("/", headers={"X-Consumer-Username": "acme", "X-Consumer-Groups": "pro"})
        assert (response.headers["x-quota-tier"], response.headers["x-ratelimit-limit"]) == ("pro", "100")


def test_the_client_of_a_trusted_peer_is_the_last_hop_that_is_not(clock: VirtualClock) -> None:
    with client_of(behind(clock), GATEWAY) as client:

        def left(hops: str) -> str:
            return client.get("/", headers={"X-Forwarded-For": hops}).headers["x-ratelimit-remaining"]

        assert left("192.0.2.1") == "3"
        assert left("evil, 203.0.113.9, 192.0.2.1") == "2", "what a client writes comes before"
        assert left("192.0.2.1, 10.9.9.9") == "1", "a gateway behind a gateway"
        assert left("192.0.2.2") == "3"
        for port, hop in enumerate(["203.0.113.9", "203.0.113.9:4711", "203.0.113.9:4712", "::ffff:203.0.113.9"]):
            assert left(hop) == str(3 - port), "a port makes no other client"
        for number, hop in enumerate(["[2001:db8::1]", "[2001:db8::2]:443", "2001:db8::3"]):
            assert left(hop) == str(3 - number), "a /64 is one client, in brackets, too"
        assert left("[2001:db8:1::1]") == "3", "and another is another"
        assert left("203.0.113.40, 10.2.2.2:443") == "3", "a trusted hop with a port"
        assert left("203.0.113.41, [fd00::1]:443") == "3"


@pytest.mark.parametrize("hostile", [b"\xff\xfe", b"a\x00b", b"," * 5000, b"x" * 60_000, b"10.0.0.1 " * 100])
def test_hostile_headers_break_nothing(clock: VirtualClock, hostile: bytes) -> None:
    names = ["X-Quota-Tier", "X-Quota-Consumer", "X-Quota-Cost", "X-Forwarded-For", "X-Consumer-Username"]
    for peer in [GATEWAY, "192.0.2.1"]:
        with client_of(behind(clock), peer) as client:
            for name in names:
                response = client.get("/router/five", headers={name.encode(): hostile})
                assert response.status_code in (200, 429), (name, response.text)
            response = client.get("/", headers=[(name.encode(), hostile) for name in names] * 3)
            assert response.status_code in (200, 429)


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


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.255.0.1", True),
        ("::ffff:10.0.0.1", True),
        ("fd00::1", True),
        ("192.0.2.7", True),
        ("::ffff:192.0.2.7", True),
        ("192.0.3.7", False),
        ("11.0.0.1", False),
        ("unix:", False),
    ],
)
def test_networks_have_members_in_every_spelling(address: str, expected: bool) -> None:
    networks = [ipaddress.ip_network(it) for it in ["10.0.0.0/8", "fd00::/8", "::ffff:192.0.2.0/120"]]
    assert membership(networks)(address) is expected


async def test_clients_without_an_address_are_said_to_share_a_limit(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        return None

    async def nothing(*_: Any) -> Any:
        return None

    async with gate(policy(), clock) as it:
        scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
        known = TollgateMiddleware(app, gate=it, consumer=lambda _: "acme")
        limited = TollgateMiddleware(app, gate=it)
        await known({**scope, "client": None}, nothing, nothing)
        await limited({**scope, "client": ("192.0.2.1", 1)}, nothing, nothing)
        assert "share one limit" not in caplog.text
        for client in [None, None, ("", 0)]:
            await limited({**scope, "client": client}, nothing, nothing)
    assert caplog.text.count("share one limit") == 1


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
