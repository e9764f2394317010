"""The six steps of scripts/deploy.sh: their order, what goes with which, and a run that is to change nothing."""

import subprocess

import pytest

from deploying import SCRIPT


def test_all_six_steps_run_in_their_order(cluster):
    done = cluster.deploy("--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    headings = [line for line in done.stdout.splitlines() if line.startswith("── ")]
    names = ["checks", "database", "kong", "policy", "monitoring", "verify"]
    assert headings[:6] == [f"── {number}/6 {name}" for number, name in enumerate(names, 1)]
    assert headings[6].startswith("── done, ")
    assert cluster.applied_files() == ["database.yaml", "kong.yaml", "policy.yaml", "monitoring"]
    waits = cluster.calls("rollout status", "wait")
    assert any("statefulset.apps/postgres" in call for call in waits)
    assert any("job/kong-migrations" in call for call in waits)
    assert any("job/kong-configuration" in call for call in waits)
    assert any("deployment.apps/kong" in call for call in waits)


def test_every_object_goes_with_its_step(cluster):
    assert cluster.deploy("--yes").returncode == 0
    assert cluster.applied("database.yaml") == [
        "Namespace tollgate",
        "ServiceAccount kong",
        "StatefulSet postgres",
        "Job kong-migrations",
        "NetworkPolicy default-deny",
    ]
    assert cluster.applied("kong.yaml") == [
        "ConfigMap kong-declarative-abc",
        "Service kong-proxy",
        "Deployment kong",
        "HorizontalPodAutoscaler kong",
    ]
    assert cluster.applied("policy.yaml") == ["Job kong-configuration"]


def test_a_job_is_made_anew_since_it_cannot_be_changed(cluster):
    assert cluster.deploy("--yes").returncode == 0
    deleted = [call for call in cluster.changes() if " delete " in call]
    assert ["job/kong-migrations" in call for call in deleted] == [True, False]
    assert "--ignore-not-found" in deleted[0]


def test_each_step_says_how_long_it_took(cluster):
    done = cluster.deploy("--yes")
    assert sum(line.startswith("   ok, ") and line.endswith(" s") for line in done.stdout.splitlines()) == 6


def test_a_second_run_changes_nothing(cluster):
    assert cluster.deploy("--yes").returncode == 0
    cluster.forget_calls()
    done = cluster.deploy("--yes")
    assert done.returncode == 0
    assert done.stdout.count("nothing to change") == 4
    assert cluster.changes() == []


def test_what_is_compared_is_what_would_be_applied(cluster):
    """Fields are owned by a name: under another one a field that a manifest no longer has is no difference."""
    assert cluster.deploy("--yes").returncode == 0

    def asked(verb):
        calls = [call.partition(f" {verb} ")[2] for call in cluster.calls(verb)]
        assert calls and all("--server-side" in call and "--field-manager=" in call for call in calls), calls
        return calls

    assert asked("diff") == asked("apply")


def test_a_dry_run_touches_nothing(cluster):
    done = cluster.deploy("--dry-run")
    assert done.returncode == 0, done.stderr
    assert "+ something" in done.stdout
    assert "a dry run: nothing was changed" in done.stdout
    assert cluster.changes() == []
    assert cluster.calls("rollout", "wait", "port-forward") == []


def test_a_dry_run_shows_what_a_cluster_without_the_namespace_would_get(cluster):
    cluster.world["fail"] = {"diff": 2}
    done = cluster.deploy("--dry-run")
    assert done.returncode == 0, done.stderr
    assert len(cluster.calls("--dry-run=client")) == 4
    assert cluster.changes() == []


@pytest.mark.parametrize("answer", ["", "n\n", "no\n", "maybe\n"])
def test_without_a_yes_nothing_is_touched(cluster, answer):
    done = cluster.deploy(text=answer)
    assert done.returncode == 4
    assert cluster.changes() == []


def test_a_yes_is_enough(cluster):
    assert cluster.deploy(text="y\n").returncode == 0


@pytest.mark.parametrize(
    ("step", "files"),
    [
        ("database", ["database.yaml"]),
        ("2", ["database.yaml"]),
        ("kong", ["kong.yaml"]),
        ("3", ["kong.yaml"]),
        ("policy", ["policy.yaml"]),
        ("monitoring", ["monitoring"]),
        ("verify", []),
        ("6", []),
    ],
)
def test_only_one_step_runs_after_the_checks(cluster, step, files):
    done = cluster.deploy("--yes", "--only", step)
    assert done.returncode == 0, done.stderr
    assert cluster.applied_files() == files
    assert len([line for line in done.stdout.splitlines() if "/6 " in line]) == 2


def test_only_the_checks_touch_nothing_and_do_not_ask(cluster):
    done = cluster.deploy("--only", "checks")
    assert done.returncode == 0, done.stderr
    assert cluster.changes() == []


@pytest.mark.parametrize(
    "options", [["--overlay", "prod"], ["--only", "7"], ["--only", "dance"], ["--only"], ["--force"], ["--context"]]
)
def test_wrong_usage_is_refused_before_kubectl_is_called(cluster, options):
    done = cluster.deploy(*options)
    assert done.returncode == 2
    assert cluster.calls() == []


def test_help_lists_every_exit_code_from_anywhere(tmp_path):
    done = subprocess.run([SCRIPT, "--help"], capture_output=True, text=True, check=True, cwd=tmp_path)
    for code in ["0", "1", "2", "3", "4", "5", "130"]:
        assert f"\n  {code} " in done.stdout


def test_nothing_stays_behind_in_the_folder_for_temporary_files(cluster):
    folder = cluster.folder / "tmp"
    folder.mkdir()
    assert cluster.deploy("--yes", TMPDIR=str(folder)).returncode == 0
    assert list(folder.iterdir()) == []
