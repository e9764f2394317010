#!/usr/bin/env bash
# valkey.sh: runs the store's backend suite on Valkey instead of Redis (Debian: valkey-server, in trixie and
# bookworm-backports).
set -euo pipefail
cd "$(dirname "$0")/.."

if ! server=$(command -v valkey-server) || ! client=$(command -v valkey-cli); then
  echo "valkey-server and valkey-cli are not installed (Debian: apt-get install valkey-server)" >&2
  exit 2
fi
# Valkey's programs behave according to the name under which they are called; the tests know Redis's names.
names=$(mktemp -d)
trap 'rm -rf "$names"' EXIT
ln -s "$server" "$names/redis-server"
ln -s "$server" "$names/redis-sentinel"
ln -s "$client" "$names/redis-cli"
export PATH="$names:$PATH"
redis-server --version
cargo --locked test -p tollgate-store --test backends
cargo --locked test -p tollgate-store --test health redis::
cargo --locked test -p tollgate-store --lib equal_tests
