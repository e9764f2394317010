"""Gates and the real store."""

import asyncio
import itertools
import json
import logging
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from conftest import GATEWAY_TOKEN, Store, policy, until_async
from tollgate import Decision, Gate

# Long enough for a call on a machine that does a lot else.
PATIENT: dict[str, Any] = {"timeout": "2s"}


def with_store(store: Store, **changes: Any) -> dict[str, Any]:
    """A policy that names the store."""
    of_store = {"upstream": f"127.0.0.1:{store.port}", "token": GATEWAY_TOKEN, **PATIENT, **changes}
    return policy(store=of_store)


async def outcomes(gate: Gate, count: int, **request: Any) -> Counter[str]:
    """How many requests came out how, of so many at once."""
    decisions = await asyncio.gather(*(gate.decide(**request) for _ in range(count)))
    return Counter(decision.outcome for decision in decisions)


async def test_two_gates_share_one_limit_and_report_everything_when_they_end(any_store: Store) -> None:
    rules = with_store(any_store)
    async with Gate(rules) as one, Gate(rules) as other:
        found = await asyncio.gather(
            outcomes(one, 200, consumer="acme", tier="pro"), outcomes(other, 200, consumer="acme", tier="pro")
        )
        allowed = sum(counts["allowed"] for counts in found)
        assert allowed <= 151, "the bucket, and what drains meanwhile"
    assert any_store.used("acme") == allowed
    # What the two have returned is there for a third.
    async with Gate(rules) as third:
        assert (await outcomes(third, 200, consumer="acme", tier="pro"))["allowed"] >= 0.95 * 150 - allowed


async def test_a_closed_gate_leaves_nothing_lent_and_nothing_untold(store: Store) -> None:
    rules = with_store(store)
    for _ in range(3):
        async with Gate(rules) as gate:
            for price in ["0.5", "1", "1.125"]:
                assert (await gate.charge("acme", price)).allowed
    assert store.used("acme") == pytest.approx(3 * 2.625, abs=0)
    async with Gate(rules) as gate:
        # Were anything still lent, the bucket would not hold as much.
        assert (await gate.charge("acme", 2)).allowed


async def test_strict_asks_for_each_request(any_store: Store) -> None:
    rules = with_store(any_store, mode="strict")
    async with Gate(rules) as one, Gate(rules) as other:
        decisions = [await gate.decide(consumer="acme") for gate in [one, other] * 6]
        assert [decision.allowed for decision in decisions] == [True] * 10 + [False] * 2
        assert [decision.remaining for decision in decisions[:10]] == list(range(9, -1, -1))
        assert any_store.used("acme") == 10
        refused = decisions[-1]
        assert refused.body is not None
        assert json.loads(refused.body)["violated-policies"] == ["minute"]
        never = await one.charge("acme", 11)
        assert (never.status, never.retry_after, never.remaining) == (429, None, 0)
        assert never.monthly_remaining == 990


async def test_what_can_never_pass_says_where_the_client_stands(store: Store) -> None:
    async with Gate(with_store(store)) as gate:
        assert (await gate.charge("acme", 3)).remaining == 7
        for who, left in [("acme", 7), ("another", 10)]:
            never = await gate.charge(who, 11)
            assert (never.status, never.retry_after, never.remaining) == (429, None, left)


async def test_a_thousand_clients_at_once_are_all_served(store: Store) -> None:
    async with Gate(with_store(store)) as gate:
        decisions = await asyncio.gather(*(gate.decide(consumer=f"client-{number}") for number in range(1000)))
        assert Counter(decision.outcome for decision in decisions) == {"allowed": 1000}
    assert store.used("client-999") == 1


async def test_an_override_reaches_the_gate(store: Store) -> None:
    async with Gate(with_store(store)) as gate:
        assert (await gate.decide(consumer="acme")).limit == 10
        store.ask("/v1/overrides/tests/acme", {"tier": "pro", "reason": "a test"})
        decision: Decision | None = None

        async def is_pro() -> bool:
            nonlocal decision
            decision = await gate.decide(consumer="acme")
            return decision.tier == "pro"

        end = time.monotonic() + 10
        while not await is_pro():
            assert time.monotonic() < end
            await asyncio.sleep(0.05)
        assert decision is not None
        assert decision.limit == 100


