"""One request on its way through an application that speaks ASGI itself."""

import asyncio
import threading
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from conftest import policy
from tollgate import Gate
from tollgate.asgi import Reservation, TollgateMiddleware, current
from tollgate.telemetry import Prometheus
from tollgate.testing import VirtualClock, gate

RULES: dict[str, Any] = {
    "tiers": {"free": {"rate": "100/minute", "monthly": 10_000}},
    "anonymous": {"rate": "100/minute"},
    "overrides": [],
    "endpoints": [{"path": "/settled", "cost": 20, "settle": True}],
    "refund": ["5xx", "403"],
}
START: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": []}
BODY: dict[str, Any] = {"type": "http.response.body", "body": b""}
DENIALS: dict[str, Any] = {"websocket.http.response": {}}
Handler = Callable[[Any], Awaitable[None]]


def limiter(**changes: Any) -> Gate:
    """A gate whose time stands still."""
    return gate(policy(**{**RULES, **changes}), VirtualClock())


async def serve(
    it: Gate, handle: Handler, kind: str = "http", path: str = "/", trusted: Iterable[str] = (), **scope: Any
) -> list[dict[str, Any]]:
    """What the server is told about a request that `handle` answers."""
    sent: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await handle(send)

    async def receive() -> Any:
        return {"type": f"{kind}.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    middleware = TollgateMiddleware(app, gate=it, consumer=lambda _: "acme", trusted=trusted)
    await middleware({"type": kind, "path": path, "headers": [], "client": ("192.0.2.1", 1), **scope}, receive, send)
    return sent


async def used(it: Gate) -> float:
    """What the client has used of its month."""
    decision = await it.charge("acme", 1)
    left = it.settle(decision, 0).monthly_remaining
    assert left is not None
    return 10_000 - left


def headers(message: dict[str, Any]) -> dict[str, str]:
    """The headers of a message."""
    return {name.decode(): value.decode() for name, value in message["headers"]}


async def test_a_refusal_costs_the_policys_price_and_nothing_else() -> None:
    async def handle(send: Any) -> None:
        visit = current()
        assert (await visit.charge(10)).allowed
        settled, open_one = await visit.reserve(30), await visit.reserve(20)
        settled.settle(7)
        refused = await visit.charge(80)
        assert not refused.allowed
        visit.refuse(refused)
        await send({**START, "status": 429})
        open_one.settle(5)
        await send(BODY)

    async with limiter() as it:
        start, body = await serve(it, handle)
        assert (start["status"], headers(start)["x-ratelimit-remaining"]) == (429, "99")
        assert headers(start)["x-quota-monthly-remaining"] == "9999"
        assert headers(start)["content-type"] == "application/problem+json"
        assert int(headers(start)["retry-after"]) > 0
        assert b"quota-exceeded" in body["body"]
        assert await used(it) == 1


async def test_a_refused_handshake_costs_no_more_either() -> None:
    async def handle(send: Any) -> None:
        visit = current()
        assert (await visit.reserve(50)).decision.allowed
        refused = await visit.charge(80)
        visit.refuse(refused)
        if is_answered:
            await send({"type": "websocket.http.response.start", "status": 429, "headers": []})
            await send({"type": "websocket.http.response.body", "body": b""})

    for is_answered in [True, False]:
        for extensions in [DENIALS, {}]:
            async with limiter() as it:
                sent = await serve(it, handle, "websocket", extensions=extensions)
                kinds = [message["type"] for message in sent]
                assert kinds == (
                    ["websocket.http.response.start", "websocket.http.response.body"]
                    if extensions
                    else ["websocket.close"]
                )
                assert await used(it) == 1, (is_answered, extensions)


@pytest.mark.parametrize(("says", "spent"), [(b"7", 7), (None, 20), (b"many", 20)])
async def test_an_accepted_handshake_settles(says: bytes | None, spent: int) -> None:
    async def handle(send: Any) -> None:
        own = [] if says is None else [(b"X-Quota-Cost", says)]
        await send({"type": "websocket.accept", "headers": own})
        await send({"type": "websocket.close", "code": 1000})

    async with limiter() as it:
        accept, _ = await serve(it, handle, "websocket", "/settled")
        assert "x-quota-cost" not in headers(accept)
        assert headers(accept)["x-quota-monthly-remaining"] == str(10_000 - spent)
        assert await used(it) == spent


async def test_a_handshake_that_is_closed_is_a_403() -> None:
    async def handle(send: Any) -> None:
        await current().charge(5)
        await send({"type": "websocket.close", "code": 1000})

    async def accept(send: Any) -> None:
        await send({"type": "websocket.accept"})
        await handle(send)

    for refund, spent in [(["403"], 0), ([], 5)]:
        async with limiter(refund=refund) as it:
            await serve(it, handle, "websocket")
            assert await used(it) == spent
    async with limiter() as it:
        await serve(it, accept, "websocket")
        assert await used(it) == 5, "it was accepted"


@pytest.mark.parametrize("extensions", [DENIALS, {}])
async def test_a_denied_handshake_settles(extensions: Any) -> None:
    async def handle(send: Any) -> None:
        own = [(b"x-quota-cost", b"3")]
        await send({"type": "websocket.http.response.start", "status": 404, "headers": own})
        await send({"type": "websocket.http.response.body", "body": b""})

    async with limiter() as it:
        await serve(it, handle, "websocket", "/settled", extensions=extensions)
        assert await used(it) == 3


async def test_what_comes_before_a_response_is_not_its_beginning() -> None:
    async def handle(send: Any) -> None:
        await send({"type": "http.response.early_hint", "links": []})
        raise ZeroDivisionError

    async with limiter() as it:
        with pytest.raises(ZeroDivisionError):
            await serve(it, handle)
        assert await used(it) == 0, "a 500 is refunded"


@pytest.mark.parametrize("kind", ["charge", "reserve"])
async def test_a_socket_that_charges_each_message_keeps_none(kind: str) -> None:
    async def handle(send: Any) -> None:
        visit = current()
        await send({"type": "websocket.accept"})

        async def speak(count: int) -> tuple[float, int]:
            began, before = time.process_time(), tracemalloc.get_traced_memory()[0] if tracemalloc.is_tracing() else 0
            for _ in range(count):
                if kind == "charge":
                    await visit.charge("0.001")
                else:
                    (await visit.reserve("0.002")).settle("0.001")
            after = tracemalloc.get_traced_memory()[0] if tracemalloc.is_tracing() else 0
            return time.process_time() - began, after - before

        await speak(100)
        tracemalloc.start()
        try:
            _, more = await speak(2_000)
        finally:
            tracemalloc.stop()
        found.append(more)

    found: list[float] = []
    tiers = {"free": {"rate": "1000000/minute", "monthly": 10_000}}
    async with limiter(tiers=tiers) as it:
        await serve(it, handle, "websocket")
        # Python's part of 2,000 decisions would be 32 KiB at the least.
        assert found[0] < 8_192


async def test_many_charges_before_a_response_cost_the_same_each() -> None:
    async def handle(send: Any) -> None:
        visit = current()

        async def fastest() -> float:
            took: list[float] = []
            # The least of several, because the machine does other things, too.
            for _ in range(8):
                began = time.process_time()
                for _ in range(250):
                    await visit.charge("0.001")
                took.append(time.process_time() - began)
            return min(took)

        before = await fastest()
        for _ in range(30_000):
            await visit.charge("0.001")
        assert await fastest() < 4 * before
        await send({**START, "status": 503})

    async with limiter(tiers={"free": {"rate": "1000000/minute", "monthly": 10_000}}) as it:
        await serve(it, handle)
        assert await used(it) == 0, "and all of them come back"


async def test_what_is_reserved_in_a_stream_is_settled_at_once() -> None:
    async def handle(send: Any) -> None:
        visit = current()
        await send({"type": "websocket.accept"})
        for _ in range(20):
            message = await visit.reserve(50)
            assert message.decision.allowed, "what the one before has not used is back"
            message.settle(2)
            with pytest.raises(RuntimeError, match="is settled"):
                message.settle(3)

    async with limiter() as it:
        await serve(it, handle, "websocket")
        assert await used(it) == 40, "the policy's price counts towards the first"


@pytest.mark.parametrize("is_in_thread", [False, True])
async def test_what_outlives_its_request_settles_at_once(is_in_thread: bool) -> None:
    async def later() -> None:
        await is_over.wait()
        reservation = await current().reserve(30)
        kept = await current().reserve(10)
        assert not kept.is_settled
        if is_in_thread:
            await asyncio.to_thread(reservation.settle, 2)
            await asyncio.sleep(0)
        else:
            reservation.settle(2)

    async def handle(send: Any) -> None:
        tasks.append(asyncio.create_task(later()))
        await send(START)
        await send(BODY)

    tasks: list[asyncio.Task[None]] = []
    is_over = asyncio.Event()
    async with limiter() as it:
        await serve(it, handle)
        assert await used(it) == 1
        is_over.set()
        await tasks[0]
        assert await used(it) == 2 + 10, "and what is not settled stays spent"


async def test_a_reservation_that_adds_nothing_takes_nothing() -> None:
    async def handle(send: Any) -> None:
        reservation = await current().reserve(1)
        assert reservation.decision.allowed
        await send(START)
        await send(BODY)

    registry = CollectorRegistry()
    it = Gate(
        policy(**{**RULES, "endpoints": [], "tiers": {"free": {"rate": "3/minute"}}}),
        clock=VirtualClock(),
        telemetry=[Prometheus(registry)],
    )
    async with it:
        left = [headers((await serve(it, handle))[0])["x-ratelimit-remaining"] for _ in range(3)]
        assert left == ["2", "1", "0"]
        assert (await serve(it, handle))[0]["status"] == 429
    counted = {
        (sample.name, sample.labels.get("outcome")): sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name in ("tollgate_requests_total", "tollgate_charges_total")
    }
    assert counted == {("tollgate_requests_total", "allowed"): 3, ("tollgate_requests_total", "refused_rate"): 1}


async def test_the_last_word_counts_in_a_stream_too() -> None:
    async def handle(send: Any) -> None:
        first, second = await current().reserve(20), await current().reserve(10)
        first.settle(5)
        second.settle(40)
        await send(START)
        first.settle(9)
        second.settle(4)
        await send(BODY)
        kept.append(first)

    kept: list[Reservation] = []
    async with limiter() as it:
        start, _ = await serve(it, handle)
        assert headers(start)["x-ratelimit-remaining"] == "55", "what is known when the response begins"
        assert headers(start)["x-quota-monthly-remaining"] == "9955"
        assert await used(it) == 9 + 4
        with pytest.raises(RuntimeError, match="is settled"):
            kept[0].settle(7)


async def test_headers_say_what_comes_back_of_the_policys_price() -> None:
    async def handle(send: Any) -> None:
        reservation = await current().reserve(20)
        reservation.settle(3)
        await send(START)
        reservation.settle(4)
        await send(BODY)

    async with limiter(endpoints=[{"path": "/", "cost": 15}]) as it:
        start, _ = await serve(it, handle)
        assert headers(start)["x-quota-monthly-remaining"] == "9997"
        assert await used(it) == 4


@pytest.mark.parametrize("reserved", [0, 5, 20, 30])
@pytest.mark.parametrize(("cost", "other"), [(8, 0), (30, 0), (0, 0), (8, 3), (30, 3)])
@pytest.mark.parametrize("paid", [0, 1, 20])
async def test_a_request_costs_what_was_said_whatever_the_policys_price_is(
    reserved: int, cost: int, other: int, paid: int
) -> None:
    async def handle(send: Any) -> None:
        visit = current()
        reservation = await visit.reserve(reserved)
        if other:
            await visit.charge(other)
        reservation.settle(cost)
        await send(START)
        await send(BODY)

    async with limiter(
        endpoints=[{"path": "/", "cost": paid}], tiers={"free": {"rate": "1000/minute", "monthly": 10_000}}
    ) as it:
        start, _ = await serve(it, handle)
        assert await used(it) == cost + other
        if paid or cost + other:
            assert headers(start)["x-quota-monthly-remaining"] == str(10_000 - cost - other)


async def test_a_reservation_of_which_nothing_is_said_costs_the_policys_price_at_least() -> None:
    async def handle(send: Any) -> None:
        first, _ = await current().reserve(3), await current().reserve(4)
        first.settle(1)
        await send(START)
        await send(BODY)

    async with limiter(endpoints=[{"path": "/", "cost": 15}]) as it:
        await serve(it, handle)
        assert await used(it) == 15 - 2


@pytest.mark.parametrize(("cost", "own"), [(8, 0), (30, 10), (0, 0)])
async def test_what_a_gateway_has_charged_pays_for_what_turns_out_dearer(cost: int, own: int) -> None:
    async def handle(send: Any) -> None:
        (await current().reserve(5)).settle(cost)
        await send(START)
        await send(BODY)

    async with limiter() as it:
        told = [(b"x-quota-consumer", b"acme"), (b"x-quota-tier", b"free"), (b"x-quota-cost", b"20")]
        await serve(it, handle, trusted=["192.0.2.0/24"], headers=told)
        assert await used(it) == own


async def test_a_word_is_either_charged_or_an_error() -> None:
    class Slow(str):
        def __str__(self) -> str:
            is_read.set()
            assert is_over.wait(30)
            return "7"

    def settle(reservation: Reservation) -> None:
        with pytest.raises(RuntimeError, match="is settled"):
            reservation.settle(Slow("7"))

    async def handle(send: Any) -> None:
        reservation = await current().reserve(20)
        threads.append(asyncio.create_task(asyncio.to_thread(settle, reservation)))
        assert await asyncio.to_thread(is_read.wait, 30)
        await send(START)
        await send(BODY)

    is_read, is_over = threading.Event(), threading.Event()
    threads: list[asyncio.Task[None]] = []
    async with limiter() as it:
        await serve(it, handle)
        is_over.set()
        await threads[0]
        assert await used(it) == 20
