"""Kubernetes accepts every overlay, and its parts fit together."""

import json
import os
import re
import shutil
import subprocess

import kubernetes_validate
import pytest

from manifests import KUBECTL, OVERLAYS, ROOT, built, environment, kinds, kustomize, load, named, pod, read, secrets_to_make, title
from rules import RULES, references

# The oldest version with what is used here (sidecars), and the newest that the validator knows.
KUBERNETES = ["1.29", "1.37"]


VALID = set()


def validate(document):
    text = json.dumps(document, sort_keys=True)
    # Most objects are in every overlay.
    if text not in VALID:
        for version in KUBERNETES:
            kubernetes_validate.validate(document, version, strict=True)
        VALID.add(text)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubernetes_knows_every_field(overlay):
    for document in built(overlay) + secrets_to_make():
        try:
            validate(document)
        except kubernetes_validate.ValidationError as error:
            pytest.fail(f"{title(document)}: {list(error.path)}: {error.message}")


def test_a_field_that_kubernetes_does_not_know_is_found():
    document = named(built("dbless"), "Deployment", "kong")
    document["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="livenesProbe"):
        validate(document)
    document = named(built("dbless"), "Service", "kong-proxy")
    document["spec"]["ports"][0]["port"] = "80"
    with pytest.raises(kubernetes_validate.ValidationError):
        validate(document)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_overlay_keeps_the_rules(overlay, rule):
    assert list(rule(built(overlay))) == []


def test_the_helm_overlay_brings_nothing_that_the_chart_brings():
    ours = {title(document) for document in built("helm")}
    assert {"ConfigMap rate-limiting", "Deployment tollgate-store"} <= ours
    assert not [
        one for one in ours if one.split()[1].startswith("kong") and not one.startswith(("ConfigMap", "NetworkPolicy"))
    ]


def test_a_trials_secrets_have_the_keys_of_the_example():
    keys = {one["metadata"]["name"]: set(one["stringData"]) for one in secrets_to_make()}
    for secret in kinds(built("dev"), "Secret"):
        assert set(secret["stringData"]) == keys[secret["metadata"]["name"]]
    for overlay in set(OVERLAYS) - {"dev"}:
        assert not kinds(built(overlay), "Secret"), f"{overlay}: a Secret's values would stand in the repository"


def copy_of_k8s(folder):
    """The kustomizations elsewhere, to be changed."""
    for part in ("k8s", "kong", "monitoring"):
        shutil.copytree(
            ROOT / part, folder / part, ignore=shutil.ignore_patterns("tollgate.wasm", "tollgate.meta.json")
        )
    return folder / "k8s"


def template(documents):
    return named(documents, "Deployment", "kong")["spec"]["template"]


def test_a_changed_policy_rolls_the_pods(tmp_path):
    k8s = copy_of_k8s(tmp_path)
    before = template(kustomize(k8s / "overlays/dbless"))
    assert before == template(built("dbless"))
    policy = k8s / "base/rate-limiting-configmap.yaml"
    policy.write_text(policy.read_text().replace("1000/minute", "2000/minute"))
    assert template(kustomize(k8s / "overlays/dbless")) != before


def test_a_changed_filter_rolls_the_pods(tmp_path):
    overlay = copy_of_k8s(tmp_path) / "overlays/dbless"
    before = template(kustomize(overlay))
    # README.md says to do this, by the image's digest.
    image = {"name": "ghcr.io/tollgate/filter", "digest": f"sha256:{'a' * 64}"}
    kustomization = overlay / "kustomization.yaml"
    kustomization.write_text(f"{kustomization.read_text()}images:\n  - {json.dumps(image)}\n")
    documents = kustomize(overlay)
    assert template(documents) != before
    for rule in RULES:
        assert list(rule(documents)) == []


def with_component(folder, component, files=(), overlay="dbless"):
    """An overlay with a component more, which `files` complete."""
    overlay = copy_of_k8s(folder) / "overlays" / overlay
    for name, content in dict(files).items():
        (overlay.parents[1] / "components" / component / name).write_bytes(content)
    kustomization = overlay / "kustomization.yaml"
    added = kustomization.read_text().replace("components:\n", f"components:\n  - ../../components/{component}\n")
    kustomization.write_text(added)
    return kustomize(overlay)


def filter_from_a_configmap(folder, wasm):
    return with_component(folder, "filter-configmap", {"tollgate.wasm": wasm, "tollgate.meta.json": b"{}"})


def test_the_filter_may_come_from_a_configmap(tmp_path):
    # The bytes are not text, as a module's are not.
    documents = filter_from_a_configmap(tmp_path / "one", b"\0asm\x01\0\0\0\xff")
    for rule in RULES:
        assert list(rule(documents)) == []
    kong = pod(documents, "kong")
    assert [one["name"] for one in kong.spec["initContainers"]] == ["store"]
    volume = next(one for one in kong.spec["volumes"] if one["name"] == "filter")
    made = named(documents, "ConfigMap", volume["configMap"]["name"])
    assert set(made["binaryData"]) == {"tollgate.wasm"} and set(made["data"]) == {"tollgate.meta.json"}
    validate(made)
    other = filter_from_a_configmap(tmp_path / "two", b"\0asm\x01\0\0\0\xfe")
    assert template(other) != template(documents)


# The overlays that take each component, as k8s/README.md says; `redis-managed` replaces `redis-trial`.
TAKEN = {
    "declarative-secret": ["dbless"],
    "filter-configmap": ["dbless", "postgres", "dev"],
    "proxy-tls": ["dbless", "postgres", "dev"],
    "store-tls": OVERLAYS,
    "redis-managed": OVERLAYS,
    "redis-trial": OVERLAYS,
}


@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
@pytest.mark.parametrize(("component", "overlay"), [(one, overlay) for one in TAKEN for overlay in TAKEN[one]])
def test_every_component_fits_into_every_overlay_that_takes_it(tmp_path, component, overlay, first):
    k8s = copy_of_k8s(tmp_path)
    if component == "filter-configmap":
        for name in ("tollgate.wasm", "tollgate.meta.json"):
            (k8s / "components" / component / name).write_bytes(b"\0asm\xff")
    kustomization = k8s / "overlays" / overlay / "kustomization.yaml"
    added = f"  - ../../components/{component}\n"
    text = kustomization.read_text()
    if "components:\n" not in text:
        text += "components:\n"
    if component == "redis-managed":
        text = text.replace("  - ../../components/redis-trial\n", "")
    if component != "redis-trial":
        at = text.index("components:\n") + len("components:\n")
        while not first and text[at:].startswith("  - "):
            at = text.index("\n", at) + 1
        text = text[:at] + added + text[at:]
    kustomization.write_text(text)
    if component == "redis-managed" and overlay == "dev":
        kustomization = k8s / "overlays/dbless/kustomization.yaml"
        kustomization.write_text(kustomization.read_text().replace("  - ../../components/redis-trial\n", ""))
    documents = kustomize(kustomization.parent)
    if component == "declarative-secret":
        documents.append(an_example("kong-declarative", "kong.yml"))
    if component in ("proxy-tls", "store-tls"):
        name = "kong-proxy-tls" if component == "proxy-tls" else "tollgate-store-tls"
        documents.append(an_example(name, "tls.crt") | {"data": {"tls.key": ""}})
    for document in documents:
        validate(document)
    for rule in RULES:
        assert list(rule(documents)) == [], rule.__name__


def test_external_secrets_write_what_the_example_has():
    theirs = {one["metadata"]["name"]: one["spec"] for one in read("k8s/examples/external-secrets.yaml")}
    examples = {one["metadata"]["name"]: one["stringData"] for one in secrets_to_make()}
    assert {one["secretKey"] for one in theirs["tollgate-store"]["data"]} == set(examples["tollgate-store"])
    written = theirs["tollgate-redis"]["target"]["template"]["data"]
    with_password = {key: value.replace("{{ .password }}", "CHANGE-ME-password") for key, value in written.items()}
    assert with_password == examples["tollgate-redis"]


def test_the_certificates_secrets_are_those_that_are_read():
    written = {one["spec"]["secretName"] for one in read("k8s/examples/certificate.yaml")}
    read_by = [read(f"k8s/components/{name}-tls/kustomization.yaml")[0]["patches"][0]["patch"] for name in ("proxy", "store")]
    assert written == {re.search(r"secretName: (\S+)", patch)[1] for patch in read_by}


def monitoring_with_tls(folder):
    """monitoring/ with the component that the overlay has, as monitoring/README.md says."""
    kustomization = copy_of_k8s(folder).parent / "monitoring/kustomization.yaml"
    kustomization.write_text(f"{kustomization.read_text()}components:\n  - ../k8s/components/store-tls\n")
    return kustomize(kustomization.parent)


def test_a_store_with_tls_is_asked_by_it(tmp_path):
    documents = with_component(tmp_path / "overlay", "store-tls")
    store = pod(documents, "tollgate-store").container("store")
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert store[probe]["httpGet"]["scheme"] == "HTTPS" and store[probe]["httpGet"]["path"]
    # What a mesh between the two makes of the port.
    assert [port["appProtocol"] for port in named(documents, "Service", "tollgate-store")["spec"]["ports"]] == ["https"]
    assert len(documents) == len(built("dbless"))


def test_prometheus_asks_a_store_with_tls_by_it(tmp_path):
    watched, plain = monitoring_with_tls(tmp_path / "monitoring"), kustomize(ROOT / "monitoring")
    [endpoint] = named(watched, "ServiceMonitor", "tollgate-store")["spec"]["endpoints"]
    [certificate] = [one["spec"] for one in read("k8s/examples/certificate.yaml") if one["metadata"]["name"] == "tollgate-store"]
    tls = endpoint.pop("tlsConfig")
    assert endpoint.pop("scheme") == "https"
    # It asks pods by their addresses, which no certificate names.
    assert tls["serverName"] in certificate["dnsNames"]
    assert tls["ca"]["secret"] == {"name": certificate["secretName"], "key": "ca.crt"}
    # All else, the stores beside Kong among it, is asked as before.
    assert watched == plain


def test_every_component_is_tried():
    assert set(TAKEN) == {path.name for path in (ROOT / "k8s/components").iterdir()}


def an_example(name, key):
    labels = {"app.kubernetes.io/part-of": "tollgate"}
    metadata = {"name": name, "namespace": "tollgate", "labels": labels}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {key: ""}}


