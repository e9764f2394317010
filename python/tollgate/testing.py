"""For tests of an application: gates whose time passes when the test says so."""

from datetime import UTC, datetime, timedelta

from ._gate import Gate
from ._policy import PolicySource, read
from ._sync import SyncGate

__all__ = ["VirtualClock", "gate", "sync_gate"]

_START = datetime(2026, 1, 15, 12, tzinfo=UTC)


class VirtualClock:
    """Two clocks that stand still until they are moved: the time of day, and one that never goes back."""

    def __init__(self, start: datetime = _START) -> None:
        self._unix = _nanos(start)
        self._node = 60 * 10**9

    def __call__(self) -> tuple[int, int]:
        return self._unix, self._node

    @property
    def now(self) -> datetime:
        """The time of day."""
        return datetime.fromtimestamp(self._unix / 10**9, UTC)

    def advance(self, by: float | timedelta) -> None:
        """Lets time pass, in seconds."""
        seconds = by.total_seconds() if isinstance(by, timedelta) else by
        if seconds < 0:
            raise ValueError("time does not go back; `set` sets the time of day alone")
        self._unix += round(seconds * 10**9)
        self._node += round(seconds * 10**9)

    def set(self, now: datetime) -> None:
        """Sets the time of day, forward or back, as somebody may set a machine's; no time passes."""
        self._unix = _nanos(now)


def gate(policy: PolicySource, clock: VirtualClock) -> Gate:
    """A gate for `policy` that lives by `clock` and asks no store, even if the policy has one."""
    return Gate(read(policy).without_store(), clock=clock)


def sync_gate(policy: PolicySource, clock: VirtualClock) -> SyncGate:
    """As `gate`, for threads."""
    return SyncGate(read(policy).without_store(), clock=clock)


def _nanos(moment: datetime) -> int:
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000
