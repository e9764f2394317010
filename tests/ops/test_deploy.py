"""The control flow of scripts/deploy.sh, with a stub for kubectl (kubectl_stub.py) and a real little proxy.

No test here says that a cluster takes the manifests.
"""

import http.server
import json
import math
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import manifests
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "deploy.sh"

OVERLAY = """\
apiVersion: v1
kind: Namespace
metadata:
  labels:
    pod-security.kubernetes.io/enforce: restricted
  name: tollgate
---
apiVersion: v1
kind: ServiceAccount
metadata:
  labels:
    app.kubernetes.io/component: gateway
  name: kong
  namespace: tollgate
---
apiVersion: v1
data:
  kong.yml: |
    plugins:
      - name: prometheus
kind: ConfigMap
metadata:
  labels:
    app.kubernetes.io/component: configuration
  name: kong-declarative-abc
  namespace: tollgate
---
apiVersion: v1
kind: Service
metadata:
  labels:
    app.kubernetes.io/component: gateway
  name: kong-proxy
  namespace: tollgate
---
apiVersion: apps/v1
kind: Deployment
metadata:
  labels:
    app.kubernetes.io/component: gateway
  name: kong
  namespace: tollgate
spec:
  template:
    spec:
      containers:
      - env:
        - name: TOLLGATE_BACKEND
          valueFrom:
            secretKeyRef:
              key: url
              name: tollgate-redis
      volumes:
      - name: tokens
        secret:
          defaultMode: 288
          secretName: tollgate-store
---
apiVersion: apps/v1
kind: StatefulSet
metadata:
  labels:
    app.kubernetes.io/component: database
  name: postgres
  namespace: tollgate
---
apiVersion: batch/v1
kind: Job
metadata:
  labels:
    app.kubernetes.io/component: migrations
  name: kong-configuration
  namespace: tollgate
---
apiVersion: batch/v1
kind: Job
metadata:
  labels:
    app.kubernetes.io/component: migrations
  name: kong-migrations
  namespace: tollgate
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: default-deny
  namespace: tollgate
"""


class Proxy(http.server.BaseHTTPRequestHandler):
    """What answers in the place of Kong's proxy, as `server.answers` says; the first `late` with 404, and without limits once `gone` are."""

    def do_GET(self):  # noqa: N802, the name that http.server wants
        self.server.asked += 1
        status, headers = self.server.answers
        if self.server.asked <= self.server.late:
            status, headers = 404, {}
        if self.server.asked > self.server.gone:
            headers = {}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


LIMITED = (200, {"X-RateLimit-Limit": "30", "X-RateLimit-Remaining": "29", "X-Quota-Tier": "anonymous"})


class Cluster:
    """A stub, what it says, and what it was asked."""

    def __init__(self, folder, proxy):
        self.folder = folder
        self.proxy = proxy
        self.patience = "0"
        (folder / "world").mkdir()
        (folder / "bin").mkdir()
        (folder / "monitoring").mkdir()
        stub = (ROOT / "tests/ops/kubectl_stub.py").read_text()
        self.kubectl = folder / "bin" / "kubectl"
        # It is started some forty times a run: without site-packages, which it does not need.
        self.kubectl.write_text(f"#!{sys.executable} -IS\n{stub}")
        self.kubectl.chmod(0o755)
        self.overlay = folder / "world/overlay.yaml"
        self.overlay.write_text(OVERLAY)
        self.world = {
            "context": "staging",
            "secrets": {"tollgate-redis": "rediss://user:secret@redis.example.com:6379", "tollgate-store": "a"},
            "crds": True,
            "proxy": "127.0.0.1:%d" % proxy.server_address[1],
            "workloads": "Deployment kong 4\nStatefulSet postgres postgres-6f\n",
        }

    def environment(self):
        (self.folder / "world/world.json").write_text(json.dumps(self.world))
        return {
            **os.environ,
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "TOLLGATE_MONITORING": str(self.folder / "monitoring"),
            "TOLLGATE_PATIENCE": self.patience,
        }

    def deploy(self, *options, text=""):
        return subprocess.run(
            [SCRIPT, *options], env=self.environment(), input=text, capture_output=True, text=True, timeout=60, check=False
        )

    def calls(self, *kinds):
        file = self.folder / "world/calls"
        lines = file.read_text().splitlines() if file.exists() else []
        return [line for line in lines if not kinds or any(f"{kind} " in f"{line} " for kind in kinds)]

    def forget_calls(self):
        (self.folder / "world/calls").unlink()

    def applied(self, file):
        """Kinds and names of what was applied from `file`."""
        objects = (self.folder / "world/applied" / file).read_text().split("---\n")[1:]
        found = []
        for text in objects:
            kind = re.search(r"^kind: (.*)$", text, re.MULTILINE).group(1)
            metadata = text[text.index("\nmetadata:") :]
            found.append(f"{kind} {re.search(r'^  name: (.*)$', metadata, re.MULTILINE).group(1)}")
        return found

    def changes(self):
        """Calls that change something."""
        return [call for call in self.calls("apply", "rollout undo", "delete") if "--dry-run" not in call and "can-i" not in call]


