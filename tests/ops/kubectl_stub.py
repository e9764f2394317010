"""A kubectl for the tests of scripts/deploy.sh: it answers as the test's `world` says, and records its calls.

It tests only the control flow of scripts/deploy.sh. Other tests check what a real kubectl and API server make of the
manifests. The world is a folder:

| file | contents |
| --- | --- |
| `overlay.yaml`, `monitoring.yaml` | what `kubectl kustomize` prints |
| `world.json` | `fail`, `fail_once`: {text of a call: exit code}; `says`: what one that fails says; `slow_once`: text of a call that waits to be ended, the first time; `answers`: {text of a call: what it prints}; `denied`, `secrets`, `namespace`, `crds`, `metrics`, `proxy`; `managers`: {kind/name: who has written it}; `hidden`: what may not be looked at; `real_kustomize`: overlays and monitoring are built by the real kubectl |
| `calls` | one line a call, written here |
| `asked` | the manifests whose objects were asked for by `get -f -` |
| `applied/…` | what was applied, so that `diff` finds nothing the second time |
"""

import base64
import json
import os
import pathlib
import signal
import sys


def wait_for_a_signal():
    # If a test has gone wrong, nobody sends a signal.
    signal.alarm(60)
    signal.pause()


def written(world, manifests):
    """Who has written the objects that these name; 1 where one of them may not be looked at."""
    refused = 0
    for manifest in manifests.split("---\n")[1:]:
        fields = dict(line.strip().split(": ") for line in manifest.splitlines() if ": " in line)
        one = f"{fields['kind'].lower()}/{fields['name']}"
        if one in world.get("hidden", []):
            print(f"Error from server (Forbidden): {one}", file=sys.stderr)
            refused = 1
            continue
        for manager in world.get("managers", {}).get(one, "").split():
            print(f"{fields['kind']}/{fields['name']} {manager}")
    return refused


def shown(one, output, world):
    """What the real kubectl makes of an object by a template."""
    # It takes a while to import, and hardly any call needs it.
    import subprocess  # noqa: PLC0415

    command = [world["kubectl"], "label", "--local", "-f", "-", "read=here", "-o", output]
    return subprocess.run(command, input=json.dumps(one), text=True, check=False).returncode