def test_kongs_file_may_come_from_a_secret_with_keys_in_it(tmp_path):
    consumers = tmp_path / "consumers.yml"
    consumers.write_text('- username: acme\n  tags: ["tier:pro"]\n  keyauth_credentials: [{ key: a-key }]\n')
    path = {"PATH": f"{KUBECTL.parent}:{os.environ['PATH']}"}
    command = [ROOT / "scripts/kong-declarative.sh", consumers]
    text = subprocess.run(command, env=os.environ | path, capture_output=True, text=True, check=True).stdout
    [whole], [built_in] = load(text), load(generated(built("dbless")))
    assert [one["username"] for one in whole["consumers"]] == ["anonymous", "acme"]
    assert whole | {"consumers": []} == built_in | {"consumers": []}

    documents = with_component(tmp_path / "k8s", "declarative-secret")
    assert list(references(documents)) == ["Deployment kong refers to Secret kong-declarative, which nothing makes"]
    documents.append({"kind": "Secret", "metadata": {"name": "kong-declarative"}, "stringData": {"kong.yml": text}})
    assert list(references(documents)) == []


def generated(documents):
    return next(one["data"]["kong.yml"] for one in kinds(documents, "ConfigMap") if "kong.yml" in one["data"])


def test_overlays_are_applied_as_large_as_they_may_get():
    """Without --server-side kubectl writes every object into its annotation, which holds 256 KiB: the filter is larger."""
    files = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("k8s/**/*.*"), ROOT / "kong/helm-values.yaml"]
    said = [line for file in files for line in re.findall(r"kubectl apply [^|`]*-k k8s/\S+", file.read_text(errors="ignore"))]
    assert len(said) > 2 and [line for line in said if "--server-side" not in line] == []


