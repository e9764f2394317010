"""The gate for threads: for WSGI applications and anything else that has no event loop."""

import asyncio
import contextlib
import logging
import os
import sys
import threading
from atexit import register
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any, Self, TypeVar

from ._cost import Amount
from ._driver import Clock
from ._gate import Gate
from ._policy import Headers, PolicySource, Text, read
from ._tollgate import Decision
from .telemetry import Telemetry

log = logging.getLogger("tollgate")

T = TypeVar("T")


class SyncGate:
    """A `Gate` for code without an event loop, from any number of threads.

    It takes what `Gate` takes. In each process the first decision starts it, in a thread of its own, so that it can be
    made before a server forks its workers. A process that ends in order closes it. A closed one starts anew when it is
    asked again.
    """

    def __init__(
        self,
        policy: PolicySource,
        *,
        store: str | None = None,
        token: str | None = None,
        clock: Clock | None = None,
        telemetry: Iterable[Telemetry] | None = None,
        refund: Iterable[int | str] = (),
    ) -> None:
        checked = read(policy).with_refund([str(status) for status in refund])
        chosen = None if telemetry is None else list(telemetry)

        def make() -> Gate:
            return Gate(checked, store=store, token=token, clock=clock, telemetry=chosen)

        # What is wrong is said here, and not at the first request.
        make()
        self._policy = checked
        self._make = make
        self._running: _Running | None = None

    def start(self) -> None:
        """Starts to decide, as `Gate.start` does, which waits a moment for the store. A decision does not."""
        with _lock:
            is_new = not self._is_running
            running = self._start()
            # Under the lock of all gates it would keep the others waiting.
            greeting = running.submit(running.gate.greet()) if is_new else None
        if greeting is not None:
            # Another thread may close the gate meanwhile, and then nobody answers.
            wait([greeting], timeout=2)

    def close(self) -> None:
        """Reports to the store what was spent, returns what it has lent, and stops."""
        with _lock:
            running, self._running = self._running, None
            _started.discard(self)
        if running is None or running.is_of_parent:
            return
        try:
            running.submit(running.gate.close()).result()
        finally:
            running.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def decide(
        self,
        *,
        method: str = "GET",
        path: Text = "/",
        headers: Headers = (),
        peer: str | None = None,
        consumer: Text | None = None,
        tier: Text | None = None,
    ) -> Decision:
        """As `Gate.decide`."""
        return self._ask(
            lambda gate: gate.decide(method=method, path=path, headers=headers, peer=peer, consumer=consumer, tier=tier)
        )

    def charge(self, client: Decision | Text, cost: Amount, *, tier: Text | None = None) -> Decision:
        """As `Gate.charge`."""
        return self._ask(lambda gate: gate.charge(client, cost, tier=tier))

    def settle(self, decision: Decision, cost: Amount) -> Decision:
        """As `Gate.settle`."""

        async def settle(gate: Gate) -> Decision:
            return gate.settle(decision, cost)

        return self._ask(settle)

    def settle_by_response(
        self, charged: Decision | Iterable[Decision], status: int, cost: Text | None = None
    ) -> Decision:
        """As `Gate.settle_by_response`."""
        decisions = [charged] if isinstance(charged, Decision) else list(charged)

        async def settle(gate: Gate) -> Decision:
            return gate.settle_by_response(decisions, status, cost)

        # Most policies leave it at what was charged, and nobody has to be asked.
        return self._ask(settle) if any(self._policy.settles) else decisions[-1]

    def _ask(self, question: Callable[[Gate], Coroutine[Any, Any, Decision]]) -> Decision:
        # Under the lock, so that a gate that closes has been asked before and not while it does.
        with _lock:
            running = self._start()
            answer = running.submit(question(running.gate))
        try:
            return answer.result()
        except BaseException:
            # Whoever asked is interrupted, and waits no more.
            answer.cancel()
            raise

    @property
    def _is_running(self) -> bool:
        return self._running is not None and not self._running.is_of_parent

    def _start(self) -> "_Running":
        if self._running is None or self._running.is_of_parent:
            running = _Running(self._make())
            try:
                running.submit(running.gate.start(greet=False)).result()
            except BaseException:
                running.stop()
                raise
            self._running = running
            _started.add(self)
        return self._running


class _Running:
    """A gate that has started, its event loop, and that loop's thread."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self._process = os.getpid()
        self._loop = asyncio.new_event_loop()
        # It looks up the store's name.
        self._lookup = ThreadPoolExecutor(1, "tollgate")
        self._loop.set_default_executor(self._lookup)
        # A daemon, because it would keep a process alive that ends by `_close_all`.
        self._thread = threading.Thread(target=self._loop.run_forever, name="tollgate", daemon=True)
        self._is_over = threading.Event()
        self._thread.start()
        _alive.add(self)

    @property
    def is_of_parent(self) -> bool:
        """Whether the process has forked since. A child has none of its parent's threads."""
        return self._process != os.getpid()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Has the loop do something, in the context of the caller."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def stop(self) -> None:
        """Ends the thread."""
        with _lock:
            _alive.discard(self)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def pause(self) -> None:
        """Has its threads stand still between two things that they do, until `go_on`."""
        self._is_over = threading.Event()
        if threading.current_thread() is not self._thread:
            self._stand_still(self._loop.call_soon_threadsafe)
        # Whoever looks up a name has locks of the C library, which a child would find locked for ever.
        with contextlib.suppress(RuntimeError):
            self._stand_still(self._lookup.submit)

    def _stand_still(self, tell: Callable[[Callable[[], None]], object]) -> None:
        is_paused, is_over = threading.Event(), self._is_over

        def stand_still() -> None:
            is_paused.set()
            is_over.wait()

        tell(stand_still)
        is_paused.wait()

    def go_on(self) -> None:
        """Ends a pause."""
        self._is_over.set()


# One lock for all gates, so that no fork finds one half started.
_lock = threading.RLock()
_alive: set[_Running] = set()


def _before_fork() -> None:
    _lock.acquire()
    # A lock that such a thread has, of a module's import or of a metric, would be locked in the child for ever.
    for running in _alive:
        running.pause()


def _after_fork() -> None:
    for running in _alive:
        running.go_on()
    _lock.release()


def _after_fork_in_child() -> None:
    _alive.clear()
    _lock.release()


if sys.platform != "win32":
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)

_started: set[SyncGate] = set()


def _close_all() -> None:
    for gate in list(_started):
        try:
            gate.close()
        except Exception:
            log.exception("a gate could not be closed")


# `atexit` comes too late to open a connection, because no thread looks up names by then, and not at all in children of
# multiprocessing. What comes in time has no public name. It runs in reverse order, so this before the end of executors,
# which their import has registered. `atexit` is for a gate that has started again since.
with contextlib.suppress(AttributeError, RuntimeError):
    getattr(threading, "_register_atexit")(_close_all)  # noqa: B009
register(_close_all)
