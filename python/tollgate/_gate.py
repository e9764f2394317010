"""The gate: one node, and what an application asks of it."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextvars import Context
from threading import get_ident
from types import TracebackType
from typing import Self

import httpx2

from ._cost import Amount, thousandths
from ._driver import Clock, Driver
from ._listeners import Listeners
from ._policy import Headers, PolicySource, Text, pairs, read, store_token, store_url, text_bytes
from ._store import Http, StoreError
from ._tollgate import Decision, Node, ResponseHeaders
from .telemetry import Call, Telemetry, installed

log = logging.getLogger("tollgate")

_GREETING = 1.0
"""The longest that a start waits for the store, in seconds."""


class Gate:
    """Decides about requests by a policy.

    `policy` is the path of a file, its text as bytes, or a mapping. `store` is the store's URL, and `token` the
    gateways' token; both default to what the policy says. Without any store, the gate limits in this process alone.
    `telemetry` is where it tells what it does: by default, to each of `tollgate.telemetry` whose library is installed.
    `refund` adds to the statuses of the policy's `refund`: requests that are answered so cost nothing after all.

    A gate belongs to the event loop that starts it.
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
        self._policy = read(policy).with_refund([str(status) for status in refund])
        if store is not None:
            self._policy = self._policy.with_store(store)
        self._is_settling, self._is_refunding = self._policy.settles
        self._url = store_url(self._policy.upstream)
        self._token = token
        self._clock = clock
        self._listeners = Listeners(self, installed() if telemetry is None else telemetry)
        self._is_silent = not self._listeners
        self._node: Node | None = None
        self._driver: Driver | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_loop_running: Callable[[], bool] = bool
        self._thread = 0
        self._store: Http | None = None
        self._response_headers: ResponseHeaders | None = None
        self._guard: AsyncGenerator[None, None] | None = None
        self._is_closing = False

    @property
    def mode(self) -> str:
        """`local`, `leased` or `strict`."""
        return self._policy.mode

    @property
    def is_started(self) -> bool:
        """Whether the gate decides."""
        return self._node is not None

    @property
    def has_store(self) -> bool:
        """Whether there is a store to report to."""
        return self._url is not None

    async def start(self, *, greet: bool = True) -> None:
        """Starts to decide. A gate that has started is left as it is; one that was closed starts anew.

        A store that does not answer delays the start by a second at most, and does not prevent it. Without `greet` the
        start does not wait for the store at all.
        """
        if self._own_node() is not None:
            return
        if self._url is None and self._clock is None:
            log.warning(
                "no store: this process limits on its own, and what consumers use of their month is lost when it ends"
            )
        if self._url is not None:
            self._store = Http(self._url, store_token(self._policy) if self._token is None else self._token)
        self._is_closing = False
        self._loop = asyncio.get_running_loop()
        self._is_loop_running = self._loop.is_running
        self._thread = get_ident()
        self._node = Node(self._policy)
        self._driver = Driver(self._node, self._store, self._clock, self._listeners)
        self._response_headers = self._node.response_headers
        self._listeners.started(has_store=self._store is not None)
        if greet:
            await self.greet()

    async def start_unasked(self) -> None:
        """Starts for an application that was told of no start, and so will be told of no end."""
        await self.start(greet=False)
        if self._url is None or self._guard is not None:
            return
        log.warning(
            "the server has told of no start, so it will tell of no end, and what is spent last may not be reported: "
            "run uvicorn without --lifespan off, or close the gate of a mounted application yourself"
        )
        self._guard = self._close_with_loop()
        await anext(self._guard)

    async def _close_with_loop(self) -> AsyncGenerator[None, None]:
        """Closes the gate when its loop ends in order, which ends all generators first."""
        try:
            yield
        finally:
            self._guard = None
            await self.close()

    async def greet(self) -> None:
        """Waits for the store, a second at most, so that the first request that needs it has its time for the call."""
        if self._store is None:
            return
        try:
            async with asyncio.timeout(_GREETING):
                await self._store.greet()
        except (StoreError, TimeoutError, httpx2.HTTPError, OSError) as error:
            log.warning("the store at %s does not answer yet: %r", self._url, error)

    async def close(self) -> None:
        """Reports to the store what was spent, returns what it has lent, and stops.

        Requests that wait for the store are decided first.
        """
        if self._own_node() is None or self._driver is None or self._is_closing:
            return
        self._is_closing = True
        driver = self._driver
        try:
            await driver.finish()
        finally:
            self._node = self._driver = self._store = None
            self._listeners.closed()
            await driver.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def decide(
        self,
        *,
        method: str = "GET",
        path: Text = "/",
        headers: Headers = (),
        peer: str | None = None,
        consumer: Text | None = None,
        tier: Text | None = None,
    ) -> Decision:
        """Decides about a request, and charges what the policy says it costs.

        With `consumer` the client is that one, in `tier` or the policy's default tier. Without, the policy's
        `identity` reads `headers`, so only pass headers that are to be believed; a client that they do not name is
        anonymous, by its address `peer`. `path` is as the client sent it.
        """
        named = None if consumer is None else text_bytes(consumer)
        answer = self.ask(
            text_bytes(method),
            text_bytes(path),
            peer,
            pairs(headers) if named is None else None,
            named,
            None if tier is None else text_bytes(tier),
        )
        return answer if isinstance(answer, Decision) else await answer

    async def charge(self, client: Decision | Text, cost: Amount, *, tier: Text | None = None) -> Decision:
        """Charges `cost` to the client of an earlier decision, or to a consumer.

        All limits are checked, then all are charged, in one step: a refused charge costs nothing. It raises
        `CostError` for what is no cost, and `ValueError` for a consumer without a name.
        """
        price = thousandths(cost)
        if isinstance(client, Decision):
            return await self.charge_thousandths(client, price)
        if not client:
            raise ValueError("a charge needs a consumer")
        named, of_tier = text_bytes(client), None if tier is None else text_bytes(tier)
        node = self._ready()
        began = time.perf_counter()
        answer = self._answer(node.decide(b"", b"", None, None, named, of_tier, price), "charge", began)
        return answer if isinstance(answer, Decision) else await answer

    async def charge_thousandths(self, client: Decision, price: int) -> Decision:
        """As `charge`, in thousandths of a cost unit."""
        node = self._ready()
        began = time.perf_counter()
        answer = self._answer(node.charge(client, price), "charge", began)
        return answer if isinstance(answer, Decision) else await answer

    async def hold(self, client: Decision) -> Decision:
        """Charges as little as there is, and tells nobody: it is to be settled at whatever more something costs."""
        answer = self._ready().charge(client, 1)
        return answer if isinstance(answer, Decision) else await self._running().wait(answer)

    def settle(self, decision: Decision, cost: Amount) -> Decision:
        """Settles an earlier charge: it is `cost` in the end, and nobody is asked whether there is room for it.

        What is less comes back: to the month all of it, to the bucket what cannot have drained since. What is more is
        charged, to the bucket up to full. The result shows where the client stands now. A charge is settled once; after
        that, and for a decision that has charged nothing, the result is the decision itself. It raises `CostError` for
        what is no cost.
        """
        price = thousandths(cost)
        return self.settle_thousandths(decision, price) if decision.allowed else decision

    def settle_by_response(
        self, charged: Decision | Iterable[Decision], status: int, cost: Text | None = None
    ) -> Decision:
        """Settles what was charged for a request by its response, as the policy says.

        It costs nothing if `refund` has the response's `status`. Otherwise, where the policy has `settle: true`, it
        costs what `cost` says: the response's header `X-Quota-Cost`, which no client should see. The result shows where
        the client stands now.
        """
        decisions = [charged] if isinstance(charged, Decision) else list(charged)
        latest = decisions[-1]
        told = None if cost is None else text_bytes(cost)
        for decision in decisions if self._is_settling or self._is_refunding else ():
            said = self.said(decision, status, told) if decision.allowed else None
            settled = decision if said is None else self.settle_thousandths(decision, said)
            # A refusal stays what the client is told.
            if settled is not decision and decisions[-1].allowed:
                latest = settled
        return latest

    def settle_thousandths(self, decision: Decision, cost: int) -> Decision:
        """As `settle`, in thousandths of a cost unit, and also for a refused decision whose request goes on."""
        node = self._settling()
        # What nobody can settle any more stays charged.
        return decision if node is None else node.settle(decision, cost) or decision

    def refunds(self, status: int) -> bool:
        """Whether requests that are answered with this status cost nothing."""
        return self._is_refunding and self._policy.refunds(status)

    @property
    def is_settling(self) -> bool:
        """Whether the policy lets responses say what their requests cost."""
        return self._is_settling

    def said(self, decision: Decision, status: int, cost: bytes | None) -> int | None:
        """What a response says that its request costs, in thousandths: its status, or its header `X-Quota-Cost`."""
        node = self._own_node()
        return None if node is None else node.said(decision, status, cost)

    def preview(self, settled: list[tuple[Decision, int]]) -> Decision | None:
        """Where the client would stand if these charges were settled at these costs; None if nothing would change."""
        node = self._settling()
        return None if node is None else node.preview(settled)

    def soon(self, work: Callable[[], None]) -> None:
        """Does something in the gate's event loop: at once in its thread, and as soon as it can from another."""
        if self._thread == get_ident():
            work()
        elif self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(work, context=Context())

    def ask(
        self,
        method: bytes,
        path: bytes,
        peer: str | None,
        headers: Iterable[Sequence[bytes]] | None,
        consumer: bytes | None,
        tier: bytes | None,
        price: int | None = None,
    ) -> Decision | Awaitable[Decision]:
        """As `decide`, for adapters: a decision, or what to await if the store has to be asked.

        With `headers` of None the client is `consumer`, or an anonymous one. `price`, in thousandths, replaces the
        policy's.
        """
        node = self._ready()
        if self._is_silent:
            answer = node.decide(method, path, peer, headers, consumer, tier, price)
            return answer if isinstance(answer, Decision) else self._running().wait(answer)
        began = time.perf_counter()
        return self._answer(node.decide(method, path, peer, headers, consumer, tier, price), "decide", began)

    def price(self, method: bytes, path: bytes) -> int:
        """What the policy charges for a request, in thousandths."""
        return self._ready().price(method, path)

    @property
    def response_headers(self) -> ResponseHeaders:
        """The response headers that are the gate's alone."""
        if self._response_headers is None:
            raise RuntimeError("the gate is not started")
        return self._response_headers

    def _ready(self) -> Node:
        node = self._node
        # A thread runs one loop at a time. To ask for that would be a system call per request.
        if node is None or self._is_closing or self._thread != get_ident() or not self._is_loop_running():
            node = self._own_node()
            if node is None:
                raise RuntimeError("the gate is not started: write `await gate.start()` or `async with gate`")
            raise RuntimeError("the gate is closed")
        if self._clock is not None:
            node.set_clock(*self._clock())
        return node

    def _settling(self) -> Node | None:
        """The node, also while the gate closes; None after that."""
        node = self._own_node()
        if node is not None and self._clock is not None:
            node.set_clock(*self._clock())
        return node

    def _own_node(self) -> Node | None:
        is_here = self._thread == get_ident() and self._is_loop_running()
        if self._node is not None and not is_here:
            raise RuntimeError(
                "the gate was started in another event loop; in tests write `with TestClient(app) as client`"
            )
        return self._node

    def _running(self) -> Driver:
        if self._driver is None:
            raise RuntimeError("the gate is not started")
        return self._driver

    def _answer(self, answer: Decision | int, call: Call, began: float) -> Decision | Awaitable[Decision]:
        """The answer, of which the listeners are told."""
        if not isinstance(answer, Decision):
            return self._wait(answer, call, began)
        if not self._is_silent:
            self._listeners.decided(call, answer, time.perf_counter() - began, None if self._url is None else True)
        return answer

    async def _wait(self, answer: int, call: Call, began: float) -> Decision:
        decision = await self._running().wait(answer)
        self._listeners.decided(call, decision, time.perf_counter() - began, False)
        return decision
