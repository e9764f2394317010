"""The documentation's pages on Flask and Django, as their servers run them."""

import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from conftest import GATEWAY_TOKEN, Process, Store, free_port, serving

DOCS = Path(__file__).parents[2] / "docs"
ACME = {"X-Api-Key": "key-of-acme"}
# A busy machine takes longer than the default, 50 ms.
PATIENT = "store: { upstream: store, timeout: 2s }\n"
WAITRESS = """
import signal, sys
import waitress
from app import app
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
waitress.serve(app, host="127.0.0.1", port=int(sys.argv[1]), threads=8)
"""
SETTINGS = """
SECRET_KEY = "a-secret-of-the-tests"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "urls"
"""
WSGI = """
import os
from django.core.wsgi import get_wsgi_application
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
application = get_wsgi_application()
"""
Arguments = Callable[[int], list[str]]


def page(name: str) -> dict[str, str]:
    """A page's blocks, by the file that the text before each of them names."""
    found: dict[str, str] = {}
    before = ""
    for number, part in enumerate((DOCS / name).read_text().split("```")):
        if number % 2 == 0:
            before = part
        else:
            kind, _, text = part.partition("\n")
            names = re.findall(r"`(\w+\.(?:py|yaml))`", before)
            if kind in ("python", "yaml"):
                found[names[-1]] = text
    return found


def write(folder: Path, files: dict[str, str], store: Store | None = None) -> None:
    """Writes an application, with a store if there is one."""
    for name, text in files.items():
        if store is not None:
            told = f'policy.yaml", store="{store.url}", token="{GATEWAY_TOKEN}"'
            text = text.replace('policy.yaml"', told) if name.endswith(".py") else text + PATIENT
        (folder / name).write_text(text)


def flask() -> dict[str, str]:
    """The page's files, and a program that serves by waitress, as the page says."""
    return {**page("flask.md"), "serve.py": WAITRESS}


def django(*, is_wrapped: bool = False) -> dict[str, str]:
    """The page's files, with the settings that a new project has. `is_wrapped`: only `asgi.py` limits."""
    files = page("django.md")
    settings = SETTINGS + files["settings.py"]
    if is_wrapped:
        settings = settings.replace('"limits.limit", ', "")
        files["urls.py"] = files["urls.py"].replace("from limits import gate, refusal\n", "")
    plain = WSGI.replace("wsgi", "asgi").replace("WSGI", "ASGI")
    return {**files, "policy.yaml": page("flask.md")["policy.yaml"], "settings.py": settings, "wsgi.py": WSGI} | (
        {} if is_wrapped else {"asgi.py": plain}
    )


def gunicorn(app: str, *, workers: int = 1) -> Arguments:
    """An application that gunicorn's threads serve, loaded before it forks."""
    many = ["--workers", str(workers), "--threads", "8", "--preload"]
    return lambda port: ["gunicorn", *many, "--bind", f"127.0.0.1:{port}", "--no-control-socket", app]


SERVED: dict[str, tuple[Callable[[], dict[str, str]], Arguments]] = {
    "flask-gunicorn": (flask, gunicorn("app:app")),
    "flask-waitress": (flask, lambda port: ["serve", str(port)]),
    "django-wsgi": (django, gunicorn("wsgi:application")),
    "django-asgi": (django, lambda port: ["uvicorn", "asgi:application", "--port", str(port)]),
}


@pytest.mark.parametrize("kind", SERVED)
def test_a_page_says_what_happens_and_everything_is_reported(tmp_path: Path, store: Store, kind: str) -> None:
    files, arguments = SERVED[kind]
    port = free_port()
    write(tmp_path, files(), store)
    with (
        serving(arguments(port), port, tmp_path) as process,
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
    ):
        limited(client)
        assert client.get("/report/30", headers=ACME).headers["x-ratelimit-limit"] == "100"
        ended(process)
    assert store.used("acme", "default") == 31


