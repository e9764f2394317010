"""The application that the tests put behind real gateways. It logs what its requests cost, as far as it has a say."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import StreamingResponse

from tollgate.asgi import Scope, TollgateMiddleware
from tollgate.fastapi import RESPONSES, Quota, reserve

PRICE = Decimal(20)
"""What the gateway charges for a request that settles, in the tests' policies."""


class Kind(StrEnum):
    """What becomes of a request, and when its cost is known."""

    DONE = "done"
    UNSETTLED = "unsettled"
    REFUNDED = "refunded"
    RAISES = "raises"
    UNAVAILABLE = "unavailable"
    STREAMS = "streams"
    STREAM_RAISES = "stream-raises"
    # These end because their clients leave, before the response begins or within it.
    LEFT = "left"
    LEFT_UNSETTLED = "left-unsettled"
    STREAM_LEFT = "stream-left"
    STREAM_LEFT_UNSETTLED = "stream-left-unsettled"


def consumer(scope: Scope) -> bytes | None:
    """Who calls the application itself, without a gateway."""
    return dict(scope["headers"]).get(b"x-test-consumer")


def note(**what: object) -> None:
    """Adds a line to the application's log."""
    # A short line that is appended by one call stands alone, whatever other workers write.
    with open(os.environ["LOG"], "ab", buffering=0) as log:
        log.write(json.dumps(what).encode() + b"\n")


def application() -> FastAPI:
    """The application."""
    app = FastAPI(responses=RESPONSES)
    released: dict[int, asyncio.Event] = {}
    held: dict[int, int] = {}

    @app.get("/health")
    async def health(response: Response) -> None:
        response.headers["X-Worker"] = str(os.getpid())

    @app.get("/one")
    async def one(response: Response) -> None:
        response.headers["X-Worker"] = str(os.getpid())

    @app.get("/chat")
    async def chat(
        request: Request, response: Response, quota: Annotated[Quota, Depends(reserve(2000))], cost: str = ""
    ) -> dict[str, str]:
        if cost:
            quota.settle(cost)
            response.headers["X-Quota-Cost"] = str(min(Decimal(cost), PRICE))
        return {name: value for name, value in request.headers.items() if name.startswith("x-quota")}

    @app.get("/work/{kind}/{number}")
    async def work(
        request: Request,
        response: Response,
        kind: Kind,
        number: int,
        cost: Decimal,
        quota: Annotated[Quota, Depends(reserve(20))],
    ) -> Response:
        charged = request.headers.get("x-quota-cost")

        def log(settled: Decimal | None, told: Decimal | None = None) -> None:
            amounts = {"settled": settled, "told": told}
            texts = {name: None if amount is None else str(amount) for name, amount in amounts.items()}
            note(number=number, kind=kind, charged=charged, **texts)

        def settle(is_told: bool = False) -> None:
            quota.settle(cost)
            log(cost, min(cost, PRICE) if is_told else None)

        async def stream() -> AsyncIterator[bytes]:
            yield b"first "
            if kind == Kind.STREAM_LEFT_UNSETTLED:
                log(None)
            else:
                settle()
            yield b"second "
            if kind == Kind.STREAM_RAISES:
                raise ZeroDivisionError
            while kind != Kind.STREAMS:
                yield b"on and on "
                await asyncio.sleep(0.01)

        match kind:
            case Kind.DONE:
                settle(is_told=True)
                return Response(headers={"X-Quota-Cost": str(min(cost, PRICE))})
            case Kind.UNSETTLED:
                log(None)
            case Kind.REFUNDED:
                quota.refund()
                log(Decimal(0), Decimal(0))
                return Response(headers={"X-Quota-Cost": "0"})
            case Kind.RAISES:
                settle()
                raise ZeroDivisionError
            case Kind.UNAVAILABLE:
                settle()
                raise HTTPException(503)
            case Kind.LEFT | Kind.LEFT_UNSETTLED:
                note(reached=number)
                while (await request.receive())["type"] != "http.disconnect":
                    pass
                if kind == Kind.LEFT:
                    settle()
                else:
                    log(None)
            case _:
                return StreamingResponse(stream())
        return Response()

    @app.get("/hold/{phase}")
    async def hold(phase: int, cost: str, quota: Annotated[Quota, Depends(reserve(20))]) -> None:
        held[phase] = held.get(phase, 0) + 1
        await released.setdefault(phase, asyncio.Event()).wait()
        quota.settle(cost)

    @app.get("/held/{phase}")
    async def count(phase: int) -> int:
        return held.get(phase, 0)

    @app.post("/release/{phase}")
    async def release(phase: int) -> None:
        released.setdefault(phase, asyncio.Event()).set()

    app.add_middleware(
        TollgateMiddleware,
        policy=os.environ["POLICY"],
        store=os.environ.get("STORE"),
        token=os.environ.get("TOKEN"),
        consumer=consumer,
        trusted=["127.0.0.0/8"],
    )
    return app
