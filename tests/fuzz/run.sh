#!/usr/bin/env bash
# Fuzzes one target. Usage: run.sh build/fuzz/tests/fuzz/fuzz_NAME SECONDS
# It starts from corpus/NAME and leaves an input that breaks the target in build/test-logs/fuzz_NAME-*.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target=$1 seconds=$2
name=${target##*/fuzz_}
logs=$here/../../build/test-logs
corpus=$(mktemp -d)
trap 'rm -rf "$corpus"' EXIT
mkdir -p "$logs"
seeds=("$here/corpus/$name")
[ -d "${seeds[0]}" ] || seeds=()
# Debian's abseil is not instrumented: what its containers annotate cannot be judged.
ASAN_OPTIONS=detect_container_overflow=0:allocator_may_return_null=1 \
  "$target" "$corpus" "${seeds[@]}" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=65536 \
  -print_final_stats=1 -artifact_prefix="$logs/fuzz_$name-"
