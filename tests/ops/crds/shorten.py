"""shorten.py FILE…: keeps of owners' CustomResourceDefinitions what a test needs: each kind's schema of `spec`, without prose.

It also drops CEL rules (x-kubernetes-validations), which nothing here could evaluate. README.md says where files come from.
"""

import json
import pathlib
import sys

import yaml

HERE = pathlib.Path(__file__).resolve().parent
KINDS = {
    "extensions.istio.io/v1alpha1": ["WasmPlugin"],
    "networking.istio.io/v1": ["DestinationRule", "ServiceEntry"],
    "security.istio.io/v1": ["RequestAuthentication"],
    "gateway.envoyproxy.io/v1alpha1": ["ClientTrafficPolicy", "EnvoyExtensionPolicy", "EnvoyProxy", "SecurityPolicy"],
    "monitoring.coreos.com/v1": ["PodMonitor", "PrometheusRule", "ServiceMonitor"],
}
PROSE = ("description", "example", "x-kubernetes-validations")


def shortened(schema):
    if isinstance(schema, list):
        return [shortened(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    short = {}
    for key, value in schema.items():
        if key == "properties":
            # These are names of fields, one of which may be `description`.
            short[key] = {name: shortened(one) for name, one in value.items()}
        elif key not in PROSE:
            short[key] = shortened(value)
    return short


def main(files):
    for file in files:
        for document in yaml.safe_load_all(pathlib.Path(file).read_text()):
            if not document or document["kind"] != "CustomResourceDefinition":
                continue
            group, kind = document["spec"]["group"], document["spec"]["names"]["kind"]
            for version in document["spec"]["versions"]:
                api = f"{group}/{version['name']}"
                if kind in KINDS.get(api, []):
                    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
                    made = {"apiVersion": api, "kind": kind, "spec": shortened(spec)}
                    (HERE / f"{kind}.json").write_text(json.dumps(made, separators=(",", ":"), sort_keys=True) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
