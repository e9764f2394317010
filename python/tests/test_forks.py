"""Workers that are forked from a process that has made the gate: each is a node of its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_servers import PATIENT, environment, statuses

from conftest import GATEWAY_TOKEN, Store, free_port, policy, serving

RULES: dict[str, Any] = {"tiers": {"free": {"rate": "300/day", "monthly": 100_000}}, "overrides": []}

PROGRAM = """
import asyncio, json, multiprocessing, os, sys
from tollgate import Gate

gate = Gate("policy.json", store=sys.argv[2], token=sys.argv[3])

async def spend():
    allowed = 0
    async with gate:
        for _ in range(400):
            allowed += (await gate.decide(consumer="acme")).allowed
            await asyncio.sleep(0.001)
    return allowed

def work(pipe):
    os.write(pipe, json.dumps(asyncio.run(spend())).encode().rjust(8))

def fork():
    child = os.fork()
    if child == 0:
        work(written)
        os._exit(0)
    return child

read, written = os.pipe()
if sys.argv[1] == "os":
    children = [fork() for _ in range(4)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
else:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=work, args=(written,)) for _ in range(4)]
    for process in processes: process.start()
    for process in processes: process.join()
print(sum(json.loads(os.read(read, 8)) for _ in range(4)))
"""


@pytest.mark.parametrize("kind", ["os", "multiprocessing"])
def test_forked_gates_are_never_over(tmp_path: Path, store: Store, kind: str) -> None:
    (tmp_path / "policy.json").write_text(json.dumps(policy(store=PATIENT, **RULES)))
    arguments = [sys.executable, "-c", PROGRAM, kind, store.url, GATEWAY_TOKEN]
    said = subprocess.run(arguments, cwd=tmp_path, check=False, capture_output=True, text=True, timeout=60)
    assert (said.returncode, said.stderr) == (0, "")
    allowed = int(said.stdout)
    # A bucket of 300 drains by one in 288 seconds.
    assert 0.95 * 300 <= allowed <= 300 + 1
    assert store.used("acme") == allowed


async def test_gunicorns_asyncio_workers_share_one_limit(tmp_path: Path, store: Store) -> None:
    port = free_port()
    arguments = ["gunicorn", "apps:served()", "-k", "asgi", "--workers", "4", "--preload", "--no-control-socket"]
    variables = environment(tmp_path, store, **RULES)
    with serving([*arguments, "--bind", f"127.0.0.1:{port}"], port, tmp_path, **variables):
        acme = {"x-test-consumer": "acme", "connection": "close"}
        allowed = (await statuses(f"http://127.0.0.1:{port}/", 900, acme, at_once=40)).count(200)
        assert 0.9 * 300 <= allowed <= 300 + 2
    assert store.used("acme") == allowed
