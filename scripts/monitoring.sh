#!/usr/bin/env bash
# Checks monitoring/: the rules and their tests, the Alertmanager example, and every expression on a real Prometheus that
# scrapes real gateways. `monitoring.sh pictures` draws docs/pictures/dashboard-*.png again, which takes a quarter of an
# hour.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "${1:-check}" = pictures ]; then
  # Nothing else needs the plotting library.
  cmp -s monitoring/requirements.txt .cache/pictures/requirements.txt || {
    python3 -m venv .cache/pictures
    .cache/pictures/bin/python -m pip install --quiet --disable-pip-version-check --requirement monitoring/requirements.txt
    cp monitoring/requirements.txt .cache/pictures/
  }
  exec cargo --locked run --quiet -p tollgate-e2e --bin tollgate-pictures
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# Prometheus reads the rules as they are under spec.
sed '1,/^spec:$/d; s/^  //' monitoring/prometheusrule.yaml >"$scratch/rules.yaml"
cp monitoring/rules.test.yaml "$scratch/"
promtool check rules "$scratch/rules.yaml"
promtool test rules "$scratch/rules.test.yaml"

amtool check-config monitoring/alertmanager.yaml
while read -r severity receiver; do
  amtool config routes test --config.file monitoring/alertmanager.yaml --verify.receivers="$receiver" \
    "severity=$severity" </dev/null >/dev/null 2>&1 || { echo "severity $severity does not go to $receiver" >&2; exit 1; }
done <<<$'critical pager\nwarning team\ninfo customers'

cargo --locked test --quiet -p tollgate-e2e --test monitoring
