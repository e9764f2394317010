"""The six steps of scripts/deploy.sh: their order, what belongs to which, and a run that must change nothing."""

import json
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
    assert cluster.applied_files() == ["namespace.yaml", "database.yaml", "kong.yaml", "policy.yaml", "monitoring.yaml"]
    waits = cluster.calls("rollout status")
    assert any("statefulset.apps/postgres" in call for call in waits)
    assert any("deployment.apps/kong" in call for call in waits)


def test_every_object_goes_with_its_step(cluster):
    assert cluster.deploy("--yes").returncode == 0
    assert cluster.applied("namespace.yaml") == ["Namespace tollgate"]
    assert cluster.applied("database.yaml") == [
        "ServiceAccount kong",
        "StatefulSet postgres",
        "NetworkPolicy default-deny",
    ]
    assert cluster.applied("kong.yaml") == [
        "ConfigMap kong-declarative-abc",
        "Service kong-proxy",
        "Deployment kong",
        "HorizontalPodAutoscaler kong",
    ]
    assert cluster.applied("policy.yaml") == ["CronJob kong-configuration", "ConfigMap kong-declarative-abc"]


def test_the_configuration_goes_into_the_database_at_once(cluster):
    assert cluster.deploy("--yes").returncode == 0
    [made] = cluster.calls("create job")
    name, source = made.split()[-2:]
    assert source == "--from=cronjob/kong-configuration"
    assert any(f"get job {name} " in call for call in cluster.calls())


TOO_OFTEN = "BackoffLimitExceeded it has failed too often\n"


@pytest.mark.parametrize(
    "conditions",
    [f"Failed {TOO_OFTEN}", f"FailureTarget {TOO_OFTEN}", f"FailureTarget {TOO_OFTEN}Failed {TOO_OFTEN}", "Failed PodFailurePolicy it is not Complete \n"],
    ids=["failed", "its pods still end", "its pods have ended", "what it says is no condition"],
)
def test_a_configuration_that_fails_is_not_waited_for(cluster, conditions):
    cluster.world["answers"] = {"get job ": conditions, "logs job/": "[pod/a/configuration] Error: no such plugin\n"}
    done = cluster.deploy("--yes", "--timeout", "9s")
    assert done.returncode == 1
    assert f"has failed: {conditions.splitlines()[-1].partition(' ')[2]}" in done.stderr
    assert done.stderr.count("it has failed too often") <= 1
    assert "step 4, policy, failed" in done.stderr and "has not ended" not in done.stderr
    # What it has said is the cause, and goes with the job.
    assert "[pod/a/configuration] Error: no such plugin" in done.stderr
    calls = cluster.calls("logs", "delete job")
    assert [call.split("job")[0].split()[-1] for call in calls] == ["logs", "delete"]


def test_a_configuration_that_does_not_end_is_said_to(cluster):
    cluster.world["answers"] = {"get job ": "", "logs job/": "[pod/a/admin] kong-admin: Connection refused\n"}
    done = cluster.deploy("--yes", "--timeout", "1s")
    assert done.returncode == 1
    assert "has not ended within 1s" in done.stderr and "kong-admin: Connection refused" in done.stderr


def test_a_job_that_was_made_is_named_where_nothing_else_was_touched(cluster):
    assert cluster.deploy("--yes").returncode == 0
    cluster.forget_calls()
    cluster.world["answers"] = {"get job ": f"Failed {TOO_OFTEN}"}
    done = cluster.deploy("--yes", "--only", "policy")
    [made] = cluster.calls("create job")
    assert f"nothing was touched, but that job {made.split()[-2]} was made" in done.stderr
    # Its policy is the one of before, and the pods say why it failed.
    assert cluster.calls("delete", "patch") == []


def test_it_waits_for_as_many_pods_as_the_autoscaler_keeps(cluster):
    cluster.world["ready"] = 1
    done = cluster.deploy("--yes", "--timeout", "1s")
    assert done.returncode == 1
    assert "1 of 3 pods of deployment.apps/kong are ready" in done.stderr


def test_what_does_not_come_up_is_said_why(cluster):
    cluster.world["fail"] = {"rollout status deployment.apps/kong": 1}
    cluster.world["answers"] = {"get pods ": "   kong-1: proxy: ErrImagePull no such image\n", "get events ": "   Pod kong-1: Failed: no\n"}
    done = cluster.deploy("--yes")
    assert "kong-1: proxy: ErrImagePull no such image" in done.stderr and "Pod kong-1: Failed: no" in done.stderr


def test_of_pods_that_are_ready_nothing_old_is_said(cluster):
    cluster.world["fail"] = {"rollout status deployment.apps/kong": 1}
    cluster.world["answers"] = {"   Pod {{$pod}}: ": "   Pod redis-0: \n"}
    cluster.world["answers"]["get events "] = "   Pod redis-0: FailedScheduling: unbound\n   Pod kong-1: Failed: no\n"
    done = cluster.deploy("--yes")
    assert "Pod kong-1: Failed: no" in done.stderr and "redis-0" not in done.stderr


