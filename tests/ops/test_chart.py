"""charts/tollgate with real Helm, over a matrix of values; it makes what the manifests of k8s/ make."""

import copy
import json
import subprocess
import sys

import pytest
import yaml

from manifests import KUBECTL, ROOT, TOLLGATE, built, kinds, kustomize, load, named, pods, read, title
from rules import RULES, names, restricted
from test_manifests import validate
from test_network import OUTSIDE, expected, flows, ours

HELM = KUBECTL.parent / "helm"
CHART = ROOT / "charts/tollgate"
GATEWAYS = ["kong", "istio", "envoyGateway"]
CUSTOM = {"RequestAuthentication", "ClientTrafficPolicy", "SecurityPolicy", "WasmPlugin", "ServiceEntry", "DestinationRule", "EnvoyProxy", "EnvoyExtensionPolicy", "ServiceMonitor", "PrometheusRule"}


def helm(verb, values=None, *options):
    command = [HELM, verb, *(["tollgate"] if verb == "template" else []), CHART, "--namespace", "tollgate", "--values", "-", *options]
    return subprocess.run(command, input=json.dumps(values or {}), capture_output=True, text=True, check=False)


def rendered(values=None):
    done = helm("template", values)
    assert done.returncode == 0, done.stderr
    return load(done.stdout)


def hooks(documents):
    return [one for one in documents if "helm.sh/hook" in one["metadata"].get("annotations", {})]


def lasting(documents):
    return [one for one in documents if one not in hooks(documents)]


def gateways(*enabled):
    callers = {"issuer": "https://issuer.example.com", "jwksUri": "https://issuer.example.com/.well-known/jwks.json"}
    return {"gateway": {name: {"enabled": name in enabled} | ({} if name == "kong" else callers) for name in GATEWAYS}}


MATRIX = {
    "as it comes": {},
    "a Redis of one's own": {"redis": {"trial": False}},
    "one store": {"store": {"replicas": 1, "extraEnv": [{"name": "TOLLGATE_LOG", "value": "debug"}]}},
    "images by digest": {"images": {"store": {"digest": f"sha256:{'a' * 64}"}, "pullSecrets": [{"name": "registry"}]}},
    "everything refused": {"networkPolicies": {"defaultDeny": True}},
    "no network policies, no check": {"networkPolicies": {"enabled": False}, "check": False},
    "other Secrets": {"secrets": {"tokens": "tokens", "redis": "somewhere"}},
    "watched": {"monitoring": {"enabled": True, "labels": {"release": "prometheus"}}},
    "all gateways": gateways(*GATEWAYS) | {"monitoring": {"enabled": True}},
    **{name: gateways(name) for name in GATEWAYS},
}


@pytest.mark.parametrize("values", MATRIX.values(), ids=MATRIX)
def test_whatever_is_switched_on_is_what_kubernetes_takes(values):
    assert helm("lint", values, "--strict").returncode == 0
    documents = rendered(values)
    for document in documents:
        if document["kind"] not in CUSTOM:
            validate(document)
    secrets = values.get("secrets", {})
    if secrets:
        redis = {"kind": "Secret", "metadata": {"name": secrets["redis"]}, "stringData": {"url": "", "users.acl": ""}}
        tokens = {"kind": "Secret", "metadata": {"name": secrets["tokens"]}, "stringData": {"gateway-token": "", "admin-token": ""}}
        documents += [redis, tokens]
    namespace = read("k8s/base/namespace.yaml")
    # Every upgrade recreates hooks; the gateways' objects are in the gateways' namespaces.
    for rule in RULES:
        if rule is names:
            mine = [one for one in lasting(documents) if one["kind"] not in CUSTOM | {"Secret"} and one["metadata"]["name"] != "tollgate-dashboards"]
            assert list(rule(mine)) == []
        else:
            # Nothing is known here of Kong's pods, which its own chart brings and that Service leads to.
            of_kong = ("Service tollgate-sidecars",)
            found = rule(lasting(documents) + namespace)
            assert [one for one in found if not one.startswith(of_kong)] == [], rule.__name__
    assert list(restricted(hooks(documents) + namespace)) == []


def plain(document):
    """The object without the marks of its maker."""
    document = copy.deepcopy(document)
    ours = ("managed-by", "instance", "part-of")

    def strip(value):
        if isinstance(value, dict):
            for key in [key for key in value if key == "helm.sh/chart" or key.removeprefix("app.kubernetes.io/") in ours]:
                del value[key]
            for inner in value.values():
                strip(inner)
            for key in [key for key, inner in value.items() if key in ("labels", "annotations") and not inner]:
                del value[key]
        elif isinstance(value, list):
            for inner in value:
                strip(inner)

    strip(document)
    return document


