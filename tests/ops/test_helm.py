"""Kong's chart knows every value that it is given.

With TOLLGATE_KONG_CHART and TOLLGATE_HELM, the folder and Helm's program, the chart itself is asked, and its pods
keep the same rules as ours.
"""

import os
import subprocess

import kubernetes_validate
import pytest

from manifests import ROOT, built, kinds, load, pod, pods, read
from rules import endings, references, restricted

KEYS = [line for line in (ROOT / "tests/ops/chart-keys.txt").read_text().splitlines() if not line.startswith("#")]
VALUES = "kong/helm-values.yaml"


def paths(value, where=""):
    if isinstance(value, dict) and value:
        for key, below in value.items():
            yield from paths(below, f"{where}.{key}" if where else key)
    else:
        yield where


def unknown(values):
    for path in paths(values):
        if not any(path == key or (key.endswith("*") and path.startswith(key[:-1])) for key in KEYS):
            yield path


def test_the_chart_knows_every_value():
    [values] = read(VALUES)
    assert list(unknown(values)) == []
    for wanted in ("userDefinedVolumes", "userDefinedVolumeMounts", "initContainers", "sidecarContainers"):
        assert values["deployment"][wanted]


def test_a_misspelt_value_is_found():
    [values] = read(VALUES)
    values["deployment"]["sideCarContainers"] = values["deployment"].pop("sidecarContainers")
    values["terminationGracePeriod"] = 60
    assert list(unknown(values)) == ["deployment.sideCarContainers", "terminationGracePeriod"]


def test_the_chart_reads_the_configuration_that_the_overlay_makes():
    [values] = read(VALUES)
    made = [one["metadata"]["name"] for one in kinds(built("helm"), "ConfigMap")]
    assert values["dblessConfig"]["configMap"] in made
    assert f"--version {chart_version()}" in (ROOT / VALUES).read_text()
    assert values["ingressController"]["enabled"] is False


def chart_version():
    return (ROOT / "tests/ops/chart-keys.txt").read_text().split("`kong` ")[1].split()[0]


@pytest.mark.skipif("TOLLGATE_KONG_CHART" not in os.environ, reason="the chart is not in a registry that CI reaches")
def test_the_chart_makes_pods_that_keep_the_rules():
    command = [
        os.environ["TOLLGATE_HELM"],
        "template",
        "kong",
        os.environ["TOLLGATE_KONG_CHART"],
        "--namespace",
        "tollgate",
        "--values",
        ROOT / VALUES,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    chart = [one for one in load(done.stdout) if one["kind"] != "ServiceMonitor"]
    for document in chart:
        kubernetes_validate.validate(document, "1.37", strict=True)
    documents = chart + built("helm")
    ours = pod(built("dbless"), "kong")
    theirs = next(one for one in pods(chart) if one.owner["kind"] == "Deployment")
    assert {"proxy", "store", "filter"} <= {one["name"] for one in theirs.containers()}
    for name, port in ours.ports().items():
        assert theirs.ports()[name] == port
    # The chart has no value for the one, and mounts the other where its controller is.
    theirs = (
        "kong-kong is given a variable for every Service",
        "kong-kong has a volume kong-token that nothing mounts",
    )
    for rule in (references, endings, restricted):
        assert [one for one in rule(documents) if not any(own in one for own in theirs)] == [], rule.__name__
