"""The output of `kubectl kustomize` for the overlays, and where things are in it."""

import copy
import functools
import os
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
KUBECTL = Path(sys.executable).parent / "kubectl"
TOLLGATE = Path(os.environ.get("TOLLGATE_COMMAND", ROOT / "dist/tollgate"))
OVERLAYS = ["dbless", "postgres", "dev", "helm"]


def load(text):
    return [document for document in yaml.safe_load_all(text) if document]


def read(path):
    return load((ROOT / path).read_text())


def kustomize(folder):
    """The manifests of a kustomization. A warning of kustomize is an error here."""
    done = subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, f"{folder}: {done.stderr}"
    return load(done.stdout)


@functools.cache
def _built(overlay):
    return kustomize(ROOT / "k8s/overlays" / overlay)


def built(overlay):
    """A copy, for a test to break."""
    return copy.deepcopy(_built(overlay))


def kinds(documents, *kinds):
    return [document for document in documents if document["kind"] in kinds]


def named(documents, kind, name):
    found = [document for document in kinds(documents, kind) if document["metadata"]["name"] == name]
    assert len(found) == 1, f"{len(found)} of {kind} {name}"
    return found[0]


def title(document):
    return f"{document['kind']} {document['metadata']['name']}"


def secrets_to_make():
    """The Secrets that an operator writes from the example."""
    return read("k8s/secrets.example.yaml")


class Pod:
    """A pod template: its workload, its labels, and its spec."""

    def __init__(self, owner, template):
        self.owner = owner
        self.labels = template["metadata"].get("labels", {})
        self.annotations = template["metadata"].get("annotations", {})
        self.spec = template["spec"]
        self.title = title(owner)

    def containers(self):
        return self.spec.get("initContainers", []) + self.spec["containers"]

    def container(self, name):
        return next(one for one in self.containers() if one["name"] == name)

    def ports(self):
        """The open ports, by name, of containers that keep running."""
        open_ports = {}
        for container in self.containers():
            for port in container.get("ports", []):
                open_ports[port["name"]] = port["containerPort"]
        return open_ports

    def sidecar_ports(self):
        sidecars = [one for one in self.spec.get("initContainers", []) if one.get("restartPolicy") == "Always"]
        return {port["name"] for one in sidecars for port in one.get("ports", [])}

    def stays(self):
        return self.owner["kind"] in ("Deployment", "StatefulSet")


def pods(documents):
    found = []
    for document in kinds(documents, "Deployment", "StatefulSet", "Job"):
        found.append(Pod(document, document["spec"]["template"]))
    for document in kinds(documents, "CronJob"):
        found.append(Pod(document, document["spec"]["jobTemplate"]["spec"]["template"]))
    return found


def pod(documents, name):
    return next(one for one in pods(documents) if one.owner["metadata"]["name"] == name)


def matches(selector, labels):
    """Whether a label selector of Kubernetes matches; an empty one matches all."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for rule in selector.get("matchExpressions") or []:
        has, value = rule["key"] in labels, labels.get(rule["key"])
        holds = {
            "In": has and value in rule.get("values", []),
            "NotIn": not has or value not in rule.get("values", []),
            "Exists": has,
            "DoesNotExist": not has,
        }[rule["operator"]]
        if not holds:
            return False
    return True


def environment(container):
    return {one["name"]: one.get("value") for one in container.get("env", [])}
