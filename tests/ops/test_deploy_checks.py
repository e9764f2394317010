"""What scripts/deploy.sh refuses before it has touched anything."""

import shutil
import subprocess

from deploying import KONG, OVERLAY, an_object
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
    for tool in ["bash", "env", "dirname", "mktemp", "cut", "grep", "awk", "sed", "diff", "curl", "rm", "sort"]:
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
    cluster.world["denied"] = ["delete job", "patch statefulset"]
    refused(cluster, cluster.deploy("--yes"), "not allowed in namespace tollgate: delete/job patch/statefulset")


def test_a_missing_secret_is_named(cluster):
    cluster.world["secrets"] = {}
    refused(cluster, cluster.deploy("--yes"), "Secrets that pods need are not in namespace tollgate: tollgate-redis tollgate-store")


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
    cluster.overlay.write_text(OVERLAY.replace("    kind: Job\n", "    kind: Job\n    rate: 1000/mnth\n\n    more: 1\n"))
    done = cluster.deploy("--yes")
    refused(cluster, done, "policy: Kong's file from the overlay is refused by tollgate check")
    assert "     kong.yml:7: tiers.pro.rate: a stub does not like it" in done.stderr
    assert checked(cluster) == "kind: Job\nrate: 1000/mnth\n\nmore: 1\n"


def test_what_kong_reads_is_what_is_checked(cluster):
    folder = ROOT / "k8s/overlays/dbless"
    built = subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, text=True, check=True)
    cluster.overlay.write_text(built.stdout)
    cluster.world["secrets"] |= {"kong-declarative": "", "kong-postgres": ""}
    assert cluster.deploy("--only", "checks").returncode == 0
    assert checked(cluster) == declarative("dbless")


def test_a_policy_in_a_secret_is_checked_there(cluster):
    with_secret = KONG.replace("secretName: tollgate-store", "secretName: kong-declarative")
    cluster.overlay.write_text(f"{OVERLAY}---\n{an_object('Deployment', 'kong', 'gateway', api='apps/v1', more=with_secret)}")
    cluster.world["secrets"]["kong-declarative"] = "rate: 1000/mnth"
    refused(cluster, cluster.deploy("--yes"), "policy: Kong's file from Secret kong-declarative is refused")


def test_without_the_command_that_checks_policies_it_says_so(cluster):
    refused(cluster, cluster.deploy("--yes", TOLLGATE_COMMAND="/nowhere/tollgate"), "policy: the command tollgate, which checks it")


def test_a_secret_that_holds_no_url_is_refused(cluster):
    cluster.world["secrets"]["tollgate-redis"] = "redis.example.com:6379"
    refused(cluster, cluster.deploy("--yes"), "is no URL of a Redis")


def test_the_examples_password_is_refused(cluster):
    cluster.world["secrets"]["tollgate-redis"] = "redis://tollgate:CHANGE-ME-password@redis:6379"
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
    assert "left out" in done.stdout
    assert cluster.applied_files() == ["database.yaml", "kong.yaml", "policy.yaml"]


def test_monitoring_alone_needs_the_operators_kinds(cluster):
    cluster.world["crds"] = False
    refused(cluster, cluster.deploy("--yes", "--only", "monitoring"), "install Prometheus' operator")
