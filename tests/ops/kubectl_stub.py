"""A kubectl for the tests of scripts/deploy.sh: it answers as the test's `world` says, and writes down what it was asked.

It stands for the control flow of scripts/deploy.sh alone. What a real kubectl and API server make of the manifests is for
other tests. The world is a folder:

| file | what |
| --- | --- |
| `overlay.yaml` | what `kubectl kustomize` prints |
| `world.json` | `fail`, `fail_once`: {text of a call: exit code}; `slow`: text of a call that waits to be ended; `denied`, `secrets`, `crds`, `metrics`, `proxy` |
| `calls` | one line a call, written here |
| `applied/…` | what was applied, so that `diff` finds nothing the second time |
"""

import json
import pathlib
import signal
import sys


def wait_for_a_signal():
    # Nobody sends one where a test has gone wrong.
    signal.alarm(60)
    signal.pause()


def main():
    folder = pathlib.Path(sys.argv[0]).resolve().parent.parent / "world"
    world = json.loads((folder / "world.json").read_text())
    call = " ".join(sys.argv[1:])
    with (folder / "calls").open("a") as calls:
        calls.write(call + "\n")
    for text, code in world.get("fail", {}).items():
        if text in call:
            print(f"stub: {text} fails", file=sys.stderr)
            return code
    for text, code in world.get("fail_once", {}).items():
        before = (folder / "calls").read_text()
        if text in call and before.count(text) == 1:
            print(f"stub: {text} fails once", file=sys.stderr)
            return code
    for text in world.get("slow", []):
        if text in call:
            wait_for_a_signal()

    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    options = {name: value for name, value in zip(sys.argv[1:], sys.argv[2:]) if name.startswith("-")}
    for option in ("--context", "--namespace"):
        if option in options:
            words.remove(options[option])
    source = options.get("-f") or options.get("-k")
    key = pathlib.Path(source or "x").name
    applied = folder / "applied" / key
    content = pathlib.Path(source).read_text() if source and "-f" in options else "folder"

    match words:
        case ["config", "current-context"]:
            print(world["context"])
        case ["config", "get-contexts", name]:
            return 0 if name == world["context"] else 1
        case ["version"]:
            print(f"Client Version: v1.34.1\nServer Version: {world.get('server', 'v1.34.1')}")
        case ["kustomize", _]:
            print((folder / "overlay.yaml").read_text(), end="")
        case ["auth", "can-i", verb, kind]:
            return 1 if f"{verb} {kind}" in world.get("denied", []) else 0
        case ["get", "secret", name, *_]:
            if name not in world["secrets"]:
                return 1
            print(world["secrets"][name])
        case ["get", "crd", *_]:
            return 0 if world["crds"] else 1
        case ["get", "deployments.apps,statefulsets.apps", *_]:
            print(world.get("workloads", ""), end="")
        case ["get", "controllerrevision", *_]:
            print(7, end="")
        case ["get", "storageclass", *_]:
            print("true")
        case ["get", "/apis/metrics.k8s.io"]:
            return 0 if world.get("metrics", True) else 1
        case ["delete", *_]:
            pass
        case ["get", "service", *_]:
            print(world.get("balancer", ""), end="")
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
