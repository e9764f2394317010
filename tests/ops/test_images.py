"""Images: what is pinned, what they contain, and that the Dockerfile makes those that the manifests name."""

import fnmatch
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from manifests import OVERLAYS, ROOT, built, pods, read
from rules import VERSION

VERSIONED = "0.1.0"
BASE = re.compile(r"^FROM (\S+)( AS (\S+))?$", re.MULTILINE)
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def stages():
    """The base and the instructions of each stage, by its name."""
    parts = re.split(r"^(?=FROM )", DOCKERFILE, flags=re.MULTILINE)[1:]
    return {BASE.match(part)[3]: (BASE.match(part)[1], part) for part in parts}


def run(*command):
    return subprocess.run([Path(sys.executable).parent / command[0], *command[1:]], capture_output=True, text=True)


def test_the_dockerfile_is_well_written():
    done = run("hadolint", "--failure-threshold", "style", ROOT / "Dockerfile")
    assert done.returncode == 0, done.stdout


def test_a_badly_written_dockerfile_is_found(tmp_path):
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM debian\nRUN cd /tmp && apt-get install curl\n")
    said = run("hadolint", "--failure-threshold", "style", bad)
    assert said.returncode != 0 and "DL3006" in said.stdout and "DL3008" in said.stdout


def test_bases_are_named_by_tag_and_digest():
    bases = {base for base, _ in stages().values()}
    for base in bases - {"scratch"}:
        assert VERSION.match(base) and "@sha256:" in base, base
    toolchain = tomllib.loads((ROOT / "rust-toolchain.toml").read_text())["toolchain"]
    assert any(base.startswith(f"rust:{toolchain['channel']}-") for base in bases)
    assert f"RUSTUP_TOOLCHAIN={toolchain['channel']}" in DOCKERFILE


def test_what_runs_is_not_root_and_has_the_projects_version():
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    assert version == VERSIONED
    for name in ("filter", "store"):
        assert "\nUSER 65532:65532\n" in stages()[name][1], name
    for name in ("filter", "filter-wasm", "store"):
        assert f'org.opencontainers.image.version="{version}"' in stages()[name][1], name


def test_the_filters_files_are_where_the_init_container_looks():
    [copied] = re.findall(r"^COPY --from=build (.*)$", stages()["filter"][1], re.MULTILINE)
    *sources, folder = copied.split()
    there = [folder + Path(source).name for source in sources]
    for overlay in set(OVERLAYS) - {"helm"}:
        for pod in pods(built(overlay)):
            for container in pod.containers():
                if container["image"].startswith("ghcr.io/tollgate/filter"):
                    assert container["command"][1:-1] == there
    assert stages()["filter-wasm"][1].count("COPY ") == 1, "more than one layer, which Istio refuses"


def ours():
    images = {
        container["image"] for overlay in OVERLAYS for pod in pods(built(overlay)) for container in pod.containers()
    }
    return {image for image in images if image.startswith("ghcr.io/tollgate/")}


def test_the_manifests_name_the_images_that_are_built():
    assert ours() == {f"ghcr.io/tollgate/filter:{VERSIONED}", f"ghcr.io/tollgate/store:{VERSIONED}"}
    script = (ROOT / "scripts/image.sh").read_text()
    for image in ours():
        assert f"$images/{image.split('/')[-1].split(':')[0]}:$version" in script
    assert set(re.findall(r"--target|filter\)|filter-wasm\)|store\)", script)) and set(stages()) == {
        "build",
        "filter",
        "filter-wasm",
        "store",
    }


def test_the_cluster_runs_the_versions_that_are_composed():
    composed = {
        service["image"].split(":")[0]: service["image"]
        for service in read("kong/docker-compose.yml")[0]["services"].values()
    }
    for overlay in OVERLAYS:
        for pod in pods(built(overlay)):
            for container in pod.containers():
                name = container["image"].split(":")[0]
                assert container["image"] == composed.get(name, container["image"])
    assert stages()["store"][0].startswith(composed["debian"])


def admitted(path):
    """Whether .dockerignore lets a path through: the last matching pattern decides."""
    through = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern, opens = line.removeprefix("!"), line.startswith("!")
            parents = [str(path), *map(str, path.parents)]
            if any(fnmatch.fnmatch(parent, pattern) for parent in parents if parent != "."):
                through = opens
    return through


def test_the_builder_is_given_the_whole_workspace():
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]
    for member in workspace["members"]:
        assert member == "." or admitted(Path(member.removesuffix("/*")) / "Cargo.toml"), member
    for file in ("Cargo.toml", "Cargo.lock", "src/lib.rs", "crates/store/scripts/apply.lua"):
        assert (ROOT / file).exists() and admitted(Path(file)), file
    for file in ("target/release/tollgate", "dist/tollgate", ".git/config", "secrets.yaml", ".venv/bin/python"):
        assert not admitted(Path(file)), file


@pytest.mark.parametrize("image", ["kong:latest", "kong", "kong:3", "ghcr.io/tollgate/store", "kong:3.9.1@sha256:abc"])
def test_what_is_not_pinned_is_found(image):
    assert not VERSION.match(image)
