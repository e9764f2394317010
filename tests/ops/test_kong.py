"""Kong's settings are Kong's, and agree with the pods, the policy and the sample of kong/."""

import re

import pytest

from manifests import ROOT, built, environment, load, named, pod, pods, read
from test_policies import declarative, inside

SETTINGS = [
    line for line in (ROOT / "tests/ops/kong-settings.txt").read_text().splitlines() if not line.startswith("#")
]
WITH_KONG = ["dbless", "postgres", "dev"]


def known(setting):
    return any(setting == one or (one.endswith("*") and setting.startswith(one[:-1])) for one in SETTINGS)


def anonymous(documents):
    """Variables that Kong would ignore."""
    for one in pods(documents):
        for container in one.containers():
            for name in environment(container):
                if name.startswith("KONG_") and not known(name.removeprefix("KONG_").lower()):
                    yield f"{one.title}: {name}"


@pytest.mark.parametrize("overlay", WITH_KONG)
def test_kong_knows_every_setting(overlay):
    assert list(anonymous(built(overlay))) == []


def test_a_misspelt_setting_is_found():
    documents = built("dbless")
    pod(documents, "kong").container("proxy")["env"].append({"name": "KONG_WASM_FILTER_PATH", "value": "/opt/tollgate"})
    assert list(anonymous(documents)) == ["Deployment kong: KONG_WASM_FILTER_PATH"]


def keepalive_requests(settings):
    """Requests that one client connection may make; Kong's default where nothing is said."""
    return int(settings.get("KONG_NGINX_HTTP_KEEPALIVE_REQUESTS", 10_000))


def everywhere_that_kong_is_configured():
    for overlay in WITH_KONG:
        yield overlay, environment(pod(built(overlay), "kong").container("proxy"))
    yield "compose", read("kong/docker-compose.yml")[0]["services"]["kong"]["environment"]
    yield "chart", {f"KONG_{name.upper()}": value for name, value in read("kong/helm-values.yaml")[0]["env"].items()}


def test_a_clients_connection_ends_before_its_calls_make_it_slow():
    # Kong's Wasm host keeps what each call to the store took until the client's connection ends.
    for where, settings in everywhere_that_kong_is_configured():
        assert keepalive_requests(settings) <= 200, where
    assert keepalive_requests({}) > 200
    assert "`nginx_http_keepalive_requests`" in (ROOT / "docs/gateways.md").read_text()


def keeps_plans(settings, mounted):
    """Whether a Kong with such settings loads the plugin from where it is mounted."""
    paths = [path.replace("?", "kong/plugins/tollgate-plans/handler") for path in settings["KONG_LUA_PACKAGE_PATH"].split(";")]
    return "tollgate-plans" in settings["KONG_PLUGINS"].split(",") and f"{mounted}/handler.lua" in paths


def test_a_kong_whose_policy_changes_while_it_runs_keeps_its_old_plans():
    documents = built("postgres")
    kong = pod(documents, "kong")
    proxy = kong.container("proxy")
    [mounted] = [one["mountPath"] for one in proxy["volumeMounts"] if one["name"] == "plans"]
    assert keeps_plans(environment(proxy), mounted)
    [volume] = [one for one in kong.spec["volumes"] if one["name"] == "plans"]
    assert set(named(documents, "ConfigMap", volume["configMap"]["name"])["data"]) == {"handler.lua", "schema.lua"}

    compose = read("kong/docker-compose.yml")[0]["services"]["kong"]
    [mounted] = [one.split(":")[1] for one in compose["volumes"] if one.startswith("./plugins/tollgate-plans:")]
    assert keeps_plans(compose["environment"], mounted)
    assert not keeps_plans(compose["environment"], "/elsewhere")


def test_the_chart_is_given_settings_that_kong_knows():
    for setting in read("kong/helm-values.yaml")[0]["env"]:
        assert known(setting), setting


