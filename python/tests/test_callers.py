"""Who is calling: what the application, its gateways and the connection say."""

import ipaddress
from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI
from starlette.authentication import AuthCredentials, SimpleUser, UnauthenticatedUser
from test_asgi import GATEWAY, client_of

from apps import application
from conftest import policy
from tollgate._caller import membership
from tollgate.asgi import TollgateMiddleware, current
from tollgate.testing import VirtualClock, gate


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


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