# The fields of an object in the cluster, and who has written them.
LIVE = {
    "jsonpath={.apiVersion}": "apps/v1",
    "jsonpath={.kind}": "Deployment",
    "jsonpath={.spec}": '{"replicas":4,"template":{}}',
    "jsonpath={.metadata.labels}": '{"a":"b"}',
    "managedFields[?": '{"manager":"tollgate","a":{}} {"manager":"tollgate","b":1}',
}


def test_what_others_have_written_is_taken_over_before_anything_is_compared(cluster):
    assert cluster.deploy("--yes").returncode == 0
    cluster.forget_calls()
    cluster.world["managers"] = {"deployment/kong": "tollgate\nkube-controller-manager\nkubectl-rollout\n"}
    cluster.world["answers"] = LIVE
    done = cluster.deploy("--yes")
    assert "deployment/kong was written by others; taken over" in done.stdout
    written = [call for call in cluster.changes() if "deployment/kong" in call or "owned.json" in call]
    # The object becomes ours first, and only then loses its other owners, so an interruption loses nothing.
    assert [" patch " in call for call in written] == [False, True]
    owner = json.loads((cluster.folder / "world/applied/owner.json").read_text())
    assert owner["metadata"]["managedFields"] == [{"manager": "tollgate", "a": {}}, {"manager": "tollgate", "b": 1}]
    owned = json.loads((cluster.folder / "world/applied/owned.json").read_text())
    assert owned["spec"] == {"template": {}} and owned["metadata"]["labels"] == {"a": "b"}
    compared = cluster.calls("diff")
    everything = cluster.calls()
    assert everything.index(written[1]) < everything.index(compared[2])


def test_whatever_others_have_written_is_taken_over(cluster):
    cluster.world["managers"] = {
        # Flux's name ends like that of a Kubernetes controller.
        "deployment/kong": "kustomize-controller",
        "statefulset/postgres": "tollgate-deploy",
        "networkpolicy/default-deny": "kubectl-patch",
        "horizontalpodautoscaler/kong": "kubectl-edit",
        "service/kong-proxy": "tollgate\nkube-controller-manager",
    }
    cluster.world["answers"] = LIVE
    done = cluster.deploy("--yes")
    assert done.returncode == 0, done.stderr
    taken = [line.split()[0] for line in done.stdout.splitlines() if "was written by others; taken over" in line]
    assert sorted(taken) == ["deployment/kong", "horizontalpodautoscaler/kong", "networkpolicy/default-deny", "statefulset/postgres"]


def test_what_may_not_be_looked_at_hides_nothing_else(cluster):
    cluster.world["managers"] = {"deployment/kong": "kubectl-set", "networkpolicy/default-deny": "kubectl-edit"}
    cluster.world["hidden"] = ["networkpolicy/default-deny"]
    done = cluster.deploy(text="n\n")
    assert "deployment/kong by kubectl-set" in done.stdout
    assert "networkpolicy/default-deny by" not in done.stdout


def test_who_has_written_what_is_asked_once_a_file(cluster):
    """Each call costs the start of a kubectl and the way to the cluster."""
    assert cluster.deploy("--yes").returncode == 0
    asked = [call for call in cluster.calls("get") if "--show-managed-fields" in call and "--selector" not in call]
    # Of what database, kong and policy have; a namespace and monitoring hold nothing that could be taken over.
    assert len(asked) == 3
    kinds = [line.removeprefix("kind: ") for line in (cluster.folder / "world/asked").read_text().splitlines() if line.startswith("kind: ")]
    # Neither is what is in Secrets and ConfigMaps fetched for it.
    assert sorted(kinds) == ["CronJob", "Deployment", "HorizontalPodAutoscaler", "NetworkPolicy", "Service", "StatefulSet"]


def test_how_many_pods_there_are_stays_the_autoscalers_where_a_manifest_said_it_once(cluster):
    """If an apply gave the number up, it would be one until the autoscaler sees it."""
    cluster.world["managers"] = {"deployment/kong": "tollgate\ntollgate/replicas"}
    ours = '{"manager":"tollgate","fieldsV1":{"f:spec":{%s"f:template":{}}}}'
    cluster.world["answers"] = LIVE | {"managedFields[?": ours % '"f:replicas":{},'}
    assert "deployment/kong was written by others; taken over" in cluster.deploy("--yes").stdout
    assert json.loads((cluster.folder / "world/applied/owned.json").read_text())["spec"]["replicas"] == 4
    owner = json.loads((cluster.folder / "world/applied/owner.json").read_text())
    assert owner["metadata"]["managedFields"] == [json.loads(ours % "")]


