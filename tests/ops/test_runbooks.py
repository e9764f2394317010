"""promtool reads the queries in runbooks. scripts/site.py checks their names."""

import re
import subprocess

import manifests
import pytest
import yaml

RUNBOOKS = sorted(path for path in (manifests.ROOT / "docs/runbooks").glob("*.md") if path.name != "README.md")
QUERY = re.compile(r"^```promql\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("runbook", RUNBOOKS, ids=lambda path: path.stem)
def test_prometheus_can_read_every_query(runbook, tmp_path):
    queries = QUERY.findall(runbook.read_text())
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "runbook", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(queries)} rules found" in done.stdout
