"""How scripts/deploy.sh goes back when a step fails or when it is interrupted."""

import json
import os
import signal
import subprocess

import pytest

from deploying import OVERLAY, SCRIPT, an_object
from test_deploy_steps import LIVE
from waiting import until


def test_a_rollout_that_fails_is_undone_to_where_it_was(cluster):
    cluster.world["fail_once"] = {"rollout status deployment.apps/kong": 1}
    done = cluster.deploy("--yes")
    assert done.returncode == 1
    assert "step 3, kong, failed" in done.stderr
    assert any("rollout undo deployment.apps/kong --to-revision=4" in call for call in cluster.changes())
    assert any("rollout undo statefulset.apps/postgres --to-revision=7" in call for call in cluster.changes())
    undone = cluster.calls("rollout undo")[-1]
    after = cluster.calls()[cluster.calls().index(undone) :]
    assert any("rollout status" in call for call in after)


def test_what_an_undo_writes_is_taken_over(cluster):
    """Under a name of its own, what it brings back would never be removed again."""
    cluster.world["fail_once"] = {"rollout status deployment.apps/kong": 1}
    cluster.world["managers"] = {"deployment/kong": "kubectl-rollout\n"}
    cluster.world["answers"] = LIVE
    assert cluster.deploy("--yes").returncode == 1
    calls = cluster.calls()
    undone = next(index for index, call in enumerate(calls) if "rollout undo deployment.apps/kong" in call)
    assert any("patch deployment/kong" in call for call in calls[undone:])


@pytest.mark.parametrize("writers", ["", "\nkubectl-rollout"], ids=["nobody else", "the undoing"])
def test_as_many_pods_as_a_manifest_says_are_left_after_an_undo(cluster, writers):
    """An apply that gave the number up would leave one pod of a store that has more."""
    store = an_object("Deployment", "tollgate-store", "store", api="apps/v1", more="spec:\n  replicas: 2\n")
    cluster.overlay.write_text(f"{OVERLAY}---\n{store}")
    cluster.world["fail_once"] = {"rollout status deployment.apps/kong": 1}
    cluster.world["managers"] = {"deployment/tollgate-store": f"tollgate\ntollgate/replicas{writers}"}
    cluster.world["answers"] = LIVE | {"managedFields[?": '{"manager":"tollgate","fieldsV1":{"f:spec":{"f:replicas":{}}}}'}
    assert cluster.deploy("--yes").returncode == 1
    applied = cluster.folder / "world/applied"
    assert (applied / "owned.json").exists() == bool(writers)
    if writers:
        assert json.loads((applied / "owned.json").read_text())["spec"]["replicas"] == 4
        assert "f:replicas" in (applied / "owner.json").read_text()


def test_a_policy_that_is_undone_does_not_get_in_a_moment_later(cluster):
    cluster.world["answers"] = {"get job ": "Failed BackoffLimitExceeded no"}
    done = cluster.deploy("--yes")
    assert done.returncode == 1
    assert any('patch cronjob kong-configuration --type=merge --patch={"spec":{"suspend":true}}' in call for call in cluster.changes())
    assert any("delete job kong-configuration-" in call for call in cluster.changes())
    assert "is suspended until the next run" in done.stderr


def test_a_pod_that_never_became_ready_does_not_keep_its_set_from_going_back(cluster):
    cluster.world["fail_once"] = {"rollout status statefulset.apps/postgres": 1}
    cluster.world["answers"] = {"{.status.updateRevision}": "3 3 postgres-new", "get pods --selector=app.kubernetes.io/name=postgres": "postgres-0 postgres-bad\npostgres-1 postgres-new\n"}
    cluster.world["answers"] |= {"get deployments.apps,statefulsets.apps": cluster.world["workloads"]}
    assert cluster.deploy("--yes").returncode == 1
    deleted = [call.partition(" delete ")[2] for call in cluster.changes() if " delete pod " in call]
    assert {call.split()[1] for call in deleted} == {"postgres-0"}


