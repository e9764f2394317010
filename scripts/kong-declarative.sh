#!/usr/bin/env bash
# kong-declarative.sh [CONSUMERS]: Kong's whole file, the policy in it, as k8s/overlays/dbless gives it to Kong; and after it
# what stands in the file CONSUMERS, entries of the list `consumers` as they stand in kong/kong.yml.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)

# shellcheck source=scripts/deploy/configuration.sh
. "$here/scripts/deploy/configuration.sh"

kubectl kustomize "$here/k8s/overlays/dbless" | configuration
[ $# -eq 0 ] || sed 's/^/  /' "$1"
