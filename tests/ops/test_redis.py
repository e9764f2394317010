"""Runs a real Redis with the arguments and users of the manifests, and a real store with the Secret's URL."""

import contextlib
import json
import socket
import subprocess
import urllib.error
import urllib.request

import pytest

from manifests import ROOT, TOLLGATE, built, named, pod, secrets_to_make
from waiting import until


@contextlib.contextmanager
def running(command, **options):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, **options)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def secrets(place):
    documents = secrets_to_make() if place == "example" else built("dev")
    return {kind: named(documents, "Secret", kind)["stringData"] for kind in ("tollgate-redis", "tollgate-store")}


def ask(url, token, **body):
    request = urllib.request.Request(
        url,
        json.dumps(body).encode() if body else None,
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer)


@pytest.mark.parametrize("place", ["example", "dev"])
def test_the_store_works_as_the_user_that_the_secret_makes(place, tmp_path):
    given = secrets(place)
    container = pod(built("dbless"), "redis").container("redis")
    users = tmp_path / "users.acl"
    users.write_text(given["tollgate-redis"]["users.acl"])
    replaced = {"/data": str(tmp_path), "/etc/redis/users.acl": str(users)}
    command = container["command"] + [replaced.get(argument, argument) for argument in container["args"]]
    assert set(replaced) <= set(container["args"])
    redis, store = free_port(), free_port()
    [port] = container["ports"]
    url = given["tollgate-redis"]["url"].replace(f"@redis:{port['containerPort']}", f"@127.0.0.1:{redis}")
    assert "127.0.0.1" in url
    # kubelet runs them so, except for the port.
    probe = container["readinessProbe"]["exec"]["command"]
    probe = [probe[0], "-p", str(redis), *probe[1:]]

    with running([*command, "--port", str(redis), "--bind", "127.0.0.1"]):
        until("Redis is up", lambda: subprocess.run(probe, capture_output=True).returncode == 0)
        anybody = subprocess.run(
            [probe[0], "-p", str(redis), "-e", "get", "tollgate:namespaces"], capture_output=True, text=True
        )
        assert anybody.returncode != 0 and "NOPERM" in anybody.stdout + anybody.stderr

        tokens = {}
        for name, token in given["tollgate-store"].items():
            (tmp_path / name).write_text(token)
            tokens[f"TOLLGATE_{name.upper().replace('-', '_')}_FILE"] = str(tmp_path / name)
        environment = tokens | {"TOLLGATE_LISTEN": f"127.0.0.1:{store}", "TOLLGATE_BACKEND": url}
        named_in_the_manifest = {one["name"] for one in pod(built("dbless"), "kong").container("store")["env"]}
        assert set(environment) <= named_in_the_manifest
        with running([TOLLGATE, "store"], env=environment, stderr=subprocess.DEVNULL):
            base = f"http://127.0.0.1:{store}"
            until("the store is ready", lambda: status(f"{base}/readyz") == 200)
            gateway, admin = given["tollgate-store"]["gateway-token"], given["tollgate-store"]["admin-token"]
            policy = {"tiers": {"free": {"rate": "100/minute", "monthly": 500}}}
            checked = ask(
                f"{base}/v1/check", gateway, namespace="ops", consumer="acme", tier="free", cost=2, policy=policy
            )
            assert checked["allowed"] and checked["monthly_remaining"] == 498
            assert ask(f"{base}/v1/usage/ops/acme", gateway)["used"] == 2
            assert ask(f"{base}/v1/reset/ops/acme", admin, bucket=True, month=True, reason="a test")
            assert ask(f"{base}/v1/usage/ops/acme", gateway)["used"] == 0
            assert ask(f"{base}/v1/audit/ops", admin)
            with pytest.raises(urllib.error.HTTPError, match="403"):
                ask(f"{base}/v1/audit/ops", gateway)


def status(url):
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def test_the_users_rights_are_those_of_the_documents():
    documented = [
        line for line in (ROOT / "docs/redis-keys.md").read_text().splitlines() if line.startswith("ACL SETUSER")
    ]
    [rights] = [line.split("~", 1)[1] for line in documented]
    for place in ("example", "dev"):
        users = secrets(place)["tollgate-redis"]["users.acl"].splitlines()
        assert users[1].split("~", 1)[1] == rights


def test_a_pod_starts_while_redis_is_away(tmp_path):
    # The sidecar's startup probe asks /healthz, and Kong starts only once it has passed.
    store = pod(built("dbless"), "kong").container("store")
    path = store["startupProbe"]["httpGet"]["path"]
    assert path == store["livenessProbe"]["httpGet"]["path"] and "readinessProbe" not in store
    port = free_port()
    settings = {"TOLLGATE_LISTEN": f"127.0.0.1:{port}", "TOLLGATE_BACKEND": f"redis://127.0.0.1:{free_port()}"}
    with running([TOLLGATE, "store"], env=settings, stderr=subprocess.DEVNULL, cwd=tmp_path):
        until("it is alive", lambda: status(f"http://127.0.0.1:{port}{path}") == 200)
        ready = pod(built("dbless"), "tollgate-store").container("store")["readinessProbe"]["httpGet"]["path"]
        assert status(f"http://127.0.0.1:{port}{ready}") == 503
