#!/usr/bin/env bash
# Builds docs/ as a site into dist/site, and checks every link, in the pages as GitHub shows them and in the site.
set -euo pipefail
cd "$(dirname "$0")/.."

said=$(MDBOOK_LOG=warn mdbook build docs 2>&1) || { echo "$said" >&2; exit 1; }
# mdBook goes on where it should stop, such as after a missing page or a preprocessor's complaint.
[ -z "$said" ] || { echo "$said" >&2; exit 1; }
python3 scripts/site.py sources dist/site
python3 scripts/site.py links dist/site
