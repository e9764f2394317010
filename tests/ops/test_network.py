"""Network policies allow the flows that the documents name, and no others: every pair of pods is tried."""

import itertools

import pytest

from manifests import OVERLAYS, built, kinds, kustomize, matches, pods, read
from test_manifests import copy_of_k8s

NAMESPACE = "tollgate"


class Place:
    """An end of a connection: a pod of ours, or a place outside."""

    def __init__(self, name, labels, namespace=NAMESPACE, namespace_labels=None, ports=(), address=None):
        self.name, self.labels, self.namespace, self.ports, self.address = name, labels, namespace, ports, address
        self.namespace_labels = {"kubernetes.io/metadata.name": namespace} | (namespace_labels or {})


def ours(documents):
    # Jobs of one kind count once.
    return [
        Place(pod.owner["metadata"]["name"], pod.labels, ports=set(pod.ports().values())) for pod in pods(documents)
    ]


OUTSIDE = [
    Place("the world", None, namespace=None, address="203.0.113.7"),
    Place("any pod", {"app": "any"}, "default"),
    Place("any pod here", {"app": "any"}),
    Place("prometheus", {"app.kubernetes.io/name": "prometheus"}, "monitoring"),
    Place("a false prometheus", {"app.kubernetes.io/name": "prometheus"}, "default"),
    Place("an administrator", {"tollgate/kong-admin": "true"}),
    Place("an administrator elsewhere", {"tollgate/kong-admin": "true"}, "default"),
    Place("an application", {"tollgate/store-client": "true"}, "shop"),
    Place("an application here", {"tollgate/store-client": "true"}),
    Place("the API", {"tollgate/upstream": "true"}, "shop", ports={8080, 9090}),
    # The sample's target is here.
    Place("the API here", {"tollgate/upstream": "true"}, ports={8080, 9090}),
    Place("dns", {"k8s-app": "kube-dns"}, "kube-system", ports={53}),
    Place("a database elsewhere", None, namespace=None, ports={5432, 6379}, address="10.20.30.40"),
]


def meets(peer, place):
    if "ipBlock" in peer:
        return place.address is not None and place.address.startswith("10.")
    if place.labels is None:
        return False
    spaces = peer.get("namespaceSelector")
    if spaces is None and place.namespace != NAMESPACE:
        return False
    if spaces is not None and not matches(spaces, place.namespace_labels):
        return False
    return matches(peer.get("podSelector", {}), place.labels)


def allows(policies, direction, field, here, there, port):
    """Whether the policies of `here` let it reach `there`. A pod that no policy selects may do anything."""
    if here.labels is None or here.namespace != NAMESPACE:
        return True
    chosen = [
        one["spec"]
        for one in policies
        if direction in one["spec"]["policyTypes"] and matches(one["spec"]["podSelector"], here.labels)
    ]
    if not chosen:
        return True
    for spec in chosen:
        for rule in spec.get(direction.lower(), []):
            to_port = "ports" not in rule or port in [one["port"] for one in rule["ports"]]
            to_place = field not in rule or any(meets(peer, there) for peer in rule[field])
            if to_port and to_place:
                return True
    return False


def flows(documents):
    policies = kinds(documents, "NetworkPolicy")
    places = ours(documents)
    found = set()
    # Our policies do not cover flows between two places outside.
    for source, target in itertools.product(places + OUTSIDE, repeat=2):
        if source is target or (source in OUTSIDE and target in OUTSIDE and source.namespace != NAMESPACE):
            continue
        for port in target.ports:
            if allows(policies, "Egress", "to", source, target, port) and allows(
                policies, "Ingress", "from", target, source, port
            ):
                found.add((source.name, target.name, port))
    return found


def expected(overlay):
    jobs = ["kong-configuration", "postgres-backup"] if overlay == "postgres" else []
    kong = [] if overlay == "helm" else ["kong"]
    running = kong + ["tollgate-store", "redis"] + jobs
    if overlay == "postgres":
        running.append("postgres")
    if overlay == "dev":
        running.append("upstream")
    wanted = {(one, "dns", 53) for one in running + [place.name for place in OUTSIDE if place.namespace == NAMESPACE]}
    # These places are not in this namespace, from which nothing goes out that is not named.
    world = {place.name for place in OUTSIDE if place.namespace != NAMESPACE}
    for gateway in kong:
        wanted |= {(one, gateway, port) for one in world for port in (8000, 8443)}
        wanted |= {("prometheus", gateway, 8100), ("prometheus", gateway, 7600)}
        wanted |= {(gateway, "the API", 8080), (gateway, "the API here", 8080), (gateway, "redis", 6379)}
    wanted |= {
        ("prometheus", "tollgate-store", 7600),
        ("an application", "tollgate-store", 7600),
        ("an application here", "tollgate-store", 7600),
        ("tollgate-store", "redis", 6379),
    }
    if overlay == "postgres":
        clients = [one for one in ["kong", *jobs] if one != "kong-configuration"]
        wanted |= {(one, "postgres", 5432) for one in clients}
        wanted |= {(one, "kong", 8001) for one in ("kong-configuration", "an administrator")}
    if overlay == "dev":
        wanted.add(("kong", "upstream", 8080))
    return wanted


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_exactly_the_flows_that_are_named(overlay):
    assert flows(built(overlay)) == expected(overlay)


def test_charts_pods_are_let_through_as_ours_are():
    documents = built("helm")
    labels = read("kong/helm-values.yaml")[0]["podLabels"]
    chart = Place("kong", labels, ports={8000, 8001, 8100, 7600})
    redis = next(place for place in ours(documents) if place.name == "redis")
    policies = kinds(documents, "NetworkPolicy")
    assert allows(policies, "Egress", "to", chart, redis, 6379) and allows(
        policies, "Ingress", "from", redis, chart, 6379
    )
    assert not allows(policies, "Ingress", "from", chart, OUTSIDE[1], 8001)


def test_a_managed_redis_is_reached_at_its_address_alone(tmp_path):
    overlay = copy_of_k8s(tmp_path) / "overlays/dbless"
    kustomization = overlay / "kustomization.yaml"
    kustomization.write_text(kustomization.read_text().replace("redis-trial", "redis-managed"))
    found = flows(kustomize(overlay))
    assert {(one, "a database elsewhere", 6379) for one in ("kong", "tollgate-store")} <= found
    assert not [flow for flow in found if flow[1:] == ("a database elsewhere", 5432)]
    assert found - expected("dbless") == {(one, "a database elsewhere", 6379) for one in ("kong", "tollgate-store")}


def test_without_the_default_nothing_would_be_refused():
    documents, closed = built("dbless"), built("dbless")
    for policy in [one for one in kinds(documents, "NetworkPolicy") if one["metadata"]["name"] == "tollgate-store"]:
        documents.remove(policy)
        closed.remove(policy)
    for policy in [one for one in kinds(documents, "NetworkPolicy") if one["metadata"]["name"] == "default-deny"]:
        documents.remove(policy)
    flow = ("any pod", "tollgate-store", 7600)
    assert flow in flows(documents) and flow not in flows(closed)
