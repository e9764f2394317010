"""ASGI middleware that limits an application's clients."""

import inspect
import ipaddress
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from typing import cast
from urllib.parse import quote

from ._caller import Pairs, Scope, Source, client_address, last, membership, name, reader
from ._cost import of_header
from ._gate import Gate
from ._policy import PolicySource
from ._tollgate import Decision, has_one_reading, without_reserved
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

_SWITCHING_PROTOCOLS = 101
_FORBIDDEN = 403

# What a source says without being waited for.
_PLAIN = frozenset({bytes, str, int, type(None)})

_METHODS = {method.decode(): method for method in (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS")}


def current() -> Visit:
    """The request that the running code serves, also in tasks and threads that the request has started.

    It raises `LookupError` where there is none.
    """
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
            try:
                gate = Gate(policy, store=store, token=token, telemetry=telemetry, refund=refund)
            except (ValueError, OSError) as error:
                # FastAPI makes its middleware when a server asks for a lifespan, and some servers then take it for one
                # that has none.
                log.error("the application cannot be limited: %s", error)
                raise
        self.gate = cast(Gate, gate)
        self._consumer = None if consumer is None else reader(consumer)
        self._tier = None if tier is None else reader(tier)
        networks = [ipaddress.ip_network(network) for network in trusted]
        self._is_trusted = membership(networks) if networks else None
        self._has_warned = False

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
            await self.gate.start_unasked()
        # Most requests wait for nothing.
        met = self._meet(scope)
        visit = met if isinstance(met, Visit) else await met
        decision = visit.decision
        if not decision.allowed:
            await _refuse(decision, scope, receive, send)
            return
        # In place, because middleware around this one reads from the scope what the router finds.
        scope[_VISIT] = visit
        if not visit.is_of_gateway:
            scope["headers"] = without_reserved(scope["headers"])
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

    def _meet(self, scope: Scope) -> Visit | Awaitable[Visit]:
        """Decides about a request."""
        client = scope.get("client")
        peer: str | None = client[0] if client else None
        headers: Pairs | None = None
        if peer is not None and self._is_trusted is not None and self._is_trusted(peer):
            pairs: Pairs = scope["headers"]
            peer = client_address(peer, pairs, self._is_trusted)
            tier, consumer = last(pairs, _TIER), last(pairs, _CONSUMER)
            if tier is not None or consumer is not None:
                return self._follow(scope, peer, consumer, tier)
            headers = pairs
        if self._consumer is None:
            return self._decide(scope, peer, headers, None, None)
        told = self._consumer(scope)
        if type(told) not in _PLAIN:
            return self._introduce(scope, peer, told)
        named = name(told)
        if named is None or self._tier is None:
            return self._decide(scope, peer, None, named, None)
        of_tier = self._tier(scope)
        if type(of_tier) not in _PLAIN:
            return self._introduce(scope, peer, named, of_tier)
        return self._decide(scope, peer, None, named, name(of_tier))

    async def _introduce(self, scope: Scope, peer: str | None, told: object, of_tier: object = None) -> Visit:
        """Decides about a request whose sources are waited for."""
        named = name(await told if inspect.isawaitable(told) else told)
        if of_tier is None and named is not None and self._tier is not None:
            of_tier = self._tier(scope)
        of_tier = await of_tier if inspect.isawaitable(of_tier) else of_tier
        met = self._decide(scope, peer, None, named, name(of_tier))
        return met if isinstance(met, Visit) else await met

    def _decide(
        self, scope: Scope, peer: str | None, headers: Pairs | None, consumer: bytes | None, tier: bytes | None
    ) -> Visit | Awaitable[Visit]:
        if not peer and consumer is None and not self._has_warned:
            self._has_warned = True
            log.warning(
                "a client has no address, as behind a Unix socket: all of these share one limit, unless `consumer` "
                "names them or the server takes their addresses from a proxy (uvicorn: --forwarded-allow-ips)"
            )
        method = _METHODS.get(scope.get("method", "GET")) or _method(scope)
        path: bytes | None = scope.get("raw_path")
        price: int | None = None
        # Most paths have no other reading.
        if not path or scope.get("root_path") or not has_one_reading(path):
            path, price = self._price(method, scope)
        answer = self.gate.ask(method, path, peer, headers, consumer, tier, price)
        return Visit(self.gate, answer) if isinstance(answer, Decision) else self._visit(answer)

    async def _visit(self, answer: Awaitable[Decision]) -> Visit:
        return Visit(self.gate, await answer)

    async def _follow(self, scope: Scope, peer: str | None, consumer: bytes | None, tier: bytes | None) -> Visit:
        """Takes over a request that a gateway has charged."""
        answer = self.gate.ask(b"", b"", peer, None, consumer, tier, 0)
        decision = answer if isinstance(answer, Decision) else await answer
        cost = last(scope["headers"], COST)
        paid = None if cost is None else of_header(cost)
        # A gateway that does not say what it has charged has charged by the same policy.
        if paid is None:
            method = _method(scope)
            path, price = self._price(method, scope)
            paid = self.gate.price(method, path) if price is None else price
        return Visit(self.gate, decision, paid, is_of_gateway=True)

    def _price(self, method: bytes, scope: Scope) -> tuple[bytes, int | None]:
        """The request's path, and what the policy charges for it, in thousandths; None if it has one reading.

        The application finds its route without `root_path`, and `//health` is another route than `/health`. Of the
        ways in which the path can be read, the dearest counts.
        """
        raw: bytes = scope.get("raw_path") or quote(scope["path"], errors="surrogatepass").encode()
        root: str = scope.get("root_path", "")
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

    # Whether it was answered, as a server sees it: early hints and the like are no answer.
    has_begun = False
    _is_replaced = False
    _is_accepted = False

    def __init__(self, visit: Visit, scope: Scope, send: Send) -> None:
        self._visit = visit
        self._scope = scope
        self._send = send

    def send(self, message: Message) -> Awaitable[None]:
        """Sends the application's message on."""
        kind: str = message["type"]
        if self._is_replaced:
            return _nothing()
        if kind == "http.response.start":
            return self._start(message)
        return self._send(message) if kind == "http.response.body" else self._send_other(kind, message)

    def _start(self, message: Message) -> Awaitable[None]:
        visit = self._visit
        self.has_begun = True
        refusal = visit.answers(message)
        if refusal is not None:
            self._is_replaced = True
            return _deny(refusal, visit.replace(refusal), self._scope, self._send)
        visit.begin(message["status"], message)
        return self._send(visit.announce(message))

    def _send_other(self, kind: str, message: Message) -> Awaitable[None]:
        visit = self._visit
        if kind == "websocket.http.response.start":
            if not self._is_accepted and _can_deny(self._scope):
                return self._start(message)
            # The server cannot send it.
            refusal = visit.answers(message)
            if refusal is not None:
                visit.replace(refusal)
            elif not self.has_begun:
                visit.begin(message["status"], message)
            self.has_begun = self._is_replaced = True
            return self._send({"type": "websocket.close", "code": _POLICY_VIOLATION})
        if kind == "websocket.accept":
            self.has_begun = self._is_accepted = True
            visit.begin(_SWITCHING_PROTOCOLS, message)
            message = visit.announce(message)
        elif kind == "websocket.close" and not self.has_begun:
            # Servers answer the handshake with this status.
            self.has_begun = True
            visit.begin(_FORBIDDEN, message)
        return self._send(message)

    async def finish(self) -> None:
        """Sends a refusal that the application has not answered: old Starlettes drop those of handshakes."""
        refusal = self._visit.refusal
        if refusal is not None and not self.has_begun:
            self.has_begun = True
            await _deny(refusal, self._visit.replace(refusal), self._scope, self._send)


async def _nothing() -> None:
    return None


async def _refuse(decision: Decision, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
    await _deny(decision, decision.headers, scope, send)


async def _deny(decision: Decision, headers: Pairs, scope: Scope, send: Send) -> None:
    is_websocket = scope["type"] == "websocket"
    if is_websocket and not _can_deny(scope):
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
        return
    prefix = "websocket." if is_websocket else ""
    body = decision.body or b""
    headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": f"{prefix}http.response.start", "status": decision.status, "headers": headers})
    await send({"type": f"{prefix}http.response.body", "body": body})


def _method(scope: Scope) -> bytes:
    method: str = scope.get("method", "GET")
    return method.encode("latin-1", "replace")


def _can_deny(scope: Scope) -> bool:
    return "websocket.http.response" in (scope.get("extensions") or {})


def _with_all_segments(path: bytes) -> bytes:
    """The path with a name for each empty segment, which a policy's rules would pass over."""
    bare, query, rest = path.partition(b"?")
    segments = bare.split(b"/")
    return (
        b"/".join(segments[:1] + [segment or b"-" for segment in segments[1:]]) + query + rest if bare != b"/" else path
    )
