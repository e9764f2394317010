"""The cases that scripts/deploy.sh refuses before it has touched anything."""

import hashlib
import shutil
import subprocess

import pytest

from deploying import KONG, OVERLAY, ROUTES, an_object
from manifests import KUBECTL, ROOT
from test_policies import declarative


def refused(cluster, done, what):
    assert done.returncode == 3, done.stdout + done.stderr
    assert what in done.stderr
    assert "nothing was touched" in done.stderr
    assert cluster.changes() == []


def test_without_kubectl_it_says_so(cluster):
    tools = cluster.folder / "tools"
    tools.mkdir()
    for tool in ["bash", "env", "dirname", "mktemp", "cut", "grep", "awk", "sed", "diff", "curl", "rm", "sort", "base64", "sha256sum"]:
        (tools / tool).symlink_to(shutil.which(tool))
    refused(cluster, cluster.deploy("--yes", PATH=str(tools)), "kubectl is not installed")


def test_a_context_that_kubectl_does_not_know_is_refused(cluster):
    refused(cluster, cluster.deploy("--yes", "--context", "production"), "kubectl knows no context production")


def test_no_context_at_all_is_refused(cluster):
    cluster.world["fail"] = {"config current-context": 1}
    refused(cluster, cluster.deploy("--yes"), "no current context")


def test_every_call_names_the_context(cluster):
    assert cluster.deploy("--yes", "--context", "staging").returncode == 0
    for call in cluster.calls():
        assert "--context staging" in call or call.startswith(("config ", "kustomize ")), call


def test_a_cluster_that_does_not_answer_is_refused(cluster):
    cluster.world["fail"] = {"version": 1}
    refused(cluster, cluster.deploy("--yes"), "does not answer")


def test_an_overlay_that_cannot_be_built_is_refused(cluster):
    cluster.world["fail"] = {"kustomize": 1}
    refused(cluster, cluster.deploy("--yes"), "cannot be built")


def test_a_missing_permission_is_named(cluster):
    cluster.world["denied"] = ["create/jobs", "patch/statefulsets"]
    refused(cluster, cluster.deploy("--yes"), "not allowed in namespace tollgate: patch/statefulsets create/jobs")


def test_a_namespaces_admin_is_enough_where_the_namespace_is_there(cluster):
    cluster.world["denied"] = ["create/namespaces", "patch/namespaces"]
    cluster.world["namespace"] = "hidden"
    done = cluster.deploy("--yes")
    assert done.returncode == 0, done.stderr
    assert "namespace tollgate: you may not look at it; taken as there" in done.stdout
    assert cluster.applied_files() == ["database.yaml", "kong.yaml", "policy.yaml", "monitoring.yaml"]


def test_a_namespace_that_is_not_there_has_to_be_made_by_who_may(cluster):
    cluster.world["denied"] = ["create/namespaces"]
    cluster.world["namespace"] = "missing"
    refused(cluster, cluster.deploy("--yes"), "there is no namespace tollgate, and you may not make one")


@pytest.mark.parametrize("secret", ["tollgate-redis", "tollgate-store"])
def test_a_missing_secret_is_named(cluster, secret):
    del cluster.world["secrets"][secret]
    refused(cluster, cluster.deploy("--yes"), f"Secret {secret}, which pods need, is not in namespace tollgate")


def test_a_secret_that_one_may_not_read_is_not_one_that_is_missing(cluster):
    cluster.world["secrets"]["tollgate-store"] = "hidden"
    done = cluster.deploy("--only", "checks")
    assert done.returncode == 0, done.stderr
    assert "Secrets: you may not read tollgate-store; not checked" in done.stdout


@pytest.mark.parametrize(
    ("secret", "key", "value", "said"),
    [
        ("tollgate-store", "admin-token", None, "Secret tollgate-store has no key admin-token"),
        ("tollgate-store", "admin-token", "", "Secret tollgate-store has no key admin-token, or nothing in it"),
        ("tollgate-store", "gateway-token", "CHANGE-ME-gateway-token", "tollgate-store: gateway-token still is the example's"),
        ("tollgate-store", "gateway-token", "fifteen letters", "gateway-token is shorter than 16 characters"),
        ("tollgate-store", "gateway-token", "a token of an admin", "gateway-token and admin-token are the same"),
        ("tollgate-redis", "url", None, "Secret tollgate-redis has no key url"),
        ("tollgate-redis", "users.acl", None, "Secret tollgate-redis has no key users.acl"),
        ("tollgate-redis", "users.acl", "user tollgate on >CHANGE-ME-password", "tollgate-redis: users.acl still is the example's"),
        ("tollgate-redis", "users.acl", "user tollgate on >other +@all", "users.acl has no user tollgate with the password that url has"),
        ("tollgate-redis", "users.acl", "user other on >a/secret +@all", "users.acl has no user tollgate with the password"),
        ("tollgate-redis", "users.acl", "user tollgate >a/secret +@all", "users.acl has no user tollgate with the password"),
        ("tollgate-redis", "users.acl", "user tollgate on >a/secret off", "users.acl has no user tollgate with the password"),
        ("tollgate-redis", "users.acl", "user tollgate on >a/secret resetpass", "users.acl has no user tollgate with the password"),
        ("tollgate-redis", "users.acl", "user tollgate on >a/secret\nuser tollgate off", "users.acl has no user tollgate with"),
        ("tollgate-store", "admin-token", "admin-token-of-a-trial", "admin-token is the one of overlays/dev"),
    ],
)
def test_a_secret_that_cannot_work_is_refused_by_its_name(cluster, secret, key, value, said):
    with_a_trials_redis(cluster)
    assert cluster.deploy("--only", "checks").returncode == 0
    if value is None:
        del cluster.world["secrets"][secret][key]
    else:
        cluster.world["secrets"][secret][key] = value
    done = cluster.deploy("--yes")
    refused(cluster, done, said)
    assert "a/secret" not in done.stdout + done.stderr


