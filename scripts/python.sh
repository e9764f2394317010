#!/usr/bin/env bash
# python.sh [wheel|bench]: builds the Python package, then checks it and tests it with the newest and the lowest versions of
# what it is used with. `wheel` builds what a release has: a wheel for this machine and the sources, in dist/release. `bench`
# makes the environment in which the benchmark runs.
set -euo pipefail
cd "$(dirname "$0")/.."

root=$PWD
tools=$root/.venv/bin
# A folder of its own: the interpreter that Cargo finds here is not the one that it finds elsewhere, and nothing should be
# compiled anew because of that.
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")/python
export CARGO_TARGET_DIR=$target TOLLGATE_COMMAND=${TOLLGATE_COMMAND:-$root/dist/tollgate}

"$tools/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  { echo "python.sh: the package needs Python 3.11 or newer: make .venv with one (python3.11 -m venv .venv)" >&2; exit 2; }

build() { # build FOLDER FLAGS…: a wheel, and nothing else of its kind beside it
  rm -f "$1"/tollgate-*.whl
  (cd python && "$tools/maturin" build --quiet --locked --interpreter "$tools/python" --out "$1" "${@:2}")
}

sources() { # sources FOLDER: the package's sources
  (cd python && "$tools/maturin" sdist --out "$1" 2>/dev/null)
}

environment() { # environment NAME PACKAGES WHEELS: one with the packages in a file, and the wheel in a folder
  local folder=$target/$1 packages=$2
  if ! cmp -s "$packages" "$folder/packages.txt"; then
    rm -rf "$folder"
    "$tools/python" -m venv "$folder"
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$packages"
    cp "$packages" "$folder/packages.txt"
  fi
  "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall "$3"/tollgate-*.whl
}

if [ "${1:-}" = wheel ]; then
  # Both by one call would build the wheel from the sources' smaller workspace, whose lock file differs.
  build "$root/dist/release" --profile wheel
  sources "$root/dist/release"
  ls -1 "$root"/dist/release/tollgate-*
  exit
fi

if [ "${1:-}" = bench ]; then
  build "$target/wheels-bench" --profile wheel
  environment bench bench/python/requirements.txt "$target/wheels-bench"
  exit
fi

# Overflows are failures in this profile.
build "$target/wheels" --profile sim
sources "$target/wheels"
environment newest python/tests/newest.txt "$target/wheels"
environment lowest python/tests/lowest.txt "$target/wheels"

cd python
"$tools/ruff" format --quiet --check .
"$tools/ruff" check --quiet .
"$tools/ruff" format --quiet --check --config pyproject.toml ../bench/python
"$tools/ruff" check --quiet --config pyproject.toml ../bench/python
"$tools/mypy" --python-executable "$target/newest/bin/python" --cache-dir "$target/mypy"
"$tools/pyright" --pythonpath "$target/newest/bin/python"
timeout 900 "$target/newest/bin/pytest" --quiet -p no:cacheprovider
timeout 600 "$target/lowest/bin/pytest" --quiet -p no:cacheprovider -W default tests/test_{asgi,callers,fastapi,servers,telemetry}.py -k 'not share_one_limit'
