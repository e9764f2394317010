"""The gate alone, without a store."""

import asyncio
import json
import subprocess
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

import tollgate
from conftest import COMMAND, policy
from tollgate import CostError, Gate, PolicyError
from tollgate.testing import VirtualClock, gate


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


async def test_a_tier_gets_its_burst_and_then_a_refusal_that_keeps_its_word(clock: VirtualClock) -> None:
    async with gate(policy(), clock) as it:
        for left in range(9, -1, -1):
            decision = await it.decide(consumer="acme")
            assert (decision.allowed, decision.status, decision.remaining) == (True, 200, left)
        refused = await it.decide(consumer="acme")
        assert (refused.allowed, refused.status, refused.outcome) == (False, 429, "refused_rate")
        assert refused.retry_after == 6
        headers = dict(refused.headers)
        assert headers[b"retry-after"] == b"6"
        assert headers[b"x-ratelimit-limit"] == b"10"
        assert headers[b"x-quota-tier"] == b"free"
        assert headers[b"x-quota-monthly-remaining"] == b"990"
        assert headers[b"content-type"] == b"application/problem+json"
        assert refused.body is not None
        document = json.loads(refused.body)
        assert document["violated-policies"] == ["minute"]
        assert document["retry_after"] == 6
        clock.advance(5.999)
        assert not (await it.decide(consumer="acme")).allowed
        clock.advance(0.001)
        assert (await it.decide(consumer="acme")).allowed


async def test_clients_are_told_apart_and_paths_are_priced(clock: VirtualClock) -> None:
    async with gate(policy(), clock) as it:
        assert (await it.decide(path="/compare?x=1", consumer="acme")).cost == 2
        assert (await it.decide(path="/%63ompare", consumer="acme")).cost == 2, "no spelling is cheaper"
        assert (await it.decide(path=b"//compare", consumer="acme")).remaining == 4
        free = await it.decide(path="/health", consumer="acme")
        assert (free.outcome, free.allowed, free.headers) == ("free", True, [])
        assert free.cost == 0
        assert (await it.decide(consumer="acme", tier="pro")).limit == 100
        assert (await it.decide(consumer="acme", tier="unheard-of")).tier == "free"
        assert (await it.decide(consumer="billing", tier="free")).tier == "partner", "the policy's override"
        by_header = await it.decide(headers={"X-Consumer-Username": "b", "X-Consumer-Groups": "x, pro"})
        assert (by_header.consumer, by_header.tier) == ("b", "pro")
        anonymous = await it.decide(peer="192.0.2.1")
        assert (anonymous.consumer, anonymous.tier, anonymous.remaining) == (None, "anonymous", 3)
        assert (await it.decide(peer="192.0.2.1")).remaining == 2
        assert (await it.decide(peer="2001:db8::1")).remaining == 3
        assert (await it.decide(peer="2001:db8::ffff")).remaining == 2, "a /64 is one client"


async def test_a_charge_is_of_the_same_client_and_all_or_nothing(clock: VirtualClock) -> None:
    async with gate(policy(), clock) as it:
        first = await it.decide(consumer="acme")
        charged = await it.charge(first, "2.5")
        assert (charged.cost, charged.remaining, charged.consumer) == (Decimal("2.5"), 6, "acme")
        refused = await it.charge("acme", 7)
        assert (refused.status, refused.cost) == (429, Decimal(7))
        assert (await it.charge(first, "6.5")).remaining == 0, "the refused charge cost nothing"
        assert (await it.charge(first, 0)).outcome == "free"
        anonymous = await it.decide(peer="192.0.2.1")
        assert (await it.charge(anonymous, 3)).allowed
        assert not (await it.decide(peer="192.0.2.1")).allowed
        assert (await it.charge("acme", 5, tier="pro")).tier == "pro"


async def test_a_charge_that_can_never_be_allowed_says_so(clock: VirtualClock) -> None:
    async with gate(policy(), clock) as it:
        decision = await it.charge("acme", "10.001")
        assert (decision.status, decision.retry_after) == (429, None)
        headers = dict(decision.headers)
        assert b"retry-after" not in headers
        assert (headers[b"x-ratelimit-limit"], headers[b"x-ratelimit-remaining"]) == (b"10", b"10")
        assert (decision.limit, decision.monthly_remaining) == (10, 1000)
        assert headers[b"ratelimit"].startswith(b'"minute";r=10')
        assert decision.body is not None
        assert "10.001 units is more than tier free can ever allow" in json.loads(decision.body)["detail"]
        assert (await it.charge("acme", 10)).allowed
        assert (await it.charge("acme", 11)).remaining == 0
        anonymous = await it.decide(peer="192.0.2.1")
        assert (await it.charge(anonymous, 5)).remaining == 3


@pytest.mark.parametrize("amount", [-1, "1.0001", "nan", None])
async def test_malformed_costs_raise_and_charge_nothing(clock: VirtualClock, amount: object) -> None:
    async with gate(policy(), clock) as it:
        with pytest.raises(CostError):
            await it.charge("acme", amount)  # type: ignore[arg-type]
        assert (await it.decide(consumer="acme")).remaining == 9


