"""Rules for manifests beyond their schemas. Each one yields what is wrong; test_rules.py breaks each."""

import re

from manifests import environment, kinds, matches, named, pods, secrets_to_make, title

NAMESPACE = "tollgate"
CLUSTER_WIDE = {"Namespace"}
LABELS = ["app.kubernetes.io/name", "app.kubernetes.io/component", "app.kubernetes.io/part-of"]
# These are about names and not about a workload, so they have no `component`.
UNLABELLED = {"Namespace", "NetworkPolicy"}
# It leads to pods of Kong's chart: helm_chart.py checks it.
OF_THE_CHART = "Service tollgate-sidecars"


def names(documents):
    """Each name has one object; all are in one namespace, with the usual labels."""
    seen = set()
    for document in documents:
        where, what = document["metadata"].get("namespace"), title(document)
        if what in seen:
            yield f"{what} is there twice"
        seen.add(what)
        if document["kind"] not in CLUSTER_WIDE and where != NAMESPACE:
            yield f"{what} is in the namespace {where}"
        labels = document["metadata"].get("labels", {})
        for label in LABELS if document["kind"] not in UNLABELLED | {"Secret"} else []:
            if label not in labels and not title(document).startswith("ConfigMap sample-"):
                yield f"{what} has no label {label}"
    for pod in pods(documents):
        for label in LABELS:
            if label not in pod.labels:
                yield f"{pod.title}'s pods have no label {label}"


def selectors(documents):
    """A selector of pods selects those of exactly one workload that keeps running."""
    here = pods(documents)
    for document in kinds(documents, "Deployment", "StatefulSet"):
        selector = document["spec"]["selector"]
        chosen = [pod.title for pod in here if matches(selector, pod.labels)]
        if chosen != [title(document)]:
            yield f"{title(document)} selects {chosen}"
    for document in kinds(documents, "Service", "PodDisruptionBudget"):
        if title(document) == OF_THE_CHART:
            continue
        selector = document["spec"]["selector"]
        selector = selector if document["kind"] != "Service" else {"matchLabels": selector}
        chosen = [pod.title for pod in here if matches(selector, pod.labels)]
        if len(chosen) != 1:
            yield f"{title(document)} selects {chosen}"
    for pod in here:
        spreads = pod.spec.get("topologySpreadConstraints", [])
        affinity = pod.spec.get("affinity", {}).get("podAntiAffinity", {})
        terms = [one["podAffinityTerm"] for one in affinity.get("preferredDuringSchedulingIgnoredDuringExecution", [])]
        for term in spreads + terms:
            if not matches(term["labelSelector"], pod.labels):
                yield f"{pod.title} spreads other pods than its own"
    for document in kinds(documents, "HorizontalPodAutoscaler"):
        target = document["spec"]["scaleTargetRef"]
        owner = named(documents, target["kind"], target["name"])
        if "replicas" in owner["spec"]:
            yield f"{title(document)} and {title(owner)} both say how many pods there are"
        metrics = [one["containerResource"] for one in document["spec"]["metrics"] if "containerResource" in one]
        chosen = next(pod for pod in here if pod.owner is owner)
        for metric in metrics:
            requests = chosen.container(metric["container"])["resources"]["requests"]
            if metric["name"] not in requests:
                yield f"{title(document)} measures {metric['name']}, which {metric['container']} does not request"
    for document in kinds(documents, "StatefulSet"):
        service = document["spec"]["serviceName"]
        if named(documents, "Service", service)["spec"].get("clusterIP") != "None":
            yield f"{title(document)} needs a headless Service, and {service} is none"
    for document in kinds(documents, "PodDisruptionBudget"):
        least = document["spec"]["minAvailable"]
        scalers = kinds(documents, "HorizontalPodAutoscaler")
        scaled = {one["spec"]["scaleTargetRef"]["name"]: one["spec"]["minReplicas"] for one in scalers}
        for pod in here:
            if matches(document["spec"]["selector"], pod.labels):
                replicas = scaled.get(pod.owner["metadata"]["name"], pod.owner["spec"].get("replicas", 1))
                if least >= replicas:
                    yield f"{title(document)} keeps {least} of {replicas} pods: none could ever be moved"


