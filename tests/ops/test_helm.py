"""Kong's chart knows every value that it is given. helm_chart.py runs the chart itself."""

import re
import subprocess

from manifests import KUBECTL, ROOT, built, kinds, matches, read

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
    for wanted in ("userDefinedVolumes", "userDefinedVolumeMounts", "initContainers"):
        assert values["deployment"][wanted]


def test_a_misspelt_value_is_found():
    [values] = read(VALUES)
    values["deployment"]["initcontainers"] = values["deployment"].pop("initContainers")
    values["terminationGracePeriod"] = 60
    assert list(unknown(values)) == ["deployment.initcontainers", "terminationGracePeriod"]


def test_the_chart_reads_the_configuration_that_the_overlay_makes():
    [values] = read(VALUES)
    [command] = re.findall(r"kubectl kustomize k8s/overlays/helm \| (sed .*)\)$", (ROOT / VALUES).read_text(), re.MULTILINE)
    text = subprocess.run([KUBECTL, "kustomize", ROOT / "k8s/overlays/helm"], capture_output=True, text=True, check=True).stdout
    found = subprocess.run(["sh", "-c", command], input=text, capture_output=True, text=True, check=True).stdout.split()
    # The name has the hash of the content: otherwise the content would change under running pods.
    [made] = [one["metadata"]["name"] for one in kinds(built("helm"), "ConfigMap") if "kong.yml" in one["data"]]
    assert found == [made] and re.fullmatch("kong-declarative-[a-z0-9]{10}", made)
    assert values["dblessConfig"]["configMap"] == ""
    assert f"--version {chart_version()}" in (ROOT / VALUES).read_text()
    assert values["ingressController"]["enabled"] is False


def test_the_alerts_know_the_charts_kong():
    """By the jobs of our own monitor alone: the chart's would have the same name, and Helm installs none over another's."""
    [values] = read(VALUES)
    assert values["serviceMonitor"] == {"enabled": False}
    [monitor] = [one for one in read("monitoring/servicemonitors.yaml") if one["metadata"]["name"] == values["fullnameOverride"]]
    [service] = [one for one in kinds(built("helm"), "Service") if matches(monitor["spec"]["selector"], one["metadata"]["labels"])]
    asked = [one["port"] for one in monitor["spec"]["endpoints"]]
    assert [port["name"] for port in service["spec"]["ports"]] == asked == ["status", "store"]


def chart_version():
    return (ROOT / "tests/ops/chart-keys.txt").read_text().split("`kong` ")[1].split()[0]
