#!/usr/bin/env bash
# kong-declarative.sh [CONSUMERS]: Kong's whole file, the policy in it, as k8s/overlays/dbless gives it to Kong; and after it
# what stands in the file CONSUMERS, entries of the list `consumers` as they stand in kong/kong.yml.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)

kubectl kustomize "$here/k8s/overlays/dbless" |
  awk '
    function flush() { if (kind == "ConfigMap" && found) printf "%s", text; text = kind = ""; found = 0 }
    /^---$/ { flush(); next }
    /^kind: / { kind = $2 }
    /^  kong\.yml: / { found = 1 }
    { text = text $0 "\n" }
    END { flush() }
  ' |
  # Read by kubectl: kustomize writes a text in whichever way of YAML it fits.
  kubectl label --local -f - read=here -o 'go-template={{index .data "kong.yml"}}'
[ $# -eq 0 ] || sed 's/^/  /' "$1"
