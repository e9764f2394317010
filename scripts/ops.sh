#!/usr/bin/env bash
# ops.sh [PYTEST ARGUMENTS]: whether the manifests, the chart's values, the images and what is embedded in them fit together.
set -euo pipefail
cd "$(dirname "$0")/.."

exec .venv/bin/python -m pytest --quiet -p no:cacheprovider tests/ops "$@"
