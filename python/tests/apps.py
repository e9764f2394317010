"""Applications that the tests serve, in this process or by a server."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, FastAPI, Request, WebSocket
from fastapi.responses import PlainTextResponse, StreamingResponse
from pydantic import BaseModel

from tollgate.asgi import TollgateMiddleware
from tollgate.fastapi import RESPONSES, Standing, charge, cost, current, quota


class Comparison(BaseModel):
    """What a request of the tests has in its body."""

    items: list[str]


def price_of(comparison: Comparison) -> int:
    """A price by the body, as FastAPI reads it."""
    return len(comparison.items)


async def price_of_header(request: Request) -> str:
    """A price by the request."""
    return request.headers["x-price"]


def application(**middleware: Any) -> FastAPI:
    """An application with a route of each kind."""
    events: list[str] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        events.append("started")
        yield
        events.append("stopped")

    app = FastAPI(responses=RESPONSES, lifespan=lifespan)
    app.state.events = events
    router = APIRouter(prefix="/router")
    inner = FastAPI()

    @app.get("/health")
    @app.get("/")
    async def root() -> dict[str, str]:
        return {"hello": "world"}

    @app.get("/echo")
    async def echo(request: Request) -> list[tuple[str, str]]:
        return [(name, value) for name, value in request.headers.items() if name.startswith(("x-", "x_"))]

    @app.get("/forged")
    async def forged() -> PlainTextResponse:
        own = {"X-RateLimit-Remaining": "999", "x-quota-tier": "god", "RateLimit": "all", "X-Own": "kept"}
        return PlainTextResponse("", headers=own)

    @app.get("/streamed")
    async def streamed() -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            for part in [b"one ", b"two ", b"three"]:
                yield part

        return StreamingResponse(parts())

    @app.get("/failing")
    async def failing() -> None:
        raise ZeroDivisionError

    @router.get("/five", dependencies=[Depends(cost(5))])
    @inner.get("/five", dependencies=[Depends(cost(5))])
    async def five() -> dict[str, int]:
        return {"cost": 5}

    @app.post("/compare-items")
    async def compare(comparison: Comparison, _: Annotated[Any, Depends(cost(price_of))]) -> int:
        return len(comparison.items)

    @app.post("/json", dependencies=[Depends(cost(lambda body: len(body["items"])))])
    async def by_json(items: Annotated[list[str], Body(embed=True)]) -> int:
        return len(items)

    @app.get("/by-header", dependencies=[Depends(cost(price_of_header))])
    @app.get("/by-request", dependencies=[Depends(cost(lambda request: request.headers["x-price"]))])
    async def by_header() -> None:
        return None

    @app.get("/standing")
    async def standing(where: Annotated[Standing, Depends(quota())]) -> Standing:
        return where

    @app.get("/far")
    async def far() -> list[str]:
        await charge(2)
        return [current().standing.tier, *await _far_away()]

    @app.websocket("/socket")
    async def socket(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(current().standing.tier)
        await socket.close()

    @app.websocket("/dear-socket")
    async def dear_socket(socket: WebSocket, _: Annotated[Any, Depends(cost(4))]) -> None:
        await socket.accept()
        await socket.close()

    app.include_router(router)
    app.mount("/mounted", inner)
    app.add_middleware(TollgateMiddleware, **middleware)
    return app


def from_peer(app: Any, peer: str) -> Any:
    """The application, as a client of this address reaches it. Old test clients cannot say where they come from."""

    async def reached(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            scope = {**scope, "client": (peer, 4711)}
        await app(scope, receive, send)

    return reached


async def _far_away() -> list[str]:
    import asyncio

    def in_thread() -> str:
        return current().standing.tier

    async def in_task() -> str:
        return current().standing.tier

    return [await asyncio.to_thread(in_thread), await asyncio.create_task(in_task())]


def served() -> FastAPI:
    """The application that a server process serves."""
    return application(
        policy=os.environ["POLICY"],
        store=os.environ.get("STORE"),
        token=os.environ.get("TOKEN"),
        consumer=lambda scope: dict(scope["headers"]).get(b"x-test-consumer"),
        tier=lambda scope: dict(scope["headers"]).get(b"x-test-tier"),
    )
