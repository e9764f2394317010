"""Metrics and spans, by the real libraries."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector
from test_asgi import client_of
from test_servers import environment, uvicorn

from apps import application
from conftest import GATEWAY_TOKEN, Store, free_port, policy, serving, until_async
from tollgate import Gate, SyncGate
from tollgate.telemetry import OpenTelemetry, Prometheus, Telemetry, installed
from tollgate.testing import VirtualClock, gate


def limited(telemetry: list[Telemetry] | None) -> Gate:
    """A gate whose time stands still."""
    return Gate(policy(), clock=VirtualClock(), telemetry=telemetry)


def with_store(store: Store, telemetry: Telemetry, **changes: Any) -> Gate:
    """A gate that leases."""
    of_store = {"upstream": f"127.0.0.1:{store.port}", "token": GATEWAY_TOKEN, "timeout": "2s", **changes}
    return Gate(policy(store=of_store), telemetry=[telemetry])


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    """One sample, None if there is none."""
    return registry.get_sample_value(name, labels)


class Exported:
    """The OpenTelemetry SDK, whose exporters keep what they get."""

    def __init__(self) -> None:
        self.spans = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])
        self.telemetry = OpenTelemetry(self.tracers, self.meters)

    def points(self, name: str) -> dict[tuple[Any, ...], Any]:
        """A metric's points, by the values of their attributes."""
        data = self.reader.get_metrics_data()
        found: dict[tuple[Any, ...], Any] = {}
        for resource in data.resource_metrics if data is not None else ():
            for scope in resource.scope_metrics:
                assert scope.scope.name == "tollgate"
                for metric in scope.metrics:
                    if metric.name == name:
                        found |= {tuple((point.attributes or {}).values()): point for point in metric.data.data_points}
        return found

    def values(self, name: str) -> dict[tuple[Any, ...], Any]:
        """As `points`, the values alone."""
        return {labels: point.value for labels, point in self.points(name).items()}


@pytest.fixture
def exported() -> Iterator[Exported]:
    it = Exported()
    yield it
    it.meters.shutdown()
    it.tracers.shutdown()


async def test_prometheus_counts_by_tier_and_outcome() -> None:
    registry = CollectorRegistry()
    async with limited([Prometheus(registry)]) as it:
        for _ in range(12):
            await it.decide(consumer="acme")
        await it.decide(path="/health", consumer="acme")
        await it.charge("other", 3)
        await it.charge(await it.decide(peer="192.0.2.1"), 100)
    assert value(registry, "tollgate_requests_total", tier="free", outcome="allowed") == 10
    assert value(registry, "tollgate_requests_total", tier="free", outcome="refused_rate") == 2
    assert value(registry, "tollgate_requests_total", tier="anonymous", outcome="allowed") == 1
    assert value(registry, "tollgate_requests_total", tier="free", outcome="free") is None
    assert value(registry, "tollgate_charges_total", tier="free", outcome="allowed") == 1
    assert value(registry, "tollgate_charges_total", tier="anonymous", outcome="refused_rate") == 1
    assert value(registry, "tollgate_decision_seconds_count") == 15
    assert value(registry, "tollgate_store_up") is None, "there is no store"


async def test_gates_of_one_process_and_gates_made_anew_share_a_registry() -> None:
    registry = CollectorRegistry()
    for _ in range(3):
        async with limited([Prometheus(registry)]) as one, limited([Prometheus(registry)]) as other:
            await one.decide(consumer="acme")
            await other.decide(consumer="acme")
    assert value(registry, "tollgate_requests_total", tier="free", outcome="allowed") == 6


async def test_what_is_installed_is_used_without_a_word() -> None:
    def counted() -> float:
        return value(REGISTRY, "tollgate_requests_total", tier="free", outcome="allowed") or 0

    assert {type(found) for found in installed()} == {Prometheus, OpenTelemetry}
    before = counted()
    for it in [gate(policy(), VirtualClock()), limited(None)]:
        async with it:
            await it.decide(consumer="acme")
    async with limited([]) as silent:
        await silent.decide(consumer="acme")
    assert counted() == before + 2


