"""Dependencies for FastAPI: what a request costs, and where its client stands.

The application needs `tollgate.asgi.TollgateMiddleware`.
"""

# FastAPI reads the annotations of dependencies when the application starts, so they are not postponed here.

import inspect
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

from fastapi import Depends, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.requests import HTTPConnection

from ._cost import Amount, CostError, thousandths
from ._tollgate import Decision
from .asgi import Reservation as Quota
from .asgi import Standing, Visit, current, visit_of

__all__ = ["RESPONSES", "Quota", "QuotaExceeded", "Standing", "charge", "cost", "current", "quota", "reserve"]


class QuotaExceeded(HTTPException):
    """A charge was refused: the response is the gateway's, 429 with its headers and problem document."""

    def __init__(self, decision: Decision) -> None:
        headers = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in decision.headers
            if name != b"content-type"
        }
        super().__init__(decision.status, detail="Quota exceeded", headers=headers)
        self.decision = decision


async def charge(amount: Amount) -> Decision:
    """Charges the request that the running code serves, or raises `QuotaExceeded`.

    What the gateway or the middleware has charged for the request already counts towards it. It raises `CostError` for
    what is no cost, and `LookupError` where no request is served.
    """
    return await _charge(current(), thousandths(amount))


def cost(amount: Amount | Callable[..., Any]) -> Callable[..., Awaitable[Decision]]:
    """A dependency that charges what a request costs, less what was charged for it already.

    `amount` is a number, or a dependency that returns one: its parameters are FastAPI's. Parameters without an
    annotation that are called `request` and `body` are the request and its JSON. A price that is no cost is a 422.

    FastAPI runs a dependency once per request: two charges need two calls of `cost`, or `use_cache=False`.
    """
    return _priced(amount, _charge)


def reserve(amount: Amount | Callable[..., Any]) -> Callable[..., Awaitable[Quota]]:
    """A dependency that reserves what a request may cost, until its handler says by `settle` or `refund` what it did.

    `amount` is as for `cost`, and what was charged already counts as well. What is not settled stays spent.
    """
    return _priced(amount, _reserve)


def quota() -> Callable[..., Awaitable[Standing]]:
    """A dependency that says where the request's client stands, as the response's headers will.

    Behind a gateway, which says it there, all but tier and consumer are None until the application has charged.
    """

    async def read_standing(connection: HTTPConnection) -> Standing:
        return visit_of(connection.scope).standing

    return read_standing


T = TypeVar("T")


def _priced(
    amount: Amount | Callable[..., Any], act: Callable[[Visit, int], Awaitable[T]]
) -> Callable[..., Awaitable[T]]:
    """A dependency that does something with a request and its price."""
    if not callable(amount):
        price = thousandths(amount)

        async def act_by_fixed(connection: HTTPConnection) -> T:
            return await act(visit_of(connection.scope), price)

        return act_by_fixed
    dependency = _dependency(amount)

    async def act_by_found(connection: HTTPConnection, found: Annotated[Any, Depends(dependency)]) -> T:
        try:
            price = thousandths(found)
        except CostError as error:
            # It was made of what the client has sent.
            problem = {"type": "cost", "loc": ("body",), "msg": str(error), "input": None}
            raise RequestValidationError([problem]) from error
        return await act(visit_of(connection.scope), price)

    return act_by_found


async def _charge(visit: Visit, price: int) -> Decision:
    decision = await visit.charge_thousandths(price)
    _insist(visit, decision)
    return decision


async def _reserve(visit: Visit, price: int) -> Quota:
    reservation = await visit.reserve_thousandths(price)
    _insist(visit, reservation.decision)
    return reservation


def _insist(visit: Visit, decision: Decision) -> None:
    if not decision.allowed:
        visit.refuse(decision)
        raise QuotaExceeded(decision)


def _dependency(price: Callable[..., Any]) -> Callable[..., Any]:
    """`price` as a dependency that FastAPI can call."""
    parameters = inspect.signature(price).parameters
    plain = {name for name, parameter in parameters.items() if parameter.annotation is inspect.Parameter.empty}
    if not parameters or not plain or not set(parameters) <= {"request", "body"} or plain != set(parameters):
        return price

    async def call(request: Request) -> Any:
        known: dict[str, Any] = {"request": request}
        if "body" in parameters:
            known["body"] = await _json(request)
        found = price(**{name: known[name] for name in parameters})
        return await found if inspect.isawaitable(found) else found

    return call


async def _json(request: Request) -> Any:
    try:
        return await request.json()
    except (ValueError, RecursionError) as error:
        problem: dict[str, Any] = {"type": "json_invalid", "loc": ("body",), "msg": "JSON decode error", "input": {}}
        raise RequestValidationError([{**problem, "ctx": {"error": str(error)}}]) from error


def _integer(description: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "integer", "minimum": 0}}


def _text(description: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}}


_PROBLEM: dict[str, Any] = {
    "title": "Problem",
    "type": "object",
    "required": ["type", "title", "status", "detail", "tier"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "violated-policies": {"type": "array", "items": {"type": "string"}},
        "tier": {"type": "string"},
        "retry_after": {"type": "integer", "minimum": 1},
    },
}

RESPONSES: dict[int | str, dict[str, Any]] = {
    429: {
        "description": "The client's rate limit or its quota of the month is used up.",
        "headers": {
            "Retry-After": _integer("Seconds after which this request would be allowed."),
            "X-RateLimit-Limit": _integer("Cost units that the rate allows in its period."),
            "X-RateLimit-Remaining": _integer("Cost units that are left now."),
            "X-RateLimit-Reset": _integer("When all of them are back, in Unix seconds."),
            "X-Quota-Tier": _text("The client's tier."),
            "X-Quota-Monthly-Remaining": _integer("Cost units that are left of the month."),
            "RateLimit-Policy": _text("The limits, by draft-ietf-httpapi-ratelimit-headers."),
            "RateLimit": _text("The limit that is nearest to refusing, by the same draft."),
        },
        "content": {"application/problem+json": {"schema": _PROBLEM}},
    }
}
"""What a refusal looks like, for the OpenAPI document: `FastAPI(responses=RESPONSES)`."""