@pytest.fixture
def cluster(tmp_path):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        proxy.answers, proxy.asked, proxy.late, proxy.gone = LIMITED, 0, 0, math.inf
        threading.Thread(target=proxy.serve_forever, args=(0.01,), daemon=True).start()
        yield Cluster(tmp_path, proxy)
        proxy.shutdown()


def applied_files(cluster):
    """The last word of each `kubectl apply`: the file or folder."""
    return [pathlib.Path(call.split()[-1]).name for call in cluster.changes() if " apply " in call]


def test_all_six_steps_run_in_their_order(cluster):
    done = cluster.deploy("--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    headings = [line for line in done.stdout.splitlines() if line.startswith("── ")]
    names = ["checks", "database", "kong", "policy", "monitoring", "verify"]
    assert headings[:6] == [f"── {number}/6 {name}" for number, name in enumerate(names, 1)]
    assert headings[6].startswith("── done, ")
    assert applied_files(cluster) == ["database.yaml", "kong.yaml", "policy.yaml", "monitoring"]
    waits = cluster.calls("rollout status", "wait")
    assert any("statefulset.apps/postgres" in call for call in waits)
    assert any("job/kong-migrations" in call for call in waits)
    assert any("job/kong-configuration" in call for call in waits)
    assert any("deployment.apps/kong" in call for call in waits)


def test_every_object_goes_with_its_step(cluster):
    assert cluster.deploy("--yes").returncode == 0
    assert cluster.applied("database.yaml") == [
        "Namespace tollgate",
        "ServiceAccount kong",
        "StatefulSet postgres",
        "Job kong-migrations",
        "NetworkPolicy default-deny",
    ]
    assert cluster.applied("kong.yaml") == ["ConfigMap kong-declarative-abc", "Service kong-proxy", "Deployment kong"]
    assert cluster.applied("policy.yaml") == ["Job kong-configuration"]


def test_a_job_is_made_anew_since_it_cannot_be_changed(cluster):
    assert cluster.deploy("--yes").returncode == 0
    deleted = [call for call in cluster.changes() if " delete " in call]
    assert ["job/kong-migrations" in call for call in deleted] == [True, False]
    assert "--ignore-not-found" in deleted[0]


def test_each_step_says_how_long_it_took(cluster):
    done = cluster.deploy("--yes")
    assert sum(line.startswith("   ok, ") and line.endswith(" s") for line in done.stdout.splitlines()) == 6


def test_the_baseline_shows_limits_and_latencies(cluster):
    done = cluster.deploy("--yes")
    assert "   X-RateLimit-Limit: 30" in done.stdout
    assert "20 passed, 0 refused (429), tier anonymous" in done.stdout
    assert "latency p50 " in done.stdout
    assert "port-forward" in done.stdout


def test_a_second_run_changes_nothing(cluster):
    assert cluster.deploy("--yes").returncode == 0
    cluster.forget_calls()
    done = cluster.deploy("--yes")
    assert done.returncode == 0
    assert done.stdout.count("nothing to change") == 4
    assert cluster.changes() == []


def test_what_is_compared_is_what_would_be_applied(cluster):
    """Fields are owned by a name: under another one a field that a manifest no longer has is no difference."""
    assert cluster.deploy("--yes").returncode == 0

    def asked(verb):
        calls = [call.partition(f" {verb} ")[2] for call in cluster.calls(verb)]
        assert calls and all("--server-side" in call and "--field-manager=" in call for call in calls), calls
        return calls

    assert asked("diff") == asked("apply")


def test_a_dry_run_touches_nothing(cluster):
    done = cluster.deploy("--dry-run")
    assert done.returncode == 0, done.stderr
    assert "+ something" in done.stdout
    assert "a dry run: nothing was changed" in done.stdout
    assert cluster.changes() == []
    assert cluster.calls("rollout", "wait", "port-forward") == []


def test_a_dry_run_shows_what_a_cluster_without_the_namespace_would_get(cluster):
    cluster.world["fail"] = {"diff": 2}
    done = cluster.deploy("--dry-run")
    assert done.returncode == 0, done.stderr
    assert len(cluster.calls("--dry-run=client")) == 4
    assert cluster.changes() == []


@pytest.mark.parametrize("answer", ["", "n\n", "no\n", "maybe\n"])
def test_without_a_yes_nothing_is_touched(cluster, answer):
    done = cluster.deploy(text=answer)
    assert done.returncode == 4
    assert cluster.changes() == []


def test_a_yes_is_enough(cluster):
    assert cluster.deploy(text="y\n").returncode == 0


@pytest.mark.parametrize(
    ("step", "files"),
    [
        ("database", ["database.yaml"]),
        ("2", ["database.yaml"]),
        ("kong", ["kong.yaml"]),
        ("3", ["kong.yaml"]),
        ("policy", ["policy.yaml"]),
        ("monitoring", ["monitoring"]),
        ("verify", []),
        ("6", []),
    ],
)
def test_only_one_step_runs_after_the_checks(cluster, step, files):
    done = cluster.deploy("--yes", "--only", step)
    assert done.returncode == 0, done.stderr
    assert applied_files(cluster) == files
    assert len([line for line in done.stdout.splitlines() if "/6 " in line]) == 2


def test_only_the_checks_touch_nothing_and_do_not_ask(cluster):
    done = cluster.deploy("--only", "checks")
    assert done.returncode == 0, done.stderr
    assert cluster.changes() == []


# ── checks ───────────────────────────────────────────────────────────────────


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
    done = subprocess.run(
        [SCRIPT, "--yes"], env={**cluster.environment(), "PATH": str(tools)}, capture_output=True, text=True, check=False
    )
    refused(cluster, done, "kubectl is not installed")


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
    cluster.world["denied"] = ["patch statefulset"]
    refused(cluster, cluster.deploy("--yes"), "not allowed in namespace tollgate: patch/statefulset")


def test_a_missing_secret_is_named(cluster):
    cluster.world["secrets"] = {}
    refused(cluster, cluster.deploy("--yes"), "Secrets that pods need are not in namespace tollgate: tollgate-redis tollgate-store")


def test_a_secret_of_the_overlay_itself_is_not_missed(cluster):
    secret = "---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: tollgate-redis\n  namespace: tollgate\n"
    cluster.overlay.write_text(OVERLAY + secret)
    del cluster.world["secrets"]["tollgate-redis"]
    done = cluster.deploy("--yes")
    assert done.returncode == 0, done.stderr
    assert "Secret tollgate-redis" in cluster.applied("database.yaml")


def test_a_kubernetes_without_sidecars_is_refused(cluster):
    cluster.world["server"] = "v1.28.9-gke.1"
    refused(cluster, cluster.deploy("--yes"), "too old")


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


def test_without_the_operators_kinds_monitoring_is_left_out(cluster):
    cluster.world["crds"] = False
    done = cluster.deploy("--yes")
    assert done.returncode == 0, done.stderr
    assert "left out" in done.stdout
    assert applied_files(cluster) == ["database.yaml", "kong.yaml", "policy.yaml"]


def test_monitoring_alone_needs_the_operators_kinds(cluster):
    cluster.world["crds"] = False
    refused(cluster, cluster.deploy("--yes", "--only", "monitoring"), "install Prometheus' operator")


@pytest.mark.parametrize(
    "options", [["--overlay", "prod"], ["--only", "7"], ["--only", "dance"], ["--only"], ["--force"], ["--context"]]
)
def test_wrong_usage_is_refused_before_kubectl_is_called(cluster, options):
    done = cluster.deploy(*options)
    assert done.returncode == 2
    assert cluster.calls() == []


def test_help_lists_every_exit_code():
    done = subprocess.run([SCRIPT, "--help"], capture_output=True, text=True, check=True)
    for code in ["0", "1", "2", "3", "4", "5", "130"]:
        assert f"\n  {code} " in done.stdout


# ── failures ─────────────────────────────────────────────────────────────────


def test_a_rollout_that_fails_is_undone_to_where_it_was(cluster):
    cluster.world["fail_once"] = {"rollout status deployment.apps/kong": 1}
    done = cluster.deploy("--yes")
    assert done.returncode == 1
    assert "step 3, kong, failed" in done.stderr
    assert any("rollout undo deployment.apps/kong --to-revision=4" in call for call in cluster.changes())
    assert any("rollout undo statefulset.apps/postgres --to-revision=7" in call for call in cluster.changes())
    assert any("rollout status deployment.apps/kong" in call for call in cluster.calls()[-4:])


@pytest.mark.parametrize("call", ["rollout undo deployment.apps/kong", "rollout status deployment.apps/kong"])
def test_an_undo_that_fails_has_an_exit_code_of_its_own(cluster, call):
    cluster.world["fail_once"] = {"rollout status deployment.apps/kong": 1}
    cluster.world["fail"] = {call: 1}
    done = cluster.deploy("--yes")
    assert done.returncode == 5
    assert "look at once" in done.stderr


def test_a_failed_migration_undoes_the_database_and_says_what_stays(cluster):
    cluster.world["fail"] = {"wait job/kong-migrations": 1}
    done = cluster.deploy("--yes")
    assert done.returncode == 1
    assert "step 2, database, failed" in done.stderr
    undone = cluster.calls("rollout undo")
    assert len(undone) == 1
    assert "statefulset.apps/postgres --to-revision=7" in undone[0]
    assert "not undone: what steps database changed in other kinds" in done.stderr
    assert applied_files(cluster) == ["database.yaml"]


def test_what_did_not_exist_before_is_named_and_left(cluster):
    cluster.world["workloads"] = ""
    cluster.world["fail"] = {"wait job/kong-migrations": 1}
    done = cluster.deploy("--yes")
    assert done.returncode == 1
    assert cluster.calls("rollout undo") == []
    assert "not undone: statefulset.apps/postgres did not exist before this run" in done.stderr


@pytest.mark.parametrize(("file", "step"), [("database.yaml", 2), ("kong.yaml", 3), ("policy.yaml", 4)])
def test_an_apply_that_fails_ends_the_run(cluster, file, step):
    cluster.world["fail"] = {f"{file}": 1}
    done = cluster.deploy("--yes")
    assert done.returncode == 1
    assert f"step {step}, " in done.stderr
    assert cluster.calls("port-forward") == []


def test_monitoring_that_fails_undoes_kong(cluster):
    cluster.world["fail"] = {"-k ": 1}
    done = cluster.deploy("--yes")
    assert done.returncode == 1
    assert "step 5, monitoring, failed" in done.stderr
    assert any("rollout undo deployment.apps/kong --to-revision=4" in call for call in cluster.changes())


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ((200, {}), "is served without limits"),
        ((502, {"X-Quota-Tier": "anonymous"}), "status 502"),
    ],
)
def test_a_proxy_that_does_not_limit_fails_and_undoes(cluster, answers, said):
    cluster.proxy.answers = answers
    done = cluster.deploy("--yes")
    assert done.returncode == 1
    assert said in done.stderr
    assert "step 6, verify, failed" in done.stderr
    assert any("rollout undo deployment.apps/kong" in call for call in cluster.changes())


