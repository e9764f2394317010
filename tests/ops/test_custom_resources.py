"""Checks the objects of Istio, Envoy Gateway and the Prometheus operator against their schemas (crds/), and their references."""

import copy
import functools
import json

import jsonschema
import pytest

from manifests import ROOT, built, kinds, load, matches, named, read, title
from test_manifests import validate

CRDS = sorted((ROOT / "tests/ops/crds").glob("*.json"))


def resources():
    files = [ROOT / "envoy/istio.yaml", ROOT / "envoy/envoy-gateway.yaml"]
    files += sorted((ROOT / "monitoring").glob("*.yaml"))
    found = []
    for file in files:
        documents = [document for document in load(file.read_text()) if isinstance(document, dict)]
        found += [(file.name, one) for one in documents if "kind" in one and "metadata" in one]
    return found


def each(*kinds):
    chosen = [found for found in resources() if not kinds or found[1]["kind"] in kinds]
    return [pytest.param(document, id=f"{file} {title(document)}") for file, document in chosen]


def built_in(document):
    group = document["apiVersion"].rpartition("/")[0]
    return "." not in group or group.endswith(".k8s.io")


def closed(schema):
    """A schema in which unknown fields are errors, as they are for `kubectl --validate=strict`."""
    made = dict(schema)
    if "properties" in made:
        made["properties"] = {name: closed(below) for name, below in made["properties"].items()}
        if not made.get("x-kubernetes-preserve-unknown-fields"):
            made.setdefault("additionalProperties", False)
    for below in ("items", "additionalProperties"):
        if isinstance(made.get(below), dict):
            made[below] = closed(made[below])
    if made.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
    return made


@functools.cache
def validators():
    found = {}
    for file in CRDS:
        one = json.loads(file.read_text())
        found[one["apiVersion"], one["kind"]] = jsonschema.Draft202012Validator(closed(one["spec"]))
    return found


def complaints(document):
    """What is wrong with an object, by its owner's schema."""
    validator = validators().get((document["apiVersion"], document["kind"]))
    if validator is None:
        return [f"{document['apiVersion']} {document['kind']}: no such kind in tests/ops/crds"]
    errors = validator.iter_errors(document["spec"])
    return [f"{'.'.join(map(str, one.absolute_path))}: {one.message}" for one in errors]


@pytest.mark.parametrize("document", each())
def test_the_owner_knows_every_field(document):
    if built_in(document):
        validate(document)
        return
    assert complaints(document) == []
    assert set(document) == {"apiVersion", "kind", "metadata", "spec"}
    assert document["metadata"].get("namespace") or not document["apiVersion"].startswith(("gateway.", "extensions."))


def test_no_schema_is_here_for_nothing():
    used = {(document["apiVersion"], document["kind"]) for _, document in resources() if not built_in(document)}
    assert used == set(validators())


def part(file, kind):
    return next(copy.deepcopy(one) for one in read(file) if one["kind"] == kind)


def test_unknown_fields_and_wrong_values_are_found():
    plugin = part("envoy/istio.yaml", "WasmPlugin")
    plugin["spec"]["failStrategie"] = plugin["spec"].pop("failStrategy")
    plugin["spec"]["phase"] = "LAST"
    assert len(complaints(plugin)) == 2
    policy = part("envoy/envoy-gateway.yaml", "EnvoyExtensionPolicy")
    policy["spec"]["wasm"][0]["code"].pop("type")
    policy["spec"]["wasm"][0]["rootId"] = "tollgate"
    assert len(complaints(policy)) == 2
    assert complaints(plugin | {"kind": "WasmPlugIn"}) == [
        "extensions.istio.io/v1alpha1 WasmPlugIn: no such kind in tests/ops/crds"
    ]
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "spec": {"groups": [{"name": "a", "rules": [{"alert": "A", "exp": "1"}]}]},
    }
    assert len(complaints(rule)) == 2
    monitor = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "spec": {"selector": {}, "endpoints": [{"port": 8100}]},
    }
    assert len(complaints(monitor)) == 1


# ── what they refer to


def store_service():
    service = named(built("dbless"), "Service", "tollgate-store")
    return f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc.cluster.local", service["spec"][
        "ports"
    ][0]["port"]