def alike(theirs, ours):
    """The objects of the same kind and name that differ, and those that only one side has."""
    left, right = ({title(one): plain(one) for one in documents} for documents in (theirs, ours))
    return sorted(name for name in left.keys() | right.keys() if left.get(name) != right.get(name))


def test_it_makes_what_kustomize_makes():
    values = gateways("kong") | {"networkPolicies": {"defaultDeny": True}}
    theirs, others = lasting(rendered(values)), built("helm")
    # The policy is one value here and one text there; Helm names the namespace. Kong's file is compared below.
    left_out = [one["metadata"]["name"] for one in kinds(theirs + others, "ConfigMap")]
    theirs, others = ([one for one in documents if one["metadata"]["name"] not in left_out] for documents in (theirs, others))
    assert alike(theirs, others) == ["Namespace tollgate"]
    others[0]["metadata"]["annotations"] = {"a": "b"}
    named(others, "Deployment", "tollgate-store")["spec"]["replicas"] = 3
    assert "Deployment tollgate-store" in alike(theirs, others)


def file_of_kong(documents):
    [made] = [one for one in kinds(documents, "ConfigMap") if "kong.yml" in one.get("data", {})]
    return made["metadata"]["name"], yaml.safe_load(made["data"]["kong.yml"])


def test_kong_reads_what_kustomize_would_give_it():
    _, theirs = file_of_kong(rendered(gateways("kong")))
    assert theirs == file_of_kong(built("helm"))[1]


def test_a_changed_policy_is_a_new_configmap_and_the_old_one_stays():
    before, _ = file_of_kong(rendered(gateways("kong")))
    changed = gateways("kong") | {"policy": {"tiers": {"free": {"rate": "10/minute"}}}}
    after, file = file_of_kong(rendered(changed))
    assert before != after and before.startswith("kong-declarative-")
    [chain] = file["services"][0]["filter_chains"]
    assert chain["filters"][0]["config"]["tiers"]["free"]["rate"] == "10/minute"
    kept = named(rendered(changed), "ConfigMap", after)["metadata"]["annotations"]
    # Neither an upgrade nor a rollback deletes what another revision's hook has made.
    assert kept["helm.sh/hook"] == "pre-install,pre-upgrade,pre-rollback"
    assert kept["helm.sh/hook-delete-policy"] == "before-hook-creation"


def test_a_file_of_ones_own_has_to_have_a_place_for_the_policy():
    own = gateways("kong")
    own["gateway"]["kong"]["declarative"] = "services:\n  - filters:\n      - config:\n          kustomize: writes the policy here\n"
    _, file = file_of_kong(rendered(own))
    assert file["services"][0]["filters"][0]["config"]["namespace"] == "fingerprint"
    own["gateway"]["kong"]["declarative"] = "services: []\n"
    done = helm("template", own)
    assert done.returncode != 0 and "has no line `kustomize: writes the policy here`" in done.stderr


def test_the_gateways_objects_are_those_of_the_samples():
    documents = rendered(gateways("istio", "envoyGateway"))
    for sample, kind in [
        ("istio", "ServiceEntry"),
        ("istio", "DestinationRule"),
        ("istio", "WasmPlugin"),
        ("istio", "RequestAuthentication"),
        ("envoy-gateway", "ClientTrafficPolicy"),
        ("envoy-gateway", "SecurityPolicy"),
        ("envoy-gateway", "EnvoyExtensionPolicy"),
    ]:
        [theirs] = kinds(documents, kind)
        [other] = kinds(read(f"envoy/{sample}.yaml"), kind)
        assert theirs["spec"] == other["spec"], kind
    [theirs] = kinds(documents, "EnvoyProxy")
    [other] = kinds(read("envoy/envoy-gateway.yaml"), "EnvoyProxy")
    # The owner decides their number.
    del other["spec"]["provider"]["kubernetes"]["envoyDeployment"]["replicas"]
    assert theirs["spec"] == other["spec"]


@pytest.mark.parametrize("gateway", ["istio", "envoyGateway"])
def test_clients_do_not_name_their_own_tier(gateway):
    values = gateways(gateway)
    del values["gateway"][gateway]["jwksUri"]
    done = helm("template", values)
    assert done.returncode != 0 and f"gateway.{gateway}: set issuer and jwksUri, or trustHeaders" in done.stderr
    values["gateway"][gateway] |= {"issuer": "", "trustHeaders": True}
    assert not kinds(rendered(values), "RequestAuthentication", "SecurityPolicy")


