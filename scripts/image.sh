#!/usr/bin/env bash
# image.sh TARGET: builds an image of the Dockerfile, named by the version in Cargo.toml. IMAGES is where it belongs. With PLATFORMS
# (linux/amd64,linux/arm64) one for each of them, which goes straight to that registry: an engine's own store holds one alone. SUFFIX
# comes after the tag.
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
images=${IMAGES:-ghcr.io/tollgate}
case ${1:-} in
  filter) name=$images/filter:$version${SUFFIX:-} ;;
  filter-wasm) name=$images/filter:$version-wasm${SUFFIX:-} ;;
  store) name=$images/store:$version${SUFFIX:-} ;;
  *)
    echo "usage: image.sh filter|filter-wasm|store" >&2
    exit 2
    ;;
esac
# The moment of the commit, so that the same sources make the same image.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
if [ -n "${PLATFORMS:-}" ]; then
  docker buildx build --platform "$PLATFORMS" --push --target "$1" --tag "$name" .
else
  docker build --target "$1" --tag "$name" .
fi
echo "image: $name"
