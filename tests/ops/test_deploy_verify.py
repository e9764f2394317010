"""The last step of scripts/deploy.sh: requests through a proxy, which here is a real little server."""

import pytest


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
def test_a_proxy_that_does_not_limit_fails_and_undoes(cluster, answers, said):
    cluster.proxy.answers = answers
    done = cluster.deploy("--yes")
    assert done.returncode == 1
    assert said in done.stderr
    assert "step 6, verify, failed" in done.stderr
    assert any("rollout undo deployment.apps/kong" in call for call in cluster.changes())


def test_routes_may_come_a_moment_later(cluster):
    cluster.proxy.late, cluster.patience = 2, "30"
    done = cluster.deploy("--yes", "--only", "verify")
    assert done.returncode == 0, done.stderr
    assert "20 passed" in done.stdout


def test_limits_that_go_again_are_no_limits(cluster):
    cluster.proxy.gone = 9
    done = cluster.deploy("--yes", "--only", "verify")
    assert done.returncode == 1
    assert "request 9: status 200 without X-Quota-Tier" in done.stderr


def test_verifying_alone_has_nothing_to_undo(cluster):
    cluster.proxy.answers = (200, {})
    done = cluster.deploy("--yes", "--only", "verify")
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
