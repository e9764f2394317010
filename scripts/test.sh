#!/usr/bin/env bash
# test.sh [GROUP…]: runs everything that CI runs, or these groups of its steps, and first what fails fastest; the last lines
# are a summary. The workflow runs the groups side by side: a new one has to be added to .github/workflows/ci.yml.
set -euo pipefail
cd "$(dirname "$0")/.."

mapfile -t groups < <(sed -n 's/^step \([a-z]*\) .*/\1/p' scripts/test.sh | sort -u)
for group in "$@"; do
  [[ " ${groups[*]} " == *" $group "* ]] || { echo "test.sh: there is no group '$group', only: ${groups[*]}" >&2; exit 2; }
done
wanted=$*

began=$SECONDS
summary=()
step() { # step GROUP NAME COMMAND…
  [[ -z $wanted || " $wanted " == *" $1 "* ]] || return 0
  local start=$SECONDS
  echo
  echo "── $2"
  if "${@:3}"; then
    summary+=("$(printf '%-30s ok      %4d s' "$2" $((SECONDS - start)))")
  else
    summary+=("$(printf '%-30s FAILED  %4d s' "$2" $((SECONDS - start)))")
    failed=1
  fi
}

failed=0
cargo=(cargo --locked)
step lint "lint" scripts/lint.sh
step operations "manifests" scripts/ops.sh
step lint "documentation site" scripts/site.sh
step core "core and node" "${cargo[@]}" test --quiet -p tollgate-core -p tollgate-node --all-features
step store "command, store, invoices" "${cargo[@]}" test --quiet -p tollgate-cli -p tollgate-store -p tollgate-billing -p tollgate-yaml
step store "store's API, by its document" scripts/api.sh
step python "Python package" scripts/python.sh
step simulator "figures, bit for bit" "${cargo[@]}" test --quiet --profile sim -p tollgate-peers
step core "core and node on wasm32" env CARGO_TARGET_WASM32_WASIP1_RUNNER="node --no-warnings $PWD/scripts/wasi.mjs" \
  "${cargo[@]}" test --quiet -p tollgate-core -p tollgate-node --lib --target wasm32-wasip1
step host "filter on a strict host" "${cargo[@]}" test --quiet -p tollgate-host
# The faults are not made here: these tests only see that they still can be.
step simulator "simulator, faults on purpose" "${cargo[@]}" test --quiet --profile sim -p tollgate-sim -p tollgate-mutations
# The seeds change with the simulator and with what it simulates, and stay the same for the same sources: a red run can be
# repeated, and stays red until it is fixed.
sources=$(find src crates/*/src crates/store/scripts tests/sim -type f -print0 | LC_ALL=C sort -z | xargs -0 cat | sha256sum | cut -c 1-15)
step simulator "whole clusters, simulated" "${cargo[@]}" run --quiet --profile sim -p tollgate-sim -- --base "${SIM_BASE:-$((16#$sources))}" --seeds "${SIM_SEEDS:-300}"
step gateways "gateways alone" "${cargo[@]}" test --quiet -p tollgate-testkit -p tollgate-e2e --lib --bins --test envoy --test demo --test gateway --test own_gateway --test gateway_files --test documents
# These run one after the other: they put load on gateways, and on a small machine two of them would disturb each other.
step gateways "gateways that share a store" "${cargo[@]}" test --quiet -p tollgate-e2e --test shared -- --test-threads=1
free_port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
step operations "monitoring" scripts/monitoring.sh
step gateways "make run" make --no-print-directory run CHECK=1 "PORT=$free_port"
step fuzz "fuzz targets, briefly" scripts/fuzz.sh "${FUZZ_SECONDS:-8}"

echo
echo "── summary ($((SECONDS - began)) s)"
printf '%s\n' "${summary[@]}"
passed=$(printf '%s\n' "${summary[@]}" | grep -c ' ok ' || true)
echo "$passed passed, $((${#summary[@]} - passed)) failed"
exit "$failed"
