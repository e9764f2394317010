#!/usr/bin/env bash
# ops.sh [PYTEST ARGUMENTS]: checks that the manifests, the chart, the images and what is embedded in them fit together. If
# CHART is a folder with Kong's own chart, kong/helm-values.yaml is checked against it as well.
set -euo pipefail
cd "$(dirname "$0")/.."

exec .venv/bin/python -m pytest --quiet --numprocesses auto -p no:cacheprovider tests/ops ${CHART:+tests/ops/helm_chart.py} "$@"
