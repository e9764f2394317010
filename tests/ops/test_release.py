"""Runs scripts/release.sh as far as it needs no registry; and checks that the workflow's calls exist."""

import re
import shutil
import subprocess
import tarfile

import pytest
import yaml

from manifests import KUBECTL, ROOT, load
from test_manifests import copy_of_k8s

DIGESTS = [f"sha256:{letter * 64}" for letter in "abc"]
WORKFLOW = (ROOT / ".github/workflows/release.yml").read_text()


@pytest.fixture
def tree(tmp_path):
    """The part of the repository that a release reads, with a changelog that has the version."""
    for path in ("scripts/release.sh", "Cargo.toml", "charts/tollgate/Chart.yaml", "kong/helm-values.yaml", "envoy/istio.yaml", "k8s/base/store.yaml"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n\n- later\n\n## [0.1.0] - 2026-12-01\n\n- first\n\n## [0.0.9]\n\n- before\n")
    (tmp_path / "dist").mkdir()
    for name in ("tollgate", "tollgate.wasm", "tollgate.meta.json"):
        (tmp_path / "dist" / name).write_text(name)
    (tmp_path / "dist/tollgate").chmod(0o755)
    git = ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@example.com"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "--message", "a"], check=True)
    return tmp_path


def release(tree, *arguments, code=0):
    done = subprocess.run([tree / "scripts/release.sh", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def edit(tree, path, before, after):
    text = (tree / path).read_text()
    assert before in text
    (tree / path).write_text(text.replace(before, after))


def test_a_tag_is_a_release_where_everything_names_its_version(tree):
    assert "release: 0.1.0" in release(tree, "check", "v0.1.0")


@pytest.mark.parametrize(
    ("tag", "path", "before", "after", "said"),
    [
        ("v0.2.0", "Cargo.toml", "", "", "the tag v0.2.0 is not v0.1.0"),
        ("0.1.0", "Cargo.toml", "", "", "the tag 0.1.0 is not v0.1.0"),
        ("v0.1.0", "charts/tollgate/Chart.yaml", "appVersion: 0.1.0", "appVersion: 0.0.9", "appVersion is not 0.1.0"),
        ("v0.1.0", "k8s/base/store.yaml", "store:0.1.0", "store:0.0.9", "manifests name ghcr.io/tollgate/store:0.0.9"),
        ("v0.1.0", "envoy/istio.yaml", "filter:0.1.0-wasm", "filter:0.1.0-rc1", "manifests name ghcr.io/tollgate/filter:0.1.0-rc1"),
        ("v0.1.0", "CHANGELOG.md", "[0.1.0]", "[0.1.1]", "no section [0.1.0]"),
    ],
)
def test_a_version_that_differs_somewhere_is_no_release(tree, tag, path, before, after, said):
    edit(tree, path, before, after)
    assert said in release(tree, "check", tag, code=1)


def test_the_notes_are_the_versions_section_alone(tree):
    assert release(tree, "notes").split() == ["-", "first"]


def test_the_same_files_make_the_same_archives(tree):
    release(tree, "archive")
    folder = tree / "dist/release"
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert len(first) == 2
    (tree / "dist/tollgate").touch()
    (tree / "dist/tollgate").chmod(0o700)
    release(tree, "archive")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first
    with tarfile.open(folder / "tollgate-filter-0.1.0.tar.gz") as archive:
        assert archive.getnames() == ["tollgate-filter-0.1.0/tollgate.wasm", "tollgate-filter-0.1.0/tollgate.meta.json"]
        assert {one.uname or one.uid for one in archive} == {0}


def test_the_checksums_are_those_of_all_files(tree):
    release(tree, "archive")
    release(tree, "checksums")
    said = release(tree, "checksums")
    assert said == (tree / "dist/release/SHA256SUMS").read_text() and "SHA256SUMS" not in said
    done = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=tree / "dist/release", capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.count(": OK") == 2


def test_the_digests_are_what_kustomize_and_the_chart_take(tree, tmp_path_factory):
    release(tree, "digests", *DIGESTS)
    images = yaml.safe_load((tree / "dist/release/kustomize-images.yaml").read_text())
    kustomization = copy_of_k8s(tmp_path_factory.mktemp("k8s")) / "overlays/dbless/kustomization.yaml"
    kustomization.write_text(kustomization.read_text() + yaml.safe_dump(images))
    text = subprocess.run([KUBECTL, "kustomize", kustomization.parent], capture_output=True, text=True, check=True).stdout
    assert f"ghcr.io/tollgate/filter@{DIGESTS[0]}" in text and f"ghcr.io/tollgate/store@{DIGESTS[2]}" in text
    command = [KUBECTL.parent / "helm", "template", "tollgate", ROOT / "charts/tollgate", "--set", "gateway.istio.enabled=true,gateway.istio.trustHeaders=true"]
    command += ["--values", tree / "dist/release/chart-images.yaml"]
    documents = load(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    [plugin] = [one for one in documents if one["kind"] == "WasmPlugin"]
    assert plugin["spec"]["url"] == f"oci://ghcr.io/tollgate/filter@{DIGESTS[1]}"
    assert "is no digest" in release(tree, "digests", "latest", *DIGESTS[1:], code=1)


def test_the_workflow_calls_what_there_is():
    usage = subprocess.run([ROOT / "scripts/release.sh"], capture_output=True, text=True, check=False)
    assert usage.returncode == 2
    steps = set(re.findall(r"^  ([a-z]+) ", usage.stderr, re.MULTILINE))
    called = set(re.findall(r"scripts/release\.sh ([a-z]+)", WORKFLOW))
    assert called == steps
