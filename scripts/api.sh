#!/usr/bin/env bash
# Sends a store of its own what its /openapi.json describes, and what it does not, by schemathesis: in less than a minute.
set -euo pipefail
cd "$(dirname "$0")/.."

tool=$PWD/.venv/bin/schemathesis
command=${TOLLGATE_COMMAND:-$PWD/dist/tollgate}
folder=$(mktemp -d)
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export TOLLGATE_GATEWAY_TOKEN=a-gateway-of-the-tests TOLLGATE_ADMIN_TOKEN=an-admin-of-the-tests

cd "$folder"
"$command" store --listen "127.0.0.1:$port" --backend redb:store.redb 2>log &
store=$!
trap 'kill "$store" 2>/dev/null; wait "$store" || true; rm -rf "$folder"' EXIT

# No document describes the bytes of leases; the store's own tests and fuzz targets send them. And the document cannot say
# which tiers are known, so a request that it allows may still be refused. A consumer whose customer ends keeps its past, so what
# was deleted can still be read.
"$tool" run "http://127.0.0.1:$port/openapi.json" --wait-for-schema 30 --header "Authorization: Bearer $TOLLGATE_ADMIN_TOKEN" \
  --exclude-path /v1/leases --exclude-checks positive_data_acceptance,use_after_free --max-examples "${API_EXAMPLES:-100}" --seed 1 \
  --warnings off --no-color
kill -0 "$store"