def _known(documents):
    """The objects that pods may refer to, with their keys."""
    known = {("ServiceAccount", "default"): set(), ("ConfigMap", "kube-root-ca.crt"): {"ca.crt"}}
    for document in documents + secrets_to_make():
        keys = (
            set(document.get("data") or {})
            | set(document.get("stringData") or {})
            | set(document.get("binaryData") or {})
        )
        known[document["kind"], document["metadata"]["name"]] = keys
    return known


def references(documents):
    """Everything that a pod refers to exists, with its key, and every mount is a volume of the pod."""
    known = _known(documents)

    def missing(pod, kind, name, key=None):
        if (kind, name) not in known:
            return [f"{pod.title} refers to {kind} {name}, which nothing makes"]
        if key is not None and key not in known[kind, name]:
            return [f"{pod.title} refers to the key {key} of {kind} {name}, which has none"]
        return []

    for pod in pods(documents):
        yield from missing(pod, "ServiceAccount", pod.spec.get("serviceAccountName", "default"))
        volumes = {volume["name"] for volume in pod.spec.get("volumes", [])}
        for claim in pod.owner["spec"].get("volumeClaimTemplates", []):
            volumes.add(claim["metadata"]["name"])
        mounted = set()
        for container in pod.containers():
            for mount in container.get("volumeMounts", []):
                mounted.add(mount["name"])
                if mount["name"] not in volumes:
                    yield f"{pod.title} mounts {mount['name']}, which is no volume of it"
            for variable in container.get("env", []):
                source = variable.get("valueFrom", {})
                for kind, field in (("Secret", "secretKeyRef"), ("ConfigMap", "configMapKeyRef")):
                    if field in source:
                        yield from missing(pod, kind, source[field]["name"], source[field]["key"])
        for unused in sorted(volumes - mounted):
            yield f"{pod.title} has a volume {unused} that nothing mounts"
        for volume in pod.spec.get("volumes", []):
            if "configMap" in volume:
                yield from missing(pod, "ConfigMap", volume["configMap"]["name"])
            if "persistentVolumeClaim" in volume:
                yield from missing(pod, "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"])
            if "secret" in volume:
                yield from missing(pod, "Secret", volume["secret"]["secretName"])
                for item in volume["secret"].get("items", []):
                    yield from missing(pod, "Secret", volume["secret"]["secretName"], item["key"])
        for container in pod.containers():
            files = [value for name, value in environment(container).items() if name.endswith("_FILE") and value]
            for file in files:
                yield from _file_is_mounted(pod, container, file, missing)


def _file_is_mounted(pod, container, file, missing):
    folder, name = file.rsplit("/", 1)
    mount = next((one for one in container["volumeMounts"] if one["mountPath"] == folder), None)
    volume = next((one for one in pod.spec["volumes"] if mount and one["name"] == mount["name"]), {})
    if "secret" not in volume:
        yield f"{pod.title}: {container['name']} reads {file}, and no Secret is mounted there"
    else:
        yield from missing(pod, "Secret", volume["secret"]["secretName"], name)