def test_a_filter_that_is_too_large_for_a_configmap_is_refused(tmp_path):
    for part in ("scripts", "dist", "k8s/components/filter-configmap"):
        (tmp_path / part).mkdir(parents=True)
    script = shutil.copy(ROOT / "scripts/k8s-configmap.sh", tmp_path / "scripts")
    (tmp_path / "dist/tollgate.meta.json").write_text("{}")
    wasm = tmp_path / "dist/tollgate.wasm"
    for size, code in ((1048573, 0), (1048574, 1)):
        wasm.write_bytes(b"\xff" * size)
        assert subprocess.run([script], capture_output=True).returncode == code


def test_every_pod_sets_the_schema_up_with_the_names_that_the_database_has():
    documents = built("postgres")
    kong = pod(documents, "kong")
    migrations = kong.container("migrations")
    database = {one["name"]: one for one in migrations["env"] if one["name"].startswith(("KONG_PG_", "KONG_DATABASE"))}
    assert len(database) == 6
    [proxy] = kong.spec["containers"]
    assert {one["name"]: one for one in proxy["env"] if one["name"] in database} == database
    postgres = pod(documents, "postgres").container("postgres")
    settings = {one["name"]: one.get("value") for one in postgres["env"]}
    assert settings["POSTGRES_DB"] == database["KONG_PG_DATABASE"]["value"]
    service = named(documents, "Service", database["KONG_PG_HOST"]["value"])
    assert service["spec"]["ports"][0]["port"] == int(database["KONG_PG_PORT"]["value"])