def test_the_middleware_counts_a_request_once() -> None:
    registry = CollectorRegistry()
    app = application(policy=policy(), telemetry=[Prometheus(registry)])
    with client_of(app) as client:
        assert client.get("/router/five").status_code == 429, "4 a minute are not 5"
        assert client.get("/").status_code == 200
    assert value(registry, "tollgate_requests_total", tier="anonymous", outcome="allowed") == 2
    assert value(registry, "tollgate_charges_total", tier="anonymous", outcome="refused_rate") == 1


@pytest.mark.parametrize("kind", ["prometheus", "opentelemetry"])
async def test_a_store_that_goes_and_comes_back_shows(store: Store, exported: Exported, kind: str) -> None:
    registry = CollectorRegistry()
    telemetry: Telemetry = Prometheus(registry) if kind == "prometheus" else exported.telemetry

    def shown() -> tuple[Any, ...]:
        if kind == "prometheus":
            names = ["tollgate_lease_hits_total", "tollgate_lease_misses_total"]
            ended = [value(registry, "tollgate_store_calls_total", outcome=outcome) for outcome in ["ok", "failed"]]
            return value(registry, "tollgate_store_up"), *ended, *(value(registry, name) for name in names)
        calls = exported.values("tollgate.store.calls")
        up, hits = exported.values("tollgate.store.up").get(()), exported.values("tollgate.lease.hits").get(())
        misses = exported.values("tollgate.lease.misses").get(())
        return up, calls.get(("ok",)), calls.get(("failed",)), hits, misses

    async with with_store(store, telemetry, timeout="200ms"), with_store(store, telemetry, timeout="200ms") as it:
        assert (await it.decide(consumer="acme", tier="pro")).outcome == "allowed"
        assert (await it.decide(consumer="acme", tier="pro")).outcome == "allowed"
        up, ok, failed, hits, misses = shown()
        assert (up, failed or 0) == (1, 0)
        assert ok >= 1
        assert ((hits or 0) + misses, misses >= 1) == (2, True)
        store.hang()
        try:
            for number in range(100):
                if (await it.decide(consumer=f"client-{number}")).outcome == "fallback" and shown()[0] == 0:
                    break
            assert shown()[0] == 0, "one of two gates is without it"
            assert shown()[2] >= 3
        finally:
            store.go_on()
        await until_async(lambda: shown()[0] == 1, "that the store is back")


async def test_spans_are_the_callers_children_and_say_tier_and_outcome(exported: Exported) -> None:
    tracer = exported.tracers.get_tracer("the application's")
    async with limited([exported.telemetry]) as it:
        with tracer.start_as_current_span("request") as parent:
            decision = await it.decide(consumer="acme")
            await asyncio.create_task(it.charge(decision, 10))
        await it.decide(path="/health", consumer="acme")
    decided, charged, request = exported.spans.get_finished_spans()
    assert [span.name for span in (decided, charged, request)] == ["tollgate.decide", "tollgate.charge", "request"]
    for span, outcome in [(decided, "allowed"), (charged, "refused_rate")]:
        assert dict(span.attributes or {}) == {"tollgate.tier": "free", "tollgate.outcome": outcome}
        assert span.parent is not None
        assert span.parent.span_id == parent.get_span_context().span_id
        assert span.start_time is not None
        assert span.end_time is not None
        assert span.start_time <= span.end_time
        assert span.status.status_code == StatusCode.UNSET
    assert exported.values("tollgate.requests") == {("free", "allowed"): 1}
    assert exported.values("tollgate.charges") == {("free", "refused_rate"): 1}
    (durations,) = exported.points("tollgate.decision.duration").values()
    assert (durations.count, durations.explicit_bounds[0]) == (2, 0.000025)
    assert exported.values("tollgate.store.up") == {}


def test_spans_of_threads_are_their_callers_children(exported: Exported) -> None:
    tracer = exported.tracers.get_tracer("the application's")
    with SyncGate(policy(), telemetry=[exported.telemetry]) as it, tracer.start_as_current_span("request") as parent:
        it.decide(consumer="acme")
    decided, _ = exported.spans.get_finished_spans()
    assert decided.parent is not None
    assert decided.parent.span_id == parent.get_span_context().span_id


