"""charts/tollgate with real Helm, over a matrix of values; it makes what the manifests of k8s/ make."""

import copy
import json
import subprocess
import sys

import pytest
import yaml

from manifests import KUBECTL, ROOT, TOLLGATE, built, kinds, kustomize, load, named, pods, read, title
from rules import RULES, names, restricted
from test_custom_resources import built_in, complaints, patched
from test_manifests import an_example, monitoring_with_tls, validate, with_component
from test_network import OUTSIDE, expected, flows, ours
from test_redis import free_port, running
from waiting import until

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


TLS = {"store": {"tls": {"enabled": True}}}
MATRIX = {
    "as it comes": {},
    "a Redis of one's own": {"redis": {"trial": False}},
    "one store": {"store": {"replicas": 1, "extraEnv": [{"name": "TOLLGATE_LOG", "value": "debug"}]}},
    "images by digest": {"images": {"store": {"digest": f"sha256:{'a' * 64}"}, "pullSecrets": [{"name": "registry"}]}},
    "everything refused": {"networkPolicies": {"defaultDeny": True}},
    "no network policies, no check": {"networkPolicies": {"enabled": False}, "check": False},
    "other Secrets": {"secrets": {"tokens": "tokens", "redis": "somewhere"}},
    "TLS of the store": TLS,
    "watched": {"monitoring": {"enabled": True, "labels": {"release": "prometheus"}}},
    "all gateways": gateways(*GATEWAYS) | {"monitoring": {"enabled": True}},
    "all gateways, and TLS of the store": gateways(*GATEWAYS) | {"monitoring": {"enabled": True}} | TLS,
    **{name: gateways(name) for name in GATEWAYS},
}


@pytest.mark.parametrize("values", MATRIX.values(), ids=MATRIX)
def test_whatever_is_switched_on_is_what_kubernetes_takes(values):
    assert helm("lint", values, "--strict").returncode == 0
    documents = rendered(values)
    for document in documents:
        if built_in(document):
            validate(document)
        else:
            assert complaints(document) == [], title(document)
    secrets = values.get("secrets", {})
    if secrets:
        redis = {"kind": "Secret", "metadata": {"name": secrets["redis"]}, "stringData": {"url": "", "users.acl": ""}}
        tokens = {"kind": "Secret", "metadata": {"name": secrets["tokens"]}, "stringData": {"gateway-token": "", "admin-token": ""}}
        documents += [redis, tokens]
    if "tls" in values.get("store", {}):
        documents.append(an_example("tollgate-store-tls", "tls.crt") | {"data": {"tls.key": ""}})
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


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS of the store"])
def test_it_makes_what_kustomize_makes(tmp_path, tls):
    values = gateways("kong") | {"networkPolicies": {"defaultDeny": True}} | (TLS if tls else {})
    theirs = lasting(rendered(values))
    others = with_component(tmp_path, "store-tls", overlay="helm") if tls else built("helm")
    # The policy is one value here and one text there; the namespace is Helm's to name. What is in Kong's file is compared below.
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


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS of the store"])
def test_what_watches_is_what_monitoring_has(tmp_path, tls):
    values = {"monitoring": {"enabled": True, "labels": {"release": "prometheus"}}} | (TLS if tls else {})
    theirs = rendered(values)
    for other in monitoring_with_tls(tmp_path) if tls else kustomize(ROOT / "monitoring"):
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


def certificate(folder, name="tollgate-store.tollgate.svc"):
    """A certificate, signed by itself, for the store of a test; and its key."""
    files = [folder / "tls.crt", folder / "tls.key"]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=tollgate-store"]
    subprocess.run([*command, "-addext", f"subjectAltName=DNS:{name}", "-out", files[0], "-keyout", files[1]], capture_output=True, check=True)
    return files


def asked_by_its_test(documents, port, patience=2):
    """What the chart's own test says of a store at a port of this machine, and its exit code."""
    [test] = kinds(documents, "Pod")
    [container] = test["spec"]["containers"]
    script = container["args"][0]
    assert "/dev/tcp/tollgate-store/7600" in script and "$(seq 60)" in script
    script = script.replace("/dev/tcp/tollgate-store/7600", f"/dev/tcp/127.0.0.1/{port}").replace("$(seq 60)", f"$(seq {patience})")
    return subprocess.run([*container["command"], script], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS of the store"])
def test_the_charts_own_test_knows_a_store_that_is_there(tmp_path, tls):
    documents, other = rendered(TLS if tls else {}), rendered({} if tls else TLS)
    port = free_port()
    settings = {"TOLLGATE_LISTEN": f"127.0.0.1:{port}", "TOLLGATE_BACKEND": "memory"}
    if tls:
        settings |= dict(zip(("TOLLGATE_TLS_CERT", "TOLLGATE_TLS_KEY"), map(str, certificate(tmp_path))))
        variables = pods(documents)[0].container("store")["env"]
        assert set(settings) <= {one["name"] for one in variables}
    nobody = asked_by_its_test(documents, port, patience=1)
    assert nobody.returncode == 1
    with running([TOLLGATE, "store"], env=settings, stderr=subprocess.DEVNULL, cwd=tmp_path):
        until("the store is there", lambda: asked_by_its_test(documents, port, patience=1).returncode == 0)
        # One that speaks something else is not what the release says.
        assert asked_by_its_test(other, port).returncode == 1


def test_the_stores_certificate_and_its_authority_may_have_other_names():
    values = {"store": {"tls": {"enabled": True, "secretName": "shown", "caSecretName": "believed"}}, "monitoring": {"enabled": True}}
    documents = rendered(values)
    [volume] = [one for one in named(documents, "Deployment", "tollgate-store")["spec"]["template"]["spec"]["volumes"] if one["name"] == "tls"]
    assert volume["secret"]["secretName"] == "shown"
    [endpoint] = named(documents, "ServiceMonitor", "tollgate-store")["spec"]["endpoints"]
    assert endpoint["tlsConfig"]["ca"]["secret"]["name"] == "believed"


def test_gateways_ask_a_store_with_tls_by_it_and_know_it_by_its_name():
    documents = rendered(gateways("istio", "envoyGateway") | TLS)
    name = "tollgate-store.tollgate.svc"
    [rule] = kinds(documents, "DestinationRule")
    assert rule["spec"]["trafficPolicy"]["tls"] == {"mode": "SIMPLE", "credentialName": "tollgate-store-ca", "sni": name, "subjectAltNames": [name]}
    [proxy] = kinds(documents, "EnvoyProxy")
    [cluster] = patched(proxy["spec"], "/static_resources/clusters/-")
    tls = cluster["transport_socket"]["typed_config"]
    trusted = tls["common_tls_context"]["validation_context"]
    assert tls["sni"] == name and [one["matcher"]["exact"] for one in trusted["match_typed_subject_alt_names"]] == [name]
    deployment = proxy["spec"]["provider"]["kubernetes"]["envoyDeployment"]
    [mount], [volume] = deployment["container"]["volumeMounts"], deployment["pod"]["volumes"]
    assert mount["name"] == volume["name"] and volume["secret"]["secretName"] == "tollgate-store-ca"
    assert trusted["trusted_ca"]["filename"] == f"{mount['mountPath']}/ca.crt"
    [certificate] = [one["spec"] for one in read("k8s/examples/certificate.yaml") if one["metadata"]["name"] == "tollgate-store"]
    assert name in certificate["dnsNames"]


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
        {"store": {"tls": {"enabled": "yes"}}},
        {"store": {"tls": {"secret": "tollgate-store-tls"}}},
        {"store": {"tls": {"secretName": ""}}},
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
