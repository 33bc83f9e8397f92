#!/bin/bash
# Runs critest's validation specs against a private gantryd and compares the outcome, spec by spec, with expected.txt and
# skipped.txt. Everything that it needs is built first (tools.sh), once.
#
#   run.sh [--runtime gantryd|containerd] [--focus REGEX] [--websocket] [--parallel N] [--apparmor] [--newer]
#          [--update] [--keep]
#
#   --runtime containerd  tests the peer instead: it shows that the lane is sound
#   --focus REGEX         only these specs; nothing is said about the others
#   --websocket           exec, attach and port-forward over WebSocket instead of SPDY. A run of all specs does the
#                         streaming ones once more with it
#   --parallel N          all specs once, on N nodes at a time
#   --apparmor            only the specs of AppArmor, which must pass here: for a kernel that has it
#   --newer               the specs of a newer critest
#   --update              writes what passed into expected.txt
#   --keep                leaves the runtime's folder, with its log, in place
#   GANTRYD_SOCKET=PATH   tests the CRI server that listens there, in the network where it runs. It must take images of
#                         registry.k8s.io, k8s.gcr.io, gcr.io, public.ecr.aws from 127.0.0.1:$REGISTRY_PORT (5000)
#   GANTRY_BIN, GANTRY_CACHE, CNI_BIN, LOG_LEVEL, OUT (folder of the reports, default in the cache)
#
# Exit status: 0 as expected, 1 not, 77 the lane cannot run here (said why).
set -euo pipefail
. "$(dirname "$0")/pins.sh"

runtime=gantryd focus="" websocket="" parallel="" apparmor="" newer="" keep="" report_options=()
arguments=("$@")
while [ $# -gt 0 ]; do
  case $1 in
    --runtime) runtime=$2; shift ;;
    --focus) focus=$2; report_options+=(--partial); shift ;;
    --websocket) websocket=1 ;;
    --parallel) parallel=$2; shift ;;
    --apparmor) apparmor=1 focus=AppArmor ;;
    --newer) newer=1 ;;
    --update) report_options+=(--update) ;;
    --keep) keep=1 ;;
    *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 2 ;;
  esac
  shift
done
[[ $runtime = gantryd || $runtime = containerd ]] || die "unknown runtime $runtime"
out=${OUT:-$cache/report/$runtime}

if [ -z "${LANE_ISOLATED:-}" ]; then
  "$lane/tools.sh"
  [ $runtime = gantryd ] || "$lane/tools.sh" containerd runc
  [ -z "$newer" ] || "$lane/tools.sh" critest-newer
  [ -z "$parallel" ] || "$lane/tools.sh" ginkgo
  [ -n "${GANTRYD_SOCKET:-}" ] ||
    LANE_ISOLATED=1 exec "$lane/isolate.sh" "$lane/run.sh" "${arguments[@]}"
fi
. "$lane/runtimes.sh"
mkdir -p "$out"
folder=$(mktemp -d /var/tmp/gantry-lane.XXXXXX)
chmod 755 "$folder"

finish() {
  [ -z "${registry_pid:-}" ] || kill "$registry_pid" || true
  end_lane "$folder"
  if [ -n "$keep" ]; then echo "kept: $folder"; else rm -rf --one-file-system "$folder"; fi
}
trap finish EXIT

start_registry "$folder" "${REGISTRY_PORT:-5000}"
if [ -n "${GANTRYD_SOCKET:-}" ]; then
  socket=${GANTRYD_SOCKET#unix://}
else
  start_runtime "$runtime" "$folder/$runtime"
  socket_variable=socket_$runtime
  socket=${!socket_variable}
fi

# The one image that critest pins by digest cannot be made again bit by bit: our image's digest, of the same length, takes
# its place in a copy of the program.
published_pin=9700f9a2f5bf2c45f2f605a0bd3bce7cf37420ec9d3ed50ac2758413308766bf
LC_ALL=C sed "s/$published_pin/$pinned/g" "$cache/bin/critest${newer:+-newer}" > "$folder/critest"
chmod +x "$folder/critest"
: > "$folder/crictl.yaml"

expected=$lane/expected.txt skipped=$lane/skipped.txt
if [ -n "$apparmor" ]; then
  expected=$lane/expected-apparmor.txt skipped=/dev/null
elif [ -n "$newer" ]; then
  expected=$folder/expected.txt skipped=$folder/skipped.txt
  cat "$lane/expected.txt" "$lane/expected-newer.txt" > "$expected"
  cat "$lane/skipped.txt" "$lane/skipped-newer.txt" > "$skipped"
elif [ "$runtime" = gantryd ]; then
  report_options+=(--missing "$lane/missing.txt")
else # the peer has what we lack
  expected=$folder/expected.txt
  { cat "$lane/expected.txt"; sed 's/ | .*//' "$lane/missing.txt"; } > "$expected"
fi

# critest loads its profiles with sudo, which root does not need.
mkdir "$folder/bin"
printf '#!/bin/sh\nexec "$@"\n' > "$folder/bin/sudo"
chmod +x "$folder/bin/sudo"

# critest NAME OPTION…: runs it, and leaves NAME.json and NAME.log. Its own verdict is not needed: the report says more.
critest() {
  local name=$1
  shift
  rm -f "$out/$name.json"
  (cd "$folder" && PATH=$folder/bin:$cache/bin:$PATH timeout -k 30 1900 ./critest -config "$folder/crictl.yaml" \
    -runtime-endpoint "unix://$socket" -image-endpoint "unix://$socket" \
    -runtime-service-timeout 120s -image-service-timeout 120s \
    -ginkgo.no-color -ginkgo.timeout 30m -ginkgo.json-report "$out/$name.json" "$@") > "$out/$name.log" 2>&1 </dev/null || true
  [ ! -f "$folder/$runtime/log" ] || cp "$folder/$runtime/log" "$out/$runtime.log"
}

# compare NAME OPTION…: with what is expected.
compare() {
  local name=$1
  shift
  python3 "$lane/report.py" "$out/$name.json" --expected "$expected" --skipped "$skipped" "$@" |
    tee -a "$folder/verdicts"
}

websocket_options=(-websocket-exec -websocket-attach -websocket-portforward)
options=()
[ -z "$focus" ] || options+=(-ginkgo.focus "$focus")
[ -z "$websocket" ] || options+=("${websocket_options[@]}")
[ -z "$parallel" ] || options+=(-parallel "$parallel")
status=0
critest report "${options[@]}"
compare report "${report_options[@]}" || status=1
# What the peers' servers do not speak.
if [ -z "$focus$websocket$parallel$newer" ] && [ "$runtime" = gantryd ]; then
  echo "streaming over WebSocket:"
  critest websocket -ginkgo.focus Streaming "${websocket_options[@]}"
  compare websocket --partial || status=1
  echo "both together:"
  awk '/^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$/ { p += $1; f += $3; s += $5 }
    END { print p " passed, " f " failed, " s " skipped" }' "$folder/verdicts"
fi
exit $status
