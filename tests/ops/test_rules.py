"""Every rule finds its fault in manifests broken on purpose."""

import pytest

import rules
from manifests import built, kinds, named, pod


def kong(documents):
    return pod(documents, "kong")


def proxy(documents):
    return kong(documents).container("proxy")


def volume(pod, name):
    return next(one for one in pod.spec["volumes"] if one["name"] == name)


def variable(container, name):
    return next(one for one in container["env"] if one["name"] == name)


BROKEN = {
    rules.names: [
        (lambda d: named(d, "Deployment", "kong")["metadata"].update(namespace="default"), "in the namespace default"),
        (lambda d: d.append(named(d, "Service", "redis")), "is there twice"),
        (lambda d: kong(d).labels.pop("app.kubernetes.io/part-of"), "no label app.kubernetes.io/part-of"),
        (lambda d: named(d, "Service", "redis")["metadata"]["labels"].clear(), "no label app.kubernetes.io/name"),
    ],
    rules.selectors: [
        (
            lambda d: named(d, "Service", "kong-proxy")["spec"]["selector"].update({"app.kubernetes.io/name": "kng"}),
            "Service kong-proxy selects []",
        ),
        (
            lambda d: named(d, "Deployment", "tollgate-store")["spec"]["selector"].update(matchLabels={}),
            "Deployment tollgate-store selects",
        ),
        (
            lambda d: kong(d).labels.update({"app.kubernetes.io/component": "app"}),
            "PodDisruptionBudget kong selects []",
        ),
        (lambda d: named(d, "Deployment", "kong")["spec"].update(replicas=3), "both say how many"),
        (lambda d: named(d, "PodDisruptionBudget", "kong")["spec"].update(minAvailable=3), "none could ever be moved"),
        (lambda d: named(d, "Service", "redis")["spec"].pop("clusterIP"), "needs a headless Service"),
        (lambda d: proxy(d)["resources"]["requests"].pop("cpu"), "does not request"),
        (
            lambda d: kong(d).spec["topologySpreadConstraints"][0]["labelSelector"].update(matchLabels={"a": "b"}),
            "spreads other pods",
        ),
    ],
    rules.references: [
        (
            lambda d: volume(pod(d, "kong-configuration"), "declarative")["configMap"].update(name="kong"),
            "ConfigMap kong, which nothing makes",
        ),
        (lambda d: kong(d).spec.update(serviceAccountName="kng"), "ServiceAccount kng"),
        (
            lambda d: variable(proxy(d), "TOLLGATE_GATEWAY_TOKEN")["valueFrom"]["secretKeyRef"].update(key="token"),
            "the key token of Secret tollgate-store",
        ),
        (
            lambda d: variable(kong(d).container("store"), "TOLLGATE_BACKEND")["valueFrom"]["secretKeyRef"].update(
                name="redis"
            ),
            "Secret redis",
        ),
        (lambda d: proxy(d)["volumeMounts"][0].update(name="fliter"), "mounts fliter"),
        (
            lambda d: kong(d).spec["volumes"].append({"name": "spare", "emptyDir": {}}),
            "a volume spare that nothing mounts",
        ),
        (
            lambda d: variable(kong(d).container("store"), "TOLLGATE_ADMIN_TOKEN_FILE").update(
                value="/etc/tollgate/tokens/admin"
            ),
            "the key admin of Secret",
        ),
        (
            lambda d: variable(kong(d).container("store"), "TOLLGATE_ADMIN_TOKEN_FILE").update(
                value="/etc/tokens/admin-token"
            ),
            "no Secret is mounted there",
        ),
        (
            lambda d: volume(pod(d, "redis"), "users")["secret"]["items"][0].update(key="users"),
            "the key users of Secret tollgate-redis",
        ),
        (
            lambda d: volume(pod(d, "postgres-backup"), "backup")["persistentVolumeClaim"].update(claimName="backup"),
            "PersistentVolumeClaim backup",
        ),
    ],
    rules.alternatives: [
        (lambda d: volume(kong(d), "tokens").update(configMap={"name": "plans"}), "the volume tokens comes from ['configMap', 'secret']"),
        (lambda d: volume(kong(d), "tokens").pop("secret"), "the volume tokens comes from []"),
        (lambda d: variable(proxy(d), "TOLLGATE_GATEWAY_TOKEN").update(value="a"), "TOLLGATE_GATEWAY_TOKEN is said twice"),
        (lambda d: proxy(d)["env"].append({"name": "KONG_WASM", "value": "off"}), "KONG_WASM is there twice in proxy's env"),
        (lambda d: proxy(d)["readinessProbe"].update(exec={"command": ["true"]}), "readinessProbe asks by ['exec', 'httpGet']"),
        (lambda d: proxy(d)["volumeMounts"][0].update(mountPath="/tmp"), "mounts two volumes at /tmp"),
        (lambda d: kong(d).spec["volumes"].append(volume(kong(d), "tmp")), "tmp is there twice in volumes"),
    ],
    rules.unchangeable: [
        (lambda d: d.append(named(d, "StatefulSet", "redis") | {"kind": "Job"}), "Job redis could not be applied again"),
    ],
    rules.ports: [
        (
            lambda d: named(d, "Service", "kong-metrics")["spec"]["ports"][1].update(targetPort="store"),
            "names a sidecar's port",
        ),
        (
            lambda d: named(d, "Service", "kong-metrics")["spec"]["ports"][1].update(targetPort=7601),
            "leads to the port 7601",
        ),
        (
            lambda d: named(d, "Service", "kong-proxy")["spec"]["ports"][0].update(targetPort="http"),
            "leads to the port http",
        ),
        (lambda d: proxy(d)["readinessProbe"]["httpGet"].update(port="admn"), "readinessProbe asks at admn"),
        (
            lambda d: named(d, "NetworkPolicy", "kong")["spec"]["ingress"][0]["ports"][0].update(port=8002),
            "lets in to 8002",
        ),
        (
            lambda d: pod(d, "tollgate-store").container("store")["ports"][0].update(containerPort=7601),
            "the port store is",
        ),
    ],
    rules.probes: [
        (lambda d: proxy(d).pop("readinessProbe"), "whether proxy is ready"),
        (lambda d: kong(d).container("store").pop("livenessProbe"), "whether store is alive"),
    ],
    rules.restricted: [
        (lambda d: kong(d).spec.update(hostNetwork=True), "hostNetwork"),
        (
            lambda d: kong(d).spec["volumes"].append({"name": "host", "hostPath": {"path": "/"}}),
            "a volume of kind hostPath",
        ),
        (lambda d: volume(kong(d), "prefix").update(emptyDir={}), "may fill the node's disk"),
        (lambda d: proxy(d)["securityContext"].update(privileged=True), "is privileged"),
        (lambda d: proxy(d)["securityContext"].pop("allowPrivilegeEscalation"), "may gain privileges"),
        (lambda d: kong(d).spec["securityContext"].pop("runAsNonRoot"), "may run as root"),
        (lambda d: kong(d).spec["securityContext"].update(runAsUser=0), "may run as root"),
        (lambda d: kong(d).spec["securityContext"].pop("seccompProfile"), "has no seccomp profile"),
        (lambda d: kong(d).container("filter")["securityContext"].pop("capabilities"), "has capabilities"),
        (lambda d: proxy(d)["securityContext"]["capabilities"].update(add=["SYS_ADMIN"]), "has capabilities"),
        (lambda d: proxy(d)["ports"][0].update(hostPort=80), "a port of the node"),
        (lambda d: proxy(d)["securityContext"].update(readOnlyRootFilesystem=False), "can write its image"),
        (lambda d: kong(d).container("migrations")["resources"].pop("limits"), "does not say what it needs"),
        (lambda d: kong(d).spec.pop("automountServiceAccountToken"), "a token of the API server"),
        (lambda d: kong(d).spec.pop("enableServiceLinks"), "a variable for every Service"),
        (lambda d: named(d, "Namespace", "tollgate")["metadata"]["labels"].clear(), "does not enforce"),
    ],
    rules.images: [
        (lambda d: proxy(d).update(image="kong:latest"), "kong:latest is not pinned"),
        (lambda d: proxy(d).update(image="kong"), "kong is not pinned"),
        (lambda d: proxy(d).update(image="kong:3"), "kong:3 is not pinned"),
        (lambda d: proxy(d).update(image="kong:3.9.1@sha256:12"), "is not pinned"),
        (lambda d: kong(d).container("migrations").update(image="kong:3.9.0"), "and elsewhere"),
    ],
    rules.endings: [
        (lambda d: kong(d).spec.update(terminationGracePeriodSeconds=45), "takes 45 s and more to end"),
        (
            lambda d: (
                pod(d, "tollgate-store")
                .container("store")["lifecycle"]["preStop"]["exec"]
                .update(command=["sleep", "20"])
            ),
            "takes 20 s",
        ),
        (
            lambda d: kong(d).owner["spec"]["strategy"]["rollingUpdate"].update(maxUnavailable=1),
            "fewer pods while it is rolled",
        ),
        (lambda d: proxy(d).pop("lifecycle"), "ends before the load balancers"),
        (lambda d: pod(d, "postgres-backup").spec.update(restartPolicy="OnFailure"), "takes what it has said with it"),
    ],
}
CASES = [
    pytest.param(rule, break_it, said, id=f"{rule.__name__}: {said}")
    for rule, all in BROKEN.items()
    for break_it, said in all
]


@pytest.mark.parametrize("rule, break_it, said", CASES)
def test_what_is_broken_is_found(rule, break_it, said):
    documents = built("postgres")
    break_it(documents)
    assert any(said in complaint for complaint in rule(documents)), list(rule(documents))


def test_every_rule_is_broken_once():
    assert set(BROKEN) == set(rules.RULES)
    assert kinds(built("postgres"), "CronJob")
