#!/bin/bash
# Shows that the part `pull` works: generates a small image, pulls and removes it in each format, and looks at the table.
# No time is asserted. criload itself fails when a digest is not the one that was made, or an image stays.
#
# containerd stands beside gantryd when its build is in the cache already. GANTRY_BIN and GANTRY_CACHE as for run.sh.
# Ends with "N passed, N failed, N skipped"; exit status 1 when something failed, 77 when nothing can run here.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../conformance/pins.sh"
[ "$(id -u)" = 0 ] || skip "the lane needs root"
trouble=$(go_trouble)
[ -z "$trouble" ] || skip "$trouble"

runtimes=gantryd
[ "$(cat "$cache/bin/containerd.version" 2>/dev/null)" != "${containerd[1]}" ] || runtimes=gantryd,containerd
passed=0 failed=0 skipped=0
out=$(mktemp)
trap 'rm -f "$out"' EXIT

# usage: try NAME COMMAND…
try() {
  local name=$1
  shift
  local status=0
  "$@" > "$out" 2>&1 || status=$?
  case $status in
    0) passed=$((passed + 1)) && echo "ok $name" ;;
    77) skipped=$((skipped + 1)) && echo "  skipped: $(tail -n 1 "$out")" ;;
    *) failed=$((failed + 1)) && cat "$out" && echo "FAILED $name" ;;
  esac
}

pull() {
  "$here/run.sh" --runtimes $runtimes --parts pull --pull-scale 0.03 --rounds 1 && python3 -B "$here/table.py" $runtimes < "$out"
}

try "image generator" env -C "$here" GOWORK=off GOFLAGS=-mod=readonly go test ./mlimage
try "pull with ${runtimes/,/ beside }" pull
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
