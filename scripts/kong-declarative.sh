#!/usr/bin/env bash
# kong-declarative.sh [CONSUMERS]: Kong's whole file, the policy in it, as k8s/overlays/dbless gives it to Kong; and after it
# what stands in the file CONSUMERS, entries of the list `consumers` as they stand in kong/kong.yml.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)

kubectl kustomize "$here/k8s/overlays/dbless" |
  awk '/^  kong.yml: \|/ { inside = 1; next } inside && /^(    |$)/ { print substr($0, 5); next } { inside = 0 }'
[ $# -eq 0 ] || sed 's/^/  /' "$1"
