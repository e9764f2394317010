"""ASGI middleware that limits an application's clients."""

import ipaddress
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from typing import cast
from urllib.parse import quote

from ._caller import Pairs, Scope, Source, ask, client_address, last, membership
from ._cost import of_header
from ._gate import Gate, PolicySource
from ._tollgate import Decision, is_reserved
from ._visit import COST, Message, Reservation, Standing, Visit
from .telemetry import Telemetry

__all__ = ["Reservation", "Scope", "Standing", "TollgateMiddleware", "Visit", "current"]

log = logging.getLogger("tollgate")

Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_VISIT = "tollgate"
_CURRENT: ContextVar[Visit | None] = ContextVar("tollgate_visit", default=None)

_TIER = b"x-quota-tier"
_CONSUMER = b"x-quota-consumer"

# A connection that may not go on is closed with this code (RFC 6455, 7.4.1: policy violation).
_POLICY_VIOLATION = 1008


def current() -> Visit:
    """The request that the running code serves, also in tasks and threads that the request has started."""
    visit = _CURRENT.get()
    if visit is None:
        raise LookupError("no request is served here, or its application has no TollgateMiddleware")
    return visit


def visit_of(scope: Scope) -> Visit:
    """The visit that the middleware has put into a scope."""
    visit = scope.get(_VISIT)
    if not isinstance(visit, Visit):
        raise RuntimeError("the application has no TollgateMiddleware: write app.add_middleware(TollgateMiddleware, …)")
    return visit


