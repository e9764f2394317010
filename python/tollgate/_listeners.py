"""Where a gate tells what it does. A listener that fails changes no decision."""

import logging
from collections.abc import Callable, Iterable

from ._tollgate import Decision
from .telemetry import Call, Telemetry

log = logging.getLogger("tollgate")


class Listeners:
    """Those to whom one gate tells what it does."""

    def __init__(self, gate: object, telemetry: Iterable[Telemetry]) -> None:
        self._gate = gate
        self._all = tuple(telemetry)
        self._failed: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self._all)

    def started(self, *, has_store: bool) -> None:
        self._each(lambda it: it.started(self._gate, has_store=has_store))

    def closed(self) -> None:
        self._each(lambda it: it.closed(self._gate))

    def store_called(self, *, has_worked: bool) -> None:
        self._each(lambda it: it.store_called(has_worked=has_worked))

    def store_up(self, *, is_up: bool) -> None:
        self._each(lambda it: it.store_up(self._gate, is_up=is_up))

    def decided(self, call: Call, decision: Decision, seconds: float, is_hit: bool | None) -> None:
        self._each(lambda it: it.decided(call, decision, seconds, is_hit))

    def _each(self, tell: Callable[[Telemetry], None]) -> None:
        for telemetry in self._all:
            try:
                tell(telemetry)
            except Exception:
                # One that fails for each request would fill the log.
                if id(telemetry) not in self._failed:
                    self._failed.add(id(telemetry))
                    log.exception("telemetry has failed, and what it fails with later is not logged: %r", telemetry)
