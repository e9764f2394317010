"""The workflow runs side by side what scripts/test.sh, and so `make test`, runs one after the other."""

import re
import subprocess

import pytest
import yaml

from manifests import ROOT

SCRIPT = (ROOT / "scripts/test.sh").read_text()
JOBS = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
MATRIX = [job["group"] for job in JOBS["test"]["strategy"]["matrix"]["include"]]


@pytest.fixture
def tree(tmp_path):
    """The repository, in which no step of test.sh does anything, and `lint` fails if there is a file `broken`."""
    for path in ROOT.iterdir():
        if path.name not in ("scripts", ".git"):
            (tmp_path / path.name).symlink_to(path)
    called = [f"scripts/{path.name}" for path in (ROOT / "scripts").glob("*.sh")]
    for name in [*called, "bin/cargo", "bin/make"]:
        stub = tmp_path / name
        stub.parent.mkdir(exist_ok=True)
        stub.write_text("#!/bin/sh\n" + ("[ ! -e broken ]\n" if name.endswith("lint.sh") else ""))
        stub.chmod(0o755)
    (tmp_path / "scripts/test.sh").write_text(SCRIPT)
    return tmp_path


def run(tree, *groups, code=0):
    """The steps that test.sh runs for these groups, and its output."""
    done = subprocess.run(
        ["bash", "scripts/test.sh", *groups],
        cwd=tree,
        env={"PATH": f"{tree}/bin:/usr/local/bin:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    steps = [name for name in re.findall(r"^── (.+)$", done.stdout, re.MULTILINE) if not name.startswith("summary")]
    return steps, done.stdout + done.stderr


def test_the_jobs_together_run_every_step_once(tree):
    steps, said = run(tree)
    assert steps == re.findall(r'^step [a-z]+ "([^"]+)"', SCRIPT, re.MULTILINE)
    assert len(steps) == len(re.findall(r"^\s*step ", SCRIPT, re.MULTILINE)) > 10, "a step without a group"
    assert said.endswith(f"{len(steps)} passed, 0 failed\n")
    by_job = [run(tree, group)[0] for group in MATRIX]
    assert all(by_job) and sorted(sum(by_job, [])) == sorted(steps)


def test_several_groups_are_run_in_the_scripts_order(tree):
    steps, _ = run(tree)
    few, said = run(tree, "store", "lint")
    assert few == [step for step in steps if step in few] and few[0] == "lint"
    assert said.endswith(f"{len(few)} passed, 0 failed\n")


def test_a_step_that_fails_fails_its_group_and_all_but_no_other(tree):
    (tree / "broken").touch()
    assert re.search(r"^lint +FAILED", run(tree, "lint", code=1)[1], re.MULTILINE)
    run(tree, "core")
    steps, said = run(tree, code=1)
    assert said.endswith(f"{len(steps) - 1} passed, 1 failed\n")


def test_a_group_that_does_not_exist_is_refused_with_those_that_do(tree):
    steps, said = run(tree, "core", "gates", code=2)
    assert not steps and "'gates'" in said and all(group in said for group in MATRIX)


def test_the_jobs_call_the_group_by_the_way_that_make_test_has(tree):
    assert JOBS["test"]["steps"][-1]["run"] == "bash .ci/run ${{ matrix.group }}"
    (tree / ".ci").unlink()
    (tree / ".ci").mkdir()
    (tree / ".ci/run").write_text((ROOT / ".ci/run").read_text())
    (tree / "bin/make").write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    environment = {"PATH": f"{tree}/bin:/usr/bin:/bin", "HOME": str(tree)}
    for groups, called in [([], "test|"), (["core"], "test|ONLY=core|"), (["core", "store"], "test|ONLY=core store|")]:
        assert subprocess.check_output(["bash", ".ci/run", *groups], cwd=tree, env=environment, text=True) == called
    recipe = re.search(r"^test: setup build .*\n\t@(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe[1] == "scripts/test.sh $(ONLY)"


def test_the_last_job_waits_for_all_and_fails_where_one_has(tree):
    last = JOBS["ci"]
    assert set(last["needs"]) == set(JOBS) - {"ci"} and last["if"] == "always()"
    command = last["steps"][0]["run"]
    for results, code in [("success success", 0), ("success failure", 1), ("skipped success", 1), ("cancelled", 1)]:
        assert subprocess.run(["bash", "-e", "-c", command], env={"RESULTS": results}, capture_output=True, check=False).returncode == code


def test_every_job_ends_by_itself():
    assert all(job.get("timeout-minutes") for job in JOBS.values())


def test_the_slow_tests_that_make_quick_leaves_out_exist():
    names = re.search(r"^SLOW := ((?:.*\\\n)*.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].replace("\\", "").split()
    sources = "".join(path.read_text() for folder in ("src", "crates") for path in (ROOT / folder).rglob("*.rs"))
    assert len(names) == 5 and all(f"fn {name}(" in sources for name in names)
