"""A real Envoy starts with the policies of Istio and Envoy Gateway, the cluster that they name, and the variable of the token."""

import copy
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import yaml

from manifests import ROOT, read
from test_custom_resources import part
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


def starts(config, folder, variables):
    """Whether Envoy serves with it, and its log if not."""
    file, address, log = folder / "envoy.yaml", folder / "admin", folder / "log"
    file.write_text(yaml.safe_dump(config))
    environment = {name: "gateway-token-of-a-test" for name in variables} | {"PATH": os.environ["PATH"]}
    command = [ENVOY, "--config-path", file, "--admin-address-path", address, "--use-dynamic-base-id", "--concurrency", "1"]

    def serves():
        try:
            with urllib.request.urlopen(f"http://{address.read_text()}/ready", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    with log.open("w") as said, subprocess.Popen(command, stderr=said, env=environment) as process:
        try:
            until("Envoy serves, or has ended", lambda: serves() or process.poll() is not None, seconds=60)
            return process.poll() is None, log.read_text()
        finally:
            process.kill()


@pytest.mark.parametrize("gateway", [istio, envoy_gateway])
def test_the_filter_takes_the_policy(gateway, tmp_path):
    policy, variables = gateway()
    served, said = starts(bootstrap(policy, variables), tmp_path, variables)
    assert served, said


def test_a_policy_without_its_token_is_refused(tmp_path):
    policy, variables = istio()
    served, said = starts(bootstrap(policy, variables), tmp_path, [])
    assert not served and variables[0] in said, said
