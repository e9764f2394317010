"""A real Envoy starts with the policies of Istio and Envoy Gateway, the cluster that they name, and the variable of the token."""

import contextlib
import copy
import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import yaml

from manifests import ROOT, TOLLGATE, kinds, read
from test_chart import TLS, certificate, gateways, rendered
from test_custom_resources import part, patched
from test_redis import free_port, running
from waiting import until

ENVOY = Path(os.environ.get("TOLLGATE_ENVOY", Path(sys.executable).parent / "envoy"))
WASM = Path(os.environ.get("TOLLGATE_WASM", ROOT / "dist/tollgate.wasm"))


def istio():
    plugin = part("envoy/istio.yaml", "WasmPlugin")["spec"]
    return plugin["pluginConfig"], [one["name"] for one in plugin["vmConfig"]["env"]]


def envoy_gateway():
    [wasm] = part("envoy/envoy-gateway.yaml", "EnvoyExtensionPolicy")["spec"]["wasm"]
    return wasm["config"], wasm["env"]["hostKeys"]


def bootstrap(policy, variables):
    """The sample's bootstrap with another policy, and a store's cluster with the name in it."""
    [config] = copy.deepcopy(read("envoy/envoy.yaml"))
    config["admin"]["address"]["socket_address"]["port_value"] = 0
    [listener] = config["static_resources"]["listeners"]
    listener["address"]["socket_address"]["port_value"] = 0
    http = listener["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"]
    [filter] = [one["typed_config"]["config"] for one in http if one["name"] == "tollgate"]
    filter["configuration"] = {"@type": "type.googleapis.com/google.protobuf.Struct", "value": policy}
    # Neither can restrict what the filter is granted.
    del filter["capability_restriction_config"]
    filter["vm_config"]["code"] = {"local": {"filename": str(WASM)}}
    filter["vm_config"]["environment_variables"] = {"host_env_keys": variables}
    [store] = [one for one in config["static_resources"]["clusters"] if one["name"] == "tollgate_store"]
    store["name"] = store["load_assignment"]["cluster_name"] = policy["store"]["upstream"]
    return config


class Envoy:
    def __init__(self, process, address, log):
        self.process, self.address, self.log = process, address, log

    def asked(self, path):
        """What its admin says, or nothing."""
        try:
            with urllib.request.urlopen(f"http://{self.address.read_text()}{path}", timeout=2) as answer:
                return answer.read().decode()
        except OSError:
            return ""

    def stat(self, name):
        said = dict(line.split(": ") for line in self.asked(f"/stats?filter=^{name}$").splitlines())
        return int(said.get(name, 0))

    def serves(self):
        return self.process.poll() is None and self.asked("/ready") != ""


@contextlib.contextmanager
def envoy(config, folder, variables):
    """One that serves, or has ended."""
    file, address, log = folder / "envoy.yaml", folder / "admin", folder / "log"
    file.write_text(yaml.safe_dump(config))
    environment = {name: "gateway-token-of-a-test" for name in variables} | {"PATH": os.environ["PATH"]}
    command = [ENVOY, "--config-path", file, "--admin-address-path", address, "--use-dynamic-base-id", "--concurrency", "1"]
    with log.open("w") as said, subprocess.Popen(command, stderr=said, env=environment) as process:
        here = Envoy(process, address, log)
        try:
            until("Envoy serves, or has ended", lambda: here.serves() or process.poll() is not None, seconds=60)
            yield here
        finally:
            process.kill()


def starts(config, folder, variables):
    """Whether Envoy serves with it, and what it says if not."""
    with envoy(config, folder, variables) as here:
        return here.serves(), here.log.read_text()


@pytest.mark.parametrize("gateway", [istio, envoy_gateway])
def test_the_filter_takes_the_policy(gateway, tmp_path):
    policy, variables = gateway()
    served, said = starts(bootstrap(policy, variables), tmp_path, variables)
    assert served, said


def test_a_policy_without_its_token_is_refused(tmp_path):
    policy, variables = istio()
    served, said = starts(bootstrap(policy, variables), tmp_path, [])
    assert not served and variables[0] in said, said


@pytest.mark.parametrize("name", ["tollgate-store.tollgate.svc", "another-store.tollgate.svc"])
def test_with_tls_the_charts_cluster_gets_to_the_store_whose_name_it_knows(name, tmp_path):
    shown, key = certificate(tmp_path, name)
    port = free_port()
    policy, variables = envoy_gateway()
    config = bootstrap(policy, variables)
    [proxy] = kinds(rendered(gateways("envoyGateway") | TLS), "EnvoyProxy")
    [cluster] = patched(proxy["spec"], "/static_resources/clusters/-")
    endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    endpoint["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": port}
    cluster["transport_socket"]["typed_config"]["common_tls_context"]["validation_context"]["trusted_ca"]["filename"] = str(shown)
    others = [one for one in config["static_resources"]["clusters"] if one["name"] != cluster["name"]]
    config["static_resources"]["clusters"] = [*others, cluster]
    settings = {
        "TOLLGATE_LISTEN": f"127.0.0.1:{port}",
        "TOLLGATE_BACKEND": "memory",
        "TOLLGATE_TLS_CERT": str(shown),
        "TOLLGATE_TLS_KEY": str(key),
    }
    answered, refused = (f"cluster.tollgate_store.{what}" for what in ("upstream_rq_200", "ssl.fail_verify_san"))
    with running([TOLLGATE, "store"], env=settings, stderr=subprocess.DEVNULL, cwd=tmp_path), envoy(config, tmp_path, variables) as here:
        assert here.serves(), here.log.read_text()
        [listener] = json.loads(here.asked("/listeners?format=json"))["listener_statuses"]
        address = listener["local_address"]["socket_address"]

        def decided():
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{address['port_value']}/identify", timeout=5)
            return here.stat(answered), here.stat(refused)

        found = until("the store has answered, or is not believed", lambda: any(two := decided()) and two)
        assert [count > 0 for count in found] == ([True, False] if name.startswith("tollgate-store") else [False, True])
