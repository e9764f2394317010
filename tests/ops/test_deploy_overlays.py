"""scripts/deploy.sh with the real manifests, and with the flags of the real kubectl."""

import re
import subprocess

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


def test_a_real_kubectl_knows_every_flag(cluster):
    """The stub accepts any flag, so each one that it got has to be in the help of the pinned kubectl."""
    cluster.world["fail_once"] = {"rollout status deployment.apps/kong": 1}
    cluster.world["managers"] = {"deployment/kong": "kubectl-set"}
    cluster.world["there"] = ["Service/old"]
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
        command = tuple(words[: 2 if words[0] in ("config", "rollout", "create") and words[1][0] != "-" else 1])
        flags = re.findall(r"(?:^| )(--?[a-z][a-z-]*)", call.partition(" -o ")[0])
        seen.setdefault(command, set()).update(flags)
    assert {"diff", "apply", "port-forward", "delete", "patch"} <= {command[0] for command in seen}
    assert {("rollout", "undo"), ("create", "job")} <= set(seen)
    for command, flags in seen.items():
        text = helped(*command, "--help") + everywhere
        for flag in flags:
            assert re.search(rf"(?<![\w-]){flag}[=, ]", text), f"kubectl {' '.join(command)} has no {flag}"
