"""The last step of scripts/deploy.sh: requests through a proxy, which is a small real server here."""

import json
import shutil

import pytest

from deploying import OVERLAY, ROUTES, an_object


def test_the_baseline_shows_limits_and_latencies(cluster):
    done = cluster.deploy("--yes")
    assert "   X-RateLimit-Limit: 30" in done.stdout
    assert "20 passed, 0 refused (429), tier anonymous" in done.stdout
    assert "latency p50 " in done.stdout
    assert "port-forward" in done.stdout


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ((200, {}), "is served without limits"),
        ((502, {"X-Quota-Tier": "anonymous"}), "status 502"),
    ],
)
def test_a_proxy_that_does_not_limit_is_said_and_undone_only_if_told_so(cluster, answers, said):
    cluster.proxy.answers = answers
    done = cluster.deploy("--yes")
    assert done.returncode == 6
    assert said in done.stderr
    assert "step 6, verify, failed" in done.stderr and "Kong stays as it is" in done.stderr
    assert cluster.calls("rollout undo") == []
    (cluster.folder / "world/applied/kong.yaml").unlink()
    assert cluster.deploy("--yes", "--undo-verify").returncode == 1
    assert any("rollout undo deployment.apps/kong" in call for call in cluster.changes())


@pytest.mark.parametrize(
    ("routes", "asked"),
    [
        ('- { name: a, paths: ["~/v2/report$"], strip_path: false }', "/v2/report"),
        ('- { name: a, paths: ["~/v1/(.*)$", "/orders"] }', "/orders"),
        ("- name: a\n      paths:  # two\n      # the first\n      - /commented # here\n      - /never", "/commented"),
        ("- name: a\n      paths:\n      - ~/v1/report\\.json$\n      - /never", "/v1/report.json"),
        ('- { "name": "a", "paths": ["/quoted", "/never"] }', "/quoted"),
        ('- name: a\n      paths: [\n        "~/v1/(.*)$",\n        "/in-lines",\n      ]', "/in-lines"),
        ('  [{ name: a, paths: ["/first"] }, { name: b, paths: ["/never"] }]', "/first"),
        ('- { name: a, paths: ["~/v[12]/orders$", "/after-a-bracket"] }', "/after-a-bracket"),
    ],
)
def test_what_the_routes_offer_is_asked_for(cluster, routes, asked):
    cluster.overlay.write_text(OVERLAY.replace('- { name: identify, paths: ["~/identify$"] }', routes))
    done = cluster.deploy("--yes")
    assert done.returncode == 0, done.stderr
    assert f"asking for {asked}\n" in done.stdout
    assert set(cluster.proxy.paths) == {asked}


@pytest.mark.parametrize("indent", [None, 2])
def test_what_a_file_in_json_offers_is_asked_for(cluster, indent):
    """As tools write it that make Kong's file, and so its Secret: JSON is YAML."""
    routes = [{"name": "a", "paths": ["~/v1/(.*)$", "/a"]}, {"name": "b", "paths": ["/never"]}]
    file = {"services": [{"name": "api", "routes": routes, "plugins": [{"config": {"paths": ["/of-a-plugin"]}}]}]}
    text = json.dumps(file, indent=indent).replace("\n", "\n    ")
    cluster.overlay.write_text(OVERLAY.replace(ROUTES, f"data:\n  kong.yml: |\n    {text}\n"))
    done = cluster.deploy("--yes", "--only", "verify")
    assert done.returncode == 0, done.stderr
    assert "asking for /a\n" in done.stdout


def test_it_waits_for_kong_alone(cluster):
    """While Redis is away the stores are not ready but Kong serves, and that is what an operator wants to see."""
    store = an_object("Deployment", "tollgate-store", "store", api="apps/v1")
    cluster.overlay.write_text(f"{OVERLAY}---\n{store}")
    cluster.world["fail"] = {"rollout status deployment.apps/tollgate-store": 1}
    done = cluster.deploy("--yes", "--only", "verify")
    assert done.returncode == 0, done.stderr
    assert cluster.calls("rollout status")


def test_a_path_without_limits_is_passed_over(cluster):
    cluster.overlay.write_text(OVERLAY.replace('["~/identify$"]', '["/open", "/identify"]'))
    cluster.proxy.unlimited = "/open"
    done = cluster.deploy("--yes")
    assert "asking for /identify\n" in done.stdout


def test_routes_without_a_plain_path_want_one_named(cluster):
    cluster.overlay.write_text(OVERLAY.replace("~/identify$", "~/v[12]/"))
    done = cluster.deploy("--yes")
    assert done.returncode == 6 and "name one by --path" in done.stderr
    assert cluster.deploy("--yes", "--path", "/v1/").returncode == 0


def test_an_address_of_ipv6_is_one_in_a_url(cluster):
    cluster.world["balancer"] = "::1"
    done = cluster.deploy("--yes", "--only", "verify")
    assert "no limits seen at http://[::1]" in done.stderr


def test_the_key_is_no_argument_that_everybody_sees(cluster):
    curl = cluster.folder / "bin/curl"
    curl.write_text(f'#!/bin/sh\necho "$*" >> {cluster.folder}/curls\nexec {shutil.which("curl")} "$@"\n')
    curl.chmod(0o755)
    assert cluster.deploy("--yes", "--only", "verify", TOLLGATE_API_KEY="a-key-of-somebody").returncode == 0
    assert "a-key-of-somebody" not in (cluster.folder / "curls").read_text()
    assert set(cluster.proxy.keys) == {"a-key-of-somebody"}


def test_routes_may_come_a_moment_later(cluster):
    cluster.proxy.late, cluster.patience = 2, "30"
    done = cluster.deploy("--yes", "--only", "verify")
    assert done.returncode == 0, done.stderr
    assert "20 passed" in done.stdout


def test_limits_that_go_again_are_no_limits(cluster):
    cluster.proxy.gone = 9
    done = cluster.deploy("--yes", "--only", "verify")
    assert done.returncode == 6
    assert "request 9: status 200 without X-Quota-Tier" in done.stderr


def test_verifying_alone_has_nothing_to_undo(cluster):
    cluster.proxy.answers = (200, {})
    done = cluster.deploy("--yes", "--only", "verify", "--undo-verify")
    assert done.returncode == 1
    assert "nothing was touched" in done.stderr
    assert cluster.changes() == []


def test_refusals_are_no_failure(cluster):
    cluster.proxy.answers = (429, {"X-Quota-Tier": "anonymous", "Retry-After": "3"})
    done = cluster.deploy("--yes", "--url", f"http://{cluster.world['proxy']}")
    assert done.returncode == 0
    assert "0 passed, 20 refused (429)" in done.stdout
    assert cluster.calls("port-forward") == []


def test_the_load_balancers_address_comes_before_a_port_forward(cluster):
    cluster.world["balancer"] = cluster.world["proxy"]
    done = cluster.deploy("--yes", "--only", "verify")
    assert done.returncode == 0, done.stderr
    assert cluster.calls("port-forward") == []


@pytest.mark.parametrize("beside", [[], [{"ip": "203.0.113.7"}]], ids=["alone", "before an address"])
def test_a_load_balancer_that_has_a_name_is_asked_by_it(cluster, beside):
    name = cluster.world["proxy"].replace("127.0.0.1", "localhost")
    cluster.world["balancer"] = [{"hostname": name}, *beside]
    done = cluster.deploy("--yes", "--only", "verify")
    assert done.returncode == 0, done.stderr
    assert cluster.calls("port-forward") == []
    assert set(cluster.proxy.hosts) == {name}