async def test_a_decision_that_cannot_be_made_is_an_error(exported: Exported) -> None:
    rules = policy(store={"upstream": "127.0.0.1:1", "timeout": "50ms", "on_failure": "closed"})
    async with Gate(rules, telemetry=[exported.telemetry]) as it:
        outcomes = [(await it.decide(consumer="acme")).outcome for _ in range(10)]
    assert outcomes[-1] == "error", "three failed calls are the most"
    assert exported.spans.get_finished_spans()[-1].status.status_code == StatusCode.ERROR


class Broken:
    """Telemetry whose disk is full."""

    def started(self, gate: object, *, has_store: bool) -> None:
        raise OSError("started")

    def closed(self, gate: object) -> None:
        raise OSError("closed")

    def decided(self, call: Any, decision: Any, seconds: float, is_hit: bool | None) -> None:
        raise OSError("decided")

    def store_called(self, *, has_worked: bool) -> None:
        raise OSError("store_called")

    def store_up(self, gate: object, *, is_up: bool) -> None:
        raise OSError("store_up")


async def test_telemetry_that_fails_changes_no_decision(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    registry = CollectorRegistry()
    of_store = {"upstream": f"127.0.0.1:{store.port}", "token": GATEWAY_TOKEN, "timeout": "200ms"}
    it = Gate(policy(store=of_store), telemetry=[Broken(), Prometheus(registry)])
    async with asyncio.timeout(30):
        await it.start()
        assert (await it.decide(consumer="acme", tier="pro")).allowed
        assert (await it.charge("acme", 2, tier="pro")).allowed
        store.hang()
        try:
            for number in range(100):
                if (await it.decide(consumer=f"client-{number}")).outcome == "fallback":
                    break
            else:
                raise AssertionError("the store hangs, and nothing falls back")
        finally:
            store.go_on()
        await until_async(lambda: value(registry, "tollgate_store_up") == 1, "that the store is back")
        await it.close()
    assert value(registry, "tollgate_charges_total", tier="pro", outcome="allowed") == 1, "others are told"
    assert store.used("acme") == 3
    failures = [record for record in caplog.records if record.exc_info]
    assert [record.getMessage().split(",")[0] for record in failures] == ["telemetry has failed"]


async def test_no_client_can_make_a_label(exported: Exported) -> None:
    registry = CollectorRegistry()
    async with limited([Prometheus(registry), exported.telemetry]) as it:
        for number in range(50):
            await it.decide(method=f"M{number}", path=f"/{number}", consumer=f"c{number}", tier=f"t{number}")
            await it.decide(headers={"x-consumer-username": f"c{number}", "x-consumer-groups": f"g{number}"})
    assert set(exported.values("tollgate.requests")) == {("free", "allowed")}
    samples = [sample for metric in registry.collect() for sample in metric.samples if sample.name.endswith("_total")]
    assert {tuple(sample.labels) for sample in samples} <= {("tier", "outcome")}
    assert {sample.labels["tier"] for sample in samples} == {"free"}


async def test_workers_add_up_in_multiprocess_mode(tmp_path: Path, store: Store) -> None:
    port = free_port()
    folder = tmp_path / "metrics"
    folder.mkdir()
    variables = {**environment(tmp_path, store), "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    with serving(uvicorn(port, workers=2), port, tmp_path, **variables):
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(folder))  # type: ignore[no-untyped-call]
        headers = {"x-test-consumer": "acme", "x-test-tier": "pro"}
        for _ in range(30):
            # A new connection each, so that both workers get some.
            assert httpx2.get(f"http://127.0.0.1:{port}/", headers=headers).status_code == 200
        assert value(registry, "tollgate_requests_total", tier="pro", outcome="allowed") == 30
        assert value(registry, "tollgate_decision_seconds_count") == 30
        assert value(registry, "tollgate_store_up") == 1


def test_nothing_needs_what_is_not_installed(tmp_path: Path) -> None:
    program = """
import sys
sys.modules["prometheus_client"] = sys.modules["opentelemetry"] = None
import asyncio
from tollgate import Gate, SyncGate
from tollgate.telemetry import OpenTelemetry, Prometheus, installed
async def main():
    async with Gate(b"{tiers: {free: {rate: 1/minute}}, default_tier: free, anonymous: {rate: 1/minute}}") as gate:
        assert (await gate.decide(consumer="acme")).allowed
assert installed() == []
for kind in Prometheus, OpenTelemetry:
    try:
        kind()
    except ImportError:
        continue
    raise AssertionError(kind)
asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)
