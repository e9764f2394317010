"""The dependencies for FastAPI."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient

from apps import application, from_peer
from conftest import policy
from tollgate import CostError
from tollgate.asgi import TollgateMiddleware, current
from tollgate.fastapi import QuotaExceeded, cost, quota
from tollgate.testing import VirtualClock, gate


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def client(clock: VirtualClock) -> Iterator[TestClient]:
    rules = policy(anonymous={"rate": "100/minute"})
    app = application(gate=gate(rules, clock), consumer=lambda scope: dict(scope["headers"]).get(b"x-test-consumer"))
    with TestClient(from_peer(app, "192.0.2.1"), raise_server_exceptions=False) as client:
        yield client


def left(response: Any) -> int:
    """What the response says is left."""
    assert response.status_code < 300, response.text
    return int(response.headers["x-ratelimit-remaining"])


@pytest.mark.parametrize("prefix", ["/router", "/mounted"])
def test_a_fixed_cost_is_what_the_request_costs_all_in_all(client: TestClient, prefix: str) -> None:
    assert left(client.get(f"{prefix}/five")) == 95
    assert left(client.get(f"{prefix}/five")) == 90


def test_a_cost_may_come_from_the_body_or_the_request(client: TestClient) -> None:
    assert left(client.post("/compare-items", json={"items": ["a"] * 7})) == 93
    assert left(client.post("/json", json={"items": ["a"] * 3})) == 90
    assert left(client.get("/by-header", headers={"x-price": "2.5"})) == 87
    assert left(client.get("/by-request", headers={"x-price": "0.5"})) == 86, "the policy's price is the least"


@pytest.mark.parametrize("price", ["-1", "1.0001", "abc", "", "1e400", "nan", "9" * 200])
def test_a_price_that_is_no_cost_is_the_requests_error(client: TestClient, price: str) -> None:
    assert client.get("/by-header", headers={"x-price": price}).status_code == 422
    assert left(client.get("/")) == 98, "nothing but the policy's price was charged"


def test_a_malformed_fixed_cost_does_not_come_to_be_served() -> None:
    with pytest.raises(CostError):
        cost(-5)
    with pytest.raises(CostError):
        cost("2.0005")


def test_a_refused_charge_is_the_gateways_answer(client: TestClient) -> None:
    consumer = {"x-test-consumer": "acme"}
    assert left(client.get("/router/five", headers=consumer)) == 5
    assert left(client.get("/", headers=consumer)) == 4
    response = client.get("/mounted/five", headers=consumer)
    assert response.status_code == 429
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-ratelimit-remaining"] == "3", "the policy's price alone was charged"
    assert response.headers["retry-after"] == "6"
    assert response.headers.get_list("x-ratelimit-limit") == ["10"]
    assert response.json()["violated-policies"] == ["minute"]
    assert int(response.headers["content-length"]) == len(response.content)


def test_what_can_never_be_allowed_says_so(client: TestClient) -> None:
    response = client.post("/compare-items", json={"items": ["a"] * 500})
    assert response.status_code == 429
    assert "retry-after" not in response.headers
    assert "more than tier anonymous can ever allow" in response.json()["detail"]


def test_where_a_client_stands(client: TestClient) -> None:
    assert client.get("/standing", headers={"x-test-consumer": "acme"}).json() == {
        "tier": "free",
        "consumer": "acme",
        "limit": 10,
        "remaining": 9,
        "reset": 1768478406,
        "monthly_remaining": 999,
    }
    standing = client.get("/standing", headers={"x-test-consumer": "billing"}).json()
    assert (standing["tier"], standing["limit"], standing["monthly_remaining"]) == ("partner", None, None)


def test_code_far_from_the_request_finds_it(client: TestClient) -> None:
    response = client.get("/far")
    assert response.json() == ["anonymous"] * 3
    assert left(response) == 98


def test_several_costs_of_a_request_add_up(clock: VirtualClock) -> None:
    app = FastAPI()
    shared = cost("1.5")

    @app.get("/", dependencies=[Depends(cost(2)), Depends(shared), Depends(shared)])
    async def root() -> None:
        return None

    app.add_middleware(TollgateMiddleware, gate=gate(policy(), clock), consumer=lambda _: "acme")
    with TestClient(app) as client:
        assert left(client.get("/")) == 6, "2 and 1.5 cost 3.5: FastAPI calls one dependency once"
        assert left(client.get("/")) == 3


def test_what_a_refused_charge_would_have_used_is_there_for_the_next(clock: VirtualClock) -> None:
    app = FastAPI()

    @app.get("/")
    async def root() -> list[bool]:
        visit = current()
        return [(await visit.charge(price)).allowed for price in [20, 1, 2]]

    app.add_middleware(TollgateMiddleware, gate=gate(policy(), clock), consumer=lambda _: "acme")
    with TestClient(app) as client:
        response = client.get("/")
        assert response.json() == [False, True, True]
        assert left(response) == 7, "the policy's 1 has paid for the second, and the third costs 2"


def test_an_application_may_answer_a_refusal_itself(clock: VirtualClock) -> None:
    app = application(gate=gate(policy(), clock), consumer=lambda _: "acme")

    @app.exception_handler(QuotaExceeded)
    async def answer(_: Any, refused: QuotaExceeded) -> Any:
        from fastapi.responses import JSONResponse

        return JSONResponse({"tier": refused.decision.tier}, status_code=402)

    with TestClient(app) as client:
        for _ in range(2):
            assert client.get("/router/five").status_code == 200
        response = client.get("/router/five")
        assert (response.status_code, response.json()) == (429, response.json())
    with TestClient(app) as client:
        client.get("/router/five")
        client.get("/")
        response = client.get("/router/five")
        assert (response.status_code, response.json()) == (402, {"tier": "free"})
        assert response.headers["x-ratelimit-limit"] == "10"


def test_without_the_middleware_the_dependency_says_what_is_missing() -> None:
    app = FastAPI()

    @app.get("/", dependencies=[Depends(cost(1)), Depends(quota())])
    async def root() -> None:
        return None

    with TestClient(app) as client, pytest.raises(RuntimeError, match="TollgateMiddleware"):
        client.get("/")


def test_the_openapi_document_has_the_refusal(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    refusal = document["paths"]["/router/five"]["get"]["responses"]["429"]
    assert {"Retry-After", "X-RateLimit-Limit", "RateLimit"} <= set(refusal["headers"])
    schema = refusal["content"]["application/problem+json"]["schema"]
    response = client.post("/compare-items", json={"items": ["a"] * 500})
    assert set(response.json()) <= set(schema["properties"])
    assert set(schema["required"]) <= set(response.json())
    parameters = document["paths"]["/json"]["post"].get("parameters", [])
    assert parameters == [], "a price's `body` is no query parameter"
