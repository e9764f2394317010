"""scripts/deploy.sh with the real manifests, and with the flags of the real kubectl."""

import http.server
import json
import re
import subprocess
import threading

import pytest

import manifests


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
        [manifests.KUBECTL, "kustomize", manifests.ROOT / "k8s/overlays" / overlay], capture_output=True, text=True, check=True
    ).stdout
    cluster.overlay.write_text(text)
    cluster.world["secrets"] |= {
        "kong-postgres": {"username": "kong", "password": "a password"},
        "tollgate-redis": {"url": "redis://tollgate:a@redis:6379", "users.acl": "user tollgate on >a +@all"},
    }
    done = cluster.deploy("--yes", "--overlay", overlay)
    assert done.returncode == 0, done.stderr
    everything = {(document["kind"], document["metadata"]["name"]) for document in manifests.load(text)}
    there = set()
    for file in ["namespace.yaml", "database.yaml", "kong.yaml", "policy.yaml"]:
        path = cluster.folder / "world/applied" / file
        documents = manifests.load(path.read_text()) if path.exists() else []
        there |= {(document["kind"], document["metadata"]["name"]) for document in documents}
        for document in documents:
            missing = (needs(document) & everything) - there
            assert not missing, f"{file}: {manifests.title(document)} needs {missing}"
    assert there == everything


def unknown_flags(calls):
    """Flags that the kubectl that is pinned does not know, of calls of the stub, which takes any; and the commands that were called."""

    def helped(*words):
        return subprocess.run([manifests.KUBECTL, *words], capture_output=True, text=True, check=True).stdout

    everywhere = helped("options")
    seen = {}
    for call in calls:
        words = call.split()
        while words[0].startswith("-"):
            words = words[2:]
        length = 3 if words[:2] == ["create", "secret"] else 2 if words[0] in ("config", "rollout", "create") and words[1][0] != "-" else 1
        flags = re.findall(r"(?:^| )(--?[a-z][a-z-]*)", call.partition(" -o ")[0])
        seen.setdefault(tuple(words[:length]), set()).update(flags)
    unknown = []
    for command, flags in seen.items():
        text = helped(*command, "--help") + everywhere
        unknown += [f"kubectl {' '.join(command)} has no {flag}" for flag in flags if not re.search(rf"(?<![\w-]){flag}[=, ]", text)]
    return unknown, set(seen)


def test_a_real_kubectl_knows_every_flag(cluster):
    cluster.world["fail_once"] = {"rollout status deployment.apps/kong": 1}
    cluster.world["managers"] = {"deployment/kong": "kubectl-set"}
    cluster.world["there"] = ["Service/old"]
    assert cluster.deploy("--yes", "--context", "staging").returncode == 1
    assert cluster.deploy("--dry-run").returncode == 0
    cluster.world["fail_once"] = {}
    assert cluster.deploy("--yes").returncode == 0
    unknown, commands = unknown_flags(cluster.calls())
    assert unknown == []
    assert {"diff", "apply", "port-forward", "delete", "patch"} <= {command[0] for command in commands}
    assert {("rollout", "undo"), ("create", "job")} <= commands


# ── what a real kubectl asks an API server, and makes of its answers

KINDS = {
    "v1": [("Service", "services"), ("ConfigMap", "configmaps")],
    "apps/v1": [("Deployment", "deployments"), ("StatefulSet", "statefulsets")],
    "networking.k8s.io/v1": [("NetworkPolicy", "networkpolicies")],
}


def managed(kind, name, **managers):
    """An object of the cluster, and which fields of its spec who has written."""
    fields = [{"manager": manager.replace("_", "-"), "operation": "Apply", "fieldsV1": {"f:spec": dict.fromkeys(spec, {})}} for manager, spec in managers.items()]
    fields.append({"manager": "somebody", "subresource": "status", "operation": "Update", "fieldsV1": {"f:spec": {}}})
    fields.append({"manager": "somebody", "operation": "Update", "fieldsV1": {"f:metadata": {}}})
    return {"kind": kind, "metadata": {"name": name, "namespace": "tollgate", "managedFields": fields}}