def test_istios_plugin_calls_a_cluster_that_there_is():
    plugin, entry, rule = (
        part("envoy/istio.yaml", kind)["spec"] for kind in ("WasmPlugin", "ServiceEntry", "DestinationRule")
    )
    [host], [port], [endpoint] = entry["hosts"], entry["ports"], entry["endpoints"]
    assert plugin["pluginConfig"]["store"]["upstream"] == f"outbound|{port['number']}||{host}"
    assert rule["host"] == host
    assert (endpoint["address"], port["number"]) == store_service()
    assert_waits_no_longer(rule["trafficPolicy"]["connectionPool"]["tcp"]["connectTimeout"], plugin["pluginConfig"])
    assert plugin["vmConfig"]["env"] == [{"name": plugin["pluginConfig"]["store"]["token"]["env"], "valueFrom": "HOST"}]


def test_envoy_gateways_plugin_calls_a_cluster_that_there_is():
    [wasm] = part("envoy/envoy-gateway.yaml", "EnvoyExtensionPolicy")["spec"]["wasm"]
    proxy = part("envoy/envoy-gateway.yaml", "EnvoyProxy")["spec"]
    [cluster] = patched(proxy, "/static_resources/clusters/-")
    assert wasm["config"]["store"]["upstream"] == cluster["name"] == cluster["load_assignment"]["cluster_name"]
    address = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
    assert (address["address"], address["port_value"]) == store_service()
    assert_waits_no_longer(cluster["connect_timeout"], wasm["config"])
    [variable] = proxy["provider"]["kubernetes"]["envoyDeployment"]["container"]["env"]
    assert wasm["env"]["hostKeys"] == [variable["name"]] == [wasm["config"]["store"]["token"]["env"]]
    # These are added to Envoy Gateway's own.
    assert patched(proxy, "/stats_config/stats_tags/-") == read("envoy/envoy.yaml")[0]["stats_config"]["stats_tags"]
    # The network policies let them through to the store.
    labels = proxy["provider"]["kubernetes"]["envoyDeployment"]["pod"]["labels"]
    peers = named(built("dbless"), "NetworkPolicy", "tollgate-store")["spec"]["ingress"][0]["from"]
    assert labels in [peer["podSelector"]["matchLabels"] for peer in peers]


def patched(proxy, path):
    patches = proxy["bootstrap"]["jsonPatches"]
    assert all(one["op"] == "add" for one in patches)
    return [one["value"] for one in patches if one["path"] == path]


def assert_waits_no_longer(connect, policy):
    assert float(connect.removesuffix("s")) * 1000 <= float(policy["store"]["timeout"].removesuffix("ms"))


def test_who_calls_is_the_gateways_to_say():
    policies = {
        "istio": (
            part("envoy/istio.yaml", "WasmPlugin")["spec"]["pluginConfig"],
            part("envoy/istio.yaml", "RequestAuthentication")["spec"]["jwtRules"][0]["outputClaimToHeaders"],
        ),
        "envoy gateway": (
            part("envoy/envoy-gateway.yaml", "EnvoyExtensionPolicy")["spec"]["wasm"][0]["config"],
            part("envoy/envoy-gateway.yaml", "SecurityPolicy")["spec"]["jwt"]["providers"][0]["claimToHeaders"],
        ),
    }
    for policy, written in policies.values():
        read_headers = [source["header"] for sources in policy["identity"].values() for source in sources]
        assert read_headers == [one["header"] for one in written] == ["x-consumer-username", "x-consumer-groups"]
    removed = part("envoy/envoy-gateway.yaml", "ClientTrafficPolicy")["spec"]["headers"]["earlyRequestHeaders"][
        "remove"
    ]
    assert {"x-consumer-username", "x-consumer-groups", "x-anonymous-consumer"} <= set(removed)


def test_both_fetch_the_image_of_one_layer():
    istio = part("envoy/istio.yaml", "WasmPlugin")["spec"]["url"].removeprefix("oci://")
    gateway = part("envoy/envoy-gateway.yaml", "EnvoyExtensionPolicy")["spec"]["wasm"][0]["code"]["image"]["url"]
    kong = next(one for one in built("dbless") if one["kind"] == "Deployment" and one["metadata"]["name"] == "kong")
    image = kong["spec"]["template"]["spec"]["initContainers"][0]["image"]
    assert istio == gateway == f"{image}-wasm"


# ── what Prometheus scrapes


@pytest.mark.parametrize("monitor", each("ServiceMonitor"))
def test_a_monitor_finds_a_service_with_the_port(monitor):
    services = kinds(built("postgres"), "Service")
    chosen = [one for one in services if matches(monitor["spec"]["selector"], one["metadata"]["labels"])]
    assert chosen, "no Service has these labels"
    for endpoint in monitor["spec"]["endpoints"]:
        ports = [port["name"] for service in chosen for port in service["spec"]["ports"]]
        assert ports.count(endpoint["port"]) == 1, endpoint["port"]
