#!/usr/bin/env bash
# release.sh STEP …: the steps of a release that need no registry. .github/workflows/release.yml calls them in turn, see
# docs/release.md. All results go to dist/release/.
#
#   check TAG        whether the tag, Cargo.toml, the chart, the manifests and CHANGELOG.md name one version
#   notes            what CHANGELOG.md says about it
#   archive          dist/'s tollgate for this machine's architecture, and the filter, each as a .tar.gz
#   sbom             what the filter and tollgate contain, from Cargo.lock (CycloneDX; needs cargo-cyclonedx)
#   digests FILTER WASM STORE   the images' digests, for kustomize and for the chart
#   checksums        of all files there
set -euo pipefail
cd "$(dirname "$0")/.."

out=dist/release
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
images=${IMAGES:-ghcr.io/tollgate}

wrong() { echo "release: $1" >&2; exit 1; }

# Prints the section of this version, without its heading.
notes() { awk -v heading="## [$version]" 'index($0, "## [") == 1 { inside = index($0, heading) == 1; next } inside' CHANGELOG.md; }

# The same files make the same archive: they are sorted, without an owner, and dated by the commit.
pack() { # pack NAME FOLDER FILE…
  local name=$1 folder=$2
  shift 2
  tar --create --sort=name --owner=0 --group=0 --numeric-owner --mode='u=rwX,go=rX' --mtime="@$(git log -1 --format=%ct)" \
    --transform "s,^,$name/," --directory "$folder" "$@" | gzip --no-name --best >"$out/$name.tar.gz"
  echo "release: $out/$name.tar.gz"
}

mkdir -p "$out"
case ${1:-} in
  check)
    [ "${2:-}" = "v$version" ] || wrong "the tag ${2:-} is not v$version, which Cargo.toml has"
    for key in version appVersion; do
      grep -qx "$key: $version" charts/tollgate/Chart.yaml || wrong "charts/tollgate/Chart.yaml: $key is not $version"
    done
    old=$(grep -rhoE "ghcr\.io/tollgate/[a-z]+:[0-9][0-9a-z.-]*" k8s kong envoy | { grep -vE ":$version(-wasm)?$" || true; } | sort -u)
    [ -z "$old" ] || wrong "manifests name $old"
    [ -n "$(notes)" ] || wrong "CHANGELOG.md has no section [$version], or nothing in it"
    echo "release: $version"
    ;;
  notes) notes ;;
  archive)
    case $(uname -m) in x86_64) machine=amd64 ;; aarch64) machine=arm64 ;; *) wrong "no release for $(uname -m)" ;; esac
    pack "tollgate-$version-linux-$machine" dist tollgate
    pack "tollgate-filter-$version" dist tollgate.wasm tollgate.meta.json
    ;;
  sbom)
    # `describe` would write beside each Cargo.toml, where a release should leave nothing.
    for package in tollgate:. tollgate-cli:crates/cli; do
      name=${package%%:*}
      SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) cargo cyclonedx --quiet --format json --spec-version 1.5 \
        --manifest-path "${package#*:}/Cargo.toml" --override-filename release-sbom
      mv "${package#*:}/release-sbom.json" "$out/$name-$version.cdx.json"
      echo "release: $out/$name-$version.cdx.json"
    done
    find . -name release-sbom.json -not -path './target/*' -delete
    ;;
  digests)
    for digest in "${@:2}"; do [[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || wrong "$digest is no digest"; done
    [ $# -eq 4 ] || wrong "digests takes three"
    printf 'images:\n  - { name: ghcr.io/tollgate/filter, newName: %s/filter, digest: "%s" }\n  - { name: ghcr.io/tollgate/store, newName: %s/store, digest: "%s" }\n' \
      "$images" "$2" "$images" "$4" >"$out/kustomize-images.yaml"
    printf 'images:\n  filter: { repository: %s/filter, digest: "%s" }\n  store: { repository: %s/store, digest: "%s" }\n' \
      "$images" "$3" "$images" "$4" >"$out/chart-images.yaml"
    ;;
  checksums)
    cd "$out"
    rm -f SHA256SUMS
    sums=$(find . -maxdepth 1 -type f -printf '%f\n' | LC_ALL=C sort | xargs sha256sum)
    echo "$sums" >SHA256SUMS
    cat SHA256SUMS
    ;;
  *) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
esac