@pytest.mark.parametrize(
    ("state", "does", "code"),
    [
        (0, ["bootstrap", "list"], 0),
        (4, ["bootstrap", "list"], 0),
        (5, ["bootstrap", "list", "up"], 0),
        (3, ["bootstrap", "list"], 3),
        (1, ["bootstrap", "list"], 1),
    ],
)
def test_a_schema_is_brought_up_to_date_and_left_where_that_is_under_way(tmp_path, state, does, code):
    """Exit codes of `kong migrations list` of Kong 3.9.1: 3 nothing is there, 4 `finish` is left to do, 5 something is new."""
    command = pod(built("postgres"), "kong").container("migrations")["command"]
    kong = tmp_path / "kong"
    kong.write_text(f'#!/bin/sh\necho "$2" >> {tmp_path}/calls\n[ "$2" != list ] || exit {state}\n')
    kong.chmod(0o755)
    done = subprocess.run(command, env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}, check=False)
    assert done.returncode == code
    assert (tmp_path / "calls").read_text().split() == does


def test_the_configuration_goes_to_the_admin_api_once_it_is_there():
    documents = built("postgres")
    job, admin = pod(documents, "kong-configuration"), named(documents, "Service", "kong-admin")
    address = f"{admin['metadata']['name']}:{admin['spec']['ports'][0]['port']}"
    deck, waits = job.container("configuration"), job.container("admin")
    assert f"--kong-addr=http://{address}" in deck["args"]
    assert f"/dev/tcp/{address.replace(':', '/')};" in waits["command"][-1]
    [mount] = deck["volumeMounts"]
    [volume] = job.spec["volumes"]
    made = named(documents, "ConfigMap", volume["configMap"]["name"])
    assert [f"{mount['mountPath']}/{file}" for file in made["data"]] == [deck["args"][2]]
    assert any(one.startswith("--select-tag=") for one in deck["args"]), "it would delete what the Admin API has made"


def test_a_configuration_at_once_is_there_until_it_was_seen():
    """The CronJob keeps its newest jobs; what `kubectl create job --from` has made of it counts, and others may end meanwhile."""
    spec = named(built("postgres"), "CronJob", "kong-configuration")["spec"]
    assert min(spec["successfulJobsHistoryLimit"], spec["failedJobsHistoryLimit"]) >= 3


def test_a_pod_is_ready_once_it_is_configured():
    ready = {"path": "/status/ready", "port": "status"}
    assert pod(built("dbless"), "kong").container("proxy")["readinessProbe"]["httpGet"] == ready


def test_kong_serves_on_while_postgres_is_away():
    """In Kong 3.9.1 /status/ready is 503 without the database (kong/status/ready.lua); /status is 200 (kong/api/routes/health.lua)."""
    proxy = pod(built("postgres"), "kong").container("proxy")
    assert proxy["startupProbe"]["httpGet"]["path"] == "/status/ready"
    for probe in (proxy["readinessProbe"], proxy["livenessProbe"]):
        assert probe["httpGet"]["path"] == "/status"
        # The probe waits as long as Kong tries the database: pg_timeout is 5 s by default.
        assert probe["timeoutSeconds"] > 5 and "KONG_PG_TIMEOUT" not in environment(proxy)


def test_what_was_asked_for_is_there():
    documents = built("postgres")
    kong = pod(documents, "kong")
    proxy = kong.container("proxy")
    assert proxy["resources"] == {"requests": {"cpu": "500m", "memory": "512Mi"}, "limits": {"memory": "1Gi"}}
    assert named(documents, "HorizontalPodAutoscaler", "kong")["spec"]["minReplicas"] == 3
    assert named(documents, "PodDisruptionBudget", "kong")["spec"]["minAvailable"] == 2
    assert named(documents, "Service", "kong-proxy")["spec"]["type"] == "LoadBalancer"
    assert named(documents, "Service", "kong-admin")["spec"]["type"] == "ClusterIP"
    postgres = named(documents, "StatefulSet", "postgres")["spec"]
    assert postgres["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"] == "20Gi"
    assert postgres["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"] == "1Gi"
