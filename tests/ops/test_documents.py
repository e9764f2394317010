"""docs/kubernetes.md and k8s/README.md, as far as they can be followed without a cluster."""

import base64
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.request

import pytest

from manifests import KUBECTL, ROOT, TOLLGATE, load, named, read
from test_deploy_overlays import unknown_flags
from test_redis import ask, free_port, running, status
from waiting import until

PAGE = (ROOT / "docs/kubernetes.md").read_text()


def section(title, page=PAGE):
    """The part of a page whose heading begins so."""
    [found] = re.findall(rf"^## {re.escape(title)}[^\n]*\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    return found


def blocks(text, kind):
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


# ── 8, an override


def override():
    """The section's consumer, what is asked of the store for it, and where in the section that stands."""
    text = section("8.")
    [put] = [one for one in re.finditer(r"^\$ curl .* -X PUT .* http://127.0.0.1:7600(/\S+/([^/\s]+)) --json '(.*)'$", text, re.MULTILINE)]
    return text, put


def test_who_gets_an_override_is_made_and_asks_before(tmp_path):
    text, put = override()
    [fragment] = blocks(text, "yaml fragment")
    [consumer] = load(fragment)[0]
    assert consumer["username"] == put[2]
    [key] = [one["key"] for one in consumer["keyauth_credentials"]]
    # It is made, Kong is told of it, it asks, and only then there is somebody to give more to.
    steps = [fragment, "scripts/kong-declarative.sh consumers.yml", "port-forward service/kong-proxy 8000:80", f"curl -si -H 'apikey: {key}' http://127.0.0.1:8000", put[0]]
    places = [text.index(step) for step in steps]
    assert places == sorted(places)
    assert text.index("422") < places[-1]
    (tmp_path / "consumers.yml").write_text(fragment)
    path = {"PATH": f"{KUBECTL.parent}:{os.environ['PATH']}"}
    whole = subprocess.run([ROOT / "scripts/kong-declarative.sh", tmp_path / "consumers.yml"], env=os.environ | path, capture_output=True, text=True, check=True)
    file = tmp_path / "kong.yml"
    file.write_text(whole.stdout)
    assert [one["username"] for one in load(whole.stdout)[0]["consumers"]] == ["anonymous", put[2]]
    assert subprocess.run([TOLLGATE, "check", file], check=False).returncode == 0


def test_the_store_refuses_an_override_for_who_has_not_asked(tmp_path):
    """Why the section begins with a consumer: the bonus names no tier."""
    _, put = override()
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    [policy] = [load(one["data"]["policy.yaml"])[0] for one in read("k8s/base/rate-limiting-configmap.yaml")]

    def given():
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{base}{put[1]}", put[3].encode(), headers, method="PUT")
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    settings = {"TOLLGATE_LISTEN": f"127.0.0.1:{port}", "TOLLGATE_BACKEND": "memory"}
    with running([TOLLGATE, "store"], env=settings, stderr=subprocess.DEVNULL, cwd=tmp_path):
        until("the store is ready", lambda: status(f"{base}/readyz") == 200)
        assert given() == 422
        asked = {"namespace": policy["namespace"], "consumer": put[2], "tier": "pro", "cost": 1}
        assert ask(f"{base}/v1/check", "", policy={"tiers": policy["tiers"]}, **asked)["allowed"]
        assert given() == 200


# ── k8s/README.md, consumers in a Secret

# What needs no cluster is the real one's to do. In this cluster there is a namespace, and nothing else yet.
EMPTY_CLUSTER = """\
#!/bin/sh
case "$*" in
  kustomize* | label* | *--dry-run=client*) exec {kubectl} "$@" ;;
  apply*) cat >> {folder}/applied ;;
  *) echo "Error from server (NotFound): $*" >&2; exit 1 ;;
esac
"""


def test_the_secret_of_consumers_is_made_before_there_is_a_kong(tmp_path):
    text = section("Consumers and their keys", (ROOT / "k8s/README.md").read_text())
    [consumer] = blocks(text, "yaml")
    (tmp_path / "consumers.yml").write_text(consumer.replace("…", "a-key-of-acme"))
    (tmp_path / "bin").mkdir()
    kubectl = tmp_path / "bin/kubectl"
    kubectl.write_text(EMPTY_CLUSTER.format(kubectl=KUBECTL, folder=tmp_path))
    kubectl.chmod(0o755)
    for folder in ("scripts", "k8s"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    first, later = blocks(text, "sh")[:2]
    path = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", first], cwd=tmp_path, env=os.environ | path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [secret] = load((tmp_path / "applied").read_text())
    assert secret["metadata"] == {"name": "kong-declarative", "namespace": "tollgate"}
    [file] = load(base64.b64decode(secret["data"]["kong.yml"]).decode())
    assert [one["username"] for one in file["consumers"]] == ["anonymous", "acme"]
    # Once Kong is there, it has to be told of another file.
    assert later == "kubectl -n tollgate rollout restart deployment/kong\n"


# ── 6, the proxy's address


@pytest.mark.parametrize(
    ("ingress", "url"),
    [
        ([{"ip": "203.0.113.7"}], "http://203.0.113.7"),
        ([{"ip": "2001:db8::7"}], "http://[2001:db8::7]"),
        ([{"hostname": "lb.example.com"}], "http://lb.example.com"),
        ([{"ip": "203.0.113.7", "hostname": "lb.example.com"}, {"ip": "2001:db8::7"}], "http://203.0.113.7"),
    ],
    ids=["IPv4", "IPv6", "a name", "more than one"],
)
def test_the_proxys_address_is_one_in_a_url(cluster, ingress, url):
    cluster.world["balancer"] = ingress
    [command] = [one for one in commands(section("6.")) if one.startswith("PROXY=")]
    script = ["bash", "-euo", "pipefail", "-c", f'{command}\necho "$PROXY"']
    done = subprocess.run(script, env=cluster.environment(), capture_output=True, text=True, check=True)
    assert done.stdout == f"{url}\n"


# ── the whole walk


def commands(text):
    return [line.removeprefix("$ ") for block in blocks(text, "console cluster") for line in block.splitlines()]


def run_nowhere():
    """Those of the page that docs/not-executed.md says nothing runs."""
    [block] = blocks((ROOT / "docs/not-executed.md").read_text(), "text")
    return [line.removeprefix("$ ") for line in block.splitlines()]


class Reader:
    """Somebody who follows the page from its top, in a copy of the repository, on a cluster that is made up."""

    def __init__(self, cluster):
        self.cluster, self.folder, self.variables, self.ran = cluster, cluster.folder / "repository", [], []
        self.folder.mkdir()
        for part in ("scripts", "k8s", "kong", "monitoring"):
            shutil.copytree(ROOT / part, self.folder / part, ignore=shutil.ignore_patterns("tollgate.wasm", "tollgate.meta.json"))
        cluster.world |= {"real_kustomize": True, "balancer": cluster.world["proxy"], "secrets": {}, "workloads": ""}

    def follow(self, text):
        for command in commands(text):
            if command not in run_nowhere():
                self.type(command)
                self.does(command)
                self.ran.append(command)

    def type(self, command):
        environment = self.cluster.environment() | {"TOLLGATE_COMMAND": str(TOLLGATE)}
        del environment["TOLLGATE_MONITORING"]
        script = ["bash", "-euo", "pipefail", "-c", "\n".join([*self.variables, command.removesuffix(" &")])]
        options = {"cwd": self.folder, "env": environment, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        if command.endswith(" &"):
            with subprocess.Popen(script, stdin=subprocess.DEVNULL, **options) as process:
                said = process.stdout.readline()
                process.kill()
            assert said.startswith("Forwarding from"), f"{command}: {said}"
            return
        # Where deploy.sh asks, the answer is yes.
        done = subprocess.run(script, input="y\n", timeout=120, check=False, **options)
        assert done.returncode == 0, f"{command}: {done.stdout}"
        if re.match("[A-Z]+=", command):
            self.variables.append(command)

    def does(self, command):
        """What the page says around the commands, and what the cluster has then."""
        applied, secrets = self.cluster.folder / "world/applied", self.cluster.world["secrets"]
        if command.startswith("cp k8s/secrets.example.yaml"):
            written = self.folder / "secrets.yaml"
            written.write_text(written.read_text().replace("CHANGE-ME", "a-value-of-mine"))
        elif command == "kubectl apply -f secrets.yaml":
            secrets |= {one["metadata"]["name"]: one["stringData"] for one in load((applied / "secrets.yaml").read_text())}
        elif "create secret generic kong-declarative" in command:
            [secret] = load((applied / "-").read_text())
            secrets["kong-declarative"] = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}


def test_the_walk_can_be_followed_where_the_cluster_says_yes(cluster):
    """That scripts, shells and kubectl take the commands, one after the other. What a cluster makes of them nobody is asked here."""
    everything = commands(PAGE)
    assert set(run_nowhere()) <= set(everything)
    reader = Reader(cluster)
    before, eighth, after = PAGE.partition("## 8.")[0], section("8."), section("Away")
    reader.follow(before)
    deployed = load((cluster.folder / "world/applied/kong.yaml").read_text())
    assert "configMap" in str(volume(deployed, "declarative"))

    [fragment] = blocks(eighth, "yaml fragment")
    (reader.folder / "consumers.yml").write_text(fragment)
    kustomization = reader.folder / "k8s/overlays/dbless/kustomization.yaml"
    kustomization.write_text(kustomization.read_text().replace("components:\n", "components:\n  - ../../components/declarative-secret\n"))
    reader.follow(eighth)
    deployed = load((cluster.folder / "world/applied/kong.yaml").read_text())
    # The pods get another template, so that nobody has to restart them.
    assert volume(deployed, "declarative")["secret"]["secretName"] == "kong-declarative"
    reader.type('[ "$ADMIN" = "Authorization: Bearer a-value-of-mine-admin-token" ]')
    reader.follow(after)

    cluster.world |= {"context": "kind-kind", "balancer": ""}
    reader.follow(section("The short way"))
    assert sorted(reader.ran) == sorted(one for one in everything if one not in run_nowhere())
    unknown, _ = unknown_flags(cluster.calls())
    assert unknown == []


def volume(documents, name):
    volumes = named(documents, "Deployment", "kong")["spec"]["template"]["spec"]["volumes"]
    return next(one for one in volumes if one["name"] == name)
