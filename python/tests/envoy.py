"""Real Envoys with the real filter: the repository's own `envoy/envoy.yaml` on free ports of loopback."""

import contextlib
import json
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from conftest import Process, answers, free_port, until

ROOT = Path(__file__).parents[2]


def program(variable: str, usual: str, remedy: str) -> Path:
    """A file that somebody has to have built or installed: what the environment names, or the usual path."""
    path = ROOT / os.environ.get(variable, usual)
    assert path.is_file(), f"{path} is not there: run `{remedy}` first, or set {variable} to yours"
    return path


def configuration(upstream: int, store: int, policy: dict[str, Any]) -> dict[str, Any]:
    """The sample's configuration for these ports, with this policy. Every path has a route, and no route times out."""
    config: dict[str, Any] = yaml.safe_load((ROOT / "envoy/envoy.yaml").read_text())
    config["admin"]["address"] = _address(free_port())
    static = config["static_resources"]
    listener = static["listeners"][0]
    listener["address"] = _address(free_port())
    http = listener["filter_chains"][0]["filters"][0]["typed_config"]
    host = http["route_config"]["virtual_hosts"][0]
    host["routes"] = [{"match": {"prefix": "/"}, "route": {"cluster": "sample_upstream", "timeout": "0s"}}]
    (wasm,) = (it["typed_config"]["config"] for it in http["http_filters"] if it["name"] == "tollgate")
    wasm["vm_config"]["code"]["local"]["filename"] = str(program("TOLLGATE_WASM", "dist/tollgate.wasm", "make build"))
    wasm["configuration"]["value"] = json.dumps(policy)
    for cluster, port in zip(static["clusters"], (upstream, store), strict=True):
        cluster["connect_timeout"] = "30s"
        # A thousand requests may be on their way at once.
        threshold = {"max_connections": 4096, "max_pending_requests": 4096, "max_requests": 4096}
        cluster["circuit_breakers"] = {"thresholds": [threshold]}
        (locality,) = cluster["load_assignment"]["endpoints"]
        (endpoint,) = locality["lb_endpoints"]
        endpoint["endpoint"]["address"] = _address(port)
    return config


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _port(of: dict[str, Any]) -> int:
    port: int = of["address"]["socket_address"]["port_value"]
    return port


class Envoy(Process):
    """A running Envoy."""

    def __init__(self, folder: Path, config: dict[str, Any], workers: int) -> None:
        folder.mkdir()
        envoy = program("TOLLGATE_ENVOY", ".venv/bin/envoy", "make setup")
        file = folder / "envoy.json"
        file.write_text(json.dumps(config))
        self.port = _port(config["static_resources"]["listeners"][0])
        self.url = f"http://127.0.0.1:{self.port}"
        self._admin = f"http://127.0.0.1:{_port(config['admin'])}"
        arguments = ["--config-path", str(file), "--concurrency", str(workers), "--disable-hot-restart"]
        super().__init__([str(envoy), *arguments, "--log-level", "warning"], folder / "envoy.log")

    def wait(self) -> None:
        """Waits until it serves: V8 compiles the filter first."""
        is_ready = f"{self._admin}/ready"
        until(lambda: answers(is_ready) or self.process.poll() is not None, "an Envoy that serves", 60)
        assert self.process.poll() is None, self.log.read_text()[-4000:]

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        with urllib.request.urlopen(f"{self._admin}/stats/prometheus", timeout=10) as response:
            lines = response.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name}{{", f"{name} ")))


@contextlib.contextmanager
def envoys(folder: Path, config: list[dict[str, Any]], workers: int = 1) -> Iterator[list[Envoy]]:
    """Envoys for the length of a block, one for each configuration."""
    running: list[Envoy] = []
    try:
        for number, one in enumerate(config):
            running.append(Envoy(folder / f"envoy-{number}", one, workers))
        for envoy in running:
            envoy.wait()
        yield running
    finally:
        for envoy in running:
            envoy.kill()
