"""How an application tests its limits: time passes when the test says so.

pytest examples
"""

from pathlib import Path

from fastapi import FastAPI
from fastapi.testclient import TestClient

from tollgate.asgi import TollgateMiddleware
from tollgate.testing import VirtualClock, gate


def test_a_client_waits_and_is_served_again() -> None:
    clock = VirtualClock()
    app = FastAPI()
    app.add_middleware(TollgateMiddleware, gate=gate(Path(__file__).with_name("policy.yaml"), clock))
    with TestClient(app) as client:
        for _ in range(5):
            assert client.get("/").status_code == 404
        refused = client.get("/")
        assert refused.status_code == 429
        clock.advance(int(refused.headers["Retry-After"]))
        assert client.get("/").status_code == 404