class ApiServer(http.server.BaseHTTPRequestHandler):
    """Knows the kinds above, and the objects and refusals that the server was given by their paths."""

    def do_GET(self):  # noqa: N802, the name that http.server wants
        path = self.path.partition("?")[0]
        group, _, plural = re.sub(r"^/apis?/|/namespaces/tollgate|/[^/]+$", "", path).rpartition("/")
        self.server.asked.append(path)
        status, answer = 404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
        if path == "/api":
            status, answer = 200, {"kind": "APIVersions", "versions": ["v1"]}
        elif path == "/apis":
            groups = [one.partition("/")[0] for one in KINDS if "/" in one]
            versions = {one: {"groupVersion": f"{one}/v1", "version": "v1"} for one in groups}
            status, answer = 200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": [{"name": one, "versions": [versions[one]], "preferredVersion": versions[one]} for one in groups]}
        elif (api := path.removeprefix("/apis/").removeprefix("/api/")) in KINDS:
            resources = [{"name": plural, "singularName": kind.lower(), "kind": kind, "namespaced": True, "verbs": ["get", "list"]} for kind, plural in KINDS[api]]
            status, answer = 200, {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api, "resources": resources}
        elif (found := self.server.objects.get("/".join(path.split("/")[-2:]))) == 403:
            status, answer = 403, answer | {"reason": "Forbidden", "code": 403}
        elif found:
            status, answer = 200, {"apiVersion": group} | found
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


OBJECTS = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  labels:
    name: another
  name: kong
  namespace: tollgate
spec:
  template:
    metadata:
      name: not-mine
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: kong-declarative
  namespace: tollgate
---
apiVersion: v1
kind: Service
metadata:
  name: kong-proxy
  namespace: tollgate
---
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: not-there
  namespace: tollgate
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: default-deny
  namespace: tollgate
"""
KONG, PROXY, DENY = "deployments/kong", "services/kong-proxy", "networkpolicies/default-deny"


@pytest.mark.parametrize(
    ("objects", "said"),
    [
        ({}, []),
        ({KONG: managed("Deployment", "kong", tollgate=["f:template"])}, []),
        ({KONG: managed("Deployment", "kong", tollgate=["f:replicas"])}, ["deployment/kong by tollgate (replicas)"]),
        (
            {
                KONG: managed("Deployment", "kong", tollgate=["f:template"], kube_controller_manager=["f:replicas"], kubectl_set=["f:template"]),
                PROXY: managed("Service", "kong-proxy", helm=["f:ports"], kubectl_edit=["f:type"]),
            },
            ["deployment/kong by kubectl-set", "service/kong-proxy by helm", "service/kong-proxy by kubectl-edit"],
        ),
        ({PROXY: managed("Service", "kong-proxy", helm=["f:ports"]), KONG: 403, DENY: 403}, ["service/kong-proxy by helm"]),
        ({KONG: 403}, []),
    ],
    ids=["nothing there", "ours", "replicas of before", "others", "not all may be looked at", "nothing may be looked at"],
)
def test_who_has_written_what_is_what_a_real_kubectl_finds(tmp_path, objects, said):
    (tmp_path / "kong.yaml").write_text(OBJECTS)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), ApiServer) as server:
        server.objects, server.asked = objects, []
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        script = """
          here() { echo x >>calls; "$KUBECTL" --server="$SERVER" --namespace=tollgate "$@"; }
          . "$OWN"
          foreign kong.yaml
        """
        environment = {"KUBECTL": manifests.KUBECTL, "SERVER": f"http://127.0.0.1:{server.server_address[1]}", "HOME": tmp_path, "PATH": "/usr/bin:/bin"}
        done = subprocess.run(["bash", "-uc", script], cwd=tmp_path, env=environment | {"OWN": manifests.ROOT / "scripts/deploy/own.sh"}, capture_output=True, text=True, check=True)
        server.shutdown()
    assert done.stdout.splitlines() == said and not done.stderr
    assert (tmp_path / "calls").read_text() == "x\n"
    assert not [path for path in server.asked if "kong-declarative" in path or "not-mine" in path]