def test_routes_may_come_a_moment_later(cluster):
    cluster.proxy.late, cluster.patience = 2, "30"
    done = cluster.deploy("--yes", "--only", "verify")
    assert done.returncode == 0, done.stderr
    assert "20 passed" in done.stdout


def test_limits_that_go_again_are_no_limits(cluster):
    cluster.proxy.gone = 9
    done = cluster.deploy("--yes", "--only", "verify")
    assert done.returncode == 1
    assert "request 9: status 200 without X-Quota-Tier" in done.stderr


def test_verifying_alone_has_nothing_to_undo(cluster):
    cluster.proxy.answers = (200, {})
    done = cluster.deploy("--yes", "--only", "verify")
    assert done.returncode == 1
    assert "nothing was touched" in done.stderr
    assert cluster.changes() == []


def test_refusals_are_no_failure(cluster):
    cluster.proxy.answers = (429, {"X-Quota-Tier": "anonymous", "Retry-After": "3"})
    done = cluster.deploy("--yes", "--url", f"http://{cluster.world['proxy']}")
    assert done.returncode == 0
    assert "0 passed, 20 refused (429)" in done.stdout
    assert cluster.calls("port-forward") == []


def test_the_load_balancers_address_comes_before_a_port_forward(cluster):
    cluster.world["balancer"] = cluster.world["proxy"]
    done = cluster.deploy("--yes", "--only", "verify")
    assert done.returncode == 0, done.stderr
    assert cluster.calls("port-forward") == []


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_undoes_what_it_has_changed(cluster, sent, code):
    cluster.world["slow"] = ["wait job/kong-migrations"]
    process = subprocess.Popen(
        [SCRIPT, "--yes"],
        env=cluster.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Whoever runs the tests in the background has them ignore Ctrl-C, and a shell cannot trap what it inherits as ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 30
    while not cluster.calls("wait"):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    # As a terminal does: to the script and to the kubectl that it waits for.
    os.killpg(process.pid, sent)
    _, said = process.communicate(timeout=30)
    assert process.returncode == code, said
    assert "interrupted" in said
    assert any("rollout undo statefulset.apps/postgres --to-revision=7" in call for call in cluster.changes())


def test_nothing_stays_behind_in_the_folder_for_temporary_files(cluster):
    folder = cluster.folder / "tmp"
    folder.mkdir()
    done = subprocess.run(
        [SCRIPT, "--yes"], env={**cluster.environment(), "TMPDIR": str(folder)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert list(folder.iterdir()) == []


# ── the overlays themselves ──────────────────────────────────────────────────


def needs(document):
    """The Secrets, ConfigMaps and service accounts without which a workload's pods do not start."""
    found = set()

    def walk(value):
        if isinstance(value, dict):
            for key, name in (("secretName", "Secret"), ("serviceAccountName", "ServiceAccount")):
                if key in value:
                    found.add((name, value[key]))
            for key, name in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap"), ("configMap", "ConfigMap")):
                if isinstance(value.get(key), dict) and not value[key].get("optional"):
                    found.add((name, value[key]["name"]))
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    walk(document.get("spec", {}))
    return found


@pytest.mark.parametrize("overlay", ["dbless", "postgres", "dev"])
def test_what_a_pod_needs_comes_no_later_than_the_pod(cluster, overlay):
    text = subprocess.run(
        [manifests.KUBECTL, "kustomize", ROOT / "k8s/overlays" / overlay], capture_output=True, text=True, check=True
    ).stdout
    cluster.overlay.write_text(text)
    cluster.world["secrets"] |= {"kong-postgres": "a"}
    done = cluster.deploy("--yes", "--overlay", overlay)
    assert done.returncode == 0, done.stderr
    everything = {(document["kind"], document["metadata"]["name"]) for document in manifests.load(text)}
    there = set()
    for file in ["database.yaml", "kong.yaml", "policy.yaml"]:
        path = cluster.folder / "world/applied" / file
        documents = manifests.load(path.read_text()) if path.exists() else []
        there |= {(document["kind"], document["metadata"]["name"]) for document in documents}
        for document in documents:
            missing = (needs(document) & everything) - there
            assert not missing, f"{file}: {manifests.title(document)} needs {missing}"
    assert there == everything


def test_a_real_kubectl_knows_every_flag(cluster):
    """The stub takes any flag; what it was called with has to be in the help of the kubectl that is pinned."""
    cluster.world["fail_once"] = {"rollout status deployment.apps/kong": 1}
    assert cluster.deploy("--yes", "--context", "staging").returncode == 1
    assert cluster.deploy("--dry-run").returncode == 0
    cluster.world["fail_once"] = {}
    assert cluster.deploy("--yes").returncode == 0

    def helped(*words):
        return subprocess.run([manifests.KUBECTL, *words], capture_output=True, text=True, check=True).stdout

    everywhere = helped("options")
    seen = {}
    for call in cluster.calls():
        words = call.split()
        while words[0].startswith("--"):
            words = words[2:]
        command = tuple(words[: 2 if words[0] in ("auth", "config", "rollout") else 1])
        flags = re.findall(r"(?:^| )(--?[a-z][a-z-]*)", call.partition(" -o ")[0])
        seen.setdefault(command, set()).update(flags)
    assert {"diff", "apply", "wait", "port-forward", "delete"} <= {command[0] for command in seen}
    assert ("rollout", "undo") in seen
    for command, flags in seen.items():
        text = helped(*command, "--help") + everywhere
        for flag in flags:
            assert re.search(rf"(?<![\w-]){flag}[=, ]", text), f"kubectl {' '.join(command)} has no {flag}"
