"""Kong's chart makes pods from kong/helm-values.yaml that Kubernetes accepts, and that keep the same rules as ours.

`make k8s-check CHART=…` runs it, `make test` does not: Kong's chart is in no registry that CI reaches.
"""

import os
import subprocess

import yaml

from manifests import KUBECTL, ROOT, built, kinds, kustomize, load, matches, named, pod, pods, title
from rules import OF_THE_CHART, alternatives, endings, references, restricted
from test_helm import VALUES, chart_version
from test_manifests import validate

CHART = os.environ["CHART"]


def rendered():
    [made] = [one["metadata"]["name"] for one in kinds(built("helm"), "ConfigMap") if "kong.yml" in one["data"]]
    command = [KUBECTL.parent / "helm", "template", "kong", CHART, "--namespace", "tollgate", "--values", ROOT / VALUES]
    # With Prometheus' operator there: the chart asks for what the cluster knows.
    command += ["--set", f"dblessConfig.configMap={made}", "--api-versions", "monitoring.coreos.com/v1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return load(done.stdout)


def test_the_chart_is_the_one_that_is_meant():
    with open(f"{CHART}/Chart.yaml") as file:
        assert yaml.safe_load(file)["version"] == chart_version()


def test_kubernetes_knows_every_field():
    for document in rendered():
        validate(document)


def test_its_pods_are_like_ours():
    ours = pod(built("dbless"), "kong")
    theirs = next(one for one in pods(rendered()) if one.owner["kind"] == "Deployment")
    assert {"proxy", "store", "filter"} <= {one["name"] for one in theirs.containers()}
    for name, port in ours.ports().items():
        assert theirs.ports()[name] == port


def test_kong_and_the_stores_beside_it_are_found():
    theirs = next(one for one in pods(rendered()) if one.owner["kind"] == "Deployment")
    service = named(built("helm"), *OF_THE_CHART.split())
    assert matches({"matchLabels": service["spec"]["selector"]}, theirs.labels)
    for port in service["spec"]["ports"]:
        assert port["targetPort"] in (port["name"], port["port"]) and port["port"] == theirs.ports()[port["name"]]


def test_it_makes_nothing_that_is_there_already():
    ours = {title(one) for one in [*built("helm"), *kustomize(ROOT / "monitoring")]}
    assert [title(one) for one in rendered() if title(one) in ours] == []


def test_its_pods_keep_the_rules():
    documents = rendered() + built("helm")
    # The chart has no value for the first, and mounts the second only with its controller.
    its_own = (
        "kong is given a variable for every Service",
        "kong has a volume kong-token that nothing mounts",
    )
    for rule in (references, alternatives, endings, restricted):
        assert [one for one in rule(documents) if not any(own in one for own in its_own)] == [], rule.__name__
