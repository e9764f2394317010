#!/usr/bin/env bash
# image.sh TARGET: builds an image of the Dockerfile, tagged with the version in Cargo.toml. IMAGES is its repository. With
# PLATFORMS (linux/amd64,linux/arm64) it builds one for each and pushes them at once, since an engine's own store holds only
# one. SUFFIX is added to the tag.
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
# The time of the commit makes the same image from the same sources.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
if [ -n "${PLATFORMS:-}" ]; then
  docker buildx build --platform "$PLATFORMS" --push --target "$1" --tag "$name" .
else
  docker build --target "$1" --tag "$name" .
fi
echo "image: $name"
