"""An application that limits its own clients, without a gateway and without a store.

uvicorn alone:app
"""

from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI
from pydantic import BaseModel

from tollgate.asgi import Scope, TollgateMiddleware
from tollgate.fastapi import RESPONSES, Standing, cost, quota

KEYS = {"key-of-acme": ("acme", "pro"), "key-of-bob": ("bob", "free")}


def account(scope: Scope) -> tuple[str, str] | None:
    """Who has the key that came with the request; in a real application, whoever is logged in."""
    for name, value in scope["headers"]:
        if name == b"x-api-key":
            return KEYS.get(value.decode("latin-1"))
    return None


def consumer(scope: Scope) -> str | None:
    """The consumer's name."""
    known = account(scope)
    return known[0] if known else None


def tier(scope: Scope) -> str | None:
    """The consumer's tier."""
    known = account(scope)
    return known[1] if known else None


class Comparison(BaseModel):
    """Texts to compare."""

    texts: list[str]


def price(comparison: Comparison) -> int:
    """What a comparison costs: one unit for each text."""
    return len(comparison.texts)


app = FastAPI(responses=RESPONSES)
app.add_middleware(TollgateMiddleware, policy=Path(__file__).with_name("policy.yaml"), consumer=consumer, tier=tier)


@app.get("/health")
async def health() -> str:
    """Costs nothing, and is never refused."""
    return "ok"


@app.get("/identify")
async def identify() -> str:
    """Costs what the policy says: one unit."""
    return "somebody"


@app.post("/compare", dependencies=[Depends(cost(price))])
async def compare(comparison: Comparison) -> bool:
    """Costs what the request says."""
    return len(set(comparison.texts)) == 1


@app.get("/me")
async def me(standing: Annotated[Standing, Depends(quota())]) -> Standing:
    """Where the client stands."""
    return standing