def ports(documents):
    """Services, probes and network policies name ports that the pods have; a name is the same port everywhere."""
    numbers = {}
    for pod in pods(documents):
        for name, number in pod.ports().items():
            if numbers.setdefault(name, number) != number:
                yield f"the port {name} is {numbers[name]} here and {number} in {pod.title}"
        for container in pod.containers():
            own = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                asked = container.get(probe, {}).get("httpGet", {}).get("port")
                if asked is not None and asked not in own:
                    yield f"{pod.title}: {container['name']}'s {probe} asks at {asked}, which is no port of it"
    for service in kinds(documents, "Service"):
        for pod in pods(documents):
            if matches({"matchLabels": service["spec"]["selector"]}, pod.labels):
                for port in service["spec"]["ports"]:
                    if port["targetPort"] not in pod.ports() and port["targetPort"] not in pod.ports().values():
                        yield f"{title(service)} leads to the port {port['targetPort']}, which {pod.title} has not"
                    if port["targetPort"] in pod.sidecar_ports():
                        yield f"{title(service)} names a sidecar's port, which older versions do not find"
    for policy in kinds(documents, "NetworkPolicy"):
        for rule in policy["spec"].get("ingress", []):
            for pod in pods(documents):
                if matches(policy["spec"]["podSelector"], pod.labels):
                    for port in rule.get("ports", []):
                        if port["port"] not in pod.ports().values():
                            yield f"{title(policy)} lets in to {port['port']}, which {pod.title} has not"


def probes(documents):
    """A container that keeps running has a liveness probe, and one behind a Service a readiness probe."""
    for pod in pods(documents):
        if not pod.stays():
            continue
        lasting = pod.spec["containers"] + [
            one for one in pod.spec.get("initContainers", []) if one.get("restartPolicy") == "Always"
        ]
        for container in lasting:
            if "livenessProbe" not in container:
                yield f"{pod.title}: nobody asks whether {container['name']} is alive"
        for container in pod.spec["containers"]:
            if "readinessProbe" not in container:
                yield f"{pod.title}: nobody asks whether {container['name']} is ready"


def restricted(documents):
    """The Pod Security Standard `restricted`, and this project's additions."""
    for pod in pods(documents):
        spec, whole = pod.spec, pod.spec.get("securityContext", {})
        for field in ("hostNetwork", "hostPID", "hostIPC"):
            if spec.get(field):
                yield f"{pod.title}: {field}"
        if whole.get("sysctls"):
            yield f"{pod.title}: sysctls"
        for volume in spec.get("volumes", []):
            kind = next(field for field in volume if field != "name")
            allowed = (
                "configMap",
                "csi",
                "downwardAPI",
                "emptyDir",
                "ephemeral",
                "persistentVolumeClaim",
                "projected",
                "secret",
            )
            if kind not in allowed:
                yield f"{pod.title}: a volume of kind {kind}"
            if kind == "emptyDir" and "sizeLimit" not in volume[kind]:
                yield f"{pod.title}: {volume['name']} may fill the node's disk"
        for container in pod.containers():
            where, own = f"{pod.title}: {container['name']}", container.get("securityContext", {})
            # The pod's settings apply where the container has none.
            both = whole | own
            if own.get("privileged") or own.get("procMount", "Default") != "Default":
                yield f"{where} is privileged"
            if own.get("allowPrivilegeEscalation") is not False:
                yield f"{where} may gain privileges"
            if both.get("runAsNonRoot") is not True or both.get("runAsUser") in (None, 0):
                yield f"{where} may run as root"
            if both.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
                yield f"{where} has no seccomp profile"
            capabilities = own.get("capabilities", {})
            if capabilities.get("drop") != ["ALL"] or set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
                yield f"{where} has capabilities"
            for port in container.get("ports", []):
                if "hostPort" in port:
                    yield f"{where} has a port of the node"
            if own.get("readOnlyRootFilesystem") is not True:
                yield f"{where} can write its image"
            resources = container.get("resources", {})
            if "memory" not in resources.get("limits", {}) or not {"cpu", "memory"} <= set(
                resources.get("requests", {})
            ):
                yield f"{where} does not say what it needs"
        if spec.get("automountServiceAccountToken") is not False:
            yield f"{pod.title} is given a token of the API server"
        if spec.get("enableServiceLinks") is not False:
            yield f"{pod.title} is given a variable for every Service, KONG_… among them"
    labels = named(documents, "Namespace", NAMESPACE)["metadata"]["labels"]
    if labels.get("pod-security.kubernetes.io/enforce") != "restricted":
        yield "the namespace does not enforce the standard"


