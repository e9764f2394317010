#!/usr/bin/env bash
# kong-declarative.sh [CONSUMERS]: prints Kong's whole file with the policy, as k8s/overlays/dbless gives it to Kong, and
# then the file CONSUMERS, which has entries of the list `consumers` as kong/kong.yml has them.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)

# shellcheck source=scripts/deploy/configuration.sh
. "$here/scripts/deploy/configuration.sh"

kubectl kustomize "$here/k8s/overlays/dbless" | configuration
[ $# -eq 0 ] || sed 's/^/  /' "$1"
