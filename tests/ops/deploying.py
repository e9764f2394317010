"""scripts/deploy.sh on a made-up cluster: a stub for kubectl (kubectl_stub.py), and its answers.

No test with it shows that a cluster accepts the manifests.
"""

import json
import os
import pathlib
import re
import subprocess
import sys

from manifests import KUBECTL, ROOT

SCRIPT = ROOT / "scripts" / "deploy.sh"


def an_object(kind, name, component=None, *, api="v1", more=""):
    """An object as kustomize prints it; `more` comes after the metadata."""
    labels = f"  labels:\n    app.kubernetes.io/component: {component}\n" if component else ""
    within = "" if kind == "Namespace" else "  namespace: tollgate\n"
    return f"apiVersion: {api}\nkind: {kind}\nmetadata:\n{labels}  name: {name}\n{within}{more}"


KONG = """\
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
"""
# They are in the order in which kustomize writes them.
SCALED = """\
spec:
  minReplicas: 3
  scaleTargetRef:
    kind: Deployment
    name: kong
"""
ROUTES = """\
data:
  kong.yml: |
    kind: Job
    routes:
    - { name: identify, paths: ["~/identify$"] }
"""
# It has one object of every kind that the script tells apart.
OVERLAY = "---\n".join(
    [
        an_object("Namespace", "tollgate"),
        an_object("ServiceAccount", "kong", "gateway"),
        an_object("ConfigMap", "kong-declarative-abc", "configuration", more=ROUTES),
        an_object("Service", "kong-proxy", "gateway"),
        an_object("Deployment", "kong", "gateway", api="apps/v1", more=KONG),
        an_object("StatefulSet", "postgres", "database", api="apps/v1"),
        an_object("CronJob", "kong-configuration", "configuration", api="batch/v1"),
        an_object("NetworkPolicy", "default-deny", api="networking.k8s.io/v1"),
        an_object("HorizontalPodAutoscaler", "kong", "gateway", api="autoscaling/v2", more=SCALED),
    ]
)


# It replaces the command: it keeps its input, and refuses it if the input says so.
CHECKER = """\
#!/bin/sh
cp "$2" "$(dirname "$0")/../world/checked.yml"
if grep -q mnth "$2"; then echo "$2:7: tiers.pro.rate: a stub does not like it" >&2; exit 1; fi
"""


class Cluster:
    """A stub, its answers, and the calls it got."""

    def __init__(self, folder, proxy):
        self.folder = folder
        self.proxy = proxy
        self.patience = "0"
        (folder / "world").mkdir()
        (folder / "bin").mkdir()
        (folder / "monitoring").mkdir()
        stub = (ROOT / "tests/ops/kubectl_stub.py").read_text()
        self.kubectl = folder / "bin" / "kubectl"
        # It is started about forty times per run, so it skips site-packages, which it does not need.
        self.kubectl.write_text(f"#!{sys.executable} -IS\n{stub}")
        self.kubectl.chmod(0o755)
        self.checker = folder / "bin/tollgate"
        self.checker.write_text(CHECKER)
        self.checker.chmod(0o755)
        self.overlay = folder / "world/overlay.yaml"
        self.overlay.write_text(OVERLAY)
        (folder / "world/monitoring.yaml").write_text(an_object("ServiceMonitor", "kong", api="monitoring.coreos.com/v1"))
        self.world = {
            "context": "staging",
            "kubectl": str(KUBECTL),
            "secrets": {
                "tollgate-redis": {"url": "rediss://user:secret@redis.example.com:6379"},
                "tollgate-store": {"gateway-token": "a token of gateways", "admin-token": "a token of an admin"},
            },
            "namespace": "there",
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
            "TOLLGATE_COMMAND": str(self.checker),
        }

    def deploy(self, *options, text="", **variables):
        return subprocess.run(
            [SCRIPT, *options],
            env=self.environment() | variables,
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def calls(self, *kinds):
        file = self.folder / "world/calls"
        lines = file.read_text().splitlines() if file.exists() else []
        return [line for line in lines if not kinds or any(f"{kind} " in f"{line} " for kind in kinds)]

    def forget_calls(self):
        (self.folder / "world/calls").unlink()

    def changes(self):
        """The calls that change something."""
        calls = self.calls("apply", "rollout undo", "delete", "patch", "create job")
        return [call for call in calls if "--dry-run" not in call and "reviews.yaml" not in call]

    def applied_files(self):
        """The last word of each `kubectl apply`: the file or folder."""
        return [pathlib.Path(call.split()[-1]).name for call in self.changes() if " apply " in call]

    def applied(self, file):
        """Kinds and names of the objects that were applied from `file`."""
        found = []
        for text in (self.folder / "world/applied" / file).read_text().split("---\n")[1:]:
            kind = re.search(r"^kind: (.*)$", text, re.MULTILINE).group(1)
            metadata = text[text.index("\nmetadata:") :]
            found.append(f"{kind} {re.search(r'^  name: (.*)$', metadata, re.MULTILINE).group(1)}")
        return found
