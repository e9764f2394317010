"""What keeps a node going: its ticks, its calls to the store, and the requests that wait for these."""

import asyncio
import logging
from collections.abc import Callable
from contextvars import Context

import httpx2

from ._listeners import Listeners
from ._store import Http, StoreError
from ._tollgate import Decision, Node, StoreCall

log = logging.getLogger("tollgate")

Clock = Callable[[], tuple[int, int]]
"""Nanoseconds since 1970, and nanoseconds of a clock that nobody sets."""

_SHUTDOWN = 3.0
"""The seconds for which a store that does not answer is asked to take the last report."""


class Driver:
    """Drives a node in the running event loop."""

    def __init__(self, node: Node, store: Http | None, clock: Clock | None, listeners: Listeners) -> None:
        self.waiting: dict[int, asyncio.Future[Decision]] = {}
        self._node = node
        self._store = store
        self._clock = clock
        self._listeners = listeners
        self._loop = asyncio.get_running_loop()
        self._calls: set[asyncio.Task[None]] = set()
        self._is_pump_due = False
        self._complaint = ""
        self._failures = 0
        interval = node.interval
        self._ticks = None if interval is None else self._loop.create_task(self._tick(interval), context=Context())

    async def wait(self, number: int) -> Decision:
        """The decision about a request that waits for the store."""
        future: asyncio.Future[Decision] = self._loop.create_future()
        self.waiting[number] = future
        # Requests of one turn of the loop share a call.
        if not self._is_pump_due:
            self._is_pump_due = True
            self._loop.call_soon(self._pump, context=Context())
        try:
            return await future
        except asyncio.CancelledError:
            self._node.forget(number)
            raise
        finally:
            self.waiting.pop(number, None)

    async def finish(self) -> None:
        """Decides about what waits, and tells the store everything."""
        while self.waiting:
            await asyncio.wait(self.waiting.values())
            await asyncio.sleep(0)
        if self._ticks is not None:
            self._ticks.cancel()
            await asyncio.wait([self._ticks])
        await self._finish_calls()
        await self._drain()

    async def stop(self) -> None:
        """Gives up whatever is under way."""
        if self._ticks is not None:
            self._ticks.cancel()
        for task in self._calls:
            task.cancel()
        for future in self.waiting.values():
            future.cancel()
        if self._store is not None:
            await self._store.close()

    def _set_clock(self) -> None:
        if self._clock is not None:
            self._node.set_clock(*self._clock())

    def _pump(self) -> None:
        """Does what the node wants done."""
        self._is_pump_due = False
        for number, decision in self._node.take_decisions():
            future = self.waiting.get(number)
            if future is not None and not future.done():
                future.set_result(decision)
        if self._store is not None:
            for call in self._node.take_calls():
                # No request's context: the call is not a part of the request, and may outlive it.
                task = self._loop.create_task(self._call(self._store, call), context=Context())
                self._calls.add(task)
                task.add_done_callback(self._calls.discard)
        for event in self._node.take_events():
            if event == "away":
                log.warning("the store is away; requests are decided by on_failure until it is back")
            else:
                log.warning("the store is back")
            self._listeners.store_up(is_up=event == "back")

    async def _call(self, store: Http, call: StoreCall) -> None:
        body: bytes | None = None
        complaint = ""
        try:
            async with asyncio.timeout(call.timeout):
                body = await store.post(call.path, call.content_type, call.body)
        except StoreError as error:
            complaint = f"the store answers {error}"
        except TimeoutError:
            complaint = f"the store does not answer within {call.timeout:g} s"
        except (httpx2.HTTPError, OSError) as error:
            complaint = f"the store cannot be reached: {error or type(error).__name__}"
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("a call to the store has failed")
        self._failures = 0 if body is not None else self._failures + 1
        # Requests wait for this, and nothing that comes after it may keep it from them.
        self._set_clock()
        self._node.replied(call.number, body)
        self._pump()
        if complaint and complaint != self._complaint:
            log.warning("%s", complaint)
        self._complaint = complaint
        self._listeners.store_called(has_worked=body is not None)

    async def _tick(self, interval: float) -> None:
        while True:
            await asyncio.sleep(interval)
            self._set_clock()
            self._node.tick()
            self._pump()

    async def _finish_calls(self) -> None:
        while self._calls:
            await asyncio.wait(self._calls)
            await asyncio.sleep(0)

    async def _drain(self) -> None:
        """Tells the store everything, or gives up on it."""
        try:
            async with asyncio.timeout(_SHUTDOWN):
                while self._node.drain():
                    self._pump()
                    await self._finish_calls()
                    if self._failures:
                        await asyncio.sleep(min(0.05 * self._failures, 0.5))
        except TimeoutError:
            log.error("the store was not told what was last spent here, because it does not answer")
