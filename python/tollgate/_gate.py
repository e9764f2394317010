"""The gate: one node, its clock, and its calls to the store."""

import asyncio
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextvars import Context
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import httpx2

from ._cost import Amount, thousandths
from ._store import Http, StoreError
from ._tollgate import Decision, Node, Policy, StoreCall
from .telemetry import Call, Telemetry, installed

log = logging.getLogger("tollgate")

Text = str | bytes
Headers = Mapping[str, str] | Iterable[tuple[Text, Text]]
PolicySource = str | os.PathLike[str] | Mapping[str, object] | bytes | Policy
Clock = Callable[[], tuple[int, int]]
"""Nanoseconds since 1970, and nanoseconds of a clock that nobody sets."""

_GREETING = 1.0
"""The longest that a start waits for the store, in seconds."""

_SHUTDOWN = 3.0
"""The seconds for which a store that does not answer is asked to take the last report."""


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
        self._url = _url(self._policy.upstream)
        self._token = token
        self._clock = clock
        self._telemetry = tuple(installed() if telemetry is None else telemetry)
        self._node: Node | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._store: Http | None = None
        self._ticks: asyncio.Task[None] | None = None
        self._calls: set[asyncio.Task[None]] = set()
        self._waiting: dict[int, asyncio.Future[Decision]] = {}
        self._announced: frozenset[bytes] = frozenset()
        self._hidden: frozenset[bytes] = frozenset()
        self._is_closing = False
        self._is_pump_due = False
        self._complaint = ""
        self._failures = 0

    @property
    def mode(self) -> str:
        """`local`, `leased` or `strict`."""
        return self._policy.mode

    @property
    def is_started(self) -> bool:
        """Whether the gate decides."""
        return self._node is not None

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
            self._store = Http(self._url, self._find_token())
        self._is_closing = False
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._node = Node(self._policy)
        self._announced = self._node.announced
        self._hidden = self._announced | {b"x-quota-cost"}
        for telemetry in self._telemetry:
            telemetry.started(self, has_store=self._store is not None)
        interval = self._node.interval
        if interval is not None:
            self._ticks = self._loop.create_task(self._tick(self._node, interval), context=Context())
        if self._store is not None and greet:
            try:
                async with asyncio.timeout(_GREETING):
                    await self._store.greet()
            except (StoreError, TimeoutError, httpx2.HTTPError, OSError) as error:
                log.warning("the store at %s does not answer yet: %r", self._url, error)

    async def close(self) -> None:
        """Reports to the store what was spent, returns what it has lent, and stops.

        Requests that wait for the store are decided first.
        """
        node = self._own_node()
        if node is None or self._is_closing:
            return
        self._is_closing = True
        try:
            while self._waiting:
                await asyncio.wait(self._waiting.values())
                await asyncio.sleep(0)
            if self._ticks is not None:
                self._ticks.cancel()
                await asyncio.wait([self._ticks])
            await self._finish_calls()
            await self._drain(node)
        finally:
            if self._ticks is not None:
                self._ticks.cancel()
            for task in self._calls:
                task.cancel()
            for future in self._waiting.values():
                future.cancel()
            self._node = self._ticks = None
            for telemetry in self._telemetry:
                telemetry.closed(self)
            if self._store is not None:
                store, self._store = self._store, None
                await store.close()

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
        client = None if consumer is None else (_bytes(consumer), None if tier is None else _bytes(tier))
        return await self.ask(_bytes(method), _bytes(path), _pairs(headers), peer, client, None)

    async def charge(self, client: Decision | Text, cost: Amount, *, tier: Text | None = None) -> Decision:
        """Charges `cost` to the client of an earlier decision, or to a consumer.

        All limits are checked, then all are charged, in one step: a refused charge costs nothing.
        """
        price = thousandths(cost)
        if isinstance(client, Decision):
            return await self.charge_thousandths(client, price)
        if not client:
            raise ValueError("a charge needs a consumer")
        node = self._ready()
        began = time.perf_counter()
        introduced = (_bytes(client), None if tier is None else _bytes(tier))
        return await self._decided(node, node.decide(b"", b"", [], None, introduced, price), "charge", began)

    async def charge_thousandths(self, client: Decision, price: int) -> Decision:
        """As `charge`, in thousandths of a cost unit."""
        node = self._ready()
        began = time.perf_counter()
        return await self._decided(node, node.charge(client, price), "charge", began)

    def settle(self, decision: Decision, cost: Amount) -> Decision:
        """Settles an earlier charge: it is `cost` in the end, and nobody is asked whether there is room for it.

        What is less comes back: to the month all of it, to the bucket what cannot have drained since. What is more is
        charged, to the bucket up to full. The result shows where the client stands now. A charge is settled once; after
        that, and for a decision that has charged nothing, the result is the decision itself.
        """
        price = thousandths(cost)
        return self.settle_thousandths(decision, price) if decision.allowed else decision

    def settle_thousandths(self, decision: Decision, cost: int) -> Decision:
        """As `settle`, in thousandths of a cost unit, and also for a refused decision whose request goes on."""
        node = self._own_node()
        if node is None:
            # What nobody can settle any more stays charged.
            return decision
        if self._clock is not None:
            node.set_clock(*self._clock())
        return node.settle(decision, cost) or decision

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

    async def ask(
        self,
        method: bytes,
        path: bytes,
        headers: Iterable[tuple[bytes, bytes]],
        peer: str | None,
        client: tuple[bytes | None, bytes | None] | None,
        price: int | None,
    ) -> Decision:
        """As `decide`, for adapters: `client` is consumer and tier; `price`, in thousandths, replaces the policy's."""
        node = self._ready()
        began = time.perf_counter()
        answer = node.decide(method, path, list(headers), peer, client, price)
        if not self._telemetry and type(answer) is Decision:
            return answer
        return await self._decided(node, answer, "decide", began)

    def price(self, method: bytes, path: bytes) -> int:
        """What the policy charges for a request, in thousandths."""
        return self._ready().price(method, path)

    @property
    def announced(self) -> frozenset[bytes]:
        """The names of the response headers that are the gate's alone, in lower case."""
        return self._announced

    @property
    def hidden(self) -> frozenset[bytes]:
        """The same, and the header by which an application says what its request costs."""
        return self._hidden

    def _ready(self) -> Node:
        node = self._own_node()
        if node is None:
            raise RuntimeError("the gate is not started: write `await gate.start()` or `async with gate`")
        if self._is_closing:
            raise RuntimeError("the gate is closed")
        if self._clock is not None:
            node.set_clock(*self._clock())
        return node

    def _own_node(self) -> Node | None:
        # A thread runs one loop at a time. To ask for that would be a system call per request.
        is_here = self._thread == threading.get_ident() and self._loop is not None and self._loop.is_running()
        if self._node is not None and not is_here:
            raise RuntimeError(
                "the gate was started in another event loop; in tests write `with TestClient(app) as client`"
            )
        return self._node

    def _own_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise RuntimeError("the gate is not started")
        return self._loop

    async def _decided(self, node: Node, answer: Decision | int, call: Call, began: float) -> Decision:
        decision = answer if isinstance(answer, Decision) else await self._wait(node, answer)
        for telemetry in self._telemetry:
            is_hit = None if self._url is None else decision is answer
            telemetry.decided(call, decision, time.perf_counter() - began, is_hit)
        return decision

    async def _wait(self, node: Node, answer: int) -> Decision:
        future: asyncio.Future[Decision] = self._own_loop().create_future()
        self._waiting[answer] = future
        # Requests of one turn of the loop share a call.
        if not self._is_pump_due:
            self._is_pump_due = True
            self._own_loop().call_soon(self._pump, node, context=Context())
        try:
            return await future
        except asyncio.CancelledError:
            node.forget(answer)
            raise
        finally:
            self._waiting.pop(answer, None)

    def _pump(self, node: Node) -> None:
        """Does what the node wants done."""
        self._is_pump_due = False
        loop = self._own_loop()
        for number, decision in node.take_decisions():
            future = self._waiting.get(number)
            if future is not None and not future.done():
                future.set_result(decision)
        store = self._store
        if store is not None:
            for call in node.take_calls():
                # No request's context: the call is not a part of the request, and may outlive it.
                task = loop.create_task(self._call(node, store, call), context=Context())
                self._calls.add(task)
                task.add_done_callback(self._calls.discard)
        for event in node.take_events():
            for telemetry in self._telemetry:
                telemetry.store_up(self, is_up=event == "back")
            if event == "away":
                log.warning("the store is away; requests are decided by on_failure until it is back")
            else:
                log.warning("the store is back")

    async def _call(self, node: Node, store: Http, call: StoreCall) -> None:
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
        if complaint and complaint != self._complaint:
            log.warning("%s", complaint)
        self._complaint = complaint
        for telemetry in self._telemetry:
            telemetry.store_called(has_worked=body is not None)
        self._failures = 0 if body is not None else self._failures + 1
        if self._clock is not None:
            node.set_clock(*self._clock())
        node.replied(call.number, body)
        self._pump(node)

    async def _tick(self, node: Node, interval: float) -> None:
        while True:
            await asyncio.sleep(interval)
            if self._clock is not None:
                node.set_clock(*self._clock())
            node.tick()
            self._pump(node)

    async def _finish_calls(self) -> None:
        while self._calls:
            await asyncio.wait(self._calls)
            await asyncio.sleep(0)

    async def _drain(self, node: Node) -> None:
        """Tells the store everything, or gives up on it."""
        try:
            async with asyncio.timeout(_SHUTDOWN):
                while node.drain():
                    self._pump(node)
                    await self._finish_calls()
                    if self._failures:
                        await asyncio.sleep(min(0.05 * self._failures, 0.5))
        except TimeoutError:
            log.error("the store was not told what was last spent here, because it does not answer")

    def _find_token(self) -> str | None:
        if self._token is not None:
            return self._token
        name = self._policy.token_env
        if name is None:
            return self._policy.token
        token = os.environ.get(name, "").rstrip()
        if not token:
            raise RuntimeError(f"the environment has no token in {name}, which the policy's store.token names")
        return token