def test_a_failed_step_is_left_where_that_is_wanted(cluster):
    cluster.world["fail"] = {"rollout status deployment.apps/kong": 1}
    done = cluster.deploy("--yes", "--no-undo")
    assert done.returncode == 1
    assert "left as it is" in done.stderr
    assert cluster.calls("rollout undo") == []


@pytest.mark.parametrize("call", ["get deployments.apps", "get controllerrevision"])
def test_without_a_way_back_it_does_not_begin(cluster, call):
    cluster.world["fail"] = {call: 1}
    done = cluster.deploy("--yes")
    assert done.returncode == 1
    assert "nothing could be undone" in done.stderr and "nothing was touched" in done.stderr
    assert cluster.changes() == []


@pytest.mark.parametrize("call", ["rollout undo deployment.apps/kong", "rollout status deployment.apps/kong"])
def test_an_undo_that_fails_has_an_exit_code_of_its_own(cluster, call):
    cluster.world["fail_once"] = {"rollout status deployment.apps/kong": 1}
    cluster.world["fail"] = {call: 1}
    done = cluster.deploy("--yes")
    assert done.returncode == 5
    assert "look at once" in done.stderr


def test_a_database_that_does_not_come_up_is_undone_and_what_stays_is_said(cluster):
    cluster.world["fail_once"] = {"rollout status statefulset.apps/postgres": 1}
    done = cluster.deploy("--yes")
    assert done.returncode == 1
    assert "step 2, database, failed" in done.stderr
    undone = cluster.calls("rollout undo")
    assert len(undone) == 1
    assert "statefulset.apps/postgres --to-revision=7" in undone[0]
    assert "not undone: what steps database changed in other kinds" in done.stderr
    assert cluster.applied_files() == ["namespace.yaml", "database.yaml"]


def test_what_did_not_exist_before_is_named_and_left(cluster):
    cluster.world["workloads"] = ""
    cluster.world["fail"] = {"rollout status statefulset.apps/postgres": 1}
    done = cluster.deploy("--yes")
    assert done.returncode == 1
    assert cluster.calls("rollout undo") == []
    assert "not undone: statefulset.apps/postgres did not exist before this run" in done.stderr


@pytest.mark.parametrize(("file", "step"), [("database.yaml", 2), ("kong.yaml", 3), ("policy.yaml", 4)])
def test_an_apply_that_fails_ends_the_run(cluster, file, step):
    cluster.world["fail"] = {f"{file}": 1}
    done = cluster.deploy("--yes")
    assert done.returncode == 1
    assert f"step {step}, " in done.stderr
    assert cluster.calls("port-forward") == []


def test_monitoring_that_fails_leaves_kong(cluster):
    cluster.world["fail"] = {"monitoring.yaml": 1}
    done = cluster.deploy("--yes")
    assert done.returncode == 6
    assert "step 5, monitoring, failed" in done.stderr and "Kong stays as it is" in done.stderr
    assert "20 passed" in done.stdout
    assert cluster.calls("rollout undo") == []


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_an_interrupted_run_undoes_what_it_has_changed(cluster, sent, code):
    cluster.world["slow_once"] = ["rollout status statefulset.apps/postgres"]
    process = subprocess.Popen(
        [SCRIPT, "--yes"],
        env=cluster.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Tests in the background ignore Ctrl-C, or (nohup) a terminal that is gone, and a shell cannot trap a signal
        # that it inherits as ignored.
        preexec_fn=lambda: signal.signal(sent, signal.SIG_DFL),
    )
    until("the rollout is waited for, or it is over", lambda: cluster.calls("rollout status") or process.poll() is not None)
    assert process.poll() is None
    # The signal goes only to the script, as with `kill`: it stops waiting.
    os.kill(process.pid, sent)
    _, said = process.communicate(timeout=30)
    assert process.returncode == code, said
    assert "interrupted" in said
    assert any("rollout undo statefulset.apps/postgres --to-revision=7" in call for call in cluster.changes())