def test_what_watches_is_what_monitoring_has():
    values = {"monitoring": {"enabled": True, "labels": {"release": "prometheus"}}}
    theirs = rendered(values)
    for other in kustomize(ROOT / "monitoring"):
        if other["kind"] == "NetworkPolicy":
            # It is for the Admin API, which only the overlay with a database opens.
            continue
        mine = named(theirs, other["kind"], other["metadata"]["name"])
        assert mine.get("spec") == other.get("spec") and mine.get("data") == other.get("data"), title(other)
        if "monitoring.coreos.com" in other["apiVersion"]:
            assert mine["metadata"]["labels"]["release"] == "prometheus" and mine["metadata"]["namespace"] == "tollgate"


def test_exactly_the_flows_that_are_named_where_everything_is_refused():
    assert flows(lasting(rendered({"networkPolicies": {"defaultDeny": True}}))) == expected("helm")


def test_nobody_else_in_the_namespace_is_cut_off_by_default():
    """Others in the namespace have the labels of an API and of an application, too."""
    documents = lasting(rendered())
    here = [place.name for place in OUTSIDE if place.namespace == "tollgate"]
    found = flows(documents)
    policies = kinds(documents, "NetworkPolicy")
    kept = {(one, "dns", 53) for one in here} | {("an application here", "tollgate-store", 7600)}
    assert kept <= found
    assert ("any pod here", "tollgate-store", 7600) not in found and ("any pod here", "redis", 6379) not in found
    selected = [one["metadata"]["name"] for one in policies if one["spec"]["podSelector"] == {}]
    assert selected == []


def test_the_charts_own_test_gets_to_the_store():
    for deny in (True, False):
        documents = rendered({"networkPolicies": {"defaultDeny": deny}})
        [test] = kinds(documents, "Pod")
        as_a_job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": test["metadata"], "spec": {"template": {"metadata": test["metadata"], "spec": test["spec"]}}}
        assert ("tollgate-test", "tollgate-store", 7600) in flows([*lasting(documents), as_a_job])
        assert len(ours([as_a_job])) == 1


def checks(documents, folder):
    """Runs what the Job before an install runs, with the real command. Returns its output by file."""
    [job] = [one for one in pods(hooks(documents)) if one.owner["kind"] == "Job"]
    files = named(documents, "ConfigMap", "rate-limiting-check")["data"]
    said = {}
    for container in job.containers():
        verb, path = container["args"]
        file = folder / path.rsplit("/", 1)[1]
        file.write_text(files[file.name])
        said[file.name] = subprocess.run([TOLLGATE, verb, file], capture_output=True, text=True, check=False)
    assert set(said) == set(files)
    return said


@pytest.mark.parametrize("enabled", [[], ["kong"], GATEWAYS], ids=["none", "kong", "all"])
def test_every_gateways_policy_is_checked_before_anything_is_installed(tmp_path, enabled):
    said = checks(rendered(gateways(*enabled)), tmp_path)
    assert len(said) == max(1, len(enabled))
    for file, done in said.items():
        assert done.returncode == 0, f"{file}: {done.stdout}{done.stderr}"


def test_a_policy_that_cannot_work_ends_the_install(tmp_path):
    said = checks(rendered(gateways("kong") | {"policy": {"default_tier": "silver"}}), tmp_path)
    assert said["kong.yaml"].returncode != 0 and "default_tier" in said["kong.yaml"].stdout + said["kong.yaml"].stderr


@pytest.mark.parametrize(
    "values",
    [
        {"store": {"replica": 3}},
        {"store": {"replicas": 0}},
        {"redis": {"trial": "yes"}},
        {"redis": {"egress": [{"cidr": "10.0.0.1", "ports": [6379]}]}},
        {"images": {"store": {"digest": "latest"}}},
        {"gateway": {"nginx": {"enabled": True}}},
        {"secrets": {"tokens": "Not A Name"}},
        {"policy": "free"},
    ],
    ids=json.dumps,
)
def test_a_value_that_the_chart_does_not_know_is_refused(values):
    done = helm("template", values)
    assert done.returncode != 0 and "values don't meet the specifications of the schema" in done.stderr


def test_the_readme_has_every_value():
    script = ROOT / "scripts/chart-readme.py"
    assert subprocess.run([sys.executable, script, "--check"], check=False).returncode == 0
    table = (CHART / "README.md").read_text()
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]
    for name in set(schema) - {"global"}:
        assert f"`{name}" in table, name