def limited(client: httpx2.Client) -> None:
    """An anonymous client gets 5 a minute, and what it gets is announced."""
    health = client.get("/health")
    assert (health.text, "x-quota-tier" in health.headers) == ("well", False)
    first = client.get("/report/2")
    assert (first.text, first.headers["x-ratelimit-remaining"]) == ("a report of 2 pages", "2")
    refused = client.get("/report/9")
    assert (refused.status_code, refused.headers["content-type"]) == (429, "application/problem+json")
    assert refused.json()["tier"] == "anonymous"
    nowhere = client.get("/nowhere")
    assert (nowhere.status_code, nowhere.headers["x-ratelimit-remaining"]) == (404, "0")
    for path in ["/nowhere", "/report/1", "//health/.."]:
        assert client.get(path).status_code == 429, path
    assert client.get("/health").status_code == 200


def ended(process: Process) -> None:
    """Ends a server in order, which says nothing that looks like a mistake."""
    process.kill(signal.SIGTERM)
    text = process.log.read_text()
    assert "Traceback" not in text, text


OF_RESPONSES = {
    "app.py": """

@app.get("/settled")
def settled() -> Response:
    return Response("settled", headers={"X-Quota-Cost": "0.5"})
""",
    "urls.py": """

def settled(request: HttpRequest) -> HttpResponse:
    return HttpResponse("settled", headers={"X-Quota-Cost": "0.5"})


urlpatterns.append(path("settled", settled))
""",
}


@pytest.mark.parametrize("kind", ["flask-gunicorn", "django-wsgi"])
def test_a_page_settles_by_what_is_answered(tmp_path: Path, kind: str) -> None:
    files, arguments = SERVED[kind]
    port = free_port()
    found = files()
    name = "app.py" if "app.py" in found else "urls.py"
    found[name] += OF_RESPONSES[name]
    of_responses = "refund: [404]\nendpoints:\n  - { path: /settled, cost: 3, settle: true }\n"
    found["policy.yaml"] = found["policy.yaml"].replace("endpoints:\n", of_responses)
    write(tmp_path, found)
    with (
        serving(arguments(port), port, tmp_path) as process,
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, headers=ACME) as client,
    ):
        # The rate of 100 refills by one in 0.6 seconds, so the month tells what was paid.
        assert client.get("/nowhere").headers["x-quota-monthly-remaining"] == "100000"
        settled = client.get("/settled").headers
        assert (settled["x-quota-monthly-remaining"], "x-quota-cost" in settled) == ("99999", False)
        assert client.get("/report/30").headers["x-quota-monthly-remaining"] == "99968", "0.5, 1 and 30"
        ended(process)


def test_djangos_asgi_application_within_the_middleware(tmp_path: Path) -> None:
    port = free_port()
    arguments = ["uvicorn", "asgi:application", "--port", str(port), "--no-proxy-headers"]
    write(tmp_path, django(is_wrapped=True))
    with (
        serving(arguments, port, tmp_path) as process,
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
    ):
        assert client.get("/health").status_code == 200
        seen = [client.get("/nowhere").status_code for _ in range(6)]
        assert seen == [404] * 5 + [429]
        assert client.get("/nowhere", headers=ACME).headers["x-quota-tier"] == "pro"
        ended(process)


def test_gunicorns_workers_share_one_limit(tmp_path: Path, store: Store) -> None:
    port = free_port()
    write(tmp_path, flask(), store)
    with serving(gunicorn("app:app", workers=3)(port), port, tmp_path) as process:
        allowed, began = 0, time.monotonic()
        for _ in range(200):
            # A new connection each, so that all workers get some.
            allowed += httpx2.get(f"http://127.0.0.1:{port}/nowhere", headers=ACME, timeout=30).status_code == 404
        drained = (time.monotonic() - began) * 100 / 60
        assert 0.9 * 150 <= allowed <= 150 + drained + 1, "the bucket, and what drains meanwhile"
        ended(process)
    assert store.used("acme", "default") == allowed