def test_what_the_overlay_no_longer_has_goes_at_the_end(cluster):
    cluster.world["there"] = ["Service/kong-proxy", "StatefulSet/redis", "ConfigMap/old", "ConfigMap/mounted", "ServiceMonitor/kong"]
    # Anyone may copy labels, so what no apply has written is not ours.
    cluster.world["there"] += ["ConfigMap/somebodys kubectl-client-side-apply", "ConfigMap/charts helm", "ConfigMap/running"]
    cluster.world["answers"] = {"get replicasets": "configmap/mounted\n", "get pods": "configmap/running\n"}
    shown = cluster.deploy("--dry-run")
    assert "would delete statefulset/redis" in shown.stdout and cluster.changes() == []
    asked = cluster.deploy(text="n\n")
    assert "no longer in the overlay: statefulset/redis" in asked.stdout and cluster.changes() == []
    assert cluster.deploy("--yes", "--no-prune").returncode == 0
    assert [call for call in cluster.changes() if " delete " in call] == []
    assert cluster.deploy("--yes").returncode == 0
    deleted = [call.partition(" delete ")[2].split()[0] for call in cluster.changes() if " delete " in call]
    assert sorted(deleted) == ["configmap/old", "statefulset/redis"]


def test_nothing_is_deleted_where_not_all_is_well(cluster):
    cluster.world["there"] = ["StatefulSet/postgres-of-before"]
    cluster.proxy.answers = (200, {})
    done = cluster.deploy("--yes")
    assert done.returncode == 6
    assert "not deleted, since not all is well: statefulset/postgres-of-before" in done.stdout
    assert [call for call in cluster.changes() if " delete " in call] == []


def test_what_cannot_be_deleted_undoes_nothing(cluster):
    cluster.world["there"] = ["ConfigMap/old"]
    cluster.world["fail"] = {"delete configmap/old": 1}
    done = cluster.deploy("--yes")
    assert done.returncode == 6
    assert "deleting, failed" in done.stderr and cluster.calls("rollout undo") == []


def test_no_other_diff_decides_what_differs(cluster):
    assert cluster.deploy("--yes", KUBECTL_EXTERNAL_DIFF="true", CDPATH="/tmp").returncode == 0
    assert cluster.calls("diff") and not [call for call in cluster.calls() if "by another diff" in call]


def test_the_configuration_that_the_database_gets_comes_with_what_reads_it(cluster):
    assert cluster.deploy("--yes", "--only", "policy").returncode == 0
    assert cluster.applied("policy.yaml") == ["CronJob kong-configuration", "ConfigMap kong-declarative-abc"]


def test_what_would_change_is_shown_before_it_asks(cluster):
    cluster.world["managers"] = {"deployment/kong": "kubectl-set"}
    done = cluster.deploy(text="n\n")
    assert "others have written, and it will be taken back: deployment/kong by kubectl-set" in done.stdout
    assert done.stdout.index("+ something") < done.stdout.index("Deploy overlay")


def test_each_step_says_how_long_it_took(cluster):
    done = cluster.deploy("--yes")
    assert sum(line.startswith("   ok, ") and line.endswith(" s") for line in done.stdout.splitlines()) == 6


def test_a_second_run_changes_nothing(cluster):
    assert cluster.deploy("--yes").returncode == 0
    cluster.forget_calls()
    done = cluster.deploy("--yes")
    assert done.returncode == 0
    assert done.stdout.count("nothing to change") == 5
    assert [call for call in cluster.changes() if "create job" not in call] == []


def test_what_is_compared_is_what_would_be_applied(cluster):
    """A name owns fields: under another name, a field that a manifest no longer has is no difference."""
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
    cluster.world |= {"fail": {"diff": 2}, "says": 'Error from server (NotFound): namespaces "tollgate" not found'}
    done = cluster.deploy("--dry-run")
    assert done.returncode == 0, done.stderr
    assert len(cluster.calls("--dry-run=client")) == 5
    assert cluster.changes() == []


def test_a_dry_run_says_what_the_cluster_would_refuse(cluster):
    cluster.world |= {"fail": {"diff": 2}, "says": "The PodDisruptionBudget is invalid"}
    done = cluster.deploy("--dry-run")
    assert done.returncode == 1 and "The PodDisruptionBudget is invalid" in done.stdout


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
        ("database", ["namespace.yaml", "database.yaml"]),
        ("2", ["namespace.yaml", "database.yaml"]),
        ("kong", ["kong.yaml"]),
        ("3", ["kong.yaml"]),
        ("policy", ["policy.yaml"]),
        ("monitoring", ["monitoring.yaml"]),
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
    "options", [["--overlay", "prod"], ["--only", "7"], ["--only", "dance"], ["--only"], ["--force"], ["--context"], ["--timeout", "soon"], ["--timeout", "09s"]]
)
def test_wrong_usage_is_refused_before_kubectl_is_called(cluster, options):
    done = cluster.deploy(*options)
    assert done.returncode == 2
    assert cluster.calls() == []


def test_help_lists_every_exit_code_from_anywhere(tmp_path):
    done = subprocess.run([SCRIPT, "--help"], capture_output=True, text=True, check=True, cwd=tmp_path)
    for code in ["0", "1", "2", "3", "4", "5", "6", "130"]:
        assert f"\n  {code} " in done.stdout


def test_nothing_stays_behind_in_the_folder_for_temporary_files(cluster):
    folder = cluster.folder / "tmp"
    folder.mkdir()
    assert cluster.deploy("--yes", TMPDIR=str(folder)).returncode == 0
    assert list(folder.iterdir()) == []
