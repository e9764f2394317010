"""An application behind Tollgate's gateway: the two charge one account in one store.

TOLLGATE_POLICY=policy.yaml TOLLGATE_STORE=http://127.0.0.1:7600 \
  uvicorn --no-proxy-headers --port 9000 behind_gateway:app
"""

import os

from fastapi import Depends, FastAPI

from tollgate.asgi import TollgateMiddleware
from tollgate.fastapi import RESPONSES, cost

app = FastAPI(responses=RESPONSES)
app.add_middleware(
    TollgateMiddleware,
    policy=os.environ["TOLLGATE_POLICY"],
    store=os.environ["TOLLGATE_STORE"],
    token=os.environ.get("TOLLGATE_TOKEN"),
    # Only the gateway comes from here. What it says about a client is believed.
    trusted=["127.0.0.1/32"],
)


@app.get("/health")
async def health() -> str:
    """Costs nothing."""
    return "ok"


@app.get("/identify")
async def identify() -> str:
    """Costs what the gateway has charged."""
    return "somebody"


@app.get("/report", dependencies=[Depends(cost(5))])
async def report() -> str:
    """Costs 5 units, of which the gateway has charged the policy's price."""
    return "a report"
