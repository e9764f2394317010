"""An application whose requests cost what they turn out to cost: as many units as the answer has tokens.

uvicorn chat:app
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from tollgate.asgi import Scope, TollgateMiddleware
from tollgate.fastapi import RESPONSES, Quota, Standing, quota, reserve


def consumer(scope: Scope) -> bytes | None:
    """Who is asking; in a real application, whoever is logged in."""
    return dict(scope["headers"]).get(b"x-user")


class Prompt(BaseModel):
    """What the model is asked."""

    text: str


async def model(prompt: Prompt) -> AsyncIterator[str]:
    """A model that says everything twice, and takes its time."""
    for word in prompt.text.split() * 2:
        await asyncio.sleep(0.01)
        yield f"{word} "


app = FastAPI(responses=RESPONSES)
app.add_middleware(TollgateMiddleware, policy=Path(__file__).with_name("chat.yaml"), consumer=consumer)


@app.get("/health")
async def health() -> str:
    """Costs nothing."""
    return "ok"


@app.post("/chat")
async def chat(prompt: Prompt, quota: Annotated[Quota, Depends(reserve(2000))]) -> StreamingResponse:
    """Costs a unit for each token, and begins only if 2,000 are left."""

    async def answer() -> AsyncIterator[str]:
        tokens = 0
        async for token in model(prompt):
            tokens += 1
            # The last word counts: a client that leaves has paid for what it got.
            quota.settle(tokens)
            yield token

    if not prompt.text.strip():
        quota.refund()
    return StreamingResponse(answer())


@app.get("/me")
async def me(standing: Annotated[Standing, Depends(quota())]) -> Standing:
    """Where the client stands. It costs what the policy says: one unit."""
    return standing