def listens(value):
    """Ports of a KONG_…_LISTEN, and whether they speak TLS."""
    return {int(re.match(r"\S+:(\d+)", one.strip())[1]): " ssl" in one for one in value.split(",")}


@pytest.mark.parametrize("overlay", WITH_KONG)
def test_kong_listens_where_its_ports_are(overlay):
    documents = built(overlay)
    proxy = pod(documents, "kong").container("proxy")
    settings = environment(proxy)
    ports = {one["name"]: one["containerPort"] for one in proxy["ports"]}
    assert listens(settings["KONG_PROXY_LISTEN"]) == {ports["proxy"]: False, ports["proxy-tls"]: True}
    # Without a database the Admin API changes nothing: it is the pod's own.
    if overlay == "postgres":
        assert listens(settings["KONG_ADMIN_LISTEN"]) == {ports["admin"]: False}
    else:
        assert settings["KONG_ADMIN_LISTEN"] == "127.0.0.1:8001" and "admin" not in ports
    assert listens(settings["KONG_STATUS_LISTEN"]) == {ports["status"]: False}
    assert settings["KONG_ADMIN_GUI_LISTEN"] == "off"


def test_the_chart_and_ours_have_the_same_ports_and_settings():
    [values] = read("kong/helm-values.yaml")
    documents = built("dbless")
    proxy = pod(documents, "kong").container("proxy")
    ports = {one["name"]: one["containerPort"] for one in proxy["ports"]}
    chart = {
        "proxy": values["proxy"]["http"],
        "proxy-tls": values["proxy"]["tls"],
        "status": values["status"]["http"],
    }
    assert {name: one["containerPort"] for name, one in chart.items()} == ports
    settings = environment(proxy)
    for name, value in values["env"].items():
        assert settings[f"KONG_{name.upper()}"] == value, name
    assert proxy["lifecycle"] == values["lifecycle"] and proxy["resources"] == values["resources"]
    assert proxy["image"] == f"{values['image']['repository']}:{values['image']['tag']}"
    assert pod(documents, "kong").spec["terminationGracePeriodSeconds"] == values["terminationGracePeriodSeconds"]
    assert values["admin"] == {"enabled": False} and values["env"]["admin_listen"].startswith("127.0.0.1:")
    scaled = named(documents, "HorizontalPodAutoscaler", "kong")["spec"]
    assert {field: values["autoscaling"][field] for field in ("minReplicas", "maxReplicas", "metrics", "behavior")} == {
        field: scaled[field] for field in ("minReplicas", "maxReplicas", "metrics", "behavior")
    }
    ours, theirs = pod(documents, "kong").container("store"), values["deployment"]["initContainers"][1]
    for field in ("image", "restartPolicy", "env", "ports", "livenessProbe", "startupProbe", "resources", "volumeMounts"):
        assert ours[field] == theirs[field], field
    ours, theirs = pod(documents, "kong").container("filter"), values["deployment"]["initContainers"][0]
    for field in ("image", "command", "resources", "volumeMounts"):
        assert ours[field] == theirs[field], field


@pytest.mark.parametrize("overlay", WITH_KONG)
def test_the_filter_is_where_kong_looks_for_it(overlay):
    kong = pod(built(overlay), "kong")
    proxy, filter = kong.container("proxy"), kong.container("filter")
    folder = environment(proxy)["KONG_WASM_FILTERS_PATH"]
    [there] = [one for one in proxy["volumeMounts"] if one["mountPath"] == folder]
    [from_there] = [one for one in filter["volumeMounts"] if one["name"] == there["name"]]
    assert there["readOnly"] and filter["command"][-1] == f"{from_there['mountPath']}/"
    assert [one.rsplit("/")[-1] for one in filter["command"][1:-1]] == ["tollgate.wasm", "tollgate.meta.json"]


