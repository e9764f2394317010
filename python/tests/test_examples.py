"""The examples, as their first lines say to run them."""

import json
import subprocess
import sys
from pathlib import Path

import httpx2

from conftest import GATEWAY_TOKEN, Store, free_port, serving, until

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_alone(tmp_path: Path) -> None:
    port = free_port()
    arguments = ["uvicorn", "alone:app", "--app-dir", str(EXAMPLES), "--port", str(port)]
    with serving(arguments, port, tmp_path), httpx2.Client(base_url=f"http://127.0.0.1:{port}") as client:
        acme = {"x-api-key": "key-of-acme"}
        response = client.post("/compare", json={"texts": ["a"] * 40}, headers=acme)
        assert (response.status_code, response.headers["x-ratelimit-remaining"]) == (200, "100")
        assert client.get("/me", headers=acme).json()["consumer"] == "acme"
        assert [client.get("/identify").status_code for _ in range(6)] == [200] * 5 + [429]
        assert client.get("/health").status_code == 200


def test_behind_a_gateway(tmp_path: Path, store: Store) -> None:
    port = free_port()
    arguments = ["uvicorn", "behind_gateway:app", "--app-dir", str(EXAMPLES), "--port", str(port)]
    variables = {"TOLLGATE_STORE": store.url, "TOLLGATE_TOKEN": GATEWAY_TOKEN}
    policy = tmp_path / "policy.yaml"
    # A busy machine takes longer than the default, 50 ms.
    policy.write_text((EXAMPLES / "policy.yaml").read_text() + "store: { upstream: store, timeout: 2s }\n")
    with (
        serving([*arguments, "--no-proxy-headers"], port, tmp_path, TOLLGATE_POLICY=str(policy), **variables),
        httpx2.Client(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        said = {"x-quota-tier": "free", "x-quota-consumer": "acme", "x-quota-cost": "1"}
        assert [client.get("/report", headers=said).status_code for _ in range(3)] == [200, 200, 429]
        assert client.get("/identify", headers=said).status_code == 200
        answer = client.get("/report", headers=said)
        assert json.loads(answer.content)["tier"] == "free"
    assert store.used("acme", "examples") == 8


def test_chat(tmp_path: Path) -> None:
    port = free_port()
    arguments = ["uvicorn", "chat:app", "--app-dir", str(EXAMPLES), "--port", str(port)]
    acme = {"x-user": "acme"}
    with (
        serving(arguments, port, tmp_path),
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", headers=acme, timeout=30) as client,
    ):
        response = client.post("/chat", json={"text": "one two three"})
        assert response.text.split() == ["one", "two", "three"] * 2
        assert response.headers["x-quota-monthly-remaining"] == "98000", "it is settled later"
        assert client.get("/me").json()["monthly_remaining"] == 100_000 - 6 - 1
        assert client.post("/chat", json={"text": ""}).headers["x-quota-monthly-remaining"] == "99993"
        # A client that leaves pays for no more than was made.
        with client.stream("POST", "/chat", json={"text": "word " * 500}) as stream:
            assert next(stream.iter_raw()).startswith(b"word ")
        until(lambda: client.get("/me").json()["monthly_remaining"] > 98_500, "that it is settled")
        # The bucket has 4,000 for anonymous clients: two reservations of 2,000.
        with httpx2.Client(base_url=client.base_url, timeout=30) as anonymous:
            assert anonymous.post("/chat", json={"text": "word"}).status_code == 200
            assert anonymous.get("/me").json()["consumer"] is None


def test_a_test_of_an_application(tmp_path: Path) -> None:
    arguments = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(EXAMPLES)]
    subprocess.run([sys.executable, *arguments], check=True, cwd=tmp_path)


def blocks(kind: str) -> list[str]:
    """What the README has in blocks of a kind."""
    text = (EXAMPLES.parent / "README.md").read_text()
    return [block.removeprefix(f"{kind}\n") for block in text.split("```")[1::2] if block.startswith(f"{kind}\n")]


def test_the_readmes_application_alone_and_behind_a_gateway(tmp_path: Path, store: Store) -> None:
    (policy,) = blocks("yaml")
    alone, priced, behind = blocks("python")
    (tmp_path / "policy.yaml").write_text(policy)
    (tmp_path / "main.py").write_text(alone + priced)
    port = free_port()
    arguments = ["uvicorn", "main:app", "--port", str(port), "--no-proxy-headers"]
    with serving(arguments, port, tmp_path), httpx2.Client(base_url=f"http://127.0.0.1:{port}") as client:
        assert client.get("/chat", params={"words": 0}).headers["x-ratelimit-remaining"] == "5"
        first, second = client.get("/report"), client.get("/report")
        assert (first.status_code, first.headers["x-ratelimit-remaining"]) == (200, "0")
        assert (second.status_code, second.headers["retry-after"]) == (429, "12")
    # A busy machine takes longer than the default, 50 ms.
    (tmp_path / "policy.yaml").write_text(policy + "store: { upstream: store, timeout: 2s }\n")
    added = behind.replace("http://127.0.0.1:7600", store.url).replace("trusted=", f"token={GATEWAY_TOKEN!r}, trusted=")
    (tmp_path / "main.py").write_text(
        alone.replace('app.add_middleware(TollgateMiddleware, policy="policy.yaml")\n', added)
    )
    with serving(arguments, port, tmp_path), httpx2.Client(base_url=f"http://127.0.0.1:{port}") as client:
        said = {"X-Quota-Tier": "free", "X-Quota-Consumer": "acme", "X-Quota-Cost": "1"}
        response = client.get("/report", headers=said)
        assert (response.status_code, response.headers["x-ratelimit-remaining"]) == (200, "6")
    assert store.used("acme", "default") == 4