async def test_the_month_refuses_until_it_turns(clock: VirtualClock) -> None:
    rules = policy(tiers={"free": {"rate": "10/second", "monthly": 20}}, overrides=[])
    clock.set(datetime(2026, 11, 30, 23, 0, tzinfo=UTC))
    async with gate(rules, clock) as it:
        for _ in range(2):
            assert (await it.charge("acme", 10)).allowed
            clock.advance(1)
        refused = await it.decide(consumer="acme")
        assert (refused.outcome, refused.retry_after) == ("refused_month", 3598)
        clock.advance(timedelta(hours=1))
        assert (await it.decide(consumer="acme")).monthly_remaining == 19


async def test_a_clock_that_jumps_never_hands_out_a_bucket_twice(clock: VirtualClock) -> None:
    async with gate(policy(), clock) as it:
        begin = clock.now
        assert (await it.charge("acme", 10)).allowed
        for jump in [timedelta(hours=-5), timedelta(days=-40), timedelta(seconds=-1)]:
            clock.set(begin + jump)
            assert not (await it.charge("acme", 10)).allowed, jump
        # A jump forward cannot be told from time that has passed, and gives one bucket, not more.
        clock.set(begin + timedelta(days=400))
        assert (await it.charge("acme", 10)).allowed
        assert not (await it.charge("acme", 1)).allowed


async def test_a_thousand_at_once_get_what_there_is(clock: VirtualClock) -> None:
    async with gate(policy(), clock) as it:
        decisions = await asyncio.gather(*(it.decide(consumer="acme", tier="pro") for _ in range(1000)))
        assert sum(decision.allowed for decision in decisions) == 150


async def test_shadow_counts_and_off_does_not(clock: VirtualClock) -> None:
    async with gate(policy(enforcement="shadow"), clock) as it:
        outcomes = [(await it.decide(consumer="acme")).outcome for _ in range(11)]
        assert outcomes == ["allowed"] * 10 + ["shadow_refused"]
    async with gate(policy(enforcement="off"), clock) as it:
        decision = await it.decide(consumer="acme")
        assert (decision.allowed, decision.outcome, decision.headers) == (True, "off", [])


@pytest.mark.parametrize("name", ["a\r\nX-Evil: 1", "\x00", "x" * 100_000, "ä☃", "' OR 1=1", "\udcff"])
async def test_hostile_names_are_names_like_any_other(clock: VirtualClock, name: str) -> None:
    async with gate(policy(), clock) as it:
        assert (await it.decide(consumer=name)).remaining == 9
        assert (await it.decide(consumer=name)).remaining == 8
        assert (await it.decide(consumer="acme")).remaining == 9
        again = await it.decide(consumer=name)
        assert (await it.charge(again, 2)).remaining == 5, "a charge is the same client's"
        assert not any(b"\n" in value or b"\r" in value for _, value in again.headers)


def test_a_policys_mistakes_are_those_that_the_command_says(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(
        "tiers:\n  free: { rate: 100/mnth }\ndefault_tier: fre\nanonymous: { rate: 1/second }\nextra: 1\n"
        "endpoints:\n  - { path: /a, cost: 1.0001 }\n"
    )
    with pytest.raises(PolicyError) as raised:
        Gate(file)
    said = subprocess.run([COMMAND, "check", file], capture_output=True, text=True, check=False)
    lines = [line for line in said.stderr.splitlines() if line.startswith(str(file))]
    assert str(raised.value).splitlines() == lines


@pytest.mark.parametrize("example", ["kong/kong.yml", "envoy/envoy.yaml"])
async def test_a_gateways_own_file_will_do(example: str) -> None:
    file = Path(__file__).parents[2] / example
    text = file.read_text()
    it = gate(file, VirtualClock())
    async with it:
        assert (await it.decide(path="/compare", consumer="someone")).cost == 2, text


def test_a_store_that_only_a_gateway_finds_is_asked_for() -> None:
    with pytest.raises(ValueError, match="pass store="):
        Gate(policy(store={"upstream": "tollgate-store"}))
    assert Gate(policy(store={"upstream": "tollgate-store"}), store="http://127.0.0.1:7600").mode == "leased"
    assert Gate(policy(), store="http://127.0.0.1:7600").mode == "leased"
    assert Gate(policy(store={"upstream": "127.0.0.1:7600", "mode": "strict"})).mode == "strict"
    with pytest.raises(ValueError, match="not the URL"):
        Gate(policy(), store="ftp://127.0.0.1")


async def test_a_gate_says_how_it_is_to_be_used() -> None:
    it = Gate(policy())
    with pytest.raises(RuntimeError, match="not started"):
        await it.decide(consumer="acme")
    async with it:
        await it.start()
        assert (await it.decide(consumer="acme")).allowed
        with pytest.raises(RuntimeError, match="another event loop"):
            await asyncio.to_thread(lambda: asyncio.run(it.decide(consumer="acme")))
    with pytest.raises(RuntimeError, match="not started"):
        await it.decide(consumer="acme")
    await it.close()
    async with it:
        assert (await it.decide(consumer="acme")).allowed, "it starts anew"


def test_what_the_package_offers() -> None:
    assert set(tollgate.__all__) == {"Amount", "CostError", "Decision", "Gate", "PolicyError", "SyncGate"}
