"""Every policy that ships for clusters is valid, and all of them are the same."""

import copy
import subprocess

import pytest
import yaml

from manifests import OVERLAYS, ROOT, TOLLGATE, built, load, read


def inside(value, where):
    """Every policy in a document with its place, even in text that is YAML itself."""
    if isinstance(value, str) and "\n" in value and "tiers:" in value:
        for document in load(value):
            yield from inside(document, where)
    elif isinstance(value, dict):
        if "default_tier" in value or "tiers" in value:
            yield where, value
        else:
            for key, below in value.items():
                yield from inside(below, f"{where}: {key}")
    elif isinstance(value, list):
        for below in value:
            yield from inside(below, where)


def everywhere():
    found = []
    for overlay in OVERLAYS:
        for document in built(overlay):
            found += inside(document, f"{overlay}: {document['kind']} {document['metadata']['name']}")
    for file in sorted((ROOT / "envoy").glob("*.yaml")) + [ROOT / "kong/kong.yml", ROOT / "kong/helm-values.yaml"]:
        for document in load(file.read_text()):
            found += inside(document, file.name)
    return found


def check(policy, folder):
    file = folder / "policy.yaml"
    file.write_text(policy if isinstance(policy, str) else yaml.safe_dump(policy))
    return subprocess.run([TOLLGATE, "check", file], capture_output=True, text=True)


def test_policies_are_found_where_they_are():
    places = {where.split(":")[0] for where, _ in everywhere()}
    assert places == set(OVERLAYS) | {"istio.yaml", "envoy-gateway.yaml", "kong.yml"}


@pytest.mark.parametrize("where, policy", [pytest.param(*found, id=found[0]) for found in everywhere()])
def test_every_policy_can_work(where, policy, tmp_path):
    done = check(policy, tmp_path)
    assert done.returncode == 0, done.stderr


def test_one_that_cannot_is_refused(tmp_path):
    policy = copy.deepcopy(everywhere()[0][1])
    policy["tiers"]["pro"]["rate"] = "1000/mnth"
    done = check(policy, tmp_path)
    assert done.returncode == 1 and "tiers.pro.rate" in done.stderr


def declarative(overlay):
    """The text that Kong reads."""
    found = [
        one["data"]["kong.yml"] for one in built(overlay) if one["kind"] == "ConfigMap" and "kong.yml" in one["data"]
    ]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kongs_whole_file_is_checked_as_kong_reads_it(overlay, tmp_path):
    text = declarative(overlay)
    assert "kustomize: writes" not in text
    done = check(text, tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_marks_are_where_the_policy_goes():
    # With one mark too few, kustomize would silently put the policy somewhere else.
    mark = "# ── rate-limiting-configmap.yaml ──\n"
    assert (ROOT / "k8s/base/kong-plugins.yaml").read_text().count(mark) == 2
    assert mark.strip() in (ROOT / "k8s/base/kustomization.yaml").read_text()
    [source] = [one for one in read("k8s/base/rate-limiting-configmap.yaml")]
    assert source["data"]["policy.yaml"] in declarative("dbless")


def common(policy):
    """The policy without what differs by gateway: how it identifies callers, and how it reaches its store."""
    policy = copy.deepcopy(policy)
    policy.pop("identity", None)
    for own in ("upstream", "token"):
        policy["store"].pop(own, None)
    return policy


def test_all_of_them_are_one():
    [(_, sample)] = [found for found in everywhere() if found[0].startswith("kong.yml")]
    for where, policy in everywhere():
        assert common(policy) == common(sample), where
