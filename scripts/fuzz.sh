#!/usr/bin/env bash
# fuzz.sh SECONDS: runs every fuzz target for this long, starting from its committed corpus.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"

# libFuzzer's instrumentation is a nightly flag of the stable compiler that this project pins.
export RUSTC_BOOTSTRAP=1
for target in $(cargo fuzz list); do
  work=$(mktemp -d)
  corpus=("corpus/$target")
  # The golden messages, kept as they are on the wire, always have the version that is read.
  if [ -d "../tests/golden/$target" ]; then corpus+=("../tests/golden/$target"); fi
  cargo fuzz run --sanitizer none "$target" "$work" "${corpus[@]}" -- \
    -max_total_time="$1" -max_len=4096 -rss_limit_mb=2048 -verbosity=0 -print_final_stats=0
  rm -rf "$work"
  echo "fuzz: $target: nothing found in $1 s"
done