def main():
    folder = pathlib.Path(sys.argv[0]).resolve().parent.parent / "world"
    world = json.loads((folder / "world.json").read_text())
    call = " ".join(sys.argv[1:])
    if sys.argv[1] == "label" or sys.argv[1:3] == ["patch", "--local"]:
        # Of a file, without any cluster: what YAML means is the real one's to say.
        os.execv(world["kubectl"], [world["kubectl"], *sys.argv[1:]])
    if "KUBECTL_EXTERNAL_DIFF" in os.environ:
        call += " by another diff"
    with (folder / "calls").open("a") as calls:
        calls.write(call + "\n")
    for text, code in world.get("fail", {}).items():
        if text in call:
            print(world.get("says", f"stub: {text} fails"), file=sys.stderr)
            return code
    for text, code in world.get("fail_once", {}).items():
        before = (folder / "calls").read_text()
        if text in call and before.count(text) == 1:
            print(f"stub: {text} fails once", file=sys.stderr)
            return code
    for text in world.get("slow_once", []):
        if text in call and (folder / "calls").read_text().count(text) == 1:
            wait_for_a_signal()

    for text, answer in world.get("answers", {}).items():
        if text in call:
            print(answer, end="")
            return 0

    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    options = {name: value for name, value in zip(sys.argv[1:], sys.argv[2:]) if name.startswith("-")}
    for option in ("--context", "--namespace", "-n"):
        if option in options:
            words.remove(options[option])
    source = options.get("-f") or options.get("-k")
    key = pathlib.Path(source or "x").name
    applied = folder / "applied" / key
    content = "folder"
    if "-f" in options:
        content = sys.stdin.read() if source == "-" else pathlib.Path(source).read_text()

    match words:
        case ["config", "current-context"]:
            print(world["context"])
        case ["config", "get-contexts", name]:
            return 0 if name == world["context"] else 1
        case ["version"]:
            print(f"Client Version: v1.34.1\nServer Version: {world.get('server', 'v1.34.1')}")
        case ["kustomize", *_] if world.get("real_kustomize"):
            os.execv(world["kubectl"], [world["kubectl"], *sys.argv[1:]])
        case ["kustomize", asked]:
            file = "monitoring.yaml" if asked.endswith("monitoring") else "overlay.yaml"
            print((folder / file).read_text(), end="")
        case ["api-resources", *_]:
            print("servicemonitors.monitoring.coreos.com\n" if world["crds"] else "", end="")
        case ["get", *_] if source == "-":
            with (folder / "asked").open("a") as asked:
                asked.write(content)
            return written(world, content)
        case ["get", "/apis/metrics.k8s.io"]:
            return 0 if world.get("metrics", True) else 1
        case ["get", "namespace", name, *_]:
            said = {"missing": f'namespaces "{name}" not found', "hidden": "Error from server (Forbidden)"}
            if world["namespace"] != "there":
                print(said[world["namespace"]], file=sys.stderr)
                return 1
        case ["create", file, *_] if file.endswith("reviews.yaml"):
            for review in content.split("---\n")[1:]:
                asked = json.loads(review)["spec"]["resourceAttributes"]
                what = f"{asked['verb']}/{asked['resource']}" + (f"/{asked['subresource']}" if asked["subresource"] else "")
                print(what, "false" if what in world.get("denied", []) else "true")
        case ["get", "secret", name, *_]:
            values = world["secrets"].get(name)
            if values is None or values == "hidden":
                print("Error from server (Forbidden)" if values else f'secrets "{name}" not found', file=sys.stderr)
                return 1
            encoded = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
            if "range $key" not in call:
                return shown({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": encoded}, options["-o"], world)
            print("\n".join(f"{key} {value}" for key, value in encoded.items()))
        case ["get", "deployments.apps,statefulsets.apps", *_]:
            print(world.get("workloads", ""), end="")
        case ["get", "controllerrevision", *_]:
            print(7, end="")
        case ["get", "job", *_]:
            print("Complete CompletionsReached ")
        case ["get", "replicasets" | "pods" | "events", *_] | ["logs", *_]:
            pass
        case ["get", kind, *_] if "/" in kind:
            # How many pods of a workload are ready.
            print(world.get("ready", 3) if "readyReplicas" in call else "", end="")
        case ["get", kinds, *_] if kinds.startswith("deployments,"):
            if "release-name" in call:
                print("\n".join(f"x {one}" for one in world.get("releases", [])))
            else:
                print("\n".join(one if " " in one else f"{one} tollgate" for one in world.get("there", [])))
        case ["get", "storageclass", *_]:
            print("true")
        case ["create", *_] if "--dry-run=client" in sys.argv:
            os.execv(world["kubectl"], [world["kubectl"], *sys.argv[1:]])
        case ["delete" | "create" | "scale", *_]:
            pass
        case ["patch", *_]:
            for file in [one.partition("=")[2] for one in sys.argv if one.startswith("--patch-file=")]:
                applied.parent.mkdir(exist_ok=True)
                (applied.parent / pathlib.Path(file).name).write_text(pathlib.Path(file).read_text())
        case ["get", "service", name, *_]:
            # The balancer's addresses as a Service has them: `ip` or `hostname`.
            balancer = world.get("balancer")
            addresses = [{"ip": balancer}] if isinstance(balancer, str) else balancer
            status = {"loadBalancer": {"ingress": addresses} if balancer else {}}
            service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "status": status}
            return shown(service, options["-o"], world)
        case ["diff", *_]:
            if applied.exists() and applied.read_text() == content:
                return 0
            print("+ something")
            return 1
        case ["apply", *_]:
            if "--dry-run=client" not in sys.argv:
                applied.parent.mkdir(exist_ok=True)
                applied.write_text(content)
        case ["port-forward", *_]:
            print(f"Forwarding from {world['proxy']} -> 8000", flush=True)
            wait_for_a_signal()
        case ["rollout", *_] | ["wait", *_]:
            pass
        case _:
            print(f"stub: what is {call}?", file=sys.stderr)
            return 99
    return 0


if __name__ == "__main__":
    sys.exit(main())
