"""The gate for threads."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from conftest import GATEWAY_TOKEN, Store, policy, started_store, until
from tollgate import Decision, PolicyError, SyncGate
from tollgate.testing import VirtualClock, sync_gate


def with_store(store: Store, **changes: Any) -> dict[str, Any]:
    """A policy that names the store by a name, as most do."""
    of_store = {"upstream": f"localhost:{store.port}", "token": GATEWAY_TOKEN, "timeout": "2s", **changes}
    return policy(store=of_store)


def program(folder: Path, rules: dict[str, Any], text: str) -> list[str]:
    """A program that has a gate."""
    (folder / "policy.json").write_text(json.dumps(rules))
    file = folder / "program.py"
    head = "import os, sys\nfrom tollgate import SyncGate\n\ngate = SyncGate('policy.json')\n\n"
    file.write_text(f"{head}\n{text}\n")
    return [sys.executable, "-W", "error::ResourceWarning", str(file)]


def ran(folder: Path, rules: dict[str, Any], text: str) -> None:
    """Runs such a program, which has to end in order and without a word."""
    said = subprocess.run(
        program(folder, rules, text), cwd=folder, check=False, capture_output=True, text=True, timeout=60
    )
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


def test_it_decides_and_charges_as_a_gate_does() -> None:
    clock = VirtualClock()
    with sync_gate(policy(), clock) as gate:
        first = gate.decide(path=b"/compare", consumer="acme")
        assert (first.allowed, first.remaining) == (True, 8)
        assert gate.charge(first, "7.5").remaining == 0
        assert gate.charge("acme", 5, tier="pro").tier == "pro"
        refused = gate.decide(consumer="acme")
        assert (refused.outcome, refused.status) == ("refused_rate", 429)
        clock.advance(60)
        assert gate.decide(consumer="acme").allowed
        assert gate.decide(peer="192.0.2.1", headers={"x-consumer-username": "b"}).consumer == "b"
        with pytest.raises(ValueError, match="needs a consumer"):
            gate.charge("", 1)


def test_it_settles_by_what_is_answered() -> None:
    rules = policy(endpoints=[{"path": "/settled", "cost": 3, "settle": True}], refund=["5xx"])

    def left(*decisions: Decision, status: int = 200, cost: str | None = None) -> int | None:
        return gate.settle_by_response(decisions, status, cost).monthly_remaining

    with sync_gate(rules, VirtualClock()) as gate:
        assert left(gate.decide(consumer="acme"), status=503) == 1000
        assert left(gate.decide(path="/settled", consumer="acme"), cost="0.5") == 999
        assert left(gate.decide(path="/settled", consumer="acme"), cost="many") == 996
        assert left(gate.decide(consumer="acme"), cost="0.5") == 995, "this path has no `settle`"
        first = gate.decide(consumer="acme")
        assert left(first, gate.charge(first, 2), status=500) == 995
        assert gate.settle_by_response(gate.decide(consumer="acme"), 200).remaining == 4
        refused = gate.charge("acme", 9)
        assert gate.settle_by_response(refused, 500) is refused
    plain = SyncGate(policy(), refund=[422], clock=VirtualClock())
    with plain:
        assert plain.settle_by_response(plain.decide(consumer="acme"), 422).remaining == 10


def test_a_mistake_is_said_when_it_is_made_or_when_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PolicyError):
        SyncGate({"tiers": {}})
    gate = SyncGate(policy(store={"upstream": "127.0.0.1:1", "token": {"env": "A_TOKEN"}, "timeout": "50ms"}))
    for _ in range(2):
        with pytest.raises(RuntimeError, match="A_TOKEN"):
            gate.decide(consumer="acme")
    assert not [thread for thread in threading.enumerate() if thread.name == "tollgate"]
    monkeypatch.setenv("A_TOKEN", GATEWAY_TOKEN)
    with gate:
        assert gate.decide(consumer="acme").outcome != "allowed", "there is no such store"


def test_a_thousand_calls_from_threads_get_what_there_is(store: Store) -> None:
    alone, leased = sync_gate(policy(), VirtualClock()), SyncGate(with_store(store))
    with ThreadPoolExecutor(100) as threads:
        for gate in (alone, leased):
            decisions = list(threads.map(lambda _, gate=gate: gate.decide(consumer="acme", tier="pro"), range(1000)))
            allowed = sum(decision.allowed for decision in decisions)
            assert 150 <= allowed <= (150 if gate is alone else 151)
            gate.close()
    assert store.used("acme") == allowed


def test_one_that_closes_answers_whoever_has_asked(store: Store) -> None:
    gate = SyncGate(with_store(store))
    outcomes: Counter[str] = Counter()
    with ThreadPoolExecutor(20) as threads:
        waiting = [threads.submit(gate.decide, consumer=f"c{number}") for number in range(400)]
        for _ in range(10):
            gate.close()
        for answer in waiting:
            outcomes[answer.result(30).outcome] += 1
    gate.close()
    gate.close()
    assert outcomes == {"allowed": 400}
    assert all(store.used(f"c{number}") == 1 for number in (0, 199, 399))


def test_one_that_waits_for_its_store_keeps_no_other_waiting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, sync_gate(policy(), VirtualClock()) as other:
        gate = SyncGate(policy(store={"upstream": f"127.0.0.1:{silent.getsockname()[1]}", "timeout": "50ms"}))
        thread = threading.Thread(target=gate.start)
        thread.start()
        # It greets its store, which says nothing.
        connection, _ = silent.accept()
        began = time.monotonic()
        assert other.decide(consumer="acme").allowed
        assert time.monotonic() - began < 0.5
        assert thread.is_alive(), "a start waits for the store, a second at most"
        thread.join()
        connection.close()
        gate.close()


def test_an_interrupted_caller_waits_no_more(store: Store) -> None:
    gate = SyncGate(with_store(store, timeout="5s"))
    assert gate.decide(consumer="first").allowed
    store.hang()
    found: list[BaseException | Decision] = []

    def ask() -> None:
        try:
            found.append(gate.decide(consumer="acme"))
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    running = gate._running
    assert running is not None
    until(lambda: running.gate._driver and running.gate._driver.waiting, "that it waits")
    # What a signal's handler raises in the main thread, where no test may be.
    assert thread.ident is not None
    raise_in(thread.ident, KeyboardInterrupt)
    store.go_on()
    thread.join(30)
    gate.close()
    assert [type(it) for it in found] == [KeyboardInterrupt]


def raise_in(ident: int, kind: type[BaseException]) -> None:
    """Raises an exception in a thread, as soon as that is awake."""
    import ctypes

    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(kind)) == 1


def test_a_program_that_ends_reports_everything(tmp_path: Path, store: Store) -> None:
    ran(tmp_path, with_store(store), "for _ in range(7): assert gate.decide(consumer='acme').allowed")
    assert store.used("acme") == 7
    # An exception ends it in order, too.
    with pytest.raises(AssertionError, match="by zero"):
        ran(tmp_path, with_store(store), "gate.charge('acme', 3)\n1 / 0")
    assert store.used("acme") == 10


def test_an_end_finds_a_store_that_has_moved(tmp_path: Path) -> None:
    backend = f"redb:{tmp_path}/store.redb"
    with started_store(tmp_path, backend) as store:
        text = "assert gate.decide(consumer='acme').allowed\nprint(flush=True)\nsys.stdin.readline()"
        process = subprocess.Popen(
            program(tmp_path, with_store(store), text), stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path
        )
        assert process.stdout is not None
        process.stdout.readline()
        store.kill()
        # Its connections are gone: the name has to be looked up while the process ends.
        again = Store(tmp_path, backend, store.port)
        try:
            process.communicate(b"\n", 30)
            assert process.returncode == 0
            assert again.used("acme") == 1
        finally:
            again.kill()


@pytest.mark.parametrize("is_used", [False, True])
def test_each_child_of_a_fork_has_a_gate_of_its_own(tmp_path: Path, store: Store, is_used: bool) -> None:
    text = f"""
