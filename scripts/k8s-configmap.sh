#!/usr/bin/env bash
# Puts the built filter where k8s/components/filter-configmap makes a ConfigMap from it.
set -euo pipefail
cd "$(dirname "$0")/.."

component=k8s/components/filter-configmap
bytes=$(cat dist/tollgate.wasm dist/tollgate.meta.json | wc -c)
# Kubernetes' limit is 1 MiB, and base64 does not count.
if [ "$bytes" -ge 1048576 ]; then
  echo "k8s-configmap: the filter has $bytes bytes, and a ConfigMap holds less than 1048576: use the image instead" >&2
  exit 1
fi
install -m 644 dist/tollgate.wasm dist/tollgate.meta.json "$component/"
sha256sum "$component/tollgate.wasm" "$component/tollgate.meta.json"
echo "k8s-configmap: $bytes bytes. Add it to an overlay, components: [../../components/filter-configmap], and apply that by"
echo "kubectl apply --server-side: without, kubectl keeps a copy in an annotation, which is too small for it"
