"""Metrics and spans of what gates decide, by prometheus_client and by the OpenTelemetry API.

A gate uses what is installed of the two. `Gate(…, telemetry=[…])` names others than the defaults,
and `telemetry=()` none. Tier and outcome are the only labels: clients choose neither.
"""

import threading
import time
from collections.abc import Iterable
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal, Protocol
from weakref import WeakSet

from ._tollgate import Decision

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
    from opentelemetry.trace import TracerProvider
    from prometheus_client import CollectorRegistry

__all__ = ["OpenTelemetry", "Prometheus"]

Call = Literal["decide", "charge"]

_REQUESTS = "Requests by tier and outcome, except free ones."
_CHARGES = "Charges by tier and outcome, except free ones."
_DECISION = "Time until a request or charge is decided, in seconds."
_STORE_CALLS = "Finished calls to the store by outcome: ok or failed."
_STORE_UP = "1: the store answers; 0: it was given up for now."
_LEASE_HITS = "Requests and charges decided without asking the store."
_LEASE_MISSES = "Requests and charges that asked the store."

_TIER, _OUTCOME = "tier", "outcome"
# In seconds: from a decision in memory to one that has waited for the store.
_BUCKETS = (0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_UNCOUNTED = frozenset({"free", "off"})

# Gates may start in several threads, and each name is registered once.
_lock = threading.Lock()


class Telemetry(Protocol):
    """Where gates tell what they do."""

    def started(self, gate: object, *, has_store: bool) -> None:
        """A gate has started."""

    def closed(self, gate: object) -> None:
        """A gate has closed."""

    def decided(self, call: Call, decision: Decision, seconds: float, is_hit: bool | None) -> None:
        """A decision took so long. `is_hit` says whether it did without the store; None if there is no store."""

    def store_called(self, *, has_worked: bool) -> None:
        """A call to the store has ended."""

    def store_up(self, gate: object, *, is_up: bool) -> None:
        """A gate has given up its store, or has found that it is back."""


class Prometheus:
    """Metrics by prometheus_client, in `registry` or else in the default one; also in its multiprocess mode."""

    def __init__(self, registry: "CollectorRegistry | None" = None) -> None:
        import prometheus_client

        registry = prometheus_client.REGISTRY if registry is None else registry
        with _lock:
            if registry not in _collectors:
                _collectors[registry] = _Collectors(registry)
            self._collectors = _collectors[registry]

    def started(self, gate: object, *, has_store: bool) -> None:
        """As `Telemetry` says."""
        if has_store:
            self._collectors.add_store()

    def closed(self, gate: object) -> None:
        """As `Telemetry` says."""
        self._collectors.set_up(gate, is_up=True)

    def decided(self, call: Call, decision: Decision, seconds: float, is_hit: bool | None) -> None:
        """As `Telemetry` says."""
        outcome = decision.outcome
        if outcome in _UNCOUNTED:
            return
        it = self._collectors
        key = (call, decision.tier, outcome)
        counter = it.counters.get(key)
        if counter is None:
            counter = it.counters[key] = (it.requests if call == "decide" else it.charges).labels(*key[1:])
        counter.inc()
        it.decision.observe(seconds)
        if is_hit is not None and it.store is not None:
            (it.store.hits if is_hit else it.store.misses).inc()

    def store_called(self, *, has_worked: bool) -> None:
        """As `Telemetry` says."""
        if self._collectors.store is not None:
            self._collectors.store.calls.labels("ok" if has_worked else "failed").inc()

    def store_up(self, gate: object, *, is_up: bool) -> None:
        """As `Telemetry` says."""
        self._collectors.set_up(gate, is_up=is_up)


class _Collectors:
    """The metrics in one registry, which all gates share."""

    def __init__(self, registry: "CollectorRegistry") -> None:
        from prometheus_client import Counter, Histogram

        labels = (_TIER, _OUTCOME)
        self._registry = registry
        self._without: WeakSet[object] = WeakSet()
        self.requests = Counter("tollgate_requests", _REQUESTS, labels, registry=registry)
        self.charges = Counter("tollgate_charges", _CHARGES, labels, registry=registry)
        self.decision = Histogram("tollgate_decision_seconds", _DECISION, buckets=_BUCKETS, registry=registry)
        # Finding a counter by its labels takes longer than counting.
        self.counters: dict[tuple[Call, str, str], Counter] = {}
        self.store: _StoreCollectors | None = None

    def add_store(self) -> None:
        # Without a store there are none: a gauge of a store that nobody has would say 0.
        with _lock:
            if self.store is None:
                self.store = _StoreCollectors(self._registry)

    def set_up(self, gate: object, *, is_up: bool) -> None:
        with _lock:
            (self._without.discard if is_up else self._without.add)(gate)
            if self.store is not None:
                self.store.up.set(not self._without)


class _StoreCollectors:
    def __init__(self, registry: "CollectorRegistry") -> None:
        from prometheus_client import Counter, Gauge

        self.calls = Counter("tollgate_store_calls", _STORE_CALLS, (_OUTCOME,), registry=registry)
        self.hits = Counter("tollgate_lease_hits", _LEASE_HITS, registry=registry)
        self.misses = Counter("tollgate_lease_misses", _LEASE_MISSES, registry=registry)
        # Of several processes, one without the store is what an alert has to find.
        self.up = Gauge("tollgate_store_up", _STORE_UP, registry=registry, multiprocess_mode="livemin")
        self.up.set(1)


# A registry has no place to keep them in. They hold on to it, as it does to them.
_collectors: "dict[CollectorRegistry, _Collectors]" = {}


class OpenTelemetry:
    """Spans and metrics by the OpenTelemetry API, from these providers or else from the global ones.

    A decision's span is a child of the caller's current span.
    """

    def __init__(
        self, tracer_provider: "TracerProvider | None" = None, meter_provider: "MeterProvider | None" = None
    ) -> None:
        from opentelemetry import trace

        self._trace = trace
        self._tracer = trace.get_tracer("tollgate", version("tollgate"), tracer_provider)
        with _lock:
            if meter_provider not in _instruments:
                _instruments[meter_provider] = _Instruments(meter_provider)
            self._instruments = _instruments[meter_provider]

    def started(self, gate: object, *, has_store: bool) -> None:
        """As `Telemetry` says."""
        if has_store:
            with _lock:
                self._instruments.gates.add(gate)

    def closed(self, gate: object) -> None:
        """As `Telemetry` says."""
        with _lock:
            self._instruments.gates.discard(gate)
            self._instruments.without.discard(gate)

    def decided(self, call: Call, decision: Decision, seconds: float, is_hit: bool | None) -> None:
        """As `Telemetry` says."""
        outcome = decision.outcome
        if outcome in _UNCOUNTED:
            return
        it = self._instruments
        attributes = {"tollgate.tier": decision.tier, "tollgate.outcome": outcome}
        (it.requests if call == "decide" else it.charges).add(1, attributes)
        it.decision.record(seconds)
        if is_hit is not None:
            (it.hits if is_hit else it.misses).add(1)
        # The span begins in the past, so that samplers see its attributes.
        began = time.time_ns() - int(seconds * 1e9)
        span = self._tracer.start_span(f"tollgate.{call}", start_time=began, attributes=attributes)
        if outcome == "error":
            span.set_status(self._trace.StatusCode.ERROR)
        span.end()

    def store_called(self, *, has_worked: bool) -> None:
        """As `Telemetry` says."""
        self._instruments.calls.add(1, {"tollgate.outcome": "ok" if has_worked else "failed"})

    def store_up(self, gate: object, *, is_up: bool) -> None:
        """As `Telemetry` says."""
        without = self._instruments.without
        with _lock:
            (without.discard if is_up else without.add)(gate)


class _Instruments:
    """The instruments of one provider, which all gates share."""

    def __init__(self, provider: "MeterProvider | None") -> None:
        from opentelemetry import metrics

        self.gates: WeakSet[object] = WeakSet()
        self.without: WeakSet[object] = WeakSet()
        meter = metrics.get_meter("tollgate", version("tollgate"), provider)
        self.requests = meter.create_counter("tollgate.requests", "{request}", _REQUESTS)
        self.charges = meter.create_counter("tollgate.charges", "{charge}", _CHARGES)
        # The SDK's own buckets are made for milliseconds.
        self.decision = meter.create_histogram(
            "tollgate.decision.duration", "s", _DECISION, explicit_bucket_boundaries_advisory=_BUCKETS
        )
        self.calls = meter.create_counter("tollgate.store.calls", "{call}", _STORE_CALLS)
        self.hits = meter.create_counter("tollgate.lease.hits", "{decision}", _LEASE_HITS)
        self.misses = meter.create_counter("tollgate.lease.misses", "{decision}", _LEASE_MISSES)

        def observe(_: "CallbackOptions") -> "Iterable[Observation]":
            with _lock:
                return [metrics.Observation(int(not self.without))] if self.gates else []

        meter.create_observable_gauge("tollgate.store.up", [observe], "1", _STORE_UP)


# A provider that makes an instrument twice warns.
_instruments: "dict[MeterProvider | None, _Instruments]" = {}


def installed() -> list[Telemetry]:
    """What is installed."""
    found: list[Telemetry] = []
    for kind in (Prometheus, OpenTelemetry):
        try:
            found.append(kind())
        except ImportError:
            continue
    return found