SOURCES = ("value", "valueFrom")
HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")


def alternatives(documents):
    """An API server checks this, a schema does not: one of several alternatives, and each name once."""
    for pod in pods(documents):
        for volume in pod.spec.get("volumes", []):
            sources = sorted(set(volume) - {"name"})
            if len(sources) != 1:
                yield f"{pod.title}: the volume {volume['name']} comes from {sources}"
        lists = {"volumes": pod.spec.get("volumes", []), "containers": pod.containers()}
        for container in pod.containers():
            where = container["name"]
            lists |= {f"{where}'s {field}": container.get(field, []) for field in ("env", "ports")}
            for variable in container.get("env", []):
                if sum(field in variable for field in SOURCES) > 1:
                    yield f"{pod.title}: {where}'s {variable['name']} is said twice"
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                asked = [handler for handler in HANDLERS if handler in container.get(probe, {})]
                if probe in container and len(asked) != 1:
                    yield f"{pod.title}: {where}'s {probe} asks by {asked}"
            paths = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
            for path in sorted({path for path in paths if paths.count(path) > 1}):
                yield f"{pod.title}: {where} mounts two volumes at {path}"
        for what, entries in lists.items():
            here = [entry["name"] for entry in entries]
            for name in sorted({name for name in here if here.count(name) > 1}):
                yield f"{pod.title}: {name} is there twice in {what}"


def unchangeable(documents):
    """A later apply cannot change a Job's template, which every new image would. A Job that is only ever created may stay."""
    for document in kinds(documents, "Job"):
        if "generateName" not in document["metadata"]:
            yield f"{title(document)} could not be applied again once it has changed"


VERSION = re.compile(r"^[a-z0-9./-]+(:v?\d+\.\d+(\.\d+)?(-[a-z0-9.]+)*(@sha256:[0-9a-f]{64})?|@sha256:[0-9a-f]{64})$")


def images(documents):
    """Every image has a version, never the newest, and has only one."""
    versions = {}
    for pod in pods(documents):
        for container in pod.containers():
            image = container["image"]
            if not VERSION.match(image):
                yield f"{pod.title}: {image} is not pinned"
            name = re.split("[:@]", image)[0]
            if versions.setdefault(name, image) != image:
                yield f"{pod.title}: {image}, and elsewhere {versions[name]}"


def endings(documents):
    """A pod has the time that its preStop and draining may take, and a failed Job keeps its pods' logs."""
    for pod in pods(documents):
        grace = pod.spec.get("terminationGracePeriodSeconds", 30)
        for container in pod.containers():
            command = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [])
            waits = re.findall(r"(?:--wait=|--timeout=|^sleep )(\d+)", " ".join(command))
            needed = sum(int(number) for number in waits)
            if needed and grace < needed + 15:
                yield f"{pod.title}: {container['name']} takes {needed} s and more to end, of {grace}"
        strategy = pod.owner["spec"].get("strategy", {}).get("rollingUpdate", {})
        if pod.owner["kind"] == "Deployment" and pod.labels.get("app.kubernetes.io/component") in ("gateway", "store"):
            if strategy.get("maxUnavailable") != 0:
                yield f"{pod.title} has fewer pods while it is rolled"
            if "preStop" not in pod.spec["containers"][0].get("lifecycle", {}):
                yield f"{pod.title} ends before the load balancers have heard of it"
        # Else its controller deletes the pod as it gives the Job up.
        if not pod.stays() and pod.spec.get("restartPolicy") != "Never":
            yield f"{pod.title} takes what it has said with it where it fails"


RULES = [names, selectors, references, alternatives, unchangeable, ports, probes, restricted, images, endings]