def read(policy: PolicySource) -> Policy:
    """The policy, checked."""
    if isinstance(policy, Policy):
        return policy
    if isinstance(policy, bytes):
        return Policy.read(policy, "policy")
    if isinstance(policy, Mapping):
        return Policy.read(json.dumps(policy, default=str).encode(), "policy")
    return Policy.read(Path(policy).read_bytes(), str(policy))


def _url(upstream: str | None) -> str | None:
    if upstream is None:
        return None
    url = httpx2.URL(upstream if "://" in upstream else f"http://{upstream}")
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"{upstream!r} is not the URL of a store; write one such as http://127.0.0.1:7600")
    if "://" not in upstream and url.port is None:
        raise ValueError(
            f"the policy calls its store {upstream!r}, which only a gateway can find; pass store='http://HOST:PORT'"
        )
    return str(url)


def text_bytes(text: str) -> bytes:
    """The bytes of a text, whatever surrogates a client has put into it."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _bytes(text: Text) -> bytes:
    return text if isinstance(text, bytes) else text_bytes(text)


def _pairs(headers: Headers) -> list[tuple[bytes, bytes]]:
    pairs: Iterable[tuple[Text, Text]]
    pairs = cast(Mapping[str, str], headers).items() if isinstance(headers, Mapping) else headers
    return [(_bytes(name).lower(), _bytes(value)) for name, value in pairs]
