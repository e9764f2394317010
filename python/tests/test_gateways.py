"""Real gateways, the real store, and a real server of an application, all on one account.

Nothing here depends on how fast the machine is: where a test counts what fits, buckets drain by the day. What the store
has been told is asked while the gateways run, because what a killed one holds counts as spent.
"""

import asyncio
import contextlib
import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from behind import PRICE, Kind
from conftest import GATEWAY_TOKEN, Store, free_port, policy, serving, until, until_async
from envoy import Envoy, configuration, envoys

FREE = [{"path": path, "cost": 0} for path in ["/health", "/hold/*", "/held/*", "/release/*"]]
SETTLED = [{"path": path, "cost": 20, "settle": True} for path in ["/chat", "/work/*"]]


def rules(rate: str, monthly: int = 1_000_000, mode: str = "leased") -> dict[str, Any]:
    """The policy of gateways and application. No call is lost because the machine is busy."""
    return policy(
        tiers={"free": {"rate": rate, "monthly": monthly}},
        anonymous={"rate": "1000/day"},
        overrides=[],
        endpoints=[*FREE, *SETTLED],
        refund=["5xx"],
        store={"upstream": "tollgate_store", "mode": mode, "timeout": "10s", "token": GATEWAY_TOKEN},
    )


class Site:
    """An application with gateways in front of it."""

    def __init__(self, url: str, log: Path, gateways: list[Envoy]) -> None:
        self.url = url
        self.log = log
        self.gateways = gateways

    def logged(self) -> list[dict[str, Any]]:
        """What the application has logged so far."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@contextlib.contextmanager
def site(folder: Path, store: Store | None, policy: dict[str, Any], gateways: int, workers: int = 1) -> Iterator[Site]:
    """A site for the length of a block."""
    port = free_port()
    log = folder / "costs.jsonl"
    log.touch()
    if store is None:
        policy = {name: value for name, value in policy.items() if name != "store"}
    (folder / "policy.json").write_text(json.dumps(policy))
    variables = {"POLICY": str(folder / "policy.json"), "LOG": str(log)}
    if store is not None:
        variables |= {"STORE": store.url, "TOKEN": GATEWAY_TOKEN}
    arguments = ["--factory", "behind:application", "--port", str(port), "--workers", str(workers)]
    uvicorn = ["uvicorn", *arguments, "--no-proxy-headers", "--log-level", "warning"]
    configurations = [configuration(port, store.port, policy) for _ in range(gateways) if store is not None]
    with envoys(folder, configurations) as running, serving(uvicorn, port, folder, **variables):
        yield Site(f"http://127.0.0.1:{port}", log, running)


def client(url: str, connections: int = 1, kept: int | None = None) -> httpx2.AsyncClient:
    """A client that waits as long as it takes, and keeps so many of its connections."""
    limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections if kept is None else kept)
    return httpx2.AsyncClient(base_url=url, limits=limits, timeout=120)


def used_is(store: Store, expected: Decimal) -> None:
    """Waits until everything was reported, which has to be exactly this."""
    seen: list[float] = []

    def is_there() -> bool:
        seen.append(store.used("acme-free"))
        return Decimal(str(seen[-1])) == expected

    try:
        until(is_there, f"the usage of {expected}", 20)
    except AssertionError as error:
        raise AssertionError(f"{error}; it is {seen[-1]}") from None


KEY = {"apikey": "acme-free-key"}
DIRECT = {"x-test-consumer": "acme-free"}


async def test_gateway_and_application_charge_one_account(tmp_path: Path, store: Store) -> None:
    with site(tmp_path, store, rules("10000/day"), gateways=1) as running:
        forged = {"X-Quota-Cost": "2000", "X-Quota-Consumer": "globex-pro", "X-Quota-Tier": "pro", "X-Quota-Odd": "1"}
        async with client(running.gateways[0].url) as gateway:

            async def chat(cost: str) -> httpx2.Response:
                return await gateway.get("/chat", params={"cost": cost}, headers={**KEY, **forged})

            for cost in ["1500", "5.125", "20", "0", "2500.001", ""]:
                response = await chat(cost)
                assert response.status_code == 200, response.text
                reached = {"x-quota-tier": "free", "x-quota-consumer": "acme-free", "x-quota-cost": "20"}
                assert response.json() == reached, "what the gateway says, and nothing that the client has said"
                assert "x-quota-cost" not in response.headers
                assert response.headers["x-quota-tier"] == "free"
            spent = Decimal("1500") + Decimal("5.125") + 20 + 0 + Decimal("2500.001") + 2000
            used_is(store, spent)
            assert (await chat("2000")).status_code == 200
            # 1,975 are left: enough for the gateway, and too little for what the application reserves beyond it.
            refused = await chat("2000")
            assert (refused.status_code, refused.headers["content-type"]) == (429, "application/problem+json")
            assert refused.json()["violated-policies"] == ["day"]
            assert int(refused.headers["retry-after"]) > 0
            assert "x-quota-cost" not in refused.headers
            # What the gateway has charged for the refused request stays.
            used_is(store, spent + 2000 + 20)


async def worker_clients(stack: contextlib.AsyncExitStack, url: str, count: int) -> list[httpx2.AsyncClient]:
    """A client with a connection to each worker of the application."""
    found: dict[str, httpx2.AsyncClient] = {}

    async def connect() -> None:
        one = await stack.enter_async_context(client(url))
        worker = (await one.get("/health")).headers["x-worker"]
        found.setdefault(worker, one)

    end = time.monotonic() + 60
    while len(found) < count:
        assert time.monotonic() < end, f"only {len(found)} of {count} workers take connections"
        await asyncio.gather(*(connect() for _ in range(8)))
    return list(found.values())


async def test_four_workers_and_two_gateways_share_one_limit(tmp_path: Path, store: Store) -> None:
    capacity, rate, seconds = 600, 10, 6
    with site(tmp_path, store, rules("600/minute"), gateways=2, workers=4) as running:
        async with contextlib.AsyncExitStack() as stack:
            direct = await worker_clients(stack, running.url, 4)
            gateways = [
                await stack.enter_async_context(client(envoy.url)) for envoy in running.gateways for _ in range(2)
            ]
            seen: dict[httpx2.AsyncClient, Counter[int]] = {one: Counter() for one in [*direct, *gateways]}
            last = began = time.monotonic()
            stop = asyncio.Event()

            async def flood(one: httpx2.AsyncClient, headers: dict[str, str]) -> None:
                nonlocal last
                while not stop.is_set():
                    status = (await one.get("/one", headers=headers)).status_code
                    seen[one][status] += 1
                    if status == 200:
                        last = time.monotonic()

            floods = [
                *(asyncio.create_task(flood(one, DIRECT)) for one in direct),
                *(asyncio.create_task(flood(one, KEY)) for one in gateways),
            ]
            # From then on each node refuses, and gets what drains.
            await until_async(lambda: all(counts[429] for counts in seen.values()), "that everybody is refused", 120)
            await asyncio.sleep(seconds)
            ended = time.monotonic()
            stop.set()
            await asyncio.gather(*floods)
        total = sum(seen.values(), Counter[int]())
        allowed = total[200]
        assert set(total) == {200, 429}, total
        assert allowed <= capacity + rate * (last - began), (allowed, last - began)
        share = allowed / (capacity + rate * (ended - began))
        print(f"{allowed} of {sum(total.values())} requests in {ended - began:.1f} s: {share:.2%} of the limit")
        assert share >= 0.98, (share, seen.values())
        used_is(store, Decimal(allowed))


def cost_of(entry: dict[str, Any]) -> Decimal:
    """What a request costs in the end, by what the application has logged about it."""
    kind = Kind(entry["kind"])
    if kind in (Kind.RAISES, Kind.UNAVAILABLE):
        return Decimal(0)  # It was answered with a 5xx, which the policy refunds.
    spent = PRICE if entry["settled"] is None else Decimal(entry["settled"])
    if entry["charged"] is None:
        return spent
    # The gateway settles its own charge by the response's header, if a response reaches it. The application adds what
    # its reservation costs beyond that charge.
    gateway = PRICE if entry["told"] is None else Decimal(entry["told"])
    return gateway + max(spent - PRICE, Decimal(0))


async def left_within(response: httpx2.Response) -> None:
    """Reads a response until its cost is known to the application, and leaves."""
    text = ""
    async for part in response.aiter_text():
        text += part
        if "on and on" in text:
            break


class Caller:
    """A client that asks for one thing after the other: each of a random kind and cost, by a random way."""

    def __init__(self, running: Site, ways: list[httpx2.AsyncClient], chance: random.Random) -> None:
        self._running = running
        # The first way is the one without a gateway.
        self._ways = ways
        self._chance = chance

    async def ask(self, number: int) -> int:
        """The status of a request; 0 if it has left before there was one."""
        kind = self._chance.choice(list(Kind))
        cost = Decimal(self._chance.randint(0, 50_000)) / 1000
        way = self._chance.choice([0, 0, *range(1, len(self._ways))])
        one, headers = self._ways[way], KEY if way else DIRECT
        path = f"/work/{kind}/{number}?cost={cost}"
        if kind in (Kind.LEFT, Kind.LEFT_UNSETTLED):
            return await self._leave(asyncio.create_task(one.get(path, headers=headers)), number)
        async with one.stream("GET", path, headers=headers) as response:
            status: int = response.status_code
            if kind in (Kind.STREAM_LEFT, Kind.STREAM_LEFT_UNSETTLED):
                await left_within(response)
            else:
                with contextlib.suppress(httpx2.RemoteProtocolError):
                    await response.aread()
        return status

    async def _leave(self, asking: asyncio.Task[httpx2.Response], number: int) -> int:
        """Leaves when the application has the request."""
        await until_async(lambda: asking.done() or {"reached": number} in self._running.logged(), f"request {number}")
        if asking.done():
            return asking.result().status_code
        asking.cancel()
        await asyncio.wait([asking])
        return 0


async def test_a_month_is_the_sum_of_what_was_settled_wherever(tmp_path: Path, store: Store) -> None:
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    draw = random.Random(seed)  # noqa: S311
    numbers = iter(range(800))
    answered: dict[int, int] = {}
    with site(tmp_path, store, rules("unlimited", monthly=10_000), gateways=2) as running:
        async with contextlib.AsyncExitStack() as stack:
            urls = [running.url, *(gateway.url for gateway in running.gateways)]
            # The application closes connections on which it has failed.
            ways = [await stack.enter_async_context(client(url, connections=16, kept=0)) for url in urls]

            async def call(caller: Caller) -> None:
                for number in numbers:
                    answered[number] = await caller.ask(number)

            await asyncio.gather(*(call(Caller(running, ways, random.Random(draw.random()))) for _ in range(16)))  # noqa: S311
        statuses = Counter(answered.values())
        assert set(statuses) <= {0, 200, 429, 500, 503}, statuses
        # A gateway may have found that the application had closed a connection: a 503 that the application did not see.
        served = {number for number, status in answered.items() if status in (0, 200, 500)}

        def settled() -> list[dict[str, Any]]:
            return [entry for entry in running.logged() if "kind" in entry]

        await until_async(
            lambda: served <= {entry["number"] for entry in settled()}, "that the application has logged it"
        )
        assert len({entry["number"] for entry in settled()}) == len(settled())
        expected = sum(map(cost_of, settled()), Decimal(0))
        print(f"{dict(statuses)}: {expected} in all")
        used_is(store, expected)
        assert expected > 9_900, "the month was used up"
        assert statuses[429] > 0


@pytest.mark.parametrize("mode", ["local", "leased", "strict"])
async def test_of_a_thousand_reservations_at_once_as_many_pass_as_fit(tmp_path: Path, store: Store, mode: str) -> None:
    # 2,000 a day drain by 20 in a quarter of an hour.
    policy = rules("2000/day", mode="leased" if mode == "local" else mode)
    with site(tmp_path, None if mode == "local" else store, policy, gateways=0) as running:
        # The application may close an idle connection just when the next phase begins.
        async with client(running.url, connections=1000, kept=0) as many, client(running.url) as one:

            async def hold(phase: int, count: int, cost: str) -> Counter[int]:
                """What so many reservations of 20 are answered, which are settled when all others are refused."""
                statuses: Counter[int] = Counter()

                async def ask() -> None:
                    response = await many.get(f"/hold/{phase}", params={"cost": cost}, headers=DIRECT)
                    statuses[response.status_code] += 1

                asking = [asyncio.create_task(ask()) for _ in range(count)]
                end = time.monotonic() + 120
                while sum(statuses.values()) + (held := (await one.get(f"/held/{phase}")).json()) < count:
                    assert time.monotonic() < end, (statuses, held)
                    for task in asking:
                        # One that has failed is never counted.
                        assert not task.done() or task.exception() is None, task
                await one.post(f"/release/{phase}")
                await asyncio.gather(*asking)
                return statuses

            # What may have drained meanwhile does not come back, so it is settled at a little less than half.
            assert await hold(1, 1000, "9.9") == {200: 100, 429: 900}
            if mode != "local":
                # What comes back is there for all once it was reported.
                used_is(store, 100 * Decimal("9.9"))
            assert await hold(2, 200, "20") == {200: 50, 429: 150}
            assert await hold(3, 10, "20") == {429: 10}
    if mode != "local":
        used_is(store, 100 * Decimal("9.9") + 50 * 20)


async def test_http_2_gets_the_same(tmp_path: Path) -> None:
    port = free_port()
    log = tmp_path / "costs.jsonl"
    own = {name: value for name, value in rules("100/day").items() if name != "store"}
    (tmp_path / "policy.json").write_text(json.dumps(own))
    variables = {"POLICY": str(tmp_path / "policy.json"), "LOG": str(log)}
    hypercorn = ["hypercorn", "behind:application()", "--bind", f"127.0.0.1:{port}"]
    with serving(hypercorn, port, tmp_path, **variables):
        # Without TLS, the client has to know that the server speaks it.
        async with httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", http1=False, http2=True, timeout=60
        ) as streams:
            first = await streams.get("/work/done/1?cost=37.5", headers=DIRECT)
            assert (first.http_version, first.status_code) == ("HTTP/2", 200)
            assert (first.headers["x-ratelimit-limit"], first.headers["x-ratelimit-remaining"]) == ("100", "62")
            assert "x-quota-cost" not in first.headers
            # They share the connection. 62.5 are left for reservations of 20, none of which is settled.
            found = await asyncio.gather(*(streams.get("/work/unsettled/2?cost=0", headers=DIRECT) for _ in range(30)))
            assert Counter(response.status_code for response in found) == {200: 3, 429: 27}
            refused = next(response for response in found if response.status_code == 429)
            assert refused.http_version == "HTTP/2"
            assert refused.json()["tier"] == "free"
            assert int(refused.headers["retry-after"]) > 0
