"""Requests that turn out to cost something else than they were charged at first."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Body, Depends, FastAPI, Response
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient

from apps import from_peer
from conftest import GATEWAY_TOKEN, Store, policy, until, until_async
from tollgate import CostError, Gate
from tollgate.asgi import TollgateMiddleware, current
from tollgate.fastapi import Quota, cost, quota, reserve
from tollgate.testing import VirtualClock, gate

RULES = {
    "tiers": {"free": {"rate": "100/minute", "burst": 1.5, "monthly": 10_000}},
    "anonymous": {"rate": "100/minute"},
    "overrides": [],
    "endpoints": [
        {"path": "/settled", "cost": 20, "settle": True},
        {"path": "/later-too", "cost": 20},
        {"path": "/health", "cost": 0},
    ],
    "refund": ["5xx"],
}
Reserved = Annotated[Quota, Depends(reserve(20))]


def application(**middleware: Any) -> FastAPI:
    """An application whose routes settle what they have reserved, each in its way."""
    app = FastAPI()

    @app.get("/chat/{tokens}")
    async def chat(tokens: str, quota: Reserved) -> str:
        quota.settle(tokens)
        return str(quota.reserved)

    @app.get("/thread/{tokens}")
    def thread(tokens: str, quota: Reserved) -> None:
        quota.settle(tokens)

    @app.get("/unsettled")
    async def unsettled(quota: Reserved) -> None:
        return None

    @app.get("/refunded")
    async def refunded(quota: Reserved) -> None:
        quota.refund()

    @app.get("/failing")
    async def failing(quota: Reserved) -> None:
        quota.settle(7)
        raise ZeroDivisionError

    @app.get("/status/{status}", dependencies=[Depends(cost(5))])
    async def status(status: int, response: Response, quota: Reserved) -> None:
        response.status_code = status

    @app.get("/streamed/{tokens}")
    async def streamed(tokens: int, quota: Reserved) -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            yield b"one"
            quota.settle(tokens)
            if tokens == 13:
                raise ZeroDivisionError

        return StreamingResponse(parts())

    @app.get("/later/{tokens}")
    async def later(tokens: int, quota: Reserved, tasks: BackgroundTasks) -> None:
        tasks.add_task(quota.settle, tokens)

    @app.get("/twice")
    async def twice(first: Reserved, second: Annotated[Quota, Depends(reserve(30))]) -> None:
        first.settle(5)
        second.settle("7.5")

    @app.post("/by-body")
    async def by_body(
        quota: Annotated[Quota, Depends(reserve(lambda body: len(body["items"])))],
        items: Annotated[list[int], Body(embed=True)],
    ) -> None:
        quota.settle(sum(items))

    @app.get("/later-too")
    async def later_too() -> StreamingResponse:
        first = await current().reserve(10)
        first.settle(5)

        async def parts() -> AsyncIterator[bytes]:
            second = await current().reserve(10)
            second.settle(2)
            yield b"two"

        return StreamingResponse(parts())

    @app.get("/settled")
    async def settled(response: Response, says: str | None = None) -> None:
        if says is not None:
            response.headers["X-Quota-Cost"] = says

    @app.get("/standing", dependencies=[Depends(cost("0.001"))])
    async def standing() -> None:
        return None

    @app.get("/far")
    async def far() -> None:
        reservation = await current().reserve(20)
        reservation.settle(3)

    @app.get("/health")
    async def health(standing: Annotated[Any, Depends(quota())]) -> None:
        return None

    app.add_middleware(TollgateMiddleware, **middleware)
    return app


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def client(clock: VirtualClock) -> Iterator[TestClient]:
    app = application(gate=gate(policy(**RULES), clock), consumer=lambda _: "acme")
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def month(client: TestClient) -> int:
    """What the month has left, by a request that costs 1, which is given back in the result."""
    response = client.get("/chat/0")
    return int(response.headers["x-quota-monthly-remaining"])


@pytest.mark.parametrize(
    ("path", "spent"),
    [
        ("/chat/4.5", "4.5"),
        ("/chat/0", "0"),
        ("/chat/20", "20"),
        ("/chat/1000", "1000"),
        ("/thread/2", "2"),
        ("/unsettled", "20"),
        ("/refunded", "0"),
        ("/failing", "0"),
        ("/status/200", "25"),
        ("/status/404", "25"),
        ("/status/503", "0"),
        ("/streamed/6", "6"),
        ("/streamed/13", "13"),
        ("/later/9", "9"),
        ("/twice", "12.5"),
        ("/later-too", "7"),
        ("/settled?says=37.5", "37.5"),
        ("/settled?says=0", "0"),
        ("/settled?says=-1", "20"),
        ("/settled", "20"),
        ("/far", "3"),
    ],
)
def test_a_request_costs_what_it_was_settled_at(client: TestClient, path: str, spent: str) -> None:
    response = client.get(path)
    assert "x-quota-cost" not in response.headers
    assert month(client) == int(10_000 - Decimal(spent)), path


def test_the_response_shows_what_was_settled_before_it_began(client: TestClient) -> None:
    for _ in range(3):
        client.get("/unsettled")
    assert client.get("/chat/4.5").headers["x-ratelimit-remaining"] == "85"
    assert client.get("/later/0").headers["x-ratelimit-remaining"] == "65", "it is settled after the response"
    assert client.get("/settled?says=10.5").headers["x-ratelimit-remaining"] == "75"


def test_a_client_with_nothing_left_pays_all_that_its_last_request_costs(clock: VirtualClock) -> None:
    rules = {**RULES, "tiers": {"free": {"rate": "20/minute", "monthly": 10_000}}, "default_cost": 20}
    app = application(gate=gate(policy(**rules), clock), consumer=lambda _: "acme")
    with TestClient(app) as client:
        response = client.get("/chat/50")
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/json"
        assert "retry-after" not in response.headers
        assert "cache-control" not in response.headers
        clock.advance(60)
        assert client.get("/chat/0").headers["x-quota-monthly-remaining"] == "9950"


def test_a_price_that_is_no_cost_settles_nothing(client: TestClient) -> None:
    assert client.get("/chat/-1").status_code == 500
    assert client.get("/chat/1.0001").status_code == 500
    assert month(client) == 10_000


def test_a_refused_reservation_reserves_nothing(client: TestClient) -> None:
    for _ in range(7):
        assert client.get("/unsettled").status_code == 200
    response = client.get("/unsettled")
    assert (response.status_code, response.json()["violated-policies"]) == (429, ["minute"])
    assert response.headers["x-ratelimit-remaining"] == "9", "the policy's price of 1 was charged"


def test_a_reservation_that_adds_nothing_is_granted_and_settled_by_a_client_that_has_nothing_left(
    clock: VirtualClock,
) -> None:
    app = application(gate=gate(policy(**RULES), clock), trusted=["10.0.0.0/8"])
    told = {"x-quota-consumer": "acme", "x-quota-tier": "free", "x-quota-cost": "0"}
    with TestClient(from_peer(app, "10.1.2.3")) as client:
        assert client.get("/chat/9990", headers=told).status_code == 200
        assert client.get("/chat/50", headers=told).status_code == 429
        # The gateway has charged as much as is reserved.
        response = client.get("/chat/27.5", headers={**told, "x-quota-cost": "20"})
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/json"
        assert "retry-after" not in response.headers
        assert response.headers["x-quota-monthly-remaining"] == "2"
        assert client.get("/chat/20", headers={**told, "x-quota-cost": "20"}).status_code == 200
        assert client.get("/standing", headers=told).headers["x-quota-monthly-remaining"] == "2"


def test_a_validation_error_costs_nothing_where_refund_says_so(clock: VirtualClock) -> None:
    middleware = {"policy": policy(**RULES), "consumer": lambda _: "acme"}
    for refund, left in [([422], 10_000), (["4xx"], 10_000), ([], 9_980)]:
        with TestClient(application(refund=refund, **middleware)) as client:
            response = client.get("/streamed/many")
            assert (response.status_code, month(client)) == (422, left), refund
    with pytest.raises(ValueError, match="is not a status"):
        application(refund=["6xx"], **middleware).build_middleware_stack()


def test_behind_a_gateway_its_charge_counts_and_stays_its_own(clock: VirtualClock) -> None:
    app = application(gate=gate(policy(**RULES), clock), trusted=["10.0.0.0/8"])
    with TestClient(from_peer(app, "10.1.2.3")) as client:
        told = {"x-quota-consumer": "acme", "x-quota-tier": "free"}

        def used(path: str, charged: str) -> int:
            client.get(path, headers={**told, "x-quota-cost": charged})
            standing = client.get("/chat/1", headers={**told, "x-quota-cost": "0"})
            return 10_000 - int(standing.headers["x-quota-monthly-remaining"]) - 1

        assert used("/chat/50", "20") == 30, "the gateway has charged 20"
        assert used("/chat/5", "20") - 31 == 0
        assert used("/unsettled", "5") - 32 == 15
        response = client.get("/settled?says=7", headers={**told, "x-quota-cost": "20"})
        assert response.headers["x-quota-cost"] == "7", "the gateway settles"


async def test_a_gate_settles_what_it_has_charged(clock: VirtualClock) -> None:
    async with gate(policy(**RULES), clock) as limiter:
        decision = await limiter.charge("acme", 20)
        assert (decision.is_open, decision.monthly_remaining) == (True, 9_980)
        settled = limiter.settle(decision, "7.5")
        assert (settled.cost, settled.monthly_remaining, settled.is_open) == (Decimal("7.5"), 9_992, False)
        assert limiter.settle(decision, 0) is decision
        assert limiter.settle(await limiter.decide(path="/health"), 5).cost == 0
        with pytest.raises(CostError):
            limiter.settle(await limiter.charge("acme", 1), -1)
        refused = await limiter.charge("acme", 1_000)
        assert (refused.allowed, refused.is_open) == (False, False)
        assert limiter.settle(refused, 5) is refused


async def test_a_cancelled_request_has_spent_what_it_reserved_or_settled(clock: VirtualClock) -> None:
    limiter = gate(policy(**RULES), clock)
    for settled, spent in [(None, 20), (3, 3)]:
        is_there = asyncio.Event()

        async def app(
            scope: Any, receive: Any, send: Any, settled: int | None = settled, there: asyncio.Event = is_there
        ) -> None:
            reservation = await current().reserve(20)
            if settled is not None:
                reservation.settle(settled)
            there.set()
            await asyncio.Event().wait()

        middleware = TollgateMiddleware(app, gate=limiter, consumer=lambda _, name=str(spent): name)
        scope: dict[str, Any] = {"type": "http", "method": "GET", "path": "/", "headers": [], "client": None}

        async def nothing(_: Any = None) -> Any:
            return {}

        request = asyncio.create_task(middleware(scope, nothing, nothing))
        await is_there.wait()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        decision = await limiter.charge(str(spent), 1)
        assert decision.monthly_remaining == 9_999 - spent
    await limiter.close()


@pytest.mark.parametrize("mode", ["leased", "strict"])
async def test_a_month_is_the_sum_of_what_was_settled(store: Store, mode: str) -> None:
    rules = policy(**{**RULES, "tiers": {"free": {"rate": "1000000/minute", "monthly": 10_000}}})
    rules["store"] = {"upstream": f"127.0.0.1:{store.port}", "mode": mode, "timeout": "2s"}
    draw = random.Random(17)  # noqa: S311
    spent = Decimal(0)
    async with Gate(rules, token=GATEWAY_TOKEN) as limiter:

        async def request(cost: Decimal) -> Decimal:
            decision = await limiter.charge("acme", 20)
            if not decision.allowed:
                assert decision.outcome == "refused_month", decision.outcome
                return Decimal(0)
            await asyncio.sleep(draw.random() / 50)
            if cost > 45:
                # It is cancelled, and nobody settles it.
                return Decimal(20)
            limiter.settle(decision, cost)
            return cost

        while spent < 9_000:
            costs = [Decimal(draw.randint(0, 50_000)) / 1000 for _ in range(20)]
            spent += sum(await asyncio.gather(*map(request, costs)))
    until(lambda: Decimal(str(store.used("acme"))) == spent, f"that {spent} is used", 5)


async def test_what_is_settled_while_the_store_is_away_is_told_later(store: Store) -> None:
    rules = policy(**RULES, store={"upstream": f"127.0.0.1:{store.port}", "timeout": "200ms"})
    async with Gate(rules, token=GATEWAY_TOKEN) as limiter:
        before = await limiter.charge("acme", 20)
        store.hang()
        limiter.settle(before, 5)
        spent, unanswered, decision = Decimal(5), 0, before
        for _ in range(100):
            decision = await limiter.charge("acme", 20)
            if decision.outcome == "fallback":
                break
            # What its lease still pays for is spent. What was not answered may be, too, when the store wakes.
            spent, unanswered = (spent + 20, unanswered) if decision.allowed else (spent, unanswered + 1)
        assert decision.outcome == "fallback"
        limiter.settle(decision, "2.5")
        spent += Decimal("2.5")
        store.go_on()
        told = [float(spent + 20 * count) for count in range(unanswered + 2)]
        await until_async(lambda: store.used("acme") in told, f"that the store is told of {spent}", 60)
