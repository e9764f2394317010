#!/usr/bin/env bash
# Checks formatting, clippy on both targets, docs, licenses, shell and YAML. Warnings are errors.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo fmt --all --check
cargo fmt --manifest-path fuzz/Cargo.toml --check
cargo fmt --manifest-path bench/noop/Cargo.toml --check
cargo --locked clippy --quiet --workspace --all-targets --all-features -- -D warnings
cargo --locked clippy --quiet -p tollgate --target wasm32-wasip1 -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo --locked doc --quiet --workspace --no-deps --document-private-items
cargo --locked deny --log-level error check bans licenses sources
# The parts of deploy.sh are checked as parts, which share its variables.
.venv/bin/shellcheck --external-sources --check-sourced scripts/*.sh .ci/run
.venv/bin/yamllint --strict kong envoy k8s monitoring tests/ops .github