async def test_a_store_that_dies_costs_no_unit_and_no_latency(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    backend = f"redb:{tmp_path}/store.redb"
    store = Store(tmp_path, backend)
    port = store.port
    try:
        async with Gate(with_store(store, timeout="500ms")) as gate:
            assert (await gate.decide(consumer="acme", tier="pro")).outcome == "allowed"
            store.kill()
            # Its lease still pays, then the breaker opens, and the node goes on by its own bucket.
            allowed = 1
            for number in itertools.count():
                decision = await gate.decide(consumer="acme", tier="pro")
                allowed += decision.allowed
                if decision.outcome == "fallback" or number > 400:
                    break
            assert decision.outcome == "fallback"
            began = time.perf_counter()
            for number in range(100):
                assert (await gate.decide(consumer=f"other-{number}")).outcome == "fallback"
            assert time.perf_counter() - began < 0.5, "a dead store is not waited for"
            assert "the store is away" in caplog.text
            store = Store(tmp_path, backend, port)
            await until_async(lambda: "the store is back" in caplog.text, "that the store is back")
        assert store.used("acme") == allowed
        assert store.used("other-99") == 1
    finally:
        store.kill()


async def test_a_store_that_hangs_holds_no_request_longer_than_the_timeout(store: Store) -> None:
    async with Gate(with_store(store, timeout="300ms")) as gate:
        await gate.decide(consumer="first")
        store.hang()
        try:
            for number in range(4):
                waits: list[float] = []

                async def ask(consumer: str, waits: list[float] = waits) -> None:
                    began = time.perf_counter()
                    await gate.decide(consumer=consumer)
                    waits.append(time.perf_counter() - began)

                consumers = [f"client-{number}-{index % 10}" for index in range(50)]
                await asyncio.gather(*(ask(consumer) for consumer in consumers))
                # The timeout, a tick, and what a busy machine adds.
                assert max(waits) < 0.3 + 0.5, max(waits)
        finally:
            store.go_on()


async def test_the_loop_goes_on_while_the_store_hangs(store: Store) -> None:
    async with Gate(with_store(store, timeout="500ms")) as gate:
        await gate.decide(consumer="first")
        store.hang()
        try:
            turns = 0
            waiting = asyncio.gather(*(gate.decide(consumer=f"client-{number}") for number in range(100)))
            while not waiting.done():
                await asyncio.sleep(0)
                turns += 1
            assert turns > 100, "other tasks run meanwhile"
        finally:
            store.go_on()


@pytest.mark.parametrize(("on_failure", "status"), [("open", 200), ("closed", 503), ("local", 200), ("ip", 200)])
async def test_the_ladder_is_the_policys(tmp_path: Path, on_failure: str, status: int) -> None:
    rules = policy(store={"upstream": "127.0.0.1:1", "timeout": "50ms", "on_failure": on_failure})
    async with Gate(rules) as gate:
        # One failed call is not a store that is away: after three it is.
        for number in range(3):
            await gate.decide(consumer=f"client-{number}", peer="192.0.2.1")
        decisions = [await gate.decide(consumer="acme", peer="192.0.2.2") for _ in range(12)]
        assert decisions[0].status == status
        allowed = sum(decision.allowed for decision in decisions)
        assert allowed == {"open": 12, "closed": 0, "local": 10, "ip": 4}[on_failure]
        if status == 503:
            assert decisions[0].body is not None
            assert b"temporary-reduced-capacity" in decisions[0].body


async def test_a_cancelled_request_waits_no_more_and_leaves_nothing(store: Store) -> None:
    async with Gate(with_store(store, timeout="5s")) as gate:
        await gate.decide(consumer="first")
        store.hang()
        tasks = [asyncio.create_task(gate.decide(consumer=f"client-{number % 3}", tier="pro")) for number in range(30)]
        await asyncio.sleep(0)
        for task in tasks[:20]:
            task.cancel()
        done = await asyncio.gather(*tasks[:20], return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in done)
        store.go_on()
        # The call that they waited for together was one of the cancelled ones'.
        decisions = await asyncio.gather(*tasks[20:])
        assert all(decision.allowed for decision in decisions)
        assert gate._driver is not None
        assert gate._driver.waiting == {}
        allowed = sum(decision.allowed for decision in decisions)
    used = sum(store.used(f"client-{number}") for number in range(3))
    assert used == allowed


async def test_a_wrong_token_is_said_in_the_log(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    async with Gate(with_store(store, token="this-is-another-token")) as gate:
        await gate.decide(consumer="acme")
    assert "the store answers 401" in caplog.text


async def test_a_token_comes_from_the_environment(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = with_store(store, token={"env": "A_TOKEN"})
    with pytest.raises(RuntimeError, match="A_TOKEN"):
        await Gate(rules).start()
    monkeypatch.setenv("A_TOKEN", f"{GATEWAY_TOKEN}\n")
    async with Gate(rules) as gate:
        assert (await gate.decide(consumer="acme")).outcome == "allowed"


async def test_a_gate_closes_though_its_store_is_gone(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate(with_store(store, timeout="100ms"))
    await gate.start()
    await gate.decide(consumer="acme", tier="pro")
    store.hang()
    caplog.set_level(logging.ERROR)
    began = time.monotonic()
    await gate.close()
    assert time.monotonic() - began < 10
    assert "was not told" in caplog.text
    store.go_on()
