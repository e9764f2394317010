"""The application that `tollgate-bench python` serves: one route, with the limiter that VARIANT names or without."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI, Request

# No request is refused: a refusal would be cheaper than the route.
RATE = 1_000_000
CONSUMER = "x-consumer-username"


def consumer(request: Request) -> str:
    """Who is calling, as the gateway in front says it."""
    return request.headers[CONSUMER]


def bare() -> FastAPI:
    """The route alone."""
    app = FastAPI()

    @app.get("/identify")
    async def identify() -> dict[str, str]:
        return {"language": "en", "name": "English"}

    return app


def tollgate(*, has_metrics: bool = False) -> FastAPI:
    """A rate and a month for each consumer, leased from a store on Redis; all X- headers."""
    from tollgate.asgi import TollgateMiddleware

    rules: dict[str, Any] = {
        "namespace": "bench",
        "tiers": {"pro": {"rate": f"{RATE}/second", "burst": 1.5, "monthly": 1_000_000_000}},
        "default_tier": "pro",
        "anonymous": {"rate": "5/second"},
        # A call that a busy machine holds up longer than the default, 50 ms, would have a request refused.
        "store": {"upstream": "by-its-url", "timeout": "1s"},
        "endpoints": [{"path": "/health", "cost": 0}, {"path": "/compare", "cost": 2}],
    }
    name = CONSUMER.encode()
    app = bare()
    app.add_middleware(
        TollgateMiddleware,
        policy=rules,
        store=os.environ["STORE"],
        consumer=lambda scope: next((value for key, value in scope["headers"] if key == name), None),
        telemetry=None if has_metrics else (),
    )
    return app


def fastapi_limiter() -> FastAPI:
    """One rate for all consumers together, on Redis."""
    from fastapi_limiter.depends import RateLimiter
    from pyrate_limiter import Duration, Limiter, Rate, RedisBucket
    from redis.asyncio import Redis

    async def identify_consumer(request: Request) -> str:
        return consumer(request)

    # Its limiter needs the event loop.
    limiter = RateLimiter(limiter=None, identifier=identify_consumer)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        redis = Redis.from_url(os.environ["REDIS"])
        limiter.limiter = Limiter(await RedisBucket.init([Rate(RATE, Duration.SECOND)], redis, "fastapi-limiter"))
        yield
        await redis.aclose()

    app = FastAPI(lifespan=lifespan)

    @app.get("/identify", dependencies=[Depends(limiter)])
    async def identify() -> dict[str, str]:
        return {"language": "en", "name": "English"}

    return app


def slowapi() -> FastAPI:
    """One rate for each consumer, on Redis; no headers, as by default."""
    from slowapi import Limiter

    limiter = Limiter(key_func=consumer, storage_uri=os.environ["REDIS"])
    app = FastAPI()
    app.state.limiter = limiter

    @app.get("/identify")
    @limiter.limit(f"{RATE}/second")
    async def identify(request: Request) -> dict[str, str]:
        return {"language": "en", "name": "English"}

    return app


VARIANTS = {
    "bare": bare,
    "tollgate": tollgate,
    "tollgate-metrics": lambda: tollgate(has_metrics=True),
    "fastapi-limiter": fastapi_limiter,
    "slowapi": slowapi,
}


def served() -> FastAPI:
    """What uvicorn serves."""
    return VARIANTS[os.environ["VARIANT"]]()