def with_a_trials_redis(cluster):
    users = "spec:\n  template:\n    spec:\n      volumes:\n      - name: users\n        secret:\n          items:\n          - key: users.acl\n"
    redis = an_object("StatefulSet", "redis", "backend", api="apps/v1", more=f"{users}          secretName: tollgate-redis\n")
    tokens = "".join(f"        - name: {name}\n          value: /etc/tollgate/tokens/{name}-token\n" for name in ("gateway", "admin"))
    text = cluster.overlay.read_text().replace("      - env:\n", f"      - env:\n{tokens}")
    cluster.overlay.write_text(f"{text}---\n{redis}")
    cluster.world["secrets"]["tollgate-redis"] = {
        "url": "redis://tollgate:a%2Fsecret@redis:6379",
        "users.acl": "user default on nopass\nuser tollgate on >a/secret +@all",
    }


@pytest.mark.parametrize(
    ("url", "users"),
    [
        ("redis://redis:6379", "user default on nopass ~* +@all"),
        ("redis://:a%5Cb@redis:6379", "user default on >a\\b +@all"),
        ("redis://:a\\tb@redis:6379", "user default on >a\\tb +@all"),
        ("redis://some%40body:a@redis:6379", "user some@body off resetpass >a on"),
    ],
)
def test_a_user_is_read_as_redis_reads_it(cluster, url, users):
    with_a_trials_redis(cluster)
    cluster.world["secrets"]["tollgate-redis"] = {"url": url, "users.acl": users}
    done = cluster.deploy("--only", "checks")
    assert done.returncode == 0, done.stderr


def test_rights_are_asked_for_without_the_schemas_that_one_may_not_read(cluster):
    assert cluster.deploy("--only", "checks").returncode == 0
    [call] = [call for call in cluster.calls("create") if "reviews.yaml" in call]
    assert "--validate=false" in call


def test_objects_of_a_helm_release_are_not_taken_over(cluster):
    cluster.world["releases"] = ["Deployment/kong", "Deployment/other"]
    refused(cluster, cluster.deploy("--yes"), "of a Helm release in namespace tollgate: deployment/kong (helm list")


def test_a_policy_is_found_however_its_text_is_written(cluster):
    """kustomize quotes a text with a blank at the end of a line."""
    cluster.overlay.write_text(OVERLAY.replace(ROUTES, 'data:\n  kong.yml: "kind: Job \\nrate: 1000/mnth\\n"\n'))
    refused(cluster, cluster.deploy("--yes"), "policy: Kong's file from the overlay is refused")
    assert checked(cluster) == "kind: Job \nrate: 1000/mnth\n"


def test_an_overlay_without_kongs_file_is_refused(cluster):
    cluster.overlay.write_text(OVERLAY.replace("  kong.yml: |", "  other.yml: |"))
    refused(cluster, cluster.deploy("--yes"), "policy: the overlay has no kong.yml")


def test_a_user_may_have_the_hash_of_the_password(cluster):
    with_a_trials_redis(cluster)
    digest = hashlib.sha256(b"a/secret").hexdigest()
    cluster.world["secrets"]["tollgate-redis"]["users.acl"] = f"user tollgate on #{digest} +@all"
    assert cluster.deploy("--only", "checks").returncode == 0


def test_a_secret_of_the_overlay_itself_is_not_missed(cluster):
    cluster.overlay.write_text(f"{OVERLAY}---\n{an_object('Secret', 'tollgate-redis')}")
    del cluster.world["secrets"]["tollgate-redis"]
    done = cluster.deploy("--yes")
    assert done.returncode == 0, done.stderr
    assert "Secret tollgate-redis" in cluster.applied("database.yaml")


def test_a_kubernetes_without_sidecars_is_refused(cluster):
    cluster.world["server"] = "v1.28.9-gke.1"
    refused(cluster, cluster.deploy("--yes"), "too old")


def checked(cluster):
    return (cluster.folder / "world/checked.yml").read_text()