if {is_used}:
    gate.decide(consumer="parent")
children = []
for number in range(3):
    child = os.fork()
    if child == 0:
        for _ in range(5):
            assert gate.decide(consumer="acme").allowed
            assert gate.decide(consumer=f"child-{{number}}").allowed
        sys.exit(0 if gate.decide(consumer="acme").status in (200, 429) else 1)
    children.append(child)
    gate.decide(consumer="parent")
assert [os.waitpid(child, 0)[1] for child in children] == [0] * 3
gate.decide(consumer="parent")
"""
    ran(tmp_path, {**with_store(store), "tiers": {"free": {"rate": "100/minute"}}, "overrides": []}, text)
    assert store.used("acme") == 3 * 6
    assert [store.used(f"child-{number}") for number in range(3)] == [5] * 3
    assert store.used("parent") == 4 + is_used


def test_a_fork_while_threads_decide_leaves_no_lock_behind(tmp_path: Path, store: Store) -> None:
    text = """
import threading
is_over = False
def ask():
    while not is_over:
        gate.decide(consumer="parent")
        gate.close()
threads = [threading.Thread(target=ask) for _ in range(4)]
for thread in threads: thread.start()
for number in range(20):
    child = os.fork()
    if child == 0:
        gate.decide(consumer="acme")
        gate.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
is_over = True
for thread in threads: thread.join()
"""
    # Its threads ask as often as they can, and a busy machine may answer late.
    rules = {**with_store(store, timeout="10s"), "tiers": {"free": {"rate": "unlimited", "monthly": 100_000}}}
    rules["overrides"] = []
    ran(tmp_path, rules, text)
    assert store.used("acme") == 20


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_of_multiprocessing_report_when_they_end(tmp_path: Path, store: Store, method: str) -> None:
    text = f"""
import multiprocessing

def work():
    assert gate.decide(consumer="acme").allowed

if __name__ == "__main__":
    context = multiprocessing.get_context({method!r})
    children = [context.Process(target=work) for _ in range(3)]
    for child in children: child.start()
    for child in children: child.join()
    assert [child.exitcode for child in children] == [0] * 3
"""
    ran(tmp_path, with_store(store), text)
    assert store.used("acme") == 3


def test_no_thread_is_left() -> None:
    before = threading.active_count(), len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with sync_gate(policy(), VirtualClock()) as gate:
            gate.decide(consumer="acme")
    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == before