class TollgateMiddleware:
    """Limits an application's clients by a policy.

    `consumer` says who is calling: a callable that gets the scope, or the path of an attribute in it, such as `user`
    or `auth.name`. Without it, the headers of the policy's `identity` do, if they come from a peer in `trusted`. A
    client without a name is anonymous, by its address. `tier` says the consumer's tier in the same ways.

    `trusted` are the networks of Tollgate's gateways, none by default: their `X-Quota-*` headers say who is calling,
    and what was charged already. `telemetry` and `refund` are the gate's.
    """

    def __init__(
        self,
        app: App,
        policy: PolicySource | None = None,
        store: str | None = None,
        token: str | None = None,
        consumer: Source | None = None,
        tier: Source | None = None,
        trusted: Iterable[str] = (),
        gate: Gate | None = None,
        telemetry: Iterable[Telemetry] | None = None,
        refund: Iterable[int | str] = (),
    ) -> None:
        if (policy is None) == (gate is None):
            raise TypeError("TollgateMiddleware takes a policy or a gate")
        if isinstance(trusted, str):
            raise TypeError("trusted takes a list of networks, such as ['10.0.0.0/8']")
        self.app = app
        if policy is not None:
            gate = Gate(policy, store=store, token=token, telemetry=telemetry, refund=refund)
        self.gate = cast(Gate, gate)
        self._consumer = consumer
        self._tier = tier
        networks = [ipaddress.ip_network(network) for network in trusted]
        self._is_trusted = membership(networks)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a connection."""
        kind = scope["type"]
        if kind == "lifespan":
            await self._live(scope, receive, send)
            return
        if kind not in ("http", "websocket") or _VISIT in scope:
            # A request that an outer middleware has limited is limited once.
            await self.app(scope, receive, send)
            return
        if not self.gate.is_started:
            # A mounted application gets no lifespan, and some servers have none.
            await self.gate.start(greet=False)
        visit = await self._meet(scope)
        decision = visit.decision
        if not decision.allowed:
            await _refuse(decision, scope, receive, send)
            return
        # In place, because middleware around this one reads from the scope what the router finds.
        scope[_VISIT] = visit
        if not visit.is_of_gateway:
            scope["headers"] = [pair for pair in scope["headers"] if not is_reserved(pair[0])]
        reply = _Reply(visit, scope, send)
        token = _CURRENT.set(visit)
        try:
            await self.app(scope, receive, reply.send)
            if visit.refusal is not None:
                await reply.finish()
        except Exception:
            if not reply.has_begun and self.gate.refunds(500):
                visit.refund()
            raise
        finally:
            _CURRENT.reset(token)
            # A client may have gone away, and a task may have been cancelled: what was spent is spent.
            visit.end()

    async def _meet(self, scope: Scope) -> Visit:
        """Decides about a request."""
        method: bytes = scope.get("method", "GET").encode("latin-1", "replace")
        path, price = self._price(method, scope)
        headers: Pairs = scope["headers"]
        address = scope.get("client")
        peer: str | None = address[0] if address else None
        is_trusted = peer is not None and self._is_trusted(peer)
        if is_trusted:
            peer = client_address(peer, headers, self._is_trusted)
            tier, consumer = last(headers, _TIER), last(headers, _CONSUMER)
            if tier is not None or consumer is not None:
                decision = await self.gate.ask(b"", b"", (), peer, (consumer, tier), 0)
                cost = last(headers, COST)
                paid = None if cost is None else of_header(cost)
                # A gateway that does not say what it has charged has charged by the same policy.
                if paid is None:
                    paid = self.gate.price(method, path) if price is None else price
                return Visit(self.gate, decision, paid, is_of_gateway=True)
        client: tuple[bytes | None, bytes | None] | None = (None, None)
        if self._consumer is not None:
            told = await ask(self._consumer, scope)
            tier = None if self._tier is None or told is None else await ask(self._tier, scope)
            client = (told, tier)
        elif is_trusted:
            client = None
        decision = await self.gate.ask(method, path, headers if client is None else (), peer, client, price)
        return Visit(self.gate, decision)

    def _price(self, method: bytes, scope: Scope) -> tuple[bytes, int | None]:
        """The request's path, and what the policy charges for it, in thousandths; None if it has one reading.

        The application finds its route without `root_path`, and `//health` is another route than `/health`. Of the
        ways in which the path can be read, the dearest counts.
        """
        raw: bytes = scope.get("raw_path") or quote(scope["path"], errors="surrogatepass").encode()
        root: str = scope.get("root_path", "")
        if not root and b"//" not in raw and not raw.endswith(b"/") and b"/?" not in raw:
            # It has no other reading, as most paths.
            return raw, None
        readings = {raw, _with_all_segments(raw)}
        path: str = scope["path"]
        if root and path.startswith(root):
            routed = quote(path[len(root) :] or "/", errors="surrogatepass").encode()
            readings |= {routed, _with_all_segments(routed)}
        if len(readings) == 1:
            return raw, None
        return raw, max(self.gate.price(method, reading) for reading in readings)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Starts the gate before the application, and closes it after."""
        is_asked = is_stopped = False
        failure: Exception | None = None

        async def start() -> None:
            nonlocal failure
            try:
                await self.gate.start()
            except Exception as error:
                failure = error
                raise

        async def receive_started() -> Message:
            nonlocal is_asked
            message = await receive()
            if message["type"] == "lifespan.startup":
                is_asked = True
                await start()
            return message

        async def send_stopped(message: Message) -> None:
            nonlocal is_stopped
            if message["type"] != "lifespan.startup.complete":
                is_stopped = True
                await self.gate.close()
            await send(message)

        try:
            await self.app(scope, receive_started, send_stopped)
        except Exception:
            if failure is not None:
                await _fail(failure, send)
                return
            # An application that was told to start and failed has failed; one that never asked has no lifespan.
            if is_asked:
                await self.gate.close()
                raise
            log.debug("the application has no lifespan", exc_info=True)
        if not is_asked:
            try:
                await start()
            except Exception as error:
                await _fail(error, send)
                return
            await send({"type": "lifespan.startup.complete"})
        if not is_stopped:
            # The application does not wait for its end.
            await self._close_at_the_end(receive, send)

    async def _close_at_the_end(self, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "lifespan.shutdown":
            pass
        await self.gate.close()
        await send({"type": "lifespan.shutdown.complete"})


async def _fail(error: Exception, send: Send) -> None:
    log.error("the gate cannot start: %s", error)
    await send({"type": "lifespan.startup.failed", "message": f"tollgate: {error}"})


class _Reply:
    """The application's response: it gets the headers, or a refusal takes its place."""

    __slots__ = ("_is_accepted", "_is_replaced", "_scope", "_send", "_visit", "has_begun")

    def __init__(self, visit: Visit, scope: Scope, send: Send) -> None:
        self._visit = visit
        self._scope = scope
        self._send = send
        self.has_begun = False
        self._is_replaced = False
        self._is_accepted = False

    async def send(self, message: Message) -> None:
        """Sends the application's message on."""
        kind: str = message["type"]
        self.has_begun = True
        if self._is_replaced:
            return
        if kind in ("http.response.start", "websocket.http.response.start"):
            refusal = self._visit.answers(message)
            is_denial = kind.startswith("websocket.")
            if is_denial and (self._is_accepted or not _can_deny(self._scope)):
                self._is_replaced = True
                await self._send({"type": "websocket.close", "code": _POLICY_VIOLATION})
                return
            if refusal is not None:
                self._is_replaced = True
                await _respond(refusal, self._send, "websocket." if is_denial else "")
                return
            self._visit.settle(message)
            message = self._visit.announce(message)
        elif kind == "websocket.accept":
            self._is_accepted = True
            message = self._visit.announce(message)
        await self._send(message)

    async def finish(self) -> None:
        """Sends a refusal that the application has not answered: old Starlettes drop those of handshakes."""
        refusal = self._visit.refusal
        if refusal is not None and not self.has_begun:
            await _deny(refusal, self._scope, self._send)


async def _refuse(decision: Decision, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
    await _deny(decision, scope, send)


async def _deny(decision: Decision, scope: Scope, send: Send) -> None:
    if scope["type"] == "http":
        await _respond(decision, send, "")
    elif _can_deny(scope):
        await _respond(decision, send, "websocket.")
    else:
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION})


async def _respond(decision: Decision, send: Send, prefix: str) -> None:
    body = decision.body or b""
    headers = [*decision.headers, (b"content-length", str(len(body)).encode())]
    await send({"type": f"{prefix}http.response.start", "status": decision.status, "headers": headers})
    await send({"type": f"{prefix}http.response.body", "body": body})


def _can_deny(scope: Scope) -> bool:
    return "websocket.http.response" in (scope.get("extensions") or {})


def _with_all_segments(path: bytes) -> bytes:
    """The path with a name for each empty segment, which a policy's rules would pass over."""
    bare, query, rest = path.partition(b"?")
    segments = bare.split(b"/")
    return (
        b"/".join(segments[:1] + [segment or b"-" for segment in segments[1:]]) + query + rest if bare != b"/" else path
    )