def test_a_policy_that_cannot_work_is_refused_before_anything_is_applied(cluster):
    cluster.overlay.write_text(OVERLAY.replace(ROUTES, "data:\n  kong.yml: |\n    kind: Job\n    rate: 1000/mnth\n\n    more: 1\n"))
    done = cluster.deploy("--yes")
    refused(cluster, done, "policy: Kong's file from the overlay is refused by tollgate check")
    assert "     kong.yml:7: tiers.pro.rate: a stub does not like it" in done.stderr
    assert checked(cluster) == "kind: Job\nrate: 1000/mnth\n\nmore: 1\n"


def test_what_kong_reads_is_what_is_checked(cluster):
    folder = ROOT / "k8s/overlays/dbless"
    built = subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, text=True, check=True)
    cluster.overlay.write_text(built.stdout)
    cluster.world["secrets"]["tollgate-redis"] = {
        "url": "redis://tollgate:a-secret@redis:6379",
        "users.acl": "user tollgate on >a-secret +@all",
    }
    assert cluster.deploy("--only", "checks").returncode == 0
    assert checked(cluster) == declarative("dbless")


def test_a_policy_in_a_secret_is_checked_there(cluster):
    with_secret = KONG.replace("secretName: tollgate-store", "secretName: kong-declarative")
    cluster.overlay.write_text(f"{OVERLAY}---\n{an_object('Deployment', 'kong', 'gateway', api='apps/v1', more=with_secret)}")
    cluster.world["secrets"]["kong-declarative"] = {"kong.yml": "rate: 1000/mnth"}
    refused(cluster, cluster.deploy("--yes"), "policy: Kong's file from Secret kong-declarative is refused")


def test_without_the_command_that_checks_policies_it_says_so(cluster):
    refused(cluster, cluster.deploy("--yes", TOLLGATE_COMMAND="/nowhere/tollgate"), "policy: the command tollgate, which checks it")


def test_a_secret_that_holds_no_url_is_refused(cluster):
    cluster.world["secrets"]["tollgate-redis"]["url"] = "redis.example.com:6379"
    refused(cluster, cluster.deploy("--yes"), "is no URL of a Redis")


def test_the_examples_password_is_refused(cluster):
    cluster.world["secrets"]["tollgate-redis"]["url"] = "redis://tollgate:CHANGE-ME-password@redis:6379"
    refused(cluster, cluster.deploy("--yes"), "still is the example's")


def test_the_password_of_redis_is_not_printed(cluster):
    done = cluster.deploy("--yes")
    assert "rediss://…" in done.stdout
    assert "secret@" not in done.stdout + done.stderr


def test_an_autoscaler_that_sees_no_load_is_only_said(cluster):
    assert "metrics-server" not in cluster.deploy("--only", "checks").stdout
    cluster.world["metrics"] = False
    done = cluster.deploy("--only", "checks")
    assert done.returncode == 0 and "the cluster has no metrics-server" in done.stdout


def test_without_the_operators_kinds_monitoring_is_left_out(cluster):
    cluster.world["crds"] = False
    done = cluster.deploy("--yes")
    assert done.returncode == 0, done.stderr
    assert "left out: the cluster knows no ServiceMonitor" in done.stdout
    assert cluster.applied_files() == ["namespace.yaml", "database.yaml", "kong.yaml", "policy.yaml"]


def test_monitoring_alone_needs_the_operators_kinds(cluster):
    cluster.world["crds"] = False
    refused(cluster, cluster.deploy("--yes", "--only", "monitoring"), "monitoring: the cluster knows no ServiceMonitor")


def test_monitoring_that_one_may_not_make_is_left_out_before_anything_is_done(cluster):
    cluster.world["denied"] = ["patch/servicemonitors"]
    done = cluster.deploy("--yes")
    assert done.returncode == 0, done.stderr
    assert "step 5 will be left out: not allowed in namespace tollgate: patch/servicemonitors" in done.stdout
    assert cluster.applied_files() == ["namespace.yaml", "database.yaml", "kong.yaml", "policy.yaml"]


@pytest.mark.parametrize(("store", "asks", "said"), [(True, True, False), (True, False, True), (False, True, True), (False, False, False)])
def test_prometheus_that_asks_otherwise_than_the_store_speaks_is_said(cluster, store, asks, said):
    if store:
        tls = "        - name: TOLLGATE_TLS_CERT\n          value: /etc/tollgate/tls/tls.crt\n"
        cluster.overlay.write_text(cluster.overlay.read_text().replace("      - env:\n", f"      - env:\n{tls}"))
    if asks:
        monitoring = cluster.folder / "world/monitoring.yaml"
        monitoring.write_text(f"{monitoring.read_text()}spec:\n  endpoints:\n  - port: store\n    scheme: https\n")
    done = cluster.deploy("--only", "checks")
    assert done.returncode == 0, done.stderr
    assert ("the component store-tls is in one of" in done.stdout) == said