@pytest.mark.parametrize("overlay", WITH_KONG)
def test_kong_has_the_memory_token_and_store_that_the_policy_names(overlay):
    documents = built(overlay)
    kong = pod(documents, "kong")
    settings = environment(kong.container("proxy"))
    [(_, policy)] = [found for found in inside(load(declarative(overlay)), "") if "store" in found[1]]
    # As in kong/docker-compose.yml, where the end-to-end suite computes it from the same number of clients.
    composed = read("kong/docker-compose.yml")[0]["services"]["kong"]["environment"]
    zone = "KONG_NGINX_WASM_SHM_KV_TOLLGATE"
    assert settings[zone] == composed[zone] and policy["memory"]["clients"] == 65536

    store = kong.container("store")
    [port] = store["ports"]
    assert store["restartPolicy"] == "Always"
    assert policy["store"]["upstream"] == f"127.0.0.1:{port['containerPort']}"
    listen = environment(store)["TOLLGATE_LISTEN"]
    assert listen.endswith(f":{port['containerPort']}")
    token = policy["store"].get("token")
    if token is None:
        # Without tokens a store stays on loopback: it does not start elsewhere.
        assert overlay == "dev" and listen.startswith("127.0.0.1:")
        assert "TOLLGATE_ADMIN_TOKEN_FILE" not in environment(store)
    else:
        assert token == {"env": settings["KONG_NGINX_MAIN_ENV"]} and token["env"] in settings
        [given] = [one for one in kong.container("proxy")["env"] if one["name"] == token["env"]]
        file = environment(store)["TOLLGATE_GATEWAY_TOKEN_FILE"]
        assert given["valueFrom"]["secretKeyRef"] == {"name": "tollgate-store", "key": file.rsplit("/")[-1]}


def test_kongs_configuration_is_the_samples_with_an_upstream_that_is_checked():
    [ours], [sample] = load(declarative("dbless")), read("kong/kong.yml")
    service, other = ours["services"][0], sample["services"][0]
    assert service["routes"] == other["routes"] and service["plugins"] == other["plugins"]
    assert ours["plugins"] == sample["plugins"]
    names = {one["name"] for one in service["plugins"] + ours["plugins"]}
    assert names == {
        "key-auth",
        "jwt",
        "cors",
        "request-transformer",
        "acl",
        "pre-function",
        "post-function",
        "prometheus",
    }
    assert ours["consumers"] == [one for one in sample["consumers"] if one["username"] == "anonymous"]
    assert not re.search("keyauth_credentials|jwt_secrets|basicauth", declarative("dbless")), "keys in a ConfigMap"

    [upstream] = ours["upstreams"]
    assert service["host"] == upstream["name"]
    checks = upstream["healthchecks"]
    assert checks["active"]["healthy"]["interval"] > 0 and checks["active"]["unhealthy"]["interval"] > 0
    assert checks["passive"]["unhealthy"]["http_failures"] > 0
    # Its own 429 says nothing about whether a target is well.
    assert 429 not in checks["passive"]["unhealthy"]["http_statuses"]
    # The check costs nobody anything, and its path is free.
    assert {"path": checks["active"]["http_path"], "cost": 0} in service["filter_chains"][0]["filters"][0]["config"][
        "endpoints"
    ]
    # Kong may go where the target is.
    port = int(upstream["targets"][0]["target"].rsplit(":")[-1])
    assert service["port"] == port
    out = named(built("dbless"), "NetworkPolicy", "kong")["spec"]["egress"]
    assert port in [one["port"] for rule in out for one in rule["ports"]]


def test_the_sample_upstream_is_where_the_sample_says():
    documents = built("dev")
    [sample] = load(declarative("dev"))
    host, port = sample["services"][0]["url"].removeprefix("http://").split(":")
    service = named(documents, "Service", host)
    assert service["spec"]["ports"][0]["port"] == int(port)
    upstream = pod(documents, "upstream")
    assert upstream.ports()["http"] == int(port) and upstream.container("upstream")["command"][-1] == port
